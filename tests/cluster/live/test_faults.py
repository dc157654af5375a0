# SPDX-License-Identifier: Apache-2.0
"""What a network, an API server and its store do to a watch: callers notice nothing, edits come through.

Throughout each fault a trusted caller and a stranger ask on and on (`calling`): the one is never refused, and
the other never let in. `WATCHWORD_FAULT_SECONDS` says how long things stay away: 60 by hand, less in CI.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from testing.controlplane import Cluster
from testing.faults.tcpproxy import TcpProxy
from tests.cluster.live.world import Bundles, FollowingGate, calling, following_gate

AWAY_SECONDS = float(os.environ.get("WATCHWORD_FAULT_SECONDS", "3"))
CUTS = int(os.environ.get("WATCHWORD_FAULT_CUTS", "5"))


@pytest.fixture
def following(bundles: Bundles, proxy: TcpProxy) -> FollowingGate:
    """A gate that follows through the proxy and is up to date; its callers call."""
    old = bundles.document("atlas")
    generation = bundles.trust("atlas")
    with following_gate(bundles, old, proxy=proxy) as running, calling(running):
        running.until_generation(generation)
        running.until_connected()
        yield running


def test_a_watch_that_is_cut_again_and_again(
    following: FollowingGate, bundles: Bundles, proxy: TcpProxy
) -> None:
    for _ in range(CUTS):
        proxy.cut()
        following.until_generation(bundles.trust("atlas"))
    following.until_connected()


def test_a_watch_that_is_cut_in_the_middle_of_a_bundle(
    following: FollowingGate, bundles: Bundles, proxy: TcpProxy
) -> None:
    document = bundles.document("atlas", "hermes")
    for count in (200, 2_000, len(document) // 2, len(document)):
        proxy.cut_after(count)
        proxy.cut()
        generation = bundles.trust("atlas", "hermes")
        time.sleep(0.3)
        assert following.ready()["generation"] <= generation
        proxy.pass_through()
        proxy.cut()
        following.until_generation(generation)


def test_a_watch_that_is_swallowed(following: FollowingGate, bundles: Bundles, proxy: TcpProxy) -> None:
    proxy.swallow()
    generation = bundles.trust("atlas")
    following.until_trouble("did not end by itself")
    assert following.follows["connected"] is False
    assert following.ready()["generation"] == generation - 1
    # Meanwhile the kubelet, whose own watch lives, renews the mounted file.
    bundles.mount(bundles.document("atlas", generation=generation))
    following.until_generation(generation)
    bundles.generation = generation
    proxy.pass_through()
    following.until_connected()
    following.until_generation(bundles.trust("atlas"))


def test_a_slow_network(following: FollowingGate, bundles: Bundles, proxy: TcpProxy) -> None:
    proxy.delay(0.5)
    proxy.cut()
    following.until_generation(bundles.trust("atlas"))
    assert following.follows["generation"] == bundles.generation


def test_an_api_server_that_is_killed_and_comes_back(
    mortal: Cluster, following: FollowingGate, bundles: Bundles
) -> None:
    mortal.program.kill()
    try:
        following.until_trouble("the API server")
        time.sleep(AWAY_SECONDS)
        assert following.follows["connected"] is False
        assert following.ready()["ready"] is True
    finally:
        mortal.program.start()
    following.until_generation(bundles.trust("atlas"))
    following.until_connected()


def test_an_api_server_that_hangs(mortal: Cluster, following: FollowingGate, bundles: Bundles) -> None:
    mortal.program.freeze()
    try:
        following.until_trouble("did not end by itself")
    finally:
        mortal.program.thaw()
    following.until_connected()
    following.until_generation(bundles.trust("atlas"))


def test_an_etcd_that_is_killed_and_comes_back(
    mortal: Cluster, following: FollowingGate, bundles: Bundles
) -> None:
    mortal.etcd.program.kill()
    try:
        time.sleep(AWAY_SECONDS)
        assert following.ready()["ready"] is True
    finally:
        mortal.etcd.program.start()
    following.until_generation(bundles.trust("atlas"))
    following.until_connected()


def test_a_version_that_expired_while_nobody_watched(
    mortal: Cluster, following: FollowingGate, bundles: Bundles, proxy: TcpProxy, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    deleted = Bundles.of(mortal, tmp_path / "other")
    deleted.allow()
    first = deleted.trust("atlas")
    with (
        following_gate(deleted, deleted.document("atlas", generation=1), proxy=proxy) as other,
        calling(other),
    ):
        other.until_connected()
        other.until_generation(first)
        proxy.refuse()
        for each in (following, other):
            each.until_trouble("the API server")
        bundles.trust("atlas", "hermes")
        generation = bundles.trust("atlas")
        deleted.delete()
        # A watch cache that starts anew begins here, and what was before is gone from the store as well.
        mortal.etcd.compact()
        mortal.program.kill()
        mortal.program.start()
        proxy.pass_through()
        following.until_generation(generation)
        following.until_connected()
        other.until_warning("is gone")
        for each in (following, other):
            each.until_generation(each.bundles.trust("atlas"))
            assert "expired" not in each.log()


def test_a_store_that_is_restored_from_a_backup(
    mortal: Cluster, following: FollowingGate, bundles: Bundles, tmp_path: Path
) -> None:
    etcd = mortal.etcd
    mortal.program.kill()
    etcd.program.kill()
    shutil.copytree(etcd.data, tmp_path / "backup")
    etcd.program.start()
    mortal.program.start()
    for _ in range(50):
        bundles.trust("atlas")
    following.until_generation(bundles.generation)
    mortal.program.kill()
    etcd.program.kill()
    shutil.rmtree(etcd.data)
    shutil.copytree(tmp_path / "backup", etcd.data)
    etcd.program.start()
    mortal.program.start()
    # The ConfigMap is as it was; and a watch from where this one was would tell nothing for 50 writes.
    following.until_warning("does not follow")
    following.until_generation(bundles.trust("atlas"))
    following.until_connected()


def test_a_gate_that_starts_while_the_api_server_is_away(bundles: Bundles, proxy: TcpProxy) -> None:
    proxy.refuse()
    document = bundles.document("atlas")
    with following_gate(bundles, document, proxy=proxy) as following, calling(following):
        following.until_trouble("the API server")
        assert following.ready()["generation"] == bundles.generation
        generation = bundles.trust("atlas")
        proxy.pass_through()
        following.until_generation(generation)
