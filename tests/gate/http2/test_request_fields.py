# SPDX-License-Identifier: Apache-2.0
"""Header fields that are a request, and those that are none: nothing that HTTP/1.1 would read otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.http2.caller import Fields, head
from watchword.gate.http2.limits import MAX_FIELDS, MAX_TRAILERS
from watchword.gate.http2.request_fields import MalformedRequestError, check_trailers, read_request
from watchword.process.bounds import Bounds
from watchword.process.http_parser import BadRequestError, RequestParser

GOOD = head(b"GET", b"/a?b", (b"accept", b"*/*"))


def without(name: bytes) -> Fields:
    return [pair for pair in GOOD if pair[0] != name]


def with_value(name: bytes, value: bytes) -> Fields:
    return [(key, value if key == name else old) for key, old in GOOD]


MALFORMED: dict[str, Fields] = {
    "no method": without(b":method"),
    "no scheme": without(b":scheme"),
    "no path": without(b":path"),
    "no authority and no host": without(b":authority"),
    "an empty path": with_value(b":path", b""),
    "a path with a space": with_value(b":path", b"/a b"),
    "a path that ends its line": with_value(b":path", b"/a HTTP/1.1\r\nhost: evil\r\n\r\n"),
    "a path beyond ASCII": with_value(b":path", b"/\xff"),
    "a method in lower case": with_value(b":method", b"get"),
    "a method with a space": with_value(b":method", b"GET /evil HTTP/1.1\r\n"),
    "an empty method": with_value(b":method", b""),
    "CONNECT": with_value(b":method", b"CONNECT"),
    "CONNECT of a WebSocket": [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *without(b":method")],
    "a third scheme": with_value(b":scheme", b"javascript"),
    "a scheme with a tail": with_value(b":scheme", b"http://evil/"),
    "an empty authority": with_value(b":authority", b""),
    "an authority with a user": with_value(b":authority", b"user@gate"),
    "an authority with a space": with_value(b":authority", b"gate evil"),
    "two methods": [*GOOD[:1], (b":method", b"POST"), *GOOD[1:]],
    "two paths": [*GOOD[:4], (b":path", b"/other"), *GOOD[4:]],
    "a path behind a field": [*without(b":path"), (b":path", b"/a")],
    "a status": [(b":status", b"200"), *GOOD],
    "an unknown pseudo-header field": [*GOOD[:4], (b":evil", b"1"), *GOOD[4:]],
    "a host that differs": [*GOOD, (b"host", b"evil")],
    "two hosts": [*without(b":authority"), (b"host", b"gate"), (b"host", b"gate")],
    "a name in capitals": [*GOOD, (b"Accept", b"1")],
    "an empty name": [*GOOD, (b"", b"1")],
    "a name with a colon": [*GOOD, (b"a:b", b"1")],
    "a name with a space": [*GOOD, (b"a b", b"1")],
    "a name that ends its line": [*GOOD, (b"a\r\nevil", b"1")],
    "a value with CR": [*GOOD, (b"a", b"1\r2")],
    "a value with LF": [*GOOD, (b"a", b"1\n2")],
    "a value with CR LF": [*GOOD, (b"a", b"1\r\nx-watchword-subject: evil")],
    "a value with NUL": [*GOOD, (b"a", b"1\x002")],
    "a value with DEL": [*GOOD, (b"a", b"1\x7f2")],
    "a value that begins with a space": [*GOOD, (b"a", b" 1")],
    "a value that ends with a tab": [*GOOD, (b"a", b"1\t")],
    "a value of a space": [*GOOD, (b"a", b" ")],
    "connection": [*GOOD, (b"connection", b"close")],
    "keep-alive": [*GOOD, (b"keep-alive", b"timeout=5")],
    "proxy-connection": [*GOOD, (b"proxy-connection", b"close")],
    "transfer-encoding": [*GOOD, (b"transfer-encoding", b"chunked")],
    "its twin": [*GOOD, (b"transfer_encoding", b"chunked")],
    "upgrade": [*GOOD, (b"upgrade", b"h2c")],
    "http2-settings": [*GOOD, (b"http2-settings", b"AAMAAABk")],
    "te with more": [*GOOD, (b"te", b"trailers, deflate")],
    "content-length twice": [*GOOD, (b"content-length", b"1"), (b"content-length", b"1")],
    "content-length as a list": [*GOOD, (b"content-length", b"1, 1")],
    "content-length with a sign": [*GOOD, (b"content-length", b"+1")],
    "content-length of nothing": [*GOOD, (b"content-length", b"")],
    "the twin of content-length": [*GOOD, (b"content_length", b"1")],
    "too many": [*GOOD, *((b"a", b"1") for _ in range(MAX_FIELDS))],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_request_is_none(name: str) -> None:
    with pytest.raises(MalformedRequestError) as caught:
        read_request(MALFORMED[name])
    assert "evil" not in str(caught.value)


def test_a_request_is_read_as_it_is() -> None:
    more = [(b"te", b"trailers"), (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"content-length", b"7")]
    request = read_request([*GOOD, *more, (b"content-type", b"application/grpc+proto")])
    assert (request.method, request.target) == ("GET", b"/a?b")
    assert request.headers[0] == (b"host", b"gate")
    assert (b"cookie", b"a=1; b=2") in request.headers
    assert b"te" not in dict(request.headers)
    assert request.length == 7
    assert request.accepts_trailers
    assert not request.is_grpc
    assert read_request([*without(b":authority"), (b"host", b"gate")]).headers == [
        (b"host", b"gate"),
        (b"accept", b"*/*"),
    ]
    assert read_request([*GOOD, (b"host", b"gate")]).headers.count((b"host", b"gate")) == 1


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (b"application/grpc", True),
        (b"application/grpc+json", True),
        (b"Application/GRPC; charset=x", True),
        (b"application/grpc-web", False),
        (b"application/json", False),
    ],
)
def test_a_grpc_call_is_known_by_its_type(kind: bytes, expected: bool) -> None:
    assert read_request([*head(b"POST", b"/a.B/C"), (b"content-type", kind)]).is_grpc is expected


@pytest.mark.parametrize(
    "fields",
    [
        [(b":path", b"/")],
        [(b"a", b"1\r\n2")],
        [(b"transfer-encoding", b"chunked")],
        [(b"a", b"1")] * (MAX_TRAILERS + 1),
    ],
)
def test_trailers_are_held_to_the_same(fields: Fields) -> None:
    with pytest.raises(MalformedRequestError):
        check_trailers(fields)


class Noted:
    """What the HTTP/1.1 parser made of a head."""

    def __init__(self) -> None:
        self.heads = 0

    def on_head(self) -> None:
        self.heads += 1

    def on_body(self, body: bytes) -> None:
        raise AssertionError(body)

    def on_message_complete(self) -> None:
        pass


BYTES = st.binary(max_size=8) | st.sampled_from(
    [b"\r\n", b"/", b"GET", b"gate", b"a: b", b":path", b"x-y", b"1", b" ", b"\t", b"host", b"content-length"]
)
FIELDS = st.lists(st.tuples(BYTES, BYTES), max_size=4)


@given(
    method=BYTES | st.just(b"GET"),
    path=BYTES | st.just(b"/a"),
    authority=BYTES | st.just(b"gate"),
    more=FIELDS,
)
def test_what_is_read_is_one_request_in_http_1_1_with_the_same_fields(
    method: bytes, path: bytes, authority: bytes, more: Fields
) -> None:
    fields = [
        (b":method", method),
        (b":scheme", b"http"),
        (b":authority", authority),
        (b":path", path),
        *more,
    ]
    try:
        request = read_request(fields)
    except MalformedRequestError:
        return
    if request.length:
        return
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.target)]
    lines += [b"%s: %s" % pair for pair in request.headers]
    bounds, noted = Bounds(), Noted()
    parser = RequestParser(
        noted,
        max_head_bytes=bounds.head_bytes,
        max_headers=bounds.headers,
        max_message_bytes=bounds.message_bytes,
        max_trailer_bytes=bounds.trailer_bytes,
        max_trailers=bounds.trailers,
    )
    try:
        parser.feed_data(b"\r\n".join([*lines, b"", b""]))
    except BadRequestError as why:
        raise AssertionError(lines) from why
    assert noted.heads == 1
    assert not parser.held
    assert parser.method.decode() == request.method
    assert parser.target == request.target
    assert parser.headers == request.headers
