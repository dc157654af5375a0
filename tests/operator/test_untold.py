# SPDX-License-Identifier: Apache-2.0
"""What one watch saw and another has not told of is owed, and only a silent watch is asked past."""

from __future__ import annotations

from tests.operator.objects import remove, stored, take
from tests.trust.manifests import service, workload
from watchword.operator.following import Existence
from watchword.operator.store import Store
from watchword.operator.untold import Untold

Case = tuple[Store, Untold, list[float]]


def case() -> Case:
    """A store, what is untold of it, and the seconds that its clock shows."""
    now, store = [100.0], Store()
    return store, Untold(store, lambda: now[0]), now


def seen(untold: Untold, version: int = 1, name: str = "atlas", kind: str = "TrustedWorkload") -> Existence:
    existence = Existence(kind, "tuist", name, f"uid-{name}", version)
    untold.exists(existence)
    return existence


def test_what_was_told_is_not_owed() -> None:
    store, untold, now = case()
    seen(untold)
    take(store, workload("atlas"))
    now[0] += 9
    assert untold.oldest_seconds() is None
    assert untold.silent_about(1) == []


def test_an_edit_that_was_not_told_is_owed_since_it_was_seen() -> None:
    store, untold, now = case()
    take(store, workload("atlas"))
    now[0] += 50
    owed = seen(untold, version=2)
    now[0] += 2
    assert untold.oldest_seconds() == 2
    assert untold.silent_about(1) == [owed]
    take(store, workload("atlas"), generation=2)
    assert untold.silent_about(1) == []


def test_more_edits_do_not_make_a_debt_younger() -> None:
    _, untold, now = case()
    seen(untold, version=2)
    now[0] += 2
    newest = seen(untold, version=3)
    assert untold.silent_about(1) == [newest]


def test_nothing_is_owed_of_what_is_gone() -> None:
    store, untold, now = case()
    take(store, workload("atlas"))
    seen(untold, version=2)
    remove(store, workload("atlas"))
    now[0] += 9
    assert untold.oldest_seconds() is None


def test_a_watch_that_tells_of_other_objects_is_late_and_not_deaf() -> None:
    _, untold, now = case()
    seen(untold)
    now[0] += 9
    untold.heard("TrustedWorkload")
    assert untold.silent_about(1) == []
    assert untold.oldest_seconds() == 9
    now[0] += 2
    assert len(untold.silent_about(1)) == 1


def test_another_kinds_watch_is_no_sign_of_life() -> None:
    _, untold, now = case()
    owed = seen(untold)
    now[0] += 9
    untold.heard("ProtectedService")
    assert untold.silent_about(1) == [owed]


def test_labels_of_a_namespace_are_owed_by_its_resource_version() -> None:
    store, untold, now = case()
    store.take_namespace("tuist", "uid-n", {}, 7)
    untold.exists(Existence("Namespace", "", "tuist", "uid-n", 8))
    now[0] += 2
    assert untold.oldest_seconds() == 2
    store.take_namespace("tuist", "uid-n", {"a": "b"}, 8)
    assert untold.oldest_seconds() is None


def test_an_object_made_anew_owes_its_own_versions() -> None:
    store, untold, now = case()
    store.take("ProtectedService", stored(service(), uid="first", generation=9))
    untold.exists(Existence("ProtectedService", "tuist", "tuist-server", "second", 1))
    now[0] += 2
    assert untold.oldest_seconds() == 2
