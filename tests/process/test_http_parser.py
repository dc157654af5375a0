# SPDX-License-Identifier: Apache-2.0
"""The strict parser: what it refuses, that cuts change nothing, and that h11 reads the same requests."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchword.process.bounds import Bounds
from watchword.process.http_parser import BadRequestError, MessageTooLargeError, RequestParser

EXAMPLES = int(os.environ.get("WATCHWORD_EXAMPLES", "300"))
BOUNDS = Bounds(head_bytes=600, headers=8, message_bytes=4000, trailer_bytes=100, trailers=4)


@dataclass
class Reader:
    """Keeps the requests that a parser reports, the last one maybe unfinished, and how it ended."""

    bounds: Bounds = BOUNDS
    pauses: bool = False
    requests: list[tuple[Any, ...]] = field(default_factory=list)
    error: str | None = None
    body: bytes = b""

    def __post_init__(self) -> None:
        bounds = self.bounds
        self.parser = RequestParser(
            self,
            max_head_bytes=bounds.head_bytes,
            max_headers=bounds.headers,
            max_message_bytes=bounds.message_bytes,
            max_trailer_bytes=bounds.trailer_bytes,
            max_trailers=bounds.trailers,
        )

    def on_head(self) -> None:
        parser = self.parser
        self.body = b""
        self.requests.append((parser.method, parser.target, parser.http_minor, tuple(parser.headers), None))

    def on_body(self, body: bytes) -> None:
        assert body
        self.body += body

    def on_message_complete(self) -> None:
        self.requests[-1] = (*self.requests[-1][:4], self.body)
        if self.pauses:
            self.parser.pause()

    def read(self, *reads: bytes) -> Reader:
        try:
            for each in reads:
                self.parser.feed_data(each)
                # Behind a message, or after its turn.
                while self.parser.is_paused:
                    self.parser.resume()
        except (BadRequestError, MessageTooLargeError) as why:
            self.error = f"{type(why).__name__} {why}"
        return self

    @property
    def found(self) -> tuple[list[tuple[Any, ...]], str | None]:
        return self.requests, self.error


HEAD = b"POST /a HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
REFUSED: dict[str, bytes] = {
    "a coding in front of chunked": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding behind chunked": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in two headers": HEAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
    "identity": HEAD + b"Transfer-Encoding: identity\r\n\r\n",
    "no coding": HEAD + b"Transfer-Encoding:\r\n\r\n",
    "chunked with a parameter": HEAD + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
    "length and coding": HEAD + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "no length": HEAD + b"Content-Length:\r\n\r\n",
    **{
        f"a length of {value!r}": HEAD + b"Content-Length: " + value + b"\r\n\r\nabc"
        for value in (b"+3", b"-3", b"3 3", b"3,3", b"0x3", b"3.", b"1_0", b"\xb3", b"9" * 19, b"3\x0b")
    },
    "an underscore in a length": HEAD + b"Content_Length: 3\r\n\r\nabc",
    "an underscore in a coding": HEAD + b"transfer_encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare LF behind the first line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "a bare LF behind a header": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "a bare LF before the end": b"GET / HTTP/1.1\r\nHost: a\r\n\n\r\n\r\n",
    "a bare CR in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
    "a bare CR behind a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n",
    "a NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    "a control character in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "a header folded at once": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
    "a tab before the colon": b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    "a name that is no token": b"GET / HTTP/1.1\r\nHost: a\r\nX(: a\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\nX: a\r\n\r\n",
    "no header": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "two Hosts in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    **{
        f"the first line {line!r}": line + b"\r\nHost: a\r\n\r\n"
        for line in (
            b"GET /",
            b"GET / HTTP/0.9",
            b"GET / HTTP/1.2",
            b"GET / HTTP/2.0",
            b"GET / HTTP/1.10",
            b"GET / http/1.1",
            b"GET / RTSP/1.0",
            b"GET  / HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b"GET\t/ HTTP/1.1",
            b"GET /a b HTTP/1.1",
            b"get / HTTP/1.1",
            b"G\x00T / HTTP/1.1",
            b"GET /\xc3\xa9 HTTP/1.1",
            b" GET / HTTP/1.1",
            b"PRI * HTTP/2.0",
        )
    },
    "two empty lines": b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00",
    **{
        f"the chunks {chunks!r}": CHUNKED + chunks
        for chunks in (
            b"3 \r\nabc\r\n0\r\n\r\n",
            b" 3\r\nabc\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"-1\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"3_0\r\n",
            b"\r\n",
            b"g\r\n",
            b"10000000000000000\r\n",
            b"00000000000000000\r\n\r\n",
            b"3\nabc\r\n0\r\n\r\n",
            b"3\rabc\r\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"3\r\nabc0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3 ;a\r\nabc\r\n0\r\n\r\n",
            b"3;a\x00\r\nabc\r\n0\r\n\r\n",
            b'3;a="\nb"\r\nabc\r\n0\r\n\r\n',
            b"3;" + b"a" * 300,
            b"0\n\n",
            b"0\r\nX: a\n\r\n\r\n",
            b"0\r\nX : a\r\n\r\n",
            b"0\r\n X: a\r\n\r\n",
            b"0\r\nContent-Length: 5\r\n\r\n",
            b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"0\r\nHost: b\r\n\r\n",
            b"0\r\nConnection: close\r\n\r\n",
            b"0\r\n" + b"X: a\r\n" * 5 + b"\r\n",
            b"0\r\nX: " + b"a" * 200,
        )
    },
    "a head that is too large": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 700,
    "a whole head that is too large": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 700 + b"\r\n\r\n",
    "too many headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 8 + b"\r\n",
}
TAKEN: dict[str, tuple[bytes, bytes]] = {
    "chunked": (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "chunked in any case": (HEAD + b"transfer-encoding: ChUnKeD\r\n\r\n1\r\na\r\n0\r\n\r\n", b"a"),
    "white space around chunked": (HEAD + b"Transfer-Encoding: \t chunked \t\r\n\r\n0\r\n\r\n", b""),
    "zeros in front of a size": (CHUNKED + b"0003\r\nabc\r\n000\r\n\r\n", b"abc"),
    "an extension": (CHUNKED + b'3;a=b;c="d"\r\nabc\r\n0;x\r\n\r\n', b"abc"),
    "trailers": (CHUNKED + b"3\r\nabc\r\n0\r\nX: a\r\nUpgrade: h2c\r\n\r\n", b"abc"),
    "a length": (HEAD + b"Content-Length: 3\r\n\r\nabc", b"abc"),
    "white space around a length": (HEAD + b"Content-Length:\t 3 \r\n\r\nabc", b"abc"),
    "zeros in front of a length": (HEAD + b"Content-Length: 003\r\n\r\nabc", b"abc"),
    "no body": (NEXT, b""),
    "an empty line before it": (b"\r\n" + NEXT, b""),
    "an upgrade": (HEAD + b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    "an upgrade, chunked": (
        HEAD
        + b"Upgrade: x\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"abc",
    ),
    "bytes beyond ASCII": (b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\xe9\r\n\r\n", b""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_two_parsers_may_read_differently_is_refused(name: str) -> None:
    reader = Reader().read(REFUSED[name], NEXT * 40)
    assert reader.error is not None
    assert reader.error.startswith("BadRequestError")
    assert not any(request[1] == b"/next" for request in reader.requests)


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken_is_taken_whole_and_the_next_request_begins_behind_it(name: str) -> None:
    message, body = TAKEN[name]
    reader = Reader().read(message + NEXT)
    assert reader.error is None
    assert [request[4] for request in reader.requests] == [body, b""]
    assert reader.requests[1][1] == b"/next"


@pytest.mark.parametrize("name", [*REFUSED, *TAKEN])
def test_every_cut_in_two_and_byte_by_byte_gives_the_same(name: str) -> None:
    stream = NEXT + (REFUSED.get(name) or TAKEN[name][0]) + NEXT
    wanted = Reader().read(stream).found
    for place in range(1, len(stream)):
        assert Reader().read(stream[:place], stream[place:]).found == wanted, place
    assert Reader().read(*(stream[place : place + 1] for place in range(len(stream)))).found == wanted


@pytest.mark.parametrize("end", [b"Connection: close\r\n", b"Connection: keep-alive, Close\r\n"])
def test_nothing_behind_the_last_request_of_a_connection_is_read(end: bytes) -> None:
    reader = Reader().read(b"GET / HTTP/1.1\r\nHost: a\r\n" + end + b"\r\n" + NEXT, NEXT * 1000)
    assert (len(reader.requests), reader.error, len(reader.parser.held)) == (1, None, 0)
    # HTTP/1.0 has one request per connection here, as it had before.
    reader = Reader().read(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + NEXT)
    assert len(reader.requests) == 1


def test_a_paused_parser_keeps_bytes_and_makes_no_requests_of_them() -> None:
    reader = Reader(pauses=True)
    for _ in range(1000):
        reader.parser.feed_data(NEXT)
    assert len(reader.requests) == 1
    assert len(reader.parser.held) == 999 * len(NEXT)
    reader.parser.resume()
    assert len(reader.requests) == 2


@pytest.mark.parametrize("size", [1, 2, 16])
def test_chunks_that_are_more_framing_than_content_are_refused(size: int) -> None:
    bounds = Bounds()
    chunk = b"%x;%s\r\n%s\r\n" % (size, b"e" * 200, b"a" * size)
    reader = Reader(bounds).read(CHUNKED, *[chunk] * 100_000)
    assert reader.error == "BadRequestError its chunks are more framing than content"
    assert len(reader.body) <= 120 * size


def test_small_chunks_without_extensions_are_taken() -> None:
    reader = Reader(Bounds()).read(CHUNKED + b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n")
    assert (reader.error, len(reader.body)) == (None, 100_000)


@pytest.mark.parametrize("framed", [b"a" * 5000, b"5\r\naaaaa\r\n" * 1000])
def test_a_message_has_its_bound_whatever_it_is_made_of(framed: bytes) -> None:
    head = CHUNKED if b"\r" in framed else HEAD + b"Content-Length: 5000\r\n\r\n"
    reader = Reader().read(head, *(framed[at : at + 100] for at in range(0, len(framed), 100)))
    assert reader.error is not None
    assert reader.error.startswith("MessageTooLargeError")
    assert len(reader.body) <= BOUNDS.message_bytes


def test_trailers_without_end_are_not_kept() -> None:
    reader = Reader(Bounds(message_bytes=float("inf"))).read(CHUNKED + b"0\r\nX: ")
    for _ in range(1000):
        reader.read(b"a" * 64)
        assert len(reader.parser.held) <= Bounds().trailer_bytes
    assert reader.error == "BadRequestError the trailers have more than 8192 bytes"
    assert len(reader.parser.held) == 0


_NAMES = st.sampled_from(
    [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"X", b"Expect", b"A_b"]
)
_VALUES = st.sampled_from(
    [b"a", b"0", b"3", b"5", b"chunked", b"close", b"upgrade", b"h2c", b"", b" a ", b"gzip", b"keep-alive"]
)
_BODIES = st.sampled_from(
    [b"", b"abc", b"hello", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"\r\n", NEXT]
)
_LINES = st.sampled_from([b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"HEAD /x HTTP/1.0", b"PUT * HTTP/1.1"])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    headers = draw(st.lists(st.tuples(_NAMES, _VALUES), max_size=5))
    if draw(st.integers(0, 9)):
        headers.append((b"Host", b"a"))
    lines = [draw(_LINES), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + draw(_BODIES)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    stream = bytearray(b"".join(draw(st.lists(messages(), min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(stream) - 1))
        piece = draw(st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"\x00", b" ", b":", b"\t", b"0", b";"]))
        stream[place : place + draw(st.integers(0, 2))] = piece
        if not stream:
            break
    return bytes(stream)


@given(stream=streams(), cuts=st.lists(st.floats(0, 1), max_size=8), pauses=st.booleans())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_stream_cut_anywhere_is_the_same_sequence_of_requests(
    stream: bytes, cuts: list[float], pauses: bool
) -> None:
    places = [0, *sorted(int(cut * len(stream)) for cut in cuts), len(stream)]
    reads = [stream[start:end] for start, end in pairwise(places) if start < end]
    assert Reader(pauses=pauses).read(*reads).found == Reader().read(stream).found


def read_by_h11(stream: bytes) -> list[tuple[Any, ...]]:
    """The requests that h11 reads, the last one maybe unfinished."""
    requests: list[tuple[Any, ...]] = []
    while stream:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        # RFC 9112, 2.2 has a server skip one empty line before a request, and h11 does not.
        connection.receive_data(stream.removeprefix(b"\r\n"))
        body = b""
        try:
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    minor = int(event.http_version[-1:])
                    requests.append((event.method, event.target, minor, tuple(event.headers), None))
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                else:
                    return requests
        except h11.RemoteProtocolError:
            return requests
        requests[-1] = (*requests[-1][:4], body)
        # An `Upgrade` is ignored: the next request follows all the same.
        if connection.their_state not in {h11.DONE, h11.MIGHT_SWITCH_PROTOCOL}:
            return requests
        stream = connection.trailing_data[0]
    return requests


@given(stream=streams())
@settings(max_examples=EXAMPLES, deadline=None)
def test_h11_reads_the_same_requests_byte_for_byte(stream: bytes) -> None:
    mine, theirs = Reader(Bounds()).read(stream).requests, read_by_h11(stream)
    # We may refuse more; what we take, and all before it, h11 takes too, and the same.
    assert mine == theirs[: len(mine)]


def test_a_read_of_tiny_chunks_is_parsed_in_turns() -> None:
    reader = Reader(Bounds())
    reader.parser.feed_data(CHUNKED + b"1\r\na\r\n" * 40_000)
    turns = 1
    while reader.parser.has_had_its_turn:
        before = len(reader.body)
        reader.parser.resume()
        assert len(reader.body) - before <= 256
        turns += 1
    assert (len(reader.body), turns > 100) == (40_000, True)
