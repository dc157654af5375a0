# SPDX-License-Identifier: Apache-2.0
"""An app whose every answer is large, for callers who do not take it, or only slowly."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

ANSWER_BYTES = 50_000_000
_PIECE = b"a" * 100_000


@contextmanager
def answering_at_length() -> Iterator[str]:
    """Answer each connection's first request with 50 MB until the block ends; yields the app's URL."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def answer(link: socket.socket) -> None:
        with suppress(OSError), link:
            while b"\r\n\r\n" not in link.recv(65536):
                pass
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % ANSWER_BYTES)
            for _ in range(ANSWER_BYTES // len(_PIECE)):
                link.sendall(_PIECE)

    def accept() -> None:
        with suppress(OSError):
            while True:
                link, _ = listener.accept()
                threading.Thread(target=answer, args=(link,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
