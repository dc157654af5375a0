# SPDX-License-Identifier: Apache-2.0
"""A toy app that remembers what reached it, and a tap that passes requests on to the gate and remembers both.

Python's own server classes rewrite `//` at the start of a path, so what is kept here is the request line as
it came: a test of paths must not look through a lens that mends them.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Headers = list[tuple[str, str]]
# Sent anew by whoever passes a request or an answer on.
_PER_CONNECTION = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: as it was sent, and what it was answered with."""

    method: str
    target: str
    headers: Headers
    status: int = 200

    def values(self, name: str) -> list[str]:
        """The values of every header that an app could take for `name`, whatever the spelling."""
        return [value for key, value in self.headers if _folded(key) == _folded(name)]


@dataclass(slots=True)
class Server:
    """A server in a thread, with everything that reached it."""

    address: str
    seen: list[Seen] = field(default_factory=list)


Reply = tuple[int, Headers, bytes]


@contextmanager
def _serving(reply: Callable[[Seen, bytes], Reply]) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            method, target = self.requestline.split(" ")[:2]
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Seen(method, target, list(self.headers.items()))
            status, headers, content = reply(asked, body)
            server.seen.append(Seen(method, target, asked.headers, status))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            return

    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        setattr(Handler, f"do_{method}", Handler.handle_any)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server = Server(f"127.0.0.1:{listener.server_port}")
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


@contextmanager
def toy_app() -> Iterator[Server]:
    """An app that lets everybody in: what reaches it was let in by the proxy."""
    with _serving(lambda seen, body: (200, [("Content-Type", "text/plain")], b"hello from the app")) as app:
        yield app


@contextmanager
def tap(gate_address: str) -> Iterator[Server]:
    """Stands between a proxy and the gate: passes each request on as it came, and the answer back."""

    def reply(seen: Seen, body: bytes) -> Reply:
        connection = http.client.HTTPConnection(gate_address, timeout=30)
        try:
            connection.putrequest(seen.method, seen.target, skip_host=True, skip_accept_encoding=True)
            for name, value in seen.headers:
                if name.lower() not in _PER_CONNECTION:
                    connection.putheader(name, value)
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            content = answer.read()
            headers = [item for item in answer.getheaders() if item[0].lower() not in _PER_CONNECTION]
            return answer.status, headers, content
        finally:
            connection.close()

    with _serving(reply) as server:
        yield server


_ENVOY = "/authz/envoy"


def told(asked: Seen) -> tuple[str, str]:
    """The method and target that a proxy told the gate; raises ValueError when it told one of them twice."""
    if asked.target.startswith(f"{_ENVOY}/"):
        return asked.method, asked.target.removeprefix(_ENVOY)
    said = [
        [
            value
            for name, value in asked.headers
            if name.lower() in {f"x-original-{what}", f"x-forwarded-{what}"}
        ]
        for what in ("method", "uri")
    ]
    [method], [target] = said
    return method, target


def _folded(name: str) -> str:
    # What CGI, WSGI and PHP make of a name: every character but letters and digits becomes an underscore.
    return "".join(each if each.isalnum() else "_" for each in name.lower())
