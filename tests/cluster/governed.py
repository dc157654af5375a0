# SPDX-License-Identifier: Apache-2.0
"""An API server as an installation governs it: controllers, our kinds and roles, the policies in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from testing.controlplane import (
    Binaries,
    BuildFailedError,
    Cluster,
    ControlPlaneUnavailableError,
    Etcd,
    start_cluster,
)
from testing.controlplane.controllers import CONTROLLER_MANAGER, find_controller_manager, running_controllers
from testing.unavailable import skip_or_fail
from tests.shipped import access_of, admission_policies, installed
from watchword.trust.crd.definitions import definitions

OPERATOR = "watchword-operator"


@contextmanager
def governed_cluster(
    folder: Path, control_plane: Binaries, etcd: Etcd, people: Iterable[str]
) -> Iterator[Cluster]:
    """Run one until the block ends, with these people as users; no operator runs on it."""
    try:
        program = find_controller_manager()
    except (ControlPlaneUnavailableError, BuildFailedError) as problem:
        skip_or_fail("controller manager", problem, required_by="WATCHWORD_REQUIRE_CLUSTER")
    users: dict[str, list[str]] = {CONTROLLER_MANAGER: [], **{person: [] for person in people}}
    with (
        start_cluster(folder / "api", etcd=etcd, binaries=control_plane, users=users) as cluster,
        running_controllers(cluster, program, folder / "controllers"),
    ):
        for definition in definitions():
            cluster.apply(definition)
        for role in ("watchword-view", "watchword-edit", "watchword-admin"):
            cluster.apply(installed("ClusterRole", role))
        for document in (*access_of(OPERATOR), *admission_policies()):
            cluster.apply(document)
        yield cluster
