# SPDX-License-Identifier: Apache-2.0
"""The strict response parser: what ends an answer, that cuts change nothing, and that h11 reads the same."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchword.process.http_parser import BadRequestError, MessageTooLargeError
from watchword.process.http_response_parser import ResponseHeads, ResponseParser

EXAMPLES = int(os.environ.get("WATCHWORD_EXAMPLES", "400"))
OK = b"HTTP/1.1 200 OK\r\n"


@dataclass
class Reader:
    """Keeps what a parser reports of one answer."""

    is_head: bool = False
    known: ResponseHeads = field(default_factory=ResponseHeads)
    heads: list[tuple[int, list[tuple[bytes, bytes]]]] = field(default_factory=list)
    body: bytes = b""
    is_whole: bool = False
    error: str = ""

    def __post_init__(self) -> None:
        self.parser = ResponseParser(
            self,
            self.known,
            max_head_bytes=600,
            max_headers=8,
            max_trailer_bytes=100,
            max_trailers=4,
        )
        self.parser.begin(is_head_request=self.is_head)

    def on_head(self) -> None:
        self.heads.append((self.parser.head.status, list(self.parser.head.headers)))

    def on_body(self, body: bytes) -> None:
        assert body
        assert not self.is_whole
        self.body += body

    def on_message_complete(self) -> None:
        assert not self.is_whole
        self.is_whole = True

    def read(self, *reads: bytes, ends: bool = False) -> Reader:
        try:
            for each in reads:
                self.parser.feed_data(each)
                while self.parser.has_had_its_turn:
                    self.parser.resume()
            if ends:
                self.parser.end_of_stream()
        except (BadRequestError, MessageTooLargeError) as why:
            self.error = str(why)
        return self

    @property
    def found(self) -> tuple[object, ...]:
        return self.heads, self.body, self.is_whole, self.error


@pytest.mark.parametrize(
    ("data", "is_head", "body", "keeps"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabc", False, b"abc", True),
        (OK + b"Content-Length: 0\r\n\r\n", False, b"", True),
        (OK + b"Content-Length: 3\r\n\r\n", True, b"", True),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", True, b"", True),
        (OK + b"\r\n", True, b"", True),
        (OK + b"Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n", False, b"abc", True),
        (b"HTTP/1.1 204 A\r\nContent-Length: 3\r\n\r\n", False, b"", True),
        (b"HTTP/1.1 304 A\r\nContent-Length: 3\r\n\r\n", False, b"", True),
        (b"HTTP/1.1 100 A\r\nConnection: close\r\n\r\nHTTP/1.1 204 A\r\n\r\n", False, b"", True),
        (OK + b"Connection: x, Close\r\nContent-Length: 1\r\n\r\na", False, b"a", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", False, b"a", False),
        (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", False, b"a", True),
        (b"HTTP/1.1 999 \xc3\xa9\r\nContent-Length: 1\r\n\r\na", False, b"a", True),
    ],
)
def test_an_answer_ends_where_its_head_says(data: bytes, is_head: bool, body: bytes, keeps: bool) -> None:
    reader = Reader(is_head).read(data)
    assert (reader.is_whole, reader.body, reader.error) == (True, body, "")
    assert reader.parser.keeps_alive == keeps
    assert not reader.parser.held


@pytest.mark.parametrize("data", [OK + b"\r\nabc", b"HTTP/1.0 200 OK\r\n\r\nabc"])
def test_an_answer_without_a_length_ends_with_its_connection(data: bytes) -> None:
    reader = Reader().read(data)
    assert not reader.is_whole
    assert not reader.parser.keeps_alive
    assert reader.parser.end_of_stream()
    assert (reader.is_whole, reader.body) == (True, b"abc")
    assert not reader.parser.end_of_stream()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP",
        OK,
        OK + b"Content-Length: 3\r\n\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
def test_an_answer_that_is_cut_off_is_not_whole(data: bytes) -> None:
    reader = Reader().read(data)
    assert not reader.parser.end_of_stream()
    assert not reader.is_whole


@pytest.mark.parametrize(
    "data",
    [
        b"220 smtp\r\n",
        b"\r\n" + OK + b"\r\n",
        b"HTTP/1.1 099 A\r\n\r\n",
        b"HTTP/1.1 20 A\r\n\r\n",
        b"HTTP/1.1 2000 A\r\n\r\n",
        b"HTTP/1.1  200 A\r\n\r\n",
        b"HTTP/2.0 200 A\r\n\r\n",
        b"http/1.1 200 A\r\n\r\n",
        b"HTTP/1.1 200 A\x00\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
        OK + b"Content-Length: +1\r\n\r\na",
        OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: identity\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1 \r\na",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab",
        b"HTTP/1.1 204 A\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 103 A\r\nContent-Length: 1, 1\r\n\r\n",
        OK + b"X : 1\r\n\r\n",
        OK + b"X: 1\n\r\n",
        OK + b"X: 1\r\n 2\r\n\r\n",
        OK + b"X: " + b"a" * 700,
        OK + b"X: 1\r\n" * 9 + b"\r\n",
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(data: bytes) -> None:
    reader = Reader().read(data)
    assert reader.error
    assert not reader.is_whole


def test_nothing_is_read_behind_an_answer_until_the_next_one_is_asked_for() -> None:
    reader = Reader().read((OK + b"Content-Length: 1\r\n\r\na") * 2)
    assert reader.is_whole
    assert reader.parser.held == OK + b"Content-Length: 1\r\n\r\na"


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(st.deferred(lambda: ANSWERS), st.booleans()), min_size=2, max_size=6))
def test_a_head_that_was_read_before_means_the_same(answers: list[tuple[bytes, bool]]) -> None:
    known = ResponseHeads()
    for data, is_head in answers * 2:
        assert (
            Reader(is_head, known).read(data, ends=True).found == Reader(is_head).read(data, ends=True).found
        )


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(st.deferred(lambda: ANSWERS), st.booleans()), min_size=1, max_size=6))
def test_an_answer_that_is_read_in_one_piece_is_the_one_that_its_parts_are(
    answers: list[tuple[bytes, bool]],
) -> None:
    known, times = ResponseHeads(), 0
    for data, is_head in answers * 2:
        reader, expected = Reader(is_head, known), Reader(is_head, known)
        body_at = reader.parser.read_whole(data)
        expected.read(data)
        if not body_at:
            assert (reader.heads, reader.parser.held, reader.parser.is_paused) == ([], b"", False)
            continue
        times += 1
        reader.on_head()
        assert (reader.heads, data[body_at:], expected.error) == (expected.heads, expected.body, "")
        assert expected.is_whole
        ours, theirs = reader.parser, expected.parser
        assert (ours.keeps_alive, ours.is_paused) == (theirs.keeps_alive, theirs.is_paused) == (True, True)
        assert (
            (ours.has_begun, ours.has_body)
            == (theirs.has_begun, bool(expected.body))
            == (False, bool(data[body_at:]))
        )
    # So that it cannot hold for want of any: what is plain was known the second time.
    plain = OK + b"Content-Length: 4\r\n\r\nbody"
    assert Reader(False, known).read(plain).is_whole
    assert Reader(False, known).parser.read_whole(plain) == len(plain) - 4


@pytest.mark.parametrize(
    "data",
    [
        OK + b"Content-Length: 4\r\n\r\nbod",
        OK + b"Content-Length: 4\r\n\r\nbodyx",
        OK + b"Content-Length: 4\r\n\r\nbody" + OK + b"Content-Length: 4\r\n\r\nbody",
        OK + b"Content-Length: 4\r\nConnection: close\r\n\r\nbody",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
def test_whatever_is_not_one_plain_answer_is_left_to_the_parser(data: bytes) -> None:
    known = ResponseHeads()
    Reader(False, known).read(data, ends=True)
    assert Reader(False, known).parser.read_whole(data) == 0


def test_an_answer_to_head_and_one_behind_a_part_are_left_to_the_parser() -> None:
    known, data = ResponseHeads(), OK + b"Content-Length: 0\r\n\r\n"
    Reader(False, known).read(data)
    assert Reader(True, known).parser.read_whole(data) == 0
    assert Reader(False, known).read(b"HTTP").parser.read_whole(data) == 0
    assert Reader(False, known).read(data).parser.read_whole(data) == 0
    stopped = Reader(False, known).parser
    stopped.stop()
    assert stopped.read_whole(data) == 0


def test_few_heads_are_remembered_and_only_short_ones() -> None:
    known = ResponseHeads()
    for number in range(1000):
        Reader(False, known).read(OK + b"X: %d\r\nContent-Length: 0\r\n\r\n" % number)
    assert len(known._known) <= 128
    known.keep(b"a" * 2000, Reader().parser.head)
    assert known.get(b"a" * 2000) is None


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"Content-Length: 4\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"\n",
        b"4\r\nbody\r\n",
        b"0\r\n\r\n",
        b"body",
        b"a",
        b" ",
        b"\x00",
        b":",
    ]
)
ANSWERS = st.one_of(
    st.lists(PIECES, max_size=10).map(b"".join),
    st.lists(PIECES, max_size=6).map(lambda parts: OK + b"".join(parts)),
    st.binary(max_size=60),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(ANSWERS, st.booleans(), st.lists(st.integers(0, 200), max_size=5))
def test_cuts_change_nothing(data: bytes, is_head: bool, cuts: list[int]) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    parts = [data[start:end] for start, end in pairwise(places)]
    whole, cut = Reader(is_head).read(data, ends=True), Reader(is_head).read(*parts, ends=True)
    assert bool(whole.error) == bool(cut.error)
    if not whole.error:
        assert whole.found == cut.found


@settings(max_examples=EXAMPLES, deadline=None)
@given(ANSWERS, st.booleans())
def test_h11_reads_each_answer_that_is_taken_in_the_same_way(data: bytes, is_head: bool) -> None:
    reader = Reader(is_head).read(data, ends=True)
    if reader.error or not reader.is_whole:
        return
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=b"HEAD" if is_head else b"GET", target="/", headers=[(b"Host", b"x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    statuses, body = [], b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.InformationalResponse | h11.Response):
            statuses.append(event.status_code)
        else:
            pytest.fail(f"h11 sees {event} where an answer was taken")
    assert (statuses, body) == ([status for status, _ in reader.heads], reader.body)
    assert bytes(connection.trailing_data[0]).startswith(bytes(reader.parser.held))
