# SPDX-License-Identifier: Apache-2.0
"""Hostile tokens against the checks: each refused for exactly its reason, and again when it is sent twice."""

import pytest

from testing.attacks.case import Case, ids
from testing.attacks.tokens_all import TOKENS
from testing.attacks.world import NOW, PINNED, policy, token
from watchword.identity import Identity, Refusal, examine, verify


@pytest.mark.parametrize("kid", [kid for kid in PINNED if kid not in ("staging", "narrow")])
def test_the_good_token_that_the_attacks_change_is_good(kid: str) -> None:
    assert isinstance(verify(token(kid), policy(), NOW), Identity)


@pytest.mark.parametrize("case", TOKENS, ids=ids(TOKENS))
def test_a_hostile_token_is_refused_for_its_reason(case: Case[bytes]) -> None:
    hostile = case.build()
    for _ in range(2):
        decision = verify(hostile, policy(), NOW)
        assert isinstance(decision, Refusal)
        assert decision.reason.code == case.reason
    assert examine(hostile, policy(), NOW).decision == decision


def test_no_two_hostile_tokens_are_the_same() -> None:
    named = [str(case) for case in TOKENS]
    assert len(set(named)) == len(named)
    built = {case.build(): case.name for case in TOKENS}
    # ECDSA signatures are random, so only equal inputs of deterministic builders can collide.
    assert len(built) == len(named), sorted(
        set(named) - {str(case) for case in TOKENS if case.name in built.values()}
    )
