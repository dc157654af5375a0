# SPDX-License-Identifier: Apache-2.0
"""Processes under measurement: the real gate on a bundle, and the bare responder next to it."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testing.tokens import AUDIENCE, URL, Signer
from watchword.trust import compile_resources, encode_bundle, parse_manifests


def objects(signer: Signer, workloads: int = 1) -> list[dict[str, object]]:
    """One service that trusts `workloads` workloads, of which the first is the default token's."""
    names = [
        ("atlas-production", "atlas"),
        *((f"team-{n % 100}", f"caller-{n}") for n in range(workloads - 1)),
    ]
    api = "watchword.dev/v1alpha1"
    issuer = {"issuer": URL, "keys": {"inline": {"keys": [signer.jwk]}}}
    return [
        {
            "apiVersion": api,
            "kind": "ClusterTrustedIssuer",
            "metadata": {"name": "production"},
            "spec": issuer,
        },
        {
            "apiVersion": api,
            "kind": "ProtectedService",
            "metadata": {"namespace": "tuist", "name": "tuist-server"},
            "spec": {
                "audiences": [AUDIENCE],
                "selector": {"matchLabels": {"app": "tuist-server"}},
                "port": 8443,
                "upstreamPort": 8080,
                "token": {"maxLifetimeSeconds": 86400},
            },
        },
        *(
            {
                "apiVersion": api,
                "kind": "TrustedWorkload",
                "metadata": {"namespace": "tuist", "name": f"workload-{number}"},
                "spec": {
                    "serviceRef": {"name": "tuist-server"},
                    "issuerRef": {"name": "production"},
                    "serviceAccount": {"namespace": namespace, "name": name},
                    "grants": [{"scopes": ["account:usage:read"], "accounts": ["*"]}],
                },
            }
            for number, (namespace, name) in enumerate(names)
        ),
    ]


def bundle(signer: Signer, workloads: int = 1) -> bytes:
    """The bundle of those objects."""
    made = enumerate(objects(signer, workloads))
    files = ((f"{number}.json", json.dumps(each).encode()) for number, each in made)
    manifests = parse_manifests(files)
    compilation = compile_resources(manifests.resources)
    assert not manifests.problems, manifests.problems[:3]
    assert not compilation.problems, compilation.problems[:3]
    return encode_bundle(compilation.bundles[0])


@contextmanager
def bare_responder() -> Iterator[tuple[int, int]]:
    """The floor, started: its pid and port."""
    command = [sys.executable, "-m", "benchmarks.bare_responder"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def gate(folder: Path, document: bytes) -> Iterator[tuple[int, int, float]]:
    """The gate, started and ready: its pid, its port, and the seconds from start to ready."""
    path = folder / "bundle.json"
    path.write_bytes(document)
    port, ops_port = free_port(), free_port()
    command = [sys.executable, "-m", "watchword.cli.main", "sidecar", "--bundle", str(path)]
    command += ["--listen", f"127.0.0.1:{port}", "--ops-listen", f"127.0.0.1:{ops_port}"]
    command += ["--usage-dsn", f"sqlite:///{folder}/usage.db", "--audit", "off"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not is_ready(ops_port):
                if process.poll() is not None:
                    raise RuntimeError(f"the gate ended with {process.returncode}: {' '.join(command)}")
                time.sleep(0.005)
            yield process.pid, port, time.perf_counter() - start
        finally:
            process.terminate()


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:  # URLError and TimeoutError are ones
        return False


def free_port() -> int:
    """A port of this machine that no one listens on."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
