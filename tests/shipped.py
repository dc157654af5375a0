# SPDX-License-Identifier: Apache-2.0
"""What `kubectl apply -k manifests/install` gives a process: its account, its roles and their bindings.

Tests that run under rights of their own making prove nothing about those that are installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from testing.controlplane.audit import Access, rights

NAMESPACE = "watchword-system"
_INSTALL = Path(__file__).parents[1] / "manifests" / "install"
_KINDS = ("Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")


def _documents() -> list[dict[str, Any]]:
    return [
        document
        for name in ("namespace.yaml", "watchword.yaml")
        for document in yaml.safe_load_all((_INSTALL / name).read_text())
        if document is not None
    ]


def installed(kind: str, name: str) -> dict[str, Any]:
    """One object that is installed. Raises ValueError where there is not exactly one."""
    (found,) = (each for each in _documents() if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def access_of(account: str) -> list[dict[str, Any]]:
    """The objects that say what the ServiceAccount of this name is and may do, in an order that applies."""
    documents = _documents()
    return [
        document
        for kind in _KINDS
        for document in documents
        if document["kind"] == kind and (kind == "Namespace" or document["metadata"]["name"] == account)
    ]


def admission_policies() -> list[dict[str, Any]]:
    """The objects that say who writes bundles and what the operator writes, in an order that applies."""
    kinds = (*_KINDS, "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")

    def is_part(document: dict[str, Any]) -> bool:
        labels = document["metadata"].get("labels", {})
        return bool(labels.get("app.kubernetes.io/component") == "admission")

    found = [each for each in _documents() if is_part(each)]
    return sorted(found, key=lambda each: kinds.index(each["kind"]))


def injection_policies() -> list[dict[str, Any]]:
    """The policies that refuse pods which ask and were given nothing, and their bindings."""
    return [
        each
        for each in _documents()
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "injection"
    ]


def rights_of(account: str) -> frozenset[Access]:
    """Every right that its roles grant."""
    return rights([rule for document in access_of(account) for rule in document.get("rules", ())])


def user(account: str) -> str:
    """The user that the API server knows it as."""
    return f"system:serviceaccount:{NAMESPACE}:{account}"
