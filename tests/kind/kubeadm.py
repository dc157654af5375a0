# SPDX-License-Identifier: Apache-2.0
"""kubeadm, built with Go once into the user's cache folder: the one judge of what a kind cluster is told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from testing.controlplane.binary import kubernetes_version
from testing.controlplane.build import kubernetes_build
from testing.controlplane.cache import Recipe, find_or_build

_SOURCE = Path(__file__).parent / "kubeadm"


def find_kubeadm(environment: Mapping[str, str] = os.environ, progress: TextIO | None = None) -> Path:
    """The program; built on first use. Raises what `find_or_build` raises."""
    version = kubernetes_version()
    recipe = Recipe(
        name="kubeadm",
        title=f"kubeadm {version}",
        version=version,
        source=_SOURCE,
        files=("go.mod", "go.sum"),
        builds=((kubernetes_build(version, "k8s.io/kubernetes/cmd/kubeadm"), "kubeadm"),),
    )
    return find_or_build(recipe, environment, progress) / "kubeadm"
