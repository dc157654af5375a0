# SPDX-License-Identifier: Apache-2.0
"""The demo's app, as it answers on a connection that is kept."""

from __future__ import annotations

import runpy
import socket
import threading
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

APP = Path(__file__).parents[2] / "image/demo/app.py"


def test_no_answer_waits_for_the_peer_to_acknowledge_its_head() -> None:
    """Head and body are two writes; with Nagle's algorithm (RFC 896) the second waits for a delayed ACK."""
    handler: Any = runpy.run_path(str(APP), run_name="demo")["Handler"]
    options: list[int] = []

    class Seen(handler):  # type: ignore[misc]  # what the file holds is known only as it runs
        def log_message(self, *_: Any) -> None:
            # Once for each answer.
            options.append(self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Seen)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    connection = HTTPConnection(*server.server_address[:2], timeout=30)
    try:
        for _ in range(2):
            connection.request("GET", "/a")
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
    finally:
        connection.close()
        server.shutdown()
        thread.join()
        server.server_close()
    assert len(options) == 2
    assert all(options)
