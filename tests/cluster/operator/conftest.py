# SPDX-License-Identifier: Apache-2.0
"""An API server for the operator's process alone: it watches whole clusters, so it shares none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.controlplane import Binaries, Cluster, Etcd, start_cluster, start_etcd
from testing.faults.standing import Standing, standing
from testing.operated import OPERATOR_USER, Operated, audit_flags
from testing.operator_process import Replica, give_back_lease, kubeconfig_of, running_operator
from watchword.trust.crd.definitions import definitions


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


@pytest.fixture(scope="session")
def operated_cluster(
    control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cluster, Path]]:
    """An API server with our kinds that writes down what the operator asks; and that audit log."""
    folder = tmp_path_factory.mktemp("operated")
    with start_cluster(
        folder,
        etcd=etcd,
        binaries=control_plane,
        users={OPERATOR_USER: ["system:masters"]},
        flags=audit_flags(folder),
    ) as cluster:
        for definition in definitions():
            cluster.apply(definition)
        give_back_lease(cluster)
        yield cluster, folder / "audit.log"


@pytest.fixture(scope="session")
def operator_kubeconfig(
    operated_cluster: tuple[Cluster, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The operator's own credentials."""
    cluster, _ = operated_cluster
    path = tmp_path_factory.mktemp("kubeconfig") / "kubeconfig"
    return kubeconfig_of(cluster, path, bearer=cluster.bearer(OPERATOR_USER))


@pytest.fixture(scope="session")
def operated(
    operated_cluster: tuple[Cluster, Path],
    operator_kubeconfig: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Operated]:
    """A cluster with a running operator that all lifecycle tests share, each in namespaces of its own, and
    with the issuer `here` that is the cluster itself."""
    cluster, audit = operated_cluster
    with running_operator(operator_kubeconfig, tmp_path_factory.mktemp("operator")) as replica:
        replica.wait_until(replica.is_leading, "the operator leads and is warm")
        here = Operated(cluster, replica, audit, issuer="here")
        issuer = here.trusted_issuer(name="here", keys={"cluster": {}})
        here.apply(issuer)
        here.wait_for(issuer, "Ready/KeysTrusted")
        yield here


@pytest.fixture
def place(operated: Operated) -> str:
    """A namespace with the ServiceAccount `atlas`."""
    namespace = operated.new_namespace()
    operated.account(namespace)
    return namespace


@pytest.fixture
def leader(installation: Standing) -> Replica:
    """The one operator of `installation`."""
    return installation.replicas[0]
