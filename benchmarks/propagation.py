# SPDX-License-Identifier: Apache-2.0
"""From an edit of a TrustedWorkload to the first changed answer of a gate, on a real API server, at size.

Everything is as in production but for the kubelet: kube-apiserver and etcd, the operator as a process under
its own user, and a gate as a process that follows its ConfigMap with its ServiceAccount's own Role. What is
timed is what a person sees: from before the request that edits, to the answer on /authz that is another one.
"""

import argparse
import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.table import markdown
from testing.controlplane import Cluster, find_binaries, start_cluster, wait_until
from testing.gate_process import running_gate
from testing.operated import AUDIENCE, OPERATOR_USER, Operated, audit_flags, path_of, signed
from testing.operator_process import Replica, give_back_lease, kubeconfig_of, running_operator
from testing.tokens import Signer
from watchword.trust import encode_bundle
from watchword.trust.crd.definitions import definitions

PER_NAMESPACE = 50
ISSUER = "bench"
FOLLOWED = "s0"
Row = tuple[str, str]


def main() -> None:
    """Measure at the sizes that the flags give, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.propagation", description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--workloads", type=int, default=10_000, help="in all, spread over the services")
    parser.add_argument("--issuers", type=int, default=1)
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="keep logs there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        print(report(measure(folder, given.services, given.workloads, given.issuers, given.edits)))


def run() -> str:
    """The table at a size that takes a minute, for `python -m benchmarks`."""
    with tempfile.TemporaryDirectory() as folder:
        return report(measure(Path(folder), 100, 1000, 1, 50))


def report(rows: list[Row]) -> str:
    """The rows as a table."""
    return markdown(("what", "measured"), rows)


def measure(folder: Path, services: int, workloads: int, issuers: int, edits: int) -> list[Row]:
    """Populate an API server, start the operator on it, and edit one workload again and again."""
    folder.mkdir(parents=True, exist_ok=True)
    signer = Signer("bench-0")
    with start_cluster(
        folder / "cluster",
        binaries=find_binaries(),
        users={OPERATOR_USER: ["system:masters"]},
        flags=audit_flags(folder),
    ) as cluster:
        for definition in definitions():
            cluster.apply(definition)
        populate(cluster, services, workloads, issuers, signer)
        config = kubeconfig_of(cluster, folder / "kubeconfig", bearer=cluster.bearer(OPERATOR_USER))
        rows: list[Row] = [("services, workloads, issuers", f"{services:,}, {workloads:,}, {issuers:,}")]
        with started(cluster, config, folder, "first") as (replica, seconds):
            rows.append(("first start, every bundle to be written: to all bundles right", f"{seconds:.1f} s"))
            begun = time.monotonic()
            Operated(cluster, replica, folder / "audit.log", ISSUER).settle(3600)
            rows.append(("after that, to all statuses written", f"{time.monotonic() - begun:.1f} s"))
            rows.append(("memory (RSS) at its highest, first start", memory_of(replica.pid, "VmHWM")))
        with started(cluster, config, folder, "second") as (replica, seconds):
            rows.append(("start with nothing to write: to all bundles right", f"{seconds:.1f} s"))
            operated = Operated(cluster, replica, folder / "audit.log", ISSUER)
            operated.settle(600)
            rows += edited(operated, folder, edits, signer)
            rows.append(("memory (RSS) at its highest, with the edits", memory_of(replica.pid, "VmHWM")))
        return rows


@contextmanager
def started(cluster: Cluster, config: Path, folder: Path, name: str) -> Iterator[tuple[Replica, float]]:
    """An operator that has taken a free Lease, and the seconds until it was warm."""
    give_back_lease(cluster)
    begun = time.monotonic()
    with running_operator(config, folder / "operator", name=name) as replica:
        replica.wait_until(replica.is_leading, "all bundles are right", 1800)
        yield replica, time.monotonic() - begun


def edited(operated: Operated, folder: Path, edits: int, signer: Signer) -> list[Row]:
    """Suspend and resume one workload, with a gate that follows."""
    namespace = namespace_of(0)
    bundle = operated.bundle(namespace, FOLLOWED)
    assert bundle is not None
    boot = folder / "bundle.json"
    boot.write_bytes(encode_bundle(bundle))
    cluster = operated.cluster
    cluster.create_service_account(namespace, "default")
    bearer = folder / "gate-token"
    bearer.write_text(cluster.token(namespace, "default", expiration_seconds=7200))
    flags = (
        "--watch", f"{namespace}/watchword-bundle-{FOLLOWED}", "--api-server", cluster.url,
        "--api-token-file", str(bearer), "--api-ca-file", str(cluster.authority), "--audit", "off",
    )  # fmt: skip
    path = path_of(operated.workload(namespace, "w0"))
    seconds: list[float] = []
    with running_gate(boot, *flags, log=folder / "gate.log") as gate:
        client = Caller(gate.url, signed(signer, "callers", "a0"))
        wait_until(lambda: client.ask() == 200, what="the gate lets the workload in")
        before = len(operated.requests())
        for number in range(edits):
            is_suspended = number % 2 == 0
            expected = 403 if is_suspended else 200
            begun = time.perf_counter()
            operated.merge(path, {"spec": {"suspend": is_suspended}})
            while client.ask() != expected:
                assert time.perf_counter() - begun < 60, "the edit did not arrive"
                time.sleep(0.001)
            seconds.append(time.perf_counter() - begun)
            # An edit is a person's: each finds the operator at rest, at no particular moment.
            time.sleep(0.3 + (number % 10) * 0.03)
        operated.settle(60)
        asked = operated.requests()[before:]
    cuts = statistics.quantiles(seconds, n=100)
    verbs = sorted({f"{each.verb} {each.resource}" for each in asked})
    return [
        ("edits", str(edits)),
        ("edit to first changed answer, p50", f"{cuts[49] * 1000:.0f} ms"),
        ("the same, p99", f"{cuts[98] * 1000:.0f} ms"),
        ("the same, slowest", f"{max(seconds) * 1000:.0f} ms"),
        ("API requests of the operator for an edit, by the audit log", f"{len(asked) / edits:.2f}"),
        ("which", ", ".join(verbs)),
    ]


class Caller:
    """A workload that calls over one connection."""

    def __init__(self, url: str, token: bytes) -> None:
        """Call a gate with a token."""
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        self._headers = {"Authorization": f"Bearer {token.decode()}"}

    def ask(self) -> int:
        """The status of one answer."""
        self._connection.request("GET", "/authz", headers=self._headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


def populate(cluster: Cluster, services: int, workloads: int, issuers: int, signer: Signer) -> None:
    """Objects of a company of this size; the first issuer's key is the signer's."""
    api = "/apis/watchword.dev/v1alpha1"
    for number in range((services - 1) // PER_NAMESPACE + 1):
        cluster.create_namespace(namespace_of(number * PER_NAMESPACE))
    blank: dict[str, Any] = {"apiVersion": "watchword.dev/v1alpha1"}

    def make(kind: str, plural: str, namespace: str, name: str, spec: dict[str, Any]) -> None:
        place = f"/namespaces/{namespace}" if namespace else ""
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        cluster.request(
            "POST", f"{api}{place}/{plural}", blank | {"kind": kind, "metadata": metadata, "spec": spec}
        )

    def issuer(number: int) -> None:
        jwk = signer.jwk if number == 0 else Signer(f"bench-{number}", "ES256").jwk
        name = ISSUER if number == 0 else f"{ISSUER}-{number}"
        spec = {"issuer": cluster.issuer, "keys": {"inline": {"keys": [jwk]}}}
        make("ClusterTrustedIssuer", "clustertrustedissuers", "", name, spec)

    def service(number: int) -> None:
        spec = {
            "audiences": [AUDIENCE],
            "selector": {"matchLabels": {"app": f"s{number}"}},
            "port": 8443,
            "upstreamPort": 8080,
            "routes": [
                {"path": "/api/accounts/{account}/usage", "methods": ["GET"], "scope": "account:usage:read"}
            ],
        }
        make("ProtectedService", "protectedservices", namespace_of(number), f"s{number}", spec)

    def workload(number: int) -> None:
        place = number % services
        spec = {
            "serviceRef": {"name": f"s{place}"},
            "issuerRef": {"name": ISSUER},
            "serviceAccount": {"namespace": "callers", "name": f"a{number}"},
            "grants": [{"scopes": ["account:usage:read"], "accounts": ["*"]}],
            "from": [{"ipBlock": {"cidr": f"10.{place % 200}.0.0/16"}}],
        }
        make("TrustedWorkload", "trustedworkloads", namespace_of(place), f"w{number}", spec)

    with ThreadPoolExecutor(8) as threads:
        for makes, count in ((issuer, issuers), (service, services), (workload, workloads)):
            list(threads.map(makes, range(count)))


def namespace_of(service: int) -> str:
    """The namespace of a service."""
    return f"team-{service // PER_NAMESPACE}"


def memory_of(pid: int, which: str) -> str:
    """A line of /proc/PID/status, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{which}:"):
            return f"{int(line.split()[1]) / 1024:.0f} MiB"
    return json.dumps(None)


if __name__ == "__main__":
    main()
