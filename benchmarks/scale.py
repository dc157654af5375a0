# SPDX-License-Identifier: Apache-2.0
"""What grows, and how fast: the bundle of one service by its workloads and by its clusters, in pure code; and
a whole installation on a real API server, by services and workloads. See docs/explanation/scale.md.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.propagation import ISSUER, edited, memory_of, populate, started
from benchmarks.table import markdown
from testing.controlplane import Cluster, find_binaries, start_cluster
from testing.operated import OPERATOR_USER, Operated, audit_flags
from testing.operator_process import Replica, kubeconfig_of
from testing.tokens import Signer
from watchword.trust import (
    ProtectedService,
    TrustedWorkload,
    encode_bundle,
    parse_manifests,
)
from watchword.trust.bundle import pack_bundle
from watchword.trust.crd.definitions import definitions
from watchword.trust.issuers import Issuers, ready_issuers
from watchword.trust.service import compile_service

_TEAMS, _WORDS = (
    400,
    ("ledger", "cache", "search", "upload", "mail", "report", "build", "index", "edge", "auth"),
)
_KINDS = (
    "/apis/watchword.dev/v1alpha1/clustertrustedissuers",
    "/apis/watchword.dev/v1alpha1/protectedservices",
    "/apis/watchword.dev/v1alpha1/trustedworkloads",
    "/api/v1/configmaps",
    "/apis/rbac.authorization.k8s.io/v1/roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    "/apis/networking.k8s.io/v1/networkpolicies",
)


def main() -> None:
    """Measure what the flags ask for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--workloads", type=int, nargs="*", default=[100, 1000, 10_000, 50_000, 100_000])
    parser.add_argument("--clusters", type=int, nargs="*", default=[1, 10, 100, 1000])
    parser.add_argument("--services", type=int, nargs="*", default=[10, 100, 1000], help="10 workloads each")
    parser.add_argument("--edits", type=int, default=200, help="of one workload, in each installation")
    given = parser.parse_args()
    print(f"One service:\n\n{by_workloads(given.workloads)}\n", flush=True)
    print(f"One service with 1,000 workloads, by clusters:\n\n{by_clusters(given.clusters)}\n", flush=True)
    if given.services:
        print(f"An installation:\n\n{installations(given.services, given.edits)}")


def run() -> str:
    """The small sizes, for `python -m benchmarks`."""
    return by_workloads([100, 1000, 10_000])


def by_workloads(sizes: Sequence[int]) -> str:
    """The bundle of one service that trusts ever more workloads, half of them of its own cluster."""
    rows = []
    for size in sizes:
        issuers, service, workloads, uids = _world(size, 2)
        figures = _compiled(service, workloads, issuers, uids)
        rows.append((f"{size:,}", *figures))
    return markdown(("workloads", "compile", "JSON", "as stored (gzip)", "NetworkPolicy"), rows)


def by_clusters(sizes: Sequence[int]) -> str:
    """The same with 1,000 workloads that come from ever more clusters, each with two RSA keys."""
    rows = []
    for size in sizes:
        issuers, service, workloads, uids = _world(1000, size)
        rows.append((f"{size:,}", *_compiled(service, workloads, issuers, uids)))
    return markdown(("clusters", "compile", "JSON", "as stored (gzip)", "NetworkPolicy"), rows)


def _compiled(
    service: ProtectedService,
    workloads: Sequence[TrustedWorkload],
    issuers: Issuers,
    uids: dict[tuple[str, str], str],
) -> tuple[str, ...]:
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        compiled = compile_service(service, workloads, issuers, live_uids=uids)
        data = encode_bundle(compiled.bundle)
        packed = pack_bundle(data)
        seconds.append(time.perf_counter() - begun)
    assert not compiled.problems, compiled.problems[:3]
    policy = len(json.dumps(compiled.policy))
    return f"{statistics.median(seconds) * 1000:.1f} ms", _size(len(data)), _size(len(packed)), _size(policy)


def _size(count: int) -> str:
    return f"{count / 1024:,.0f} KiB" if count < 10 << 20 else f"{count / (1 << 20):,.1f} MiB"


def _world(
    size: int, clusters: int
) -> tuple[Issuers, ProtectedService, list[TrustedWorkload], dict[tuple[str, str], str]]:
    """Names as people give them: alike enough to pack well, and different enough not to pack too well."""
    dice = random.Random(size)
    keys = [Signer(f"key-{number}") for number in range(4)]
    objects: list[dict[str, Any]] = [
        _object("ProtectedService", "tuist-server", audiences=["tuist-server"], port=8443, upstreamPort=8080,
                selector={"matchLabels": {"app": "tuist-server"}})
    ]  # fmt: skip
    for number in range(clusters):
        # RSA keys take a while to make: their bytes are drawn instead, since nothing is verified here.
        jwks = [_drawn(dice, each.jwk, number, place) for place, each in enumerate(keys[:2])]
        source = {"inline": {"keys": jwks}} if number else {"cluster": {}}
        objects.append(
            _object(
                "ClusterTrustedIssuer", f"cluster-{number}", issuer=f"https://c{number}.example", keys=source
            )
        )
    uids: dict[tuple[str, str], str] = {}
    for number in range(size):
        team = f"{dice.choice(_WORDS)}-{dice.randrange(_TEAMS)}"
        account = (f"{team}-production", f"{dice.choice(_WORDS)}-{number}")
        cluster = 0 if number % 2 == 0 else number % clusters
        if cluster == 0:
            uids[account] = str(uuid.UUID(int=dice.getrandbits(128)))
        objects.append(
            _object(
                "TrustedWorkload",
                f"{account[1]}-{team}",
                serviceRef={"name": "tuist-server"},
                issuerRef={"name": f"cluster-{cluster}"},
                serviceAccount={"namespace": account[0], "name": account[1]},
                grants=[{"scopes": ["account:usage:read"], "accounts": [f"acct_{dice.randrange(2000)}"]}],
                **{"from": [{"ipBlock": {"cidr": f"10.{dice.randrange(200)}.0.0/16"}}]},
            )
        )
    parsed = parse_manifests((f"{n}.json", json.dumps(each).encode()) for n, each in enumerate(objects))
    assert not parsed.problems, parsed.problems[:3]
    own = json.dumps({"keys": [each.jwk for each in keys[2:]]}).encode()
    issuers = ready_issuers(parsed.resources, {"cluster-0": own})
    resources = parsed.resources
    [service] = resources.services
    return issuers, service, list(resources.workloads), uids


def _object(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name} if kind == "ClusterTrustedIssuer" else {"name": name, "namespace": "tuist"}
    return {"apiVersion": "watchword.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def _drawn(dice: random.Random, jwk: dict[str, Any], number: int, place: int) -> dict[str, Any]:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    drawn = jwk["n"][:4] + "".join(dice.choices(alphabet, k=len(jwk["n"]) - 6)) + jwk["n"][-2:]
    return {**jwk, "n": drawn, "kid": f"{number}-{place}-{dice.getrandbits(128):032x}"}


def installations(sizes: Sequence[int], edits: int) -> str:
    """A real API server and operator with so many services of ten workloads, at rest and under edits."""
    columns = []
    for services in sizes:
        with tempfile.TemporaryDirectory() as folder:
            columns.append(_installation(Path(folder), services, services * 10, edits))
        print(f"measured: {services:,} services", file=sys.stderr, flush=True)
    rows = [(what, *(column[what] for column in columns)) for what in columns[0]]
    return markdown(("services", *(f"{services:,}" for services in sizes)), rows)


def _installation(folder: Path, services: int, workloads: int, edits: int) -> dict[str, str]:
    signer = Signer("bench-0")
    users = {OPERATOR_USER: ["system:masters"]}
    flags = audit_flags(folder)
    with start_cluster(folder / "cluster", binaries=find_binaries(), users=users, flags=flags) as cluster:
        for definition in definitions():
            cluster.apply(definition)
        populate(cluster, services, workloads, 1, signer)
        config = kubeconfig_of(cluster, folder / "kubeconfig", bearer=cluster.bearer(OPERATOR_USER))
        with started(cluster, config, folder, "first") as (replica, first):
            begun = time.monotonic()
            Operated(cluster, replica, folder / "audit.log", ISSUER).settle(3600)
            statuses = time.monotonic() - begun
            highest = memory_of(replica.pid, "VmHWM")
        with started(cluster, config, folder, "second") as (replica, second):
            operated = Operated(cluster, replica, folder / "audit.log", ISSUER)
            operated.settle(600)
            before = _bundles(replica)
            edited_rows = dict(edited(operated, folder, edits, signer))
            seconds, count = (now - then for now, then in zip(_bundles(replica), before, strict=True))
            memory = memory_of(replica.pid, "VmRSS")
        objects, size = _stored(cluster)
    return {
        "workloads": f"{workloads:,}",
        "objects of ours in the API server": f"{objects:,}",
        "their JSON": _size(size),
        "first start, to all bundles written": f"{first:.1f} s",
        "after that, to all statuses written": f"{statuses:.1f} s",
        "memory (RSS) at its highest, first start": highest,
        "start with nothing to write": f"{second:.1f} s",
        **edited_rows,
        "of it, first event to bundle written, mean": f"{seconds / count * 1000:.0f} ms",
        "memory (RSS) after the edits": memory,
    }


def _bundles(replica: Replica) -> tuple[float, float]:
    """Seconds from first event to bundle, summed up, and how many bundles."""
    name = "watchword_operator_edit_to_bundle_seconds"
    return replica.metric(f"{name}_sum"), replica.metric(f"{name}_count")


def _stored(cluster: Cluster) -> tuple[int, int]:
    """How many objects of ours there are, and how long they are as JSON."""
    count = size = 0
    for path in _KINDS:
        page: dict[str, str] = {"limit": "500"}
        while True:
            listed = cluster.request("GET", path, parameters=page)
            for item in listed["items"]:
                ours = "watchword" in path or "app.kubernetes.io/managed-by" in item["metadata"].get(
                    "labels", {}
                )
                count, size = count + ours, size + (len(json.dumps(item)) if ours else 0)
            if not (next_page := listed["metadata"].get("continue")):
                break
            page["continue"] = next_page
    return count, size


if __name__ == "__main__":
    main()
