# SPDX-License-Identifier: Apache-2.0
"""A real gate in a process of its own, on two free ports, with every word that it says kept in one file.

The attacks speak to it over sockets, byte for byte: a test client would tidy up what an attacker would not.
"""

import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 30
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Response:
    """What came back; `reason` is the gate's own, or else the status."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def reason(self) -> str:
        return next((value for name, value in self.headers if name == "x-watchword-reason"), str(self.status))


@dataclass
class Gate:
    """A running gate."""

    port: int
    ops_port: int
    bundle: Path
    said: Path

    @contextlib.contextmanager
    def connection(self, ops: bool = False) -> Iterator[socket.socket]:
        """One connection, for raw bytes."""
        with socket.create_connection(
            ("127.0.0.1", self.ops_port if ops else self.port), PATIENCE_SECONDS
        ) as link:
            yield link

    def send(self, request: bytes, ops: bool = False) -> Response:
        """Send bytes, read one response."""
        with self.connection(ops) as link:
            link.sendall(request)
            return read(link)

    def send_all(self, request: bytes) -> list[Response]:
        """Send bytes and close our side; read as many responses as come."""
        with self.connection() as link:
            link.sendall(request)
            link.shutdown(socket.SHUT_WR)
            data = b"".join(iter(lambda: link.recv(65536), b""))
        return [
            Response(int(status), [], b"") for status in re.findall(rb"(?:^|\n|})HTTP/1\.1 (\d{3})", data)
        ]


def read(link: socket.socket) -> Response:
    """Read one response; a connection closed without one is status 0."""
    response = http.client.HTTPResponse(link)
    try:
        response.begin()
        body = response.read()
    except (http.client.HTTPException, ConnectionError):
        return Response(0, [], b"")
    finally:
        response.close()
    return Response(response.status, [(name.lower(), value) for name, value in response.getheaders()], body)


@contextlib.contextmanager
def running_gate(folder: Path, bundle: bytes | None, under: Sequence[str] = ()) -> Iterator[Gate]:
    """Start a gate on a bundle (None: there is no file), and stop it at the end.

    `under` is a command that runs another one in its own process, such as a tracer.
    """
    path, said, dsn = folder / "bundle.json", folder / "said.log", f"sqlite:///{folder}/usage.db"
    if bundle is not None:
        path.write_bytes(bundle)
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*under, sys.executable, "-m", "testing.attacks.gate_process", str(path), dsn],
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    try:
        ports = _ports(said, process)
        gate = Gate(*ports, bundle=path, said=said)
        deadline = time.monotonic() + PATIENCE_SECONDS
        ready = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
        while bundle is not None and gate.send(ready, ops=True).status != 200:
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.02)
        yield gate
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def _ports(said: Path, process: "subprocess.Popen[bytes]") -> tuple[int, int]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in said.read_text().splitlines():
            if '"listening"' in line:
                record = json.loads(line)
                return tuple(int(record[name].rpartition(":")[2]) for name in ("listen", "ops_listen"))  # type: ignore[return-value] # two names, two ports
        time.sleep(0.02)
    raise AssertionError(f"the gate did not start: {said.read_text()}")


def main(bundle: str, dsn: str) -> int:
    """What the child runs: as open in its words as a gate can be."""
    from watchword.gate.bundle_file import FileSource
    from watchword.gate.serve import run
    from watchword.gate.settings import GateSettings

    settings = GateSettings(
        listen=("127.0.0.1:0",),
        ops_listen="127.0.0.1:0",
        usage_dsn=dsn,
        audit="all",
        log_level="DEBUG",
        poll_seconds=POLL_SECONDS,
    )
    return run(settings, FileSource(bundle, POLL_SECONDS))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
