# SPDX-License-Identifier: Apache-2.0
"""Where kube-apiserver and etcd come from: `KUBEBUILDER_ASSETS`, else a cached build, else a build with Go.

The cache key covers everything that decides what the build is (module files, program, flags, Go), so a stale
server never answers for a newer one; a lock keeps two test processes from building the same thing twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tests.controlplane.build import BuildFailed, build_flags, build_server

SOURCE = Path(__file__).parent / "server"
GO_REMEDY = (
    "Install Go 1.26 or newer (https://go.dev/doc/install), or set KUBEBUILDER_ASSETS to a folder that holds "
    "kube-apiserver and etcd (`setup-envtest use 1.36` makes one)."
)
_LOCK_REPORT_SECONDS = 5.0


class ControlPlaneUnavailable(Exception):
    """There is neither a binary nor the means to build one. The message names the remedy."""


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

    Raises `ControlPlaneUnavailable` where there is no binary and no Go, and `BuildFailed` where what should
    have worked did not: a `KUBEBUILDER_ASSETS` without the two programs, or a build that stopped.
    """
    assets = environment.get("KUBEBUILDER_ASSETS")
    if assets:
        return _binaries_in(Path(assets), "KUBEBUILDER_ASSETS")
    cache = _cache_folder(environment)
    go = shutil.which("go", path=environment.get("PATH"))
    if go is None:
        # Without Go its version is unknown, and any finished build of these very sources serves as well.
        finished = sorted(cache.glob(f"{source_key(source)}-*"), key=lambda folder: folder.stat().st_mtime)
        if finished:
            return _binaries_in(finished[-1], "cached build")
        raise ControlPlaneUnavailable(f"no kube-apiserver and no Go to build it with. {GO_REMEDY}")
    target = cache / f"{source_key(source)}-{_go_version(go, source)}"
    if not target.exists():
        with _only_one_builder(cache, progress or sys.stderr):
            if not target.exists():
                _build_into(target, go, source, progress or sys.stderr)
    return _binaries_in(target, "cached build")


def kubernetes_version(source: Path = SOURCE) -> str:
    """The version of Kubernetes that `server/go.mod` pins, such as `v1.36.3`."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)$", (source / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise BuildFailed(f"{source / 'go.mod'}: no `k8s.io/kubernetes vX.Y.Z` among its requirements.")
    return found.group(1)


def source_key(source: Path = SOURCE) -> str:
    """The version of Kubernetes and a digest of all that decides what a build is, except Go's own version."""
    version = kubernetes_version(source)
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        content = (source / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    digest.update("\0".join(build_flags(version)).encode())
    return f"{version}-{digest.hexdigest()[:12]}"


def _binaries_in(folder: Path, origin: str) -> Binaries:
    for name in ("kube-apiserver", "etcd"):
        if not os.access(folder / name, os.X_OK):
            raise BuildFailed(
                f"{origin}: no executable `{name}` in {folder}. Point KUBEBUILDER_ASSETS at a folder that "
                "holds kube-apiserver and etcd, or unset it; a damaged cached build can simply be deleted."
            )
    return Binaries(folder / "kube-apiserver", folder / "etcd", origin)


def _cache_folder(environment: Mapping[str, str]) -> Path:
    # An empty or relative XDG_CACHE_HOME counts as unset (XDG Base Directory Specification).
    stated = Path(environment.get("XDG_CACHE_HOME", ""))
    base = stated if stated.is_absolute() else Path.home() / ".cache"
    return base / "watchword" / "controlplane"


def _go_version(go: str, source: Path) -> str:
    asked = subprocess.run(
        [go, "env", "GOVERSION", "GOOS", "GOARCH"], cwd=source, capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        raise BuildFailed(f"`go env` failed: {asked.stderr.strip()}. {GO_REMEDY}")
    return "-".join(asked.stdout.split())


@contextmanager
def _only_one_builder(cache: Path, progress: TextIO) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    reported = 0.0
    with (cache / "build.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = time.monotonic() - started
                if waited >= reported:
                    print(
                        f"[control plane] {waited:4.0f} s  another process is building",
                        file=progress,
                        flush=True,
                    )
                    reported = waited + _LOCK_REPORT_SECONDS
                time.sleep(0.2)
        yield


def _build_into(target: Path, go: str, source: Path, progress: TextIO) -> None:
    # We hold the lock: whatever else is unfinished belongs to a build that was killed.
    for left_over in target.parent.glob(".building-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    # Beside its target, so that the rename stays on one file system: others see a whole build or none.
    unfinished = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        build_server(go, source, unfinished / "kube-apiserver", kubernetes_version(source), progress)
        (unfinished / "etcd").symlink_to("kube-apiserver")
        unfinished.chmod(0o755)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
