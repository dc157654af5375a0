# SPDX-License-Identifier: Apache-2.0
"""A watch that runs in a thread, so that a test can change the world and see what is told of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from testing.controlplane.process import wait_until
from watchword.kube.watch import Event, PartialObject, Removed, Synced, Troubled, Upserted, Watch


def itself(decoded: Any) -> Any:
    """Keep all that was decoded."""
    return decoded


class Following:
    """What a running watch has told so far."""

    def __init__(self, watch: Watch[Any]) -> None:
        self.watch = watch
        self.events: list[Event[Any]] = []
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        def cancel() -> None:
            if self._task is not None:
                self._task.cancel()

        self._loop.call_soon_threadsafe(cancel)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._follow())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        # A transport closes one turn of the loop after it was aborted.
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _follow(self) -> None:
        self._task = asyncio.current_task()
        async with contextlib.aclosing(self.watch.events()) as events:
            async for event in events:
                self.events.append(event)

    def count(self, kind: type) -> int:
        """How many events of this type were told."""
        return sum(isinstance(event, kind) for event in self.events)

    @property
    def told(self) -> dict[str, Any]:
        """The world as the events tell it, by name."""
        world: dict[str, Any] = {}
        for event in list(self.events):
            if isinstance(event, Upserted):
                world[event.object.metadata.name] = event.object
            elif isinstance(event, Removed):
                del world[event.object.metadata.name]
        return world

    @property
    def versions(self) -> dict[str, str]:
        """The resourceVersion of each object that is there, by name."""
        return {name: each.metadata.resource_version for name, each in self.told.items()}

    @property
    def troubles(self) -> list[str]:
        """The kinds of trouble told, in order."""
        return [str(event.problem.kind) for event in list(self.events) if isinstance(event, Troubled)]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            wait_until(condition, what=what, timeout_seconds=60)
        except TimeoutError:
            print("told:", *self.events[-20:], "problem:", self.watch.problem, sep="\n  ")
            raise

    def until_synced(self, times: int = 1) -> None:
        self.until(lambda: self.count(Synced) >= times, f"synced {times} times")

    def until_there(self, *names: str) -> None:
        self.until(lambda: set(self.told) == set(names), f"exactly {names}")

    def until_trouble(self, kind: str) -> None:
        self.until(lambda: kind in self.troubles, f"trouble {kind}")


@contextlib.contextmanager
def following(watch: Watch[PartialObject] | Watch[Any]) -> Iterator[Following]:
    """Run a watch until the block ends."""
    running = Following(watch)
    running.start()
    try:
        yield running
    finally:
        running.stop()
