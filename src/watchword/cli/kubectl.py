# SPDX-License-Identifier: Apache-2.0
"""kubectl, called as a program: it holds the user's credentials, contexts and login plugins, and we do not.

Everything is passed as arguments, never through a shell, and user input can never be read as a flag.
"""

import shutil
import subprocess
import tempfile
import threading
from typing import Final

from watchword.cli.failures import UnusableInput

DEADLINE_SECONDS: Final = 30.0


def run_kubectl(
    *arguments: str, context: str | None = None, kubeconfig: str | None = None, max_bytes: int | None = None
) -> bytes:
    """What kubectl prints on stdout.

    Args:
        arguments: of kubectl; values of flags joined with `=`.
        context: the kubeconfig context; None: the current one.
        kubeconfig: the kubeconfig file; None: as kubectl finds it.
        max_bytes: what it may print at most, for what a pod answers; None: any number.

    Raises:
        UnusableInput: kubectl is missing, takes longer than 30 seconds, prints too much, or fails; with its
            own last line.
    """
    program = shutil.which("kubectl")
    if program is None:
        raise UnusableInput(
            "kubectl is not on PATH, and it is what holds your cluster's credentials.",
            "Install kubectl (https://kubernetes.io/docs/tasks/tools/) and try again.",
        )
    command = [program, *arguments]
    if context is not None:
        command.append(f"--context={context}")
    if kubeconfig is not None:
        command.append(f"--kubeconfig={kubeconfig}")
    try:
        done = _run(command) if max_bytes is None else _run_bounded(command, max_bytes)
    except subprocess.TimeoutExpired:
        raise UnusableInput(
            f"kubectl gave no answer within {DEADLINE_SECONDS:.0f} seconds.",
            "Check with `kubectl version` that the cluster answers, and that no login waits for you.",
        ) from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        last = ascii(said[-1])[1:-1][:300] if said else f"it exited with {done.returncode}"
        raise UnusableInput(
            f"kubectl {arguments[0]} failed: {last.removeprefix('error: ')}",
            "Try the same with kubectl itself; check --context, your permissions and the names.",
        )
    return done.stdout


def _run(command: list[str]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_SECONDS, check=False
    )


def _run_bounded(command: list[str], max_bytes: int) -> "subprocess.CompletedProcess[bytes]":
    """Run a program that is killed once it has printed too much, or runs for too long.

    Raises:
        UnusableInput: it printed too much.
        subprocess.TimeoutExpired: it ran for too long.
    """
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            process.kill()

        timer = threading.Timer(DEADLINE_SECONDS, end)
        timer.start()
        try:
            printed = process.stdout.read(max_bytes + 1)
            if len(printed) > max_bytes:
                raise UnusableInput(
                    f"the answer has more than {max_bytes} bytes.", "See what answers there; a gate does not."
                )
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
        if is_late.is_set():
            raise subprocess.TimeoutExpired(command, DEADLINE_SECONDS)
        errors.seek(0)
        return subprocess.CompletedProcess(command, status, printed, errors.read(64 * 1024))
