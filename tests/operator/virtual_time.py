# SPDX-License-Identifier: Apache-2.0
"""An asyncio loop whose time is a number: what sleeps, sleeps at once, and an hour is simulated in a moment.

The code under test stays as it is (`asyncio.sleep`, `asyncio.timeout`), and one seed gives one run.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")
_THREAD_SECONDS = 5.0


class _NoWaiting(selectors.DefaultSelector):
    """A selector that, asked to wait, moves the clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            # Threads have real time: one that is just ending says so soon.
            if events := super().select(_THREAD_SECONDS):
                return events
            raise RuntimeError("everyone waits for something that never comes")
        self.passed += max(timeout, 0.0)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop at 0 seconds."""

    def __init__(self) -> None:
        self._waits = _NoWaiting()
        super().__init__(self._waits)

    def time(self) -> float:
        return self._waits.passed


def run_in_virtual_time(work: Coroutine[Any, Any, Result]) -> Result:
    """`asyncio.run` on a loop of its own virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
