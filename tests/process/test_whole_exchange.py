# SPDX-License-Identifier: Apache-2.0
"""Short requests that are answered whole: the bytes of the request cycle, in one write, or its way."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.process.serving import Running, read_all, running, until
from watchword.process.bounds import Bounds
from watchword.process.http_protocol import BoundedProtocol
from watchword.process.whole_exchange import MAX_WHOLE_BYTES, WholeExchange, WholeProtocol

BOUNDS = Bounds(message_bytes=2 * MAX_WHOLE_BYTES, head_seconds=30.0, body_seconds=30.0)
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def post(name: bytes, body: bytes, *, headers: bytes = b"", version: bytes = b"1.1") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST /%s HTTP/%s\r\nHost: a\r\n%b%b\r\n%b" % (name, version, length, headers, body)


def serve(work: Callable[[Running], Awaitable[Any]], bounds: Bounds = BOUNDS) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60), running(bounds, WholeProtocol) as server:
            await work(server)

    asyncio.run(whole())


def undated(answers: bytes) -> bytes:
    return re.sub(rb"date: [^\r]*", b"date: now", answers)


# What a caller may send, and whether it is answered whole.
REQUESTS = {
    "a form": (post(b"form", b"a=b"), True),
    "the longest": (post(b"form", b"x" * MAX_WHOLE_BYTES), True),
    "one byte more": (post(b"form", b"x" * (MAX_WHOLE_BYTES + 1)), False),
    "no body": (post(b"form", b""), False),
    "chunks": (
        b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n",
        False,
    ),
    "a GET with a body": (post(b"form", b"a=b").replace(b"POST", b"GET", 1), False),
    "a PUT": (post(b"form", b"a=b").replace(b"POST", b"PUT", 1), False),
    "a query": (post(b"form?a=b", b"a=b"), False),
    "an escape": (post(b"f%6frm", b"a=b"), False),
    "the absolute form": (post(b"form", b"a=b").replace(b" /form", b" http://a/form", 1), False),
    "an end": (post(b"form", b"a=b", headers=b"Connection: close\r\n"), False),
    "HTTP/1.0": (post(b"form", b"a=b", version=b"1.0"), False),
    "an expectation": (post(b"form", b"a=b", headers=b"Expect: 100-continue\r\n"), False),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_answer_is_the_one_of_the_request_cycle(name: str) -> None:
    request, is_whole = REQUESTS[name]
    found: list[tuple[bytes, list[tuple[str, bytes]]]] = []
    exchanges: list[bool] = []

    class Watching(WholeProtocol):
        def begin_exchange(self, method: str) -> bool:
            exchanges.append(super().begin_exchange(method))
            return exchanges[-1]

    async def ask(kind: type[BoundedProtocol]) -> None:
        async with asyncio.timeout(60), running(BOUNDS, kind) as server:
            ends = b"Connection: close" in request or b"HTTP/1.0" in request
            answer = await server.ask(request + (b"" if ends else LAST))
            found.append((undated(answer), server.app.seen))

    for kind in (BoundedProtocol, Watching):
        asyncio.run(ask(kind))

    assert found[0] == found[1]
    assert found[0][0].startswith((b"HTTP/1.1 200", b"HTTP/1.1 100"))
    assert exchanges[0] is is_whole


def test_requests_that_are_pipelined_are_answered_in_their_order() -> None:
    async def work(server: Running) -> None:
        names = [b"n%d" % number for number in range(200)]
        answers = await server.ask(b"".join(post(name, b"a=" + name) for name in names) + LAST)
        assert [each.rpartition(b"\r\n")[2] for each in answers.split(b"HTTP/1.1 200 OK")[1:]] == [
            *names,
            b"last",
        ]
        assert [body for _, body in server.app.seen] == [*(b"a=" + name for name in names), b""]

    serve(work)


def test_a_body_that_comes_byte_by_byte_is_read_whole_and_has_a_deadline_meanwhile() -> None:
    async def work(server: Running) -> None:
        loop, link = asyncio.get_running_loop(), await server.open()
        request = post(b"slow", b"abcdef")
        for at in range(len(request) - 1):
            await loop.sock_sendall(link, request[at : at + 1])
            await asyncio.sleep(0)
        protocol = server.protocols[0]
        await until(lambda: isinstance(protocol.cycle, WholeExchange) and protocol.cycle.held_bytes() == 5)
        assert protocol._deadline is not None
        assert server.app.seen == []
        await server.ask(request[-1:] + LAST, link)
        assert server.app.seen == [("slow", b"abcdef"), ("last", b"")]
        link.close()

    serve(work)


def test_a_body_that_never_ends_is_refused_and_its_connection_closed() -> None:
    async def work(server: Running) -> None:
        answer = await server.ask(post(b"never", b"abc")[:-1])
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert server.app.seen == []

    serve(work, replace(BOUNDS, body_seconds=0.05))


def test_a_caller_that_goes_away_is_not_answered_and_leaves_nothing_behind() -> None:
    async def work(server: Running) -> None:
        loop, link = asyncio.get_running_loop(), await server.open()
        await loop.sock_sendall(link, post(b"wait", b"a=b"))
        await until(lambda: server.app.seen)
        link.close()
        await until(lambda: not server.budget.held_bytes)
        server.app.go_on.set()
        assert (await server.ask(LAST)).endswith(b"last")

    serve(work)


def test_an_application_that_fails_is_a_500_and_the_end_of_the_connection() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("with a secret in it")

    async def work(server: Running) -> None:
        loop, link = asyncio.get_running_loop(), await server.open()
        await loop.sock_sendall(link, post(b"wait", b"a=b"))
        await until(lambda: server.app.seen)
        server.protocols[0].app = broken
        server.app.go_on.set()
        answers = await server.ask(post(b"broken", b"a=b") + post(b"next", b"a=b"), link)
        assert answers.count(b"HTTP/1.1 200 OK") == 1
        assert answers.count(b"HTTP/1.1 500 ") == 1
        assert b"secret" not in answers
        assert "next" not in [name for name, _ in server.app.seen]
        link.close()

    serve(work)


def test_what_is_accepted_sends_small_answers_at_once() -> None:
    """An answer in two writes would wait for a delayed acknowledgement: 40 ms for each request."""

    async def work(server: Running) -> None:
        await server.ask(LAST)
        link = await server.open()
        await until(lambda: len(server.protocols) == 2 and server.protocols[1].parser is not None)
        accepted = server.protocols[1].transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        link.close()

    serve(work)


def test_a_header_with_a_line_break_is_no_answer() -> None:
    async def splitting(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"location", b"/a\r\nset-cookie: b")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def work(server: Running) -> None:
        loop, link = asyncio.get_running_loop(), await server.open()
        await loop.sock_sendall(link, post(b"wait", b"a=b"))
        await until(lambda: server.app.seen)
        server.protocols[0].app = splitting
        server.app.go_on.set()
        answers = await server.ask(post(b"split", b"a=b"), link)
        assert b"set-cookie" not in answers
        assert answers.count(b"HTTP/1.1 500 ") == 1
        link.close()

    serve(work)


def test_a_request_in_flight_at_the_end_is_answered_and_told_that_it_was_the_last() -> None:
    async def work(server: Running) -> None:
        loop, link = asyncio.get_running_loop(), await server.open()
        await loop.sock_sendall(link, post(b"wait", b"a=b"))
        await until(lambda: server.app.seen)
        server.protocols[0].shutdown()
        server.app.go_on.set()
        answer = await read_all(link)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close\r\n" in answer
        assert answer.endswith(b"wait")
        link.close()

    serve(work)
