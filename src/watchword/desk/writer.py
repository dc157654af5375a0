# SPDX-License-Identifier: Apache-2.0
"""One thread that writes: what waits meanwhile shares the next transaction, and its one wait for the disk.

A sync takes milliseconds and an exchange takes microseconds. So no exchange waits for more than the
transaction that is under way and its own, however many there are, and each is answered only when its own is
durable.
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from watchword.desk.store import DeskStore, DeskStoreError, DeskStoreUnavailableError, Operation
from watchword.process.logs import LOGGER

MAX_WAITING: Final = 4096
MAX_BATCH: Final = 256

Group = tuple[Sequence[Operation], "asyncio.Future[list[bool]]"]


class Writer:
    """Writes for one event loop; the store's `write` is called by its thread alone."""

    def __init__(self, store: DeskStore) -> None:
        """Start the thread."""
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[list[Group] | None] = queue.SimpleQueue()
        self._waiting: deque[Group] = deque()
        self._is_busy = False
        self._is_flushing = False
        self._thread = threading.Thread(target=self._run, name="desk-writer", daemon=True)
        self._thread.start()

    async def write(self, *operations: Operation) -> list[bool]:
        """Do these together, durably; returns for each whether it had an effect.

        Raises:
            DeskStoreError: nothing was changed, as far as the store can know.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise DeskStoreUnavailableError("too much waits to be written", "retry; the store is slow")
        done: asyncio.Future[list[bool]] = self._loop.create_future()
        self._waiting.append((operations, done))
        if not self._is_busy and not self._is_flushing:
            # Once all that can be read by now was read: those share the transaction.
            self._is_flushing = True
            self._loop.call_soon(self._flush)
        # A caller that goes away takes back nothing that is being written, and hears nothing of it.
        return await done

    async def close(self) -> None:
        """Write what waits, and end the thread."""
        while self._waiting or self._is_busy:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.001)
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _flush(self) -> None:
        self._is_flushing = False
        if self._is_busy or not self._waiting:
            return
        batch: list[Group] = []
        count = 0
        while self._waiting and count < MAX_BATCH:
            batch.append(self._waiting.popleft())
            count += len(batch[-1][0])
        self._is_busy = True
        self._queue.put(batch)

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            operations = [each for group, _ in batch for each in group]
            effects: list[bool] | DeskStoreError
            try:
                effects = self._store.write(operations)
            except DeskStoreError as error:
                effects = error
            except Exception as error:  # noqa: BLE001 - a thread that ended would leave every caller waiting
                LOGGER.error("a write failed unforeseen", extra={"error_type": type(error).__name__})
                effects = DeskStoreUnavailableError("the store failed", "see the desk's log")
            self._loop.call_soon_threadsafe(self._answer, batch, effects)

    def _answer(self, batch: Sequence[Group], effects: list[bool] | DeskStoreError) -> None:
        self._is_busy = False
        self._flush()
        place = 0
        for operations, done in batch:
            mine = (
                effects if isinstance(effects, DeskStoreError) else effects[place : place + len(operations)]
            )
            place += len(operations)
            if done.done():
                continue
            if isinstance(mine, DeskStoreError):
                done.set_exception(mine)
            else:
                done.set_result(mine)
