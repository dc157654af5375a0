# SPDX-License-Identifier: Apache-2.0
"""A receiver of OTLP over HTTP, made of the protocol's own messages; it can be slow, silent, or refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from testing.controlplane.process import wait_until

WAIT_SECONDS = 60
Span = Any


class Receiver:
    """A running receiver.

    Attributes:
        spans: all that came, in the order of their coming.
        resources: the attributes of their resources, by key.
        status: what it answers.
        batches: how many requests came.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []
        self.resources: dict[str, str] = {}
        self.raw: list[bytes] = []
        self.status = 200
        self.batches = 0
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.is_asked = threading.Event()

    def take(self, body: bytes) -> None:
        """Take a request apart."""
        message = ExportTraceServiceRequest.FromString(body)
        self.raw.append(body)
        self.batches += 1
        for resource in message.resource_spans:
            self.resources |= {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def wait_for(self, number: int, is_one: Callable[[Span], bool] = lambda _: True) -> list[Span]:
        """The spans that are such, once there are so many."""
        wait_until(
            lambda: sum(map(is_one, list(self.spans))) >= number,
            what=f"{number} spans",
            timeout_seconds=WAIT_SECONDS,
        )
        return [each for each in self.spans if is_one(each)]


def attributes(span: Span) -> dict[str, str | int]:
    """A span's attributes, as plain values."""
    return {
        each.key: each.value.int_value if each.value.HasField("int_value") else each.value.string_value
        for each in span.attributes
    }


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.is_asked.set()
            receiver.goes_on.wait(WAIT_SECONDS)
            if receiver.status == 200:
                receiver.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            try:
                self.send_response(receiver.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
            except OSError:
                # The gate waited no longer.
                return

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
