# SPDX-License-Identifier: Apache-2.0
"""Hostile desk tokens at a gate that accepts good ones: each refused for exactly its reason.

The service, its desk and its one workload are compiled, sealed, read again and loaded, as a gate does it.
"""

from collections.abc import Iterator

import pytest

from testing.attacks.case import Case, ids
from testing.attacks.tokens_desk import DESK_TOKENS
from testing.desk import desk_token, desk_world
from testing.manifests import compiled, issuer, service, workload
from testing.tokens import NOW, token
from tests.gate.running import RunningGate
from watchword.identity import Identity, Policy, Reason, Refusal, examine, verify
from watchword.trust import decode_bundle, encode_bundle, load


def policy_of(**of_world: object) -> Policy:
    """What a gate of the world decides by."""
    made = desk_world(**of_world)  # type: ignore[arg-type]
    return load(decode_bundle(encode_bundle(made.bundles[0]))).policy


def _without_desk() -> Policy:
    made = compiled(issuer(), service(), workload())
    return load(made.bundles[0]).policy


WITHOUT_DESK = _without_desk()


@pytest.fixture(scope="module")
def policy() -> Policy:
    return policy_of()


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGate]:
    running = RunningGate(tmp_path_factory.mktemp("gate"))
    running.engine.adopt(load(desk_world().bundles[0]))
    yield running
    running.close()


def test_the_good_tokens_that_the_attacks_change_are_good(policy: Policy, gate: RunningGate) -> None:
    for good in (desk_token(), token(), desk_token(purpose="cache-read")):
        assert isinstance(verify(good, policy, NOW), Identity)
    assert gate.call("/authz", desk_token()).status_code == 200


@pytest.mark.parametrize("case", DESK_TOKENS, ids=ids(DESK_TOKENS))
def test_a_hostile_desk_token_is_refused_for_its_reason(case: Case[bytes], policy: Policy) -> None:
    hostile = case.build()
    for _ in range(2):
        decision = verify(hostile, policy, NOW)
        assert isinstance(decision, Refusal)
        assert decision.reason.code == case.reason
    assert examine(hostile, policy, NOW).decision == decision


@pytest.mark.parametrize("case", DESK_TOKENS, ids=ids(DESK_TOKENS))
def test_a_gate_refuses_it_cold_and_from_its_cache(case: Case[bytes], gate: RunningGate) -> None:
    hostile = case.build()
    for _ in range(2):
        answer = gate.call("/authz", hostile)
        assert answer.headers["x-watchword-reason"] == case.reason
        assert answer.status_code == next(each.status for each in Reason if each.code == case.reason)


@pytest.mark.parametrize("case", DESK_TOKENS, ids=ids(DESK_TOKENS))
def test_a_service_without_a_desk_lets_none_of_them_in(case: Case[bytes]) -> None:
    assert isinstance(verify(case.build(), WITHOUT_DESK, NOW), Refusal)


def test_a_service_without_a_desk_lets_no_good_one_in_either() -> None:
    decision = verify(desk_token(), WITHOUT_DESK, NOW)
    assert isinstance(decision, Refusal)
    assert (decision.reason, "names no TokenDesk" in decision.detail) == (Reason.UNSUPPORTED_HEADER, True)


def test_no_two_hostile_desk_tokens_are_named_alike() -> None:
    named = ids(DESK_TOKENS)
    assert len(set(named)) == len(named)
    assert len(named) >= 100
