# SPDX-License-Identifier: Apache-2.0
"""Many connections that send as much as they are let, from one thread: what a flood is made of.

A flood is bounded by bytes and ends when all is sent, when every connection was closed, or when the other
side stopped reading: which of them is right depends on the case, that memory stays bounded does not.
"""

from __future__ import annotations

import math
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

Address = tuple[str, int]
# No byte moved for so long: the other side holds back, or waits. Not a measure of anything.
CALM_SECONDS = 1.5
# How long a flood that takes answers waits for the first byte of one, on a busy machine.
ANSWER_SECONDS = 60
PIECE_BYTES = 64 * 1024


@dataclass(slots=True)
class Flood:
    """What each of many connections sends.

    Attributes:
        address: where.
        pieces: makes the bytes of a connection, by its number; endless ones are fine.
        connections: how many.
        total_bytes: when to stop, in all.
        reads: whether answers are taken.
        take_bytes: how much of them at a time.
        enough_bytes: when to stop, in all that was taken.
        context: TLS, where it is spoken.
        sent: how many bytes went out.
        received: how many bytes came, where they are taken.
        closed: how many connections the other side ended.
    """

    address: Address
    pieces: Callable[[int], Iterator[bytes]]
    connections: int = 8
    total_bytes: int = 64 * 2**20
    reads: bool = False
    take_bytes: int = PIECE_BYTES
    enough_bytes: float = math.inf
    context: ssl.SSLContext | None = None
    sent: int = 0
    received: int = 0
    closed: int = 0
    links: list[socket.socket] = field(default_factory=list)

    def run(self) -> None:
        """Send until the end; the connections stay open."""
        with selectors.DefaultSelector() as selector:
            for number in range(self.connections):
                try:
                    link = self._connect()
                except OSError:
                    self.closed += 1
                    continue
                self.links.append(link)
                state = [self.pieces(number), b""]
                selector.register(link, selectors.EVENT_WRITE | selectors.EVENT_READ, state)
            self._pump(selector)

    def close(self) -> None:
        """End all of its connections."""
        for link in self.links:
            with suppress(OSError):
                link.close()

    def _connect(self) -> socket.socket:
        link = socket.create_connection(self.address, 30)
        if self.context is not None:
            link = self.context.wrap_socket(link, server_hostname="localhost")
        link.setblocking(False)
        return link

    def _pump(self, selector: selectors.BaseSelector) -> None:
        moved = time.monotonic()
        while selector.get_map() and not self._is_enough():
            if time.monotonic() - moved >= (
                ANSWER_SECONDS if self.reads and not self.received else CALM_SECONDS
            ):
                break
            for key, events in selector.select(0.1):
                link: socket.socket = key.fileobj  # type: ignore[assignment]
                try:
                    before = self.sent + self.received
                    if events & selectors.EVENT_READ and not self._read(link):
                        raise ConnectionError
                    if events & selectors.EVENT_WRITE and not self._write(link, key.data):
                        # It said what it had to say, and stays.
                        watched = selectors.EVENT_READ
                        selector.modify(link, watched, key.data)
                    if self.sent + self.received > before:
                        moved = time.monotonic()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                    continue
                except OSError:
                    self.closed += 1
                    selector.unregister(link)

    def _is_enough(self) -> bool:
        return self.sent >= self.total_bytes or self.received >= self.enough_bytes

    def _read(self, link: socket.socket) -> bool:
        if not self.reads:
            # Only whether it was ended: what is not taken must stay in the way.
            with suppress(BlockingIOError, ValueError):
                return isinstance(link, ssl.SSLSocket) or bool(link.recv(1, socket.MSG_PEEK))
            return True
        data = link.recv(self.take_bytes)
        self.received += len(data)
        return bool(data)

    def _write(self, link: socket.socket, state: list[object]) -> bool:
        pieces, left = state
        data = left or next(pieces, b"")  # type: ignore[call-overload]
        if not data:
            return False
        try:
            count = link.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            state[1] = data
            raise
        self.sent += count
        state[1] = data[count:]
        return True
