# SPDX-License-Identifier: Apache-2.0
"""Asking OpenID providers from an event loop: by a deadline, a few at once of each, and no one for another.

Strangers choose when a provider is asked, and a provider how long that takes. So what is known is answered
without a thread, what is not is fetched once for all who wait, and who waits holds nothing that the sign-in
at another provider needs.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

from watchword.desk.agents.oidc_http import DEADLINE_SECONDS, Endpoints, ProviderError, Providers
from watchword.identity import Key

# Questions to one provider at once, and requests that may wait for its answers.
AT_ONCE: Final = 2
MAX_WAITING: Final = 32
# A provider that failed is not asked again at once.
REST_SECONDS: Final = 5.0
_T = TypeVar("_T")
_Given = TypeVarTuple("_Given")


class ProviderFetches:
    """Asks providers. Belongs to one event loop."""

    def __init__(
        self,
        providers: Providers | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """Ask by `providers`, which blocks; no one waits longer than the deadline."""
        self._providers = providers or Providers()
        self._monotonic, self._deadline = monotonic, deadline_seconds
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._waiting: dict[str, int] = {}
        self._rests_until: dict[str, float] = {}
        self._fetches: dict[tuple[str, str], asyncio.Task[Any]] = {}

    async def endpoints(self, issuer: str) -> Endpoints:
        """A provider's endpoints. Raises ProviderError."""
        known = self._providers.known_endpoints(issuer)
        if known is not None:
            return known
        async with self._waits(issuer):
            self._refuse_at_rest(issuer)
            return await self._endpoints(issuer)

    async def keys(self, issuer: str, kid: object) -> tuple[Key, ...]:
        """The provider's keys of one key id, or all where the token names none. Raises ProviderError."""
        known = self._providers.known_keys(issuer, kid)
        if known is not None:
            return known
        async with self._waits(issuer):
            self._refuse_at_rest(issuer)
            await self._endpoints(issuer)
            await self._shared("keys", issuer, self._providers.keys, issuer, kid)
        # The first to ask may have asked for another key id; all keys came with its answer.
        return self._providers.known_keys(issuer, kid) or ()

    async def exchange(self, issuer: str, form: Mapping[str, str], client_secret: str = "") -> str | None:
        """The ID token for a code; None: the provider refuses the code. Raises ProviderError."""
        async with self._waits(issuer):
            await self._endpoints(issuer)
            return await self._in_slot(issuer, self._providers.exchange, issuer, form, client_secret)

    async def _endpoints(self, issuer: str) -> Endpoints:
        known = self._providers.known_endpoints(issuer)
        if known is not None:
            return known
        return await self._shared("endpoints", issuer, self._providers.endpoints, issuer)

    def _refuse_at_rest(self, issuer: str) -> None:
        if self._rests_until.get(issuer, 0.0) > self._monotonic():
            raise ProviderError("it failed a moment ago")

    @contextlib.asynccontextmanager
    async def _waits(self, issuer: str) -> AsyncIterator[None]:
        """Count one who waits for a provider, until the deadline."""
        if self._waiting.get(issuer, 0) >= MAX_WAITING:
            raise ProviderError("too many wait for it")
        self._waiting[issuer] = self._waiting.get(issuer, 0) + 1
        try:
            async with asyncio.timeout(self._deadline):
                yield
        except TimeoutError:
            self._rests_until[issuer] = self._monotonic() + REST_SECONDS
            raise ProviderError(f"it gave no whole answer within {self._deadline:.0f} s") from None
        finally:
            self._waiting[issuer] -= 1

    async def _shared(
        self, what: str, issuer: str, ask: Callable[[Unpack[_Given]], _T], *given: *_Given
    ) -> _T:
        """Fetch something of a provider, once for all who wait for it."""
        fetch = self._fetches.get((what, issuer))
        if fetch is None:
            fetch = self._fetches[what, issuer] = asyncio.create_task(self._in_slot(issuer, ask, *given))
            fetch.add_done_callback(lambda done: self._fetched(what, issuer, done))
        found: _T = await asyncio.shield(fetch)
        return found

    def _fetched(self, what: str, issuer: str, done: asyncio.Task[Any]) -> None:
        del self._fetches[what, issuer]
        # Looked at here, since by now no one may wait for it.
        if not done.cancelled() and done.exception() is not None:
            self._rests_until[issuer] = self._monotonic() + REST_SECONDS

    async def _in_slot(self, issuer: str, ask: Callable[[Unpack[_Given]], _T], *given: *_Given) -> _T:
        """Ask in a thread; its slot is free again when the thread has ended, and not before."""
        slots = self._slots.setdefault(issuer, asyncio.Semaphore(AT_ONCE))
        await slots.acquire()
        try:
            answer = _in_thread(ask, *given)
        except BaseException:
            slots.release()
            raise
        answer.add_done_callback(lambda done: _let_go(done, slots))
        return await asyncio.shield(answer)


def _let_go(answer: asyncio.Future[Any], slots: asyncio.Semaphore) -> None:
    slots.release()
    if not answer.cancelled():
        answer.exception()


def _in_thread(ask: Callable[[Unpack[_Given]], _T], *given: *_Given) -> asyncio.Future[_T]:
    """The answer of something that blocks, from a thread that delays neither others nor the process's end."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_T] = loop.create_future()

    def settle(found: list[_T], failed: ProviderError) -> None:
        if found:
            answer.set_result(found[0])
        else:
            answer.set_exception(failed)

    def run() -> None:
        # What is not foreseen is the thread's own to report, and still frees the slot.
        found, failed = [], ProviderError("asking it failed")
        try:
            found.append(ask(*given))
        except ProviderError as error:
            failed = error
        finally:
            with contextlib.suppress(RuntimeError):  # the loop ended meanwhile: no one waits any more
                loop.call_soon_threadsafe(settle, found, failed)

    threading.Thread(target=run, name="desk-provider", daemon=True).start()
    return answer
