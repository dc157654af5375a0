# SPDX-License-Identifier: Apache-2.0
"""A connection to the app serves one workload, one request at a time, and nothing that was left on it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.gate.fast_path.test_same_bytes import request as request_in_process
from tests.gate.fast_path.ways import VirtualLoop, come_to_rest
from tests.gate.proxy.in_process import Gates, in_process, quiet
from tests.gate.proxy.scripted import WAIT_SECONDS, Heard, Scene, Script, read_all, read_until, request, scene
from tests.gate.proxy.test_passing_on import body_of, status_of
from tests.memory import memory_of

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STOLEN = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"
GET = b"GET /app/acme/x HTTP/1.1"


@contextmanager
def on_a_kept_connection(folder: Path, script: Script, *flags: str) -> Iterator[tuple[Scene, socket.socket]]:
    with scene(folder, script, flags) as place, place.connect() as link:
        yield place, link


def exchange(link: socket.socket, message: bytes, end: bytes) -> bytes:
    """A request on a connection that is kept; its answer."""
    link.sendall(message)
    return read_until(link, end)


def numbers(place: Scene) -> list[tuple[int, int]]:
    """Connection and turn of each request that the app heard."""
    return [(each.connection, each.turn) for each in place.app.heard]


def is_of(each: Heard, who: str) -> bool:
    return b"x-watchword-subject: system:serviceaccount:apps:%s\r\n" % who.encode() in each.head


def test_a_connection_is_used_again_for_its_workload_and_for_no_other(tmp_path: Path) -> None:
    with on_a_kept_connection(tmp_path, lambda _: OK) as (place, link):
        for _ in range(3):
            for who in ("one", "two"):
                assert exchange(link, request(GET, who=who), b"\r\n\r\nok").startswith(b"HTTP/1.1 200")
        by_connection: dict[int, set[str]] = {}
        for each in place.app.heard:
            who = "one" if is_of(each, "one") else "two"
            by_connection.setdefault(each.connection, set()).add(who)
        assert sorted(map(sorted, by_connection.values())) == [["one"], ["two"]]
        assert len(place.app.heard) == 6


def test_requests_at_the_same_time_have_a_connection_each(tmp_path: Path) -> None:
    def script(heard: Heard) -> bytes:
        if heard.name == "slow":
            time.sleep(0.3)
        return OK

    with scene(tmp_path, script) as place:
        links = [place.connect() for _ in range(5)]
        for link in links:
            link.sendall(request(b"GET /app/acme/slow HTTP/1.1"))
        for link in links:
            read_until(link, b"\r\n\r\nok")
            link.close()
        assert {turn for _, turn in numbers(place)} == {0}


@pytest.mark.parametrize("line", [GET, b"HEAD /app/acme/x HTTP/1.1"])
@pytest.mark.parametrize("cut", [0, 1, 20])
def test_what_an_app_says_behind_an_answer_is_no_answer_to_the_next_request(
    tmp_path: Path, line: bytes, cut: int
) -> None:
    def script(heard: Heard) -> bytes:
        head = OK if not heard.head.startswith(b"HEAD") else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
        return head + (STOLEN[:cut] if cut else STOLEN)

    with on_a_kept_connection(tmp_path, script) as (place, link):
        end = b"\r\n\r\n" if line.startswith(b"HEAD") else b"\r\n\r\nok"
        for _ in range(3):
            answer = exchange(link, request(line), end)
            assert b"stolen" not in answer
        assert numbers(place) == [(0, 0), (1, 0), (2, 0)]


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 304 A\r\n\r\nok"]
)
def test_a_body_where_none_may_be_is_no_answer_to_the_next_request(tmp_path: Path, answer: bytes) -> None:
    with on_a_kept_connection(tmp_path, lambda heard: OK if heard.name == "y" else answer) as (place, link):
        exchange(link, request(GET), b"\r\n\r\n")
        assert exchange(link, request(b"GET /app/acme/y HTTP/1.1"), b"ok").count(b"ok") == 1
        assert numbers(place) == [(0, 0), (1, 0)]


def test_what_an_app_says_while_nothing_is_asked_ends_its_connection(tmp_path: Path) -> None:
    def script(heard: Heard) -> bytes | bool:
        if heard.connection:
            return OK
        heard.link.sendall(OK)
        time.sleep(0.2)
        heard.link.sendall(STOLEN)
        # The gate hangs up.
        assert heard.link.recv(1) == b""
        return False

    with on_a_kept_connection(tmp_path, script) as (place, link):
        exchange(link, request(GET), b"\r\n\r\nok")
        time.sleep(0.6)
        assert b"stolen" not in exchange(link, request(GET), b"\r\n\r\nok")
        assert numbers(place) == [(0, 0), (1, 0)]


def test_a_connection_that_the_app_announces_to_close_is_not_used_again(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    with on_a_kept_connection(tmp_path, lambda _: answer) as (place, link):
        for _ in range(2):
            head = exchange(link, request(GET), b"\r\n\r\nok")
            assert b"connection:" not in head.lower()
        assert numbers(place) == [(0, 0), (1, 0)]


def test_an_answer_before_the_body_leaves_nothing_of_it_for_the_next_request(tmp_path: Path) -> None:
    hidden = request(b"GET /app/acme/hidden HTTP/1.1")

    def script(heard: Heard) -> bytes | bool:
        if heard.name != "early":
            return OK
        heard.link.sendall(OK)
        while heard.link.recv(65536):
            pass
        return False

    with on_a_kept_connection(tmp_path, script) as (place, link):
        head = request(b"POST /app/acme/early HTTP/1.1", b"Content-Length: %d" % (10 + len(hidden)))
        link.sendall(head + b"0123456789")
        read_until(link, b"\r\n\r\nok")
        # The rest of the body comes only now, and the next request behind it.
        link.sendall(hidden)
        exchange(link, request(b"GET /app/acme/next HTTP/1.1"), b"\r\n\r\nok")
        assert [each.name for each in place.app.heard] == ["early", "next"]
        assert numbers(place) == [(0, 0), (1, 0)]


def closes_when_used_again(heard: Heard) -> bytes | None:
    """An app that closes a kept connection just when it is used again."""
    return OK if heard.turn == 0 else None


@pytest.mark.parametrize("line", [GET, b"HEAD /app/acme/x HTTP/1.1"])
def test_a_safe_request_on_a_connection_that_was_closed_is_sent_again(tmp_path: Path, line: bytes) -> None:
    def script(heard: Heard) -> bytes | None:
        answer = closes_when_used_again(heard)
        return answer.removesuffix(b"ok") if answer and heard.head.startswith(b"HEAD") else answer

    with on_a_kept_connection(tmp_path, script) as (place, link):
        end = b"\r\n\r\n" if line.startswith(b"HEAD") else b"\r\n\r\nok"
        for _ in range(2):
            assert status_of(exchange(link, request(line), end)) == 200
        assert numbers(place) == [(0, 0), (0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("line", "headers", "body"),
    [
        (b"POST /app/acme/x HTTP/1.1", [], b""),
        (b"DELETE /app/acme/x HTTP/1.1", [], b""),
        (b"PUT /app/acme/x HTTP/1.1", [b"Content-Length: 1"], b"a"),
        (b"GET /app/acme/x HTTP/1.1", [b"Content-Length: 1"], b"a"),
        (b"OPTIONS /app/acme/x HTTP/1.1", [], b""),
    ],
)
def test_any_other_request_is_sent_once(
    tmp_path: Path, line: bytes, headers: list[bytes], body: bytes
) -> None:
    with on_a_kept_connection(tmp_path, closes_when_used_again) as (place, link):
        exchange(link, request(GET), b"\r\n\r\nok")
        answer = exchange(link, request(line, *headers, body=body), b'"broken"}')
        assert status_of(answer) == 502
        assert numbers(place) == [(0, 0), (0, 1)]


def test_a_request_is_sent_again_once_and_not_after_a_byte_of_an_answer(tmp_path: Path) -> None:
    def always_closes(heard: Heard) -> bytes | None:
        if heard.name == "first":
            return OK
        if heard.name == "byte":
            heard.link.sendall(b"H")
        return None

    with on_a_kept_connection(tmp_path, always_closes) as (place, link):
        exchange(link, request(b"GET /app/acme/first HTTP/1.1"), b"\r\n\r\nok")
        assert status_of(exchange(link, request(GET), b'"broken"}')) == 502
        assert numbers(place) == [(0, 0), (0, 1), (1, 0)]
        exchange(link, request(b"GET /app/acme/first HTTP/1.1"), b"\r\n\r\nok")
        assert status_of(exchange(link, request(b"GET /app/acme/byte HTTP/1.1"), b'"broken"}')) == 502
        assert numbers(place)[3:] == [(2, 0), (2, 1)]


def test_an_upload_that_stalls_is_told_so_with_the_flag(tmp_path: Path) -> None:
    def script(heard: Heard) -> bytes | bool:
        heard.link.recv(65536)
        return False

    with scene(tmp_path, script, ("--upload-timeout-seconds", "0.5")) as place, place.connect() as link:
        link.sendall(request(b"POST /app/acme/x HTTP/1.1", b"Content-Length: 10") + b"half")
        answer = read_all(link)
    assert status_of(answer) == 408
    assert b'"reason":"body_too_slow"' in answer
    assert b"--upload-timeout-seconds" in answer
    assert b"\r\nconnection: close\r\n" in answer


def test_an_upload_that_goes_on_slowly_is_waited_for(tmp_path: Path) -> None:
    def script(heard: Heard) -> bytes:
        while len(heard.rest) < 8:
            heard.rest += heard.link.recv(65536)
        body, heard.rest = heard.rest[:8], b""
        return b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n" + body

    with scene(tmp_path, script, ("--upload-timeout-seconds", "1.5")) as place, place.connect() as link:
        link.sendall(request(b"POST /app/acme/x HTTP/1.1", b"Content-Length: 8"))
        for each in b"slowly..":
            time.sleep(0.4)
            link.sendall(bytes([each]))
        assert read_until(link, b"slowly..").startswith(b"HTTP/1.1 200")


def test_an_app_that_takes_no_body_is_late_and_its_caller_is_not(tmp_path: Path) -> None:
    def script(heard: Heard) -> bytes | bool:
        time.sleep(8)
        return False

    flags = ("--upstream-timeout-seconds", "1", "--upload-timeout-seconds", "60")
    with scene(tmp_path, script, flags) as place, place.connect() as link:
        link.sendall(request(b"POST /app/acme/x HTTP/1.1", b"Content-Length: 100000000"))
        link.settimeout(0.5)
        try:
            while True:
                link.sendall(b"a" * 65536)
        except TimeoutError:
            link.settimeout(WAIT_SECONDS)
        answer = read_until(link, b'"timeout"}')
    assert status_of(answer) == 504


def test_an_answer_that_stalls_breaks_off(tmp_path: Path) -> None:
    def script(heard: Heard) -> bytes | bool:
        heard.link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        heard.link.recv(1)
        return False

    with scene(tmp_path, script, ("--upstream-timeout-seconds", "0.5")) as place:
        answer = place.ask(GET)
    assert status_of(answer) == 200
    assert body_of(answer) == b"half"


def test_a_refusal_comes_without_the_continue_that_it_makes_needless(tmp_path: Path) -> None:
    with on_a_kept_connection(tmp_path, lambda _: OK) as (place, link):
        expects = (b"Content-Length: 5", b"Expect: 100-continue")
        link.sendall(request(b"POST /nowhere HTTP/1.1", *expects))
        answer = read_all(link)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"\r\nconnection: close\r\n" in answer
        assert place.app.heard == []


def test_a_refused_body_is_read_to_its_end_and_the_connection_kept(tmp_path: Path) -> None:
    hidden = request(b"GET /app/acme/hidden HTTP/1.1")
    with on_a_kept_connection(tmp_path, lambda _: OK) as (place, link):
        link.sendall(request(b"POST /nowhere HTTP/1.1", b"Content-Length: %d" % len(hidden), body=hidden))
        read_until(link, b"no_route")
        answer = exchange(link, request(GET), b"\r\n\r\nok")
        assert b"HTTP/1.1 200" in answer
        assert [each.name for each in place.app.heard] == ["x"]


LARGE = 256 * 2**20


def test_large_bodies_pass_at_flat_memory_both_ways(tmp_path: Path) -> None:
    def script(heard: Heard) -> bytes | bool:
        if heard.name == "down":
            heard.link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
            for _ in range(LARGE // 2**20):
                heard.link.sendall(b"a" * 2**20)
            return b""
        left = LARGE - len(heard.rest)
        while left > 0:
            left -= len(heard.link.recv(2**20))
        heard.rest = b""
        return OK

    with on_a_kept_connection(tmp_path, script) as (place, link):
        before = memory_of(place.gate.pid).peak
        link.sendall(request(b"PUT /app/acme/up HTTP/1.1", b"Content-Length: %d" % LARGE))
        for _ in range(LARGE // 2**20):
            link.sendall(b"a" * 2**20)
        read_until(link, b"\r\n\r\nok")
        link.sendall(request(b"GET /app/acme/down HTTP/1.1"))
        got = len(read_until(link, b"\r\n\r\n").partition(b"\r\n\r\n")[2])
        while got < LARGE:
            got += len(link.recv(2**20))
        assert got == LARGE
        assert memory_of(place.gate.pid).peak - before < 8 * 2**20


def test_a_caller_who_takes_nothing_holds_little_of_a_large_answer(tmp_path: Path) -> None:
    sent = [0]

    def script(heard: Heard) -> bytes | bool:
        heard.link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        for _ in range(LARGE // 65536):
            heard.link.sendall(b"a" * 65536)
            sent[0] += 65536
        return b""

    with scene(tmp_path, script) as place, place.connect(4096) as link:
        link.sendall(request(GET))
        place.app.wait_for(1)
        seen = -1
        while seen != sent[0]:
            seen = sent[0]
            time.sleep(0.5)
        # What kernels hold on both sides is in it; a fraction of what the app has.
        assert seen < LARGE // 8
        got = len(read_until(link, b"\r\n\r\n").partition(b"\r\n\r\n")[2])
        while got < 16 * 2**20:
            got += len(link.recv(2**20))


@pytest.mark.parametrize(
    ("method", "idle_seconds", "is_used"),
    [
        (b"GET", 29.9, True),
        (b"GET", 30.0, False),
        (b"HEAD", 29.9, True),
        (b"POST", 0.5, True),
        (b"POST", 0.99, True),
        (b"POST", 1.0, False),
        (b"POST", 29.9, False),
    ],
)
def test_a_request_that_is_not_sent_again_uses_a_connection_only_well_before_an_app_may_close_it(
    method: bytes, idle_seconds: float, is_used: bool
) -> None:
    # gunicorn closes an idle connection after 2 s by default; a request that meets that moment is lost.
    async def work(gate: Gates) -> None:
        transport, loop = gate(True).another(), asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        transport.arrive(request_in_process(b"/app/acme"))
        await quiet(transport)
        before = set(gate.links)
        # At once: no timer of the gate has had its turn since.
        loop.now += idle_seconds
        transport.arrive(request_in_process(b"/app/acme", method=method))
        await quiet(transport)
        assert bytes(transport.written).count(b"HTTP/1.1 200 ") == 2
        assert (set(gate.links) == before) == is_used

    with in_process() as run:
        run(work)


def test_a_connection_to_the_app_rests_for_half_a_minute() -> None:
    async def work(gate: Gates) -> None:
        transport, loop = gate(True).another(), asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        transport.arrive(request_in_process(b"/app/acme"))
        await quiet(transport)
        for _ in range(59):
            loop.now += 0.5
            await come_to_rest()
        assert len(gate.links) == 1
        for _ in range(2):
            loop.now += 0.5
            await come_to_rest()
        assert gate.links == []

    with in_process() as run:
        run(work)


def test_of_too_many_connections_that_rest_the_one_that_rested_longest_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("watchword.gate.proxy.upstream.MAX_IDLE", 1)

    async def work(gate: Gates) -> None:
        connection = gate(True)
        first, second = connection.another(), connection.another()
        # Two at once need two connections to the app.
        for transport in (first, second):
            transport.arrive(request_in_process(b"/app/acme"))
        for transport in (first, second):
            await quiet(transport)
        await come_to_rest()
        assert len(gate.links) == 1
        first.arrive(request_in_process(b"/app/acme"))
        await quiet(first)
        assert bytes(first.written).count(b"HTTP/1.1 200 ") == 2
        assert len(gate.links) == 1

    with in_process() as run:
        run(work)
