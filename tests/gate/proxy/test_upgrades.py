# SPDX-License-Identifier: Apache-2.0
"""An `Upgrade` never ends a message: only a WebSocket's opens a tunnel, and only where one may be opened."""

from __future__ import annotations

import pytest

from tests.gate.proxy.conftest import Front, bearer
from tests.gate.proxy.test_passing_on import status_of

HIDDEN = b"POST /app/acme/leak HTTP/1.1\r\nHost: a\r\nContent-Length: 400\r\n\r\n"
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
LENGTH, CODING = b"Content-Length: %d" % len(HIDDEN), b"Transfer-Encoding: chunked"
WEBSOCKET = [b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + b"A" * 22 + b"=="]
FRAMINGS = [(LENGTH, HIDDEN), (CODING, CHUNKED)]
WORDS = [b"h2c", b"websocket", b"WebSocket", b"TLS/1.2", b"x", b"websocket, h2c", b"h2c, websocket"]
CONNECTIONS = [b"Upgrade", b"Upgrade, HTTP2-Settings", b"keep-alive, Upgrade", b"upgrade , close"]


def message(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([line, b"Host: gate", bearer(), *headers, b"", body])


def exchange(front: Front, *parts: bytes) -> bytes:
    with front.connect() as link:
        for part in parts:
            link.sendall(part)
        return b"".join(iter(lambda: link.recv(65536), b""))


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(("framing", "body"), FRAMINGS, ids=["length", "chunked"])
def test_a_body_behind_an_upgrade_reaches_the_app_whole_and_is_no_request(
    front: Front, framing: bytes, body: bytes, word: bytes, connection: bytes
) -> None:
    before = len(front.app.seen)
    headers = [b"Upgrade: " + word, b"Connection: " + connection, framing]
    last = message(b"GET /app/acme/last HTTP/1.1", b"Connection: close")
    answers = exchange(front, message(b"POST /app/acme/upload HTTP/1.1", *headers, body=body) + last)
    seen = front.app.seen[before:]
    assert seen[0].line == b"POST /app/acme/upload HTTP/1.1"
    assert seen[0].body == HIDDEN
    # A connection that was to close takes nothing more.
    wanted = 1 if b"close" in connection else 2
    assert (len(seen), answers.count(b"HTTP/1.1 200 ")) == (wanted, wanted)


@pytest.mark.parametrize(("framing", "body"), FRAMINGS, ids=["length", "chunked"])
def test_cut_anywhere_it_is_the_same_request(front: Front, framing: bytes, body: bytes) -> None:
    whole = message(
        b"POST /app/acme/upload HTTP/1.1",
        b"Upgrade: h2c",
        b"Connection: Upgrade, HTTP2-Settings",
        framing,
        body=body,
    )
    for place in range(1, len(whole), 23):
        before = len(front.app.seen)
        last = message(b"GET /app/acme/last HTTP/1.1", b"Connection: close")
        exchange(front, whole[:place], whole[place:] + last)
        assert [each.body for each in front.app.seen[before:]] == [HIDDEN, b""]


@pytest.mark.parametrize(("framing", "body"), FRAMINGS, ids=["length", "chunked"])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_websocket_with_a_body_is_an_ordinary_request(
    front: Front, framing: bytes, body: bytes, method: bytes
) -> None:
    before = len(front.app.seen)
    headers = [*WEBSOCKET, b"Connection: Upgrade", framing]
    last = message(b"GET /app/acme/last HTTP/1.1", b"Connection: close")
    answers = exchange(front, message(method + b" /app/acme/ws HTTP/1.1", *headers, body=body) + last)
    assert b" 101 " not in answers
    assert [each.body for each in front.app.seen[before:]] == [HIDDEN, b""]


def test_an_upgrade_behind_a_slow_request_waits_for_its_turn(front: Front) -> None:
    first = message(b"GET /app/acme/slow HTTP/1.1")
    upgrade = message(b"GET /app/acme/ws HTTP/1.1", *WEBSOCKET, b"Connection: Upgrade")
    answers = exchange(front, first + upgrade)
    assert status_of(answers) == 200 or status_of(answers) == 504
    assert b" 101 " not in answers[: answers.index(b"\r\n\r\n")]


@pytest.mark.parametrize(
    ("endpoint", "status"),
    [
        (b"/authz", 200),
        (b"/authz/nginx", 200),
        (b"/authz/ingress-nginx", 200),
        (b"/authz/traefik", 200),
        (b"/authz/caddy", 200),
        (b"/authz/envoy/app/acme/ws", 200),
        (b"/authz/envoy/app/rival/ws", 403),
        (b"/authz/other", 404),
        (b"/authz?x=/app/acme/ws", 200),
    ],
)
def test_a_proxys_question_about_a_websocket_is_decided_and_never_tunnelled(
    front: Front, endpoint: bytes, status: int
) -> None:
    before = len(front.app.seen)
    about = [
        b"X-Forwarded-Method: GET",
        b"X-Forwarded-Uri: /app/acme/ws",
        b"X-Original-Method: GET",
        b"X-Original-Uri: /app/acme/ws",
        b"X-Original-Url: http://gate/app/acme/ws",
    ]
    question = message(b"GET " + endpoint + b" HTTP/1.1", *WEBSOCKET, b"Connection: Upgrade", *about)
    last = message(b"GET /authz HTTP/1.1", b"Connection: close")
    # Twice: the second one is recognized by its bytes.
    answers = exchange(front, question, question, last)
    assert [int(each[:3]) for each in answers.split(b"HTTP/1.1 ")[1:]] == [status, status, 200]
    assert len(front.app.seen) == before


@pytest.mark.parametrize("path", [b"/authz", b"/authz/caddy", b"/api/internal/accounts/acme/usage"])
def test_what_the_gate_answers_itself_is_never_tunnelled(front: Front, path: bytes) -> None:
    before = len(front.app.seen)
    headers = [
        *WEBSOCKET,
        b"Connection: Upgrade",
        b"X-Forwarded-Method: GET",
        b"X-Forwarded-Uri: /app/acme/ws",
    ]
    last = message(b"GET /authz HTTP/1.1", b"Connection: close")
    answers = exchange(front, message(b"GET " + path + b" HTTP/1.1", *headers) + last)
    assert answers.count(b"HTTP/1.1 ") == 2
    assert b" 101 " not in answers
    assert len(front.app.seen) == before


def test_connect_is_refused(front: Front) -> None:
    before = len(front.app.seen)
    assert status_of(exchange(front, message(b"CONNECT app:80 HTTP/1.1", body=HIDDEN))) == 400
    assert len(front.app.seen) == before


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_without_a_body_another_upgrade_is_an_ordinary_request(front: Front, version: bytes) -> None:
    before = len(front.app.seen)
    whole = message(b"GET /app/acme/thing HTTP/" + version, b"Upgrade: h2c", b"Connection: Upgrade, close")
    assert status_of(exchange(front, whole)) == 200
    assert len(front.app.seen) == before + 1
