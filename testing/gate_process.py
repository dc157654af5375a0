# SPDX-License-Identifier: Apache-2.0
"""The real gate as a process of its own, and the manifests that tell it whom to trust.

What a test wants to know is what the program does that people install: its command, its bundle from a file,
its ports, its log. So nothing here reaches into the gate; the ports are read from its `listening` log line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from testing.controlplane.process import StartFailedError, running
from testing.logs import log_lines
from testing.metrics import sample_of
from watchword.trust import compile_resources, encode_bundle, parse_manifests

Object = dict[str, Any]
AUDIENCE = "tuist-server"
DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"
NAMESPACE, SERVICE = "tuist", "tuist-server"
USAGE_PATH = "/api/accounts/acme/usage"
ROUTES = [
    {"path": "/api/accounts/{account}/usage", "methods": ["GET"], "scope": "account:usage:read"},
    {"path": "/api/accounts/{account}/usage", "methods": ["POST"], "scope": "account:usage:write"},
    {"path": "/open", "methods": ["GET"], "scope": "app:read"},
]
_COMMAND: tuple[str, ...] = (sys.executable, "-m", "watchword.cli.main")
_API = "watchword.dev/v1alpha1"


def issuer(name: str, jwks: Mapping[str, Any], *, iss: str = DEFAULT_ISSUER, **spec: Any) -> Object:
    """A ClusterTrustedIssuer with these keys pinned inline."""
    return {
        "apiVersion": _API,
        "kind": "ClusterTrustedIssuer",
        "metadata": {"name": name},
        "spec": {"issuer": iss, "keys": {"inline": dict(jwks)}, **spec},
    }


def service(**spec: Any) -> Object:
    """The ProtectedService `tuist/tuist-server`: `AUDIENCE`, `ROUTES`, and what is said otherwise."""
    return {
        "apiVersion": _API,
        "kind": "ProtectedService",
        "metadata": {"namespace": NAMESPACE, "name": SERVICE},
        "spec": {
            "audiences": [AUDIENCE],
            "selector": {"matchLabels": {"app": SERVICE}},
            "port": 8443,
            "upstreamPort": 8080,
            "routes": ROUTES,
            **spec,
        },
    }


def workload(name: str, issuer_name: str, account: tuple[str, str], **spec: Any) -> Object:
    """A TrustedWorkload: `account` is (namespace, name) in the issuer's cluster. It may read all usage."""
    return {
        "apiVersion": _API,
        "kind": "TrustedWorkload",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {
            "serviceRef": {"name": SERVICE},
            "issuerRef": {"name": issuer_name},
            "serviceAccount": {"namespace": account[0], "name": account[1]},
            "grants": [{"scopes": ["account:usage:read"], "accounts": ["*"]}],
            **spec,
        },
    }


def manifests(
    folder: Path,
    jwks: Mapping[str, Mapping[str, Any]],
    workloads: Mapping[str, tuple[str, tuple[str, str]]],
    **service_spec: Any,
) -> Path:
    """Write the three kinds into `folder`: issuers by name with their JWKS, workloads by name with
    (issuer, (namespace, ServiceAccount)). Returns `folder`, for `watchword dev` or `watchword compile`."""
    objects = [
        *(issuer(name, keys) for name, keys in jwks.items()),
        service(**service_spec),
        *(workload(name, *trusted) for name, trusted in workloads.items()),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for each in objects:
        # JSON is YAML.
        name = f"{each['kind']}-{each['metadata']['name']}.yaml".lower()
        (folder / name).write_text(json.dumps(each, indent=2))
    return folder


def write_bundle(path: Path, *objects: Object, generation: int = 1, now: float | None = None) -> Path:
    """Compile `objects` to the one bundle that they describe and put it at `path`, whole or not at all."""
    parsed = parse_manifests([("objects.yaml", "\n---\n".join(map(json.dumps, objects)).encode())])
    compiled = compile_resources(parsed.resources, generation=generation, now=now)
    assert not (*parsed.problems, *compiled.problems), [
        str(each) for each in (*parsed.problems, *compiled.problems)
    ]
    [bundle] = compiled.bundles
    written = path.with_name(f".{path.name}.new")
    written.write_bytes(encode_bundle(bundle))
    written.replace(path)
    return path


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gate said: the status, the reason (empty for a yes), the problem or nothing, the headers."""

    status: int
    reason: str
    problem: Mapping[str, Any]
    headers: httpx.Headers


@dataclass(frozen=True, slots=True)
class Gate:
    """A running gate: where it answers, its ops port, its process, its log."""

    url: str
    ops_url: str
    pid: int
    log: Path

    @property
    def address(self) -> str:
        """`HOST:PORT` of the gate, as a proxy's configuration says it."""
        return self.url.removeprefix("http://")

    def ask(self, token: str | bytes | None, path: str = "/authz", **headers: str) -> Answer:
        """One request with this Bearer token; an allowed one has an empty reason."""
        if token is not None:
            shown = token if isinstance(token, str) else token.decode()
            headers = {"Authorization": f"Bearer {shown}", **headers}
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30.0) as client:
            answer = client.get(path, headers=headers)
        problem = answer.json() if "json" in answer.headers.get("Content-Type", "") else {}
        return Answer(
            answer.status_code, answer.headers.get("X-Watchword-Reason", ""), problem, answer.headers
        )

    def ready(self) -> httpx.Response:
        """What `/readyz` on the ops port says."""
        return httpx.get(f"{self.ops_url}/readyz", trust_env=False, timeout=30.0)

    def metric(self, name: str, **labels: str) -> float:
        """A number of `/metrics` on the ops port, which must be there; see `sample_of`."""
        found = sample_of(httpx.get(f"{self.ops_url}/metrics", trust_env=False).text, name, **labels)
        assert found is not None, name
        return found


@contextmanager
def running_gate(
    bundle: Path,
    *flags: str,
    log: Path | None = None,
    is_ready_required: bool = True,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Gate]:
    """`watchword sidecar` on this bundle file until the block ends; see `_running`."""
    arguments = ["sidecar", "--bundle", str(bundle), *_usage_beside(bundle, flags), *flags]
    with _running(arguments, log or bundle.with_suffix(".log"), is_ready_required, environment) as gate:
        yield gate


@contextmanager
def running_dev(folder: Path, *flags: str, log: Path | None = None) -> Iterator[Gate]:
    """`watchword dev` on this folder of manifests, without a development issuer, until the block ends."""
    arguments = ["dev", str(folder), "--no-issuer", *_usage_beside(folder, flags), *flags]
    with _running(arguments, log or folder.with_suffix(".log"), True) as gate:
        yield gate


@contextmanager
def _running(
    arguments: Sequence[str],
    log: Path,
    is_ready_required: bool,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Gate]:
    """Start, wait for the ports and for `/readyz`, stop by SIGTERM. A block that fails shows the log."""
    command = [*_COMMAND, *arguments, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]

    def is_ready() -> bool:
        found = _listening(log)
        if found is None:
            return False
        try:
            answer = httpx.get(f"http://{found[1]}/readyz", trust_env=False, timeout=10.0)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK or not is_ready_required

    with running(command, log=log, is_ready=is_ready, timeout_seconds=30.0, environment=environment) as pid:
        found = _listening(log)
        if found is None:
            raise StartFailedError("the gate answered and never said where")
        try:
            yield Gate(f"http://{found[0]}", f"http://{found[1]}", pid, log)
        except BaseException:
            print(f"{os.linesep}the gate's log ({log}) says:{os.linesep}{log.read_text(errors='replace')}")
            raise


def _usage_beside(path: Path, flags: Sequence[str]) -> Sequence[str]:
    # The default place is the working directory, which is no place for a test's data.
    return () if "--usage-dsn" in flags else ("--usage-dsn", f"sqlite:///{path.with_suffix('.usage.db')}")


def _listening(log: Path) -> tuple[str, str] | None:
    """The addresses (gate, ops) of the `listening` line, once it is there."""
    for entry in log_lines(log, "listening"):
        return entry["listen"], entry["ops_listen"]
    return None
