# SPDX-License-Identifier: Apache-2.0
"""Oldest first, in whichever order objects come; a deletion only lets others in; nothing over it is kept."""

from __future__ import annotations

import json
import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from testing.manifests import workload
from tests.operator.objects import stored
from watchword.operator.cache import (
    MAX_SPEC_BYTES,
    BudgetLimits,
    Cache,
    Effects,
    NamespaceBudget,
    received_from,
)
from watchword.trust.problems import ProblemReason

LIMITS = BudgetLimits(workloads=4, spec_bytes=100)
NAMES = st.sampled_from(["a", "b", "c", "d", "e", "f", "g"])
TIMES = st.integers(0, 5).map(lambda second: f"2026-01-01T00:00:0{second}Z")
EDITS = st.lists(st.tuples(NAMES, st.none() | st.tuples(TIMES, st.integers(0, 120))), max_size=40)


def longest_run(objects: dict[str, tuple[str, int]]) -> set[str]:
    """The rule written out again: from the oldest on, while all of them fit."""
    within: set[str] = set()
    total = 0
    for name, (_, size) in sorted(objects.items(), key=lambda each: (each[1][0], each[0])):
        total += size
        if len(within) == LIMITS.workloads or total > LIMITS.spec_bytes:
            break
        within.add(name)
    return within


@settings(deadline=None)
@given(EDITS)
def test_after_any_edits_those_within_are_the_longest_run_of_the_oldest_and_each_move_was_told(
    edits: list[tuple[str, tuple[str, int] | None]],
) -> None:
    budget = NamespaceBudget(LIMITS)
    objects: dict[str, tuple[str, int]] = {}
    for name, state in edits:
        before = {each for each in objects if budget.is_within(each)}
        if state is None:
            objects.pop(name, None)
            moved = budget.drop(name)
            assert moved.left == ()
        else:
            objects[name] = state
            moved = budget.put(name, *state)
        after = {each for each in objects if budget.is_within(each)}
        assert after == longest_run(objects)
        assert set(moved.entered) == after - before - {name}
        assert set(moved.left) == before - after - {name}
        assert budget.over == len(objects) - len(after)


def take(store: Cache, manifest: dict[str, Any], *, second: int, version: int | None = None) -> Effects:
    made = stored(manifest, version=version)
    made["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{second:02}Z"
    return store.take_received("TrustedWorkload", received_from(made))


def fat(name: str, size: int) -> dict[str, Any]:
    names = [f"{place:04}" + "x" * 116 for place in range(size // 123)]
    grants = [{"scopes": ["account:usage:read"], "accounts": names}]
    return workload(name, name, grants=grants)


def test_an_older_object_that_grows_puts_the_newest_out_and_its_spec_is_let_go() -> None:
    store = Cache(BudgetLimits(workloads=9, spec_bytes=20_000))
    take(store, fat("old", 1_000), second=1)
    take(store, fat("new", 9_000), second=2, version=900)
    new = store.entry("TrustedWorkload", "tuist", "new")
    assert new is not None
    assert new.resource is not None
    effects = take(store, fat("old", 15_000), second=1)
    assert ("TrustedWorkload", "tuist", "new") in effects.statuses
    assert ("tuist", "tuist-server") in effects.services
    assert new.resource is None
    assert new.is_over_budget
    assert [each.reason for each in new.problems] == [ProblemReason.NAMESPACE_BUDGET_EXCEEDED]
    assert new.service == ("tuist", "tuist-server")
    assert store.over_budget() == 1

    # The same version again, as a watch that begins again brings it, is not read while it is over the budget.
    assert not take(store, fat("new", 9_000), second=2, version=900)
    assert new.resource is None

    effects = store.remove("TrustedWorkload", "tuist", "old", "uid-old")
    assert effects.to_read == {("TrustedWorkload", "tuist", "new")}
    take(store, fat("new", 9_000), second=2, version=900)
    new = store.entry("TrustedWorkload", "tuist", "new")
    assert new is not None
    assert new.resource is not None
    assert not new.is_over_budget


def test_another_namespace_has_a_budget_of_its_own() -> None:
    store = Cache(BudgetLimits(workloads=1, spec_bytes=20_000))
    for second, name in enumerate("ab"):
        take(store, fat(name, 500), second=second)
    other = fat("a", 500)
    other["metadata"]["namespace"] = "elsewhere"
    take(store, other, second=9)
    entry = store.entry("TrustedWorkload", "elsewhere", "a")
    assert entry is not None
    assert entry.resource is not None


def test_an_object_beyond_what_the_crds_allow_is_not_decoded_and_says_how_large_it_is() -> None:
    store = Cache()
    size = MAX_SPEC_BYTES["TrustedWorkload"] + 1000
    take(store, fat("huge", size), second=1)
    entry = store.entry("TrustedWorkload", "tuist", "huge")
    assert entry is not None
    assert entry.resource is None
    assert entry.problems[0].field == "spec"
    assert str(MAX_SPEC_BYTES["TrustedWorkload"]) in entry.problems[0].detail
    # It uses up nothing of what the others have.
    assert store.over_budget() == 0


def test_what_is_kept_of_objects_over_the_budget_does_not_grow_with_them() -> None:
    def kept_bytes(size: int) -> int:
        store = Cache(BudgetLimits(workloads=1, spec_bytes=10_000_000))
        for number in range(20):
            take(store, fat(f"w{number}", size), second=number)
        entry = store.entry("TrustedWorkload", "tuist", "w19")
        assert entry is not None
        return sys.getsizeof(entry) + len(json.dumps(str(entry)))

    assert kept_bytes(150_000) == kept_bytes(500)
