# SPDX-License-Identifier: Apache-2.0
"""One service compiled alone comes to what all services compiled together come to, and to nothing more."""

import json
from typing import Any

import pytest

from testing.manifests import compiled, issuer, parsed, service, workload
from testing.tokens import NOW, Signer, signer, token
from watchword.identity import Identity, Refusal, verify
from watchword.trust import compile_resources, load
from watchword.trust.issuers import Issuers, ready_issuers
from watchword.trust.service import ServiceCompilation, compile_service

PEER = {"ipBlock": {"cidr": "10.20.0.0/16"}}
JWKS = {"production": json.dumps({"keys": [signer().jwk]}).encode()}
ATLAS = ("atlas-production", "atlas")


def alone(*objects: dict[str, Any], **inputs: Any) -> ServiceCompilation:
    """The one service among the objects, compiled by itself."""
    resources = parsed(*objects).resources
    issuers = ready_issuers(resources, inputs.pop("keys", {}))
    return compile_service(resources.services[0], resources.workloads, issuers, **inputs)


def code(compilation: ServiceCompilation) -> str:
    decision = verify(token(), load(compilation.bundle).policy, NOW)
    assert isinstance(decision, Identity | Refusal)
    return decision.reason.code if isinstance(decision, Refusal) else "allowed"


def test_alone_or_together_the_bundle_and_the_policy_are_the_same() -> None:
    objects = [
        issuer(),
        issuer("other", Signer("other")),
        service(),
        workload(**{"from": [PEER]}),
        workload("b", "b", issuerRef={"name": "other"}),
        workload("c", "c", issuerRef={"name": "nobody"}),
    ]
    together = compiled(*objects)
    by_itself = alone(*objects)
    assert by_itself.bundle == together.bundles[0]
    assert by_itself.policy == together.network_policies[0]
    assert by_itself.problems == together.problems


def test_services_do_not_disturb_each_other() -> None:
    other = [service("other", selector={"matchLabels": {"app": "other"}}),
             workload("x", serviceRef={"name": "other"})]  # fmt: skip
    assert not compiled(issuer(), service(), workload(), *other).problems


def test_nothing_to_rely_on_leaves_every_workload_out() -> None:
    resources = parsed(service(), workload()).resources
    compilation = compile_service(resources.services[0], resources.workloads, Issuers())
    assert [problem.reason.value for problem in compilation.problems] == ["IssuerNotFound"]
    assert compilation.bundle.workloads == ()


@pytest.mark.parametrize(
    ("live_uids", "expected"),
    [
        ({}, "allowed"),
        ({ATLAS: "sa-1"}, "allowed"),
        ({ATLAS: "sa-2"}, "stale_identity"),
        ({ATLAS: ""}, "stale_identity"),
        ({("elsewhere", "atlas"): ""}, "allowed"),
    ],
)
def test_an_account_of_this_cluster_must_be_the_live_one(
    live_uids: dict[tuple[str, str], str], expected: str
) -> None:
    mine = issuer(keys={"cluster": {}})
    assert code(alone(mine, service(), workload(), keys=JWKS, live_uids=live_uids)) == expected


def test_what_lives_here_says_nothing_about_another_cluster() -> None:
    assert code(alone(issuer(), service(), workload(), live_uids={ATLAS: "another"})) == "allowed"


def test_live_accounts_reach_the_bundle_when_all_is_compiled_together() -> None:
    resources = parsed(issuer(keys={"cluster": {}}), service(), workload()).resources
    (bundle,) = compile_resources(resources, keys=JWKS, live_uids={ATLAS: "uid"}).bundles
    assert bundle.workloads[0].live_uid == "uid"


def test_the_peers_of_a_workload_leave_the_policy_as_it_expires_and_its_row_stays() -> None:
    ends = {"expires": "2027-01-01T00:00:00Z", "from": [PEER]}
    end = 1798761600.0
    before, after = (alone(issuer(), service(), workload(**ends), now=end + step) for step in (-1, 0))
    assert before.policy is not None
    assert after.policy is not None
    assert len(before.policy["spec"]["ingress"]) == 2
    assert len(after.policy["spec"]["ingress"]) == 1
    assert before.bundle == after.bundle


OVERLAPS: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    ("the same pods, another app port", {}, {"upstreamPort": 9000}, ["one", "two"]),
    ("the same pods, one app", {}, {"port": 9443}, []),
    ("a part of the pods", {}, {"upstreamPort": 9000, "selector": {"matchLabels": {"app": "a", "b": "c"}}},
     ["one", "two"]),
    ("other pods", {}, {"upstreamPort": 9000, "selector": {"matchLabels": {"app": "b"}}}, []),
    ("a service without a policy", {"networkPolicy": {"mode": "Off"}}, {"upstreamPort": 9000}, []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "one", "two", "expected"), OVERLAPS)
def test_services_that_open_each_others_app_are_told(
    name: str, one: dict[str, Any], two: dict[str, Any], expected: list[str]
) -> None:
    both = {"selector": {"matchLabels": {"app": "a"}}}
    compilation = compiled(service("one", **both | one), service("two", **both | two))
    told = [(problem.name, problem.reason.value) for problem in compilation.problems]
    assert told == [(each, "SelectorsOverlap") for each in expected]
    assert len(compilation.bundles) == 2
