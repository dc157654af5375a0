# SPDX-License-Identifier: Apache-2.0
"""Servers under measurement: pinned to one core, waited for until their first yes, and always stopped.

CPU time is what the kernel says each thread was on a core (proc(5), /proc/PID/schedstat), in nanoseconds: it
does not count the time in which someone else had the core.
"""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Running:
    """A contestant that answers.

    Attributes:
        port: where.
        pids: its processes.
        seconds_to_first_answer: from its start to its first 200.
    """

    port: int
    pids: tuple[int, ...]
    seconds_to_first_answer: float

    def cpu_seconds(self) -> float:
        """What its threads had of a core so far."""
        stats = (each for pid in self.pids for each in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return sum(int(each.read_text().split()[0]) for each in stats) / 1e9

    def resident_mebibytes(self) -> float:
        """Resident memory of its processes (proc(5), VmRSS)."""
        lines = [line for pid in self.pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def free_port() -> int:
    """A port of loopback that no one has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Whatever is started in the block stays on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def serving(
    commands: Sequence[Sequence[str]], log: Path, core: int, port: int, says_yes: Callable[[int], bool]
) -> Iterator[Running]:
    """Start commands on one core, in order, until the port says yes; stop them at the end of the block."""
    start = time.perf_counter()
    with ExitStack() as stack, log.open("wb") as output:
        processes = []
        for command in commands:
            with on_core(core):
                process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
            processes.append(process)
            stack.callback(_stop, process)
        while not says_yes(port):
            ended = [each.args for each in processes if each.poll() is not None]
            if ended or time.perf_counter() - start > PATIENCE_SECONDS:
                raise RuntimeError(f"{ended or commands}: no yes.\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.002)
        took = time.perf_counter() - start
        yield Running(port, tuple(each.pid for each in processes), took)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def asks(path: str, token: bytes, statuses: Sequence[int]) -> Callable[[int], bool]:
    """Whether a port gives one of these statuses to one token."""
    request = (
        b"GET %s HTTP/1.1\r\nHost: service.example\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n"
    )

    def ask(port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as link:
                link.sendall(request % (path.encode(), token))
                return int(link.recv(4096)[9:12] or 0) in statuses
        except OSError:
            return False

    return ask
