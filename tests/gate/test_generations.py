# SPDX-License-Identifier: Apache-2.0
"""Generations are milliseconds of the operator's clock: one from far ahead is refused, and blocks nothing.

One write with a generation near 2^53 let a stranger in and froze every later revocation.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.manifests import compiled, issuer, service
from tests.gate.keeping import Kept, nothing
from tests.gate.test_bundle_updater import bundle
from watchword.gate.absence import API
from watchword.gate.bundle_file import SourceProblem
from watchword.gate.bundle_updater import MAX_AHEAD_SECONDS, BundleUpdater
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics

NOW = 1_800_000_000.0
NOW_MS = int(NOW * 1000)
AHEAD_MS = int(MAX_AHEAD_SECONDS * 1000)
FORGED = (2**53 - 1, 2**53, 2**62, NOW_MS + AHEAD_MS + 1)


class Clocked(Kept):
    """A keeper with a clock that a test sets."""

    def __init__(self, *, bounds_generations: bool = True) -> None:
        self.now = NOW
        self.metrics = GateMetrics()
        self.engine = Engine(self.metrics, clock=lambda: self.now)
        self.updater = BundleUpdater(self.engine, nothing, bounds_generations=bounds_generations)

    def file(self, generation: int, *, may_lag: bool = True, **spec: Any) -> Clocked:
        asyncio.run(self.updater.take(bundle(generation, **spec), may_lag=may_lag))
        return self

    def api(self, generation: int, **spec: Any) -> Clocked:
        asyncio.run(self.updater.take(bundle(generation, **spec), API))
        return self

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"watchword_bundle_{name}", labels)


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("origin", ["file", "api"])
def test_one_from_far_ahead_is_refused_by_name_and_the_next_real_one_is_taken(
    forged: int, origin: str
) -> None:
    gate = Clocked().api(NOW_MS)
    _ = gate.api(forged) if origin == "api" else gate.file(forged)
    assert gate.generation == NOW_MS
    assert gate.problem == (
        f"generation {forged} is more than 600 s ahead of this gate's clock, "
        "and an operator makes none that is"
    )
    assert gate.sample("generations_ahead_total") == 1
    gate.api(NOW_MS + 1, suspend=True)
    assert gate.generation == NOW_MS + 1


@pytest.mark.parametrize("forged", FORGED)
def test_a_gate_that_starts_on_a_forged_one_has_no_trust_and_recovers(forged: int) -> None:
    gate = Clocked().file(forged).api(forged)
    assert gate.generation == 0
    gate.api(NOW_MS)
    assert gate.generation == NOW_MS
    # The mount still has the forged one, then lags, then follows: none of it is trouble for long.
    gate.file(NOW_MS)
    assert gate.problem == ""


@pytest.mark.parametrize("ahead", [0, 1, 300_000, AHEAD_MS])
def test_clocks_may_differ_by_ten_minutes(ahead: int) -> None:
    gate = Clocked().api(NOW_MS + ahead)
    assert (gate.generation, gate.problem) == (NOW_MS + ahead, "")


def test_one_in_use_that_turns_out_to_be_far_ahead_blocks_no_lower_one() -> None:
    gate = Clocked()
    gate.now = NOW + 86_400
    gate.api(NOW_MS + 86_400_000)
    # The clock was a day ahead, and is set right.
    gate.now = NOW
    # What the kubelet mounts lags: with an API server that answers it is no way back.
    gate.file(NOW_MS - 5)
    assert gate.generation == NOW_MS + 86_400_000
    gate.api(NOW_MS)
    assert (gate.generation, gate.problem) == (NOW_MS, "")
    gate.api(NOW_MS - 1)
    assert gate.generation == NOW_MS
    assert "does not follow" in gate.problem


def test_what_a_wrong_clock_refused_is_taken_once_the_clock_is_right_and_nothing_else_is() -> None:
    gate = Clocked()
    gate.now = NOW - 3_600
    gate.api(NOW_MS)
    assert gate.generation == 0
    asyncio.run(gate.updater.take_postponed())
    assert (gate.generation, gate.sample("generations_ahead_total")) == (0, 1)
    gate.now = NOW
    asyncio.run(gate.updater.take_postponed())
    assert (gate.generation, gate.problem) == (NOW_MS, "")


def test_what_is_not_its_sources_newest_word_is_never_taken_later() -> None:
    gate = Clocked()
    gate.now = NOW - 3_600
    gate.api(NOW_MS)
    gone = SourceProblem("the ConfigMap is gone", "restore it", is_there=False)
    asyncio.run(gate.updater.take(gone, API))
    gate.now = NOW
    asyncio.run(gate.updater.take_postponed())
    assert gate.generation == 0
    gate.api(NOW_MS + 5).api(NOW_MS, suspend=True)
    asyncio.run(gate.updater.take_postponed())
    assert gate.generation == NOW_MS + 5


def test_a_deletion_that_waits_for_its_turn_is_not_undone_by_what_was_postponed() -> None:
    async def story() -> None:
        gate = Clocked()
        gate.now = NOW - 3_600
        await gate.updater.take(bundle(NOW_MS), may_lag=True)
        await gate.updater.take(bundle(NOW_MS + 1), API)
        gate.now = NOW
        is_loading, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(function: Any, *arguments: Any) -> Any:
            is_loading.set()
            await go_on.wait()
            return function(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("watchword.gate.bundle_updater.asyncio.to_thread", slowly)
            again = asyncio.create_task(gate.updater.take_postponed())
            await is_loading.wait()
            # The file's bundle is being loaded, the API server's is the next, and now it is deleted.
            gone = SourceProblem("the ConfigMap is gone", "restore it", is_there=False)
            deleted = asyncio.create_task(gate.updater.take(gone, API))
            await asyncio.sleep(0)
            go_on.set()
            await asyncio.gather(again, deleted)
        assert gate.generation == NOW_MS
        assert gate.problem == "the ConfigMap is gone; its trust ends in 60 s"

    asyncio.run(story())


@pytest.mark.parametrize("is_ended", [False, True])
def test_a_deletion_is_not_undone_by_what_waits_for_its_turn_to_be_taken_again(is_ended: bool) -> None:
    async def story() -> None:
        gate = Clocked()
        gate.updater.absence._limit = 0.0 if is_ended else 60.0
        gone = SourceProblem("the ConfigMap is gone", "restore it", is_there=False)
        await gate.updater.take(bundle(NOW_MS - 1), API)
        if is_ended:
            await gate.updater.take(gone, API)
            await asyncio.sleep(0.01)
            assert gate.generation == 0
        gate.now = NOW - 3_600
        await gate.updater.take(bundle(NOW_MS), API)
        gate.now = NOW
        async with gate.updater._turn:
            again = asyncio.create_task(gate.updater.take_postponed())
            await asyncio.sleep(0)
            deleted = asyncio.create_task(gate.updater.take(gone, API))
            await asyncio.sleep(0)
        await asyncio.gather(again, deleted)
        assert gate.generation == (0 if is_ended else NOW_MS - 1)
        assert gate.problem.startswith("the ConfigMap is gone")

    asyncio.run(story())


def test_a_deletion_is_not_undone_by_what_is_loaded_meanwhile() -> None:
    async def story() -> None:
        gate = Clocked()
        gate.updater.absence._limit = 0.0
        gone = SourceProblem("the ConfigMap is gone", "restore it", is_there=False)
        await gate.updater.take(bundle(NOW_MS - 1), API)
        await gate.updater.take(gone, API)
        await asyncio.sleep(0.01)
        gate.now = NOW - 3_600
        await gate.updater.take(bundle(NOW_MS), API)
        gate.now = NOW

        async def slowly(function: Any, *arguments: Any) -> Any:
            deletion.append(asyncio.create_task(gate.updater.take(gone, API)))
            await asyncio.sleep(0)
            return function(*arguments)

        deletion: list[asyncio.Task[None]] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("watchword.gate.bundle_updater.asyncio.to_thread", slowly)
            await gate.updater.take_postponed()
            await asyncio.gather(*deletion)
        assert len(deletion) == 1
        assert (gate.generation, gate.problem) == (0, "the ConfigMap is gone")

    asyncio.run(story())


def test_another_services_bundle_is_refused_once_and_not_again_and_again() -> None:
    gate = Clocked().api(NOW_MS)
    [other] = compiled(issuer(), service("other"), generation=NOW_MS + 1).bundles
    asyncio.run(gate.updater.take(other, API))
    assert "this gate runs tuist/tuist-server" in gate.problem
    refused = gate.metrics.registry.get_sample_value("watchword_bundle_failures_total")
    asyncio.run(gate.updater.take_postponed())
    assert gate.metrics.registry.get_sample_value("watchword_bundle_failures_total") == refused == 1


def test_a_file_takes_back_a_forged_one_where_no_api_server_answers() -> None:
    gate = Clocked(bounds_generations=False).file(2**53, may_lag=False)
    assert gate.generation == 2**53
    gate.file(NOW_MS, may_lag=False)
    assert (gate.generation, gate.problem) == (NOW_MS, "")


@pytest.mark.parametrize("generation", [1, 7, NOW_MS, 2**53])
def test_a_file_that_a_person_compiled_may_carry_any_number(generation: int) -> None:
    gate = Clocked(bounds_generations=False).file(generation, may_lag=False)
    assert (gate.generation, gate.problem) == (generation, "")


def test_the_metrics_say_which_bundle_is_in_use_and_only_that_one() -> None:
    gate = Clocked().api(NOW_MS).api(NOW_MS + 1, suspend=True)
    used = bundle(NOW_MS + 1, suspend=True)
    families = {each.name: each for each in gate.metrics.registry.collect()}
    [sample] = families["watchword_bundle_in_use"].samples
    assert sample.labels == {"service": "tuist/tuist-server", "digest": used.digest}
    assert sample.value == NOW_MS + 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["file", "api"]),
            st.one_of(
                st.integers(NOW_MS - 10, NOW_MS + 10),
                st.integers(NOW_MS + AHEAD_MS - 3, NOW_MS + AHEAD_MS + 3),
                st.sampled_from([1, 2**31, 2**53 - 1, 2**53, 2**63 - 1]),
            ),
        ),
        max_size=12,
    )
)
def test_whatever_is_written_what_is_in_use_is_the_newest_that_a_clock_allows(
    written: list[tuple[str, int]],
) -> None:
    gate, highest = Clocked(), 0
    for origin, generation in written:
        _ = gate.api(generation) if origin == "api" else gate.file(generation)
        if generation <= NOW_MS + AHEAD_MS:
            highest = max(highest, generation)
        assert gate.generation == highest
    real = max(highest + 1, NOW_MS)
    if real <= NOW_MS + AHEAD_MS:
        assert gate.api(real).generation == real
