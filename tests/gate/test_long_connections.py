# SPDX-License-Identifier: Apache-2.0
"""What is passed on is decided again with each bundle and ends with its token: with a clock by hand."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from testing.manifests import compiled, issuer, service, workload
from testing.tokens import NOW, claims, token
from tests.gate.fast_path.ways import VirtualLoop, come_to_rest, pass_seconds
from watchword.gate import long_connections
from watchword.gate.audit import AuditLog
from watchword.gate.authz_request import AuthzRequest, find_credential
from watchword.gate.engine import Engine
from watchword.gate.long_connections import BATCH, SWEEP_SECONDS
from watchword.gate.metrics import GateMetrics
from watchword.gate.original_request import OriginalRequest
from watchword.gate.responses import Allowed
from watchword.identity import Reason, Refusal
from watchword.trust import load

ROUTES = [{"path": "/app/{account}", "methods": ["GET"], "scope": "app:use"}]
GRANTS = [{"scopes": ["app:use"], "accounts": ["acme"]}]
START = 1000.0
LET_IN = Allowed(b"x-watchword-subject: worker\r\n", b"", "id")


class Carrier:
    """Keeps why it was ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def end(self, refusal: Refusal) -> None:
        self.ended.append(refusal.reason.code)


class Gate:
    """An engine on a loop whose clock moves by hand; both clocks move together."""

    def __init__(self, grace: float = 300.0) -> None:
        self.metrics, self.stream = GateMetrics(), io.BytesIO()
        self.audit = AuditLog(self.stream, self.metrics.audit_dropped.inc)
        self.engine = Engine(
            self.metrics,
            audit=self.audit,
            audit_level="refusals",
            clock=self.clock,
            monotonic=lambda: asyncio.get_running_loop().time(),
            long_connection_grace=grace,
        )
        self.generation = 0

    def clock(self) -> float:
        return NOW + asyncio.get_running_loop().time() - START

    def adopt(self, *objects: dict[str, Any]) -> None:
        self.generation += 1
        made = compiled(*(objects or trusted()), generation=self.generation)
        self.engine.adopt(load(made.bundles[0]))

    def open(self, given: bytes | None = None) -> Carrier:
        headers = [(b"authorization", b"Bearer " + (given or token()))]
        authz_request = AuthzRequest(
            find_credential(headers), OriginalRequest("GET", b"/app/acme?key=secret"), peer=("192.0.2.7", 7)
        )
        decided = self.engine.decide(authz_request)
        assert isinstance(decided, Allowed)
        carrier = Carrier()
        assert self.engine.long_connections.add(authz_request, decided, carrier) is not None
        return carrier

    def audited(self) -> list[dict[str, Any]]:
        self.audit.close(30)
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def counted(self, reason: str) -> float | None:
        name = "watchword_long_connections_ended_total"
        return self.metrics.registry.get_sample_value(name, {"reason": reason})


def trusted(**workload_spec: Any) -> tuple[dict[str, Any], ...]:
    return issuer(), service(routes=ROUTES), workload(**({"grants": GRANTS} | workload_spec))


def on_a_loop(work: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work())  # type: ignore[arg-type]  # a coroutine, by how it is called


WITHDRAWN: dict[str, tuple[tuple[dict[str, Any], ...], str]] = {
    "the workload is gone": ((issuer(), service(routes=ROUTES)), "unknown_workload"),
    "the workload is suspended": (trusted(suspend=True), "suspended"),
    "the trust has expired": (trusted(expires="2020-01-01T00:00:00Z"), "trust_expired"),
    "the token is revoked": (
        (issuer(revoked=[{"tokenId": claims()["jti"]}]), *trusted()[1:]),
        "revoked",
    ),
    "the pod is revoked": (
        (issuer(revoked=[{"podUid": claims()["kubernetes.io"]["pod"]["uid"]}]), *trusted()[1:]),
        "revoked",
    ),
    "the account is revoked": (
        (
            issuer(revoked=[{"serviceAccountUid": claims()["kubernetes.io"]["serviceaccount"]["uid"]}]),
            *trusted()[1:],
        ),
        "revoked",
    ),
    "the scope is not granted": (
        trusted(grants=[{"scopes": ["other:use"], "accounts": ["acme"]}]),
        "insufficient_scope",
    ),
    "the account is not granted": (
        trusted(grants=[{"scopes": ["app:use"], "accounts": ["rival"]}]),
        "account_not_granted",
    ),
    "the route is gone": ((issuer(), service(), workload(grants=GRANTS)), "no_route"),
    "the route wants another scope": (
        (
            issuer(),
            service(routes=[ROUTES[0] | {"scope": "app:administer"}]),
            workload(grants=GRANTS),
        ),
        "insufficient_scope",
    ),
    "the audience is another": (
        (issuer(), service(routes=ROUTES, audiences=["other"]), workload(grants=GRANTS)),
        "wrong_audience",
    ),
    "tokens must be shorter": (
        (issuer(), service(routes=ROUTES, token={"maxLifetimeSeconds": 60}), workload(grants=GRANTS)),
        "lifetime_too_long",
    ),
}


@pytest.mark.parametrize("name", WITHDRAWN)
def test_a_bundle_that_withdraws_trust_ends_it_at_once(name: str) -> None:
    objects, reason = WITHDRAWN[name]

    async def work() -> None:
        gate = Gate()
        gate.adopt()
        carrier = gate.open()
        gate.adopt(*objects)
        # At once: not a turn of the loop later.
        assert carrier.ended == [reason]
        assert len(gate.engine.long_connections) == 0
        assert gate.counted(reason) == 1
        [entry] = gate.audited()
        assert (entry["outcome"], entry["reason"]) == ("ended", reason)
        assert entry["unproven"] == {"peer": "192.0.2.7:7", "method": "GET", "path": "/app/acme"}

    on_a_loop(work)


def test_a_bundle_that_still_trusts_it_leaves_it_alone() -> None:
    async def work() -> None:
        gate = Gate()
        gate.adopt()
        carrier = gate.open()
        for _ in range(3):
            gate.adopt()
        await pass_seconds(100)
        assert carrier.ended == []
        assert len(gate.engine.long_connections) == 1

    on_a_loop(work)


def test_no_bundle_at_all_ends_everything() -> None:
    async def work() -> None:
        gate = Gate()
        gate.adopt()
        carrier = gate.open()
        gate.engine.end_trust(Refusal(Reason.NOT_READY, "The bundle is gone."))
        assert carrier.ended == ["not_ready"]
        assert [each["reason"] for each in gate.audited()] == ["not_ready"]

    on_a_loop(work)


def test_a_ruleset_that_went_without_a_word_is_noticed_within_a_second() -> None:
    async def work() -> None:
        gate = Gate()
        gate.adopt()
        carrier = gate.open()
        await pass_seconds(5)
        gate.engine.active = None
        await pass_seconds(1)
        assert carrier.ended == ["not_ready"]

    on_a_loop(work)


@pytest.mark.parametrize(
    ("grace", "skew", "seconds"), [(300, 60, 300), (0, 60, 60), (0, 0, 0), (3600, 60, 3600)]
)
def test_it_ends_with_its_token_and_a_grace(grace: int, skew: int, seconds: int) -> None:
    async def work() -> None:
        gate = Gate(grace)
        spec = {"routes": ROUTES, "token": {"clockSkewSeconds": skew}}
        gate.adopt(issuer(), service(**spec), workload(grants=GRANTS))
        carrier = gate.open(token(exp=NOW + 10))
        await pass_seconds(10 + seconds - 1)
        assert carrier.ended == []
        await pass_seconds(2)
        assert carrier.ended == ["expired"]

    on_a_loop(work)


def test_a_new_bundle_does_not_end_what_is_within_its_grace_nor_prolong_it() -> None:
    async def work() -> None:
        gate = Gate(300)
        gate.adopt()
        carrier = gate.open(token(exp=NOW + 10))
        for _ in range(30):
            await pass_seconds(10)
            gate.adopt()
        assert carrier.ended == []
        await pass_seconds(11)
        assert carrier.ended == ["expired"]

    on_a_loop(work)


def test_trust_that_expires_has_no_grace() -> None:
    async def work() -> None:
        gate = Gate(300)
        # 20 seconds ahead of NOW.
        gate.adopt(*trusted(expires="2027-01-15T08:00:20Z"))
        carrier = gate.open()
        await pass_seconds(18)
        assert carrier.ended == []
        await pass_seconds(3)
        assert carrier.ended == ["trust_expired"]
        assert [each["workload"] for each in gate.audited()] == ["tuist/atlas"]

    on_a_loop(work)


def test_many_are_decided_in_batches_and_all_of_them_end() -> None:
    async def work() -> None:
        gate = Gate()
        gate.adopt()
        carriers = [gate.open() for _ in range(5 * BATCH + 3)]
        gate.adopt(issuer(), service(routes=ROUTES))
        # Other callers have their turn between two batches.
        assert sum(bool(each.ended) for each in carriers) == BATCH
        await come_to_rest()
        assert [each.ended for each in carriers] == [["unknown_workload"]] * len(carriers)

    on_a_loop(work)


def test_without_a_bundle_all_of_them_end_in_the_same_turn_of_the_loop() -> None:
    async def work() -> None:
        gate = Gate()
        gate.adopt()
        carriers = [gate.open() for _ in range(5 * BATCH + 3)]
        # Some of them are still to be decided on under the bundle before.
        gate.adopt()
        gate.engine.end_trust(Refusal(Reason.NOT_READY))
        assert [each.ended for each in carriers] == [["not_ready"]] * len(carriers)
        assert len(gate.engine.long_connections) == 0
        await come_to_rest()
        assert [each.ended for each in carriers] == [["not_ready"]] * len(carriers)

    on_a_loop(work)


def test_the_newest_bundle_decides_where_two_come_at_once() -> None:
    async def work() -> None:
        gate = Gate()
        gate.adopt()
        carriers = [gate.open() for _ in range(3 * BATCH)]
        gate.adopt()
        gate.adopt(*trusted(suspend=True))
        await come_to_rest()
        assert [each.ended for each in carriers] == [["suspended"]] * len(carriers)

    on_a_loop(work)


def test_a_short_request_pays_no_signature_and_no_timer_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    real = long_connections.verify

    def counting(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        return real(*given)

    monkeypatch.setattr(long_connections, "verify", counting)

    async def work() -> None:
        gate = Gate()
        gate.adopt()
        registry, loop = gate.engine.long_connections, asyncio.get_running_loop()
        timers = 0
        call_later = loop.call_later

        def counting_timers(*given: Any, **more: Any) -> Any:
            nonlocal timers
            timers += 1
            return call_later(*given, **more)

        monkeypatch.setattr(loop, "call_later", counting_timers)
        headers = [(b"authorization", b"Bearer " + token())]
        for _ in range(100):
            authz_request = AuthzRequest(find_credential(headers), OriginalRequest("GET", b"/app/acme"))
            connection = registry.add(authz_request, LET_IN, Carrier())
            assert connection is not None
            registry.discard(connection)
        assert (calls, timers) == (0, 1)
        await pass_seconds(3)
        # And none at all while nothing is passed on.
        assert (calls, timers) == (0, 1)
        gate.open()
        await pass_seconds(30)
        assert calls == 1

    on_a_loop(work)


def test_a_sweep_in_the_middle_of_a_bundles_decisions_adds_none_and_hurries_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_turn: Counter[int] = Counter()
    turn, real = 0, long_connections.verify

    def counting(*given: Any) -> Any:
        by_turn[turn] += 1
        return real(*given)

    monkeypatch.setattr(long_connections, "verify", counting)

    async def work() -> None:
        nonlocal turn
        gate, loop = Gate(), asyncio.get_running_loop()
        gate.adopt()
        loop.call_later(SWEEP_SECONDS / 2, gate.adopt)
        # Both are due in the same turn of the loop: first the bundle, then the sweep.
        carriers = [gate.open() for _ in range(5 * BATCH)]
        assert isinstance(loop, VirtualLoop)
        loop.now += SWEEP_SECONDS
        for turn in range(40):  # noqa: B007 - what is counted looks at it
            await asyncio.sleep(0)
        assert by_turn.total() == len(carriers)
        assert max(by_turn.values()) == BATCH
        await pass_seconds(10)
        assert by_turn.total() == len(carriers)

    on_a_loop(work)


def test_there_are_never_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_connections, "MAX_CONNECTIONS", 3)

    async def work() -> None:
        gate = Gate()
        gate.adopt()
        for _ in range(3):
            gate.open()
        registry = gate.engine.long_connections
        authz_request = AuthzRequest(find_credential([]), OriginalRequest("GET", b"/app/acme"))
        assert registry.add(authz_request, LET_IN, Carrier()) is None
        assert len(registry) == 3

    on_a_loop(work)
