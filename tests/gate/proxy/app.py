# SPDX-License-Identifier: Apache-2.0
"""An app on bare sockets behind the gate: it keeps the very bytes that reached it, and misbehaves on demand.

A server library would mend what a test of a proxy must see as it came.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

LONG_SECONDS = 600.0
_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(slots=True)
class Connection:
    """One connection of the gate to the app, with what was read of it beyond the present message."""

    link: socket.socket
    rest: bytes = b""

    def read_until(self, mark: bytes) -> bytes | None:
        """Up to and with a mark; None when the gate closed."""
        while mark not in self.rest:
            data = self.link.recv(65536)
            if not data:
                return None
            self.rest += data
        found, _, self.rest = self.rest.partition(mark)
        return found + mark

    def read(self, size: int) -> bytes:
        """Exactly so many bytes, or fewer when the gate closed."""
        while len(self.rest) < size:
            data = self.link.recv(65536)
            if not data:
                break
            self.rest += data
        found, self.rest = self.rest[:size], self.rest[size:]
        return found

    def chunks(self) -> Iterator[bytes]:
        """The chunks of a chunked body, as they come."""
        while (line := self.read_until(b"\r\n")) is not None:
            size = int(line, 16)
            data = self.read(size + 2)[:size]
            if not size:
                return
            yield data


@dataclass(slots=True)
class Request:
    """One request as it reached the app."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header, by any spelling that an app could take for it."""
        return [value for key, value in self.headers if key.lower().replace(b"_", b"-") == name]


@dataclass(slots=True)
class App:
    """A running app."""

    port: int
    seen: list[Request] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)
    callers_gone: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """For --upstream."""
        return f"http://127.0.0.1:{self.port}"


Behaviour = Callable[[App, Connection, Request], bool]


@contextmanager
def running_app() -> Iterator[App]:
    """Serve until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    app = App(listener.getsockname()[1])
    links: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                link, _ = listener.accept()
                links.append(link)
                app.connections.append(len(links))
                threading.Thread(target=_serve, args=(app, link), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield app
    finally:
        app.go_on.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for link in links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()
        thread.join(30)


def _serve(app: App, link: socket.socket) -> None:
    connection = Connection(link)
    with suppress(OSError), link:
        while (head := connection.read_until(b"\r\n\r\n")) is not None:
            line, *lines = head[:-4].split(b"\r\n")
            pairs = [each.partition(b":") for each in lines]
            request = Request(line, [(name, value.strip()) for name, _, value in pairs])
            app.seen.append(request)
            name = line.split(b" ")[1].split(b"?")[0].rpartition(b"/")[2].decode()
            if not BEHAVIOURS.get(name, _echo)(app, connection, request):
                return


def _answer(connection: Connection, body: bytes = b"", status: bytes = b"200 OK", *headers: bytes) -> bool:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    connection.link.sendall(b"\r\n".join([*lines, b"", body]))
    return True


def _echo(_: App, connection: Connection, request: Request) -> bool:
    lengths = request.values(b"content-length")
    if request.values(b"transfer-encoding"):
        request.body = b"".join(connection.chunks())
    elif lengths:
        request.body = connection.read(int(lengths[0]))
    return _answer(connection, b"" if request.line.startswith(b"HEAD") else request.body)


def _both_ways(_: App, connection: Connection, __: Request) -> bool:
    # Answers each chunk before the next one is sent.
    connection.link.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for data in connection.chunks():
        connection.link.sendall(b"%x\r\n%s\r\n" % (len(data), data))
    connection.link.sendall(b"0\r\n\r\n")
    return True


def _stream(app: App, connection: Connection, __: Request) -> bool:
    connection.link.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
    app.go_on.wait(LONG_SECONDS)
    connection.link.sendall(b"1\r\ns\r\n0\r\n\r\n")
    return True


def _endless(app: App, connection: Connection, __: Request) -> bool:
    connection.link.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    try:
        while True:
            connection.link.sendall(b"1\r\nx\r\n")
            time.sleep(0.05)
    except OSError:
        app.callers_gone.set()
    return False


def _silent(app: App, _: Connection, __: Request) -> bool:
    app.go_on.wait(LONG_SECONDS)
    return False


def _closes(_: App, __: Connection, ___: Request) -> bool:
    return False


def _breaks_off(_: App, connection: Connection, __: Request) -> bool:
    connection.link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    return False


def _breaks_off_chunked(_: App, connection: Connection, __: Request) -> bool:
    connection.link.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    return False


def _no_http(_: App, connection: Connection, __: Request) -> bool:
    connection.link.sendall(b"220 mail.example ESMTP\r\n\r\n")
    return False


def _early(_: App, connection: Connection, __: Request) -> bool:
    # Refuses a body without reading it.
    _answer(connection, b"too much", b"413 Content Too Large", b"Connection: close")
    return False


def _forges(_: App, connection: Connection, __: Request) -> bool:
    return _answer(
        connection,
        b"no",
        b"401 Unauthorized",
        b"X-Watchword-Reason: bad_signature",
        b"X_Watchword_Upstream: broken",
        b"X-Watchword-Would-Refuse: nothing",
        b"Keep-Alive: timeout=5",
        b"Connection: X-Private",
        b"X-Private: 1",
        b"Set-Cookie: a=1",
        b"Set-Cookie: b=2",
    )


def _not_modified(_: App, connection: Connection, __: Request) -> bool:
    connection.link.sendall(b'HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: "1"\r\n\r\n')
    return True


def _moved(_: App, connection: Connection, __: Request) -> bool:
    return _answer(connection, b"", b"302 Found", b"Location: http://other.example/")


def _dated(_: App, connection: Connection, __: Request) -> bool:
    return _answer(connection, b"", b"200 OK", b"Date: Thu, 01 Jan 2026 00:00:00 GMT")


def _packed(_: App, connection: Connection, __: Request) -> bool:
    return _answer(connection, b"not really gzip", b"200 OK", b"Content-Encoding: gzip")


def _socket(app: App, connection: Connection, request: Request) -> bool:
    _switch(connection, request, b"hello")
    connection.link.sendall(connection.rest)
    while data := connection.link.recv(65536):
        connection.link.sendall(data.upper())
    app.callers_gone.set()
    return False


def _switch(connection: Connection, request: Request, first: bytes) -> None:
    key = request.values(b"sec-websocket-key")[0]
    accept = base64.b64encode(hashlib.sha1(key + _ACCEPT, usedforsecurity=False).digest())
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    connection.link.sendall(head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + first)


def _listen_until_gone(app: App, connection: Connection) -> bool:
    with suppress(OSError):
        while connection.link.recv(65536):
            pass
    app.callers_gone.set()
    return False


def _frames(app: App, connection: Connection, request: Request) -> bool:
    # One whole text frame.
    _switch(connection, request, b"\x81\x05hello")
    return _listen_until_gone(app, connection)


def _half_a_frame(app: App, connection: Connection, request: Request) -> bool:
    # Five of ten bytes of a frame: what came now would be read as the rest of it.
    _switch(connection, request, b"\x81\x0ahello")
    return _listen_until_gone(app, connection)


def _events(app: App, connection: Connection, __: Request) -> bool:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.link.sendall(head + b"9\r\ndata: a\n\n\r\n")
    return _listen_until_gone(app, connection)


def _takes_a_body(app: App, connection: Connection, __: Request) -> bool:
    # Never answers.
    app.go_on.set()
    return _listen_until_gone(app, connection)


BEHAVIOURS: dict[str, Behaviour] = {
    "both-ways": _both_ways,
    "stream": _stream,
    "endless": _endless,
    "silent": _silent,
    "closes": _closes,
    "breaks-off": _breaks_off,
    "breaks-off-chunked": _breaks_off_chunked,
    "no-http": _no_http,
    "early": _early,
    "forges": _forges,
    "not-modified": _not_modified,
    "moved": _moved,
    "dated": _dated,
    "packed": _packed,
    "socket": _socket,
    "frames": _frames,
    "half-a-frame": _half_a_frame,
    "events": _events,
    "takes-a-body": _takes_a_body,
}
