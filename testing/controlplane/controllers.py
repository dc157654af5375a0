# SPDX-License-Identifier: Apache-2.0
"""kube-controller-manager next to a test's API server: what deletes namespaces and what an owner leaves.

A rule about who may delete an object is only proven where those delete who do it in production. Without the
real garbage collector and namespace controller, a policy that leaves namespaces terminating looks right.
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from testing.controlplane.binary import SOURCE, kubernetes_version
from testing.controlplane.build import kubernetes_build
from testing.controlplane.cache import Recipe, find_or_build
from testing.controlplane.certificates import write_private_file
from testing.controlplane.cluster import Cluster
from testing.controlplane.process import Program, reserved_port, running_program

# Start the API server with this user (`start_cluster(users=...)`): RBAC's own roles are bound to it.
CONTROLLER_MANAGER = "system:kube-controller-manager"
_CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "validatingadmissionpolicy-status-controller",
    "clusterrole-aggregation-controller",
)


def find_controller_manager(
    environment: Mapping[str, str] = os.environ, progress: TextIO | None = None
) -> Path:
    """The `kube-controller-manager` program, of the API server's version; built on first use.

    Raises what `find_or_build` raises.
    """
    version = kubernetes_version()
    recipe = Recipe(
        name="controllers",
        title=f"Kubernetes {version}'s controller manager",
        version=version,
        source=SOURCE,
        files=("go.mod", "go.sum", "controllers/main.go"),
        builds=((kubernetes_build(version, "./controllers"), "kube-controller-manager"),),
    )
    return find_or_build(recipe, environment, progress) / "kube-controller-manager"


@contextmanager
def running_controllers(cluster: Cluster, program: Path, folder: Path) -> Iterator[Program]:
    """Run the controllers of a cluster until the block ends, each with its own ServiceAccount.

    `cluster` was started with `CONTROLLER_MANAGER` among its users; logs are in `folder`.

    Raises `StartFailedError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = json.loads(cluster.kubeconfig.read_text())
    content["users"][0]["user"] = {"token": cluster.bearer(CONTROLLER_MANAGER)}
    kubeconfig = folder / "controllers.kubeconfig"
    write_private_file(kubeconfig, json.dumps(content).encode())
    key = cluster.kubeconfig.with_name("service-account.key")
    with reserved_port() as port:
        command = [
            str(program),
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            "--permit-port-sharing=true",
            f"--cert-dir={folder}",
            f"--kubeconfig={kubeconfig}",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={key}",
            f"--root-ca-file={cluster.authority}",
            f"--controllers={','.join(_CONTROLLERS)}",
            "--leader-elect=false",
        ]
        url = f"https://127.0.0.1:{port}/healthz"
        log = folder / "kube-controller-manager.log"
        with running_program(command, log=log, is_ready=lambda: _answers(url)) as running:
            yield running


def _answers(url: str) -> bool:
    # It makes a certificate of its own at each start: whether it is up is all that is asked, of loopback.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:  # noqa: S310 - https
            return bool(answer.status == 200)
    except OSError:
        return False
