# SPDX-License-Identifier: Apache-2.0
"""Where a stream of WebSocket frames is: between two of them, or inside of one.

A close frame may stand between any two frames, also between fragments of one message (RFC 6455, section 5.4).
Written into the middle of a frame it would be data: the caller would take it for the app's.
"""

from typing import Final

POLICY_VIOLATION: Final = 1008
_EXTENDED: Final = {126: 2, 127: 8}
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_MAX_REASON_BYTES: Final = 123


class FramePosition:
    """Follows the frames of one direction by their heads; payloads are skipped and never looked at."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    @property
    def is_between_frames(self) -> bool:
        """Whether the next byte begins a frame."""
        return not self._head and not self._left

    def feed(self, data: bytes) -> None:
        """Go on by what passed."""
        place, size, head = 0, len(data), self._head
        while place < size:
            if self._left:
                skipped = min(self._left, size - place)
                self._left -= skipped
                place += skipped
                continue
            head.append(data[place])
            place += 1
            if len(head) == _head_size(head):
                self._left = _payload_size(head)
                head.clear()


def _head_size(head: bytearray) -> int:
    """How long a head is (RFC 6455, section 5.2), as far as its bytes say."""
    if len(head) < 2:
        return 2
    return 2 + _EXTENDED.get(head[1] & _LENGTH, 0) + (4 if head[1] & _MASKED else 0)


def _payload_size(head: bytearray) -> int:
    length = head[1] & _LENGTH
    extended = _EXTENDED.get(length)
    return length if extended is None else int.from_bytes(head[2 : 2 + extended])


def close_frame(code: int, reason: str) -> bytes:
    """A server's close frame (RFC 6455, section 5.5.1), unmasked; the reason is cut to what fits."""
    payload = code.to_bytes(2) + reason.encode("ascii", "replace")[:_MAX_REASON_BYTES]
    return bytes((0x88, len(payload))) + payload
