# SPDX-License-Identifier: Apache-2.0
"""What lasts of requests that would be refused: decided again with each bundle, over when report only is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from testing.manifests import compiled, issuer, service, workload
from testing.tokens import NOW, token
from tests.gate.fast_path.ways import come_to_rest, run
from tests.gate.report_only.rules import GRANTS, ROUTES, UNTIL, enforcing, reporting
from tests.gate.report_only.test_times import Gate
from watchword.gate.authz_request import AuthzRequest, find_credential
from watchword.gate.long_connections import MAX_STRANGERS
from watchword.gate.original_request import OriginalRequest
from watchword.gate.responses import Allowed
from watchword.identity import Refusal
from watchword.trust import Ruleset, load

LATER = {"exp": int(UNTIL) + 900, "iat": int(NOW) - 60}


class Carrier:
    """Keeps why it was ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def end(self, refusal: Refusal) -> None:
        self.ended.append(refusal.reason.code)


def opened(gate: Gate, target: bytes, credential: bytes = b"") -> Carrier:
    """A request that was let in, or passes because it is only reported."""
    headers = [(b"authorization", credential)] if credential else []
    request = AuthzRequest(find_credential(headers), OriginalRequest("GET", target), goes_to_app=True)
    decided = gate.engine.decide(request)
    assert isinstance(decided, Allowed)
    carrier = Carrier()
    noted = gate.engine.long_connections.add(request, decided, carrier)
    assert noted is not None
    return carrier


def bearer() -> bytes:
    return b"Bearer " + token(**LATER)


def granting(*scopes: str) -> Ruleset:
    """The service without report only, and with these scopes for its workload."""
    grants = [{"scopes": list(scopes), "accounts": ["acme"]}, {"scopes": list(scopes)}]
    return load(compiled(issuer(), service(routes=ROUTES), workload(grants=grants)).bundles[0])


def with_a_gate(work: Callable[[Gate], Awaitable[None]]) -> None:
    async def whole() -> None:
        gate = Gate()
        gate.engine.adopt(reporting())
        await work(gate)
        gate.engine.long_connections.decide_again()
        gate.audit.close(30)

    run(whole())


async def sweep(gate: Gate) -> None:
    gate.engine.long_connections._sweep()
    await come_to_rest()


def test_it_lasts_until_the_end_and_no_longer() -> None:
    async def work(gate: Gate) -> None:
        kinds = [opened(gate, b"/app/acme"), opened(gate, b"/admin", bearer()), opened(gate, b"/x", bearer())]
        good = opened(gate, b"/app/acme", bearer())
        gate.now = UNTIL - 1
        await sweep(gate)
        assert [each.ended for each in kinds] == [[], [], []]
        gate.now = UNTIL
        await sweep(gate)
        assert [each.ended for each in kinds] == [
            ["missing_credential"],
            ["insufficient_scope"],
            ["no_route"],
        ]
        assert good.ended == []

    with_a_gate(work)


def test_each_bundle_decides_again() -> None:
    async def work(gate: Gate) -> None:
        stranger, admin = opened(gate, b"/app/acme"), opened(gate, b"/admin", bearer())
        gate.engine.adopt(reporting())
        await come_to_rest()
        assert stranger.ended == admin.ended == []
        # Trusted by now, it goes on under enforcement; a stranger does not.
        gate.engine.adopt(granting("app:use", "app:administer"))
        await come_to_rest()
        assert stranger.ended == ["missing_credential"]
        assert admin.ended == []

    with_a_gate(work)


def test_one_that_was_trusted_in_between_ends_with_report_only_all_the_same() -> None:
    async def work(gate: Gate) -> None:
        admin = opened(gate, b"/admin", bearer())
        gate.engine.adopt(granting("app:use", "app:administer"))
        await sweep(gate)
        gate.engine.adopt(reporting())
        await sweep(gate)
        assert admin.ended == []
        gate.now = UNTIL
        await sweep(gate)
        assert admin.ended == ["insufficient_scope"]

    with_a_gate(work)


def test_what_is_taken_back_ends_at_once() -> None:
    async def work(gate: Gate) -> None:
        admin, good = opened(gate, b"/admin", bearer()), opened(gate, b"/app/acme", bearer())
        gate.engine.adopt(reporting(trusted=workload(grants=GRANTS, suspend=True)))
        await come_to_rest()
        assert admin.ended == good.ended == ["suspended"]

    with_a_gate(work)


def test_one_whose_identity_the_app_has_ends_with_its_trust() -> None:
    # It would pass again, without an identity; this one was passed on with one that no longer holds.
    async def work(gate: Gate) -> None:
        good = opened(gate, b"/app/acme", bearer())
        gate.engine.adopt(reporting(trusted=workload(grants=[{"scopes": ["other:use"]}])))
        await come_to_rest()
        assert good.ended == ["insufficient_scope"]

    with_a_gate(work)


def test_without_a_bundle_all_of_it_ends() -> None:
    async def work(gate: Gate) -> None:
        stranger = opened(gate, b"/app/acme")
        gate.engine.end_trust(gate.engine.not_ready)
        assert stranger.ended == ["not_ready"]

    with_a_gate(work)


def test_all_callers_of_a_live_service_may_be_strangers() -> None:
    async def work(gate: Gate) -> None:
        many = [opened(gate, b"/app/acme") for _ in range(MAX_STRANGERS * 2)]
        gate.engine.adopt(enforcing())
        await come_to_rest()
        assert all(each.ended == ["missing_credential"] for each in many)
        assert len(gate.engine.long_connections) == 0

    with_a_gate(work)
