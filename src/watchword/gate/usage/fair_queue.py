# SPDX-License-Identifier: Apache-2.0
"""A queue before the usage store: bounded, and taken in turn, one turn for each key that waits in it.

First come, first served lets who asks a thousand times at once be served a thousand times before anyone
else. Here each key has a queue of its own, all of them move at one pace, and none grows without an end.
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


class QueueFullError(Exception):
    """No one more may wait. `is_own`: it is the caller's own queue that is full, not everyone's."""

    def __init__(self, *, is_own: bool) -> None:
        super().__init__("the queue is full")
        self.is_own = is_own


class _Job(NamedTuple):
    future: "asyncio.Future[Any]"
    work: Callable[[], Any]


class FairQueue:
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

        `may_wait`: the gate's own work, which waits however long the queue is. Raises QueueFullError, and
        what the work raises.
        """
        if not may_wait:
            if self.waiting >= self._max_waiting:
                raise QueueFullError(is_own=False)
            if len(self._lines.get(key, ())) >= self._max_waiting_each:
                raise QueueFullError(is_own=True)
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
                # To the end of the turns, or out of them; who has gone has used up no one's turn.
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


class ByteBudget:
    """How many bytes of bodies are in the gate at once, in all and of one caller."""

    def __init__(self, most: int, most_each: int) -> None:
        """Take both bounds, in bytes."""
        self._most, self._most_each = most, most_each
        self._held: dict[str, int] = {}
        self.bytes = 0

    def take(self, key: str, size: int) -> None:
        """Make room for a body before the first byte of it is read. Raises QueueFullError."""
        if self.bytes + size > self._most:
            raise QueueFullError(is_own=False)
        if self._held.get(key, 0) + size > self._most_each:
            raise QueueFullError(is_own=True)
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


class Room:
    """How many bytes parsed bodies may weigh at once. What does not fit waits, a turn for each caller.

    Nothing overtakes what is next and does not fit yet: a large body would wait for ever behind small ones.
    Belongs to one event loop at a time.
    """

    def __init__(self, most: int) -> None:
        """Take the bound, in bytes. A single body that is larger waits until the room is empty."""
        self._most = most
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}  # in the order of their turns
        self.bytes = 0

    async def take(self, key: str, size: int) -> None:
        """Wait for room, and take it."""
        if not self._waiting and self._fits(size):
            self.bytes += size
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append((size, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give_back(size)
            else:
                self._admit()
            raise

    def give_back(self, size: int) -> None:
        """Say that a body is gone."""
        self.bytes -= size
        self._admit()

    def _fits(self, size: int) -> bool:
        return not self.bytes or self.bytes + size <= self._most

    def _admit(self) -> None:
        while self._waiting:
            key, mine = next(iter(self._waiting.items()))
            size, waiter = mine[0]
            if not waiter.done() and not self._fits(size):
                return
            mine.popleft()
            del self._waiting[key]
            if mine:
                self._waiting[key] = mine
            if not waiter.done():
                self.bytes += size
                waiter.set_result(None)
