# SPDX-License-Identifier: Apache-2.0
"""The app behind the gate: it keeps every request that reaches it, as h11 reads it, and numbers its answers.

What it reads is judged as strictly as what the caller wrote: bytes that are no request are kept as faults.
"""

from __future__ import annotations

import base64
import hashlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import h11

from testing.framing.strict import MAX_HEAD_BYTES, Request

SERIAL = b"x-app-serial"
_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(slots=True)
class Recorder:
    """A running app; `seen` in the order of arrival, faults as sentences."""

    port: int
    seen: list[Request] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    waiting: dict[socket.socket, bool] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    listener: socket.socket | None = None

    @property
    def url(self) -> str:
        """For --upstream."""
        return f"http://127.0.0.1:{self.port}"

    def settle(self) -> None:
        """Wait until everything that has arrived is read, and kept."""
        calm = 0
        while calm < 2:
            try:
                # A connection that waits to be accepted has something to say, too.
                with self.lock:
                    links = [link for link in list(self.waiting) if link.fileno() >= 0]
                    listeners = [] if self.listener is None else [self.listener]
                    is_calm = all(self.waiting[link] for link in links)
                    is_calm = is_calm and not _readable([*links, *listeners], 0)
            except (OSError, ValueError, KeyError):
                # One of them was closed meanwhile.
                is_calm = False
            calm = calm + 1 if is_calm else 0
            time.sleep(0 if is_calm else 0.0002)

    def add(self, request: Request) -> int:
        """Keep a request; its number."""
        with self.lock:
            self.seen.append(request)
            return len(self.seen) - 1


@contextmanager
def recording() -> Iterator[Recorder]:
    """Serve until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    app = Recorder(listener.getsockname()[1], listener=listener)

    def serve(link: socket.socket) -> None:
        try:
            with suppress(OSError), link:
                _Connection(app, link).run()
        finally:
            del app.waiting[link]

    def accept() -> None:
        with suppress(OSError):
            while True:
                _readable([listener], None)
                with app.lock:
                    link, _ = listener.accept()
                    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    app.waiting[link] = False
                threading.Thread(target=serve, args=(link,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield app
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for link in list(app.waiting):
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        thread.join(30)


def _readable(links: list[socket.socket], seconds: float | None) -> bool:
    """Whether one of them can be read, waiting for it; unlike select, whatever their numbers are."""
    poll = select.poll()
    for link in links:
        poll.register(link, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))


class _Connection:
    """One connection of the gate."""

    def __init__(self, app: Recorder, link: socket.socket) -> None:
        self.app, self.link = app, link
        self.parser = h11.Connection(h11.SERVER, MAX_HEAD_BYTES)
        self.raw = b""

    def run(self) -> None:
        while (request := self._head()) is not None:
            number = self.app.add(request)
            name = request.target.partition(b"?")[0].rpartition(b"/")[2]
            is_switched = name == b"ws" and request.values(b"upgrade") == [b"websocket"]
            is_early = name.startswith(b"early")
            if is_early and not is_switched:
                self._answer(request, number, name)
                if name == b"early-close":
                    self.link.shutdown(socket.SHUT_WR)
            if not self._body(request):
                return
            if is_switched:
                self._tunnel(request, number)
                return
            if not is_early:
                self._answer(request, number, name)
            if self.parser.their_state is not h11.DONE or self.parser.our_state is not h11.DONE:
                return
            self.parser.start_next_cycle()

    def _recv(self) -> bytes:
        self.app.waiting[self.link] = True
        try:
            _readable([self.link], None)
        finally:
            self.app.waiting[self.link] = False
        return self.link.recv(65536)

    def _event(self) -> object:
        while True:
            try:
                event = self.parser.next_event()
            except h11.RemoteProtocolError as problem:
                if not self.raw.endswith(b"\0eof"):
                    self.app.faults.append(f"the app got what is no request ({problem}): {self.raw[-300:]!r}")
                return None
            if event is not h11.NEED_DATA:
                return event
            try:
                data = self._recv()
            except ConnectionError:
                data = b""
            self.raw = (self.raw + (data or b"\0eof"))[-2000:]
            self.parser.receive_data(data)

    def _head(self) -> Request | None:
        event = self._event()
        if isinstance(event, h11.Request):
            return Request(event.method, event.target, list(event.headers))
        return None

    def _body(self, request: Request) -> bool:
        while True:
            event = self._event()
            if isinstance(event, h11.Data):
                request.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                request.is_whole = True
                return True
            else:
                return False

    def _answer(self, request: Request, number: int, name: bytes) -> None:
        if name == b"slow":
            time.sleep(0.003)
        headers = [(SERIAL, b"%d" % number)]
        body = b"answer %d" % number
        if name == b"none":
            headers.append((b"Content-Length", b"0"))
            body = b""
        elif name == b"chunked":
            headers.append((b"Transfer-Encoding", b"chunked"))
        else:
            headers.append((b"Content-Length", b"%d" % len(body)))
        if name == b"early-close":
            headers.append((b"Connection", b"close"))
        parts = [self.parser.send(h11.Response(status_code=200, headers=headers))]
        if body and request.method != b"HEAD":
            parts.append(self.parser.send(h11.Data(data=body)))
        parts.append(self.parser.send(h11.EndOfMessage()))
        self.link.sendall(b"".join(each or b"" for each in parts))

    def _tunnel(self, request: Request, number: int) -> None:
        key = (request.values(b"sec-websocket-key") or [b""])[0]
        accept = base64.b64encode(hashlib.sha1(key + _ACCEPT, usedforsecurity=False).digest())
        self.link.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n%s: %d\r\n\r\n" % (accept, SERIAL, number)
        )
        rest = bytearray(self.parser.trailing_data[0])
        request.rest = bytes(rest)
        while data := self._recv():
            rest += data
            request.rest = bytes(rest)
