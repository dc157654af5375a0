# SPDX-License-Identifier: Apache-2.0
"""`watchword doctor` says which admission policy is missing, altered or not in force."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shipped import admission_policies, user
from watchword.cli.doctor_policies import judge
from watchword.trust.admin_policy import ADMINS_POLICY
from watchword.trust.admission_policies import BUNDLES_POLICY, OPERATOR_POLICY

OPERATOR = user("watchword-operator")
Object = dict[str, Any]


_SHIPPED = [each for each in admission_policies() if each["kind"].startswith("Validating")]


def installed() -> list[Object]:
    """What `kubectl get` gives where the release's manifests were applied: with the server's defaults."""
    found = copy.deepcopy(_SHIPPED)
    for each in found:
        if each["kind"] == "ValidatingAdmissionPolicy":
            constraints = each["spec"]["matchConstraints"]
            constraints |= {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}}
            for rule in constraints["resourceRules"]:
                rule["scope"] = "*"
    return found


def spec_of(objects: list[Object], kind: str, name: str) -> Object:
    [spec] = [each["spec"] for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    found: Object = spec
    return found


def test_what_is_installed_is_well() -> None:
    assert list(judge(installed(), OPERATOR)) == []


def test_an_installation_without_them_is_told_what_that_means() -> None:
    found = list(judge([], OPERATOR))
    assert [each.where for each in found] == [
        f"ValidatingAdmissionPolicy {BUNDLES_POLICY}",
        f"ValidatingAdmissionPolicy {OPERATOR_POLICY}",
        f"ValidatingAdmissionPolicy {ADMINS_POLICY}",
    ]
    assert all(each.is_serious and "Remedy: " in each.what for each in found)
    assert "decides who is let in" in found[0].what


POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
ALTERED: dict[str, tuple[str, Callable[[Object], Any], str]] = {
    "it lets pass what it cannot judge": (
        POLICY,
        lambda spec: spec.update(failurePolicy="Ignore"),
        "spec.failurePolicy",
    ),
    "a namespace is left out": (
        POLICY,
        lambda spec: spec["matchConstraints"].update(
            namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "x"}}
        ),
        "spec.matchConstraints.namespaceSelector",
    ),
    "an exception was added": (
        POLICY,
        lambda spec: spec["matchConditions"].append({"name": "x", "expression": "false"}),
        "spec.matchConditions",
    ),
    "deleting is left out": (
        POLICY,
        lambda spec: spec["matchConstraints"]["resourceRules"][0].update(operations=["CREATE", "UPDATE"]),
        "spec.matchConstraints.resourceRules[0].operations",
    ),
    "an object is excluded": (
        POLICY,
        lambda spec: spec["matchConstraints"].update(
            excludeResourceRules=spec["matchConstraints"]["resourceRules"]
        ),
        "spec.matchConstraints.excludeResourceRules",
    ),
    "a rule always holds": (
        POLICY,
        lambda spec: spec["validations"][0].update(expression="true"),
        "spec.validations[0].expression",
    ),
    "it only warns": (
        BINDING,
        lambda spec: spec.update(validationActions=["Warn", "Audit"]),
        "none of its bindings denies",
    ),
    "it is in force in some namespaces": (
        BINDING,
        lambda spec: spec.update(matchResources={"namespaceSelector": {"matchLabels": {"a": "b"}}}),
        "none of its bindings denies",
    ),
    "it is bound to something else": (
        BINDING,
        lambda spec: spec.update(policyName="other"),
        "no binding puts it in force",
    ),
}


@pytest.mark.parametrize("policy", [BUNDLES_POLICY, OPERATOR_POLICY])
@pytest.mark.parametrize("how", ALTERED)
def test_what_someone_altered_is_named(how: str, policy: str) -> None:
    kind, alter, said = ALTERED[how]
    objects = installed()
    alter(spec_of(objects, kind, policy))
    [found] = judge(objects, OPERATOR)
    assert found.where == f"{kind} {policy}"
    assert said in found.what
    assert found.is_serious


def test_a_policy_on_another_user_than_the_operators_is_altered() -> None:
    [found] = judge(installed(), "system:serviceaccount:elsewhere:ww-operator")
    assert found.where == f"{POLICY} {OPERATOR_POLICY}"
    assert "matchConditions[0].expression" in found.what


def paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all leaves of a document."""
    if isinstance(node, dict):
        return [each for key, value in node.items() for each in paths(value, (*path, key))]
    if isinstance(node, list):
        return [each for number, value in enumerate(node) for each in paths(value, (*path, number))]
    return [path]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_leaf_of_a_policy_can_be_changed_without_a_word(data: st.DataObject) -> None:
    objects = installed()
    policy = data.draw(st.sampled_from([each for each in objects if each["kind"] == POLICY]))
    *way, last = data.draw(st.sampled_from(paths(policy["spec"])))
    place = policy["spec"]
    for step in way:
        place = place[step]
    if data.draw(st.booleans()) and isinstance(place, dict) and last not in ("scope", "matchPolicy"):
        del place[last]
    else:
        place[last] = f"{place[last]}x"
    assert [each.where for each in judge(objects, OPERATOR)] == [f"{POLICY} {policy['metadata']['name']}"]
