# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy between a client and its server that misbehaves when told to.

A killed server says goodbye: its kernel closes its sockets. The faults that hurt say nothing; so this stands
in between and can pass, cut, refuse, delay, or go on accepting bytes and hand none of them on. It knows
nothing of what passes, so TLS stays what it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

_READ_BYTES = 64 * 1024


class TcpProxy:
    """A proxy in a thread of its own. All methods may be called from any thread, and have happened on return.

    Attributes:
        port: where it listens, on 127.0.0.1; stays the same for its whole life.
        accepted: how many connections it has taken in all.
    """

    def __init__(self, host: str, port: int) -> None:
        """Stand before this server; use `tcp_proxy` to start it."""
        self._target = (host, port)
        self._links: set[_Link] = set()
        self._is_refusing = self._is_swallowing = False
        self._delay_seconds = 0.0
        self._cut_after_bytes: int | None = None
        self._cuts = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tcp-proxy", daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return self._call(lambda: len(self._links))

    def pass_through(self) -> None:
        """Hand on what comes on new connections. What was swallowed stays so: those connections are dead."""

        def change() -> None:
            self._is_refusing = self._is_swallowing = False
            self._delay_seconds, self._cut_after_bytes = 0.0, None

        self._call(change)

    def cut(self) -> int:
        """Reset every open connection, in the middle of whatever passes; new ones pass. Returns how many."""

        def change() -> int:
            self._cuts += 1
            links = list(self._links)
            for link in links:
                link.reset()
            return len(links)

        return self._call(change)

    def refuse(self) -> None:
        """Reset every open connection, and each new one before a byte passes."""

        def change() -> None:
            self._is_refusing = True

        self._call(change)
        # From here on none is begun; this resets what stands, and what is being made.
        self.cut()

    def swallow(self) -> None:
        """Take all bytes and hand none on, nor the end of a connection, on open and on new connections."""

        def change() -> None:
            self._is_swallowing = True
            for link in self._links:
                link.is_dead = True

        self._call(change)

    def delay(self, seconds: float) -> None:
        """Hold back each piece for a while, in both directions."""

        def change() -> None:
            self._delay_seconds = seconds

        self._call(change)

    def cut_after(self, count: int) -> None:
        """Reset each new connection once the server has sent more than so many bytes over it."""

        def change() -> None:
            self._cut_after_bytes = count

        self._call(change)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Close everything and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _call(self, change: Callable[[], Any]) -> Any:
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(change())
            except Exception as error:  # noqa: BLE001 - the caller's thread raises it
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._listener))
        try:
            self._loop.run_forever()
        finally:
            server.close()
            for link in list(self._links):
                link.reset()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        cuts = self._cuts
        if self._is_refusing:
            _reset(writer)
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        link = _Link((writer, up_writer), self._is_swallowing, self._cut_after_bytes)
        if cuts != self._cuts:
            # Reset or refused while it was being made: it was as open as the others.
            link.reset()
            return
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pump(link, reader, up_writer, 0), self._pump(link, up_reader, writer, 1)
            )
        finally:
            self._links.discard(link)
            for each in (writer, up_writer):
                each.transport.abort()

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_down: int
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                if self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                if link.is_dead:
                    continue
                if is_down and link.cut_after_bytes is not None:
                    link.sent_bytes += len(data)
                    if link.sent_bytes > link.cut_after_bytes:
                        writer.write(data[: len(data) - (link.sent_bytes - link.cut_after_bytes)])
                        await asyncio.sleep(0.01)
                        link.reset()
                        return
                writer.write(data)
                await writer.drain()
        if link.is_dead and not link.is_reset:
            # The end is swallowed too: the other side waits for as long as it cares to.
            return
        writer.transport.abort() if link.is_reset else writer.close()


class _Link:
    """A client's connection and ours to the server."""

    def __init__(
        self, writers: tuple[asyncio.StreamWriter, ...], is_dead: bool, cut_after_bytes: int | None
    ) -> None:
        self._writers, self.is_dead, self.cut_after_bytes = writers, is_dead, cut_after_bytes
        self.is_reset, self.sent_bytes = False, 0

    def reset(self) -> None:
        """Reset both sides."""
        self.is_reset = True
        for writer in self._writers:
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    link = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        # Without lingering, closing sends RST and not FIN.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.contextmanager
def tcp_proxy(host: str, port: int) -> Iterator[TcpProxy]:
    """A proxy to this server until the block ends; it passes everything until told otherwise."""
    proxy = TcpProxy(host, port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
