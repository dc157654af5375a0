# SPDX-License-Identifier: Apache-2.0
"""What a route allowed reaches the app as it came, streamed both ways; what none allowed never does."""

from __future__ import annotations

import socket

import pytest

from tests.gate.proxy.conftest import Front, bearer

BIG = bytes(range(256)) * 65536


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


def test_an_allowed_request_reaches_the_app_with_its_target_and_its_body(front: Front) -> None:
    body = b"a=1"
    answer = front.ask(b"POST /app/acme/thing?q=%2F%C3%A9&r HTTP/1.1", b"Content-Length: 3", body=body)
    assert status_of(answer) == 200
    assert body_of(answer) == body
    seen = front.app.seen[-1]
    assert seen.line == b"POST /app/acme/thing?q=%2F%C3%A9&r HTTP/1.1"
    assert seen.body == body


def test_the_app_is_told_who_calls_and_never_gets_the_credential(front: Front) -> None:
    front.ask(b"GET /app/acme/thing HTTP/1.1", b"Host: shop.example", b"X-Custom: \xc3\xa9")
    seen = front.app.seen[-1]
    assert seen.values(b"x-watchword-subject") == [b"system:serviceaccount:atlas-production:atlas"]
    assert seen.values(b"x-watchword-workload") == [b"tuist/atlas"]
    assert len(seen.values(b"x-watchword-decision-id")) == 1
    assert seen.values(b"authorization") == []
    assert seen.values(b"host") == [b"shop.example"]
    assert seen.values(b"x-forwarded-host") == [b"shop.example"]
    assert seen.values(b"x-custom") == [b"\xc3\xa9"]
    assert b"Bearer" not in b"".join(value for _, value in seen.headers)


@pytest.mark.parametrize(
    "header",
    [
        b"X-Watchword-Subject: system:serviceaccount:a:admin",
        b"x_watchword_subject: system:serviceaccount:a:admin",
        b"X-WATCHWORD_SUBJECT: system:serviceaccount:a:admin",
        b"X-Watchword-Admin: yes",
        b"X-Forwarded-For: 10.0.0.1",
        b"X_Forwarded_For: 10.0.0.1",
        b"Forwarded: for=10.0.0.1",
        b"X-Real-IP: 10.0.0.1",
        b"Proxy-Authorization: Basic YTpi",
        b"Keep-Alive: timeout=1",
        b"TE: trailers",
    ],
)
def test_what_a_caller_may_not_say_does_not_reach_the_app(front: Front, header: bytes) -> None:
    front.ask(b"GET /app/acme/thing HTTP/1.1", header)
    seen = front.app.seen[-1]
    name, _, value = header.partition(b": ")
    assert value not in seen.values(name.lower().replace(b"_", b"-"))
    assert seen.values(b"x-watchword-subject") == [b"system:serviceaccount:atlas-production:atlas"]


def test_connection_cannot_remove_what_the_gate_says(front: Front) -> None:
    # CVE-2024-45410: a header named in Connection is dropped by whoever passes it on.
    front.ask(
        b"GET /app/acme/thing HTTP/1.1",
        b"Connection: x-watchword-subject, x-forwarded-for, host, x-private",
        b"X-Private: 1",
    )
    seen = front.app.seen[-1]
    assert seen.values(b"x-watchword-subject") == [b"system:serviceaccount:atlas-production:atlas"]
    assert seen.values(b"x-forwarded-for") == [b"127.0.0.1"]
    assert seen.values(b"host") == [b"gate"]
    assert seen.values(b"x-private") == []


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"GET /nothing HTTP/1.1", 403, b"no_route"),
        (b"GET /other/acme/thing HTTP/1.1", 403, b"insufficient_scope"),
        (b"GET /app/rival/thing HTTP/1.1", 403, b"account_not_granted"),
        (b"GET /app/acme/../rival/thing HTTP/1.1", 403, b"no_route"),
        (b"GET //app/acme/thing HTTP/1.1", 403, b"no_route"),
        (b"GET /app/acme/%2e%2e HTTP/1.1", 403, b"no_route"),
        (b"GET http://other.example/app/acme/thing HTTP/1.1", 403, b"no_route"),
        (b"OPTIONS * HTTP/1.1", 403, b"no_route"),
        (b"PROPFIND /app/acme/thing HTTP/1.1", 403, b"no_route"),
    ],
)
def test_what_no_route_allows_never_reaches_the_app(
    front: Front, line: bytes, status: int, reason: bytes
) -> None:
    before = len(front.app.seen)
    answer = front.ask(line)
    assert status_of(answer) == status
    assert b"x-watchword-reason: " + reason + b"\r\n" in answer
    assert len(front.app.seen) == before


def test_a_stranger_never_reaches_the_app(front: Front) -> None:
    before = len(front.app.seen)
    for credential in (b"", b"Authorization: Bearer nonsense"):
        answer = front.ask(b"GET /app/acme/thing HTTP/1.1", credential=credential)
        assert status_of(answer) == 401
        assert b"x-watchword-upstream" not in answer
    assert len(front.app.seen) == before


def test_the_gates_own_endpoints_stay_its_own(front: Front) -> None:
    before = len(front.app.seen)
    assert status_of(front.ask(b"GET /authz HTTP/1.1")) == 200
    assert status_of(front.ask(b"GET /api/internal/accounts/acme/usage HTTP/1.1")) == 404
    assert len(front.app.seen) == before


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_sixteen_megabytes_pass_unharmed_both_ways(front: Front, framing: str) -> None:
    if framing == "length":
        header, body = b"Content-Length: %d" % len(BIG), BIG
    else:
        half = len(BIG) // 2
        parts = (BIG[:half], BIG[half:])
        header = b"Transfer-Encoding: chunked"
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    answer = front.ask(b"PUT /app/acme/thing HTTP/1.1", header, body=body)
    assert status_of(answer) == 200
    assert body_of(answer) == BIG
    assert front.app.seen[-1].body == BIG


def read_until(link: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        more = link.recv(65536)
        assert more, data
        data += more
    return data


def test_each_chunk_is_answered_before_the_next_one_is_sent(front: Front) -> None:
    with front.connect() as link:
        head = [b"POST /app/acme/both-ways HTTP/1.1", b"Host: gate", bearer(), b"Transfer-Encoding: chunked"]
        link.sendall(b"\r\n".join([*head, b"", b""]))
        for word in (b"one", b"two", b"three"):
            link.sendall(b"%x\r\n%s\r\n" % (len(word), word))
            assert word in read_until(link, word)
        link.sendall(b"0\r\n\r\n")
        read_until(link, b"0\r\n\r\n")


def test_an_answer_is_passed_back_while_it_is_being_written(front: Front) -> None:
    with front.connect() as link:
        link.sendall(b"\r\n".join([b"GET /app/acme/stream HTTP/1.1", b"Host: gate", bearer(), b"", b""]))
        read_until(link, b"part")
        front.app.go_on.set()
        read_until(link, b"0\r\n\r\n")


def test_many_requests_share_a_connection_in_order(front: Front) -> None:
    names = [b"n%d" % number for number in range(20)]
    with front.connect() as link:
        for name in names:
            body = b"body of " + name
            head = [
                b"POST /app/acme/%s HTTP/1.1" % name,
                b"Host: gate",
                bearer(),
                b"Content-Length: %d" % len(body),
            ]
            link.sendall(b"\r\n".join([*head, b"", body]))
        data = b""
        while data.count(b"body of ") < len(names):
            data += link.recv(65536)
    found = [part.split(b"HTTP/1.1")[0] for part in data.split(b"body of ")[1:]]
    assert found == names


def test_expect_is_answered_by_the_gate(front: Front) -> None:
    with front.connect() as link:
        head = [b"POST /app/acme/thing HTTP/1.1", b"Host: gate", bearer(), b"Content-Length: 2"]
        link.sendall(b"\r\n".join([*head, b"Expect: 100-continue", b"", b""]))
        read_until(link, b"HTTP/1.1 100 Continue\r\n\r\n")
        link.sendall(b"ok")
        assert b"200 OK" in read_until(link, b"\r\n\r\nok")
    assert front.app.seen[-1].values(b"expect") == []


def test_a_head_request_has_no_body_and_keeps_its_connection(front: Front) -> None:
    with front.connect() as link:
        for _ in range(2):
            link.sendall(b"\r\n".join([b"HEAD /app/acme/thing HTTP/1.1", b"Host: gate", bearer(), b"", b""]))
            assert read_until(link, b"\r\n\r\n").endswith(b"\r\n\r\n")


def test_an_app_that_refuses_a_body_early_is_heard(front: Front) -> None:
    answer = front.ask(b"POST /app/acme/early HTTP/1.1", b"Content-Length: 3", body=b"abc")
    assert status_of(answer) == 413
    assert body_of(answer) == b"too much"


def test_redirects_and_codings_are_the_callers_to_follow(front: Front) -> None:
    assert b"location: http://other.example/" in front.ask(b"GET /app/acme/moved HTTP/1.1")
    packed = front.ask(b"GET /app/acme/packed HTTP/1.1")
    assert b"content-encoding: gzip" in packed
    assert body_of(packed) == b"not really gzip"
    assert status_of(front.ask(b"GET /app/acme/not-modified HTTP/1.1")) == 304


def test_an_answer_has_one_date_though_app_and_gate_say_theirs(front: Front) -> None:
    head = front.ask(b"GET /app/acme/dated HTTP/1.1").partition(b"\r\n\r\n")[0].lower()
    assert head.count(b"\r\ndate:") == 1


def test_an_app_cannot_speak_as_the_gate(front: Front) -> None:
    answer = front.ask(b"GET /app/acme/forges HTTP/1.1")
    assert status_of(answer) == 401
    head = answer.partition(b"\r\n\r\n")[0].lower()
    for name in (b"x-watchword-reason", b"x_watchword_upstream", b"keep-alive", b"x-private"):
        assert name not in head
    assert b"set-cookie: a=1\r\nset-cookie: b=2" in head


def test_the_app_is_left_when_its_caller_leaves(front: Front) -> None:
    front.app.callers_gone.clear()
    with front.connect() as link:
        link.sendall(b"\r\n".join([b"GET /app/acme/endless HTTP/1.1", b"Host: gate", bearer(), b"", b""]))
        read_until(link, b"x")
    assert front.app.callers_gone.wait(60)
