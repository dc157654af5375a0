# SPDX-License-Identifier: Apache-2.0
"""Trust that ends while a request waits for the usage store: nothing more is told to it, or taken from it.

A store may be slow for longer than a revocation takes to arrive, so the decision that let a request into the
line is not the one that its answer goes out by.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.desk import WORKLOAD_SUBJECT, desk_service, desk_token, desk_world, granting
from testing.manifests import compiled, issuer, service, workload
from testing.tokens import NOW, token
from tests.gate.running import RunningGate
from tests.gate.usage.test_api import BATCH, EVENTS, event
from watchword.gate.app import GateApp
from watchword.gate.usage.api import UsageApi
from watchword.identity import Reason, Refusal
from watchword.trust import load
from watchword.trust.desk_revocations import Revocations, RevokedSubject
from watchword.usage import Event, Meter, Outcome, SQLiteStore, UsageAnswer, UsageQuery

SCOPES = ["account:usage:read", "account:usage:write"]
GRANTS = [{"scopes": SCOPES, "accounts": ["*"]}]
SERVICE = service(usage={"meters": [{"name": "hits", "eventType": "cache.hit", "aggregation": "count"}]})
ALL = workload(grants=GRANTS)
READS = ["accounts/acme/usage", "usage?account=acme", "usage", "usage/meters"]


class SlowStore(SQLiteStore):
    """A real store whose first call waits until it is let go."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.go_on, self.is_asked = threading.Event(), threading.Event()
        self.go_on.set()
        self.taken = 0

    def accounts_after(self, after: str, limit: int) -> Any:
        self.is_asked.set()
        self.go_on.wait(60)
        return super().accounts_after(after, limit)

    def read(self, query: UsageQuery) -> UsageAnswer | None:
        self.is_asked.set()
        self.go_on.wait(60)
        return super().read(query)

    def ingest(self, events: Sequence[Event], meters: Sequence[Meter]) -> list[Outcome]:
        self.taken += len(events)
        return super().ingest(events, meters)


@pytest.fixture
def slow(bare_gate: RunningGate, tmp_path: Path) -> SlowStore:
    store = SlowStore(f"{tmp_path}/slow.db")
    asyncio.run(bare_gate.usage.close())
    bare_gate.usage = UsageApi(bare_gate.engine, store)
    bare_gate.app = GateApp(bare_gate.engine, bare_gate.usage)
    bare_gate.adopt(issuer(), SERVICE, ALL)
    posted = bare_gate.call(EVENTS, token(), BATCH, "POST", json.dumps([event(1)]).encode())
    assert posted.status_code == 200
    store.taken = 0
    return store


def end(gate: RunningGate, left: dict[str, Any] | None) -> None:
    """The next bundle has the workload as it is left; None: there is no bundle any more."""
    if left is None:
        gate.engine.end_trust(Refusal(Reason.NOT_READY))
    else:
        gate.engine.adopt(load(compiled(issuer(), SERVICE, left, generation=2).bundles[0]))


def asked_while_slow(
    gate: RunningGate,
    slow: SlowStore,
    request: tuple[str, str, bytes],
    change: Callable[[], None],
    given: bytes | None = None,
) -> httpx.Response:
    """The answer to a request that waits in the queue behind a slow one while the trust changes."""

    async def run() -> httpx.Response:
        slow.go_on.clear()
        slow.is_asked.clear()
        headers = [("authorization", f"Bearer {(given or token()).decode()}"), *BATCH]
        transport = httpx.ASGITransport(gate.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gate") as client:
            first = asyncio.create_task(client.get("/api/internal/accounts/slow/usage", headers=headers))
            await asyncio.to_thread(slow.is_asked.wait, 60)
            method, path, body = request
            second = asyncio.create_task(client.request(method, path, headers=headers, content=body))
            queue = gate.usage.store.writes if method == "POST" else gate.usage.store.reads
            while not queue.waiting:  # noqa: ASYNC110 - the queue tells no one who waits in it
                await asyncio.sleep(0.001)
            change()
            slow.go_on.set()
            await first
            return await second

    return asyncio.run(run())


WITHDRAWN = {
    "gone": (None, 503),
    "suspended": (workload(grants=GRANTS, suspend=True), 403),
    "no scope": (workload(grants=[{"scopes": ["app:use"], "accounts": ["*"]}]), 403),
    "for projects": (workload(grants=[{"scopes": SCOPES, "accounts": ["*"], "projects": ["ios"]}]), 403),
    "another account": (workload(grants=[{"scopes": SCOPES, "accounts": ["umbrella"]}]), 403),
}


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("name", WITHDRAWN)
def test_what_was_read_for_trust_that_ended_is_not_told(
    bare_gate: RunningGate, slow: SlowStore, path: str, name: str
) -> None:
    left, status = WITHDRAWN[name]
    answer = asked_while_slow(
        bare_gate, slow, ("GET", f"/api/internal/{path}", b""), lambda: end(bare_gate, left)
    )
    if name == "another account" and path == "usage/meters":
        # Meters are no account's.
        status = 200
    assert answer.status_code == status
    # A refusal may say which account was asked for, and names none that was not.
    assert path != "usage" or b"acme" not in answer.content


@pytest.mark.parametrize("name", WITHDRAWN)
def test_what_was_sent_under_trust_that_ended_is_not_stored(
    bare_gate: RunningGate, slow: SlowStore, name: str
) -> None:
    left, status = WITHDRAWN[name]
    body = json.dumps([event(7)]).encode()
    answer = asked_while_slow(bare_gate, slow, ("POST", EVENTS, body), lambda: end(bare_gate, left))
    assert (answer.status_code, slow.taken) == (status, 0)


def test_a_bundle_that_changes_nothing_for_the_caller_holds_nothing_up(
    bare_gate: RunningGate, slow: SlowStore
) -> None:
    body = json.dumps([event(7)]).encode()
    answer = asked_while_slow(bare_gate, slow, ("POST", EVENTS, body), lambda: end(bare_gate, ALL))
    assert (answer.status_code, slow.taken) == (200, 1)
    for path in READS:
        request = ("GET", f"/api/internal/{path}", b"")
        assert asked_while_slow(bare_gate, slow, request, lambda: end(bare_gate, ALL)).status_code == 200


REVOKED = {
    "by its id": Revocations({"desk-token-1": int(NOW) + 300}),
    "by its subject": Revocations({}, {WORKLOAD_SUBJECT: RevokedSubject(int(NOW), int(NOW) + 300)}),
    "of another id": Revocations({"desk-token-2": int(NOW) + 300}),
}


def by_desk(gate: RunningGate) -> bytes:
    """Accept a desk's tokens, and the credential: one of them that may read and write acme's usage."""
    usage = {"meters": [{"name": "hits", "eventType": "cache.hit", "aggregation": "count"}]}
    grants = [{"scopes": SCOPES, "accounts": ["*"]}]
    ruleset = load(desk_world(desk_service(usage=usage), grants=grants).bundles[0])
    gate.engine.adopt(ruleset)
    return desk_token(**granting({"actions": SCOPES, "accounts": ["acme", "slow"]}))


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("name", REVOKED)
def test_what_was_read_for_a_desk_token_that_was_revoked_is_not_told(
    bare_gate: RunningGate, slow: SlowStore, path: str, name: str
) -> None:
    given = by_desk(bare_gate)
    request = ("GET", f"/api/internal/{path}", b"")
    answer = asked_while_slow(bare_gate, slow, request, lambda: bare_gate.engine.revoke(REVOKED[name]), given)
    if name == "of another id":
        assert answer.status_code == 200
    else:
        assert (answer.status_code, answer.headers["x-watchword-reason"]) == (401, "revoked")
        assert b"acme" not in answer.content


@pytest.mark.parametrize("name", REVOKED)
def test_what_was_sent_by_a_desk_token_that_was_revoked_is_not_stored(
    bare_gate: RunningGate, slow: SlowStore, name: str
) -> None:
    given = by_desk(bare_gate)
    body = json.dumps([event(7)]).encode()
    answer = asked_while_slow(
        bare_gate, slow, ("POST", EVENTS, body), lambda: bare_gate.engine.revoke(REVOKED[name]), given
    )
    expected = (200, 1) if name == "of another id" else (401, 0)
    assert (answer.status_code, slow.taken) == expected
