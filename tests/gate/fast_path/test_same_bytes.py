# SPDX-License-Identifier: Apache-2.0
"""Whatever is sent, and however it is cut: with the short cut the same bytes come back, counted alike.

The cases go through both ways to an answer. Those that are for the short cut are also checked to have taken
it, so that no case compares the slow way with itself.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testing.tokens import NOW, Signer, token
from tests.gate.fast_path.ways import Connection, Outcome, both_ways, ruleset, run
from watchword.gate.fast_path import MAX_ANSWERS_A_READ
from watchword.gate.protocol import MAX_HEADERS
from watchword.trust import Ruleset


@cache
def rules() -> Ruleset:
    return ruleset()


@cache
def tokens() -> dict[str, bytes]:
    return {
        "good": token(),
        "another": token(jti="7b1c1d0e-0000-4000-8000-000000000002"),
        "expired": token(exp=NOW - 100, iat=NOW - 400, nbf=NOW - 400),
        "strange": token(Signer("strange")),
        "broken": token()[:-8] + b"AAAAAAAA",
        "foreign": token(sub="system:serviceaccount:other:other"),
        "none": b"",
    }


def request(
    target: bytes = b"/authz",
    *lines: bytes,
    method: bytes = b"GET",
    by: str = "good",
    version: bytes = b"1.1",
    body: bytes = b"",
) -> bytes:
    head = [b"%s %s HTTP/%s" % (method, target, version), b"Host: gate"]
    if by != "nobody":
        head.append(b"Authorization: Bearer " + tokens()[by])
    return b"\r\n".join([*head, *lines]) + b"\r\n\r\n" + body


def nginx(uri: bytes = b"/app/acme", method: bytes = b"GET", **changes: str) -> bytes:
    return request(b"/authz/nginx", b"X-Original-Method: " + method, b"X-Original-URI: " + uri, **changes)


def envoy(uri: bytes = b"/app/acme", method: bytes = b"GET", *lines: bytes) -> bytes:
    return request(b"/authz/envoy" + uri, *lines, method=method)


# Requests that the short cut answers, each by its name.
SHORT: dict[str, Callable[[], bytes]] = {
    "who is it": request,
    "another token": lambda: request(by="another"),
    "an expired token": lambda: request(by="expired"),
    "a strange key": lambda: request(by="strange"),
    "a broken signature": lambda: request(by="broken"),
    "nobody whom we trust": lambda: request(by="foreign"),
    "an empty token": lambda: request(by="none"),
    "no credential": lambda: request(by="nobody"),
    "a query": lambda: request(b"/authz?a=%20b&c"),
    "HEAD": lambda: request(method=b"HEAD"),
    "HEAD, refused": lambda: request(method=b"HEAD", by="broken"),
    "POST without a body": lambda: request(method=b"POST"),
    "a length of nothing": lambda: request(b"/authz", b"Content-Length: 0", method=b"POST"),
    "nginx": nginx,
    "nginx, no route": lambda: nginx(b"/admin"),
    "nginx, another account": lambda: nginx(b"/app/other"),
    "nginx, a dot segment": lambda: nginx(b"/app/../acme"),
    "nginx, nothing said": lambda: request(b"/authz/nginx"),
    "traefik": lambda: request(
        b"/authz/traefik", b"X-Forwarded-Method: GET", b"X-Forwarded-Uri: /app/acme?x=1"
    ),
    "caddy": lambda: request(b"/authz/caddy", b"X-Forwarded-Method: GET", b"X-Forwarded-Uri: /app/acme"),
    "envoy": envoy,
    "envoy, HEAD": lambda: envoy(method=b"HEAD"),
    "envoy, an encoded path": lambda: envoy(b"/app/ac%6De"),
    "envoy, a length of nothing": lambda: envoy(b"/app/acme", b"GET", b"Content-Length: 0"),
    "no such endpoint": lambda: request(b"/authz/other"),
    "keep-alive said": lambda: request(b"/authz", b"Connection: keep-alive"),
    "an unknown expectation": lambda: request(b"/authz", b"Expect: the-unexpected"),
    "as many headers as may be": lambda: request(
        b"/authz", *[b"a%d: b" % number for number in range(MAX_HEADERS - 2)]
    ),
    "an upgrade that is none": lambda: request(b"/authz", b"Upgrade: websocket"),
    # Every upgrade is ignored here, as RFC 9110, 7.8 lets a server do: the request is an ordinary one.
    "an upgrade": lambda: request(b"/authz", b"Connection: Upgrade", b"Upgrade: websocket"),
    "an upgrade to HTTP/2": lambda: request(
        b"/authz", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"
    ),
}
BREAKS_LATE = "broken chunks"
# What goes the slow way, or ends there.
LONG: dict[str, Callable[[], bytes]] = {
    "nginx, said twice": lambda: request(
        b"/authz/nginx", *[b"X-Original-URI: /app/acme"] * 2, b"X-Original-Method: GET"
    ),
    "two credentials": lambda: request(b"/authz", b"Authorization: Bearer x"),
    "another path": lambda: request(b"/"),
    "a path that begins alike": lambda: request(b"/authzz"),
    "a body": lambda: request(b"/authz", b"Content-Length: 5", method=b"POST", body=b"hello"),
    "a body in chunks": lambda: request(
        b"/authz", b"Transfer-Encoding: chunked", method=b"POST", body=b"5\r\nhello\r\n0\r\nX-T: v\r\n\r\n"
    ),
    "a length with a zero in front": lambda: request(b"/authz", b"Content-Length: 00"),
    "a body that is waited for": lambda: request(
        b"/authz", b"Expect: 100-continue", b"Content-Length: 2", method=b"POST", body=b"ab"
    ),
    "an expectation without a body": lambda: request(b"/authz", b"Expect: 100-continue"),
    "the last request": lambda: request(b"/authz", b"Connection: close"),
    "HTTP/1.0": lambda: request(version=b"1.0"),
    "HTTP/1.0 that stays": lambda: request(b"/authz", b"Connection: keep-alive", version=b"1.0"),
    "CONNECT": lambda: request(b"gate:80", method=b"CONNECT"),
    "an absolute target": lambda: request(b"http://gate/authz"),
    "a fragment": lambda: request(b"/authz#x"),
    "a target with bytes": lambda: request(b"/authz/envoy/\xc3\xa9"),
    "too many headers": lambda: request(b"/authz", *[b"a: b"] * (MAX_HEADERS - 1)),
    "no HTTP": lambda: b"NONSENSE\r\n\r\n",
    "two lengths": lambda: request(b"/authz", b"Content-Length: 0", b"Content-Length: 3"),
    "a length and chunks": lambda: request(b"/authz", b"Content-Length: 0", b"Transfer-Encoding: chunked"),
    BREAKS_LATE: lambda: request(b"/authz", b"Transfer-Encoding: chunked", body=b"xyz\r\n"),
    "a header folded": lambda: request(b"/authz", b"X-A: b\r\n c"),
    "a line end alone": lambda: b"\r\n\r\n",
}
ALL = SHORT | LONG
# By hand: 2000, in about two minutes.
EXAMPLES = int(os.environ.get("WATCHWORD_EXAMPLES", "100"))
_SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def assert_same(outcomes: tuple[Outcome, Outcome], names: Sequence[str] = ()) -> None:
    short, long = outcomes
    assert short.written == long.written
    assert short.is_closed == long.is_closed
    # Whether a request was decided on before its body turned out to be none hangs on what came before it.
    if BREAKS_LATE not in names:
        assert short == long


@pytest.mark.parametrize("name", ALL)
def test_one_request_gets_the_same_answer(name: str) -> None:
    assert_same(both_ways([ALL[name]()], rules()))


@pytest.mark.parametrize("name", ALL)
def test_the_same_request_again_gets_the_same_answers(name: str) -> None:
    # The second and third are recognized without being parsed.
    assert_same(both_ways([ALL[name]()] * 4, rules()))


@pytest.mark.parametrize("name", ALL)
def test_without_a_bundle_the_answer_is_the_same(name: str) -> None:
    assert_same(both_ways([ALL[name]()] * 2, None))


@pytest.mark.parametrize("name", ALL)
def test_a_request_byte_by_byte_gets_the_same_answer(name: str) -> None:
    whole = ALL[name]()
    assert_same(both_ways([whole[place : place + 1] for place in range(len(whole))], rules(), rest=False))


@pytest.mark.parametrize("name", SHORT)
def test_what_the_short_cut_is_for_takes_it(name: str) -> None:
    async def cycles() -> list[object]:
        connection = Connection(True, rules())
        await connection.send([SHORT[name]()] * 3)
        return [connection.protocol.cycle, connection.transport.written.count(b"HTTP/1.1 ")]

    assert run(cycles()) == [None, 3]


@pytest.mark.parametrize("name", LONG)
def test_what_it_is_not_for_does_not(name: str) -> None:
    async def answers() -> int:
        connection = Connection(True, rules())
        await connection.send([LONG[name]()])
        return int(connection.protocol._answers)

    assert run(answers()) == 0


@given(
    names=st.lists(st.sampled_from(sorted(ALL)), min_size=1, max_size=6),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    rest=st.booleans(),
)
@_SETTINGS
def test_any_mix_cut_anywhere_gets_the_same_answers(names: list[str], cuts: list[float], rest: bool) -> None:
    whole = b"".join(ALL[name]() for name in names)
    places = [0, *sorted(int(cut * len(whole)) for cut in cuts), len(whole)]
    chunks = [whole[start:end] for start, end in pairwise(places) if start < end]
    assert_same(both_ways(chunks, rules(), rest), names)


@given(names=st.lists(st.sampled_from(sorted(ALL)), min_size=2, max_size=8), rest=st.booleans())
@_SETTINGS
def test_requests_one_a_read_get_the_same_answers(names: list[str], rest: bool) -> None:
    # Twice each, so that reads are recognized between others.
    assert_same(both_ways([ALL[name]() for name in names for _ in range(2)], rules(), rest), names)


_TEXT = st.binary(max_size=30).map(lambda data: data.translate(None, b"\r\n \t\x00"))


@given(
    method=st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"M-SEARCH", b"get", b"X"]),
    suffix=_TEXT,
    endpoint=st.sampled_from([b"/authz", b"/authz?", b"/authz/envoy/", b"/authz/", b"/authz/nginx?", b"/"]),
    name=_TEXT,
    value=_TEXT,
    again=st.booleans(),
)
@_SETTINGS
def test_odd_methods_targets_and_headers_get_the_same_answers(  # noqa: PLR0917 - one by each strategy
    method: bytes, suffix: bytes, endpoint: bytes, name: bytes, value: bytes, again: bool
) -> None:
    whole = request(endpoint + suffix, name + b": " + value, method=method)
    assert_same(both_ways([whole] * (1 + again), rules()))


@given(
    name=st.sampled_from(sorted(SHORT)),
    place=st.floats(0, 1),
    byte=st.integers(0, 255),
)
@_SETTINGS
def test_a_request_that_differs_in_one_byte_is_not_taken_for_the_one_before(
    name: str, place: float, byte: int
) -> None:
    whole = SHORT[name]()
    changed = bytearray(whole)
    changed[min(int(place * len(whole)), len(whole) - 1)] = byte
    assert_same(both_ways([whole, whole, bytes(changed), whole], rules()))


@pytest.mark.parametrize("rest", [True, False])
def test_a_long_pipeline_is_answered_in_its_order(rest: bool) -> None:
    requests = [SHORT[name]() for name in sorted(SHORT)] * 2
    assert len(requests) > MAX_ANSWERS_A_READ
    short, long = both_ways([b"".join(requests)], rules(), rest)
    assert short.written.count(b"HTTP/1.1 ") == len(requests)
    assert short == long


def test_a_rate_is_spent_the_same_way() -> None:
    short, long = both_ways([nginx()] * 12, rules())
    assert short.written.count(b" 429 ") == 4
    assert short == long
