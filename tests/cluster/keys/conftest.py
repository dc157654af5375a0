# SPDX-License-Identifier: Apache-2.0
"""Our kinds on the shared API server, a real kubectl that reaches it, and issuers with a status."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from testing.controlplane import Cluster
from tests.cluster.keys.contexts import write_contexts
from watchword.cli.main import watchword
from watchword.trust.crd.definitions import definitions
from watchword.trust.key_rotation.held_keys import HeldKey, held_to_status

ISSUERS = "/apis/watchword.dev/v1alpha1/clustertrustedissuers"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def kinds(cluster: Cluster) -> Cluster:
    """The shared API server with our kinds."""
    for definition in definitions():
        cluster.apply(definition)
    return cluster


@dataclass(frozen=True)
class Kubectl:
    """The command line with a kubeconfig of both clusters: contexts `here` and `there`."""

    kubeconfig: Path

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        environment = {"KUBECONFIG": str(self.kubeconfig)}
        return CliRunner().invoke(watchword, arguments, input=stdin, env=environment, prog_name="watchword")


@pytest.fixture
def kubectl(
    kinds: Cluster, other_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Kubectl:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    path = tmp_path / "kubeconfig"
    write_contexts(path, {"here": kinds, "there": other_cluster})
    return Kubectl(path)


@pytest.fixture
def new_issuer(kinds: Cluster) -> Callable[..., str]:
    """`new_issuer(held, **rotation)` makes an issuer whose status holds these keys; returns its name."""

    def create(held: Sequence[HeldKey], *, revoked: Sequence[str] = (), **rotation: Any) -> str:
        name = f"issuer-{next(_numbers)}"
        kinds.apply(
            {
                "apiVersion": "watchword.dev/v1alpha1",
                "kind": "ClusterTrustedIssuer",
                "metadata": {"name": name},
                "spec": {
                    "issuer": "https://issuer.test",
                    "keys": {"discovery": {}},
                    "rotation": rotation,
                    "revoked": [{"keyThumbprint": each} for each in revoked],
                },
            }
        )
        kinds.request(
            "PATCH",
            f"{ISSUERS}/{name}/status",
            {"status": {"keys": held_to_status(held)}},
            content_type="application/merge-patch+json",
        )
        return name

    return create
