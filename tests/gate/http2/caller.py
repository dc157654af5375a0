# SPDX-License-Identifier: Apache-2.0
"""An HTTP/2 caller on a blocking socket that can also send what no client would."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.settings import SettingCodes

from watchword.gate.http2.frames import GOAWAY, FrameReader

WAIT_SECONDS = 60
Fields = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """What came on one stream."""

    fields: Fields = field(default_factory=list)
    early: list[Fields] = field(default_factory=list)
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    is_whole: bool = False
    reset_code: int | None = None

    @property
    def status(self) -> int:
        return int(self.value(b":status"))

    def value(self, name: bytes) -> bytes:
        return next(value for key, value in self.fields if key == name)

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]

    @property
    def is_over(self) -> bool:
        return self.is_whole or self.reset_code is not None


class Caller:
    """One connection."""

    def __init__(
        self, address: str, *, sends_windows: bool = True, link: socket.socket | None = None
    ) -> None:
        if link is None:
            host, port = address.rsplit(":", 1)
            link = socket.create_connection((host, int(port)), WAIT_SECONDS)
        self.link = link
        configuration = h2.config.H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=True,
        )
        self.h2 = h2.connection.H2Connection(configuration)
        self.h2.local_settings[SettingCodes.MAX_HEADER_LIST_SIZE] = 1 << 20
        self.h2.decoder.max_header_list_size = 1 << 20
        self._reader = FrameReader(has_preface=False, max_block_bytes=1 << 20)
        self.answers: dict[int, Answer] = {}
        self.goaway: tuple[int, int] | None = None
        self.is_closed = False
        self._sends_windows = sends_windows
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

    def flush(self) -> None:
        self.link.sendall(self.h2.data_to_send())

    def raw(self, data: bytes) -> None:
        """Send bytes that the library would not."""
        self.flush()
        self.link.sendall(data)

    def begin(self, fields: Sequence[tuple[bytes, bytes]], *, is_end: bool = True) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, list(fields), end_stream=is_end)
        self.answers[stream_id] = Answer()
        self.flush()
        return stream_id

    def send(self, stream_id: int, data: bytes, *, is_end: bool = False) -> None:
        """Send a body as the window takes it, unless it was answered meanwhile."""
        answer = self.answers[stream_id]
        while data and not answer.is_over:
            window = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size)
            if window <= 0:
                self.receive()
                continue
            part, data = data[:window], data[window:]
            self.h2.send_data(stream_id, part, end_stream=is_end and not data)
            self.flush()
            if not data and is_end:
                return
        if is_end and not answer.is_over:
            self.h2.end_stream(stream_id)
            self.flush()

    def receive(self) -> None:
        """Take what comes next."""
        data = self.link.recv(65536)
        if not data:
            self.is_closed = True
            for answer in self.answers.values():
                if not answer.is_over:
                    answer.reset_code = -1
            return
        for each in self._reader.feed(data):
            assert not isinstance(each, bytes)
            if each.type == GOAWAY:
                # The library would take nothing more.
                last, code = struct.unpack(">II", each.payload[:8])
                self.goaway = code, last
                continue
            for event in self.h2.receive_data(each.data):
                self._take(event)
        with contextlib.suppress(OSError):
            self.flush()

    def _take(self, event: Any) -> None:
        answer = self.answers.setdefault(getattr(event, "stream_id", 0) or 0, Answer())
        if isinstance(event, h2.events.ResponseReceived):
            answer.fields = list(event.headers)
        elif isinstance(event, h2.events.InformationalResponseReceived):
            answer.early.append(list(event.headers))
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = list(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            if self._sends_windows and not answer.is_over:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            answer.is_whole = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset_code = int(event.error_code)

    def until(self, condition: Callable[[], bool]) -> None:
        while not condition() and not self.is_closed:
            self.receive()

    def finish(self, stream_id: int) -> Answer:
        """The whole answer of a stream."""
        answer = self.answers[stream_id]
        self.until(lambda: answer.is_over)
        return answer

    def ask(self, fields: Sequence[tuple[bytes, bytes]], body: bytes | None = None) -> Answer:
        stream_id = self.begin(fields, is_end=body is None)
        if body is not None:
            self.send(stream_id, body, is_end=True)
        return self.finish(stream_id)


def head(method: bytes, path: bytes, *more: tuple[bytes, bytes], authority: bytes = b"gate") -> Fields:
    """The fields of a request."""
    return [(b":method", method), (b":scheme", b"http"), (b":authority", authority), (b":path", path), *more]
