# SPDX-License-Identifier: Apache-2.0
"""Build programs with Go, and say every few seconds what is being done.

Compiling Kubernetes takes minutes on a small machine. A build without a word looks like a hang, and what
looks like a hang gets interrupted and blamed on the tests.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

_REPORT_SECONDS = 5.0
_TAIL_LINES = 30


class BuildFailedError(Exception):
    """A program could not be built, or a stated one is not usable. The message says why."""


@dataclass(frozen=True, slots=True)
class GoBuild:
    """One run of `go build`: which packages of a module, and how; part of the cache key.

    With `needs_c` a C compiler is used.
    """

    packages: tuple[str, ...]
    tags: str = ""
    linker_values: tuple[tuple[str, str], ...] = ()
    needs_c: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of `go build`."""
        linker = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.linker_values)])
        tags = (f"-tags={self.tags}",) if self.tags else ()
        return ("-trimpath", "-buildvcs=false", *tags, f"-ldflags={linker}")


@dataclass(frozen=True, slots=True)
class Reporter:
    """Says to people what is being done: `progress` gets lines that start with what is built."""

    label: str
    progress: TextIO

    def say(self, text: str, *, started: float | None = None) -> None:
        """Write one line; with `started` (monotonic seconds), how long it has been going on."""
        elapsed = "" if started is None else f" {time.monotonic() - started:4.0f} s "
        print(f"[{self.label}]{elapsed} {text}", file=self.progress, flush=True)


def kubernetes_build(version: str, package: str) -> GoBuild:
    """How a program of this version of Kubernetes is built, as its releases are."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    stamp = "k8s.io/component-base/version"
    return GoBuild(
        packages=(package,),
        tags="grpcnotrace",  # Kubernetes builds its releases so: the linker may then drop unused methods
        linker_values=(
            (f"{stamp}.gitVersion", version),
            (f"{stamp}.gitMajor", major),
            (f"{stamp}.gitMinor", minor),
        ),
    )


def go_build(go: str, source: Path, build: GoBuild, output: Path, reporter: Reporter) -> None:
    """Compile packages of the module `source` to `output`, a file or a folder that exists.

    Raises `BuildFailedError` with the compiler's last lines. Modules come from wherever the user's
    own Go settings
    say; their content is held to `go.sum`.
    """
    listing = [go, "list", "-deps", *([f"-tags={build.tags}"] if build.tags else []), *build.packages]
    # A workspace file above the clone has no say.
    environment = {**os.environ, "CGO_ENABLED": "1" if build.needs_c else "0", "GOWORK": "off"}
    listed = _run(listing, source, environment, lambda seen: f"resolving modules ({seen} lines)", reporter)
    expected = len(listed.split())
    command = [go, "build", "-v", *build.flags, "-o", str(output), *build.packages]
    _run(
        command,
        source,
        environment,
        lambda seen: f"compiling ({seen} of at most {expected} packages)",
        reporter,
    )


def _run(
    command: Sequence[str],
    source: Path,
    environment: Mapping[str, str],
    doing: Callable[[int], str],
    reporter: Reporter,
) -> str:
    """Run Go, report what its stderr names, and return its stdout."""
    started = reported = time.monotonic()
    seen = 0
    pending = b""
    answer = b""
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    with subprocess.Popen(
        ["nice", *command],  # a build gives way to whatever else the machine is doing
        cwd=source,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        names, results = process.stderr.fileno(), process.stdout.fileno()
        open_pipes = [names, results]
        try:
            while open_pipes:
                ready, _, _ = select.select(open_pipes, [], [], _REPORT_SECONDS)
                for pipe in ready:
                    chunk = os.read(pipe, 65536)
                    if not chunk:
                        open_pipes.remove(pipe)
                    elif pipe == results:
                        answer += chunk
                    else:
                        *lines, pending = (pending + chunk).split(b"\n")
                        tail.extend(line.decode(errors="replace") for line in lines)
                        seen += len(lines)
                if time.monotonic() - reported >= _REPORT_SECONDS:
                    reported = time.monotonic()
                    latest = tail[-1] if tail else "starting"
                    reporter.say(f"{doing(seen)}: {latest}", started=started)
        except BaseException:
            # An interrupted test run takes its compiler with it.
            process.kill()
            raise
    if process.returncode != 0:
        said = "\n".join(tail)
        raise BuildFailedError(
            f"`{' '.join(command[:2])}` in {source} ended with {process.returncode}:\n{said}"
        )
    return answer.decode()
