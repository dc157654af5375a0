# SPDX-License-Identifier: Apache-2.0
"""What `diff` takes a cluster for once a folder is applied; a real API server is asked in tests/cluster."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from testing.manifests import issuer, service, workload
from testing.tokens import signer
from tests.cli.conftest import Work
from watchword.cli.applied import objects_after
from watchword.identity import load_key
from watchword.identity.jwk import Key
from watchword.trust.key_rotation.held_keys import held_key, held_to_status

Json = dict[str, Any]
NOW = 1_793_000_000.0
LAST = "kubectl.kubernetes.io/last-applied-configuration"


def namespace(labels: dict[str, str] | None = None, **metadata: Any) -> Json:
    named = {"name": "tuist", **({} if labels is None else {"labels": labels}), **metadata}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": named}


def live(document: Json, last: Json | None = None, **metadata: Any) -> Json:
    """An object as an API server has it; maybe with what was applied last."""
    found = copy.deepcopy(document)
    found["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z", **metadata}
    if last is not None:
        found["metadata"]["annotations"] = {LAST: json.dumps(last)}
    return found


def after(there: list[Json], files: list[Json], *, prune: bool = False) -> list[Json]:
    return [each for _, each in objects_after(there, [("f", each) for each in files], NOW, prune=prune)]


def labels_after(there: Json, wanted: Json, *, prune: bool = False) -> dict[str, str]:
    [found] = after([there], [wanted], prune=prune)
    labels: dict[str, str] = found["metadata"].get("labels", {})
    return labels


@pytest.mark.parametrize("prune", [False, True])
def test_labels_that_were_not_applied_stay(prune: bool) -> None:
    there = live(namespace({"by-hand": "y", "both": "old"}), namespace({"both": "old"}))
    assert labels_after(there, namespace({}), prune=prune) == {"by-hand": "y"}
    # As kubectl does it: who applied labels and applies none takes all of them away.
    assert labels_after(there, namespace(), prune=prune) == {}
    assert labels_after(there, namespace({"both": "new"}), prune=prune) == {"by-hand": "y", "both": "new"}
    # No one applied it before: nothing goes.
    assert labels_after(live(namespace({"a": "b"})), namespace({}), prune=prune) == {"a": "b"}
    assert labels_after(live(namespace({"a": "b"})), namespace({"a": None}), prune=prune) == {}


def test_what_the_server_applied_goes_with_its_manifest() -> None:
    owned = [
        {
            "manager": "flux",
            "operation": "Apply",
            "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}},
        },
        {"manager": "hand", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:b": {}}}}},
    ]
    there = live(namespace({"a": "1", "b": "2"}), managedFields=owned)
    assert labels_after(there, namespace()) == {"b": "2"}


@pytest.mark.parametrize("note", ["", "{", "[]", "1", "[" * 100_000, '{"metadata": []}', '{"spec": 1}'])
def test_a_note_that_is_none_changes_nothing(note: str) -> None:
    there = live(namespace({"a": "b"}))
    there["metadata"] |= {"annotations": {LAST: note}, "managedFields": [1, {"operation": "Apply"}]}
    assert labels_after(there, namespace({"c": "d"})) == {"a": "b", "c": "d"}


def test_a_field_that_was_set_by_hand_stays_and_one_that_was_applied_goes() -> None:
    applied = workload()
    by_hand = copy.deepcopy(applied)
    by_hand["spec"]["suspend"] = True
    assert after([live(by_hand, applied)], [applied])[0]["spec"]["suspend"] is True
    assert "suspend" not in after([live(by_hand, by_hand)], [applied])[0]["spec"]
    # A list is replaced as a whole.
    wanted = workload(grants=[{"scopes": ["x:read"]}])
    assert after([live(applied, applied)], [wanted])[0]["spec"]["grants"] == [{"scopes": ["x:read"]}]


def test_ages_are_the_servers_and_what_is_new_is_younger_than_all() -> None:
    old, late = live(workload("old")), live(workload("late"), creationTimestamp="2027-01-01T00:00:00Z")
    claimed = workload("new")
    claimed["metadata"]["creationTimestamp"] = "1990-01-01T00:00:00Z"
    again = workload("old")
    again["metadata"]["creationTimestamp"] = "1990-01-01T00:00:00Z"
    found = {each["metadata"]["name"]: each["metadata"] for each in after([old, late], [claimed, again])}
    assert found["old"]["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert found["new"]["creationTimestamp"] == "2027-01-01T00:00:01Z"


def test_prune_leaves_what_is_in_the_folder_and_namespaces() -> None:
    there = [live(workload("a")), live(workload("b")), live(namespace())]
    found = after(there, [workload("a")], prune=True)
    assert [each["metadata"]["name"] for each in found] == ["tuist", "a"]
    assert len(after(there, [workload("a")])) == 3


@pytest.fixture
def cluster(work: Work, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A kubectl that shows what is in a file: ages and conflicts cannot be made in a real cluster at once."""
    program = work.path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncat "{work.path}/cluster.json"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return work


def diff(work: Work, there: list[Json], files: list[Json], *flags: str) -> tuple[list[tuple[str, str]], str]:
    work.write("cluster.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": there}))
    for each in Path(work.path / "dir").glob("*"):
        each.unlink()
    for number, each in enumerate(files):
        work.write(f"dir/{number}.json", json.dumps(each))
    done = work.run("diff", "{work}/dir", "-o", "json", *flags)
    assert done.exit_code < 2, done.stderr
    return [(each["kind"], each["who"]) for each in json.loads(done.stdout)["changes"]], done.stderr


def test_trust_that_a_label_of_the_cluster_allows_is_seen(cluster: Work) -> None:
    allowing = issuer(allowedNamespaces={"matchLabels": {"t": "y"}})
    there = [live(namespace({"t": "y"})), live(allowing), live(service())]
    changes, _ = diff(cluster, there, [workload(), namespace()])
    assert [kind for kind, who in changes if who] == ["gains"]


@pytest.mark.parametrize("created", [None, "1990-01-01T00:00:00Z"])
def test_the_older_of_two_that_claim_one_subject_stays(cluster: Work, created: str | None) -> None:
    there = [live(namespace()), live(issuer()), live(service()), live(workload("old"))]
    other = workload("new", grants=[{"scopes": ["other:read"], "accounts": ["*"]}])
    if created is not None:
        other["metadata"]["creationTimestamp"] = created
    changes, said = diff(cluster, there, [other])
    assert changes == []
    assert "SubjectConflict" in said


def test_an_issuer_that_copies_a_key_does_not_get_it(cluster: Work) -> None:
    jwk = signer("k1").jwk
    key = load_key(jwk)
    assert isinstance(key, Key)
    holder = live(issuer("holder", keys={"inline": {"keys": [jwk]}}))
    holder["status"] = {"keys": held_to_status([held_key(key, "Active", NOW - 86_400)])}
    trusted = workload(issuerRef={"name": "holder"})
    there = [live(namespace()), holder, live(service()), live(trusted)]
    changes, said = diff(cluster, there, [issuer("copy", keys={"inline": {"keys": [jwk]}})])
    assert [who for _, who in changes if who] == []
    assert "KeyConflict" in said


def test_a_manifest_that_does_not_fit_what_is_there_is_said(cluster: Work) -> None:
    there = live(issuer(keys={"inline": {"keys": [signer("k1").jwk]}}))
    cluster.write("cluster.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": [there]}))
    cluster.write("dir/i.json", json.dumps(issuer(keys={"discovery": {}})))
    done = cluster.run("diff", "{work}/dir")
    assert done.exit_code == 2
    assert "do not fit what is in the cluster" in done.stderr


def test_an_issuer_that_the_cluster_has_not_is_trusted_by_no_one(cluster: Work) -> None:
    there = [live(namespace()), live(service()), live(workload())]
    assert diff(cluster, there, [workload()])[0] == []
    changes, _ = diff(cluster, there, [issuer()])
    assert [(kind, bool(who)) for kind, who in changes] == [("gains", True), ("gains", False)]
    changes, _ = diff(cluster, [*there, live(issuer())], [workload(), service()], "--prune")
    assert ("loses", "ServiceAccount atlas-production/atlas of production") in changes
