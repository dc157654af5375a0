# SPDX-License-Identifier: Apache-2.0
"""Who is said to be let in: never more than the bundle lets in, whatever else is known."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from testing.tokens import NOW
from tests.console.manifests import objects, service, workload
from watchword.cli.holders import holders_of
from watchword.console.callers import Caller, callers_of
from watchword.console.model import Item
from watchword.console.source import item_of
from watchword.kube.names import NamespacedName
from watchword.trust import Bundle, compile_resources, parse_manifests
from watchword.trust.audience import AudienceRules


def compiled(*workloads: dict[str, Any], **of_service: Any) -> Bundle:
    base = [each for each in objects() if each["metadata"]["name"] == "atlas-production"]
    listed = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [*base, service("tuist", "api", **of_service), *workloads],
    }
    parsed = parse_manifests([("all.json", json.dumps(listed).encode())])
    [bundle] = compile_resources(parsed.resources, audiences=AudienceRules(cluster_id="dev")).bundles
    return bundle


def live(document: dict[str, Any], *, is_ready: bool = True, seen: int = 1) -> Item:
    """An object as a cluster has it, with the operator's word."""
    condition = {
        "type": "Ready",
        "status": "True" if is_ready else "False",
        "reason": "Trusted" if is_ready else "IssuerNotFound",
        "message": "why",
    }
    metadata = {**document["metadata"], "generation": 1}
    return item_of(
        {**document, "metadata": metadata, "status": {"conditions": [condition], "observedGeneration": seen}}
    )


def one(*, bundle: Bundle | None, items: list[Item]) -> Caller:
    [found] = callers_of(bundle, items, NOW)
    return found


READ = {"scopes": ["projects:read"], "accounts": ["acme"]}
ATLAS = workload("tuist", "atlas", "api", grants=[READ])


def test_who_is_in_the_bundle_and_unchanged_may_call() -> None:
    assert one(bundle=compiled(ATLAS), items=[live(ATLAS)]).state.word == "May call"


@pytest.mark.parametrize("is_ready", [True, False])
def test_who_is_declared_and_in_no_bundle_may_not_whatever_the_operator_says(is_ready: bool) -> None:
    other = workload("tuist", "other", "api", grants=[READ])
    found = {
        each.workload.name: each.state.word
        for each in callers_of(compiled(ATLAS), [live(other, is_ready=is_ready)], NOW)
    }
    assert found["other"] == ("Not in the bundle" if is_ready else "IssuerNotFound")


@pytest.mark.parametrize("item", [live(ATLAS), live(ATLAS, is_ready=False), live(ATLAS, seen=0)])
def test_without_the_bundle_no_one_is_said_to_be_let_in(item: Item) -> None:
    assert one(bundle=None, items=[item]).state.word in {"Ready", "IssuerNotFound", "Edited"}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"suspend": True}, "Suspended"),
        ({"expires": "2001-01-01T00:00:00Z"}, "Expired"),
        ({"grants": []}, "No grants"),
    ],
)
def test_each_way_not_to_be_let_in_has_its_word_with_and_without_the_bundle(
    changes: dict[str, Any], word: str
) -> None:
    changed = {**ATLAS, "spec": {**ATLAS["spec"], **changes}}
    assert one(bundle=compiled(changed), items=[live(changed)]).state.word == word
    assert one(bundle=None, items=[live(changed)]).state.word != "May call"


def test_a_deleted_account_and_an_issuer_without_keys_let_no_one_in() -> None:
    bundle = compiled(ATLAS)
    gone = msgspec.structs.replace(bundle.workloads[0], live_uid="")
    assert (
        one(bundle=msgspec.structs.replace(bundle, workloads=(gone,)), items=[]).state.word
        == "ServiceAccount gone"
    )
    keyless = tuple(msgspec.structs.replace(each, keys=()) for each in bundle.issuers)
    assert (
        one(bundle=msgspec.structs.replace(bundle, issuers=keyless), items=[]).state.word == "No trusted key"
    )


def test_an_edit_that_is_on_its_way_is_told_and_the_grants_in_force_are_shown() -> None:
    wider = {**ATLAS, "spec": {**ATLAS["spec"], "grants": [{**READ, "accounts": ["*"]}]}}
    caller = one(bundle=compiled(ATLAS), items=[live(wider)])
    assert caller.grants[0].accounts == ("acme",)
    assert "an edit is on its way" in caller.state.detail
    # A bundle sorts what a person wrote; that is no edit.
    unsorted = {"scopes": ["projects:read", "cache:read"], "accounts": ["b", "acme"]}
    same = {**ATLAS, "spec": {**ATLAS["spec"], "grants": [unsorted]}}
    assert one(bundle=compiled(same), items=[live(same)]).state.detail == ""


def test_who_is_in_the_bundle_without_an_object_is_marked() -> None:
    caller = one(bundle=compiled(ATLAS), items=[])
    assert (caller.is_declared, "No TrustedWorkload is read for it" in caller.state.detail) == (False, True)


def test_on_random_manifests_no_more_are_let_in_than_the_gates_own_rule_says() -> None:
    random_numbers = random.Random(17)
    scopes = ["projects:read", "projects:write", "cache:read"]
    asked = 0
    for _ in range(60):
        rows = []
        for number in range(random_numbers.randint(1, 8)):
            grants = [
                {
                    "scopes": random_numbers.sample(scopes, random_numbers.randint(1, 3)),
                    **(
                        {"accounts": random_numbers.choice([["acme"], ["*"], ["a", "b"]])}
                        if random_numbers.random() < 0.8
                        else {}
                    ),
                }
                for _ in range(random_numbers.randint(0, 3))
            ]
            changes: dict[str, Any] = {"grants": grants, "suspend": random_numbers.random() < 0.2}
            if random_numbers.random() < 0.3:
                changes["expires"] = random_numbers.choice(["2001-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])
            rows.append(workload("tuist", f"w{number}", "api", **changes))
        bundle = compiled(*rows)
        said = {
            str(each.workload)
            for each in callers_of(bundle, map(live, rows), NOW)
            if each.state.word == "May call"
        }
        can = {
            each.workload
            for scope in scopes
            for each in holders_of(bundle, scope, None, None, NOW)
            if each.can
        }
        assert said == can
        asked += len(rows)
    assert asked > 100


def test_an_object_that_is_not_valid_is_a_row_with_its_reason() -> None:
    broken = {**ATLAS, "spec": {**ATLAS["spec"], "grants": "all"}}
    item = live(broken)
    assert (item.resource, item.state.word) == (None, "Problem")
    assert "spec.grants" in item.state.detail
    assert item.name == NamespacedName("tuist", "atlas")
