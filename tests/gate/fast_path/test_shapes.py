# SPDX-License-Identifier: Apache-2.0
"""A read that differs in its token alone is not parsed again, and nothing else can stand in that place.

It is the one spot of a known head where a caller chooses the bytes: whatever would end the header there,
begin another one or another request has to be read as a parser reads it.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.tokens import Signer, token
from tests.gate.fast_path.test_same_bytes import _SETTINGS, assert_same, nginx, request, rules, tokens
from tests.gate.fast_path.ways import Connection, both_ways, run
from watchword.gate.request_templates import RequestTemplate, RequestTemplates


def read(put: bytes, *lines: bytes) -> bytes:
    """The head that the tests below make known, with something in the token's place."""
    return request(b"/authz", *lines).replace(tokens()["good"], put)


def parsed(reads: list[bytes]) -> int:
    """How many of the reads a parser saw."""

    async def work() -> int:
        connection = Connection(True, rules())
        seen = 0

        class Counting:
            def __init__(self, parser: object) -> None:
                self._parser = parser

            def __getattr__(self, name: str) -> object:
                return getattr(self._parser, name)

            def feed_data(self, data: bytes) -> None:
                nonlocal seen
                seen += 1
                self._parser.feed_data(data)  # type: ignore[attr-defined]  # httptools has no types

        connection.protocol.parser = Counting(connection.protocol.parser)
        await connection.send(reads)
        connection.audit.close(30)
        return seen

    found: int = run(work())
    return found


# What a caller can write where the token was.
ODD: dict[str, bytes] = {
    "nothing": b"",
    "a space": b" ",
    "a token and a space": tokens()["good"] + b" ",
    "a space and a token": b" " + tokens()["good"],
    "a token and a tab": tokens()["good"] + b"\t",
    "two tokens": tokens()["good"] + b", Bearer " + tokens()["another"],
    "a token and a second scheme": tokens()["good"] + b" Bearer " + tokens()["another"],
    "a header more": tokens()["good"] + b"\r\nX-A: b",
    "a second credential": tokens()["good"] + b"\r\nAuthorization: Bearer " + tokens()["another"],
    "the end of the head, and a request": tokens()["good"] + b"\r\n\r\n" + request(by="another")[:-4],
    "a body": tokens()["good"] + b"\r\nContent-Length: 5\r\nX: ",
    "a close": tokens()["good"] + b"\r\nConnection: close",
    "a line feed alone": tokens()["good"] + b"\nX-A: b",
    "a carriage return alone": tokens()["good"] + b"\rX-A: b",
    "a folded line": tokens()["good"] + b"\r\n more",
    "a NUL": tokens()["good"] + b"\0",
    "a byte beyond ASCII": tokens()["good"] + b"\xff",
    "four parts": tokens()["good"] + b".a",
    "padding": tokens()["good"] + b"=",
    "another alphabet": tokens()["good"].replace(b"-", b"+").replace(b"_", b"/") + b"~",
    "a token without its signature": tokens()["good"].rpartition(b".")[0] + b".",
    "too long a token": b"a" * 3000 + b"." + b"b" * 3000 + b".c",
}


@pytest.mark.parametrize("name", ODD)
def test_what_stands_in_the_place_of_a_token_is_read_as_a_parser_reads_it(name: str) -> None:
    good, another = request(), request(by="another")
    assert_same(both_ways([good, good, another, read(ODD[name]), good, another], rules()))


@given(put=st.binary(max_size=60), front=st.booleans(), behind=st.booleans())
@_SETTINGS
def test_any_bytes_in_the_place_of_a_token_are_read_as_a_parser_reads_them(
    put: bytes, front: bool, behind: bool
) -> None:
    known = tokens()["good"]
    whole = (known if front else b"") + put + (known if behind else b"")
    assert_same(both_ways([request(), request(), read(whole), request(by="another")], rules()))


@given(
    place=st.floats(0, 1),
    put=st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b"\xff", b","]),
)
@_SETTINGS
def test_a_byte_more_anywhere_in_a_known_read_is_seen(place: float, put: bytes) -> None:
    whole = request(by="another")
    at = int(place * len(whole))
    assert_same(both_ways([request(), request(), whole[:at] + put + whole[at:], request()], rules()))


def test_a_new_token_in_a_known_head_is_not_parsed() -> None:
    fresh = [read(token(jti=f"{number}")) for number in range(5)]
    strange = [read(token(Signer("strange"))), request(by="broken"), request(by="expired")]
    # The first read of a connection is parsed, and the second, from which the shape is learned.
    assert parsed([request(), request(), *fresh, *strange]) == 2


def test_a_new_token_in_a_proxys_known_head_is_not_parsed_and_the_route_is_still_asked_for() -> None:
    reads = [nginx(), nginx(), nginx(by="another"), nginx(b"/admin"), nginx(b"/admin", by="another")]
    # A refused one teaches nothing.
    assert parsed(reads) == 4
    assert_same(both_ways(reads, rules()))


def test_another_head_is_parsed() -> None:
    assert parsed([request(), request(), request(b"/authz", b"X-A: b", by="another")]) == 3


def test_what_is_no_token_is_parsed() -> None:
    assert parsed([request(), request(), read(ODD["a second credential"])]) == 3


TEACHING = b"GET /authz HTTP/1.1\r\nHost: gate\r\n%bAuthorization:%b\r\n\r\n"


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("another header holds a credential too", TEACHING % (b"X-A: Bearer t\r\n", b" Bearer t")),
        ("another header holds a credential", TEACHING % (b"X-A: Bearer x\r\n", b" Bearer t")),
        ("another header ends in the name", TEACHING.replace(b"Auth", b"X-Auth") % (b"", b" Bearer t")),
        ("white space behind the value", TEACHING % (b"", b" Bearer t ")),
        ("white space before the value", TEACHING % (b"", b"  Bearer t")),
        ("no white space", TEACHING % (b"", b"Bearer t")),
        ("another spelling of the scheme", TEACHING % (b"", b" bearer t")),
    ],
)
def test_a_shape_is_not_learned_where_the_place_of_the_token_is_not_plain(name: str, whole: bytes) -> None:
    templates = RequestTemplates()
    templates.learn(whole, b"Bearer t", RequestTemplate(None, False))
    assert len(templates) == 0, name
    assert templates.recognize(whole) is None


def test_a_shape_is_known_by_every_byte_around_the_token() -> None:
    templates = RequestTemplates()
    whole = TEACHING % (b"", b" Bearer t")
    templates.learn(whole, b"Bearer t", RequestTemplate(None, False))
    assert templates.recognize(TEACHING % (b"", b" Bearer other")) == (
        RequestTemplate(None, False),
        b"Bearer other",
    )
    for place in range(len(whole)):
        if whole[place : place + 1] != b"t" or whole[place - 1 : place] != b" ":
            assert templates.recognize(whole[:place] + b"?" + whole[place + 1 :]) is None


def test_a_caller_with_two_credentials_is_not_taken_for_the_first_one() -> None:
    # The head of a caller who also sends a token of its own making in another header, in front.
    def double(front: bytes, real: bytes) -> bytes:
        return TEACHING % (b"X-A: Bearer %b\r\n" % front, b" Bearer " + real)

    good, another, broken = (tokens()[name] for name in ("good", "another", "broken"))
    assert_same(
        both_ways([double(good, good)] * 3 + [double(good, broken), double(another, broken)], rules())
    )
