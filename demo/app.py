# SPDX-License-Identifier: Apache-2.0
"""The app behind the demo's gate (`app.py PORT`): it answers who calls, by the headers of the gate."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers with the caller's subject, which is empty where the gate proved none."""

    protocol_version = "HTTP/1.1"
    # One write for head and body.
    wbufsize = -1

    def do_GET(self) -> None:
        """Say who calls."""
        body = json.dumps({"caller": self.headers.get("X-Watchword-Subject", "")}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the demo tells what happens."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
