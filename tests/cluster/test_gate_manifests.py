# SPDX-License-Identifier: Apache-2.0
"""`watchword dev` on a folder, with a real cluster's keys: edit a manifest, and a real token gets in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from testing.controlplane import Cluster, wait_until
from testing.gate_process import AUDIENCE, USAGE_PATH, manifests, running_dev


def test_a_folder_of_manifests_decides_about_real_tokens_and_follows_its_edits(
    cluster: Cluster, other_cluster: Cluster, new_namespace: Callable[..., str], tmp_path: Path
) -> None:
    namespace = new_namespace(cluster, other_cluster)
    for each in (cluster, other_cluster):
        each.create_service_account(namespace, "atlas")
        each.create_pod(namespace, "atlas-0", "atlas")
    here, there = (
        each.token(namespace, "atlas", [AUDIENCE], pod="atlas-0") for each in (cluster, other_cluster)
    )
    keys = {"here": cluster.jwks(), "there": other_cluster.jwks()}
    first = {"atlas": ("here", (namespace, "atlas"))}
    folder = manifests(tmp_path / "manifests", keys, first)

    with running_dev(folder) as gate:
        assert gate.ask(here, f"/authz/envoy{USAGE_PATH}").status == 200
        assert gate.ask(there).reason == "unknown_workload"

        manifests(folder, keys, {**first, "atlas-there": ("there", (namespace, "atlas"))})
        wait_until(lambda: gate.ask(there).status == 200, what="the other cluster's atlas in")
        assert gate.ask(there).headers["X-Watchword-Workload"] == "tuist/atlas-there"
        assert gate.ask(here).headers["X-Watchword-Workload"] == "tuist/atlas"
