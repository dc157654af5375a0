# SPDX-License-Identifier: Apache-2.0
"""Where a stream of WebSocket frames is, wherever the network cut it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchword.gate.proxy.frames import FramePosition, close_frame


def frame(payload: bytes, *, mask: bytes = b"", first: int = 0x82) -> bytes:
    """A frame as RFC 6455, section 5.2, has it, written from its table."""
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        size = bytes([bit | len(payload)])
    elif len(payload) < 1 << 16:
        size = bytes([bit | 126]) + len(payload).to_bytes(2)
    else:
        size = bytes([bit | 127]) + len(payload).to_bytes(8)
    return bytes([first]) + size + mask + payload


FRAMES = st.builds(
    frame,
    st.one_of(st.binary(max_size=200), st.integers(126, 70_000).map(lambda size: b"\x82" * size)),
    mask=st.sampled_from([b"", b"mask"]),
    first=st.sampled_from([0x01, 0x00, 0x80, 0x81, 0x82, 0x88, 0x89, 0xC1]),
)


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 300_000), max_size=8))
@settings(max_examples=400, deadline=None)
def test_it_is_between_frames_exactly_at_their_ends(frames: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frames)
    ends = {sum(map(len, frames[:number])) for number in range(len(frames) + 1)}
    position, place = FramePosition(), 0
    for cut in [*sorted(cut for cut in cuts if cut <= len(stream)), len(stream)]:
        position.feed(stream[place:cut])
        place = cut
        assert position.is_between_frames == (place in ends)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536])
def test_each_form_of_a_length_is_followed_byte_by_byte(size: int) -> None:
    data = frame(b"x" * size)
    position = FramePosition()
    for place in range(len(data)):
        position.feed(data[place : place + 1])
        assert position.is_between_frames == (place == len(data) - 1)


def test_a_close_frame_says_its_code_and_at_most_123_bytes_of_reason() -> None:
    assert close_frame(1008, "revoked") == b"\x88\x09\x03\xf0revoked"
    long = close_frame(1008, "x" * 500)
    assert (len(long), long[1]) == (127, 125)
