# SPDX-License-Identifier: Apache-2.0
"""Accepts a connection when there is room for it; until then it waits in the kernel's queue.

An event loop accepts all that wait in one turn. Where that is more than a server may hold, each takes the
place of one that had no chance to say a word, and every one costs memory before it goes.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from watchword.process.bounds import Budget

# How long to wait when the system refuses a connection, for example for want of descriptors.
_PAUSE_SECONDS = 0.1


class Acceptor:
    """Accepts on one listening socket, in the order of arrival, within a budget."""

    def __init__(
        self, listener: socket.socket, begin: Callable[[socket.socket], Awaitable[None]], budget: Budget
    ) -> None:
        """Begin to accept; `begin` begins on a connection, counts it or closes it, and lets others
        have their turn."""
        listener.setblocking(False)
        self._listener, self._begin, self._budget = listener, begin, budget
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._accept())

    def close(self) -> None:
        """Accept no more."""
        self._task.cancel()
        # At once: the socket is closed, and its number used again, before the task has its turn.
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        """Return when nothing is accepted any more."""
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _accept(self) -> None:
        while True:
            await self._budget.room()
            try:
                link, _ = await self._loop.sock_accept(self._listener)
            except OSError:
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            link.setblocking(False)
            await self._begin(link)
