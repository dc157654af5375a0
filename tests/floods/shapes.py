# SPDX-License-Identifier: Apache-2.0
"""What each flood says on a connection, for ever or to its end. `head` is that of a request that is let in.

Each shape is one way to make a server hold more than it was asked to.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

_LOT = 64 * 1024


def endless_header() -> Iterator[bytes]:
    """One header line without an end."""
    yield b"GET /authz HTTP/1.1\r\nHost: gate\r\nX: "
    yield from itertools.repeat(b"a" * _LOT)


def endless_headers() -> Iterator[bytes]:
    """Header lines without an end, as short as they can be."""
    yield b"GET /authz HTTP/1.1\r\nHost: gate\r\n"
    yield from itertools.repeat(b"a:\r\n" * (_LOT // 4))


def endless_request_line() -> Iterator[bytes]:
    """A target without an end."""
    yield b"GET /"
    yield from itertools.repeat(b"a" * _LOT)


def partial_head(size: int) -> Iterator[bytes]:
    """A head of so many bytes that lacks its end."""
    start = b"GET /authz HTTP/1.1\r\nHost: gate\r\nX: "
    yield start + b"a" * (size - len(start))


def one_byte() -> Iterator[bytes]:
    """A connection that says almost nothing."""
    yield b"G"


def endless_trailer(head: bytes) -> Iterator[bytes]:
    """A chunked request whose one trailer has no end."""
    yield head + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: "
    yield from itertools.repeat(b"a" * _LOT)


def endless_trailers(head: bytes) -> Iterator[bytes]:
    """A chunked request with trailers without an end."""
    yield head + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    yield from itertools.repeat(b"a: b\r\n" * (_LOT // 6))


def endless_body(head: bytes) -> Iterator[bytes]:
    """A body of a length that nobody can hold."""
    yield head + b"Content-Length: 999999999999\r\n\r\n"
    yield from itertools.repeat(b"[1,1,1," * (_LOT // 7))


def endless_chunks(head: bytes) -> Iterator[bytes]:
    """A body of chunks without an end."""
    yield head + b"Transfer-Encoding: chunked\r\n\r\n"
    yield from itertools.repeat(b"10000\r\n" + b"a" * 65536 + b"\r\n")


def tiny_chunks(head: bytes) -> Iterator[bytes]:
    """Chunks of one byte each."""
    yield head + b"Transfer-Encoding: chunked\r\n\r\n"
    yield from itertools.repeat(b"1\r\na\r\n" * (_LOT // 6))


def chunk_extensions(head: bytes) -> Iterator[bytes]:
    """Chunks of one byte with extensions of two hundred."""
    yield head + b"Transfer-Encoding: chunked\r\n\r\n"
    yield from itertools.repeat((b"1;" + b"x" * 200 + b"\r\na\r\n") * 300)


def endless_extension(head: bytes) -> Iterator[bytes]:
    """One chunk's extension without an end."""
    yield head + b"Transfer-Encoding: chunked\r\n\r\n1;"
    yield from itertools.repeat(b"x" * _LOT)


def pipelined(request: bytes) -> Iterator[bytes]:
    """Whole requests one behind the other, as long as they are taken; at most 8 MiB."""
    lot = request * (_LOT // len(request) + 1)
    yield from itertools.repeat(lot, 8 * 2**20 // len(lot))


def whole(request: bytes, times: int = 1) -> Iterator[bytes]:
    """A request, so many times."""
    yield from itertools.repeat(request, times)


def with_body(head: bytes, body: bytes) -> bytes:
    """A whole request."""
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def stalled_handshake() -> Iterator[bytes]:
    """The begin of a TLS ClientHello that announces more than comes."""
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)


def endless_handshake() -> Iterator[bytes]:
    """TLS records of a handshake message of 16 MB."""
    yield b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16380)
    yield from itertools.repeat(b"\x16\x03\x01\x40\x00" + bytes(16384))
