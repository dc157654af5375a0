# SPDX-License-Identifier: Apache-2.0
"""Cuts bytes into HTTP/2 frames, and charges for those that only cost (RFC 9113, section 10.5).

The library answers each PING and SETTINGS, keeps each block of header fields until it is whole, and drops
what a connection was told on its way when a later frame is malformed. So it is given one frame at a time, and
only within a caller's means: CVE-2019-9512 (PING), -9513 (PRIORITY), -9514 and CVE-2023-44487 (RST_STREAM),
-9515 (SETTINGS), -9518 (empty frames), CVE-2024-27316 and its kin (CONTINUATION). Why a library, and why
so: docs/decisions/0011.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from watchword.gate.first_bytes import PREFACE
from watchword.gate.http2.limits import (
    CONTROL_A_FRAME,
    CONTROL_A_SECOND,
    CONTROL_BURST,
    MAX_BLOCK_BYTES,
    MAX_ENCODER_TABLE_BYTES,
)

HEAD_BYTES: Final = 9
# What we announce (SETTINGS_MAX_FRAME_SIZE is left at its default).
MAX_FRAME_BYTES: Final = 16 * 1024
# Types of frames (RFC 9113, section 6).
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
_END_HEADERS: Final = 0x4
_ACK: Final = 0x1
# Settings that mean something here (RFC 9113, section 6.5.2; RFC 8441); of them, the encoder's table.
_SETTINGS: Final = frozenset({1, 2, 3, 4, 5, 6, 8})
_HEADER_TABLE_SIZE: Final = 1
_SETTING: Final = struct.Struct(">HI")
# Error codes (RFC 9113, section 7).
FRAME_SIZE_ERROR, ENHANCE_YOUR_CALM = 0x6, 0xB


class FrameFaultError(ValueError):
    """A connection that has to end; the text says why.

    Attributes:
        code: the error code of GOAWAY (RFC 9113, section 7).
    """

    def __init__(self, why: str, code: int = ENHANCE_YOUR_CALM) -> None:
        """Say why; unless told otherwise, it is for what it costs."""
        super().__init__(why)
        self.code = code


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame as it came.

    Attributes:
        type: its type; a reader ignores unknown ones (RFC 9113, section 4.1).
        flags: its flags.
        stream_id: 0 where it is about the connection.
        data: all of it, its head included.
    """

    type: int
    flags: int
    stream_id: int
    data: bytes

    @property
    def payload(self) -> bytes:
        """What follows its head."""
        return self.data[HEAD_BYTES:]


def bounded_settings(frame: Frame) -> bytes:
    """A frame with those of its settings that are known, and a table that is no larger than ours.

    The library keeps each of 65,536 unknown settings while the connection lives (RFC 9113, section 6.5.2:
    they are ignored), and fills as large a table as the other side allows (RFC 7541, section 4.2).
    """
    payload = frame.payload
    if frame.type != SETTINGS or frame.stream_id or frame.flags & _ACK or len(payload) % _SETTING.size:
        return frame.data
    kept = [
        _SETTING.pack(key, min(value, MAX_ENCODER_TABLE_BYTES) if key == _HEADER_TABLE_SIZE else value)
        for key, value in _SETTING.iter_unpack(payload)
        if key in _SETTINGS
    ]
    body = b"".join(kept)
    return len(body).to_bytes(3) + frame.data[3:HEAD_BYTES] + body


class FrameReader:
    """Cuts a stream of bytes into frames.

    Attributes:
        is_in_block: a block of header fields has begun and is not whole.
    """

    def __init__(self, *, has_preface: bool, max_block_bytes: int = MAX_BLOCK_BYTES) -> None:
        """Read frames, behind a client's preface where there is one."""
        self._held, self._max_block_bytes = bytearray(), max_block_bytes
        self._preface = len(PREFACE) if has_preface else 0
        self.is_in_block = False
        self._block_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, data: bytes) -> None:
        """Keep bytes for later."""
        self._held += data

    def feed(self, data: bytes) -> Iterator[Frame | bytes]:
        """Each whole frame, in order; before the first one the preface, as bytes.

        Raises:
            FrameFaultError: a frame or a block of header fields is too large.
        """
        held = self._held
        held += data
        if self._preface:
            if len(held) < self._preface:
                return
            yield bytes(held[: self._preface])
            del held[: self._preface]
            self._preface = 0
        while len(held) >= HEAD_BYTES:
            length = int.from_bytes(held[:3])
            if length > MAX_FRAME_BYTES:
                raise FrameFaultError("a frame is larger than 16 KiB", FRAME_SIZE_ERROR)
            kind, flags, size = held[3], held[4], HEAD_BYTES + length
            is_whole = len(held) >= size
            # Of a block that is too large, not even the rest is waited for.
            self._measure(kind, flags, length, is_whole=is_whole)
            if not is_whole:
                return
            frame = Frame(kind, flags, int.from_bytes(held[5:9]) & 0x7FFFFFFF, bytes(held[:size]))
            del held[:size]
            yield frame

    def _measure(self, kind: int, flags: int, length: int, *, is_whole: bool) -> None:
        if kind not in (HEADERS, CONTINUATION):
            return
        before = self._block_bytes if kind == CONTINUATION else 0
        if before + length > self._max_block_bytes:
            raise FrameFaultError(f"there are more than {self._max_block_bytes} bytes of header fields")
        if is_whole:
            self.is_in_block = not flags & _END_HEADERS
            self._block_bytes = before + length if self.is_in_block else 0


class FrameMeter:
    """Charges a caller for frames that carry nothing."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Count by a clock, in seconds."""
        self._clock, self._left, self._then = clock, float(CONTROL_BURST), clock()

    def charge(self, frame: Frame) -> None:
        """Take account of a frame.

        Raises:
            FrameFaultError: there were too many of them.
        """
        if frame.type == DATA and len(frame.data) > HEAD_BYTES:
            return
        # A request is paid for by its answer.
        if frame.type == HEADERS and frame.flags & _END_HEADERS and len(frame.data) > HEAD_BYTES:
            return
        self.spend(1, frame.type)

    def spend(self, cost: int, kind: int) -> None:
        """Take so much for a frame of a kind; raises `FrameFaultError` where there is nothing left."""
        self._left -= cost
        if self._left >= 0:
            return
        now = self._clock()
        self._left = min(CONTROL_BURST, self._left + (now - self._then) * CONTROL_A_SECOND)
        self._then = now
        if self._left < 0:
            raise FrameFaultError(
                f"too many frames that carry nothing: {_NAMES.get(kind, 'of unknown types')}"
            )

    def earn(self) -> None:
        """Note that a frame of an answer was sent, for which the caller may send window updates."""
        self._left = min(CONTROL_BURST, self._left + CONTROL_A_FRAME)


_NAMES: Final = {
    DATA: "empty DATA",
    HEADERS: "HEADERS",
    PRIORITY: "PRIORITY",
    RST_STREAM: "RST_STREAM",
    SETTINGS: "SETTINGS",
    PING: "PING",
    GOAWAY: "GOAWAY",
    WINDOW_UPDATE: "WINDOW_UPDATE",
    CONTINUATION: "CONTINUATION",
}
