# SPDX-License-Identifier: Apache-2.0
"""Build the control plane with Go, and say every few seconds what is being done.

Compiling Kubernetes takes minutes on a small machine. A build without a word looks like a hang, and what
looks like a hang gets interrupted and blamed on the tests.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import TextIO

_TAGS = "-tags=grpcnotrace"  # Kubernetes builds its releases so: the linker may then drop unused methods
_REPORT_SECONDS = 5.0
_TAIL_LINES = 30


class BuildFailed(Exception):
    """The control plane could not be built, or a stated one is not usable. The message says why."""


def build_flags(version: str) -> tuple[str, ...]:
    """The flags of `go build` for this version of Kubernetes; part of the cache key."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    package = "k8s.io/component-base/version"
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    linker = " ".join(["-s", "-w", *(f"-X {package}.{name}={value}" for name, value in stamps.items())])
    return ("-trimpath", "-buildvcs=false", _TAGS, f"-ldflags={linker}")


def build_server(go: str, source: Path, output: Path, version: str, progress: TextIO) -> None:
    """Compile `source` to `output`. Raises `BuildFailed` with the compiler's last lines.

    Modules come from wherever the user's own Go settings say; their content is held to `go.sum`.
    """
    print(f"[control plane] building Kubernetes {version}: some minutes, once", file=progress, flush=True)
    started = time.monotonic()
    listed = _run([go, "list", "-deps", _TAGS, "."], source, "resolving modules", 0, progress)
    _run(
        [go, "build", "-v", *build_flags(version), "-o", str(output), "."],
        source,
        "compiling",
        len(listed.split()),
        progress,
    )
    elapsed = time.monotonic() - started
    print(f"[control plane] built in {elapsed:.0f} s", file=progress, flush=True)


def _run(command: list[str], source: Path, doing: str, expected: int, progress: TextIO) -> str:
    """Run Go, report what its stderr names, and return its stdout."""
    # Without cgo no C compiler is needed, and a workspace file above the clone has no say.
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    started = reported = time.monotonic()
    seen = 0
    pending = b""
    answer = b""
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    with subprocess.Popen(
        command,
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
                    count = f"{seen} of at most {expected} packages" if expected else f"{seen} lines"
                    latest = tail[-1] if tail else "starting"
                    print(
                        f"[control plane] {reported - started:4.0f} s  {doing} ({count}): {latest}",
                        file=progress,
                        flush=True,
                    )
        except BaseException:
            # An interrupted test run takes its compiler with it.
            process.kill()
            raise
    if process.returncode != 0:
        said = "\n".join(tail)
        raise BuildFailed(f"`{' '.join(command[:2])}` in {source} ended with {process.returncode}:\n{said}")
    return answer.decode()
