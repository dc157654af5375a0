# SPDX-License-Identifier: Apache-2.0
"""The part of a kubelet that an API server asks for a container's log: a path, a query, a file."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from testing.controlplane.certificates import new_authority, write_serving_files


@dataclass
class LogServer:
    """Serves one log, and notes the targets that it was asked for."""

    port: int
    targets: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serving_log(address: str, log: Path, folder: Path) -> Iterator[LogServer]:
    """Answer /containerLogs/... on an address with what is in a file."""
    server: LogServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.targets.append(self.path)
            content = log.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            del format, arguments

    folder.mkdir()
    files = write_serving_files(new_authority(folder), [address])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.private_key)
    listener = ThreadingHTTPServer((address, 0), Handler)
    listener.daemon_threads = True
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    server = LogServer(listener.server_port)
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
