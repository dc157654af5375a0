# SPDX-License-Identifier: Apache-2.0
"""A real HTTPS endpoint on loopback that behaves as badly as a test says, and counts what it was asked."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Behaviour = Callable[["Visit"], None]


class Visit:
    """One connection, seen from the endpoint."""

    def __init__(self, link: socket.socket, request: bytes, endpoint: Endpoint) -> None:
        self._link, self.request, self.endpoint = link, request, endpoint

    def send(self, data: bytes) -> None:
        self._link.sendall(data)
        self.endpoint.sent += len(data)

    def header(self, name: str) -> str | None:
        for line in self.request.decode("latin-1").split("\r\n")[1:]:
            found, _, value = line.partition(": ")
            if found.lower() == name.lower():
                return value
        return None

    @property
    def path(self) -> str:
        return self.request.split(b" ")[1].decode()

    def hold(self) -> None:
        """Do nothing until the test ends or the client leaves."""
        self.endpoint.over.wait(30)

    def trickle(self, data: bytes) -> None:
        """A byte at a time, for ever."""
        for byte in data:
            if self.endpoint.over.is_set():
                return
            self.send(bytes([byte]))
            time.sleep(0.02)


class Endpoint:
    """Where it listens, how it behaves, and what it saw."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext | None, behaviour: Behaviour) -> None:
        self._listener, self._context = listener, context
        self.behaviour = behaviour
        self.port: int = listener.getsockname()[1]
        self.connections = 0
        self.sent = 0
        self.requests: list[Visit] = []
        self.over = threading.Event()

    def url(self, path: str = "/keys", host: str = "localhost") -> str:
        return f"https://{host}:{self.port}{path}"

    def serve(self) -> None:
        while not self.over.is_set():
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._visit, args=(link,), daemon=True).start()

    def _visit(self, link: socket.socket) -> None:
        with link, contextlib.suppress(OSError):
            link.settimeout(30)
            if self._context is None:
                self.behaviour(Visit(link, b"", self))
                return
            with self._context.wrap_socket(link, server_side=True) as secure:
                request = b""
                while b"\r\n\r\n" not in request:
                    if not (piece := secure.recv(65536)):
                        return
                    request += piece
                visit = Visit(secure, request, self)
                self.requests.append(visit)
                self.behaviour(visit)


@contextmanager
def endpoint(context: ssl.SSLContext | None, behaviour: Behaviour) -> Iterator[Endpoint]:
    """Listen until the block ends; without a context it never speaks TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Endpoint(listener, context, behaviour)
        thread = threading.Thread(target=running.serve, daemon=True)
        thread.start()
        try:
            yield running
        finally:
            running.over.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def answer(
    body: bytes, status: str = "200 OK", kind: str | None = "application/jwk-set+json", **headers: str
) -> bytes:
    """A well-behaved answer; `_` in a header's name is a hyphen."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [] if kind is None else [f"Content-Type: {kind}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def always(data: bytes) -> Behaviour:
    return lambda visit: visit.send(data)
