# SPDX-License-Identifier: Apache-2.0
"""An API server for the operator's process alone: it watches whole clusters, so it shares none."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.controlplane import Binaries, Cluster, Etcd, start_cluster, start_etcd
from tests.faults.standing import Standing, standing
from watchword.trust.crds import definitions


@pytest.fixture(scope="module")
def own_cluster(
    control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """An API server of this module's own, with nothing of ours in it."""
    with start_cluster(tmp_path_factory.mktemp("own"), etcd=etcd, binaries=control_plane) as running:
        yield running


@pytest.fixture(scope="module")
def crd_cluster(own_cluster: Cluster) -> Cluster:
    """`own_cluster` with our kinds."""
    for definition in definitions():
        own_cluster.apply(definition)
    return own_cluster


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A loopback port that is taken, and on which nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture(scope="session")
def installation(control_plane: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """A whole installation with one operator, on an API server and an etcd of its own: both may be killed.

    A test that breaks something mends it, and leaves a leader that works.
    """
    folder = tmp_path_factory.mktemp("standing")
    with (
        start_etcd(folder / "etcd", binaries=control_plane) as store,
        start_cluster(folder / "cluster", etcd=store, binaries=control_plane) as running,
        standing(running, folder) as made,
    ):
        made.operator("operator")
        made.check_that_edits_count()
        yield made
