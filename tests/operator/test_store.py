# SPDX-License-Identifier: Apache-2.0
"""Events may come late, twice and in any order: what is known at the end is the same."""

import random
from typing import Any

import pytest

from tests.operator.objects import entry_of, remove, stored, take
from tests.trust.manifests import issuer, service, workload
from watchword.operator.store import NOTHING, Store

SERVICE = ("tuist", "tuist-server")
HOSTILE: list[dict[str, Any]] = [
    {"spec": None},
    {"spec": []},
    {"spec": {"serviceRef": "x"}},
    {"spec": {"serviceRef": {"name": {"a": "b"}}, "grants": 7}},
    {"metadata": {"name": "atlas", "namespace": "tuist", "uid": "u", "labels": 5}},
    {"status": "x"},
    {"status": {"conditions": "x"}},
    {"status": {"conditions": [{"type": 1}], "bundle": {"generation": "x"}}},
]


@pytest.mark.parametrize("broken", HOSTILE)
@pytest.mark.parametrize("manifest", [issuer(), service(), workload()], ids=lambda each: each["kind"])
def test_an_object_of_any_shape_is_held_with_what_is_wrong_and_stops_nothing(
    manifest: dict[str, Any], broken: dict[str, Any]
) -> None:
    store = Store()
    take(store, {**manifest, **{key: value for key, value in broken.items() if key != "metadata"}})
    entry = entry_of(store, manifest)
    assert entry.problems or "status" in broken or "metadata" in broken


@pytest.mark.parametrize(
    "document", [{}, {"metadata": None}, {"metadata": {"name": "a"}}, {"metadata": {"uid": "u"}}]
)
def test_what_has_no_name_or_uid_is_no_object(document: dict[str, Any]) -> None:
    assert Store().take("TrustedWorkload", document) is NOTHING


def test_a_workload_touches_its_service_and_nothing_else() -> None:
    store = Store()
    take(store, service())
    take(store, service("other"))
    assert take(store, workload()).services == {SERVICE}


def test_a_workload_that_moves_touches_both_services() -> None:
    store = Store()
    take(store, workload())
    moved = take(store, workload(serviceRef={"name": "other"}), generation=2)
    assert moved.services == {SERVICE, ("tuist", "other")}
    assert store.workloads_of(SERVICE) == []


def test_a_write_of_status_alone_touches_no_service() -> None:
    store = Store()
    take(store, workload())
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Trusted",
        "message": "",
        "lastTransitionTime": "x",
    }
    effects = take(store, workload(), status={"conditions": [condition]})
    assert (effects.services, len(effects.statuses)) == (frozenset(), 1)
    assert take(store, workload(), status={"conditions": [condition]}) == NOTHING


def test_conditions_of_others_are_not_ours_to_mind() -> None:
    store = Store()
    take(store, workload())
    foreign = {"type": "Synced", "status": "True", "reason": "A", "message": "", "lastTransitionTime": "x"}
    assert take(store, workload(), status={"conditions": [foreign]}) == NOTHING


def test_a_late_version_changes_nothing() -> None:
    store = Store()
    take(store, workload(suspend=True), version=9, generation=2)
    assert take(store, workload(), version=8) == NOTHING
    assert entry_of(store, workload(suspend=True)).generation == 2


def test_a_deleted_object_never_comes_back_by_a_late_event() -> None:
    store = Store()
    take(store, workload(), version=8)
    assert remove(store, workload()).services == {SERVICE}
    assert take(store, workload(), version=9) == NOTHING
    assert store.workloads_of(SERVICE) == []


def test_the_end_of_an_old_object_does_not_end_its_successor() -> None:
    store = Store()
    take(store, workload(), uid="old", version=8)
    take(store, workload(), uid="new", version=10)
    assert remove(store, workload(), uid="old") == NOTHING
    assert entry_of(store, workload()).uid == "new"


def test_a_successor_inherits_nothing() -> None:
    store = Store()
    take(store, workload(), uid="old")
    take(store, workload(newField=1), uid="new")
    assert entry_of(store, workload()).resource is None


def test_a_newer_text_of_a_known_object_leaves_what_was_understood() -> None:
    store = Store()
    take(store, workload())
    take(store, workload(newField=1), generation=2)
    entry = entry_of(store, workload())
    assert (entry.is_newer, entry.resource is not None) == (True, True)
    assert [each.key[2] for each in store.workloads_of(SERVICE)] == ["atlas"]


def test_a_wrong_workload_is_left_out_and_a_wrong_service_keeps_its_last_text() -> None:
    store = Store()
    take(store, workload())
    take(store, service())
    assert take(store, workload(grants="all"), generation=2).services == {SERVICE}
    take(store, service(port="x"), generation=2)
    assert store.workloads_of(SERVICE) == []
    assert store.service(SERVICE) is not None


def test_a_namespaces_labels_touch_its_services() -> None:
    store = Store()
    take(store, service())
    assert store.take_namespace("tuist", "n", {"a": "b"}).services == {SERVICE}
    assert store.take_namespace("tuist", "n", {"a": "b"}) == NOTHING
    assert store.take_namespace("other", "o", {"a": "b"}).services == frozenset()


def test_an_account_touches_the_services_of_whoever_names_it() -> None:
    store = Store()
    take(store, workload())
    account = ("atlas-production", "atlas")
    assert store.take_account(account, "one").services == {SERVICE}
    assert store.take_account(account, "one") == NOTHING
    assert store.take_account(account, "two").services == {SERVICE}
    assert store.take_account(account, "").services == {SERVICE}
    assert store.take_account(("x", "y"), "z") == NOTHING


def test_services_beside_it_are_touched_by_what_a_policy_depends_on_and_by_nothing_else() -> None:
    store = Store()
    take(store, service())
    take(store, service("other"))
    assert take(store, service("other", audiences=["x"]), generation=2).services == {("tuist", "other")}
    assert SERVICE in take(store, service("other", port=9), generation=3).services


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_the_same_events_comes_to_the_same(seed: int) -> None:
    dice = random.Random(seed)
    events = [
        *(stored(workload(f"w{n}", f"a{n}"), version=10 + n, uid=f"w{n}-1") for n in range(5)),
        *(stored(workload(f"w{n}", f"b{n}"), version=20 + n, uid=f"w{n}-1", generation=2) for n in range(3)),
        stored(workload("w0", "c0"), version=40, uid="w0-2"),
        stored(service(), version=31),
        stored(issuer(), version=32),
    ]
    removals = [("w4", "w4-1"), ("w0", "w0-1")]
    store, steps = Store(), [*events, *removals]
    dice.shuffle(steps)
    for step in steps:
        if isinstance(step, dict):
            store.take(step["kind"], step)
        else:
            store.remove("TrustedWorkload", "tuist", *step)
    known = {
        each.key[2]: each.resource.spec.service_account.name  # type: ignore[union-attr]  # workloads, all fit
        for each in store.workloads_of(SERVICE)
    }
    assert known == {"w0": "c0", "w1": "b1", "w2": "b2", "w3": "a3"}
    assert store.workloads_for(("atlas-production", "a1")) == []
