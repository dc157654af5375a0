# SPDX-License-Identifier: Apache-2.0
"""Usage when things go wrong: a store that is away, a caller who hangs up, trust that ends meanwhile."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from testing.manifests import compiled, issuer, service, workload
from testing.tokens import token
from tests.gate.running import RunningGate
from tests.gate.usage.test_api import BATCH, EVENTS, READ, event
from watchword.gate.app import GateApp
from watchword.gate.usage.api import UsageApi
from watchword.trust import load
from watchword.usage import Event, Meter, Outcome, Rebuilt, SQLiteStore, StoreUnavailableError


class MoodyStore(SQLiteStore):
    """A real store that is away when it is told to be."""

    is_away = False
    refusals = 0

    def _answer(self) -> None:
        if self.is_away:
            self.refusals += 1
            raise StoreUnavailableError("it is away", "wait")

    def use_meters(self, meters: Sequence[Meter]) -> Rebuilt:
        self._answer()
        return super().use_meters(meters)

    def ingest(self, events: Sequence[Event], meters: Sequence[Meter]) -> list[Outcome]:
        self._answer()
        return super().ingest(events, meters)


@pytest.fixture
def moody(bare_gate: RunningGate, tmp_path: Path) -> MoodyStore:
    """The store of a gate that has no meters yet."""
    store = MoodyStore(f"{tmp_path}/moody.db")
    asyncio.run(bare_gate.usage.close())
    bare_gate.usage = UsageApi(bare_gate.engine, store, retry_seconds=0.01)
    bare_gate.app = GateApp(bare_gate.engine, bare_gate.usage)
    return store


GRANTS = [{"scopes": ["account:usage:read", "account:usage:write"], "accounts": ["acme"]}]
METERS = [{"name": "hits", "eventType": "cache.hit", "aggregation": "count"}]
OBJECTS = (issuer(), service(usage={"meters": METERS}), workload(grants=GRANTS))


def post(gate: RunningGate, *events: dict[str, Any]) -> Any:
    return gate.call(EVENTS, token(), BATCH, "POST", json.dumps(events).encode())


def test_a_store_that_is_away_is_a_503_and_the_same_batch_counts_once_later(
    bare_gate: RunningGate, moody: MoodyStore
) -> None:
    bare_gate.adopt(*OBJECTS)
    moody.is_away = True
    answer = post(bare_gate, event(1))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    failures = "watchword_usage_store_failures_total"
    assert bare_gate.engine.metrics.registry.get_sample_value(failures) == 1
    moody.is_away = False
    assert post(bare_gate, event(1)).json()["stored"] == 1
    assert bare_gate.engine.metrics.registry.get_sample_value(failures) == 1
    assert bare_gate.call(READ, token()).json()["meters"] == {"hits": 1}


def test_without_meters_in_force_nothing_is_answered(bare_gate: RunningGate, moody: MoodyStore) -> None:
    bare_gate.engine.adopt(load(compiled(*OBJECTS).bundles[0]))
    assert post(bare_gate, event(1)).status_code == 503
    assert bare_gate.call(READ, token()).status_code == 503


def test_meters_are_put_to_use_as_soon_as_the_store_is_back(
    bare_gate: RunningGate, moody: MoodyStore
) -> None:
    moody.is_away = True

    async def story() -> None:
        specs = load(compiled(*OBJECTS).bundles[0]).meters
        task = asyncio.create_task(bare_gate.usage.use_meters(specs))
        async with asyncio.timeout(30):
            while moody.refusals < 2:  # noqa: ASYNC110 - a worker thread counts them
                await asyncio.sleep(0.01)
            moody.is_away = False
            await task

    asyncio.run(story())
    bare_gate.engine.adopt(load(compiled(*OBJECTS).bundles[0]))
    assert post(bare_gate, event(1)).json()["stored"] == 1


def asgi(gate: RunningGate, receive: Callable[[], Awaitable[Any]]) -> list[Any]:
    """What the application sends for a POST of events whose body `receive` gives."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer " + token()), *((a.encode(), b.encode()) for a, b in BATCH)]
    scope = {"type": "http", "method": "POST", "path": EVENTS, "query_string": b"", "headers": headers}
    asyncio.run(gate.app(scope, receive, send))
    return sent


def test_a_caller_who_hangs_up_is_not_answered_and_nothing_is_stored(gate: RunningGate) -> None:
    parts = iter([{"type": "http.request", "body": b"[", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(parts)

    assert asgi(gate, receive) == []
    assert gate.call(READ, token()).json()["reason"] == "account_not_found"


def test_a_body_that_comes_too_slowly_is_given_up(gate: RunningGate) -> None:
    gate.app = GateApp(gate.engine, gate.usage, body_seconds=0.01)

    async def receive() -> Any:
        await asyncio.Event().wait()

    assert asgi(gate, receive)[0]["status"] == 408


@pytest.mark.parametrize("after", [{"suspend": True}, {"grants": []}])
def test_trust_that_ended_while_the_body_came_is_over(gate: RunningGate, after: dict[str, Any]) -> None:
    async def receive() -> Any:
        objects = (issuer(), service(), workload(**after))
        gate.engine.adopt(load(compiled(*objects, generation=2).bundles[0]))
        return {"type": "http.request", "body": json.dumps([event(1)]).encode(), "more_body": False}

    assert asgi(gate, receive)[0]["status"] == 403
