# SPDX-License-Identifier: Apache-2.0
"""One etcd for any number of clusters: each API server keeps its objects under a prefix of its own.

A second cluster then costs one process, not two, and two clusters still cannot see each other's objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from testing.controlplane.binary import Binaries, find_binaries
from testing.controlplane.place import HERE, Place
from testing.controlplane.process import Program, running_program


@dataclass(frozen=True, slots=True)
class Etcd:
    """A running etcd: its client URL, its process, and the folder of its data."""

    url: str
    program: Program
    data: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.program.pid

    def compact(self) -> None:
        """Forget all past revisions: who comes from one of them has to list again."""
        with httpx.Client(base_url=self.url, trust_env=False) as client:
            found = client.post("/v3/kv/range", json={"key": "AA=="}).raise_for_status().json()
            revision = found["header"]["revision"]
            client.post("/v3/kv/compaction", json={"revision": revision, "physical": True}).raise_for_status()


@contextmanager
def start_etcd(folder: Path, *, binaries: Binaries | None = None, place: Place = HERE) -> Iterator[Etcd]:
    """Run etcd with its data and log in `folder` until the block ends. Raises `StartFailedError`.

    In another `place` than here, only what runs in that place can reach it under its URL.
    """
    programs = binaries or find_binaries()
    folder.mkdir(parents=True, exist_ok=True)
    with place.port() as (port, reached_at), httpx.Client(trust_env=False) as client:
        url = f"http://127.0.0.1:{port}"
        command = [
            str(programs.etcd),
            f"--data-dir={folder / 'etcd-data'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            # A cluster of one has no peers, but etcd insists on listening for some: any port will do.
            "--listen-peer-urls=http://127.0.0.1:0",
            "--socket-reuse-port=true",
            "--unsafe-no-fsync=true",  # nothing here has to survive a power cut
            "--log-level=warn",
        ]

        def is_ready() -> bool:
            try:
                return client.get(f"http://127.0.0.1:{reached_at}/health").status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        with running_program(
            command, log=folder / "etcd.log", is_ready=is_ready, enter=place.enter
        ) as program:
            yield Etcd(url, program, folder / "etcd-data")
