# SPDX-License-Identifier: Apache-2.0
"""A gate that follows its ConfigMap at a real API server, and callers who never stop to call.

The bundle is written by hand, as an administrator; the gate reads it as the ServiceAccount of the service's
pods, with the Role that the operator would make and nothing else.
"""

from __future__ import annotations

import base64
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from testing.controlplane import Cluster
from testing.controlplane.process import wait_until
from testing.faults.tcpproxy import TcpProxy
from testing.gate_process import AUDIENCE, NAMESPACE, SERVICE, Gate, issuer, running_gate, service, workload
from watchword.trust import compile_resources, encode_bundle, pack_bundle, parse_manifests

CALLERS = "callers"
ISSUER = "here"
WAIT_SECONDS = 60.0
_numbers = itertools.count(1)


def populate(cluster: Cluster) -> None:
    """The namespaces and accounts: two callers, and a stranger whom no bundle here ever trusts."""
    cluster.create_namespace(NAMESPACE)
    cluster.create_namespace(CALLERS)
    for account in ("atlas", "hermes", "stranger"):
        cluster.create_service_account(CALLERS, account)
        cluster.create_pod(CALLERS, f"{account}-0", account)


@dataclass
class Bundles:
    """One service's bundle, its ConfigMap, and who may read it."""

    cluster: Cluster
    folder: Path
    name: str
    account: str
    generation: int = 0
    _keys: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, cluster: Cluster, folder: Path) -> Bundles:
        """A fresh ConfigMap's name, and a ServiceAccount that may read nothing yet."""
        number = next(_numbers)
        account = f"gate-{number}"
        cluster.create_service_account(NAMESPACE, account)
        return cls(cluster, folder, f"{SERVICE}-{number}", account, _keys=cluster.jwks())

    @property
    def watched(self) -> str:
        """What `--watch` takes."""
        return f"{NAMESPACE}/{self.name}"

    def allow(self, *verbs: str, name: str | None = None) -> None:
        """Let the gate's ServiceAccount get, list and watch the one ConfigMap, or what is said."""
        rule = {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [name or self.name],
            "verbs": list(verbs or ("get", "list", "watch")),
        }
        self._rbac("Role", rules=[rule])
        self._rbac(
            "RoleBinding",
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": self.name},
            subjects=[{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": self.account}],
        )

    def document(self, *trusted: str, suspended: str | None = None, generation: int | None = None) -> bytes:
        """A bundle that trusts these callers; its generation is the next one unless said."""
        if generation is None:
            self.generation += 1
            generation = self.generation
        objects = [
            issuer(ISSUER, self._keys),
            service(),
            *(workload(each, ISSUER, (CALLERS, each), suspend=each == suspended) for each in trusted),
        ]
        files = [(f"{n}.json", _json(each)) for n, each in enumerate(objects)]
        compiled = compile_resources(parse_manifests(files).resources, generation=generation)
        return encode_bundle(compiled.bundles[0])

    def publish(self, document: bytes, *, is_packed: bool = False) -> None:
        """Write the ConfigMap, as the operator does: plain, or packed when it is large."""
        entry = (
            {"binaryData": {"bundle.json": base64.b64encode(pack_bundle(document)).decode()}}
            if is_packed
            else {"data": {"bundle.json": document.decode()}}
        )
        metadata = {"namespace": NAMESPACE, "name": self.name}
        self.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **entry})

    def trust(self, *callers: str, **given: Any) -> int:
        """Publish the next generation with these callers; returns it."""
        self.publish(self.document(*callers, **given))
        return self.generation

    def delete(self) -> None:
        """Delete the ConfigMap."""
        self.cluster.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{self.name}")

    def mount(self, document: bytes) -> Path:
        """Put a bundle where the kubelet would mount the ConfigMap."""
        path = self.folder / "bundle.json"
        written = self.folder / ".new"
        written.write_bytes(document)
        written.replace(path)
        return path

    def token(self) -> str:
        """A token of the gate's ServiceAccount for the API server, as a kubelet mounts it."""
        return self.cluster.token(NAMESPACE, self.account)

    def write_token(self, token: str) -> Path:
        """Put a token where the gate reads it."""
        path = self.folder / "token"
        path.with_suffix(".new").write_text(token)
        path.with_suffix(".new").replace(path)
        return path

    def _rbac(self, kind: str, **more: Any) -> None:
        metadata = {"namespace": NAMESPACE, "name": self.name}
        self.cluster.apply(
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, **more}
        )


@dataclass
class FollowingGate:
    """The running gate, and what it says of what it follows."""

    gate: Gate
    bundles: Bundles

    def ready(self) -> dict[str, Any]:
        found: dict[str, Any] = self.gate.ready().json()
        return found

    @property
    def follows(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ready()["follows"]
        return found

    def log(self) -> str:
        return self.gate.log.read_text()

    def until_generation(self, generation: int) -> None:
        self._until(lambda: self.ready().get("generation") == generation, f"generation {generation} in use")

    def until_connected(self) -> None:
        self._until(lambda: self.follows["connected"] is True, "connected")

    def until_trouble(self, said: str) -> None:
        """Until it cannot follow, and what it says of that holds this text."""
        self._until(lambda: said in self.follows.get("warning", "\0"), f"trouble: {said}")

    def until_warning(self, said: str) -> None:
        """Until what it says of the bundle holds this text."""
        self._until(lambda: said in self.ready().get("warning", ""), f"warning: {said}")

    def _until(self, condition: Any, what: str) -> None:
        try:
            wait_until(condition, what=what, timeout_seconds=WAIT_SECONDS)
        except TimeoutError as late:
            raise AssertionError(f"{late}; /readyz: {self.ready()}") from None


@contextmanager
def following_gate(
    bundles: Bundles,
    document: bytes | None = None,
    *,
    proxy: TcpProxy | None = None,
    authority: Path | None = None,
    window_seconds: int = 5,
    flags: tuple[str, ...] = (),
) -> Iterator[FollowingGate]:
    """A gate that boots from `document` as its mounted file, and follows the ConfigMap."""
    file = bundles.mount(document) if document is not None else bundles.folder / "bundle.json"
    token = bundles.folder / "token"
    if not token.exists():
        bundles.write_token(bundles.token())
    url = bundles.cluster.url if proxy is None else f"https://{proxy.address}"
    with running_gate(
        file,
        f"--watch={bundles.watched}",
        f"--api-server={url}",
        f"--api-token-file={token}",
        f"--api-ca-file={authority or bundles.cluster.authority}",
        f"--watch-window-seconds={window_seconds}",
        "--audit=off",
        *flags,
        is_ready_required=document is not None,
    ) as gate:
        yield FollowingGate(gate, bundles)


class Callers:
    """Two callers who ask on and on: one who is trusted, and one who never may be."""

    def __init__(self, gate: Gate, trusted: str, stranger: str) -> None:
        self.answers: Counter[tuple[str, int, str]] = Counter()
        self._gate, self._tokens = gate, {"trusted": trusted, "stranger": stranger}
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_done.set()
        self._thread.join(WAIT_SECONDS)

    def _run(self) -> None:
        with httpx.Client(base_url=self._gate.url, trust_env=False, timeout=WAIT_SECONDS) as client:
            while not self._is_done.is_set():
                for who, token in self._tokens.items():
                    # A query makes no other decision, and no token is ever asked about the same way twice.
                    answer = client.get("/authz", headers={"Authorization": f"Bearer {token}"})
                    self.answers[who, answer.status_code, answer.headers.get("X-Watchword-Reason", "")] += 1
                time.sleep(0.01)


@contextmanager
def calling(following: FollowingGate) -> Iterator[Callers]:
    """Callers around a block; at its end: the trusted one was never refused, and nobody new got in."""
    cluster = following.bundles.cluster
    tokens = [cluster.token(CALLERS, each, [AUDIENCE], pod=f"{each}-0") for each in ("atlas", "stranger")]
    callers = Callers(following.gate, *tokens)
    callers.start()
    try:
        yield callers
        asked = callers.answers.total()
        wait_until(lambda: callers.answers.total() > asked + 20, what="callers still call")
    finally:
        callers.stop()
    assert set(callers.answers) == {("trusted", 200, ""), ("stranger", 403, "unknown_workload")}


def _json(document: Mapping[str, Any]) -> bytes:
    return httpx.Request("POST", "http://x", json=document).content
