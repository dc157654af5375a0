# SPDX-License-Identifier: Apache-2.0
"""The sample apps of docs/how-to/identity, each started as its page says it is."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from testing.controlplane import BuildFailedError
from testing.controlplane.build import Reporter
from testing.controlplane.cache import build_once, cache_folder
from testing.controlplane.process import reserved_port, running
from testing.unavailable import needed_program

FOLDER = Path(__file__).parents[3] / "docs" / "how-to" / "identity"
SAMPLES = ("fastapi", "django", "express", "go", "spring")
_TESTS = "tests of the sample apps"
_SPRING = FOLDER / "spring"
_JAVA = "src/main/java/dev/example/builds/BuildsApplication.java"
# Packages that others publish are fetched once; what is kept is known by the files that name them.
_BUILD_SECONDS = 540


@contextmanager
def running_sample(name: str, folder: Path) -> Iterator[int]:
    """Run a sample until the block ends; its port on loopback."""
    command = _COMMANDS[name](folder)
    with reserved_port() as port:
        # The environment of a program under test has no more than it is given.
        words = [each.replace("PORT", str(port)) for each in command]

        def is_ready() -> bool:
            try:
                with socket.create_connection(("127.0.0.1", port), 10):
                    return True
            except OSError:
                return False

        full = ["env", f"PORT={port}", f"HOME={folder}", *words]
        with running(full, log=folder / f"{name}.log", is_ready=is_ready, timeout_seconds=120.0):
            yield port


def _fastapi(_: Path) -> Sequence[str]:
    return [sys.executable, str(FOLDER / "fastapi_app.py")]


def _django(_: Path) -> Sequence[str]:
    flags = ["--bind", "127.0.0.1:PORT", "--chdir", str(FOLDER), "--no-control-socket"]
    return [sys.executable, "-m", "gunicorn", *flags, "django_app:application"]


def _express(folder: Path) -> Sequence[str]:
    node = needed_program("node", tests=_TESTS)
    app = folder / "express_app.mjs"
    shutil.copy(FOLDER / app.name, app)
    (folder / "node_modules").symlink_to(_node_modules())
    return [node, str(app)]


def _node_modules() -> Path:
    names = ("package.json", "package-lock.json")

    def build(target: Path) -> None:
        npm = needed_program("npm", tests=_TESTS)
        for name in names:
            shutil.copy(FOLDER / name, target / name)
        flags = ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
        _build([npm, "ci", *flags], target)

    return _kept("express", [FOLDER / name for name in names], build) / "node_modules"


def _go(folder: Path) -> Sequence[str]:
    go = needed_program("go", tests=_TESTS)
    program = folder / "go_app"
    _build([go, "build", "-o", str(program), str(FOLDER / "go_app.go")], folder)
    return [str(program)]


def _spring(_: Path) -> Sequence[str]:
    java = needed_program("java", tests=_TESTS)

    def build(target: Path) -> None:
        maven, javac = (needed_program(each, tests=_TESTS) for each in ("mvn", "javac"))
        libraries = target / "lib"
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={libraries}"]
        _build([maven, "--batch-mode", "--quiet", "--file", str(_SPRING / "pom.xml"), *goal], target)
        # `-parameters`, as Spring's own parent of a build says it.
        options = ["-parameters", "-Werror", "-cp", f"{libraries}/*", "-d", str(target / "classes")]
        _build([javac, *options, str(_SPRING / _JAVA)], target)

    kept = _kept("spring", [_SPRING / "pom.xml", _SPRING / _JAVA], build)
    # For a quick start, not for a quick app.
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
    return [java, *quick, "-cp", f"{kept}/classes:{kept}/lib/*", "dev.example.builds.BuildsApplication"]


def _kept(name: str, files: Sequence[Path], build: object) -> Path:
    digest = hashlib.sha256(b"\0".join(each.read_bytes() for each in files)).hexdigest()[:12]
    target = cache_folder(os.environ) / f"sample-{name}" / digest
    assert callable(build)
    return build_once(target, f"what the {name} sample needs", build, Reporter(name, sys.stderr))


def _build(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-2000:]
        raise BuildFailedError(f"{Path(command[0]).name} ended with {done.returncode}: {said}")


_COMMANDS = {"fastapi": _fastapi, "django": _django, "express": _express, "go": _go, "spring": _spring}
