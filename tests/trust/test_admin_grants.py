# SPDX-License-Identifier: Apache-2.0
"""Which admin flags count, over every order of writes, of changes of the policy, and of the operator's looks.

A model knows of each write whether a policy judged it. The operator sees only what an API server shows. A
flag that was written without the policy must never count; one that is set again under it does.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchword.trust.admin_grants import Guard, counts, first_mark, guard_in_force, next_mark
from watchword.trust.admin_policy import (
    ADMINS_POLICY,
    BINDING_SPEC,
    admins_policy_spec,
    guard_identity,
    guard_problem,
)
from watchword.trust.api.v1alpha1.status import AdminGrantStatus

Object = dict[str, Any]
STEPS = ("grant", "steal", "withdraw", "remove policy", "restore policy", "look", "look", "recreate")


class World:
    """One client and one policy, as an API server has them, and the operator that looks at them."""

    def __init__(self) -> None:
        self.policy: int | None = 1
        self.policies = 1
        self.generation, self.is_flagged, self.was_judged = 1, False, True
        self.mark: AdminGrantStatus | None = None
        self.recorded = ""

    def write(self, *, flag: bool, by_granter: bool) -> None:
        """A write of the spec. Under the policy, one that leaves the flag true takes a granter."""
        if self.policy is not None and flag and not by_granter:
            return
        self.generation += 1
        self.is_flagged = flag
        self.was_judged = self.policy is not None or not flag

    def recreate(self) -> None:
        """Deleted, and made again with the flag by someone without the verb."""
        if self.policy is not None:
            return
        self.generation, self.is_flagged, self.was_judged, self.mark = 1, True, False, None

    def look(self) -> None:
        """What the operator does once a policy has settled."""
        if self.policy is None:
            return
        guard = Guard("", f"policy-{self.policy}")
        if self.mark is not None and self.mark.policy == guard.identity:
            self.mark = next_mark(self.mark, self.generation, is_flagged=self.is_flagged)
        else:
            self.mark = first_mark(
                self.mark, self.generation, 0.0, guard,
                is_flagged=self.is_flagged, is_recorded=self.recorded == guard.identity,
            )  # fmt: skip
        self.recorded = guard.identity

    def step(self, name: str) -> None:
        if name == "grant":
            self.write(flag=True, by_granter=True)
        elif name == "steal":
            self.write(flag=True, by_granter=False)
        elif name == "withdraw":
            self.write(flag=False, by_granter=False)
        elif name == "remove policy":
            self.policy = None
        elif name == "restore policy" and self.policy is None:
            self.policies += 1
            self.policy = self.policies
        elif name == "recreate":
            self.recreate()
        elif name == "look":
            self.look()


@given(st.lists(st.sampled_from(STEPS), max_size=30))
@settings(max_examples=2000, deadline=None)
def test_no_order_of_events_makes_a_flag_count_that_no_policy_judged(steps: list[str]) -> None:
    world = World()
    for name in steps:
        world.step(name)
        # What the desk asks: the policy is in force, and the operator confirmed this very generation.
        if world.policy is not None and counts(world.mark, world.generation):
            assert world.is_flagged
            assert world.was_judged, steps


@given(st.lists(st.sampled_from(STEPS), max_size=20))
@settings(max_examples=500, deadline=None)
def test_a_flag_that_is_set_again_under_the_policy_counts_whatever_was_before(steps: list[str]) -> None:
    world = World()
    for name in [*steps, "restore policy", "look", "withdraw", "look", "grant", "look"]:
        world.step(name)
    assert counts(world.mark, world.generation)


def installed() -> tuple[Object, Object]:
    """Policy and binding as an API server has them."""
    metadata = {"uid": "u-1", "generation": 1, "creationTimestamp": "2026-11-29T12:00:00Z"}
    spec = admins_policy_spec(["system:serviceaccount:argocd:argo"])
    spec["matchConstraints"] |= {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}}
    binding = {"matchResources": {"matchPolicy": "Equivalent"}, **copy.deepcopy(dict(BINDING_SPEC))}
    return {"metadata": dict(metadata), "spec": spec}, {"metadata": dict(metadata), "spec": binding}


def test_what_is_installed_is_in_force_and_known_since_when() -> None:
    policy, binding = installed()
    assert guard_problem(policy, binding) == ""
    guard = guard_in_force(policy, binding)
    assert guard.whole_since == 1795953605.0
    changed = copy.deepcopy(policy)
    changed["metadata"]["generation"] = 2
    assert guard_in_force(changed, binding).whole_since == float("inf")
    assert guard_identity(changed, binding) != guard_identity(policy, binding)


def test_what_is_newer_than_a_policy_that_was_never_changed_needs_no_record() -> None:
    guard = guard_in_force(*installed())
    for created, expected in ((guard.whole_since + 1, True), (guard.whole_since, False), (None, False)):
        mark = first_mark(None, 1, created, guard, is_flagged=True, is_recorded=False)
        assert mark.counts is expected


def _set(path: str, value: Any) -> Any:
    def change(policy: Object, binding: Object) -> None:
        root, *names, last = path.split(".")
        target: Any = {"policy": policy, "binding": binding}[root]
        for name in names:
            target = target[int(name)] if name.isdigit() else target[name]
        target[int(last) if last.isdigit() else last] = value

    return change


ALTERED = {
    "ignores what it cannot judge": _set("policy.spec.failurePolicy", "Ignore"),
    "one validation less": lambda policy, _: policy["spec"]["validations"].pop(),
    "another expression": _set("policy.spec.validations.0.expression", "true"),
    "an or in it": _set("policy.spec.variables.1.expression", "false"),
    "only some namespaces": _set(
        "policy.spec.matchConstraints.namespaceSelector", {"matchLabels": {"a": "b"}}
    ),
    "only some objects": _set("policy.spec.matchConstraints.objectSelector", {"matchLabels": {"a": "b"}}),
    "an exception": _set("policy.spec.matchConstraints.excludeResourceRules", [{"apiGroups": ["*"]}]),
    "a condition": _set("policy.spec.matchConditions", [{"name": "a", "expression": "false"}]),
    "only creation": _set("policy.spec.matchConstraints.resourceRules.0.operations", ["CREATE"]),
    "parameters": _set("policy.spec.paramKind", {"apiVersion": "v1", "kind": "ConfigMap"}),
    "granters by an expression": _set("policy.spec.variables.0.expression", "[request.userInfo.username]"),
    "granters with more behind": _set(
        "policy.spec.variables.0.expression", "['system:serviceaccount:a:b'] + [request.userInfo.username]"
    ),
    "a person as a granter": _set("policy.spec.variables.0.expression", "['alice']"),
    "no variables": _set("policy.spec.variables", []),
    "variables that are none": _set("policy.spec.variables", ["x"]),
    "no spec": lambda policy, _: policy.pop("spec"),
    "another policy is bound": _set("binding.spec.policyName", "other"),
    "it only warns": _set("binding.spec.validationActions", ["Warn"]),
    "it denies and audits": _set("binding.spec.validationActions", ["Deny", "Audit"]),
    "it does nothing": _set("binding.spec.validationActions", []),
    "bound for some": _set("binding.spec.matchResources", {"namespaceSelector": {"matchLabels": {"a": "b"}}}),
    "bound with parameters": _set("binding.spec.paramRef", {"name": "x"}),
    "no binding's spec": lambda _, binding: binding.pop("spec"),
    "the policy is on its way out": _set("policy.metadata.deletionTimestamp", "2026-11-29T12:00:00Z"),
    "the binding is on its way out": _set("binding.metadata.deletionTimestamp", "2026-11-29T12:00:00Z"),
}


@pytest.mark.parametrize("how", ALTERED)
def test_with_anything_altered_no_flag_counts(how: str) -> None:
    policy, binding = installed()
    ALTERED[how](policy, binding)
    problem = guard_problem(policy, binding)
    assert ADMINS_POLICY in problem


def test_with_either_missing_no_flag_counts() -> None:
    policy, binding = installed()
    assert "ValidatingAdmissionPolicy " in guard_problem(None, binding)
    assert "ValidatingAdmissionPolicyBinding" in guard_problem(policy, None)
