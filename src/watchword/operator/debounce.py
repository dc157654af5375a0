# SPDX-License-Identifier: Apache-2.0
"""Work by key, a moment after it was last asked for: a burst of events is one piece of work.

A key is never worked on twice at once; what is asked for meanwhile is done after. What fails is tried again,
later each time. Nothing starts before `open`: a half-read cluster must not be acted on.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from watchword.apiwatch import Backoff
from watchword.process.logs import LOGGER

_K = TypeVar("_K", bound=Hashable)
_FIRST_RETRY_SECONDS: Final = 0.5
# A quota that is raised or a right that is given is no event: nobody should have to wait for long after it.
_LAST_RETRY_SECONDS: Final = 5.0
_MAX_MESSAGE: Final = 512


class DebouncedQueue(Generic[_K]):
    """Calls `work(key, since)` for each key that was added; `since`: the loop's time when it was first."""

    def __init__(
        self,
        work: Callable[[_K, float], Awaitable[None]],
        *,
        quiet_seconds: float,
        longest_seconds: float,
        concurrency: int,
    ) -> None:
        """Wait until a key was left alone for `quiet_seconds`, and at most `longest_seconds`."""
        self._work, self._quiet, self._longest = work, quiet_seconds, longest_seconds
        self._concurrency = concurrency
        self._since: dict[_K, float] = {}
        self._timers: dict[_K, asyncio.TimerHandle] = {}
        self._due: dict[_K, None] = {}
        self._busy: set[_K] = set()
        # Of keys whose work failed last.
        self._backoffs: dict[_K, Backoff] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._is_open = False

    def add(self, key: _K) -> None:
        """Ask for work on a key."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        since = self._since.setdefault(key, now)
        if key in self._due:
            return
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_at(min(since + self._longest, now + self._quiet), self._ripen, key)

    def waits(self, key: _K) -> bool:
        """Whether work on a key was asked for and has not begun."""
        return key in self._since

    def open(self) -> None:
        """Begin."""
        self._is_open = True
        for _ in range(self._concurrency):
            self._wake()

    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is worked on; what failed and is tried later does not count."""
        return not (self._since or self._busy)

    def __len__(self) -> int:
        return len(self._since) + len(self._busy)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            key = self._next()
            if key is None:
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter
                continue
            del self._due[key]
            since = self._since.pop(key)
            self._busy.add(key)
            try:
                await self._work(key, since)
                self._backoffs.pop(key, None)
            except Exception as error:  # noqa: BLE001 - one service's trouble must not end the others' work
                self._retry(key, error)
            finally:
                self._busy.discard(key)

    def _next(self) -> _K | None:
        if not self._is_open:
            return None
        return next((key for key in self._due if key not in self._busy), None)

    def _ripen(self, key: _K) -> None:
        self._timers.pop(key, None)
        self._due[key] = None
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _retry(self, key: _K, error: Exception) -> None:
        wait = self._backoffs.setdefault(key, Backoff(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS)).next()
        why = f"{type(error).__name__}: {error}"[:_MAX_MESSAGE]
        LOGGER.warning("tried again later", extra={"what": str(key), "why": why, "seconds": round(wait, 1)})
        asyncio.get_running_loop().call_later(wait, self.add, key)
