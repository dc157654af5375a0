# SPDX-License-Identifier: Apache-2.0
"""Programs built once and kept in the user's cache folder, outside of any checkout.

The cache key covers everything that decides what the build is (module files, sources, flags, Go), so a stale
program never answers for a newer one; a lock keeps two test processes from building the same thing twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from testing.controlplane.build import BuildFailedError, GoBuild, Reporter, go_build

GO_REMEDY = "Install Go 1.26 or newer (https://go.dev/doc/install)."
_LOCK_REPORT_SECONDS = 5.0


class ControlPlaneUnavailableError(Exception):
    """There is neither a program nor the means to build one. The message names the remedy."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Programs of one Go module that are built together, and what decides what they are.

    `name` is the folder in the cache and says to people what is being built, together with `title`. `files`
    are those of `source` that count, besides the flags of `builds`. Beside each build stands the file, or
    with a slash at its end the folder, that it writes. `links` are further names for a program that tells its
    parts apart by the name that it is started as.
    """

    name: str
    title: str
    version: str
    source: Path
    files: tuple[str, ...]
    builds: tuple[tuple[GoBuild, str], ...]
    links: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """The version and a digest of all that decides what a build is, except Go's own version."""
        digest = hashlib.sha256()
        for name in self.files:
            content = (self.source / name).read_bytes()
            digest.update(f"{name} {len(content)}\n".encode() + content)
        for build, _ in self.builds:
            digest.update("\0".join((*build.flags, *build.packages, str(build.needs_c))).encode())
        return f"{self.version}-{digest.hexdigest()[:12]}"


def find_or_build(recipe: Recipe, environment: Mapping[str, str], progress: TextIO | None = None) -> Path:
    """The folder of the recipe's programs; a cold build takes minutes and says so on `progress` (stderr).

    Raises `ControlPlaneUnavailableError` where there is no finished build and no Go, and
    `BuildFailedError` for a
    build that stopped.
    """
    cache = cache_folder(environment) / recipe.name
    go = shutil.which("go", path=environment.get("PATH"))
    if go is None:
        # Without Go its version is unknown, and any finished build of these very sources serves as well.
        finished = sorted(cache.glob(f"{recipe.key}-*"), key=lambda folder: folder.stat().st_mtime)
        if finished:
            return finished[-1]
        raise ControlPlaneUnavailableError(f"no {recipe.title} and no Go to build it with. {GO_REMEDY}")
    target = cache / f"{recipe.key}-{_go_version(go, recipe.source)}"
    reporter = Reporter(recipe.name, progress or sys.stderr)

    def build(folder: Path) -> None:
        for each, output in recipe.builds:
            if output.endswith("/"):
                (folder / output).mkdir(exist_ok=True)
            go_build(go, recipe.source, each, folder / output, reporter)
        for link, program in recipe.links:
            (folder / link).symlink_to(program)

    return build_once(target, recipe.title, build, reporter)


def build_once(target: Path, title: str, build: Callable[[Path], None], reporter: Reporter) -> Path:
    """The folder `target`, which `build` fills if it is not there: whole or not at all, by one process."""
    if not target.exists():
        with _only_one_builder(target.parent, reporter):
            if not target.exists():
                _build_into(target, title, build, reporter)
    return target


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where builds are kept: `watchword` in the user's cache folder."""
    # An empty or relative XDG_CACHE_HOME counts as unset (XDG Base Directory Specification).
    stated = Path(environment.get("XDG_CACHE_HOME", ""))
    base = stated if stated.is_absolute() else Path.home() / ".cache"
    return base / "watchword"


def _go_version(go: str, source: Path) -> str:
    asked = subprocess.run(
        [go, "env", "GOVERSION", "GOOS", "GOARCH"], cwd=source, capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        raise BuildFailedError(f"`go env` failed: {asked.stderr.strip()}. {GO_REMEDY}")
    return "-".join(asked.stdout.split())


@contextmanager
def _only_one_builder(cache: Path, reporter: Reporter) -> Iterator[None]:
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
                    reporter.say("another process is building", started=started)
                    reported = waited + _LOCK_REPORT_SECONDS
                time.sleep(0.2)
        yield


def _build_into(target: Path, title: str, build: Callable[[Path], None], reporter: Reporter) -> None:
    # We hold the lock: whatever else is unfinished belongs to a build that was killed.
    for left_over in target.parent.glob(".building-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    reporter.say(f"building {title}: some minutes, once")
    started = time.monotonic()
    # Beside its target, so that the rename stays on one file system: others see a whole build or none.
    unfinished = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        build(unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    reporter.say(f"built in {time.monotonic() - started:.0f} s")
