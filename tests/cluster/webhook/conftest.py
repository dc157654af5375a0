# SPDX-License-Identifier: Apache-2.0
"""The webhook as a process, under exactly the rights that it is shipped with, called by a real API server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.controlplane import Cluster
from testing.controlplane.process import reserved_port, running, wait_until
from testing.logs import log_lines
from testing.manifests import issuer
from testing.tokens import signer
from tests.shipped import access_of
from watchword.trust.crd.definitions import definitions

SYSTEM, CONFIGURATION = "watchword-system", "watchword-webhook"
OPS_PORT = 9090
API = "watchword.dev/v1alpha1"


@dataclass(frozen=True, slots=True)
class RunningWebhook:
    """A webhook process."""

    port: int
    ops: str
    log: Path
    pid: int

    def ready(self) -> httpx.Response:
        """What /readyz says."""
        return httpx.get(f"{self.ops}/readyz", trust_env=False, timeout=30)

    def counted(self, sample: str) -> float:
        """A metric's value; 0 where it was never counted."""
        text = httpx.get(f"{self.ops}/metrics", trust_env=False, timeout=30).text
        found = [line.split(" ")[-1] for line in text.splitlines() if line.startswith(sample)]
        return float(found[0]) if found else 0.0


def configuration(port: int) -> dict[str, Any]:
    """As the chart has it, called by URL for want of a cluster network."""
    common = {
        "clientConfig": {"url": f"https://localhost:{port}/inject"},
        "rules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
        ],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "reinvocationPolicy": "IfNeeded",
        "timeoutSeconds": 10,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": CONFIGURATION},
        "webhooks": [
            {
                "name": f"{part}.inject.watchword.dev",
                "objectSelector": {
                    "matchExpressions": [{"key": f"watchword.dev/{part}", "operator": "Exists"}]
                },
                **common,
            }
            for part in ("gate", "call", "exchange")
        ],
    }


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Cluster:
    """A cluster with the CRDs, the webhook's rights, and an issuer."""
    for definition in definitions():
        cluster.apply(definition)
    for each in access_of(CONFIGURATION):
        cluster.apply(each)
    cluster.apply(issuer("webhook-test", signer("webhook-test")))
    return cluster


@contextmanager
def running_webhook(
    cluster: Cluster,
    folder: Path,
    port: int,
    *flags: str,
    name: str = "webhook",
    has_to_be_ready: bool = True,
) -> Iterator[RunningWebhook]:
    """`watchword webhook` until the block ends; ready on entry, or where that is not asked for, listening."""
    token, log = folder / f"{name}.token", folder / f"{name}.log"
    token.write_text(cluster.token(SYSTEM, CONFIGURATION, expiration_seconds=3600))
    command = [sys.executable, "-m", "watchword.cli.main", "webhook"]
    given = {
        "--listen": f"127.0.0.1:{port}",
        "--ops-listen": "127.0.0.1:0",
        "--dns-name": "localhost",
        "--gate-image": "registry.invalid/watchword:test",
        "--api-server": cluster.url,
        "--api-token-file": str(token),
        "--api-ca-file": str(cluster.authority),
    }
    command += [*(part for pair in given.items() for part in pair), *flags]

    def ops() -> str | None:
        for entry in log_lines(log, "listening"):
            return f"http://{entry['ops_listen']}"
        return None

    def is_ready() -> bool:
        found = ops()
        if found is None or not has_to_be_ready:
            return found is not None
        try:
            return httpx.get(f"{found}/readyz", trust_env=False, timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    with running(command, log=log, is_ready=is_ready, timeout_seconds=60) as pid:
        yield RunningWebhook(port, str(ops()), log, pid)


@pytest.fixture(scope="module")
def webhook(installed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWebhook]:
    """A webhook that the API server calls."""
    with reserved_port() as port:
        pass
    installed.apply(configuration(port))
    try:
        with running_webhook(installed, tmp_path_factory.mktemp("webhook"), port) as found:
            wait_until(lambda: found.ready().status_code == 200, what="webhook ready")
            yield found
    finally:
        installed.request(
            "DELETE",
            f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{CONFIGURATION}",
        )
