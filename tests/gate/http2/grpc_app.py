# SPDX-License-Identifier: Apache-2.0
"""A real gRPC server (grpcio) behind the gate: four kinds of calls on bytes, and what it saw.

It answers health checks and server reflection too. Reflection says that each message of `demo.Echo` is a
`Text`: a caller that knows nothing but the address can then write and read the bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

SERVICE = "demo.Echo"
HEALTH = health.SERVICE_NAME
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
MAX_BYTES = 32 * 1024 * 1024
OPTIONS = [("grpc.max_send_message_length", MAX_BYTES), ("grpc.max_receive_message_length", MAX_BYTES)]


@dataclass(slots=True)
class GrpcApp:
    """A running server."""

    port: int
    seen: list[dict[str, str]] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    health: health.HealthServicer = field(default_factory=health.HealthServicer)

    @property
    def url(self) -> str:
        """For --upstream."""
        return f"h2c://127.0.0.1:{self.port}"


def _describe() -> None:
    """Put `demo.Echo` where reflection looks for it."""
    file = descriptor_pb2.FileDescriptorProto(name="demo/echo.proto", package="demo", syntax="proto3")
    message = file.message_type.add(name="Text")
    string = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
    once = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    message.field.add(name="text", number=1, type=string, label=once)
    service = file.service.add(name="Echo")
    for name, asks_often, answers_often in (
        ("Unary", False, False),
        ("ServerStream", False, True),
        ("ClientStream", True, False),
        ("Both", True, True),
    ):
        service.method.add(
            name=name,
            input_type=".demo.Text",
            output_type=".demo.Text",
            client_streaming=asks_often,
            server_streaming=answers_often,
        )
    descriptor_pool.Default().Add(file)


_describe()


@contextmanager
def running_grpc_app() -> Iterator[GrpcApp]:
    """Serve until the block ends."""
    server = grpc.server(ThreadPoolExecutor(16), options=OPTIONS)
    app = GrpcApp(server.add_insecure_port("127.0.0.1:0"))

    def note(context: Any) -> None:
        app.seen.append({key: str(value) for key, value in context.invocation_metadata()})

    def unary(request: bytes, context: Any) -> bytes:
        note(context)
        if request == b"fail":
            context.set_trailing_metadata((("x-detail", "one"),))
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 50 % done")
        if request == b"wait":
            context.add_callback(app.cancelled.set)
            app.go_on.wait(60)
        context.send_initial_metadata((("x-initial", "yes"),))
        context.set_trailing_metadata((("x-trailing", "yes"),))
        return request

    def serve_stream(request: bytes, context: Any) -> Iterator[bytes]:
        note(context)
        if request == b"forever":
            context.add_callback(app.cancelled.set)
            while context.is_active():
                yield b"x" * 1000
                app.go_on.wait(0.01)
            return
        for number in range(int(request)):
            yield b"%d" % number

    def take_stream(requests: Iterator[bytes], context: Any) -> bytes:
        note(context)
        return b"%d" % sum(len(each) for each in requests)

    def both(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        note(context)
        for each in requests:
            yield each.upper()

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(serve_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(take_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(app.health, server)
    app.health.set(SERVICE, SERVING)
    reflection.enable_server_reflection((SERVICE, HEALTH, reflection.SERVICE_NAME), server)
    server.start()
    try:
        yield app
    finally:
        app.go_on.set()
        server.stop(None).wait()
