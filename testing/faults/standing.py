# SPDX-License-Identifier: Apache-2.0
"""A whole installation that stands: API server, operators, a gate that follows its bundle, callers.

Faults are made to it from outside; what counts is what callers see meanwhile. So an onlooker asks the gate
all the time, as one who is trusted and as one who is not, and forgets no wrong answer.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from testing.controlplane import ApiError, Cluster, wait_until
from testing.faults.tcpproxy import TcpProxy, tcp_proxy
from testing.gate_process import (
    AUDIENCE,
    NAMESPACE,
    SERVICE,
    Gate,
    issuer,
    running_gate,
    service,
    workload,
    write_bundle,
)
from testing.operator_process import Replica, give_back_lease, kubeconfig_of, running_operator
from watchword.trust.bundle_forms import WHOLE_ENTRY
from watchword.trust.crd.definitions import definitions

APPS = "apps"
BUNDLE = f"watchword-bundle-{SERVICE}"
_API = "/apis/watchword.dev/v1alpha1"
WORKLOADS = f"{_API}/namespaces/{NAMESPACE}/trustedworkloads"


@dataclass
class Standing:
    """An installation; operators reach the API server through `proxy`, the gate through `gate_proxy`."""

    cluster: Cluster
    folder: Path
    proxy: TcpProxy
    gate_proxy: TcpProxy
    gate: Gate
    _stack: ExitStack
    replicas: list[Replica] = field(default_factory=list)
    _names: Iterator[int] = field(default_factory=itertools.count)

    def operator(self, name: str, *flags: str) -> Replica:
        """A further replica, through the proxy, until the installation ends."""
        self.replicas.append(self._stack.enter_context(self.running(name, *flags)))
        return self.replicas[-1]

    @contextmanager
    def running(self, name: str, *flags: str) -> Iterator[Replica]:
        """A further replica until the block ends."""
        server = f"https://{self.proxy.address}"
        path = kubeconfig_of(self.cluster, self.folder / f"{name}.kubeconfig", server=server)
        short = ("--watch-window-seconds", "5", "--allow-key-address", "127.0.0.0/8")
        with running_operator(path, self.folder, *short, *flags, name=name) as replica:
            yield replica

    def account(self) -> tuple[str, str]:
        """A new ServiceAccount that no one trusts, with a pod: its name, and a token for the service."""
        name = f"app-{next(self._names)}"
        self.cluster.create_service_account(APPS, name)
        self.cluster.create_pod(APPS, name, name)
        token = self.cluster.token(APPS, name, [AUDIENCE], pod=name, expiration_seconds=3600)
        return name, token

    def trust(self, account: str, **spec: Any) -> dict[str, Any]:
        """Trust a ServiceAccount of this cluster; the TrustedWorkload bears its name."""
        return self.cluster.apply(workload(account, "here", (APPS, account), **spec))

    def distrust(self, account: str) -> None:
        """Delete that TrustedWorkload."""
        self.cluster.request("DELETE", f"{WORKLOADS}/{account}")

    def newcomer(self) -> tuple[str, str]:
        """A ServiceAccount that is trusted from now on; see `account`."""
        name, token = self.account()
        self.trust(name)
        return name, token

    def is_in(self, token: str) -> bool:
        """Whether the gate lets this token in now."""
        return self.gate.ask(token).status == httpx.codes.OK

    def wait_until_in(self, token: str, timeout_seconds: float = 90.0) -> None:
        wait_until(lambda: self.is_in(token), what="the gate lets it in", timeout_seconds=timeout_seconds)

    def wait_until_out(self, token: str, timeout_seconds: float = 90.0) -> None:
        wait_until(
            lambda: not self.is_in(token), what="the gate shuts it out", timeout_seconds=timeout_seconds
        )

    def check_that_edits_count(self) -> None:
        """Trust one and drop it again: everything between an edit and a gate works."""
        name, token = self.newcomer()
        self.wait_until_in(token)
        self.distrust(name)
        self.wait_until_out(token)

    def bundle(self) -> tuple[int, dict[str, Any]]:
        """The generation and the document of the bundle in the API server."""
        return bundle_in(self.cluster.request("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{BUNDLE}"))


def bundle_in(config_map: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The generation that a bundle's ConfigMap is annotated with, and its document."""
    generation = int(config_map["metadata"]["annotations"]["watchword.dev/generation"])
    if WHOLE_ENTRY in config_map.get("data", {}):
        return generation, json.loads(config_map["data"][WHOLE_ENTRY])
    packed = base64.b64decode(config_map["binaryData"][WHOLE_ENTRY])
    return generation, json.loads(gzip.decompress(packed))


@contextmanager
def standing(cluster: Cluster, folder: Path) -> Iterator[Standing]:
    """The installation without an operator yet: objects, a gate that boots from an old bundle, proxies."""
    host, _, port = cluster.url.removeprefix("https://").partition(":")
    for definition in definitions():
        cluster.apply(definition)
    give_back_lease(cluster)
    for namespace in (NAMESPACE, APPS):
        _ignoring_conflict(cluster.create_namespace, namespace)
    cluster.create_service_account(NAMESPACE, "default")
    cluster.apply(service(networkPolicy={"mode": "Off"}))
    here = issuer("here", {})
    here["spec"]["keys"] = {"cluster": {}}
    cluster.apply(here)
    with ExitStack() as stack:
        proxy = stack.enter_context(tcp_proxy(host, int(port)))
        gate_proxy = stack.enter_context(tcp_proxy(host, int(port)))
        (folder / "gate").mkdir(parents=True, exist_ok=True)
        token = folder / "gate" / "token"
        token.write_text(cluster.token(NAMESPACE, "default", expiration_seconds=86400))
        # What a kubelet mounted long ago: no one is trusted in it.
        bundle = write_bundle(folder / "gate" / "bundle.json", service(), issuer("here", cluster.jwks()))
        gate = stack.enter_context(
            running_gate(
                bundle,
                "--watch",
                f"{NAMESPACE}/{BUNDLE}",
                "--api-server",
                f"https://{gate_proxy.address}",
                "--api-token-file",
                str(token),
                "--api-ca-file",
                str(cluster.authority),
                "--watch-window-seconds",
                "5",
            )
        )
        yield Standing(cluster, folder, proxy, gate_proxy, gate, stack)


def _ignoring_conflict(create: Callable[[str], str], name: str) -> None:
    try:
        create(name)
    except ApiError as error:
        if error.status != httpx.codes.CONFLICT:
            raise


class Onlooker:
    """Asks a gate without a pause, and keeps every answer that is not as it must be."""

    def __init__(self, gate: Gate, *, trusted: tuple[str, ...], strangers: tuple[str, ...]) -> None:
        self.wrong: list[str] = []
        self.asked = 0
        self._gate, self._trusted, self.strangers = gate, trusted, strangers
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="onlooker")

    def __enter__(self) -> Onlooker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        with httpx.Client(base_url=self._gate.url, trust_env=False, timeout=30.0) as client:
            while not self._is_over.is_set():
                for token, expected in self._expectations():
                    answer = client.get("/authz", headers={"Authorization": f"Bearer {token}"})
                    self.asked += 1
                    if (answer.status_code == httpx.codes.OK) != expected:
                        reason = answer.headers.get("X-Watchword-Reason", "")
                        self.wrong.append(f"{time.time():.2f}: {answer.status_code} {reason}, not {expected}")
                self._is_over.wait(0.02)

    def _expectations(self) -> Iterator[tuple[str, bool]]:
        yield from ((token, True) for token in self._trusted)
        yield from ((token, False) for token in self.strangers)
