# SPDX-License-Identifier: Apache-2.0
"""An app that speaks HTTP/2 on a bare socket, and does to each connection what a test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events


@dataclass(slots=True)
class Link:
    """One connection of the gate, by its number from 0."""

    number: int
    socket: socket.socket
    h2: h2.connection.H2Connection
    bodies: dict[int, bytes] = field(default_factory=dict)

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())


# What to do with an event; False ends the connection.
Script = Callable[["Http2App", Link, Any], bool | None]


@dataclass(slots=True)
class Http2App:
    """A running app; `requests` as they were whole: their fields and bodies."""

    port: int
    requests: list[tuple[dict[bytes, bytes], bytes]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"h2c://127.0.0.1:{self.port}"


def echo(app: Http2App, link: Link, event: Any) -> bool | None:
    """Answer each whole request with its body."""
    if not isinstance(event, h2.events.RequestReceived | h2.events.DataReceived | h2.events.StreamEnded):
        return None
    if isinstance(event, h2.events.RequestReceived):
        link.bodies[event.stream_id] = b""
        link.h2.streams[event.stream_id].fields = dict(event.headers)  # type: ignore[attr-defined]
    elif event.stream_id not in link.bodies:
        # Of a stream that a script has turned away.
        return None
    elif isinstance(event, h2.events.DataReceived):
        link.bodies[event.stream_id] += event.data
        link.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
    elif isinstance(event, h2.events.StreamEnded):
        body = link.bodies[event.stream_id]
        app.requests.append((link.h2.streams[event.stream_id].fields, body))  # type: ignore[attr-defined]
        link.h2.send_headers(event.stream_id, [(b":status", b"200")])
        link.h2.send_data(event.stream_id, body[:16_000], end_stream=True)
    return None


@contextmanager
def running_http2_app(script: Script = echo) -> Iterator[Http2App]:
    """Serve until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    app = Http2App(listener.getsockname()[1])

    def serve(link: Link) -> None:
        with suppress(OSError, h2.exceptions.ProtocolError), link.socket:
            link.h2.initiate_connection()
            link.flush()
            while data := link.socket.recv(65536):
                for event in link.h2.receive_data(data):
                    if script(app, link, event) is False:
                        link.flush()
                        return
                link.flush()

    def accept() -> None:
        with suppress(OSError):
            while True:
                taken, _ = listener.accept()
                configuration = h2.config.H2Configuration(client_side=False, header_encoding=None)
                link = Link(len(app.links), taken, h2.connection.H2Connection(configuration))
                app.links.append(link)
                threading.Thread(target=serve, args=(link,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield app
    finally:
        app.go_on.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for link in app.links:
            with suppress(OSError):
                link.socket.shutdown(socket.SHUT_RDWR)
        thread.join(30)
