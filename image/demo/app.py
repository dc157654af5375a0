# SPDX-License-Identifier: Apache-2.0
"""An app that leaves the question who calls to the gate: it answers with what the gate's headers say.

It listens on loopback unless told otherwise, so that it is reached only through the gate in its pod. What
happens to it is on stdout, one JSON object a line.
"""

import argparse
import json
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


def say(event: str, **fields: Any) -> None:
    """One line for people and for tests."""
    print(json.dumps({"event": event, "time": time.time(), **fields}), flush=True)


class Handler(BaseHTTPRequestHandler):
    """Answers any GET with the caller's identity; `?seconds=N` makes it take its time."""

    protocol_version = "HTTP/1.1"
    # Head and body are two writes: else the body waits some 40 ms for the peer to acknowledge the head.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer."""
        url = urlsplit(self.path)
        seconds = float(parse_qs(url.query).get("seconds", ["0"])[0])
        if seconds:
            say("begun", path=url.path, seconds=seconds)
            time.sleep(seconds)
        identity = {
            name.lower(): value
            for name, value in self.headers.items()
            if name.lower().startswith("x-watchword-")
        }
        # A proxy in front that passed the credential on would have given the app the caller's power.
        answer = {"path": url.path, "identity": identity, "sees_credential": "Authorization" in self.headers}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """No access log: the caller keeps count."""


def main() -> None:
    """Serve until SIGTERM, then end what was begun."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:8080", metavar="HOST:PORT")
    parser.add_argument("--drain-seconds", type=float, default=0.0, help="serve on for so long after SIGTERM")
    given = parser.parse_args()
    host, _, port = given.listen.rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.daemon_threads = False

    def stop(*_: Any) -> None:
        say("stopping")
        threading.Timer(given.drain_seconds, server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    say("started", listen=given.listen)
    server.serve_forever()
    server.server_close()
    say("stopped")


if __name__ == "__main__":
    sys.exit(main())
