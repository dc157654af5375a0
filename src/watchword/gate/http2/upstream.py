# SPDX-License-Identifier: Apache-2.0
"""The app behind the gate, where it speaks HTTP/2 (`--upstream h2c://HOST:PORT`): connections by workload.

Streams of one workload share connections, and no other's do: what one of them makes the app do to its
connection, it does to itself.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import h2.events
import h2.exceptions
from h2.settings import SettingCodes, Settings

from watchword.gate.http2.frames import DATA, HEADERS, Frame
from watchword.gate.http2.host import Fields, Http2Host, Outlet, configuration
from watchword.gate.http2.limits import APP_FIELD_BYTES, APP_STREAM_WINDOW, MAX_APP_STREAMS
from watchword.gate.proxy.target import UpstreamAddress
from watchword.gate.proxy.upstream import CONNECT_SECONDS, MAX_IDLE, UPLOAD_SECONDS, Upstream
from watchword.gate.proxy.upstream_errors import explain
from watchword.gate.responses import Answer

if TYPE_CHECKING:
    from watchword.gate.http2.forwarded_stream import ForwardedStream

# How long a connection without a stream is kept, in seconds. An app that closes earlier says so.
IDLE_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 1.0


class AppConnection(Http2Host):
    """One connection to the app.

    Attributes:
        pool: names whose requests it serves.
        idle_since: since when it has no stream, on the loop's clock.
    """

    def __init__(self, upstream: "Http2Upstream", pool: bytes) -> None:
        """Serve the streams of one pool."""
        super().__init__(configuration(client_side=True, validates=True), max_block_bytes=APP_FIELD_BYTES)
        self._upstream, self.pool = upstream, pool
        self._streams: dict[int, ForwardedStream] = {}
        self._is_leaving = self._has_answered = False
        self.idle_since = 0.0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvloop's is one
        """Say what may be sent."""
        super().connection_made(transport)
        self.connection.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: APP_STREAM_WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: APP_FIELD_BYTES,
            },
        )
        self.connection.decoder.max_header_list_size = APP_FIELD_BYTES
        self.connection.initiate_connection()
        # Twice what all streams may send: the library gives credit back when half of it is used up.
        window = 2 * MAX_APP_STREAMS * APP_STREAM_WINDOW
        self.connection.increment_flow_control_window(window - 65_535)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whose requests it had."""
        super().connection_lost(exc)
        self._upstream.forget(self)
        self._lose_all(type(exc).__name__ if exc else "EOFError")

    def _lose_all(self, why: str) -> None:
        streams, self._streams = list(self._streams.values()), {}
        # What came of a frame that is not whole may be the first byte of any answer.
        may_repeat = self._has_answered and not len(self._reader)
        for stream in streams:
            is_read = stream.asked.method in ("GET", "HEAD") and stream.is_whole
            stream.lose(why=why, can_retry=is_read and may_repeat)

    # What the frames say.

    def on_frame(self, frame: Frame) -> None:
        """Note whose answer has begun, before it is known what is in it."""
        if frame.type in (HEADERS, DATA) and (stream := self._streams.get(frame.stream_id)) is not None:
            stream.has_begun = True

    def on_event(self, event: h2.events.Event) -> None:
        """Pass on what the library found."""
        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, h2.events.WindowUpdated):
            self.pump(event.stream_id)
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.pump_all()
        elif isinstance(event, h2.events.DataReceived):
            if stream is None:
                self.acknowledge(event.stream_id, event.flow_controlled_length)
            else:
                stream.take_answer_body(event.data, event.flow_controlled_length)
        elif stream is not None:
            self._tell(stream, event)

    def _tell(self, stream: "ForwardedStream", event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self._has_answered = True
            stream.take_answer_head(_bytes(event.headers), is_end=event.stream_ended is not None)
        elif isinstance(event, h2.events.InformationalResponseReceived):
            stream.take_answer_head(_bytes(event.headers), is_end=False)
        elif isinstance(event, h2.events.TrailersReceived):
            stream.take_answer_end(_bytes(event.headers))
        elif isinstance(event, h2.events.StreamEnded):
            stream.take_answer_end(None)
        elif isinstance(event, h2.events.StreamReset):
            self._forget(event.stream_id)
            stream.take_reset(int(event.error_code))

    def on_goaway(self, last_stream_id: int, code: int) -> None:
        """Begin nothing more on it; what the app did not take may be sent again."""
        del code
        self._is_leaving = True
        self._upstream.forget(self)
        for stream_id, stream in list(self._streams.items()):
            if stream_id > last_stream_id:
                self._forget(stream_id)
                stream.lose(why="GOAWAY", can_retry=True)
        if not self._streams:
            self.close()

    def on_fault(self, why: str) -> None:
        """The app broke the protocol."""
        self._upstream.forget(self)
        self._lose_all(why)

    # What streams use.

    def has_room(self) -> bool:
        """Whether one more stream may be begun."""
        most = min(MAX_APP_STREAMS, self.connection.remote_settings.max_concurrent_streams)
        return not (self._is_leaving or self.is_over) and len(self._streams) < most

    def is_busy(self) -> bool:
        """Whether it has a stream."""
        return bool(self._streams)

    def begin(self, stream: "ForwardedStream", fields: Fields, *, is_end: bool) -> Outlet:
        """Begin a request; its outlet takes the body."""
        stream_id = self.connection.get_next_available_stream_id()
        self._streams[stream_id] = stream
        outlet = self.outlet(stream_id, stream.on_app_sent, _nothing)
        self.send_fields(stream_id, fields, is_end=is_end)
        if is_end:
            outlet.close()
        return outlet

    def leave(self, outlet: Outlet, code: int) -> None:
        """Have no more to do with a stream; it is reset unless both sides have ended it."""
        if outlet.stream_id not in self._streams:
            return
        self.reset(outlet.stream_id, code)
        outlet.close()
        self._forget(outlet.stream_id)

    def close(self) -> None:
        """End at once."""
        self.is_over = True
        if self._transport is not None:
            self._transport.close()

    def _forget(self, stream_id: int) -> None:
        outlet = self._outlets.get(stream_id)
        if outlet is not None:
            outlet.stop()
        if self._streams.pop(stream_id, None) is None or self._streams:
            return
        self.idle_since = asyncio.get_running_loop().time()
        if self._is_leaving:
            # What was written goes out first.
            self.flush()
            self.close()


class Http2Upstream:
    """The app behind the gate.

    Attributes:
        active: the requests that are passed on.
        answer_seconds: how long the app may take until its answer begins, or goes on; not for gRPC.
        upload_seconds: how long a caller may send nothing of a body that it began; not for gRPC.
        authority: HOST:PORT of the app.
        address: where it is.
    """

    speaks_http2 = True

    def __init__(
        self, address: UpstreamAddress, answer_seconds: float, upload_seconds: float = UPLOAD_SECONDS
    ) -> None:
        """Send requests to an app; see the attributes."""
        self.address = address
        self.answer_seconds, self.upload_seconds = answer_seconds, upload_seconds
        self.authority = address.authority.encode()
        self.active: dict[Any, None] = {}
        self._connections: dict[bytes, list[AppConnection]] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        # By workload, those that wait for the connection that is being made last.
        self._waiting: dict[bytes, list[ForwardedStream]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def open(self, stream: "ForwardedStream") -> None:
        """Have a request sent by a connection with room for it, or by a new one."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)
        for connection in self._connections.get(stream.pool, ()):
            if connection.has_room():
                stream.attach(connection)
                return
        waiting = self._waiting.get(stream.pool)
        if waiting is not None and len(waiting) < MAX_APP_STREAMS:
            waiting.append(stream)
            return
        waiting = self._waiting[stream.pool] = [stream]
        task = asyncio.get_running_loop().create_task(self._connect(stream.pool, waiting))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def forget(self, connection: AppConnection) -> None:
        """Begin nothing more on a connection."""
        pool = self._connections.get(connection.pool)
        if pool is not None and connection in pool:
            pool.remove(connection)
            if not pool:
                del self._connections[connection.pool]

    def close(self) -> None:
        """Close all connections."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._connecting:
            task.cancel()
        for connection in [each for pool in self._connections.values() for each in pool]:
            connection.close()

    def explain(self, what: str) -> Answer:
        """The answer to a request that got none from the app."""
        return explain(what, self.address.authority, self.answer_seconds, "HTTP/2")

    async def _connect(self, pool: bytes, waiting: "list[ForwardedStream]") -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: AppConnection(self, pool), self.address.host, self.address.port
                )
        except OSError as error:  # TimeoutError is one
            for stream in self._taken(pool, waiting):
                stream.fail("unreachable", type(error).__name__)
            return
        streams = self._taken(pool, waiting)
        if not connection.has_room():
            # It is gone by now, or the app's first words were that it takes nothing.
            for stream in streams:
                stream.lose(why="EOFError" if connection.is_over else "NoStreams")
            connection.close()
            return
        connection.idle_since = loop.time()
        self._connections.setdefault(pool, []).append(connection)
        for stream in streams:
            if connection.has_room():
                stream.attach(connection)
            else:
                self.open(stream)

    def _taken(self, pool: bytes, waiting: "list[ForwardedStream]") -> "list[ForwardedStream]":
        """Those that waited for a connection; no one joins them any more."""
        if self._waiting.get(pool) is waiting:
            del self._waiting[pool]
        return waiting

    def _look(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for stream in list(self.active):
            stream.look(now)
        resting = [each for pool in self._connections.values() for each in pool if not each.is_busy()]
        resting.sort(key=lambda each: each.idle_since)
        for number, connection in enumerate(resting):
            if now - connection.idle_since >= IDLE_SECONDS or len(resting) - number > MAX_IDLE:
                self.forget(connection)
                connection.close()
        if self.active or self._connections:
            self._timer = loop.call_later(_LOOK_SECONDS, self._look)


AnyUpstream = Upstream | Http2Upstream


def _bytes(headers: Any) -> Fields:
    return [(bytes(name), bytes(value)) for name, value in headers]


def _nothing() -> None:
    """An outlet to the app ended; its answer is what ends the stream."""
