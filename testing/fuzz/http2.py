# SPDX-License-Identifier: Apache-2.0
"""A caller's HTTP/2 connection under a fuzzer: frames of any kind, at the gate's own protocol.

It must not raise, hold little, write frames only, and answer each stream at most once.
"""

import asyncio
from typing import Any, cast

import h2.config
import h2.connection
from uvicorn.server import ServerState

from testing.attacks import manifests
from testing.fuzz.targets import Target
from watchword.gate.draining import Draining
from watchword.gate.engine import Engine
from watchword.gate.http2.connection import Http2Connection, Service
from watchword.gate.http2.frames import HEADERS, RST_STREAM, FrameReader
from watchword.gate.metrics import GateMetrics
from watchword.gate.protocol import BOUNDS, passes_nothing_on
from watchword.process.bounds import Budget
from watchword.trust import compile_resources, load, parse_manifests

MAX_HELD_BYTES = 2 * 1024 * 1024
END_STREAM = 0x1


class Wire(asyncio.Transport):
    """Keeps what is written, and takes all of it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = bytearray(), False

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        del name
        return default

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        """Nothing is read by itself."""

    def resume_reading(self) -> None:
        """Nothing is read by itself."""


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["raw_path"])]})
    await send({"type": "http.response.body", "body": body})


def http2_target() -> Target:
    """Bytes behind a preface: answers in frames, or an end."""
    loop = asyncio.new_event_loop()
    made = compile_resources(parse_manifests([("world", manifests.text(*manifests.world()))]).resources)
    engine = Engine(GateMetrics())
    engine.adopt(load(made.bundles[0]))
    app = Draining(cast("Any", _echo))

    async def one(data: bytes) -> tuple[bytes, int]:
        budget = Budget(BOUNDS)
        service = Service(engine, app, app, passes_nothing_on, None, budget, ServerState(), 75)
        connection, wire = Http2Connection(service, ("192.0.2.1", 1), None, "http"), Wire()
        connection.connection_made(wire)
        for start in range(0, len(data), 1000):
            connection.data_received(data[start : start + 1000])
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        held = connection.held_bytes()
        connection.connection_lost(None)
        for task in service.state.tasks:
            task.cancel()
        await asyncio.gather(*service.state.tasks, return_exceptions=True)
        assert not len(budget)
        return bytes(wire.written), held

    def run(data: bytes) -> None:
        written, held = loop.run_until_complete(one(data))
        assert held < MAX_HELD_BYTES, held
        ended: set[int] = set()
        for frame in FrameReader(has_preface=False).feed(written):
            assert not isinstance(frame, bytes)
            assert frame.type == RST_STREAM or frame.stream_id not in ended or frame.stream_id == 0
            if frame.type in (HEADERS, 0) and frame.flags & END_STREAM:
                ended.add(frame.stream_id)

    return run


def seeds() -> list[bytes]:
    """Good connections: requests with and without bodies, resets, settings, trailers."""

    def talk(*, is_grpc: bool = False) -> bytes:
        caller = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        caller.initiate_connection()
        fields = [(":method", "POST"), (":scheme", "http"), (":authority", "gate"), (":path", "/a/b")]
        fields += [("content-type", "application/grpc" if is_grpc else "text/plain"), ("cookie", "a=1")]
        caller.send_headers(1, fields)
        caller.send_data(1, b"body")
        caller.send_headers(1, [("x-trailer", "1")], end_stream=True)
        caller.send_headers(3, [*fields[:3], (":path", "/authz")], end_stream=True)
        caller.send_headers(5, fields)
        caller.reset_stream(5, 8)
        caller.ping(b"12345678")
        caller.update_settings({4: 10})
        caller.increment_flow_control_window(1000)
        return caller.data_to_send()

    whole = talk()
    return [whole, talk(is_grpc=True), whole[:200], whole[:24]]
