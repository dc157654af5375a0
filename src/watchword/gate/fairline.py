# SPDX-License-Identifier: Apache-2.0
"""A line before the usage store: bounded, and taken in turn, one turn for each who waits in it.

First come, first served lets who asks a thousand times at once be served a thousand times before anybody
else. Here each key has a line of its own, all lines move at one pace, and none grows without an end.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

MAX_WAITING: Final = 256
MAX_WAITING_EACH: Final = 32

_T = TypeVar("_T")


class LineIsFull(Exception):
    """Nobody more may wait. `is_own`: it is the caller's own line that is full, not everybody's."""

    def __init__(self, *, is_own: bool) -> None:
        super().__init__("the line is full")
        self.is_own = is_own


class _Job(NamedTuple):
    future: "asyncio.Future[Any]"
    work: Callable[[], Any]


class FairLine:
    """Runs blocking work in a few threads, a turn for each key. Belongs to one event loop at a time."""

    def __init__(
        self,
        threads: int,
        name: str,
        max_waiting: int = MAX_WAITING,
        max_waiting_each: int = MAX_WAITING_EACH,
    ) -> None:
        """Take how many may work at once, and how many may wait: in all, and with one key."""
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._threads, self._max_waiting, self._max_waiting_each = threads, max_waiting, max_waiting_each
        self._lines: dict[str, deque[_Job]] = {}  # in the order of their turns
        self._running = 0
        self.waiting = 0

    async def run(self, key: str, work: Callable[[], _T], *, may_wait: bool = False) -> _T:
        """Run work when it is the key's turn, and give what it gives.

        `may_wait`: our own work, which waits however long the line is. Raises LineIsFull, and what the work
        raises.
        """
        if not may_wait:
            if self.waiting >= self._max_waiting:
                raise LineIsFull(is_own=False)
            if len(self._lines.get(key, ())) >= self._max_waiting_each:
                raise LineIsFull(is_own=True)
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(key, deque()).append(_Job(future, work))
        self.waiting += 1
        self._begin()
        return await future

    def close(self) -> None:
        """End the threads, after the work that they do."""
        self._executor.shutdown()

    def _begin(self) -> None:
        while self._running < self._threads and self._lines:
            key, jobs = next(iter(self._lines.items()))
            job = jobs.popleft()
            self.waiting -= 1
            has_gone = job.future.done()
            if not jobs or not has_gone:
                # To the end of the turns, or out of them; who has gone has used up nobody's turn.
                del self._lines[key]
                if jobs:
                    self._lines[key] = jobs
            if has_gone:
                continue
            self._running += 1
            done = asyncio.get_running_loop().run_in_executor(self._executor, job.work)
            done.add_done_callback(partial(self._end, job))

    def _end(self, job: _Job, done: "asyncio.Future[Any]") -> None:
        self._running -= 1
        if not job.future.done():
            error = done.exception()
            if error is None:
                job.future.set_result(done.result())
            else:
                job.future.set_exception(error)
        self._begin()


class Intake:
    """How many bytes of bodies are in the gate at once, in all and of one caller."""

    def __init__(self, most: int, most_each: int) -> None:
        """Take both bounds, in bytes."""
        self._most, self._most_each = most, most_each
        self._held: dict[str, int] = {}
        self.bytes = 0

    def take(self, key: str, size: int) -> None:
        """Make room for a body before the first byte of it is read. Raises LineIsFull."""
        if self.bytes + size > self._most:
            raise LineIsFull(is_own=False)
        if self._held.get(key, 0) + size > self._most_each:
            raise LineIsFull(is_own=True)
        self.bytes += size
        self._held[key] = self._held.get(key, 0) + size

    def give_back(self, key: str, size: int) -> None:
        """Say that a body is gone."""
        self.bytes -= size
        left = self._held[key] - size
        if left:
            self._held[key] = left
        else:
            del self._held[key]
