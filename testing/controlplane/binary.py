# SPDX-License-Identifier: Apache-2.0
"""Where kube-apiserver and etcd come from: `KUBEBUILDER_ASSETS`, else a cached build, else a build with Go.

`KUBEBUILDER_ASSETS` is the ecosystem's convention, and one that is stated but wrong is an error: passed over,
it would leave people testing against another API server than the one that they named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from testing.controlplane.build import BuildFailedError, kubernetes_build
from testing.controlplane.cache import ControlPlaneUnavailableError, Recipe, find_or_build

SOURCE = Path(__file__).parent / "server"
ASSETS_REMEDY = (
    "Or set KUBEBUILDER_ASSETS to a folder that holds kube-apiserver and etcd "
    "(`setup-envtest use 1.36` makes one)."
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """The two programs of a control plane, and where they came from (for people)."""

    kube_apiserver: Path
    etcd: Path
    origin: str

    @property
    def folder(self) -> Path:
        """The folder that holds both; itself a valid `KUBEBUILDER_ASSETS`."""
        return self.kube_apiserver.parent


def find_binaries(
    environment: Mapping[str, str] = os.environ, progress: TextIO | None = None, source: Path = SOURCE
) -> Binaries:
    """Find or build both programs; a cold build takes some minutes and says so on `progress` (stderr).

    Raises `ControlPlaneUnavailableError` where there is no binary and no Go, and `BuildFailedError` where
    what should
    have worked did not: a `KUBEBUILDER_ASSETS` without the two programs, or a build that stopped.
    """
    assets = environment.get("KUBEBUILDER_ASSETS")
    if assets:
        return _binaries_in(Path(assets), "KUBEBUILDER_ASSETS")
    try:
        return _binaries_in(find_or_build(_recipe(source), environment, progress), "cached build")
    except ControlPlaneUnavailableError as unavailable:
        raise ControlPlaneUnavailableError(f"{unavailable} {ASSETS_REMEDY}") from None


def kubernetes_version(source: Path = SOURCE) -> str:
    """The version of Kubernetes that `server/go.mod` pins, such as `v1.36.3`."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)$", (source / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise BuildFailedError(f"{source / 'go.mod'}: no `k8s.io/kubernetes vX.Y.Z` among its requirements.")
    return found.group(1)


def source_key(source: Path = SOURCE) -> str:
    """The version of Kubernetes and a digest of all that decides what a build is, except Go's own version."""
    return _recipe(source).key


def _recipe(source: Path) -> Recipe:
    version = kubernetes_version(source)
    return Recipe(
        name="controlplane",
        title=f"Kubernetes {version}'s API server",
        version=version,
        source=source,
        files=("go.mod", "go.sum", "main.go"),
        builds=((kubernetes_build(version, "."), "kube-apiserver"),),
        links=(("etcd", "kube-apiserver"),),
    )


def _binaries_in(folder: Path, origin: str) -> Binaries:
    for name in ("kube-apiserver", "etcd"):
        if not os.access(folder / name, os.X_OK):
            raise BuildFailedError(
                f"{origin}: no executable `{name}` in {folder}. Point KUBEBUILDER_ASSETS at a folder that "
                "holds kube-apiserver and etcd, or unset it; a damaged cached build can simply be deleted."
            )
    return Binaries(folder / "kube-apiserver", folder / "etcd", origin)
