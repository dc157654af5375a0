# SPDX-License-Identifier: Apache-2.0
"""`watchword drain`: tell the gate of this container that its pod is about to end; for its `preStop` hook.

A signal and not a request: anyone who reaches the pod over the network must not be able to say it
(CVE-2024-40632). The kubelet runs the hook of a sidecar when the pod's end begins, long before the gate's own
turn to stop, which comes after the app's.
"""

import os
import signal
from itertools import pairwise
from pathlib import Path

import click

from watchword.cli.failures import UnusableInput

_PROCESSES = Path("/proc")


@click.command("drain", short_help="Tell the gate in this container to let its callers go.")
def command() -> None:
    """Tell the gate of this container that its pod is about to end.

    From then on each answer ends its connection, so that callers who keep theirs find a pod that stays, and
    /readyz says no. The gate goes on answering until it is stopped.

    \b
    Example, in the gate's container:
      lifecycle: {preStop: {exec: {command: [watchword, drain]}}}

    Exit codes: 0 told; 2 there is not exactly one gate here that can be told.
    """
    gates = [process for process in _processes() if _is_gate(process) and _listens(process)]
    if len(gates) != 1:
        found = "no gate" if not gates else f"{len(gates)} gates"
        raise UnusableInput(
            f"{found} here that can be told.", "Run this in the container of one running gate."
        )
    os.kill(gates[0], signal.SIGUSR1)


def _processes() -> list[int]:
    """Those of this container: with a shared PID namespace there are others to be seen, of other mounts."""
    ours = _mounts("self")
    return [
        int(folder.name)
        for folder in _PROCESSES.iterdir()
        if folder.name.isdigit() and _mounts(folder.name) == ours
    ]


def _mounts(process: str) -> str | None:
    try:
        return os.readlink(_PROCESSES / process / "ns/mnt")
    except OSError:
        return None  # it ended meanwhile, or is someone else's


def _is_gate(process: int) -> bool:
    try:
        words = (_PROCESSES / str(process) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    # The interpreter and its flags, the script or module, and then our own words.
    ours = (b"/watchword", b"watchword.cli.main")
    return any(name.endswith(ours) and word == b"sidecar" for name, word in pairwise(words))


def _listens(process: int) -> bool:
    """Whether it catches the signal: one that does not, such as a gate that only starts, would die of it."""
    try:
        status = (_PROCESSES / str(process) / "status").read_text()
    except OSError:
        return False
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (signal.SIGUSR1 - 1) & 1)
