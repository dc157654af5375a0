# SPDX-License-Identifier: Apache-2.0
"""An API server and an etcd of this folder's own, since its tests kill them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.controlplane import Binaries, Cluster, start_cluster
from testing.faults.tcpproxy import TcpProxy, tcp_proxy
from tests.cluster.live.world import Bundles, populate


@pytest.fixture(scope="session")
def mortal(control_plane: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that may be killed; whoever does starts it again."""
    with start_cluster(tmp_path_factory.mktemp("mortal"), binaries=control_plane) as cluster:
        populate(cluster)
        yield cluster


@pytest.fixture
def bundles(mortal: Cluster, tmp_path: Path) -> Bundles:
    """A ConfigMap, not written yet, that a gate may follow."""
    made = Bundles.of(mortal, tmp_path)
    made.allow()
    return made


@pytest.fixture
def proxy(mortal: Cluster) -> Iterator[TcpProxy]:
    """What stands between the gate and the API server."""
    host, port = mortal.url.removeprefix("https://").split(":")
    with tcp_proxy(host, int(port)) as running:
        yield running
