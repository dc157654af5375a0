# SPDX-License-Identifier: Apache-2.0
"""An app whose every byte a test decides, and a gate before it that knows two workloads."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testing import tokens
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.proxy.conftest import GRANTS, ROUTES

WAIT_SECONDS = 30
ACCOUNTS = ("one", "two")


@dataclass(slots=True)
class Heard:
    """A request as it reached the app.

    Attributes:
        connection: the number of the connection that it came on, from 0, of those that bring requests.
        turn: its number on that connection, from 0.
        head: its head, with the empty line.
        link: the connection, for a script that reads and writes by itself.
        rest: what was read behind the head.
    """

    connection: int
    turn: int
    head: bytes
    link: socket.socket
    rest: bytes = b""

    @property
    def name(self) -> str:
        """The last segment of the path."""
        return self.head.split(b" ")[1].partition(b"?")[0].rpartition(b"/")[2].decode()


# Bytes to send; None closes the connection. A script that returns False ends it as well.
Script = Callable[[Heard], bytes | bool | None]


@dataclass(slots=True)
class ScriptedApp:
    """A running app; `heard` in the order of arrival."""

    port: int
    heard: list[Heard] = field(default_factory=list)
    links: list[socket.socket] = field(default_factory=list)
    used: list[socket.socket] = field(default_factory=list)

    def wait_for(self, number: int) -> None:
        """Return once so many requests were heard."""
        deadline = time.monotonic() + WAIT_SECONDS
        while len(self.heard) < number:
            assert time.monotonic() < deadline, f"{len(self.heard)} of {number} requests came"
            time.sleep(0.005)


@contextmanager
def running_script(script: Script) -> Iterator[ScriptedApp]:
    """Serve until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    app = ScriptedApp(listener.getsockname()[1])

    def serve(link: socket.socket) -> None:
        rest, turn = b"", 0
        with suppress(OSError), link:
            while True:
                while b"\r\n\r\n" not in rest:
                    data = link.recv(65536)
                    if not data:
                        return
                    rest += data
                head, _, rest = rest.partition(b"\r\n\r\n")
                if not turn:
                    # The gate also looks whether the app is there.
                    app.used.append(link)
                heard = Heard(app.used.index(link), turn, head + b"\r\n\r\n", link, rest)
                app.heard.append(heard)
                answer = script(heard)
                if not isinstance(answer, bytes):
                    return
                link.sendall(answer)
                rest, turn = heard.rest, turn + 1

    def accept() -> None:
        with suppress(OSError):
            while True:
                link, _ = listener.accept()
                app.links.append(link)
                threading.Thread(target=serve, args=(link,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield app
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for link in app.links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        thread.join(30)


@dataclass(slots=True)
class Scene:
    """A gate before a scripted app."""

    gate: Gate
    app: ScriptedApp

    def connect(self, receive_bytes: int = 0) -> socket.socket:
        """A connection to the gate."""
        host, port = self.gate.address.rsplit(":", 1)
        link = socket.socket()
        link.settimeout(WAIT_SECONDS)
        if receive_bytes:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        link.connect((host, int(port)))
        return link

    def ask(self, line: bytes, *headers: bytes, body: bytes = b"", who: str = "one") -> bytes:
        """One request on a connection of its own; what came until it closed."""
        with self.connect() as link:
            link.sendall(request(line, *headers, b"Connection: close", body=body, who=who))
            return read_all(link)


_lines: dict[str, bytes] = {}


def credential(who: str) -> bytes:
    """The Authorization header of a workload."""
    if who not in _lines:
        now = int(time.time())
        claims = tokens.kubernetes(namespace="apps", serviceaccount={"name": who, "uid": who})
        token = tokens.token(
            iat=now - 60,
            nbf=now - 60,
            exp=now + 3500,
            sub=f"system:serviceaccount:apps:{who}",
            **{"kubernetes.io": claims},
        )
        _lines[who] = b"Authorization: Bearer " + token
    return _lines[who]


def request(line: bytes, *headers: bytes, body: bytes = b"", who: str = "one") -> bytes:
    """A request in exact bytes."""
    return b"\r\n".join([line, b"Host: gate", credential(who), *headers, b"", body])


def read_all(link: socket.socket) -> bytes:
    """All that comes until the end; a reset is one too."""
    found = bytearray()
    with suppress(ConnectionResetError):
        while data := link.recv(65536):
            found += data
    return bytes(found)


def read_until(link: socket.socket, mark: bytes) -> bytes:
    """What comes up to a mark, and maybe more."""
    found = b""
    while mark not in found:
        data = link.recv(65536)
        assert data, found
        found += data
    return found


@contextmanager
def scene(folder: Path, script: Script, flags: Sequence[str] = (), **spec: Any) -> Iterator[Scene]:
    """A gate before a scripted app, until the block ends; `spec` is of its service."""
    objects = [issuer(), service(**{"routes": ROUTES} | spec)]
    objects += [
        workload(name=each, serviceAccount={"namespace": "apps", "name": each}, grants=GRANTS)
        for each in ACCOUNTS
    ]
    bundle = write_bundle(folder / "bundle.json", *objects)
    with running_script(script) as app:
        upstream = ("--upstream", f"http://127.0.0.1:{app.port}")
        with running_gate(bundle, *upstream, *flags) as gate:
            yield Scene(gate, app)
