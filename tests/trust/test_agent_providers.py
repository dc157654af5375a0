# SPDX-License-Identifier: Apache-2.0
"""What does not count of an AgentProvider is named where manifests are compiled."""

from __future__ import annotations

from typing import Any

import pytest

from testing.manifests import agent_provider, parsed, token_desk
from testing.tokens import Signer, signer
from watchword.trust import Problem, compile_resources
from watchword.trust.agent_providers import usable_keys

GOOD = signer("good", "ES256")
WEAK, EXPONENT = Signer("weak", "RS256", 1024), Signer("e3", "RS256", 2048, 3)
OTHER_ALGORITHM = signer("other", "ES384")


def problems_of(*documents: dict[str, Any]) -> list[Problem]:
    found = parsed(token_desk(), *documents)
    assert found.problems == ()
    problems = compile_resources(found.resources).problems
    return [each for each in problems if each.kind == "AgentProvider"]


def provider(name: str, *keys: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return agent_provider(name, keys=[GOOD.jwk, *keys], **spec)


@pytest.mark.parametrize(
    ("jwk", "said"),
    [
        (WEAK.jwk, "key weak is left out: "),
        (EXPONENT.jwk, "key e3 is left out: "),
        (signer("enc").jwk | {"use": "enc"}, "key enc is left out: "),
        (OTHER_ALGORITHM.jwk, "key other is left out: it verifies ES384, which spec.algorithms lacks"),
        (signer("wd-desk").jwk, "key wd-desk is left out: ids that begin with wd- are those of desk keys"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_key_that_is_left_out_is_named_and_the_good_one_counts(jwk: dict[str, Any], said: str) -> None:
    [found] = problems_of(document := provider("helper", jwk))
    assert found.field.startswith("spec.keys.inline.keys")
    assert found.detail.startswith(said)
    assert found.reason == "BadKey"
    [parsed_provider] = parsed(document).resources.providers
    assert [each.kid for each in usable_keys(parsed_provider, None, 0.0).keys] == ["good"]


def test_good_keys_are_no_problem() -> None:
    assert problems_of(provider("helper", signer("another", "RS256").jwk)) == []


def test_an_issuer_that_is_the_desks_own_or_another_ones_is_named() -> None:
    desks_own = token_desk()["spec"]["issuer"]
    [found] = problems_of(provider("helper", issuer=desks_own), provider("other"))
    assert (found.name, found.field, found.reason) == ("helper", "spec.issuer", "IssuerTaken")
    assert [each.name for each in problems_of(provider("one"), provider("two"))] == ["one", "two"]
