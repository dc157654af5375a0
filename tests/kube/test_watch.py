# SPDX-License-Identifier: Apache-2.0
"""What a watch tells is the world as it is, whatever the server answers and whenever it stops to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kube.fakeserver import FakeServer, answer, fake_server, status_body
from watchword.kube.watch import (
    Backoff,
    Endpoint,
    ObjectMeta,
    Part,
    Recovered,
    Removed,
    Resource,
    Synced,
    Troubled,
    Upserted,
    Watch,
)


class Thing(Part, frozen=True, gc=False):
    metadata: ObjectMeta
    data: dict[str, str]


class Follower:
    """A watch on a fake server and all that it told; checks what must hold of each event as it comes."""

    def __init__(
        self, server: FakeServer, keep: Callable[[Thing], Any] = lambda each: each, **given: Any
    ) -> None:
        self.server, self.events = server, []
        self.world: dict[str, Any] = {}
        options = {"backoff": Backoff(0.002, 0.01), "page_size": 3, **given}
        resource = Resource(plural="things", namespace="n")
        self.watch: Watch[Any] = Watch(
            Endpoint(f"http://127.0.0.1:{server.port}", token="the-secret"), resource, Thing, keep, **options
        )

    async def run(self) -> None:
        async with contextlib.aclosing(self.watch.events()) as events:
            async for event in events:
                self.events.append(event)
                if isinstance(event, Upserted):
                    name = event.object.metadata.name
                    assert self.world.get(name) != event.object, "told again what was told"
                    self.world[name] = event.object
                elif isinstance(event, Removed):
                    assert self.world.pop(event.object.metadata.name) == event.object

    @property
    def told(self) -> dict[str, tuple[str, str]]:
        return {
            name: (each.metadata.resource_version, each.data["text"]) for name, each in self.world.items()
        }

    @property
    def troubles(self) -> list[str]:
        return [str(each.problem.kind) for each in self.events if isinstance(each, Troubled)]

    async def until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(30):
                while not condition():  # noqa: ASYNC110 - what is waited for shows in attributes
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise AssertionError(f"events: {self.events}; requests: {self.server.requests}") from None

    async def until_right(self) -> None:
        await self.until(lambda: self.told == self.server.told())


Story = Callable[[FakeServer, Follower], Awaitable[None]]


def play(story: Story, prepare: Callable[[FakeServer], None] = lambda _: None, **given: Any) -> None:
    async def main() -> None:
        async with fake_server() as server:
            prepare(server)
            follower = Follower(server, **given)
            task = asyncio.create_task(follower.run())
            try:
                await story(server, follower)
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    asyncio.run(main())


def seven(server: FakeServer) -> None:
    for number in range(7):
        server.put(f"c{number}", str(number))


STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 9), st.integers(0, 2)),
    st.tuples(st.just("delete"), st.integers(0, 9), st.just(0)),
    st.tuples(
        st.sampled_from(["cut", "compact", "end", "elsewhere", "wait", "settle", "settle"]),
        st.just(0),
        st.just(0),
    ),
    st.tuples(st.just("fault"), st.integers(0, 12), st.just(0)),
)
FAULTS: list[bytes] = [
    b"",
    b"HTTP/1.1 200 OK\r\nTransfer-Enc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{",
    b"SSH-2.0\r\n",
    answer(200, b"{}"),
    answer(200, b'{"type": "ADDED", "object": {}}\n'),
    answer(200, b'{"metadata": {"resourceVersion": ""}, "items": []}'),
    answer(410, status_body(410, "Expired")),
    answer(410),
    answer(500, b"x"),
    answer(429, status_body(429, "TooManyRequests", details={"retryAfterSeconds": 0})),
    answer(302, b"", "Location: http://127.0.0.1:1/"),
]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=40), st.integers(0, 2**32))
def test_the_world_is_told_as_it_is_whatever_happens_on_the_way(
    steps: list[tuple[str, int, int]], seed: int
) -> None:
    async def story(server: FakeServer, follower: Follower) -> None:
        for what, number, text in steps:
            if what == "put":
                server.put(f"c{number}", str(text))
            elif what == "delete":
                server.delete(f"c{number}")
            elif what == "fault":
                server.faults.append(FAULTS[number])
                server.cut()
            elif what == "cut":
                server.cut()
            elif what == "compact":
                server.compact()
            elif what == "end":
                server.end_watches()
            elif what == "elsewhere":
                server.elsewhere()
            elif what == "settle":
                await follower.until_right()
            else:
                await asyncio.sleep(0.002)
        await follower.until(lambda: not server.faults)
        server.put("last", "last")
        await follower.until_right()
        await follower.until(lambda: follower.watch.problem is None)
        assert follower.watch.known == {("n", name): each for name, each in follower.world.items()}

    play(story, seven, backoff=Backoff(0.002, 0.01, random.Random(seed)))


async def refused_once(server: FakeServer, follower: Follower, fault: bytes) -> None:
    await follower.until(lambda: follower.watch.watches == 1)
    server.faults = [fault]
    server.cut()
    server.put("new", "x")
    await follower.until_right()


@pytest.mark.parametrize(
    "fault",
    [
        answer(410, status_body(410, "Expired")),
        answer(410),
        answer(
            200,
            json.dumps({"type": "ERROR", "object": json.loads(status_body(410, "Gone"))}).encode() + b"\n",
        ),
    ],
    ids=["as a status", "as a bare status", "as an event"],
)
def test_a_version_that_expired_leads_to_a_list_and_is_no_trouble(fault: bytes) -> None:
    async def story(server: FakeServer, follower: Follower) -> None:
        await refused_once(server, follower, fault)
        assert follower.watch.lists == 2
        assert "expired" not in follower.troubles

    play(story, seven)


@pytest.mark.parametrize("is_relisted", [True, False])
def test_a_list_after_each_failure_is_made_for_whom_asks_for_it(is_relisted: bool) -> None:
    async def story(server: FakeServer, follower: Follower) -> None:
        for number in range(3):
            await follower.until(lambda number=number: follower.watch.watches > number)
            server.cut()
            server.put("c1", f"new {number}")
            await follower.until_right()
        assert (follower.watch.lists > 1) == is_relisted

    play(story, seven, is_relisted_after_failure=is_relisted)


def test_a_store_that_went_back_is_noticed_by_the_list_after_it() -> None:
    async def story(server: FakeServer, follower: Follower) -> None:
        await follower.until_right()
        version, objects = server.version, dict(server.objects)
        server.put("c1", "later")
        server.delete("c2")
        await follower.until_right()
        assert follower.watch.rewinds == 0
        server.restore(version, objects)
        await follower.until(lambda: follower.watch.rewinds == 1)
        await follower.until_right()
        server.put("c1", "after")
        await follower.until_right()
        assert follower.watch.rewinds == 1

    play(story, seven, is_relisted_after_failure=True)


def test_a_list_that_expires_again_and_again_is_trouble() -> None:
    async def story(_: FakeServer, follower: Follower) -> None:
        await follower.until(lambda: "expired" in follower.troubles)
        await follower.until_right()
        assert isinstance(follower.events[-1], Recovered | Upserted | Synced)

    def prepare(server: FakeServer) -> None:
        seven(server)
        gone = answer(410, status_body(410, "Expired"))
        server.faults = [None, gone, None, gone]

    play(story, prepare)


REFUSALS = {
    "unauthorized": answer(401, status_body(401, "Unauthorized")),
    "forbidden": answer(403, status_body(403, "Forbidden")),
    "not_found": answer(404, b"404 page not found\n"),
    "throttled": answer(429, b"", "Retry-After: 0"),
    "server_error": answer(503, status_body(503, "ServiceUnavailable")),
    "malformed": answer(301, b"", "Location: https://elsewhere.example/"),
}


@pytest.mark.parametrize(("kind", "fault"), REFUSALS.items())
@pytest.mark.parametrize("is_first", [True, False], ids=["list", "watch"])
def test_a_refusal_is_told_once_and_then_its_end(kind: str, fault: bytes, is_first: bool) -> None:
    async def story(server: FakeServer, follower: Follower) -> None:
        if is_first:
            await follower.until_right()
        else:
            await refused_once(server, follower, fault)
        await follower.until(lambda: follower.watch.problem is None and follower.watch.watches > 0)
        troubles = [each for each in follower.troubles if each == kind]
        assert len(troubles) == 1
        assert follower.watch.lists == (4 if is_first else 1)
        assert any(isinstance(each, Recovered) for each in follower.events)

    def prepare(server: FakeServer) -> None:
        seven(server)
        server.faults = [fault, fault, fault] if is_first else []

    play(story, prepare)


def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else() -> None:
    async def story(_: FakeServer, follower: Follower) -> None:
        async with fake_server() as elsewhere:
            follower.server.faults = [
                answer(status, b"", f"Location: http://127.0.0.1:{elsewhere.port}/")
                for status in (301, 307, 308)
            ]
            follower.server.cut()
            await follower.until(lambda: not follower.server.faults)
            await follower.until_right()
            assert elsewhere.requests == []

    play(story)


def test_the_server_says_how_long_to_wait() -> None:
    class Noting(Backoff):
        asked: ClassVar[list[float | None]] = []

        def next(self, asked_seconds: float | None = None) -> float:
            self.asked.append(asked_seconds)
            return 0.001

    async def story(_: FakeServer, follower: Follower) -> None:
        await follower.until(lambda: len(Noting.asked) >= 5)

    def prepare(server: FakeServer) -> None:
        server.faults = [
            answer(429, b"", "Retry-After: 17"),
            answer(503, status_body(503, "x", details={"retryAfterSeconds": 3})),
            answer(429, status_body(429, "x", details={"retryAfterSeconds": 3}), "Retry-After: 5"),
            answer(429, b"", "Retry-After: Wed, 21 Oct 2037 07:28:00 GMT"),
            answer(429, b"", "Retry-After: -1"),
        ]

    play(story, prepare, backoff=Noting())
    assert Noting.asked[:5] == [17.0, 3.0, 5.0, None, None]


def test_waits_grow_while_a_server_ends_each_watch_at_once() -> None:
    class Counting(Backoff):
        waits: ClassVar[list[float]] = []

        def next(self, asked_seconds: float | None = None) -> float:
            self.waits.append(super().next(asked_seconds))
            return 0.0

    async def story(server: FakeServer, follower: Follower) -> None:
        await follower.until(lambda: not server.faults)

    def prepare(server: FakeServer) -> None:
        ended = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        server.faults = [None, *[ended] * 6]

    play(story, prepare, backoff=Counting(1.0, 1000.0))
    assert all(
        later > earlier
        for earlier, later in zip(Counting.waits, Counting.waits[1:], strict=False)
        if later < 500
    )
    assert max(Counting.waits) >= 8


def test_waits_stay_short_while_each_watch_tells_something_before_it_is_cut() -> None:
    class Noting(Backoff):
        waits: ClassVar[list[float]] = []

        def next(self, asked_seconds: float | None = None) -> float:
            self.waits.append(super().next(asked_seconds))
            return 0.0

    async def story(server: FakeServer, follower: Follower) -> None:
        for number in range(10):
            server.put("c1", str(number))
            await follower.until_right()
            server.cut()
            await follower.until(lambda number=number: follower.watch.watches >= number + 2)

    play(story, backoff=Noting(1.0, 1000.0))
    assert len(Noting.waits) >= 10
    assert max(Noting.waits) <= 2.0


def test_what_is_not_kept_is_not_told() -> None:
    class Kept(Part, frozen=True):
        metadata: ObjectMeta

    def keep(thing: Thing) -> Kept:
        return Kept(ObjectMeta(thing.metadata.name))

    async def story(server: FakeServer, follower: Follower) -> None:
        await follower.until(lambda: len(follower.world) == 7)
        for number in range(50):
            server.put("c1", str(number))
        server.compact()
        server.cut()
        server.put("end", "")
        await follower.until(lambda: "end" in follower.world)
        assert sum(isinstance(each, Upserted) for each in follower.events) == 8

    play(story, seven, keep=keep)


def test_what_vanished_while_nobody_watched_is_told_as_gone() -> None:
    async def story(server: FakeServer, follower: Follower) -> None:
        await follower.until_right()
        server.cut()
        server.delete("c1")
        server.put("c2", "new")
        server.compact()
        told = len(follower.events)
        await follower.until_right()
        changes = [each for each in follower.events[told:] if isinstance(each, Upserted | Removed)]
        assert [(type(each), each.object.metadata.name) for each in changes] == [
            (Upserted, "c2"),
            (Removed, "c1"),
        ]

    play(story, seven)


def test_a_bookmark_moves_the_point_to_go_on_from() -> None:
    async def story(server: FakeServer, follower: Follower) -> None:
        await follower.until(lambda: bool(server.requests) and "watch=1" in server.requests[-1])
        server.elsewhere()
        server.end_watches()
        await follower.until(lambda: follower.watch.watches == 2)
        await follower.until(lambda: "resourceVersion=18" in server.requests[-1])

    play(story, seven)


def test_an_object_made_again_while_nobody_watched_is_told_with_its_new_uid() -> None:
    async def story(server: FakeServer, follower: Follower) -> None:
        await follower.until_right()
        old = follower.world["c1"].metadata.uid
        server.faults = [answer(500)]
        server.cut()
        server.delete("c1")
        server.put("c1", "1")
        server.compact()
        await follower.until_right()
        assert follower.world["c1"].metadata.uid != old

    play(story, seven)


ODD_LINES = {
    "no JSON": b"{",
    "no object": b"[]",
    "no type": b'{"object": {}}',
    "an unknown type": b'{"type": "MOVED", "object": {"metadata": {"name": "a", "resourceVersion": "99"}}}',
    "an object without a name": b'{"type": "ADDED", "object": {"metadata": {"resourceVersion": "99"}}}',
    "an object without a version": b'{"type": "ADDED", "object": {"metadata": {"name": "a"}, "data": {}}}',
    "a value of another type": b'{"type": "ADDED", "object": {"metadata": {"name": 7}}}',
    "endless nesting": b'{"type": "ADDED", "object": ' + b"[" * 100_000,
    "not UTF-8": b'{"type": "ADDED", "object": {"metadata": {"name": "\xff"}}}',
    "a bookmark without a version": b'{"type": "BOOKMARK", "object": {"metadata": {}}}',
    "an error that is none": b'{"type": "ERROR", "object": 7}',
}


@pytest.mark.parametrize("line", ODD_LINES.values(), ids=ODD_LINES)
def test_a_line_that_cannot_be_meant_is_trouble_and_changes_nothing(line: bytes) -> None:
    async def story(server: FakeServer, follower: Follower) -> None:
        await follower.until_right()
        before = server.told()
        server.faults = [answer(200, line + b"\n")]
        server.cut()
        await follower.until(lambda: bool({"malformed", "server_error"} & set(follower.troubles)))
        assert follower.told == before
        server.put("new", "x")
        await follower.until_right()

    play(story, seven)


def test_a_line_without_an_end_is_not_gathered_for_good() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"a" * (9 * 1024 * 1024)

    async def story(server: FakeServer, follower: Follower) -> None:
        await refused_once(server, follower, endless)
        assert "too_large" in follower.troubles

    play(story, seven)


def test_a_page_without_an_end_is_not_gathered_for_good() -> None:
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40000\r\n" + b"a" * 0x40000

    async def story(_: FakeServer, follower: Follower) -> None:
        await follower.until_right()
        # Three objects a page, then one; a page of one that is too large is worth a word.
        assert follower.troubles == ["too_large"]

    def prepare(server: FakeServer) -> None:
        seven(server)
        server.faults = [endless, endless]

    play(story, prepare, max_page_bytes=100_000)


def test_each_list_is_asked_for_in_pages_and_each_watch_from_where_it_was() -> None:
    async def story(server: FakeServer, follower: Follower) -> None:
        await follower.until(lambda: follower.watch.watches == 1)
        server.put("c1", "new")
        await follower.until_right()
        server.cut()
        await follower.until(lambda: follower.watch.watches == 2)

    server_seen: list[FakeServer] = []

    def prepare(server: FakeServer) -> None:
        seven(server)
        server_seen.append(server)

    play(story, prepare)
    asked = server_seen[0].requests
    root = "/api/v1/namespaces/n/things"
    assert asked[0] == f"{root}?limit=3"
    assert [each.split("continue=")[0] for each in asked[1:3]] == [f"{root}?limit=3&"] * 2
    assert [each.rpartition("&")[0] for each in asked[3:]] == [
        f"{root}?watch=1&allowWatchBookmarks=true&resourceVersion={version}" for version in (17, 18)
    ]
    assert all("\r\nAuthorization: Bearer the-secret\r\n" in each for each in server_seen[0].headers)


def test_no_trouble_tells_the_token() -> None:
    async def story(server: FakeServer, follower: Follower) -> None:
        server.faults = [*FAULTS, *REFUSALS.values()]
        server.cut()
        await follower.until(lambda: not server.faults)
        await follower.until_right()
        assert "the-secret" not in repr(follower.events)

    play(story, seven)
