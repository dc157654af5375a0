# SPDX-License-Identifier: Apache-2.0
"""A server in a child process: started on a port that nobody else can take, waited for, and always stopped.

Picking a free port, letting go of it and hoping is how parallel test runs fail once a week; a server left
behind by a killed run is how they fail the week after. Here the port stays reserved until the server has it,
and the server ends with the run, however the run ends.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_STOP_SECONDS = 15.0
_TAIL_BYTES = 6000


class StartFailed(Exception):
    """A server did not become ready. The message ends with the tail of its log."""


def wait_until(condition: Callable[[], bool], *, what: str, timeout_seconds: float = 30.0) -> None:
    """Ask `condition` until it is true. Raises `TimeoutError` that names `what` after `timeout_seconds`."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_seconds:.0f} s: {what}")
        time.sleep(0.05)


@contextmanager
def reserved_port() -> Iterator[int]:
    """A loopback port that the kernel gives to nobody else meanwhile, except to a server with SO_REUSEPORT.

    A socket that is bound but does not listen receives no connections, so the server gets them all.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    is_ready: Callable[[], bool],
    enter: Sequence[str] = (),
    timeout_seconds: float = 90.0,
) -> Iterator[int]:
    """Run `command` until the block ends: ready on entry, gone on exit. Yields its process id.

    `enter` is a command that becomes `command` elsewhere, such as `nsenter --net=...`. Its output goes to the
    file `log`. Raises `StartFailed` with the tail of that file when it ends early or
    is not ready within `timeout_seconds`.
    """
    name = Path(command[0]).name
    # Only we hold the other end of stdin: when this process is killed, our build of the server sees its end.
    environment = {"PATH": os.environ.get("PATH", ""), "WATCHWORD_STOP_AT_END_OF_INPUT": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*enter, *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the tests; they stop their servers in order
        )
    try:

        def ready_or_ended() -> bool:
            return process.poll() is not None or is_ready()

        try:
            wait_until(ready_or_ended, what=f"{name} ready", timeout_seconds=timeout_seconds)
        except TimeoutError as slow:
            raise StartFailed(f"{slow}. Its log ({log}) ends:\n{_tail(log)}") from None
        if process.returncode is not None:
            raise StartFailed(f"{name} ended with {process.returncode}. Its log ({log}) ends:\n{_tail(log)}")
        yield process.pid
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _tail(log: Path) -> str:
    content = log.read_bytes()[-_TAIL_BYTES:]
    return content.decode(errors="replace")
