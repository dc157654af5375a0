# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL server for tests: its own data folder, a Unix socket and nothing else to connect to.

Debian's server (or any `initdb` and `postgres` on the PATH or under /usr/lib/postgresql). It never runs as
root: as root, it is started as the user `postgres`, or as `nobody`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

STARTS_WITHIN_SECONDS = 120


def binaries() -> Path | None:
    """The folder of `initdb` and `postgres`; None where there is no server."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    if found:
        folders.append(Path(found).resolve().parent)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def _user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class PostgresServer:
    """One server, which can be killed and started again on the same data."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        found = binaries()
        assert found is not None, "no PostgreSQL server is installed"
        self._binaries, self._user = found, _user()
        # A socket's path has about 100 bytes: pytest's own folders are too deep.
        self.folder = Path(tempfile.mkdtemp(prefix="ww-pg-"))
        self.folder.chmod(0o755)
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._own_settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder)}
        self._settings = self._own_settings | dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            "initdb", "-D", str(self.folder / "data"), "-U", "watchword", "-A", "trust", "-E", "UTF8", "-N"
        )

    def dsn(self, schema: str = "watchword_usage", user: str = "watchword") -> str:
        """The DSN of a store of its own in this server."""
        return f"postgresql://{user}@/postgres?host={quote(str(self.folder), safe='')}&schema={schema}"

    def conninfo(self) -> str:
        """How a client connects that is no store."""
        return f"host={self.folder} user=watchword dbname=postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        flags = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", str(self.folder / "data"), *flags],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self.folder,
            )
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL the server and every process of it, as a node that dies does.

        The first one is stopped before its children are looked for: it would answer the death of one by
        starting others, and one of those would go on writing to the folder beside the next server.
        """
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while not _is_stopped(self._process.pid):
            assert time.monotonic() < deadline, "it does not stop"
            time.sleep(0.001)
        children = _children(self._process.pid)
        for child in children:
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(child, signal.SIGKILL)
        while any(map(_is_alive, children)):
            assert time.monotonic() < deadline, "its processes do not end"
            time.sleep(0.001)
        self._process.kill()
        self._process.wait()

    def restart(self, settings: Mapping[str, str]) -> None:
        """End it, with all of its data on disk, and start it with other settings."""
        self._end()
        subprocess.run(["sync", "-f", self.folder], check=True)
        self._settings = self._own_settings | settings
        self.start()

    def stop(self) -> None:
        """End it and remove its data."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # fast: connections are closed, nothing is waited for
            self._process.wait(timeout=STARTS_WITHIN_SECONDS)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.conninfo(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments],
            check=True,
            capture_output=True,
            user=self._user,
            cwd=self.folder,
        )


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _state(pid: int) -> str:
    """The letter of a process's state (proc(5)); X when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _is_stopped(pid: int) -> bool:
    return _state(pid) in "TXZ"


def _is_alive(pid: int) -> bool:
    return _state(pid) not in "XZ"
