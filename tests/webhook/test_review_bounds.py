# SPDX-License-Identifier: Apache-2.0
"""Reviews of strangers are bounded before they are read: by what they announce, as they come, and in all.

Any pod of the cluster reaches the webhook's port. What it makes the webhook hold is counted here in bytes:
those that the application took, and those that its connections held.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.injection.pods import SETTINGS, app_pod, world
from tests.process.serving import until
from tests.webhook.reviews import review
from watchword.injection import World
from watchword.process.bounds import Bounds
from watchword.process.http_protocol import BoundedProtocol
from watchword.process.listening import serving
from watchword.process.server import bounded_server
from watchword.webhook.app import MAX_LARGE_REVIEWS, MAX_SMALL_BYTES, Webhook, WebhookMetrics, webhook_app
from watchword.webhook.review import MAX_REVIEW_BYTES
from watchword.webhook.serve import REVIEW_BOUNDS

# What asyncio reads at once, and what a body may hold before its connection is read no further.
ONE_READ = 256 * 1024 + 64 * 1024
PIECE = 64 * 1024
HEAD = b"POST /inject HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\n"
LENGTH, CHUNKED = HEAD + b"Content-Length: %d\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SMALL = review(app_pod())
LARGE = review(app_pod(metadata__annotations={f"a{each}": "x" * 1000 for each in range(300)}))


class Warm:
    """Caches that have read a cluster."""

    is_warm = True
    world = world()

    async def look_again(self, namespaces: frozenset[str]) -> World:
        del namespaces
        return self.world


@dataclass
class Running:
    """A webhook without TLS, and what was counted of it."""

    port: int
    webhook: Webhook
    taken: int = 0
    most_held: int = 0
    callers: list[Caller] = field(default_factory=list)

    async def open(self) -> Caller:
        self.callers.append(Caller(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.callers[-1]

    async def ask(self, *pieces: bytes) -> Answer:
        caller = await self.open()
        await caller.send(*pieces)
        return await caller.answer()


@dataclass
class Answer:
    status: int
    headers: bytes
    body: bytes


@dataclass
class Caller:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sent: int = 0

    async def send(self, *pieces: bytes) -> None:
        """Send as much as is taken; who was answered meanwhile may be cut off."""
        try:
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()
                self.sent += len(piece)
        except ConnectionError:
            pass

    async def answer(self) -> Answer:
        """The answer, which has to come."""
        async with asyncio.timeout(30):
            head = await self.reader.readuntil(b"\r\n\r\n")
            [length] = [
                int(line.partition(b":")[2])
                for line in head.lower().splitlines()
                if line.startswith(b"content-length:")
            ]
            return Answer(int(head.split(b" ")[1]), head.lower(), await self.reader.readexactly(length))


@asynccontextmanager
async def running(bounds: Bounds = REVIEW_BOUNDS) -> AsyncIterator[Running]:
    webhook = Webhook(Warm(), SETTINGS, WebhookMetrics())  # type: ignore[arg-type]  # as far as it is asked
    listener = socket.create_server(("127.0.0.1", 0))
    found = Running(listener.getsockname()[1], webhook)
    app = webhook_app(webhook)

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        async def take() -> Any:
            message = await receive()
            found.taken += len(message.get("body", b""))
            return message

        await app(scope, take, send)

    class Watched(BoundedProtocol):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            found.most_held = max(found.most_held, self.budget.held_bytes)

    server = bounded_server(counted, bounds, protocol=Watched, grace_seconds=1)
    async with serving(server, listener):
        try:
            yield found
        finally:
            for each in found.callers:
                each.writer.transport.abort()


def serve(work: Callable[[Running], Awaitable[None]], bounds: Bounds = REVIEW_BOUNDS) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60), running(bounds) as found:
            await work(found)

    asyncio.run(whole())


def pieces_of(size: int) -> list[bytes]:
    return [b"a" * min(PIECE, size - place) for place in range(0, size, PIECE)]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("sent", [0, 1, MAX_REVIEW_BYTES + 1])
def test_what_is_announced_too_large_is_refused_before_a_byte_of_it_is_taken(sent: int) -> None:
    async def work(running: Running) -> None:
        caller = await running.open()
        await caller.send(LENGTH % (MAX_REVIEW_BYTES + 1), *pieces_of(sent))
        answer = await caller.answer()
        assert (answer.status, running.taken) == (413, 0)
        assert str(MAX_REVIEW_BYTES) in json.loads(answer.body)["detail"]
        # What was sent all the same was thrown away as it came.
        assert running.most_held <= ONE_READ

    serve(work)


def test_a_review_of_the_largest_size_is_read() -> None:
    async def work(running: Running) -> None:
        padded = LARGE + b" " * (MAX_REVIEW_BYTES - len(LARGE))
        answer = await running.ask(LENGTH % len(padded), padded)
        assert (answer.status, running.taken) == (200, MAX_REVIEW_BYTES)
        assert json.loads(answer.body)["response"]["allowed"] is True

    serve(work)


@pytest.mark.parametrize("size", [1000, PIECE, 256 * 1024, MAX_REVIEW_BYTES])
def test_a_review_in_chunks_is_read_no_further_than_the_bound(size: int) -> None:
    async def work(running: Running) -> None:
        caller = await running.open()
        sending = asyncio.create_task(caller.send(CHUNKED, *[chunk(b"a" * size)] * (2**25 // size)))
        answer = await caller.answer()
        assert answer.status == 413
        assert running.taken <= MAX_REVIEW_BYTES + ONE_READ
        assert running.most_held <= 2 * ONE_READ
        sending.cancel()

    serve(work)


@pytest.mark.parametrize("head", [LENGTH % len(LARGE), CHUNKED], ids=["length", "chunked"])
def test_large_reviews_that_come_slowly_hold_up_no_small_one_and_end(head: bytes) -> None:
    async def work(running: Running) -> None:
        slow = [await running.open() for _ in range(MAX_LARGE_REVIEWS)]
        for each in slow:
            await each.send(head + (chunk(LARGE[:100]) if head is CHUNKED else LARGE[:100]))
        await until(lambda: running.taken == 100 * len(slow))
        refused = await running.ask(LENGTH % len(LARGE))
        assert (refused.status, running.taken) == (503, 100 * len(slow))
        assert b"retry-after: 1" in refused.headers
        small = await running.ask(LENGTH % len(SMALL), SMALL)
        assert small.status == 200
        for each in slow:
            answer = await each.answer()
            assert answer.status == 408
        large = await running.ask(LENGTH % len(LARGE), LARGE)
        assert large.status == 200

    serve(work, replace(REVIEW_BOUNDS, body_seconds=1.0))


def test_of_many_large_reviews_at_once_no_more_is_taken_than_of_a_few() -> None:
    async def work(running: Running) -> None:
        callers = [await running.open() for _ in range(200)]
        for each in callers:
            await each.send(LENGTH % MAX_REVIEW_BYTES)
        refused = [await each.answer() for each in callers[MAX_LARGE_REVIEWS:]]
        assert {each.status for each in refused} == {503}
        # All send on, whatever they were told.
        sending = asyncio.gather(*(each.send(*pieces_of(MAX_REVIEW_BYTES - 1)) for each in callers))
        for _ in range(10):
            small = await running.ask(LENGTH % len(SMALL), SMALL)
            assert small.status == 200
        await sending
        assert running.taken <= MAX_LARGE_REVIEWS * MAX_REVIEW_BYTES + 10 * len(SMALL)
        assert running.most_held <= REVIEW_BOUNDS.buffered_bytes

    serve(work)


def test_small_reviews_that_never_end_hold_what_they_sent_and_the_next_one_is_answered() -> None:
    async def work(running: Running) -> None:
        sent = 0
        for _ in range(64):
            caller = await running.open()
            await caller.send(LENGTH % MAX_SMALL_BYTES, b"a" * (MAX_SMALL_BYTES - 1))
            sent += MAX_SMALL_BYTES - 1
            await until(lambda: running.taken == sent)  # noqa: B023 - waited for here
        small = await running.ask(LENGTH % len(SMALL), SMALL)
        assert (small.status, running.taken) == (200, sent + len(SMALL))
        assert running.most_held <= REVIEW_BOUNDS.buffered_bytes

    serve(work)


def test_a_review_that_breaks_off_is_no_error_of_the_webhook(caplog: pytest.LogCaptureFixture) -> None:
    """Else any pod could fill the log, with a traceback for each connection."""

    async def work(running: Running) -> None:
        caller = await running.open()
        await caller.send(LENGTH % len(LARGE), LARGE[:100])
        await until(lambda: running.taken == 100)
        assert running.webhook._large == 1
        caller.writer.transport.abort()
        await until(lambda: not running.webhook._large)
        small = await running.ask(LENGTH % len(SMALL), SMALL)
        assert small.status == 200

    serve(work)
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == []
