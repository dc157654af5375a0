# SPDX-License-Identifier: Apache-2.0
"""What a node runs, built with Go and kept in the user's cache folder: Kubernetes and a container runtime.

All of it is upstream, whole; only the pause program is ours. Nothing is taken from the machine but the C
library that runc's seccomp filters need: a container runtime of the machine's own would be another one on
each machine, and an old runc fails on a new kernel.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from testing.controlplane.binary import SOURCE as KUBERNETES_SOURCE
from testing.controlplane.binary import Binaries, find_binaries, kubernetes_version
from testing.controlplane.build import GoBuild, kubernetes_build
from testing.controlplane.cache import ControlPlaneUnavailableError, Recipe, find_or_build

_HERE = Path(__file__).parent
RUNTIME_SOURCE = _HERE / "runtime"
HELM_SOURCE = _HERE / "helm"
_KUBERNETES_PROGRAMS = ("kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy")
_PLUGINS = ("ipam/host-local", "main/bridge", "main/loopback", "meta/portmap")
_CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")
APT_REMEDY = (
    "Install what a node needs of the machine: "
    "apt-get install gcc iproute2 libc6-dev libseccomp-dev nftables pkg-config util-linux."
)


class NodeUnavailableError(ControlPlaneUnavailableError):
    """This machine cannot run a node. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Folders: `kubernetes` holds the kubelet and the rest of it, `runtime` containerd, runc and pause."""

    control_plane: Binaries
    kubernetes: Path
    runtime: Path

    @property
    def plugins(self) -> Path:
        """The folder of the CNI plugins."""
        return self.runtime / "cni"


def find_programs(environment: Mapping[str, str] = os.environ, progress: TextIO | None = None) -> Programs:
    """Find or build everything that a node runs; cold it takes some ten minutes, with words on `progress`.

    Raises `NodeUnavailableError` where the machine cannot run a node, and what `find_binaries` raises.
    """
    refusal = why_unavailable()
    if refusal is not None:
        raise NodeUnavailableError(refusal)
    return Programs(
        control_plane=find_binaries(environment, progress),
        kubernetes=find_or_build(_kubernetes(), environment, progress),
        runtime=find_or_build(_runtime(), environment, progress),
    )


def find_helm(environment: Mapping[str, str] = os.environ, progress: TextIO | None = None) -> Path:
    """The `helm` program; built on first use. Raises what `find_or_build` raises."""
    source = HELM_SOURCE
    version = _version_of("helm.sh/helm/v4", source)
    stamp = "helm.sh/helm/v4/internal/version"
    recipe = Recipe(
        name="helm",
        title=f"Helm {version}",
        version=version,
        source=source,
        files=("go.mod", "go.sum"),
        builds=(
            (GoBuild(("helm.sh/helm/v4/cmd/helm",), linker_values=((f"{stamp}.version", version),)), "helm"),
        ),
    )
    return find_or_build(recipe, environment, progress) / "helm"


def why_unavailable() -> str | None:
    """Why this machine cannot run a node, with the remedy; None where it can, as far as one can see."""
    if platform.system() != "Linux":
        return "a node needs Linux."
    if os.geteuid() != 0:
        return "a node needs root: namespaces, mounts and cgroups are made for it. Run the tests as root."
    missing = [name for name in ("ip", "nft", "nsenter", "unshare") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}. {APT_REMEDY}"
    if shutil.which("go") is not None and not _has_seccomp():
        return f"libseccomp's header or a C compiler is not installed. {APT_REMEDY}"
    return None


def _has_seccomp() -> bool:
    if shutil.which("pkg-config") is None or shutil.which("gcc") is None:
        return False
    asked = subprocess.run(["pkg-config", "--exists", "libseccomp"], capture_output=True, check=False)
    return asked.returncode == 0


def _kubernetes() -> Recipe:
    version = kubernetes_version()
    return Recipe(
        name="kubernetes-node",
        title=f"Kubernetes {version}'s kubelet, controllers, scheduler and proxy",
        version=version,
        source=KUBERNETES_SOURCE,
        files=("go.mod", "go.sum", "node/main.go"),
        builds=((kubernetes_build(version, "./node"), "kubelet"),),
        links=tuple((name, "kubelet") for name in _KUBERNETES_PROGRAMS if name != "kubelet"),
    )


def _runtime() -> Recipe:
    containerd = "github.com/containerd/containerd/v2"
    version = _version_of(containerd, RUNTIME_SOURCE)
    plugins = "github.com/containernetworking/plugins/plugins"
    return Recipe(
        name="container-runtime",
        title=f"containerd {version}, runc and CNI plugins",
        version=version,
        source=RUNTIME_SOURCE,
        files=("go.mod", "go.sum", "pause/main.go"),
        builds=(
            (GoBuild((*(f"{containerd}/cmd/{name}" for name in _CONTAINERD), "./pause")), "./"),
            (GoBuild(tuple(f"{plugins}/{name}" for name in _PLUGINS)), "cni/"),
            (GoBuild(("github.com/opencontainers/runc",), tags="seccomp", needs_c=True), "./"),
        ),
    )


def _version_of(module: str, source: Path) -> str:
    for line in (source / "go.mod").read_text().splitlines():
        words = line.split()
        if words[:1] == [module] or words[:2] == ["require", module]:
            return words[-1] if words[-1].startswith("v") else words[words.index(module) + 1]
    raise LookupError(f"{source / 'go.mod'} does not require {module}")
