# SPDX-License-Identifier: Apache-2.0
"""Seconds in which an event loop looked after its connections, instead of seconds that went by.

A loop that was busy for three seconds with what others sent has read nothing of a new caller's in between. By
the clock on the wall that caller was silent for three seconds; by this one it had a single turn.
"""

import asyncio
from collections.abc import Callable


class AttendedTime:
    """A clock that goes on by one step at most in each turn of its loop, and only while it is needed.

    Attributes:
        seconds: how long connections were looked after since the clock was made.
    """

    def __init__(self, step_seconds: float, is_needed: Callable[[], bool]) -> None:
        """Go by steps of some seconds, and stop where it `is_needed` no longer, until the next `mark`."""
        self._step, self._is_needed = step_seconds, is_needed
        self._steps = 0
        self.seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def mark(self) -> float:
        """The second from which to count what is new now: the end of the step that is under way."""
        if self._timer is not None:
            return (self._steps + 1) * self._step
        self._start()
        return self.seconds

    def _start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._step, self._advance)

    def _advance(self) -> None:
        self._timer = None
        self._steps += 1
        self.seconds = self._steps * self._step
        if self._is_needed():
            # Set again from here and not from when it was due: what the loop missed is not caught up with.
            self._start()
