# SPDX-License-Identifier: Apache-2.0
"""Hostile objects beside the world: each named for its reason, and the world decides as before."""

import pytest

from testing.attacks import manifests
from testing.attacks.case import Case, ids
from testing.attacks.tokens_all import TOKENS
from testing.attacks.trust import FILES
from testing.attacks.world import NOW, RULES, token
from watchword.identity import Identity, Refusal, verify
from watchword.trust import Ruleset, compile_resources, decode_bundle, encode_bundle, load, parse_manifests
from watchword.trust.audience import DEFAULT_RESERVED, AudienceRules

WORLD = ("world.yaml", manifests.text(*manifests.world()))

# Without a cluster a service whose audiences are all somebody else's has none, and is left out as a whole.
RESERVED_ONLY = AudienceRules(reserved=DEFAULT_RESERVED)


def compiled(
    *files: tuple[str, bytes], rules: AudienceRules = RESERVED_ONLY
) -> tuple[dict[str, Ruleset], set[str]]:
    """The rulesets by service, and the reasons of all problems."""
    read = parse_manifests(files)
    made = compile_resources(read.resources, audiences=rules)
    reasons = {str(problem.reason) for problem in (*read.problems, *made.problems)}
    rulesets = [load(decode_bundle(encode_bundle(bundle))) for bundle in made.bundles]
    return {ruleset.service: ruleset for ruleset in rulesets}, reasons


def test_the_world_compiles_without_a_problem() -> None:
    rulesets, reasons = compiled(WORLD)
    assert (set(rulesets), reasons) == ({"tuist/tuist-server"}, set())


@pytest.mark.parametrize("case", FILES, ids=ids(FILES))
def test_a_hostile_object_is_left_out_and_the_world_stands(case: Case[bytes]) -> None:
    before, _ = compiled(WORLD)
    for _ in range(2):
        rulesets, reasons = compiled(("hostile.yaml", case.build()), WORLD)
        assert case.reason in reasons
        assert set(rulesets) == {"tuist/tuist-server"}
        policy = rulesets["tuist/tuist-server"].policy
        assert policy.workloads == before["tuist/tuist-server"].policy.workloads
        assert isinstance(verify(token(), policy, NOW), Identity)


@pytest.mark.parametrize("case", TOKENS, ids=ids(TOKENS))
def test_a_compiled_policy_refuses_a_hostile_token_for_the_same_reason(
    case: Case[bytes], policy_of_the_world: Ruleset
) -> None:
    decision = verify(case.build(), policy_of_the_world.policy, NOW)
    assert isinstance(decision, Refusal)
    assert decision.reason.code == case.reason


@pytest.fixture(scope="module")
def policy_of_the_world() -> Ruleset:
    return compiled(WORLD, rules=RULES)[0]["tuist/tuist-server"]
