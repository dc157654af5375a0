# SPDX-License-Identifier: Apache-2.0
"""How long ago each watch last said anything, and whether that is too long.

A watch can die without an error: a middlebox forgets the connection, and no byte ever comes again. An object
that was deleted meanwhile stays trusted for as long as nobody notices; so the age of the last word is what
health is judged by, and bookmarks and ends of requests count as words.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import aiohttp


class Ears:
    """When each watch was last heard, by a clock that never goes back. Written by one thread, read by any."""

    def __init__(self, resources: Iterable[str], monotonic: Callable[[], float] = time.monotonic) -> None:
        """Expect these resources (plural names) from now on."""
        self._monotonic = monotonic
        started = monotonic()
        self._heard = dict.fromkeys(resources, started)
        self._unheard = set(self._heard)

    def hear(self, resource: str) -> None:
        """A watch said something."""
        if resource in self._heard:
            self._heard[resource] = self._monotonic()
            self._unheard.discard(resource)

    def is_complete(self) -> bool:
        """Whether each watch has said something by now."""
        return not self._unheard

    def silent(self, *, first_word_seconds: float, silence_seconds: float) -> Mapping[str, float]:
        """The watches that have been silent for too long, with their ages; kopf does not even begin one whose
        kind was not served when it looked."""
        limits = {
            name: first_word_seconds if name in self._unheard else silence_seconds for name in self._heard
        }
        return {name: age for name, age in self.ages().items() if age > limits[name]}

    def ages(self) -> Mapping[str, float]:
        """Seconds since the last word of each watch; of one never heard, since it was expected."""
        now = self._monotonic()
        return {resource: now - heard for resource, heard in self._heard.items()}

    def response_class(self) -> type[aiohttp.ClientResponse]:
        """Responses that tell of every piece that comes in, by the last part of their URL's path."""
        hear = self.hear

        class Heard(aiohttp.ClientResponse):
            async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
                await super().start(connection)
                if self.status == 200:
                    resource = self.url.path.rpartition("/")[2]
                    hear(resource)
                    self.content = _HeardContent(self.content, lambda: hear(resource))  # type: ignore[assignment]
                return self

        return Heard


class _HeardContent:
    """aiohttp's reader (which has slots, and no hook for this), with every piece that is read told of."""

    def __init__(self, reader: aiohttp.StreamReader, hear: Callable[[], None]) -> None:
        self._reader, self._hear = reader, hear

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        async for piece in self._reader.iter_chunked(size):
            self._hear()
            yield piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)
