# SPDX-License-Identifier: Apache-2.0
"""What `watchword doctor` says of token desks: what they and their clients are, and who else may sign.

Who reads the Secrets of a desk's namespace can sign as every workload of the services that name the desk.
So the namespace is for the desk alone, and a RoleBinding of people in it is a finding, however it came there.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from watchword.cli.failures import UnusableInput
from watchword.cli.findings import Finding, Object
from watchword.cli.kubectl import run_kubectl

_KINDS: Final = "tokendesks.watchword.dev,deskclients.watchword.dev,agentproviders.watchword.dev"
_RBAC: Final = "rolebindings,roles"
# Of the built-in roles, those that read Secrets of a namespace.
_BUILT_IN: Final = frozenset({"admin", "edit", "cluster-admin"})
_READING: Final = frozenset({"get", "list", "watch", "*"})
# What the chart says of its own objects, however it is named.
_COMPONENT: Final = "app.kubernetes.io/component"
_OURS: Final = frozenset({"operator", "desk", "webhook"})


def desk_objects(context: str | None) -> list[Object]:
    """The TokenDesks and DeskClients of a cluster; none where it does not know the kinds."""
    try:
        data = run_kubectl("get", _KINDS, "--all-namespaces", "--output=json", context=context)
    except UnusableInput as problem:
        if "have a resource type" in problem.message:
            return []
        raise
    items: list[Object] = json.loads(data)["items"]
    return items


def findings_of_desks(context: str | None, desks: Sequence[Object]) -> Iterator[Finding]:
    """Who else may read the signing keys of the desks that count; an unreadable namespace is said."""
    for namespace in sorted({_namespace(each) for each in desks if _counts(each)}):
        try:
            data = run_kubectl("get", _RBAC, f"--namespace={namespace}", "--output=json", context=context)
        except UnusableInput as problem:
            detail = f"who may read its Secrets cannot be read: {problem.message}"
            yield Finding(f"Namespace {namespace}", detail, is_serious=False)
            continue
        yield from findings_of_readers(namespace, json.loads(data)["items"])


def findings_of_readers(namespace: str, objects: Sequence[Object]) -> Iterator[Finding]:
    """RoleBindings that let others than the operator and the desk read the Secrets of a desk's namespace.

    Args:
        namespace: of the desk.
        objects: its RoleBindings and Roles.
    """
    reading = {
        each["metadata"]["name"]
        for each in objects
        if each["kind"] == "Role" and any(map(_reads_secrets, each.get("rules") or ()))
    }
    for each in objects:
        if each["kind"] != "RoleBinding" or _is_ours(each):
            continue
        reference = each.get("roleRef") or {}
        names = reading if reference.get("kind") == "Role" else _BUILT_IN
        if reference.get("name") not in names:
            continue
        subjects = each.get("subjects") or ()
        if who := ", ".join(sorted(f"{one['kind']} {one['name']}" for one in subjects)):
            name = each["metadata"]["name"]
            detail = (
                f"{who} may read its Secrets by the RoleBinding {name}, and so sign as every workload of the "
                "services that name a desk there. Remedy: delete the RoleBinding; if a key signed meanwhile, "
                "revoke it (docs/how-to/run-the-desk.md)"
            )
            yield Finding(f"Namespace {namespace}", detail)


def _reads_secrets(rule: Object) -> bool:
    is_core = not {"", "*"}.isdisjoint(rule.get("apiGroups") or ())
    is_secrets = not {"secrets", "*"}.isdisjoint(rule.get("resources") or ())
    return is_core and is_secrets and not _READING.isdisjoint(rule.get("verbs") or ())


def _counts(item: Object) -> bool:
    """Whether an object is a desk that counts, as its status says."""
    if item["kind"] != "TokenDesk":
        return False
    conditions = (item.get("status") or {}).get("conditions") or []
    return not any(each["type"] == "Ready" and each["reason"] == "WrongNamespace" for each in conditions)


def _is_ours(binding: Object) -> bool:
    """Whether a RoleBinding is one of the chart's: for the ServiceAccounts of operator, desk and webhook."""
    labels = binding["metadata"].get("labels") or {}
    subjects = binding.get("subjects") or ()
    is_charts = labels.get(_COMPONENT) in _OURS
    return is_charts and all(each.get("kind") == "ServiceAccount" for each in subjects)


def _namespace(item: Object) -> str:
    return str(item["metadata"].get("namespace", ""))
