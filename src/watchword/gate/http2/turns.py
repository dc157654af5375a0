# SPDX-License-Identifier: Apache-2.0
"""Turns of connections that sent more than is taken at once: one of them in each turn of the loop.

However many there are, one that asks for little waits for one of them, and not for all.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary


class Turns:
    """What waits for its turn in one event loop, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Call by a loop."""
        self._loop, self._waiting = loop, deque[Callable[[], None]]()

    def wait(self, take: Callable[[], None]) -> None:
        """Call it in a later turn of the loop, behind what waits."""
        self._waiting.append(take)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        take = self._waiting.popleft()
        if self._waiting:
            self._loop.call_soon(self._next)
        take()


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


def turns_of(loop: asyncio.AbstractEventLoop) -> Turns:
    """The turns of a loop."""
    found = _turns.get(loop)
    if found is None:
        found = _turns[loop] = Turns(loop)
    return found
