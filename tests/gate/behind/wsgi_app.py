# SPDX-License-Identifier: Apache-2.0
"""A bare WSGI app for gunicorn: `echo` as it comes, `events` one at a time, `headers` as JSON."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

_next = threading.Semaphore(0)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """Answer by the last segment of the path."""
    name = environ["PATH_INFO"].rpartition("/")[2]
    kind = "text/event-stream" if name == "events" else "application/octet-stream"
    start_response("200 OK", [("Content-Type", kind)])
    if name == "echo":
        while part := environ["wsgi.input"].read(65536):
            yield part
    elif name == "events":
        for number in range(3):
            yield b"data: %d\n\n" % number
            _next.acquire()
    elif name == "next":
        _next.release()
    else:
        found = [
            [key.removeprefix("HTTP_").replace("_", "-").lower(), value]
            for key, value in environ.items()
            if key.startswith("HTTP_")
        ]
        yield json.dumps(found).encode()
