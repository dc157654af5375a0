# SPDX-License-Identifier: Apache-2.0
"""What listens where a desk or a provider should: it answers with whatever a test says, or without end."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Handler = http.server.BaseHTTPRequestHandler
# A status and a document, or whatever writes an answer itself.
Answer = tuple[int, Any] | Callable[[Handler], None]
ESCAPES = "\x1b]0;title\x07\x1b[31mred\r\nSigned in\u202e\u0085"
# How long what does not end goes on, where no one hangs up.
_LONG_SECONDS = 60.0


class HostileDesk:
    """Answers on loopback.

    Attributes:
        url: where.
        answers: by method and path; 404 without a body for all else.
        asked: the method, the path, and the Authorization of each request, in order.
        sent: how many bytes of answers without end were taken from it.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.sent = 0
        outer = self

        class Asked(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
                found = outer.answers.get((self.command, self.path.partition("?")[0]), (404, None))
                if callable(found):
                    self.close_connection = True
                    try:
                        found(self)
                    except OSError:
                        return
                    return
                status, document = found
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def do_CONNECT(self) -> None:
                self.answer()

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def endless(self, handler: Handler) -> None:
        """White space without end."""
        handler.send_response(200)
        handler.end_headers()
        ends = time.monotonic() + _LONG_SECONDS
        while time.monotonic() < ends:
            handler.wfile.write(b" " * 65536)
            self.sent += 65536


def dripping(handler: Handler) -> None:
    """A body of a byte now and then."""
    handler.send_response(200)
    handler.end_headers()
    _drip(handler, b" ")


def dripping_headers(handler: Handler) -> None:
    """A header now and then."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    _drip(handler, b"A: b\r\n")


def hanging(handler: Handler) -> None:
    """Nothing, on a connection that stays open."""
    handler.connection.settimeout(_LONG_SECONDS)
    handler.rfile.read(1)


def _drip(handler: Handler, part: bytes) -> None:
    ends = time.monotonic() + _LONG_SECONDS
    while time.monotonic() < ends:
        handler.wfile.write(part)
        handler.wfile.flush()
        time.sleep(0.2)


@contextmanager
def hostile_desk() -> Iterator[HostileDesk]:
    """It on a free port until the end of the block."""
    desk = HostileDesk()
    thread = threading.Thread(target=desk.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield desk
    finally:
        desk.server.shutdown()
        desk.server.server_close()
        thread.join()
