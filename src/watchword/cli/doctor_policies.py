# SPDX-License-Identifier: Apache-2.0
"""What `watchword doctor` says of the admission policies: they are there, in force, and say what they should.

Without them anyone who may write ConfigMaps in a namespace decides who is let in to its services, and nothing
else shows that: an installation from before them, or one that someone altered, works like any other.
"""

import json
from collections.abc import Iterator
from typing import Final

from watchword.cli.failures import UnusableInput
from watchword.cli.findings import Finding, Object
from watchword.cli.kubectl import run_kubectl
from watchword.trust.admin_policy import ADMINS_POLICY, guard_problem
from watchword.trust.admission_policies import (
    BUNDLES_POLICY,
    OPERATOR_POLICY,
    bundles_policy_spec,
    differences,
    operator_policy_spec,
)

_KINDS: Final = "validatingadmissionpolicies,validatingadmissionpolicybindings"
_WHAT_IT_MEANS: Final = {
    BUNDLES_POLICY: "anyone who may write ConfigMaps in a namespace decides who is let in to its services",
    OPERATOR_POLICY: "the operator's token may write ConfigMaps, Roles and policies of any name",
}
_REMEDY: Final = (
    "Remedy: install the release's admission policies again (the chart's admissionPolicies.enabled)"
)


def findings_of_policies(context: str | None, namespace: str, operator: str) -> Iterator[Finding]:
    """What is missing or altered of the two policies and their bindings.

    Args:
        context: the kubeconfig context.
        namespace: of the operator.
        operator: the name of its ServiceAccount, which is that of its Lease.
    """
    try:
        listed = json.loads(run_kubectl("get", _KINDS, "--output=json", context=context))["items"]
    except UnusableInput as problem:
        said = f"they cannot be read: {problem.message} Remedy: ask as one who may list them"
        yield Finding("admission policies", said, is_serious=False)
        return
    yield from judge(listed, f"system:serviceaccount:{namespace}:{operator}")


def judge(objects: list[Object], user: str) -> Iterator[Finding]:
    """What is missing or altered among these policies and bindings, for an operator that is this user."""
    found = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in objects}
    expected = {BUNDLES_POLICY: bundles_policy_spec(), OPERATOR_POLICY: operator_policy_spec(user)}
    for name, spec in expected.items():
        where = f"ValidatingAdmissionPolicy {name}"
        installed = found.get(("ValidatingAdmissionPolicy", name))
        if installed is None:
            yield Finding(where, f"it is not there, so {_WHAT_IT_MEANS[name]}. {_REMEDY}")
            continue
        if altered := differences(installed, spec):
            shown = ", ".join(altered[:5])
            yield Finding(where, f"it is not what this release installs ({shown}). {_REMEDY}")
        # The name of a binding is free: any that enforces the policy everywhere will do.
        bindings = [
            spec
            for (kind, _), spec in found.items()
            if kind == "ValidatingAdmissionPolicyBinding" and spec.get("policyName") == name
        ]
        if not any(_enforces(each) for each in bindings):
            why = "none of its bindings denies everywhere" if bindings else "no binding puts it in force"
            said = f"{why}, so {_WHAT_IT_MEANS[name]}. {_REMEDY}"
            yield Finding(f"ValidatingAdmissionPolicyBinding {name}", said)
    named = {each["kind"]: each for each in objects if each["metadata"]["name"] == ADMINS_POLICY}
    policy, binding = (
        named.get(kind) for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    )
    if problem := guard_problem(policy, binding):
        said = f"{problem}, so no DeskClient counts as an admin. {_REMEDY}"
        yield Finding(f"ValidatingAdmissionPolicy {ADMINS_POLICY}", said)


def _enforces(binding: Object) -> bool:
    """Whether a binding denies, for all objects: its matchResources could leave some out."""
    match = binding.get("matchResources") or {}
    narrows = any(value for key, value in match.items() if key != "matchPolicy")
    return "Deny" in (binding.get("validationActions") or ()) and not narrows and not binding.get("paramRef")
