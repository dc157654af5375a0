# SPDX-License-Identifier: Apache-2.0
"""The ValidatingAdmissionPolicy on admin clients: who may make a DeskClient an admin, and in whose name.

RBAC can say who edits a DeskClient, not what of it. Without this policy, anyone who may edit an admin client
puts her own credential in its place. So any write that leaves the flag true needs a verb of its own, unless
the spec is unchanged; and what the operator confirmed of a flag is for the operator to write.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from watchword.trust.admission_policies import Spec, differences
from watchword.trust.api.v1alpha1 import API_GROUP

ADMINS_POLICY: Final = "admin-clients.watchword.dev"
# Verbs on `deskclients` that no API serves: the authorizer alone is asked about them.
GRANT_VERB: Final = "grant-admin"
CONFIRM_VERB: Final = "confirm-admin"
BINDING_SPEC: Final[Mapping[str, Any]] = {"policyName": ADMINS_POLICY, "validationActions": ["Deny"]}
_ACCOUNT: Final = r"system:serviceaccount:[a-z0-9]([-a-z0-9]*[a-z0-9])?:[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
_BOTH: Final = ("object", "oldObject")
_GRANTERS: Final = re.compile(rf"\[(?:'{_ACCOUNT}'(?:, '{_ACCOUNT}')*)?\]")


def admins_policy_spec(granters: Iterable[str] = ()) -> Spec:
    """The policy's spec.

    Args:
        granters: users of ServiceAccounts (`system:serviceaccount:NAMESPACE:NAME`) that may set the flag,
            where RBAC gives them the verb as well. People need the verb alone.
    """
    listed = "[" + ", ".join(f"'{each}'" for each in granters) + "]"
    user = "request.userInfo.username"

    def may(verb: str) -> str:
        return (
            f"authorizer.group('{API_GROUP}').resource('deskclients').namespace(request.namespace)"
            f".name(object.metadata.name).check('{verb}').allowed()"
        )

    def changes(field: str) -> str:
        new, old = f"object.status.{field}", f"oldObject.status.{field}"
        has_new, has_old = (f"(has({each}.status) && has({each}.status.{field}))" for each in _BOTH)
        return (
            f"(oldObject != null && ({has_new} != {has_old} || ({has_new} && {has_old} && {new} != {old})))"
        )

    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [API_GROUP],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["deskclients", "deskclients/*", "tokendesks/*"],
                }
            ]
        },
        "variables": [
            {"name": "granters", "expression": listed},
            {
                "name": "grants",
                "expression": (
                    "request.resource.resource == 'deskclients' && has(object.spec) && "
                    "has(object.spec.adminServiceAccount) && object.spec.adminServiceAccount != false && "
                    "(oldObject == null || !has(oldObject.spec) || object.spec != oldObject.spec)"
                ),
            },
            {
                "name": "confirms",
                "expression": (
                    f"request.resource.resource == 'deskclients' ? {changes('adminGrant')} : "
                    f"{changes('adminPolicy')}"
                ),
            },
        ],
        "validations": [
            {
                "expression": f"!variables.grants || {may(GRANT_VERB)}",
                "messageExpression": (
                    f"'spec.adminServiceAccount: ' + {user} + ' may not {GRANT_VERB} deskclients in ' + "
                    "request.namespace + ', which every change of an admin client needs; "
                    "adminServiceAccount: false withdraws the flag and needs no verb'"
                ),
                "reason": "Forbidden",
            },
            {
                "expression": (
                    f"!variables.grants || (has(object.spec.grantedBy) && object.spec.grantedBy == {user})"
                ),
                "messageExpression": (
                    "'spec.grantedBy: it is not the user who makes this change; set it to ' + " + user
                ),
                "reason": "Forbidden",
            },
            {
                "expression": (
                    f"!variables.grants || !{user}.startsWith('system:serviceaccount:') || "
                    f"{user} in variables.granters"
                ),
                "messageExpression": (
                    f"'spec.adminServiceAccount: ' + {user} + ' is a ServiceAccount, and those make no "
                    "admins unless the chart lists them in desk.adminGranters'"
                ),
                "reason": "Forbidden",
            },
            {
                "expression": f"!variables.confirms || {may(CONFIRM_VERB)}",
                "message": (
                    "status.adminGrant, status.adminPolicy: the operator alone confirms that a flag was set "
                    "under this policy"
                ),
                "reason": "Forbidden",
            },
        ],
    }


def guard_problem(policy: Mapping[str, Any] | None, binding: Mapping[str, Any] | None) -> str:
    """Why admin flags do not count now, as one sentence; empty: policy and binding are in force.

    Args:
        policy: the ValidatingAdmissionPolicy of this name as the API server has it; None: there is none.
        binding: the same of its ValidatingAdmissionPolicyBinding.
    """
    for kind, found, expected in (
        ("ValidatingAdmissionPolicy", policy, None),
        ("ValidatingAdmissionPolicyBinding", binding, BINDING_SPEC),
    ):
        if found is None:
            return f"the {kind} {ADMINS_POLICY} is not there"
        if (found.get("metadata") or {}).get("deletionTimestamp"):
            return f"the {kind} {ADMINS_POLICY} is being deleted"
        spec = found.get("spec")
        if not isinstance(spec, Mapping):
            return f"the {kind} {ADMINS_POLICY} has no spec"
        altered = _altered(spec) if expected is None else _differs(spec, expected)
        if altered:
            return f"the {kind} {ADMINS_POLICY} is not what this release installs ({', '.join(altered[:3])})"
    return ""


def guard_identity(policy: Mapping[str, Any], binding: Mapping[str, Any]) -> str:
    """Which policy and binding these are, and how often each was changed: another text for each change."""
    parts = [
        f"{each['metadata'].get('uid', '')}.{each['metadata'].get('generation', 0)}"
        for each in (policy, binding)
    ]
    return "/".join(parts)


def _altered(spec: Mapping[str, Any]) -> list[str]:
    """The fields of an installed policy that are not this release's; the granters are the chart's to say."""
    variables = spec.get("variables")
    first = variables[0] if isinstance(variables, list) and variables else None
    said = first.get("expression") if isinstance(first, Mapping) else None
    if not isinstance(said, str) or _GRANTERS.fullmatch(said) is None:
        return ["spec.variables[0]"]
    return differences(
        spec, admins_policy_spec(said[1:-1].replace("'", "").split(", ") if said != "[]" else ())
    )


def _differs(spec: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """The fields of an installed binding that are not this release's: it denies, everywhere, to everyone."""
    match = spec.get("matchResources") or {}
    narrows = any(value for key, value in match.items() if key != "matchPolicy")
    plain = {key: value for key, value in spec.items() if key != "matchResources"}
    found = sorted(
        f"spec.{key}" for key in plain.keys() | expected.keys() if plain.get(key) != expected.get(key)
    )
    return found + (["spec.matchResources"] if narrows else [])
