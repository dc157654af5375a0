# SPDX-License-Identifier: Apache-2.0
"""Two sources and one bundle in use: the newest, whichever comes first, and each source's own trouble."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from testing.manifests import compiled, issuer, service, workload
from tests.gate.keeping import Kept, nothing
from watchword.gate.bundle_file import SourceProblem
from watchword.gate.bundle_updater import BundleUpdater
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.trust import Bundle

UNREADABLE = SourceProblem("the bundle file cannot be read", "mount it")
GONE = SourceProblem("the ConfigMap is gone", "restore it")


def bundle(generation: int, *, count: int = 1, **spec: Any) -> Bundle:
    workloads = [
        workload(f"w{n}", serviceAccount={"namespace": "n", "name": f"w{n}"}, **spec) for n in range(count)
    ]
    return compiled(issuer(), service(), *workloads, generation=generation).bundles[0]


class Two(Kept):
    """A keeper with a file that may lag and an API server."""

    def __init__(self) -> None:
        self.engine = Engine(GateMetrics())
        self.updater = BundleUpdater(self.engine, nothing)

    def file(self, item: Bundle | SourceProblem) -> Two:
        asyncio.run(self.updater.take(item, may_lag=True))
        return self

    def api(self, item: Bundle | SourceProblem) -> Two:
        asyncio.run(self.updater.take(item, "API server"))
        return self


def test_the_newest_of_both_is_in_use() -> None:
    two = Two().file(bundle(3)).api(bundle(5))
    assert (two.generation, two.problem) == (5, "")
    two.file(bundle(6))
    assert (two.generation, two.problem) == (6, "")


def test_a_mounted_file_that_lags_behind_is_no_trouble() -> None:
    two = Two().api(bundle(5)).file(bundle(3)).file(bundle(4))
    assert (two.generation, two.problem) == (5, "")
    two.file(bundle(5))
    assert (two.generation, two.problem) == (5, "")


def test_a_mounted_file_that_goes_back_by_itself_is_said() -> None:
    two = Two().file(bundle(4)).api(bundle(5)).file(bundle(3))
    assert (two.generation, two.problem) == (5, "generation 3 does not follow 5, which is in use")
    two.file(bundle(4))
    assert (two.generation, two.problem) == (5, "")


def test_an_api_server_that_goes_back_is_said_and_an_old_bundle_is_no_way_in() -> None:
    two = Two().file(bundle(5, suspend=True)).api(bundle(4))
    assert (two.generation, two.problem) == (5, "generation 4 does not follow 5, which is in use")
    # The file cannot take the word back for the API server.
    two.file(bundle(5, suspend=True))
    assert "does not follow" in two.problem
    two.api(bundle(6))
    assert (two.generation, two.problem) == (6, "")


def test_one_generation_with_two_contents_is_said() -> None:
    two = Two().api(bundle(5)).file(bundle(5, suspend=True))
    assert (two.generation, two.problem) == (5, "generation 5 does not follow 5, which is in use")


def test_each_source_has_its_own_trouble() -> None:
    two = Two().file(UNREADABLE)
    assert two.problem == UNREADABLE.detail
    two.api(bundle(1))
    # What callers are told is right now; that the next start would have no file is still worth saying.
    assert (two.generation, two.problem) == (1, UNREADABLE.detail)
    two.api(GONE).file(bundle(1))
    assert (two.generation, two.problem) == (1, GONE.detail)
    two.api(bundle(1))
    assert two.problem == ""


@pytest.mark.parametrize("is_newest_first", [True, False])
def test_the_slower_of_two_bundles_cannot_take_the_newer_ones_place(is_newest_first: bool) -> None:
    two = Two()
    # It takes longer to load, so without a turn for each it would be adopted last.
    old, new = bundle(7, count=3_000), bundle(8)

    async def both() -> None:
        takes = [two.updater.take(old, may_lag=True), two.updater.take(new, "API server")]
        await asyncio.gather(*(reversed(takes) if is_newest_first else takes))

    asyncio.run(both())
    assert (two.generation, two.problem) == (8, "")
