# SPDX-License-Identifier: Apache-2.0
"""The two ValidatingAdmissionPolicies that make a bundle as strong as the operator, as specs of Kubernetes.

RBAC cannot except one ConfigMap from `edit`, nor bound what an operator for all namespaces writes where.
Without the first, one write of a ConfigMap lets a stranger in; without the second, the operator's token is
enough to write `kube-system/aws-auth`. The chart renders them from here, and `watchword doctor` compares.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

from watchword.trust.api.v1alpha1 import API_GROUP
from watchword.trust.bundle_forms import ENTRIES
from watchword.trust.desk_objects import COPY_PREFIX, DESK_LABEL, REVOCATIONS_PREFIX, WRITTEN_PREFIX
from watchword.trust.desk_revocations import REVOCATIONS_ENTRY

Spec = dict[str, Any]
BUNDLES_POLICY: Final = "bundles.watchword.dev"
OPERATOR_POLICY: Final = "operator.watchword.dev"
# What the chart's default names give; `operator_policy_spec` takes others.
OPERATOR_USER: Final = "system:serviceaccount:watchword-system:watchword-operator"
# Next to bundles: the token desk's copies of them, and revocations.
GUARDED_PREFIXES: Final = ("watchword-bundle-", COPY_PREFIX, REVOCATIONS_PREFIX)
_ENTRIES: Final = (*sorted(ENTRIES), REVOCATIONS_ENTRY)
_WRITES: Final = ("CREATE", "UPDATE", "DELETE")
# What the API server fills in where a policy says nothing.
_DEFAULTS: Final[Mapping[str, Any]] = {
    "matchPolicy": "Equivalent",
    "namespaceSelector": {},
    "objectSelector": {},
}


def bundles_policy_spec() -> Spec:
    """Who may write bundles: those whom RBAC lets write `bundles.watchword.dev`, which no API serves.

    It goes by the object's own name. `request.name` is empty for `deletecollection` and for `generateName`:
    a policy that reads it protects from neither. The verb is asked of the authorizer, so that the garbage
    collector and the namespace controller, who may delete everything, still can: else namespaces never end.
    """
    prefixes = _listed(GUARDED_PREFIXES)
    name = f"{prefixes}.exists(prefix, metadata.{{0}}.startsWith(prefix))"
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["*"],
                    "operations": list(_WRITES),
                    "resources": ["configmaps", "configmaps/*"],
                }
            ]
        },
        "matchConditions": [
            {
                "name": "is-a-bundle",
                "expression": (
                    "[(request.operation == 'DELETE' ? oldObject : object).metadata].exists(metadata, "
                    f"(has(metadata.name) && {name.format('name')}) || "
                    f"(has(metadata.generateName) && {name.format('generateName')}))"
                ),
            }
        ],
        "validations": [
            {
                "expression": (
                    f"authorizer.group('{API_GROUP}').resource('bundles').namespace(request.namespace)"
                    ".check(request.operation.lowerAscii()).allowed()"
                ),
                "messageExpression": (
                    "'metadata.name: Watchword keeps this ConfigMap, and ' + request.userInfo.username + "
                    f"' may not ' + request.operation.lowerAscii() + ' bundles.{API_GROUP} in ' + "
                    "request.namespace + '. Change the ProtectedService or TrustedWorkload that it is made "
                    "from; to restore a backup, leave it out: the operator makes it again'"
                ),
                "reason": "Forbidden",
            }
        ],
    }


def operator_policy_spec(user: str = OPERATOR_USER) -> Spec:
    """What the operator may write: objects of a ProtectedService or a TokenDesk, by name and content.

    Those of a TokenDesk only where RBAC lets it keep the signing keys: in the desks' own namespace.

    Args:
        user: the operator's, `system:serviceaccount:NAMESPACE:NAME`.
    """
    written = "request.operation == 'DELETE'"
    is_kind = "request.resource.resource != '{0}' || " + written + " || "
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                _writes_of("", "configmaps"),
                _writes_of("rbac.authorization.k8s.io", "roles", "rolebindings"),
                _writes_of("networking.k8s.io", "networkpolicies"),
            ]
        },
        "matchConditions": [
            {"name": "is-the-operator", "expression": f"request.userInfo.username == '{user}'"}
        ],
        "variables": [
            # Of several kinds: dyn() keeps the type checker from asking for `rules` of a ConfigMap.
            {"name": "it", "expression": f"dyn({written} ? oldObject : object)"},
            {
                "name": "owners",
                "expression": (
                    "!has(variables.it.metadata.ownerReferences) ? [] : "
                    "variables.it.metadata.ownerReferences.filter(owner, "
                    f"owner.apiVersion.startsWith('{API_GROUP}/') && "
                    "owner.kind in ['ProtectedService', 'TokenDesk'] && "
                    "has(owner.controller) && owner.controller)"
                ),
            },
            {
                "name": "service",
                "expression": "size(variables.owners) == 1 ? string(variables.owners[0].name) : ''",
            },
            {
                "name": "desk",
                "expression": "size(variables.owners) == 1 && variables.owners[0].kind == 'TokenDesk'",
            },
            {
                "name": "name",
                "expression": (
                    "(request.resource.resource == 'networkpolicies' ? 'watchword-' : 'watchword-bundle-')"
                    " + variables.service"
                ),
            },
        ],
        "validations": [
            _rule(
                "variables.service != ''",
                "metadata.ownerReferences: the operator writes only what one ProtectedService or TokenDesk "
                "controls",
            ),
            _rule(
                "variables.desk || variables.it.metadata.name == variables.name || "
                "(request.resource.resource == 'configmaps' && "
                f"variables.it.metadata.name == '{REVOCATIONS_PREFIX}' + variables.service)",
                "metadata.name: the operator writes only watchword-bundle-SERVICE, "
                f"{REVOCATIONS_PREFIX}SERVICE, and NetworkPolicies watchword-SERVICE",
            ),
            _rule(
                "!variables.desk || (request.resource.resource == 'configmaps' && "
                f"(variables.it.metadata.name.startsWith('{COPY_PREFIX}') || "
                f"variables.it.metadata.name == '{WRITTEN_PREFIX}' + variables.service) && "
                f"({written} || authorizer.group('').resource('secrets')"
                ".namespace(request.namespace).check('create').allowed()))",
                f"metadata.name: for a TokenDesk the operator writes only {COPY_PREFIX}NAMESPACE.SERVICE and "
                f"{WRITTEN_PREFIX}DESK, and only in the namespace of its signing keys",
            ),
            _rule(
                f"{written} || (has(variables.it.metadata.labels) && "
                "'app.kubernetes.io/managed-by' in variables.it.metadata.labels && "
                "variables.it.metadata.labels['app.kubernetes.io/managed-by'] == 'watchword' && "
                f"(variables.desk ? '{DESK_LABEL}' : '{API_GROUP}/service') in variables.it.metadata.labels "
                f"&& variables.it.metadata.labels[variables.desk ? '{DESK_LABEL}' : '{API_GROUP}/service'] "
                "== variables.service)",
                "metadata.labels: what the operator writes says so, and for which service or desk",
            ),
            *(
                _rule(
                    is_kind.format("configmaps") + _only_known_entries(member),
                    f"{member}: the operator writes only {' and '.join(_ENTRIES)}",
                )
                for member in ("data", "binaryData")
            ),
            _rule(
                is_kind.format("roles") + "(has(variables.it.rules) && size(variables.it.rules) == 1 && "
                "variables.it.rules.all(rule, has(rule.apiGroups) && rule.apiGroups == [''] && "
                "has(rule.resources) && rule.resources == ['configmaps'] && "
                "has(rule.resourceNames) && (rule.resourceNames == [variables.name] || "
                f"rule.resourceNames == [variables.name, '{REVOCATIONS_PREFIX}' + variables.service]) && "
                "!has(rule.nonResourceURLs) && rule.verbs.all(verb, verb in ['get', 'list', 'watch'])))",
                "rules: the operator lets gates read the ConfigMaps of their bundle and of revocations, and "
                "nothing else",
            ),
            _rule(
                is_kind.format("rolebindings") + "(variables.it.roleRef.kind == 'Role' && "
                "variables.it.roleRef.apiGroup == 'rbac.authorization.k8s.io' && "
                "variables.it.roleRef.name == variables.name)",
                "roleRef: the operator binds only the Role of the same name",
            ),
            _rule(
                is_kind.format("rolebindings") + "!has(variables.it.subjects) || "
                "variables.it.subjects.all(subject, subject.kind == 'ServiceAccount' && "
                "has(subject.namespace) && subject.namespace == request.namespace)",
                "subjects: the operator binds only ServiceAccounts of the same namespace",
            ),
        ],
    }


def differences(installed: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """The fields in which a policy's spec in a cluster says something else than expected, as paths.

    What the API server fills in by itself is no difference; a selector or an exception that someone added is.
    """
    return sorted(set(_diff(_normal(installed), _normal(expected), "spec")))


def _writes_of(group: str, *resources: str) -> Spec:
    return {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "operations": list(_WRITES),
        "resources": [each for name in resources for each in (name, f"{name}/*")],
    }


def _rule(expression: str, message: str) -> Spec:
    return {"expression": expression, "message": message, "reason": "Forbidden"}


def _only_known_entries(member: str) -> str:
    """That entries are ours; what someone else had put there stays, and keeps no revocation from coming."""
    it = f"variables.it.{member}"
    return (
        f"!has({it}) || {it}.all(entry, entry in {_listed(_ENTRIES)} || "
        f"(oldObject != null && has(oldObject.{member}) && entry in oldObject.{member} && "
        f"oldObject.{member}[entry] == {it}[entry]))"
    )


def _listed(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


def _normal(spec: Mapping[str, Any]) -> Spec:
    normal = copy.deepcopy(dict(spec))
    constraints = normal.setdefault("matchConstraints", {})
    for key, value in _DEFAULTS.items():
        constraints.setdefault(key, value)
    for rule in constraints.get("resourceRules", ()):
        rule.setdefault("scope", "*")
    return normal


def _diff(one: Any, other: Any, path: str) -> Iterator[str]:
    """The paths at which two documents differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from _diff(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _diff(left, right, f"{path}[{number}]")
    elif one != other:
        yield path
