# SPDX-License-Identifier: Apache-2.0
"""One namespace full of the largest objects that an API server stores: the operator stays within its memory.

They are as stored under older CRDs, which bounded less; no CRD can bound annotations and labels. A
neighbour's edits count meanwhile, and again after a restart, which reads everything at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane import Cluster
from testing.operated import Operated
from testing.operator_process import Replica, give_back_lease, kubeconfig_of, running_operator
from tests.memory import bound_of, memory_of
from watchword.trust.crd.definitions import definitions

OBJECTS = 120
OBJECT_BYTES = int(1.15 * 1024 * 1024)
Object = dict[str, Any]


def older(definition: Object) -> Object:
    """A CRD that bounds nothing of the spec."""
    [version] = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    if definition["spec"]["names"]["kind"] == "TrustedWorkload":
        schema["properties"]["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        schema.pop("x-kubernetes-validations", None)
        version.pop("selectableFields")
    return definition


def padded(number: int) -> list[str]:
    return [f"{number:04}-{place:05}".ljust(120, "x") for place in range(1000)]


def large(operated: Operated, place: str, number: int) -> Object:
    """An object of the size, in what it says or, every second one, in labels and annotations."""
    made = operated.workload(place, f"large-{number:03}", (place, f"a{number}"))
    if number % 2:
        # Each label is listed in managedFields too; more of them take the API server seconds each.
        made["metadata"]["annotations"] = {"example.com/padding": "x" * 250_000}
        made["metadata"]["labels"] = {f"padding-{count:05}": "x" * 63 for count in range(3_000)}
    else:
        grants = [{"scopes": ["account:usage:read"], "accounts": padded(each)} for each in range(32)]
        while len(json.dumps(grants, separators=(",", ":"))) > OBJECT_BYTES - 500:
            del grants[-1]
        made["spec"]["grants"] = grants
    return made


def large_name(operated: Operated, place: str, number: int) -> Object:
    """An object of which only the name counts."""
    return operated.workload(place, f"large-{number:03}")


@pytest.fixture
def stored(own_cluster: Cluster) -> Cluster:
    for definition in definitions():
        own_cluster.apply(older(definition))
    give_back_lease(own_cluster)
    return own_cluster


@pytest.fixture
def replica(stored: Cluster, tmp_path: Path) -> Iterator[Replica]:
    with running_operator(kubeconfig_of(stored, tmp_path / "kubeconfig"), tmp_path) as running:
        running.wait_until(running.is_leading, "it leads and is warm", timeout_seconds=90)
        yield running


@pytest.mark.timeout(600)
def test_a_namespace_of_the_largest_objects_leaves_the_operator_within_its_memory(
    stored: Cluster, replica: Replica, tmp_path: Path
) -> None:
    operated = Operated(stored, replica, tmp_path / "audit.log", issuer="here")
    issuer = operated.trusted_issuer(name="here", keys={"cluster": {}})
    operated.apply(issuer)
    operated.wait_for(issuer, "Ready/KeysTrusted")
    place, neighbour = operated.new_namespace(), operated.new_namespace()
    operated.account(neighbour)
    kept = operated.workload(neighbour)
    operated.apply(operated.service(place), operated.service(neighbour), kept)
    operated.wait_for(kept, "Ready/Trusted")

    path = f"/apis/watchword.dev/v1alpha1/namespaces/{place}/trustedworkloads"
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(
            lambda number: stored.request("POST", path, large(operated, place, number)), range(OBJECTS)
        )
        assert sum(1 for _ in made) == OBJECTS
    operated.edit(kept, suspend=True)
    operated.wait_for(kept, "Ready/Suspended")
    # What is large in its metadata is as good as any; what is large in its spec is not read, and says so. A
    # busy API server takes seconds for each status of so large an object: one of each kind is waited for.
    said: dict[str, str] = {}

    def both_kinds_are_told() -> bool:
        for number in range(OBJECTS):
            ready = operated.condition(large_name(operated, place, number), "Ready")
            said.setdefault(ready.get("reason", ""), ready.get("message", ""))
        return {"ServiceAccountGone", "InvalidField"} <= said.keys()

    replica.wait_until(both_kinds_are_told, "both kinds say what they are", timeout_seconds=120)
    assert "bytes" in said["InvalidField"]
    assert operated.replica.metric("watchword_operator_workloads") == OBJECTS + 1
    first, bound = memory_of(replica.pid).peak, bound_of("operator")
    assert first < bound, f"{first / 2**20:.0f} MiB"

    assert replica.stop() == 0
    with running_operator(kubeconfig_of(stored, tmp_path / "again"), tmp_path, name="again") as again:
        again.wait_until(again.is_leading, "it leads and is warm", timeout_seconds=120)
        operated = Operated(stored, again, tmp_path / "audit.log", issuer="here")
        operated.edit(kept, suspend=False)
        operated.wait_for(kept, "Ready/Trusted")
        second = memory_of(again.pid).peak
        print(f"highest RSS: {first / 2**20:.0f} MiB, after a restart {second / 2**20:.0f} MiB")
        assert second < bound, f"{second / 2**20:.0f} MiB"
