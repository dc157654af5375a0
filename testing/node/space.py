# SPDX-License-Identifier: Apache-2.0
"""A network, mount and PID namespace for one node: what happens on the node stays there, and ends with it.

A node mounts, forks and configures interfaces by the dozen. Taken apart one by one, something is always left:
so its first process holds all of it, and the kernel takes everything away with that process, also when the
test run is killed. Only cgroups outlive it; they lie below one folder of the node's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from testing.controlplane import StartFailedError, wait_until
from testing.environment import child_environment

_Result = TypeVar("_Result")
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_CGROUPS = Path("/sys/fs/cgroup")
_PREFIX = "watchword-node-"
_SETUP = """
set -e
mount --make-rslave /
mount --make-rshared /
for folder in /run /var/lib /var/log; do mount -t tmpfs node $folder; done
ip link set lo up
ip link add node0 type bridge
ip address add {address}/32 dev node0
ip link set node0 up
ip route add default dev node0
exec {first_process}
"""


@dataclass(frozen=True, slots=True)
class Space:
    """Where a node runs. Also a `testing.controlplane.place.Place`: its network, seen from outside."""

    address: str
    pid: int
    cgroup: str

    @property
    def enter(self) -> Sequence[str]:
        """Start a command in the node's network only; it keeps its process id, so signals reach it."""
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net", "--")

    @property
    def enter_wholly(self) -> Sequence[str]:
        """Start a command as a process of the node: its network, its mounts, its processes."""
        return ("nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--")

    @contextmanager
    def port(self) -> Iterator[tuple[int, int]]:
        """A port that is free in the node's network, and the loopback port under which it is reached here."""
        port = self.call(_free_port)
        with self.reached("127.0.0.1", port) as reached_at:
            yield port, reached_at

    @contextmanager
    def reached(self, address: str, port: int) -> Iterator[int]:
        """A loopback port here whose connections go on to `address` and `port` in the node's network."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        loop = asyncio.new_event_loop()
        stopping = asyncio.Event()
        thread = threading.Thread(
            target=self._in_network,
            args=(lambda: loop.run_until_complete(_relay(listener, address, port, stopping)),),
            name=f"relay to {address}:{port}",
            daemon=True,
        )
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            loop.call_soon_threadsafe(stopping.set)
            thread.join()
            loop.close()

    def call(self, function: Callable[[], _Result]) -> _Result:
        """Call `function` in a thread of the node's network: sockets that it opens are there."""
        results: list[_Result] = []
        failures: list[BaseException] = []

        def run() -> None:
            try:
                results.append(function())
            except BaseException as failure:  # noqa: BLE001  raised again in the caller's thread
                failures.append(failure)

        thread = threading.Thread(target=self._in_network, args=(run,))
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
        return results[0]

    def _in_network(self, function: Callable[[], object]) -> None:
        # Of this thread alone: setns(2) for a network namespace leaves the rest of the process where it is.
        with Path(f"/proc/{self.pid}/ns/net").open() as namespace:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        function()


@contextmanager
def new_space(folder: Path, *, address: str, first_process: Path) -> Iterator[Space]:
    """Make the namespaces and a cgroup until the block ends. Raises `StartFailedError`."""
    _remove_abandoned_cgroups()
    name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(3)}"
    log = folder / "space.log"
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL"]
    script = _SETUP.format(address=address, first_process=first_process)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=child_environment(WATCHWORD_STOP_AT_END_OF_INPUT="1"),
            start_new_session=True,
        )
    try:
        pid = _wait_for_first_process(process, first_process, log)
        _make_cgroup(name)
        yield Space(address, pid, f"/{name}")
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.kill()
        process.wait()
        _remove_cgroup(name)


def children_of(pid: int) -> list[int]:
    """The process ids of the children of a process; empty when it is gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _wait_for_first_process(process: subprocess.Popen[bytes], program: Path, log: Path) -> int:
    def started() -> list[int]:
        return [child for child in children_of(process.pid) if _program_of(child) == program.resolve()]

    try:
        wait_until(lambda: process.poll() is not None or bool(started()), what="the node's namespaces")
    except TimeoutError as slow:
        raise StartFailedError(f"{slow}: {log.read_text()}") from None
    if process.returncode is not None:
        raise StartFailedError(f"the node's namespaces could not be made: {log.read_text()}")
    return started()[0]


def _program_of(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/exe").readlink()
    except FileNotFoundError:
        return None


def _free_port() -> int:
    # No one else picks ports in this network: what is free now stays free.
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def _relay(listener: socket.socket, address: str, port: int, stopping: asyncio.Event) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await asyncio.open_connection(address, port)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer))
        finally:
            writer.close()
            other_writer.close()

    # Held here: a connection that only waits for its other end is known to no one else, and collected.
    tasks: set[asyncio.Task[None]] = set()

    def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(on_connection, sock=listener)
    await stopping.wait()
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _cgroup_folders(name: str) -> list[Path]:
    """The node's cgroup in every hierarchy (v1), or the one (v2)."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS / name]
    hierarchies = [each for each in _CGROUPS.iterdir() if each.is_dir() and not each.is_symlink()]
    return [each / name for each in hierarchies if (each / "cgroup.procs").exists()]


def _make_cgroup(name: str) -> None:
    for folder in _cgroup_folders(name):
        folder.mkdir(exist_ok=True)
        if folder.parent == _CGROUPS:
            controllers = (_CGROUPS / "cgroup.controllers").read_text().split()
            (folder / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in controllers))
        elif (folder / "cpuset.cpus").exists():
            for setting in ("cpuset.cpus", "cpuset.mems"):  # a v1 cpuset starts empty, and takes no process
                (folder / setting).write_text((folder.parent / setting).read_text())


def _remove_cgroup(name: str) -> None:
    deadline = time.monotonic() + 15
    for top in _cgroup_folders(name):
        while top.exists():
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()  # busy until the last of its processes is reaped
            if time.monotonic() > deadline:
                raise TimeoutError(f"a process of the node is still in {top}")
            if top.exists():
                time.sleep(0.05)


def _remove_abandoned_cgroups() -> None:
    """Cgroups of nodes whose test run was killed: it could not remove them itself."""
    for top in _cgroup_folders(""):
        for folder in top.glob(f"{_PREFIX}*"):
            owner = folder.name.removeprefix(_PREFIX).split("-")[0]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                _remove_cgroup(folder.name)
