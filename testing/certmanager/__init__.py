# SPDX-License-Identifier: Apache-2.0
"""cert-manager next to a test's API server: its own controllers, built with Go on first use.

What the chart asks of cert-manager is only proven where cert-manager itself renews the certificates: which
Secret keeps which key, and what the API server is told to trust, are its decisions and not the chart's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import yaml

from testing.controlplane.build import BuildFailedError, GoBuild
from testing.controlplane.cache import Recipe, find_or_build
from testing.controlplane.cluster import Cluster
from testing.controlplane.process import Program, running_program, wait_until

SOURCE = Path(__file__).parent
_MODULE = "github.com/cert-manager/cert-manager"
_CERTIFICATES = "/apis/cert-manager.io/v1/namespaces/{}/certificates/{}"


def certmanager_version(source: Path = SOURCE) -> str:
    """The version of cert-manager that `go.mod` pins, such as `v1.21.2`."""
    found = re.search(rf"^\s*{re.escape(_MODULE)} (v\S+)$", (source / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise BuildFailedError(f"{source / 'go.mod'}: no `{_MODULE} vX.Y.Z` among its requirements.")
    return found.group(1)


def find_certmanager(environment: Mapping[str, str] = os.environ, progress: TextIO | None = None) -> Path:
    """The program that runs cert-manager's controllers; built on first use.

    Raises what `find_or_build` raises.
    """
    version = certmanager_version()
    recipe = Recipe(
        name="certmanager",
        title=f"cert-manager {version}'s controllers",
        version=version,
        source=SOURCE,
        files=("go.mod", "go.sum", "controllers/main.go"),
        builds=((GoBuild(("./controllers",)), "controllers"),),
    )
    return find_or_build(recipe, environment, progress) / "controllers"


def definitions() -> list[dict[str, Any]]:
    """cert-manager's CustomResourceDefinitions, as its module has them.

    Raises `BuildFailedError` where the module is not to be had.
    """
    command = ["go", "mod", "download", "-json", _MODULE]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildFailedError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    folder = Path(json.loads(done.stdout)["Dir"]) / "deploy/crds"
    return [
        document
        for path in sorted(folder.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document
    ]


@contextmanager
def running_certmanager(cluster: Cluster, program: Path, folder: Path) -> Iterator[Program]:
    """Run cert-manager until the block ends, as the cluster's admin; its definitions are there on entry.

    Raises `StartFailedError`.
    """
    for definition in definitions():
        cluster.apply(definition)
    path = "/apis/cert-manager.io/v1"
    wait_until(lambda: _is_served(cluster, path), what="cert-manager's kinds are served", timeout_seconds=60)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "certmanager.log"
    # Nothing is asked of it before its first certificate, for which a test waits anyway.
    command = [str(program), str(cluster.kubeconfig)]
    with running_program(command, log=log, is_ready=log.exists, timeout_seconds=60) as running:
        yield running


def _is_served(cluster: Cluster, path: str) -> bool:
    kinds = {each["kind"] for each in cluster.request("GET", path).get("resources", [])}
    return {"Certificate", "CertificateRequest", "Issuer", "ClusterIssuer"} <= kinds


def renew(cluster: Cluster, namespace: str, name: str) -> None:
    """Have a Certificate renewed now, as `cmctl renew` does: its condition Issuing is set."""
    path = _CERTIFICATES.format(namespace, name)
    found = cluster.request("GET", path)
    kept = [each for each in found["status"].get("conditions", []) if each["type"] != "Issuing"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    issuing = {
        "type": "Issuing",
        "status": "True",
        "reason": "ManuallyTriggered",
        "message": "Certificate re-issuance manually triggered",
        "lastTransitionTime": now,
        "observedGeneration": found["metadata"]["generation"],
    }
    body = {
        "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
        "status": {"conditions": [*kept, issuing]},
    }
    cluster.request("PATCH", f"{path}/status", body, content_type="application/merge-patch+json")
