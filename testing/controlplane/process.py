# SPDX-License-Identifier: Apache-2.0
"""A server in a child process: started on a port that no one else can take, waited for, and always stopped.

Picking a free port, letting go of it and hoping is how parallel test runs fail once a week; a server left
behind by a killed run is how they fail the week after. Here the port stays reserved until the server has it,
and the server ends with the run, however the run ends.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

from testing.environment import child_environment

_STOP_SECONDS = 15.0
_TAIL_BYTES = 6000


class StartFailedError(Exception):
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
    """A loopback port that the kernel gives to no one meanwhile but a server that asks for it by number.

    The server must set SO_REUSEADDR, as most do, or SO_REUSEPORT. A socket that is bound but does not listen
    receives no connections, so the server gets them all.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """That many ports, each as `reserved_port` makes it."""
    with ExitStack() as stack:
        yield [stack.enter_context(reserved_port()) for _ in range(count)]


class Program:
    """A server in a child process, which a test may kill, freeze, and start again where it was.

    Attributes:
        log: the file with its output, of all its lives.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        is_ready: Callable[[], bool],
        enter: Sequence[str] = (),
        timeout_seconds: float = 90.0,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`enter` is a command that becomes `command` elsewhere, such as `nsenter --net=...`."""
        self._environment = environment
        self.log, self._name = log, Path(command[0]).name
        self._command, self._is_ready, self._timeout_seconds = [*enter, *command], is_ready, timeout_seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of its present life, or of its last one."""
        assert self._process is not None, "it was never started"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready. Raises `StartFailedError` with the tail of its log."""
        # Only we hold the other end of stdin: when this process is killed, our build of the server sees it.
        environment = child_environment(WATCHWORD_STOP_AT_END_OF_INPUT="1", **self._environment)
        with self.log.open("ab") as output:
            process = self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the tests; they stop their servers in order
            )

        def ready_or_ended() -> bool:
            return process.poll() is not None or self._is_ready()

        try:
            wait_until(ready_or_ended, what=f"{self._name} ready", timeout_seconds=self._timeout_seconds)
        except TimeoutError as slow:
            raise StartFailedError(f"{slow}. Its log ({self.log}) ends:\n{_tail(self.log)}") from None
        if process.returncode is not None:
            ended = f"{self._name} ended with {process.returncode}"
            raise StartFailedError(f"{ended}. Its log ({self.log}) ends:\n{_tail(self.log)}")

    def set_flag(self, flag: str, values: Sequence[str]) -> None:
        """Give a flag these values, in this order, from its next life on."""
        rest = [part for part in self._command if not part.startswith(f"{flag}=")]
        self._command = [*rest, *(f"{flag}={value}" for value in values)]

    def kill(self) -> None:
        """End it without a word (SIGKILL); `start` begins its next life."""
        assert self._process is not None, "it was never started"
        self._process.kill()
        self._end(self._process)

    def freeze(self) -> None:
        """Stop its work and keep its connections (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it in order, if it runs."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        self._end(process)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


@contextmanager
def running_program(
    command: Sequence[str],
    *,
    log: Path,
    is_ready: Callable[[], bool],
    enter: Sequence[str] = (),
    timeout_seconds: float = 90.0,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Program]:
    """Run `command` until the block ends: ready on entry, gone on exit. See `Program`."""
    log.unlink(missing_ok=True)
    program = Program(
        command,
        log=log,
        is_ready=is_ready,
        enter=enter,
        timeout_seconds=timeout_seconds,
        environment=environment,
    )
    try:
        program.start()
        yield program
    finally:
        program.stop()


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    is_ready: Callable[[], bool],
    enter: Sequence[str] = (),
    timeout_seconds: float = 90.0,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[int]:
    """As `running_program`, for who needs no more of it than its process id."""
    with running_program(
        command,
        log=log,
        is_ready=is_ready,
        enter=enter,
        timeout_seconds=timeout_seconds,
        environment=environment,
    ) as program:
        yield program.pid


def _tail(log: Path) -> str:
    content = log.read_bytes()[-_TAIL_BYTES:]
    return content.decode(errors="replace")
