# SPDX-License-Identifier: Apache-2.0
"""At a real API server: a bundle that was deleted ends the trust, one that cannot be read does not.

With two seconds instead of sixty. The mounted file stays where it was, as the kubelet leaves it.
"""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from testing.controlplane import Cluster, wait_until
from testing.faults.tcpproxy import TcpProxy
from tests.cluster.live.test_following import token_of
from tests.cluster.live.world import (
    WAIT_SECONDS,
    Bundles,
    FollowingGate,
    calling,
    following_gate,
)

SOON = ("--absent-after=2",)


def wait_for_the_end(following: FollowingGate) -> dict[str, Any]:
    """Wait until the gate has no trust any more; returns what /readyz says then."""
    ops = f"{following.gate.ops_url}/readyz"

    def has_ended() -> bool:
        return "trust has ended" in following.ready().get("why", "")

    wait_until(has_ended, what="the trust has ended", timeout_seconds=WAIT_SECONDS)
    answer = httpx.get(ops, trust_env=False)
    assert answer.status_code == 503
    found: dict[str, Any] = answer.json()
    return found


def test_a_deleted_bundle_ends_the_trust_and_only_the_api_server_restores_it(
    mortal: Cluster, bundles: Bundles
) -> None:
    token = token_of(mortal, "atlas")
    bundles.generation = 10
    generation = bundles.trust("atlas")
    with following_gate(bundles, bundles.document("atlas", generation=1), flags=SOON) as following:
        following.until_generation(generation)
        assert following.gate.ask(token).status == 200
        bundles.delete()
        said = wait_for_the_end(following)
        assert "is gone for more than 2 s" in said["why"]
        assert said["ready"] is False
        answer = following.gate.ask(token)
        assert (answer.status, answer.reason) == (503, "not_ready")
        assert following.gate.metric("watchword_bundle_absent_seconds") > 2
        # A mount that is renewed late, even with something newer, is not the API server's word.
        bundles.mount(bundles.document("atlas"))
        with pytest.raises(TimeoutError):
            wait_until(lambda: following.gate.ask(token).status == 200, what="a yes", timeout_seconds=3)
        # What was there before is no way back in.
        bundles.publish(bundles.document("atlas", generation=1))
        wait_until(
            lambda: "does not follow" in following.ready().get("why", ""),
            what="the old one is refused",
            timeout_seconds=WAIT_SECONDS,
        )
        assert following.gate.ask(token).status == 503
        following.until_generation(bundles.trust("atlas"))
        assert following.gate.ask(token).status == 200
        assert following.ready()["ready"] is True


def test_a_gate_that_may_not_read_it_any_more_goes_on(mortal: Cluster, bundles: Bundles) -> None:
    bundles.generation = 10
    generation = bundles.trust("atlas")
    with (
        following_gate(bundles, bundles.document("atlas", generation=1), flags=SOON) as following,
        calling(following),
    ):
        following.until_generation(generation)
        # A Role that no longer names it; the watch that stands is let go on until it ends.
        bundles.allow(name="another")
        following.until_trouble("answers 403")
        bundles.delete()
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 4, what="twice the time", timeout_seconds=10)
        assert following.gate.metric("watchword_bundle_absent_seconds") == 0
        assert following.ready()["ready"] is True


def test_an_api_server_that_is_cut_off_meanwhile_does_not_stop_the_time(
    mortal: Cluster, bundles: Bundles, proxy: TcpProxy
) -> None:
    bundles.generation = 10
    generation = bundles.trust("atlas")
    with following_gate(
        bundles, bundles.document("atlas", generation=1), proxy=proxy, flags=SOON
    ) as following:
        following.until_generation(generation)
        bundles.delete()
        following.until_warning("its trust ends in")
        proxy.refuse()
        wait_for_the_end(following)
        proxy.pass_through()
        following.until_generation(bundles.trust("atlas"))


def test_a_forged_generation_is_refused_and_the_real_one_is_taken(mortal: Cluster, bundles: Bundles) -> None:
    bundles.generation = int(time.time() * 1000)
    generation = bundles.trust("atlas")
    with (
        following_gate(bundles, bundles.document("atlas", generation=1)) as following,
        calling(following),
    ):
        following.until_generation(generation)
        for forged in (2**53 - 1, generation + 3_600_000):
            bundles.publish(bundles.document("atlas", "stranger", generation=forged))
            following.until_warning(f"generation {forged} is more than 600 s ahead")
            assert following.ready()["generation"] == generation
        assert following.gate.metric("watchword_bundle_generations_ahead_total") == 2
        generation = bundles.trust("atlas")
        following.until_generation(generation)
        assert "warning" not in following.ready()
