# SPDX-License-Identifier: Apache-2.0
"""A gate that follows its ConfigMap: what it takes, what it refuses, and what it says of both."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from testing.manifests import compiled, issuer, service, workload
from tests.gate.keeping import Kept, nothing
from tests.kube.fakeserver import FakeServer, answer, fake_server, status_body
from watchword.gate.bundle_updater import BundleUpdater
from watchword.gate.bundle_watch import ENTRY, BundleWatch
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.gate.ops import Readiness
from watchword.gate.settings import FollowedConfigMap
from watchword.kube.watch import Endpoint
from watchword.trust import Ruleset, encode_bundle

NAME = "watchword-bundle-tuist-server"


def text(generation: int, *, name: str = "tuist-server", **spec: Any) -> str:
    objects = (issuer(), service(name), workload(serviceRef={"name": name}, **spec))
    return encode_bundle(compiled(*objects, generation=generation).bundles[0]).decode()


class Gate(Kept):
    """As much of a gate as follows a ConfigMap."""

    def __init__(self, server: FakeServer, namespace: str) -> None:
        self.server, self.metrics = server, GateMetrics()
        self.engine = Engine(self.metrics)
        self.updater = BundleUpdater(self.engine, nothing)
        endpoint = Endpoint(f"http://127.0.0.1:{server.port}")
        self.live = BundleWatch(FollowedConfigMap(endpoint, namespace, NAME), self.metrics)

    @property
    def ready(self) -> dict[str, Any]:
        return Readiness(self.engine, self.updater, self.live).document()[1]

    @property
    def follows(self) -> dict[str, Any]:
        return self.ready["follows"]

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"watchword_bundle_{name}", labels)

    async def until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(30):
                while not condition():  # noqa: ASYNC110 - what is waited for shows in attributes
                    await asyncio.sleep(0.002)
        except TimeoutError:
            raise AssertionError(f"/readyz: {self.ready}; asked: {self.server.requests}") from None


def play(story: Callable[[Gate], Awaitable[None]], namespace: str = "tuist") -> None:
    async def main() -> None:
        async with fake_server() as server:
            gate = Gate(server, namespace)
            task = asyncio.create_task(gate.updater.follow(gate.live, "API server"))
            try:
                await story(gate)
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    asyncio.run(main())


def test_edits_are_in_use_as_they_come_and_readyz_says_what_is_followed() -> None:
    async def story(gate: Gate) -> None:
        gate.server.put(NAME, text(1), ENTRY)
        await gate.until(lambda: gate.generation == 1)
        gate.server.put(NAME, text(2, suspend=True), ENTRY)
        await gate.until(lambda: gate.generation == 2)
        follows = gate.follows
        assert 0 <= follows.pop("last_word_seconds") < 60
        assert follows == {"config_map": f"tuist/{NAME}", "connected": True, "generation": 2}
        assert gate.sample("watch_connected") == 1
        assert 0 <= (gate.sample("watch_age_seconds") or 0) < 60

    play(story)


def test_the_one_object_is_asked_for_by_its_name_as_a_role_with_names_demands() -> None:
    async def story(gate: Gate) -> None:
        await gate.until(lambda: len(gate.server.requests) >= 2)
        for request in gate.server.requests:
            assert request.startswith("/api/v1/namespaces/tuist/configmaps?")
            assert f"fieldSelector=metadata.name%3D{NAME}" in request

    play(story)


BAD = {
    "half of a bundle": (text(4)[:-90], ENTRY, "holds no usable bundle"),
    "no bundle": ("{}", ENTRY, "holds no usable bundle"),
    "another entry": (text(4), "other.json", f"has no entry {ENTRY}"),
    "a generation that goes back": (text(2), ENTRY, "generation 2 does not follow 3"),
    "the same generation with other content": (
        text(3, suspend=True),
        ENTRY,
        "generation 3 does not follow 3",
    ),
    "another service's": (text(4, name="other"), ENTRY, "is for tuist/other"),
}


@pytest.mark.parametrize(("written", "entry", "why"), BAD.values(), ids=BAD)
def test_a_config_map_that_is_wrong_changes_nothing_and_is_said(written: str, entry: str, why: str) -> None:
    async def story(gate: Gate) -> None:
        gate.server.put(NAME, text(3), ENTRY)
        await gate.until(lambda: gate.generation == 3)
        gate.server.put(NAME, written, entry)
        await gate.until(lambda: why in gate.problem)
        assert gate.ready["ready"] is True
        assert why in gate.ready["warning"]
        assert gate.generation == 3
        assert gate.sample("failures_total") == 1
        gate.server.put(NAME, text(9), ENTRY)
        await gate.until(lambda: gate.generation == 9)
        assert "warning" not in gate.ready

    play(story)


def test_a_bundle_of_another_namespaces_service_is_refused_even_when_it_is_the_first() -> None:
    async def story(gate: Gate) -> None:
        gate.server.put(NAME, text(1), ENTRY)
        await gate.until(lambda: "another namespace" in gate.problem)
        assert gate.generation == 0

    play(story, namespace="elsewhere")


def test_a_config_map_that_is_gone_leaves_the_bundle_in_use_and_its_return_counts() -> None:
    async def story(gate: Gate) -> None:
        await gate.until(lambda: "is not there" in gate.problem)
        assert gate.ready["ready"] is False
        gate.server.put(NAME, text(3), ENTRY)
        await gate.until(lambda: gate.generation == 3)
        gate.server.delete(NAME)
        await gate.until(lambda: "is gone" in gate.problem)
        assert gate.ready["ready"] is True
        gate.server.put(NAME, text(4, suspend=True), ENTRY)
        await gate.until(lambda: gate.generation == 4)
        assert gate.problem == ""

    play(story)


def test_a_config_map_that_vanished_while_nobody_watched_is_said() -> None:
    async def story(gate: Gate) -> None:
        gate.server.put(NAME, text(3), ENTRY)
        await gate.until(lambda: gate.generation == 3 and gate.follows["connected"])
        gate.server.cut()
        gate.server.delete(NAME)
        gate.server.compact()
        await gate.until(lambda: "is gone" in gate.problem)
        assert gate.generation == 3

    play(story)


def test_an_api_server_that_refuses_changes_nothing_and_is_said() -> None:
    async def story(gate: Gate) -> None:
        gate.server.put(NAME, text(3), ENTRY)
        await gate.until(lambda: gate.generation == 3 and gate.follows["connected"])
        gate.server.faults = [answer(403, status_body(403, "Forbidden"))] * 2
        gate.server.cut()
        await gate.until(lambda: "answers 403" in gate.follows.get("warning", ""))
        assert gate.follows["connected"] is False
        assert "Role" in gate.follows["remedy"]
        assert gate.sample("watch_connected") == 0
        # The bundle is as good as it was: that is no bundle's problem.
        assert (gate.ready["ready"], gate.problem, gate.sample("failures_total")) == (True, "", 0)
        gate.server.put(NAME, text(4), ENTRY)
        await gate.until(lambda: gate.generation == 4 and gate.follows["connected"])
        assert gate.sample("watch_failures_total", kind="forbidden") == 1

    play(story)


def test_a_gate_that_follows_nothing_says_so_in_its_metrics() -> None:
    registry = GateMetrics().registry
    assert registry.get_sample_value("watchword_bundle_watch_connected") == 0
    assert math.isnan(registry.get_sample_value("watchword_bundle_watch_age_seconds") or 0)


def test_after_an_error_that_nobody_foresaw_what_is_there_is_told_again() -> None:
    async def story(gate: Gate) -> None:
        adopt, calls = gate.engine.adopt, []

        def broken_once(ruleset: Ruleset) -> None:
            calls.append(ruleset.generation)
            if len(calls) == 1:
                raise LookupError("nobody foresaw this")
            adopt(ruleset)

        gate.engine.adopt = broken_once  # type: ignore[method-assign]  # a defect, which real ones have none of
        gate.server.put(NAME, text(1), ENTRY)
        await gate.until(lambda: gate.generation == 1)
        assert (calls, gate.problem) == ([1, 1], "")

    play(story)
