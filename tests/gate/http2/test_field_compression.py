# SPDX-License-Identifier: Apache-2.0
"""Field blocks are read and written as the library does it, block after block of one connection."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hpack.exceptions import HPACKError
from hpack.hpack import Decoder, Encoder, encode_integer
from hypothesis import given, settings
from hypothesis import strategies as st

import watchword.gate.http2.field_compression as compression
from watchword.gate.http2.field_compression import (
    REMEMBERED_BYTES,
    CountingEncoder,
    RememberingDecoder,
    TablelessEncoder,
)

EXAMPLES = int(os.environ.get("WATCHWORD_EXAMPLES", "400"))
TOKEN = b"eyJhbGciOiJSUzI1NiIsImtpZCI6Ii1vN" * 30

NAMES = st.sampled_from(
    [
        b":method",
        b":path",
        b":status",
        b"authorization",
        b"cookie",
        b"x",
        b"grpc-status",
        b"x-watchword-subject",
    ]
)
VALUES = st.one_of(
    st.sampled_from([b"GET", b"POST", b"200", b"/", b"", TOKEN, b"Bearer " + TOKEN, b"a" * 127, b"a" * 5000]),
    st.binary(max_size=200),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=6)


@st.composite
def connections(draw: st.DrawFn) -> list[bytes]:
    """Blocks that a client sends, one after the other; some of them damaged, or of no client."""
    encoder, blocks = Encoder(), []
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.booleans()):
            encoder.header_table_size = draw(st.sampled_from([0, 40, 300, 4096]))
        block = bytearray(encoder.encode(draw(FIELDS), huffman=draw(st.booleans())))
        kind = draw(st.sampled_from(["whole", "whole", "whole", "cut", "changed", "any"]))
        if kind == "cut":
            del block[draw(st.integers(0, len(block))) :]
        elif kind == "changed" and block:
            block[draw(st.integers(0, len(block) - 1))] = draw(st.integers(0, 255))
        elif kind == "any":
            block = bytearray(draw(st.binary(max_size=60)))
        blocks.append(bytes(block))
    return blocks


def read(decoder: Decoder, block: bytes) -> object:
    """Fields with their kinds, or the kind of the error."""
    try:
        return [(type(field), *field) for field in decoder.decode(block, raw=True)]
    except HPACKError as why:
        return type(why)


@settings(max_examples=EXAMPLES, deadline=None)
@given(connections(), st.sampled_from([100, 3000, 2**16]))
def test_blocks_are_read_as_the_library_reads_them(blocks: list[bytes], most: int) -> None:
    ours, theirs = RememberingDecoder(), Decoder()
    ours.max_header_list_size = theirs.max_header_list_size = most
    # What was remembered of the first time changes nothing the second time.
    for block in blocks * 2:
        found = read(ours, block)
        assert found == read(theirs, block)
        if isinstance(found, type):
            return
        assert ours.header_table.dynamic_entries == theirs.header_table.dynamic_entries
        assert ours.header_table_size == theirs.header_table_size


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.sampled_from([None, 0, 100, 65536])),
        max_size=5,
    )
)
def test_the_library_reads_what_is_written_and_keeps_nothing_of_it(
    blocks: list[tuple[list[tuple[bytes, bytes]], int | None]],
) -> None:
    encoder, decoder = TablelessEncoder(), Decoder()
    for fields, size in blocks:
        if size is not None:
            encoder.header_table_size = decoder.max_allowed_table_size = size
        found = list(decoder.decode(encoder.encode(fields), raw=True))
        assert found == fields
        static = [(name, value) for name, value in fields if value in {b"GET", b"POST", b"200", b"/"}]
        assert all(not each.indexable for each in found if tuple(each) not in static and each[1])
        assert not decoder.header_table.dynamic_entries
        assert not encoder.header_table.dynamic_entries


SIZES = st.lists(st.integers(0, 4096), max_size=4)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(SIZES, st.lists(st.tuples(NAMES, VALUES), max_size=5)), max_size=5))
def test_the_smallest_size_since_the_last_block_is_said_and_then_the_present_one(
    blocks: list[tuple[list[int], list[tuple[bytes, bytes]]]],
) -> None:
    """What is between is not said: it may be above what the other side allows by then (RFC 7541, 4.2)."""
    encoder, decoder, before = CountingEncoder(), Decoder(), 4096
    for sizes, fields in blocks:
        for size in sizes:
            encoder.header_table_size = size
        present = sizes[-1] if sizes else before
        decoder.max_allowed_table_size = present
        block = encoder.encode(fields)
        # A decoder refuses a size above its last word, and a block that says none where it has to.
        assert list(decoder.decode(block, raw=True)) == fields
        assert decoder.header_table_size == present
        assert decoder.header_table.dynamic_entries == encoder.header_table.dynamic_entries
        before = present


def test_three_sizes_in_a_row_are_said_as_two() -> None:
    encoder = CountingEncoder()
    for size in (0, 4096, 10):
        encoder.header_table_size = size
    assert encoder.encode([]) == b"\x20\x2a"
    assert encoder.encode([]) == b""


@pytest.fixture
def expanded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The codes that the library had to expand."""
    codes: list[bytes] = []
    real: Callable[[bytes], bytes] = compression.expand

    def count(code: bytes) -> bytes:
        codes.append(code)
        return real(code)

    monkeypatch.setattr(compression, "expand", count)
    return codes


def test_a_token_that_comes_with_each_call_is_expanded_once(expanded: list[bytes]) -> None:
    decoder = RememberingDecoder()
    block = Encoder().encode([(b"authorization", b"Bearer " + TOKEN, True)])
    for _ in range(5):
        assert list(decoder.decode(block)) == [(b"authorization", b"Bearer " + TOKEN)]
    assert len(expanded) == 1


def test_what_is_remembered_is_bounded_and_is_the_connections_own(expanded: list[bytes]) -> None:
    decoder = RememberingDecoder()
    for number in range(200):
        decoder.decode(Encoder().encode([(b"cookie", b"%d-" % number + b"a" * (number * 40), True)]))
        held = decoder._expanded
        assert sum(len(code) + len(text) for code, text in held.items()) <= REMEMBERED_BYTES
    before = len(expanded)
    RememberingDecoder().decode(
        Encoder().encode([(b"cookie", b"0-", True), (b"cookie", b"3-" + b"a" * 120, True)])
    )
    assert len(expanded) == before + 2


@pytest.mark.parametrize(
    "block",
    [
        b"\xff" + b"\x80" * 20 + b"\x01",
        b"\x10\xff" + b"\xff" * 9 + b"\x01",
        b"\x10",
        b"\x10\x01",
        b"\x10\x01a",
        b"\x10\x81\xff\x00",
        b"\x80",
        b"\xbe",
        bytes(encode_integer(10**9, 7)),
    ],
)
def test_what_is_no_block_is_an_error_of_the_librarys_kind(block: bytes) -> None:
    found = read(RememberingDecoder(), block)
    assert found == read(Decoder(), block)
    assert isinstance(found, type)
