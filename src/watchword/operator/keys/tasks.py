# SPDX-License-Identifier: Apache-2.0
"""One task for each of many things that are kept up to date, while something runs that keeps them."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar

_Key = TypeVar("_Key")


class TaskForEach(Generic[_Key]):
    """Tasks by key. Belongs to one event loop."""

    def __init__(self, keep: Callable[[_Key], Coroutine[Any, Any, None]]) -> None:
        """Begin none yet; `keep` makes what the task of a key runs."""
        self._keep = keep
        self._tasks: dict[_Key, asyncio.Task[None]] = {}
        self._is_running = False

    def __len__(self) -> int:
        """How many there are."""
        return len(self._tasks)

    def begin(self, key: _Key) -> None:
        """Begin the task of a key, unless it runs, or nothing does."""
        if self._is_running and key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._keep(key))

    def end(self, key: _Key) -> None:
        """Cancel the task of a key, if there is one."""
        if (task := self._tasks.pop(key, None)) is not None:
            task.cancel()

    async def run(self, keys: Iterable[_Key]) -> None:
        """Begin the tasks of these keys, and cancel all that run by then once this is cancelled."""
        self._is_running = True
        try:
            for key in keys:
                self.begin(key)
            await asyncio.Event().wait()
        finally:
            self._is_running = False
            tasks = list(self._tasks.values())
            self._tasks.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
