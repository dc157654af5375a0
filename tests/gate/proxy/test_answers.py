# SPDX-License-Identifier: Apache-2.0
"""Answers of apps that are odd, large, half or wrong: passed on as they are, or told as the app's trouble."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.gate.proxy.scripted import Heard, Scene, read_all, read_until, request, scene
from tests.gate.proxy.test_passing_on import body_of, status_of
from tests.gate.proxy.test_tunnel import UPGRADE

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EARLY_HINTS = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Watchword-Subject: forged\r\n\r\n"
)
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello"
COOKIES = b"".join(b"Set-Cookie: name-%d=%s; Path=/\r\n" % (each, b"v" * 300) for each in range(200))

# By the last segment of the path: what the app answers, byte for byte.
ANSWERS: dict[str, bytes] = {
    "hints": EARLY_HINTS + OK,
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    "processing": b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + OK,
    "switches": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + OK,
    "cookies": b"HTTP/1.1 200 OK\r\n" + COOKIES + b"Content-Length: 2\r\n\r\nok",
    "large-head": b"HTTP/1.1 200 OK\r\nX-Large: " + b"a" * 140_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "many-headers": b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 1001 + b"Content-Length: 2\r\n\r\nok",
    "trailers": CHUNKED + b"2\r\nok\r\n0\r\nX-Watchword-Subject: forged\r\nX-Trailer: 1\r\n\r\n",
    "no-reason": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    "small-chunks": CHUNKED + b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n",
    # Refused: two readers could take them for two answers.
    "both-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
    "list-of-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "odd-coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "old-chunks": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "negative": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "folded": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok",
    "nul": b"HTTP/1.1 200 OK\r\nX-A: 1\x002\r\nContent-Length: 2\r\n\r\nok",
    "split": b"HTTP/1.1 200 OK\r\nX-A: 1\rSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok",
    "low-status": b"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok",
    "long-status": b"HTTP/1.1 2000 Long\r\nContent-Length: 2\r\n\r\nok",
    "http-2": b"HTTP/2 200\r\nContent-Length: 2\r\n\r\nok",
    "blank": b"\r\n" + OK,
}
BROKEN = [
    "switches",
    "large-head",
    "many-headers",
    "both-lengths",
    "two-lengths",
    "list-of-lengths",
    "odd-coding",
    "old-chunks",
    "negative",
    "bare-lf",
    "folded",
    "nul",
    "split",
    "low-status",
    "long-status",
    "http-2",
    "blank",
]


def reset(link: socket.socket) -> None:
    """End a connection in no orderly way."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()


def script(heard: Heard) -> bytes | bool | None:
    name = heard.name
    if name.startswith("status-"):
        return b"HTTP/1.1 %s Odd\r\nContent-Length: 2\r\n\r\nok" % name[7:].encode()
    if name == "until-close":
        heard.link.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        return False
    if name == "old":
        heard.link.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return False
    if name in {"until-reset", "chunks-until-reset"}:
        chunks = name.startswith("chunks")
        heard.link.sendall(CHUNKED + b"4\r\nhalf\r\n" if chunks else b"HTTP/1.1 200 OK\r\n\r\nhalf")
        # So that the half of it is read before the reset.
        time.sleep(0.2)
        reset(heard.link)
        return False
    if name == "bad-chunk":
        return CHUNKED + b"4\r\nhalf\r\nXYZ\r\n"
    if name == "byte-by-byte":
        for each in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nX: 1\r\n\r\n":
            heard.link.sendall(bytes([each]))
            time.sleep(0.001)
        return b""
    if name == "hinted-socket":
        return EARLY_HINTS + _SWITCH
    if name == "echo-head":
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(heard.head), heard.head)
    return ANSWERS.get(name, OK)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gate before an app that answers by the name that it is asked for."""
    with scene(tmp_path_factory.mktemp("answers"), script) as running:
        yield running


def get(place: Scene, name: str, version: bytes = b"1.1", method: bytes = b"GET") -> bytes:
    return place.ask(b"%s /app/acme/%s HTTP/%s" % (method, name.encode(), version))


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_cannot_be_read_in_one_way_is_the_apps_trouble(place: Scene, name: str) -> None:
    answer = get(place, name)
    assert status_of(answer) == 502
    assert b"x-watchword-upstream: broken\r\n" in answer
    assert json.loads(body_of(answer))["upstream"] == "broken"
    # Nothing of it is an answer to the next request.
    assert body_of(get(place, "plain")) == b"ok"


@pytest.mark.parametrize("status", [200, 203, 299, 420, 451, 499, 599, 600, 799, 999])
def test_any_status_is_passed_on_as_it_is(place: Scene, status: int) -> None:
    answer = get(place, f"status-{status}")
    assert (status_of(answer), body_of(answer)) == (status, b"ok")


def test_early_hints_come_before_the_answer_and_say_nothing_in_the_gates_name(place: Scene) -> None:
    answer = get(place, "hints")
    assert answer.startswith(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK"
    )
    assert body_of(body_of(answer)) == b"ok"
    assert answer.count(b"HTTP/1.1 102 ") == 0
    assert get(place, "processing").count(b"HTTP/1.1 102 Processing\r\n\r\n") == 3


@pytest.mark.parametrize("name", ["hints", "continue", "processing"])
def test_a_caller_of_http_1_0_gets_no_interim_answer(place: Scene, name: str) -> None:
    answer = get(place, name, b"1.0")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body_of(answer) == b"ok"


def test_a_continue_that_nobody_waits_for_is_not_passed_on(place: Scene) -> None:
    assert get(place, "continue").startswith(b"HTTP/1.1 200 OK\r\n")


def test_early_hints_before_a_websocket_do_not_end_its_opening(place: Scene) -> None:
    with place.connect() as link:
        link.sendall(request(b"GET /app/acme/hinted-socket HTTP/1.1", *UPGRADE))
        head = read_until(link, b"hello")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")


def test_two_hundred_cookies_are_passed_on_each(place: Scene) -> None:
    answer = get(place, "cookies")
    assert status_of(answer) == 200
    assert answer.count(b"\r\nset-cookie: name-") == 200
    assert body_of(answer) == b"ok"


def test_trailers_of_an_answer_do_not_pass(place: Scene) -> None:
    answer = get(place, "trailers")
    assert body_of(answer) == b"2\r\nok\r\n0\r\n\r\n"


def test_many_small_chunks_are_all_there(place: Scene) -> None:
    answer = get(place, "small-chunks")
    assert body_of(answer) == b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n"


def test_an_answer_cut_anywhere_is_the_same(place: Scene) -> None:
    # As one chunk, or two.
    body = body_of(get(place, "byte-by-byte"))
    assert body.endswith(b"\r\n0\r\n\r\n")
    assert body.replace(b"1\r\no\r\n1\r\nk\r\n", b"2\r\nok\r\n").startswith(b"2\r\nok\r\n")


@pytest.mark.parametrize("name", ["trailers", "until-close", "small-chunks"])
def test_a_caller_of_http_1_0_gets_no_chunks(place: Scene, name: str) -> None:
    answer = get(place, name, b"1.0")
    head, body = answer.partition(b"\r\n\r\n")[0].lower(), body_of(answer)
    assert b"transfer-encoding" not in head
    assert b"\r\nconnection: close" in head
    assert body == {"trailers": b"ok", "until-close": b"all of it", "small-chunks": b"x" * 5000}[name]


def test_an_answer_that_ends_with_its_connection_is_whole(place: Scene) -> None:
    assert body_of(get(place, "until-close")).startswith(b"9\r\nall of it\r\n")
    assert body_of(get(place, "until-close")).endswith(b"0\r\n\r\n")
    assert body_of(get(place, "old")) == b"ok"


@pytest.mark.parametrize("name", ["until-reset", "chunks-until-reset", "bad-chunk"])
def test_half_an_answer_ends_as_a_broken_one(place: Scene, name: str) -> None:
    answer = get(place, name)
    assert status_of(answer) == 200
    assert b"4\r\nhalf\r\n" in answer
    assert not answer.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("name", ["until-reset", "chunks-until-reset", "bad-chunk"])
def test_half_an_answer_to_http_1_0_ends_with_a_reset(place: Scene, name: str) -> None:
    # It has no other way to tell a half from a whole.
    with place.connect() as link:
        link.sendall(request(b"GET /app/acme/%s HTTP/1.0" % name.encode()))
        reads = [b"."]
        with pytest.raises(ConnectionResetError):
            reads.extend(iter(lambda: link.recv(65536), b""))
    assert b"".join(reads).endswith((b".", b"half"))


def test_head_is_answered_with_the_length_and_without_the_body(place: Scene) -> None:
    # An app that sends one all the same has said something that was not asked for.
    with place.connect() as link:
        for _ in range(2):
            link.sendall(request(b"HEAD /app/acme/plain HTTP/1.1"))
            head = read_until(link, b"\r\n\r\n")
            assert b"content-length: 2\r\n" in head
            assert head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"POST /app/acme/echo-head HTTP/1.1", b"content-length: 0\r\n"),
        (b"GET /app/acme/echo-head?a=1& HTTP/1.1", b"GET /app/acme/echo-head?a=1& HTTP/1.1\r\n"),
        (b"GET /app/acme/echo-head? HTTP/1.1", b"GET /app/acme/echo-head? HTTP/1.1\r\n"),
    ],
)
def test_the_app_gets_the_target_byte_for_byte_and_a_length(
    place: Scene, line: bytes, expected: bytes
) -> None:
    assert expected in body_of(place.ask(line))


def test_a_caller_of_http_1_0_without_host_is_given_one(place: Scene) -> None:
    with place.connect() as link:
        link.sendall(request(b"GET /app/acme/echo-head HTTP/1.0").replace(b"Host: gate\r\n", b""))
        head = body_of(read_all(link))
    assert head.count(b"host: 127.0.0.1:") == 1


def test_a_fragment_reaches_no_app(place: Scene) -> None:
    before = len(place.app.heard)
    assert status_of(place.ask(b"GET /app/acme/x?a#b HTTP/1.1")) == 400
    assert len(place.app.heard) == before
