# SPDX-License-Identifier: Apache-2.0
"""When the source is read: as rarely as pages stay true, and never by two at once.

A cluster of 10,000 workloads takes seconds to list. So a page is answered from what was read last, which it
says the time of, and a new reading starts behind it; who has a page open is told when something changed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from watchword.console.model import Snapshot
from watchword.console.source import CLIENT, DESK, ISSUER, PROVIDER, SERVICE, WORKLOAD, Read, Source

# What is younger is shown as it is; what is older is read first. In between it is shown and read behind.
FRESH_SECONDS: Final = 2.0
STALE_SECONDS: Final = 60.0
# A reading that takes less is waited for.
QUICK_SECONDS: Final = 1.0
# Between two readings for open pages, and at most this part of the time is spent reading.
LIVE_SECONDS: Final = 5.0
LIVE_SHARE: Final = 0.1
PING_SECONDS: Final = 15.0
MAX_LISTENERS: Final = 32


class TooManyListenersError(Exception):
    """More pages are open than are told of changes."""


class Snapshots:
    """Keeps the last snapshot of a source, and tells who listens when it changed."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.time) -> None:
        """Read a source. The clock gives seconds since the epoch."""
        self._source, self._clock = source, clock
        self._last: Snapshot | None = None
        self._running: asyncio.Task[Snapshot] | None = None
        self._tried_at = float("-inf")
        self._listeners = 0

    async def current(self) -> Snapshot:
        """A snapshot that is young enough to show.

        Raises:
            UnusableInput: nothing can be read.
        """
        last = self._last
        age = float("inf") if last is None else self._clock() - last.read_at
        if last is not None and age < FRESH_SECONDS:
            return last
        if last is None or age >= STALE_SECONDS or last.seconds < QUICK_SECONDS:
            return await self.read()
        self._start()
        return last

    async def read(self) -> Snapshot:
        """Read now; where a reading runs already, its result.

        Raises:
            UnusableInput: nothing can be read.
        """
        return await asyncio.shield(self._start())

    async def changes(self, known: str) -> AsyncIterator[str | None]:
        """The fingerprint whenever it is another one than was known, and None to keep the connection.

        Args:
            known: the fingerprint of the page that listens.

        Raises:
            TooManyListenersError: others listen already.
        """
        if self._listeners >= MAX_LISTENERS:
            raise TooManyListenersError
        self._listeners += 1
        spoke = self._clock()
        try:
            while True:
                last = self._last
                if last is not None and last.fingerprint != known:
                    known, spoke = last.fingerprint, self._clock()
                    yield known
                elif self._clock() - spoke >= PING_SECONDS:
                    spoke = self._clock()
                    yield None
                await asyncio.sleep(min(1.0, PING_SECONDS))
                self._read_for_listeners()
        finally:
            self._listeners -= 1

    def _read_for_listeners(self) -> None:
        last = self._last
        wait = LIVE_SECONDS if last is None else max(LIVE_SECONDS, last.seconds / LIVE_SHARE)
        if self._running is None and self._clock() - self._tried_at >= wait:
            self._start()

    def _start(self) -> "asyncio.Task[Snapshot]":
        if self._running is None:
            self._tried_at = self._clock()
            self._running = asyncio.create_task(self._read())
            self._running.add_done_callback(self._ended)
        return self._running

    def _ended(self, task: "asyncio.Task[Snapshot]") -> None:
        self._running = None
        if not task.cancelled():
            # Taken, or asyncio warns: who waits is told by the task, and the next page by its own reading.
            task.exception()

    async def _read(self) -> Snapshot:
        began = self._clock()
        read = await asyncio.to_thread(self._source.read)
        self._last = snapshot_of(read, self._clock(), self._clock() - began)
        return self._last


def snapshot_of(read: Read, now: float, seconds: float) -> Snapshot:
    """What was read, with when and how long."""
    return Snapshot(
        services=read.items.get(SERVICE, {}),
        workloads=read.items.get(WORKLOAD, {}),
        issuers=read.items.get(ISSUER, {}),
        desks=read.items.get(DESK, {}),
        clients=read.items.get(CLIENT, {}),
        providers=read.items.get(PROVIDER, {}),
        gaps=read.gaps,
        read_at=now,
        seconds=seconds,
        fingerprint=read.fingerprint,
    )
