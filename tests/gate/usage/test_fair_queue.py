# SPDX-License-Identifier: Apache-2.0
"""Asking hard slows oneself, not others; what does not fit is said; nothing grows without an end."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.manifests import issuer, service, workload
from testing.tokens import token
from tests.gate.running import RunningGate
from tests.gate.usage.test_api import BATCH, EVENTS, event
from watchword.gate.app import GateApp
from watchword.gate.usage.api import UsageApi
from watchword.gate.usage.fair_queue import ByteBudget, FairQueue, QueueFullError, Room
from watchword.usage import SQLiteStore, StoreUnavailableError, UsageAnswer, UsageQuery

GRANTS = [{"scopes": ["account:usage:read", "account:usage:write"], "accounts": ["*"]}]
METERS = [{"name": "hits", "eventType": "cache.hit", "aggregation": "count"}]


class HeldStore(SQLiteStore):
    """A real store whose answers wait until they are let go, and which notes whose they are."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.go_on = threading.Event()
        self.go_on.set()
        self.served: list[str] = []

    def read(self, query: UsageQuery) -> UsageAnswer | None:
        self.go_on.wait(60)
        self.served.append(query.account)
        return super().read(query)


@pytest.fixture
def held(bare_gate: RunningGate, tmp_path: Path) -> HeldStore:
    store = HeldStore(f"{tmp_path}/held.db")
    asyncio.run(bare_gate.usage.close())
    bare_gate.usage = UsageApi(bare_gate.engine, store)
    bare_gate.app = GateApp(bare_gate.engine, bare_gate.usage)
    bare_gate.adopt(issuer(), service(usage={"meters": METERS}), workload(grants=GRANTS))
    return store


def read(account: str) -> tuple[str, str, bytes]:
    return "GET", f"/api/internal/accounts/{account}/usage", b""


async def at_once(
    gate: RunningGate, held: HeldStore, requests: list[tuple[str, str, bytes]]
) -> list[httpx.Response]:
    """All requests wait in the gate, in this order, before the first of them is answered."""
    held.go_on.clear()
    headers = [("authorization", f"Bearer {token().decode()}"), *BATCH]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(gate.app), base_url="http://gate") as client:
        tasks = []
        for method, path, content in requests:
            tasks.append(asyncio.create_task(client.request(method, path, headers=headers, content=content)))
            for _ in range(20):
                await asyncio.sleep(0)
        held.go_on.set()
        return await asyncio.gather(*tasks)


def test_an_account_that_asks_hard_does_not_slow_another(bare_gate: RunningGate, held: HeldStore) -> None:
    answers = asyncio.run(
        at_once(bare_gate, held, [*[read("hard") for _ in range(30)], read("other"), read("third")])
    )
    assert {answer.status_code for answer in answers} == {404}
    # One of the hard one's was at work when the others came; then each has its turn.
    assert held.served.index("other") <= 2
    assert held.served.index("third") <= 3
    assert held.served.count("hard") == 30


def test_more_than_may_wait_of_one_is_429_and_others_still_pass(
    bare_gate: RunningGate, held: HeldStore
) -> None:
    answers = asyncio.run(at_once(bare_gate, held, [*[read("hard") for _ in range(40)], read("other")]))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 40 - 32 - 1  # one was at work
    assert {answer.headers["retry-after"] for answer in refused} == {"2"}
    assert {answer.json()["reason"] for answer in refused} == {"usage_too_many_waiting"}
    assert answers[-1].status_code == 404


def test_more_than_may_wait_in_all_is_503(bare_gate: RunningGate, held: HeldStore) -> None:
    answers = asyncio.run(at_once(bare_gate, held, [read(f"a{n}") for n in range(300)]))
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) == 300 - 256 - 1
    assert {answer.json()["reason"] for answer in refused} == {"usage_busy"}
    assert {answer.headers["retry-after"] for answer in refused} == {"2"}


def test_bodies_are_let_in_only_while_there_is_room(bare_gate: RunningGate, held: HeldStore) -> None:
    bare_gate.usage.writer.byte_budget = ByteBudget(3000, 2000)
    body = json.dumps([event(1, data={"pad": "x" * 1200})]).encode()
    asyncio.run(at_once(bare_gate, held, [read("other"), ("POST", EVENTS, body)]))
    answers = asyncio.run(at_once(bare_gate, held, [read("o"), *[("POST", EVENTS, body) for _ in range(3)]]))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 429, 429]
    # What was let in is given back, whatever became of it.
    assert bare_gate.usage.writer.byte_budget.bytes == 0
    big = json.dumps([event(2, data={"pad": "x" * 4000})]).encode()
    (answer,) = asyncio.run(at_once(bare_gate, held, [("POST", EVENTS, big)]))
    assert (answer.status_code, answer.json()["reason"]) == (503, "usage_busy")


def test_a_store_that_is_away_is_asked_by_one_request_at_a_time(
    bare_gate: RunningGate, held: HeldStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def away(query: UsageQuery) -> UsageAnswer | None:
        nonlocal asked
        asked += 1
        raise StoreUnavailableError("it is away", "wait", is_away=True)

    monkeypatch.setattr(held, "read", away)
    answers = asyncio.run(at_once(bare_gate, held, [read(f"a{n}") for n in range(50)]))
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.headers["retry-after"] for answer in answers} == {"2"}
    assert asked == 1


def test_a_line_serves_each_in_turn_and_skips_who_has_gone() -> None:
    served: list[str] = []

    async def story() -> None:
        line = FairQueue(1, "test")
        gate = threading.Event()
        first = asyncio.create_task(line.run("a", lambda: gate.wait(60)))
        await asyncio.sleep(0)
        waiting = [
            asyncio.create_task(line.run(key, lambda key=key, n=n: served.append(f"{key}{n}")))
            for key in "aab"
            for n in range(2)
        ]
        await asyncio.sleep(0)
        waiting[1].cancel()
        gate.set()
        await asyncio.gather(first, *waiting, return_exceptions=True)
        assert line.waiting == 0
        line.close()

    asyncio.run(story())
    assert served == ["a0", "b0", "a0", "b1", "a1"]


def test_what_work_raises_is_raised_to_whoever_asked() -> None:
    async def story() -> None:
        line = FairQueue(1, "test", max_waiting=0)
        with pytest.raises(QueueFullError):
            await line.run("a", int)
        with pytest.raises(ZeroDivisionError):
            await line.run("a", lambda: 1 // 0, may_wait=True)
        assert await line.run("a", lambda: 7, may_wait=True) == 7
        line.close()

    asyncio.run(story())


def test_a_line_and_an_intake_keep_nothing_of_who_has_gone() -> None:
    async def story() -> Any:
        line = FairQueue(2, "test")
        await asyncio.gather(*(line.run(f"k{n}", int) for n in range(200)))
        line.close()
        return line

    assert asyncio.run(story())._lines == {}
    intake = ByteBudget(10, 10)
    for n in range(100):
        intake.take(f"k{n}", 10)
        intake.give_back(f"k{n}", 10)
    assert intake._held == {}


def test_what_does_not_fit_waits_a_turn_for_each_and_nothing_overtakes_it() -> None:
    let_in: list[str] = []

    async def story() -> None:
        room = Room(10)
        await room.take("a", 8)

        async def ask(key: str, size: int) -> None:
            await room.take(key, size)
            let_in.append(f"{key}{size}")

        tasks = []
        for key, size in (("a", 6), ("a", 5), ("b", 9), ("c", 1)):
            tasks.append(asyncio.create_task(ask(key, size)))
            await asyncio.sleep(0)
        # Even what would fit waits: it came later.
        assert (let_in, room.bytes) == ([], 8)
        room.give_back(8)
        await asyncio.sleep(0)
        assert (let_in, room.bytes) == (["a6"], 6)
        room.give_back(6)
        await asyncio.sleep(0)
        # b's turn came before the second of a's, which waits behind c's too.
        assert (let_in[1:], room.bytes) == (["b9", "c1"], 10)
        room.give_back(10)
        await asyncio.gather(*tasks)
        assert (let_in[-1], room.bytes) == ("a5", 5)

    asyncio.run(story())


def test_who_gives_up_waiting_for_room_leaves_none_taken() -> None:
    async def story() -> None:
        room = Room(10)
        await room.take("a", 10)
        gone, stays = (asyncio.create_task(room.take(key, 7)) for key in ("b", "c"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        room.give_back(10)
        await stays
        assert room.bytes == 7
        late = asyncio.create_task(room.take("d", 7))
        await asyncio.sleep(0)
        # Let in and cancelled before it ran on.
        room.give_back(7)
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        assert room.bytes == 0

    asyncio.run(story())


def test_a_body_larger_than_all_the_room_is_let_in_alone() -> None:
    async def story() -> None:
        room = Room(10)
        await room.take("a", 99)
        assert room.bytes == 99
        room.give_back(99)
        assert room.bytes == 0

    asyncio.run(story())
