# SPDX-License-Identifier: Apache-2.0
"""Events may come late, twice and in any order: what is known at the end is the same."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.manifests import issuer, service, workload
from tests.operator.objects import entry_of, remove, stored, take, take_document
from watchword.kube.names import NamespacedName
from watchword.operator.cache import NOTHING, Cache, received_from
from watchword.trust.api.v1alpha1 import ProtectedService
from watchword.trust.audience import problems_of_shared
from watchword.trust.conditions import SERVICE as SERVICE_KIND

SERVICE = NamespacedName("tuist", "tuist-server")
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
    store = Cache()
    take(store, {**manifest, **{key: value for key, value in broken.items() if key != "metadata"}})
    entry = entry_of(store, manifest)
    assert entry.problems or "status" in broken or "metadata" in broken


@pytest.mark.parametrize(
    ("document", "missing"),
    [({}, "`metadata`"), ({"metadata": None}, "metadata"), ({"metadata": {"uid": "u"}}, "`name`")],
)
def test_what_has_no_name_is_not_read(document: dict[str, Any], missing: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=missing):
        received_from(document)


def test_what_has_no_uid_is_no_object() -> None:
    store = Cache()
    assert not store.take_received("TrustedWorkload", received_from({"metadata": {"name": "a"}}))
    assert store.entries("TrustedWorkload") == []


def test_a_workload_touches_its_service_and_nothing_else() -> None:
    store = Cache()
    take(store, service())
    take(store, service("other"))
    assert take(store, workload()).services == {SERVICE}


def test_a_workload_that_moves_touches_both_services() -> None:
    store = Cache()
    take(store, workload())
    moved = take(store, workload(serviceRef={"name": "other"}), generation=2)
    assert moved.services == {SERVICE, ("tuist", "other")}
    assert store.workloads_of(SERVICE) == []


def test_a_write_of_status_alone_touches_no_service() -> None:
    store = Cache()
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
    store = Cache()
    take(store, workload())
    foreign = {"type": "Synced", "status": "True", "reason": "A", "message": "", "lastTransitionTime": "x"}
    assert take(store, workload(), status={"conditions": [foreign]}) == NOTHING


def test_a_late_version_changes_nothing() -> None:
    store = Cache()
    take(store, workload(suspend=True), version=9, generation=2)
    assert take(store, workload(), version=8) == NOTHING
    assert entry_of(store, workload(suspend=True)).generation == 2


def test_a_deleted_object_never_comes_back_by_a_late_event() -> None:
    store = Cache()
    take(store, workload(), version=8)
    assert remove(store, workload()).services == {SERVICE}
    assert take(store, workload(), version=9) == NOTHING
    assert store.workloads_of(SERVICE) == []


def test_the_end_of_an_old_object_does_not_end_its_successor() -> None:
    store = Cache()
    take(store, workload(), uid="old", version=8)
    take(store, workload(), uid="new", version=10)
    assert remove(store, workload(), uid="old") == NOTHING
    assert entry_of(store, workload()).uid == "new"


def test_a_successor_inherits_nothing() -> None:
    store = Cache()
    take(store, workload(), uid="old")
    take(store, workload(newField=1), uid="new")
    assert entry_of(store, workload()).resource is None


def test_a_newer_text_of_a_known_object_leaves_what_was_understood() -> None:
    store = Cache()
    take(store, workload())
    take(store, workload(newField=1), generation=2)
    entry = entry_of(store, workload())
    assert (entry.is_newer, entry.resource is not None) == (True, True)
    assert [each.key[2] for each in store.workloads_of(SERVICE)] == ["atlas"]


def test_a_wrong_workload_is_left_out_and_a_wrong_service_keeps_its_last_text() -> None:
    store = Cache()
    take(store, workload())
    take(store, service())
    assert take(store, workload(grants="all"), generation=2).services == {SERVICE}
    take(store, service(port="x"), generation=2)
    assert store.workloads_of(SERVICE) == []
    assert store.service(SERVICE) is not None


def test_a_namespaces_labels_touch_its_services() -> None:
    store = Cache()
    take(store, service())
    assert store.take_namespace("tuist", "n", {"a": "b"}).services == {SERVICE}
    assert store.take_namespace("tuist", "n", {"a": "b"}) == NOTHING
    assert store.take_namespace("other", "o", {"a": "b"}).services == frozenset()


def test_an_account_touches_the_services_of_whoever_names_it() -> None:
    store = Cache()
    take(store, workload())
    account = ("atlas-production", "atlas")
    assert store.take_account(account, "one").services == {SERVICE}
    assert store.take_account(account, "one") == NOTHING
    assert store.take_account(account, "two").services == {SERVICE}
    assert store.take_account(account, "").services == {SERVICE}
    assert store.take_account(("x", "y"), "z") == NOTHING


def test_services_beside_it_are_touched_by_what_a_policy_depends_on_and_by_nothing_else() -> None:
    store = Cache()
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
    store, steps = Cache(), [*events, *removals]
    dice.shuffle(steps)
    for step in steps:
        if isinstance(step, dict):
            take_document(store, step)
        else:
            store.remove("TrustedWorkload", "tuist", *step)
    known = {
        each.key[2]: each.resource.spec.service_account.name  # type: ignore[union-attr]  # workloads, all fit
        for each in store.workloads_of(SERVICE)
    }
    assert known == {"w0": "c0", "w1": "b1", "w2": "b2", "w3": "a3"}
    assert store.workloads_for(("atlas-production", "a1")) == []


def test_the_cluster_is_the_uid_of_kube_system_and_its_coming_touches_every_service() -> None:
    store = Cache()
    take(store, service())
    assert store.cluster_id == ""
    assert store.take_namespace("kube-system", "cluster-1", {}, 1).services == {SERVICE}
    assert store.cluster_id == "cluster-1"
    assert store.take_namespace("kube-system", "cluster-1", {"a": "b"}, 2).services == frozenset()


def in_namespace(namespace: str, audiences: list[str]) -> dict[str, Any]:
    made = service("api", audiences=audiences)
    return {**made, "metadata": {**made["metadata"], "namespace": namespace}}


steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.one_of(
            st.none(), st.lists(st.sampled_from(["x", "X", "y", "z/"]), min_size=1, max_size=3, unique=True)
        ),
    ),
    max_size=12,
)


@given(steps)
def test_whoever_begins_or_ends_to_share_an_audience_is_touched_and_no_other(
    steps: list[tuple[str, list[str] | None]],
) -> None:
    """Against the plain definition: another namespace declares one of mine, whatever the case."""
    store, there = Cache(), dict[str, set[str]]()

    def sharing() -> set[str]:
        return {
            one
            for one, audiences in there.items()
            if any(audiences & others for other, others in there.items() if other != one)
        }

    for number, (namespace, audiences) in enumerate(steps, start=1):
        before, uid = sharing(), f"uid-{namespace}-{number}"
        if audiences is None:
            entry = store.entry("ProtectedService", namespace, "api")
            effects = store.remove("ProtectedService", namespace, "api", entry.uid if entry else "none")
            there.pop(namespace, None)
        else:
            effects = take(store, in_namespace(namespace, audiences), uid=uid, generation=number)
            there[namespace] = {each.casefold().rstrip("/") for each in audiences}
        changed = (before ^ sharing()) - {namespace}
        assert {each for each in "abc" if store.shares_audience((each, "api"))} == sharing()
        # `watchword compile` says the same of the same objects.
        services = [entry.resource for entry in store.entries(SERVICE_KIND)]
        told = problems_of_shared(each for each in services if isinstance(each, ProtectedService))
        assert {each.namespace for each in told} == sharing()
        assert {place for _, place, _ in effects.statuses} >= changed
