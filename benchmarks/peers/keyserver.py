# SPDX-License-Identifier: Apache-2.0
"""A server of a JWKS for those who fetch keys, which counts how often they do."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class KeyServer:
    """What was served.

    Attributes:
        url: where the keys are.
        fetched: how often someone asked for them.
    """

    def __init__(self, url: str) -> None:
        self.url, self.fetched = url, 0


@contextmanager
def key_server(jwks: Mapping[str, Any]) -> Iterator[KeyServer]:
    """Serve a JWKS on loopback until the block ends."""
    body = json.dumps(jwks).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.fetched += 1
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server = KeyServer(f"http://127.0.0.1:{listener.server_address[1]}/openid/v1/jwks")
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            listener.shutdown()
