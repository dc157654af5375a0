# SPDX-License-Identifier: Apache-2.0
"""The real operator as a process of its own, and what one asks of it from outside.

As with the gate: the command that people install, its ports from its `listening` log line, its log lines as
facts. A replica can be killed without a word, stopped, or frozen, each by its own process id.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from testing.controlplane import ApiError, Cluster, wait_until
from testing.environment import child_environment
from testing.logs import log_lines
from testing.metrics import sample_of

NAMESPACE = "watchword-system"
LEASE = "watchword-operator"
OPERATOR: tuple[str, ...] = (sys.executable, "-m", "watchword.cli.main", "operator")
_LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"


@dataclass
class Replica:
    """A running operator: its ops port, its log (standard error), what it printed (standard output)."""

    process: subprocess.Popen[bytes]
    log: Path
    output: Path
    ops_url: str = ""
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False, timeout=30.0))

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def ready(self) -> dict[str, Any]:
        """The document of /readyz."""
        document: dict[str, Any] = self._client.get(f"{self.ops_url}/readyz").json()
        return document

    def health(self) -> httpx.Response:
        return self._client.get(f"{self.ops_url}/healthz")

    def metric(self, name: str, **labels: str) -> float:
        """A sample of /metrics; 0 when there is none. Labels that are not said are summed up."""
        return sample_of(self._client.get(f"{self.ops_url}/metrics").text, name, **labels) or 0.0

    def lines(self) -> list[dict[str, Any]]:
        """The log, a document a line."""
        return log_lines(self.log)

    def told(self) -> list[dict[str, Any]]:
        """What it printed on standard output, a document a line."""
        return log_lines(self.output)

    def says(self, message: str) -> list[dict[str, Any]]:
        """The log lines with this message."""
        return log_lines(self.log, message)

    def is_leading(self) -> bool:
        """Whether it leads and is warm."""
        try:
            document = self.ready()
        except httpx.TransportError:
            return False
        return bool(document["ready"] and document["leader"])

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_seconds: float = 60.0) -> None:
        """Wait for an effect; fails at once when the process has ended."""

        def met_or_ended() -> bool:
            return condition() or not self.is_running

        wait_until(met_or_ended, what=what, timeout_seconds=timeout_seconds)
        assert self.is_running, f"the operator ended with {self.process.returncode} before: {what}"

    def kill(self) -> None:
        """SIGKILL: an end without a word."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self.process.terminate()

    def stop(self, timeout_seconds: float = 40.0) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(timeout_seconds)

    def close(self) -> None:
        """Close what asks; the process goes on."""
        self._client.close()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def running_operator(
    kubeconfig: Path,
    folder: Path,
    *flags: str,
    name: str = "operator",
    command: Sequence[str] = OPERATOR,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Replica]:
    """Run a replica until the block ends, whatever became of it; on entry it listens on its ops port."""
    folder.mkdir(parents=True, exist_ok=True)
    log, output = folder / f"{name}.log", folder / f"{name}.out"
    with log.open("wb") as errors, output.open("wb") as told:
        process = subprocess.Popen(
            [*command, "--kubeconfig", str(kubeconfig), "--ops-listen", "127.0.0.1:0", *flags],
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=errors,
            env=child_environment(**(environment or {})),
            start_new_session=True,
        )
    replica = Replica(process, log, output)
    try:
        replica.wait_until(lambda: bool(replica.says("listening")), "the operator listens")
        replica.ops_url = f"http://{replica.says('listening')[0]['ops_listen']}"
        yield replica
    except BaseException:
        print(f"{os.linesep}the operator's log ({log}) says:{os.linesep}{log.read_text(errors='replace')}")
        raise
    finally:
        replica.close()
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def kubeconfig_of(
    cluster: Cluster, path: Path, *, server: str | None = None, bearer: str | None = None
) -> Path:
    """A kubeconfig for the operator: through `server` when said, as the owner of `bearer` when said."""
    content = json.loads(cluster.kubeconfig.read_text())
    [entry] = content["clusters"]
    if server is not None:
        entry["cluster"]["server"] = server
    authority = cluster.authority.read_bytes()
    entry["cluster"].pop("certificate-authority", None)
    entry["cluster"]["certificate-authority-data"] = base64.b64encode(authority).decode()
    if bearer is not None:
        content["users"][0]["user"] = {"token": bearer}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    return path


def give_back_lease(cluster: Cluster) -> None:
    """Make the operator's namespace, and in it a Lease as a leader leaves it: the next one need not wait."""
    try:
        cluster.create_namespace(NAMESPACE)
    except ApiError as error:
        if error.status != httpx.codes.CONFLICT:
            raise
    cluster.apply(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": NAMESPACE, "name": LEASE},
            "spec": {"holderIdentity": "", "renewTime": "2026-01-01T00:00:00.000000Z"},
        }
    )


def lease_of(cluster: Cluster) -> dict[str, Any]:
    """The operator's Lease as it is now."""
    return cluster.request("GET", f"{_LEASES}/{LEASE}")


def delete_lease(cluster: Cluster) -> None:
    """As `kubectl delete lease` does."""
    cluster.request("DELETE", f"{_LEASES}/{LEASE}")
