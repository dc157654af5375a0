# SPDX-License-Identifier: Apache-2.0
"""One HTTP/2 connection with its streams' outlets: what gate and app, and gate and caller, have alike.

The library (`h2`) keeps the protocol's state. What it does not keep is here: bytes that wait for a window,
whose turn it is, and a GOAWAY that lets what is under way end, behind which the library would send nothing.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from h2.config import H2Configuration
from hyperframe.frame import GoAwayFrame

from watchword.gate.http2.frames import (
    CONTINUATION,
    GOAWAY,
    HEADERS,
    Frame,
    FrameFaultError,
    FrameReader,
    bounded_settings,
)
from watchword.gate.http2.library_connection import LibraryConnection
from watchword.gate.http2.limits import (
    BLOCK_BYTES_A_FRAME,
    FRAMES_A_TURN,
    MAX_BLOCK_BYTES,
)
from watchword.gate.http2.turns import turns_of

Fields = list[tuple[bytes, bytes]]

# How much waits in the transport before streams wait; asyncio's own default is 64 KiB.
_WRITE_HIGH, _WRITE_LOW = 64 * 1024, 16 * 1024
_MAX_STREAM_ID: Final = 2**31 - 1
_NO_ERROR, _INTERNAL_ERROR = 0, 2


class Outlet:
    """What one stream sends behind its head: bytes as the other side's window takes them, and an end.

    Attributes:
        buffer: what waits.
        sent: how many bytes went out.
        is_ended: nothing more is written.
        is_done: the end was sent, or will not be.
    """

    __slots__ = (
        "_host",
        "_on_end",
        "_on_sent",
        "_trailers",
        "buffer",
        "is_done",
        "is_ended",
        "sent",
        "stream_id",
    )

    def __init__(
        self,
        host: "Http2Host",
        stream_id: int,
        on_sent: Callable[[int], None],
        on_end: Callable[[], None],
    ) -> None:
        """Send by a connection; `on_sent` is told of bytes that went out, `on_end` of the end."""
        self._host, self.stream_id = host, stream_id
        self._on_sent, self._on_end = on_sent, on_end
        self.buffer, self.sent = bytearray(), 0
        self._trailers: Fields | None = None
        self.is_ended = self.is_done = False

    def write(self, data: bytes) -> None:
        """Send bytes, now or when there is room."""
        self.buffer += data
        self.pump()

    def end(self, trailers: Fields | None = None) -> None:
        """Send the end behind what waits."""
        self.is_ended, self._trailers = True, trailers
        self.pump()

    def pump(self) -> None:
        """Send what can be sent by now; a stream that the library knows as over is over."""
        try:
            self._pump()
        except h2.exceptions.ProtocolError:
            self.close()
            self._on_end()

    def _pump(self) -> None:
        host, buffer = self._host, self.buffer
        if self.is_done or host.is_over:
            return
        connection = host.connection
        if buffer or self.is_ended:
            host.flush_soon()
        while buffer and not host.is_write_paused:
            window = connection.local_flow_control_window(self.stream_id)
            size = min(window, connection.max_outbound_frame_size, len(buffer))
            if size <= 0:
                return
            part = bytes(buffer[:size])
            del buffer[:size]
            is_last = self.is_ended and not buffer and not self._trailers
            connection.send_data(self.stream_id, part, end_stream=is_last)
            self.sent += size
            host.note_sent()
            # Of the last part, too: the other connection's window has room for it again.
            self._on_sent(size)
            if is_last:
                if not self.is_done:
                    self._finish()
                return
        # What was told that there is room may have written, ended or closed by now.
        if self.is_ended and not buffer and not self.is_done:
            if self._trailers:
                host.send_fields(self.stream_id, self._trailers, is_end=True)
            else:
                connection.end_stream(self.stream_id)
                host.note_sent()
            self._finish()

    def _finish(self) -> None:
        self.is_done = True
        self._host.forget_outlet(self)
        self._on_end()

    def stop(self) -> None:
        """Send nothing more by this connection; what waits may go by another one."""
        self.is_done = True
        self._host.forget_outlet(self)

    def close(self) -> None:
        """Send nothing more."""
        self.stop()
        self.buffer.clear()


class Http2Host(asyncio.Protocol):
    """A connection that speaks HTTP/2.

    Attributes:
        connection: the library's state of it.
        is_write_paused: the other side takes no more for now.
        is_over: nothing is read or sent any more.
    """

    def __init__(self, configuration: H2Configuration, *, max_block_bytes: int = MAX_BLOCK_BYTES) -> None:
        """Speak as a client or as a server; bounds a block of header fields as it is sent."""
        self.connection = LibraryConnection(configuration)
        self._reader = FrameReader(has_preface=not configuration.client_side, max_block_bytes=max_block_bytes)
        self._transport: asyncio.Transport | None = None
        self._outlets: dict[int, Outlet] = {}
        self._flusher: asyncio.Handle | None = None
        # Frames that were read wait for its turn.
        self._waits = False
        self.is_write_paused = self.is_over = False

    # What the loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvloop's is one
        """Begin to speak."""
        self._transport = transport
        transport.set_write_buffer_limits(_WRITE_HIGH, _WRITE_LOW)

    def data_received(self, data: bytes) -> None:
        """Take frames, one at a time, and only so many before other connections have their turn."""
        if self._waits:
            self._reader.hold(data)
            return
        taken = 0
        try:
            for each in self._reader.feed(data):
                if self.is_over:
                    return
                if isinstance(each, bytes):
                    self.connection.receive_data(each)
                else:
                    self._take(each)
                    if each.type in (HEADERS, CONTINUATION):
                        taken += len(each.data) // BLOCK_BYTES_A_FRAME
                taken += 1
                if taken >= FRAMES_A_TURN:
                    self._wait_for_turn()
                    break
        except FrameFaultError as why:
            self.fail(str(why), why.code)
        except h2.exceptions.ProtocolError as error:
            # The library has its GOAWAY ready.
            self.fail(f"it breaks the protocol: {type(error).__name__}", None)
        self.flush()

    def _wait_for_turn(self) -> None:
        if self.is_over or self._transport is None:
            return
        self._transport.pause_reading()
        self._waits = True
        turns_of(asyncio.get_running_loop()).wait(self._take_turn)

    def _take_turn(self) -> None:
        if self._waits:
            self._waits = False
            self.data_received(b"")
            self.read_on()

    def may_read(self) -> bool:
        """Whether more may be read, once what was read is taken."""
        return True

    def read_on(self) -> None:
        """Read again, unless something else is waited for."""
        if not self._waits and self._transport is not None and not self.is_over and self.may_read():
            self._transport.resume_reading()

    def _take(self, frame: Frame) -> None:
        self.on_frame(frame)
        if frame.type == GOAWAY and frame.stream_id == 0 and len(frame.payload) >= 8:
            last = int.from_bytes(frame.payload[:4]) & _MAX_STREAM_ID
            self.on_goaway(last, int.from_bytes(frame.payload[4:8]))
            return
        for event in self.connection.receive_data(bounded_settings(frame)):
            if self.is_over:
                return
            self.on_event(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        del exc
        self.is_over = True
        self._transport = None
        if self._flusher is not None:
            self._flusher.cancel()
            self._flusher = None
        self._waits = False
        for outlet in list(self._outlets.values()):
            outlet.stop()

    def pause_writing(self) -> None:
        """The other side takes no more for now."""
        self.is_write_paused = True

    def resume_writing(self) -> None:
        """The other side takes more."""
        self.is_write_paused = False
        self.pump_all()
        self.flush()

    # What a subclass says.

    def on_frame(self, frame: Frame) -> None:
        """Take account of a frame before the library sees it."""

    def on_event(self, event: h2.events.Event) -> None:
        """Act on what the library found."""

    def on_goaway(self, last_stream_id: int, code: int) -> None:
        """The other side begins nothing more, and did not take what is behind this stream."""

    def on_fault(self, why: str) -> None:
        """The other side broke the protocol, or sent too much; the connection ends."""

    def note_sent(self) -> None:
        """A frame of a stream went out."""

    # What streams use.

    def outlet(self, stream_id: int, on_sent: Callable[[int], None], on_end: Callable[[], None]) -> Outlet:
        """The outlet of a stream, which takes its turns until it is done."""
        made = self._outlets[stream_id] = Outlet(self, stream_id, on_sent, on_end)
        return made

    def forget_outlet(self, outlet: Outlet) -> None:
        """Give it no more turns."""
        self._outlets.pop(outlet.stream_id, None)

    def acknowledge(self, stream_id: int, number: int) -> None:
        """Let the other side send so many bytes more."""
        if number <= 0 or self.is_over:
            return
        try:
            self.connection.acknowledge_received_data(number, stream_id)
        except (h2.exceptions.ProtocolError, ValueError):
            # The stream is over; the library has counted it for the connection.
            return
        self.flush_soon()

    def send_fields(self, stream_id: int, fields: Fields, *, is_end: bool) -> None:
        """Send a block of fields, whole and in order with all others, or nothing of it.

        Each block may change the table that later ones of all streams refer to. One that was encoded and is
        not sent would have them read as other fields: that ends the connection.

        Raises:
            h2.exceptions.ProtocolError: the stream takes none.
        """
        if self.is_over:
            return
        encoder = self.connection.encoder
        before = encoder.blocks
        try:
            self.connection.send_headers(stream_id, fields, end_stream=is_end)
        except Exception:
            if encoder.blocks != before:
                self.fail("a block of fields was encoded and cannot be sent", _INTERNAL_ERROR)
            raise
        self.note_sent()
        self.flush_soon()

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream before its time, if it has not ended."""
        outlet = self._outlets.get(stream_id)
        if outlet is not None:
            outlet.close()
        if self.is_over:
            return
        try:
            self.connection.reset_stream(stream_id, code)
        except h2.exceptions.ProtocolError:
            return
        self.flush_soon()

    def pump_all(self) -> None:
        """Give each stream its turn; the one that was first goes last the next time."""
        for stream_id in list(self._outlets):
            outlet = self._outlets.get(stream_id)
            if outlet is None:
                continue
            outlet.pump()
            if stream_id in self._outlets and not self.is_write_paused:
                self._outlets[stream_id] = self._outlets.pop(stream_id)

    def pump(self, stream_id: int) -> None:
        """Give one stream its turn; 0: each of them."""
        if stream_id == 0:
            self.pump_all()
        elif (outlet := self._outlets.get(stream_id)) is not None:
            outlet.pump()

    def flush_soon(self) -> None:
        """Write what the library has ready in the loop's next turn, with what comes until then."""
        if self._flusher is None and not self.is_over:
            self._flusher = asyncio.get_running_loop().call_soon(self._flush_now)

    def flush(self) -> None:
        """Write what the library has ready."""
        data = self.connection.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _flush_now(self) -> None:
        self._flusher = None
        self.flush()

    def send_goaway(self, last_stream_id: int = _MAX_STREAM_ID) -> None:
        """Say that nothing more is to be begun, without the library, which would end everything."""
        frame = GoAwayFrame(0)
        frame.last_stream_id, frame.error_code = last_stream_id, _NO_ERROR
        self.flush()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame.serialize())

    def fail(self, why: str, code: int | None) -> None:
        """End the connection for a fault of the other side's; with None, the library has said which."""
        if self.is_over:
            return
        if code is not None:
            self.connection.close_connection(code)
        self.flush()
        self.is_over = True
        self.on_fault(why)
        if self._transport is not None:
            self._transport.close()

    def unsent_bytes(self) -> int:
        """How many bytes wait to be taken, in outlets and in the transport."""
        waiting = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return waiting + sum(len(each.buffer) for each in self._outlets.values())


def configuration(*, client_side: bool, validates: bool) -> H2Configuration:
    """A configuration that leaves fields as bytes; ours are as they have to be."""
    options: dict[str, Any] = {
        "client_side": client_side,
        "header_encoding": None,
        "validate_inbound_headers": validates,
        "normalize_inbound_headers": False,
        "validate_outbound_headers": False,
        "normalize_outbound_headers": False,
    }
    return H2Configuration(**options)
