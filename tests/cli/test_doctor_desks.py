# SPDX-License-Identifier: Apache-2.0
"""What `watchword doctor` says of token desks, and of who else may sign (tests/cluster: on an API server)."""

from __future__ import annotations

from typing import Any

import pytest

from watchword.cli.doctor import findings_of_object
from watchword.cli.doctor_desks import findings_of_readers

Object = dict[str, Any]


def binding(role: str, kind: str, *subjects: tuple[str, str], labels: dict[str, str] | None = None) -> Object:
    return {
        "kind": "RoleBinding",
        "metadata": {"name": "someone", "namespace": "watchword-desk", "labels": labels or {}},
        "roleRef": {"kind": kind, "name": role},
        "subjects": [{"kind": each, "name": name} for each, name in subjects],
    }


def role(name: str, **rule: Any) -> Object:
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]} | rule]
    return {"kind": "Role", "metadata": {"name": name}, "rules": rules}


ALICE = ("User", "alice")
OURS = {"app.kubernetes.io/component": "desk"}


@pytest.mark.parametrize(
    ("objects", "names"),
    [
        ([], []),
        ([binding("edit", "ClusterRole", ALICE)], ["alice"]),
        ([binding("admin", "ClusterRole", ("Group", "team"), ALICE)], ["team", "alice"]),
        ([binding("cluster-admin", "ClusterRole", ("ServiceAccount", "ci"))], ["ci"]),
        ([binding("view", "ClusterRole", ALICE)], []),
        # A Role that is called like a built-in one is not that one.
        ([binding("edit", "Role", ALICE), role("edit", resources=["pods"])], []),
        ([binding("reads", "Role", ALICE), role("reads")], ["alice"]),
        ([binding("reads", "Role", ALICE), role("reads", verbs=["list"])], ["alice"]),
        ([binding("reads", "Role", ALICE), role("reads", verbs=["*"], resources=["*"])], ["alice"]),
        ([binding("reads", "Role", ALICE), role("reads", verbs=["create", "delete"])], []),
        ([binding("reads", "Role", ALICE), role("reads", apiGroups=["apps"])], []),
        ([binding("reads", "Role", ALICE), role("reads", resources=["configmaps"])], []),
        # The chart's own, for ServiceAccounts; a person in such a binding is one too many all the same.
        ([binding("reads", "Role", ("ServiceAccount", "watchword-desk"), labels=OURS), role("reads")], []),
        ([binding("reads", "Role", ALICE, labels=OURS), role("reads")], ["alice"]),
        ([binding("edit", "ClusterRole")], []),
    ],
)
def test_whoever_else_reads_the_signing_keys_is_named(objects: list[Object], names: list[str]) -> None:
    found = list(findings_of_readers("watchword-desk", objects))
    assert [each.where for each in found] == ["Namespace watchword-desk"] * bool(names)
    for each in found:
        assert each.is_serious
        assert all(name in each.what for name in names)
        assert "Remedy: delete the RoleBinding" in each.what


@pytest.mark.parametrize(
    ("kind", "conditions", "said"),
    [
        ("TokenDesk", [("Ready", "True", "Issuing"), ("RotationSettled", "False", "KeyRotating")], []),
        ("TokenDesk", [("Ready", "False", "KeysNotWritten")], ["KeysNotWritten"]),
        ("TokenDesk", [("Ready", "False", "WrongNamespace")], ["WrongNamespace"]),
        ("DeskClient", [("Ready", "False", "NotNamed")], ["NotNamed"]),
        ("DeskClient", [("Ready", "True", "Accepted")], []),
        (
            "ProtectedService",
            [("Ready", "True", "X"), ("DeskAccepted", "False", "DeskNotFound")],
            ["DeskNotFound"],
        ),
    ],
)
def test_what_is_not_well_with_a_desk_is_said(
    kind: str, conditions: list[tuple[str, str, str]], said: list[str]
) -> None:
    item = {
        "kind": kind,
        "metadata": {"namespace": "watchword-desk", "name": "desk"},
        "status": {
            "conditions": [
                {"type": type_, "status": status, "reason": reason, "message": ""}
                for type_, status, reason in conditions
            ]
        },
    }
    found = list(findings_of_object(item))
    assert len(found) == len(said)
    assert all(reason in each.what for each, reason in zip(found, said, strict=True))
