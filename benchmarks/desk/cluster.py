# SPDX-License-Identifier: Apache-2.0
"""All of it at once: a real API server, the operator, a desk, and gates that follow their bundle.

Everything is as in production but for the kubelet; the operator and the desk run as processes under users of
their own.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from testing.controlplane import Cluster, find_binaries, start_cluster, wait_until
from testing.gate_process import Gate, running_gate
from testing.logs import log_lines
from testing.manifests import API
from testing.operated import OPERATOR_USER
from testing.operator_process import Replica, give_back_lease, kubeconfig_of, running_operator
from testing.running_desk import (
    DESK,
    ISSUER,
    NAMESPACE,
    SERVICE,
    default_objects,
    exchange_form,
    subject_token,
)
from watchword.trust import decode_bundle, encode_bundle
from watchword.trust.crd.definitions import definitions
from watchword.trust.desk_objects import SIGNS_FROM

PATH = "/acme/ios/cache"


@dataclass
class Installation:
    """What runs.

    Attributes:
        cluster: the API server.
        operator: the operator.
        desk_url: where the desk answers.
        desk_pid: its process.
        gates: of the one service.
    """

    cluster: Cluster
    operator: Replica
    desk_url: str
    desk_pid: int
    gates: Sequence[Gate]

    def keys(self) -> dict[str, str]:
        """The desk's signing keys by kid, with their states."""
        said = self.cluster.request("GET", f"/apis/{API}/namespaces/{DESK[0]}/tokendesks/{DESK[1]}")
        return {each["kid"]: each["state"] for each in said.get("status", {}).get("keys", ())}

    def published(self) -> set[str]:
        """The kids that are in the gates' bundle."""
        return _kids(self.cluster)

    def spec(self, kind: str, namespace: str, name: str, **spec: Any) -> None:
        """Change a spec."""
        path = f"/apis/{API}/namespaces/{namespace}/{kind}/{name}"
        self.cluster.request("PATCH", path, {"spec": spec}, content_type="application/merge-patch+json")

    def secrets(self) -> list[dict[str, Any]]:
        """The Secrets of the signing keys."""
        return list(self.cluster.request("GET", f"/api/v1/namespaces/{DESK[0]}/secrets")["items"])

    def signs_from(self, secret: dict[str, Any], at: float) -> None:
        """Move the time from which a key may sign: nobody wants to wait for ten minutes."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        self.cluster.request(
            "PATCH",
            f"/api/v1/namespaces/{DESK[0]}/secrets/{secret['metadata']['name']}",
            {"metadata": {"annotations": {SIGNS_FROM: moment}}},
            content_type="application/merge-patch+json",
        )


def own_token(**changes: Any) -> str:
    """What the workload's pod projects for the desk."""
    return subject_token(**({"aud": [ISSUER]} | changes))


def exchange_of(token: str) -> dict[str, str]:
    """The form of a good exchange."""
    return exchange_form(token)


@contextmanager
def installed(folder: Path, *, gates: int = 2) -> Iterator[Installation]:
    """Run all of it until the block ends; a token is issued and taken by every gate at its beginning."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        cluster = stack.enter_context(
            start_cluster(
                folder / "cluster", binaries=find_binaries(), users={OPERATOR_USER: ["system:masters"]}
            )
        )
        for definition in definitions():
            cluster.apply(definition)
        cluster.create_namespace(DESK[0])
        for each in default_objects():
            cluster.apply(each)
        cluster.create_service_account(NAMESPACE, "default")
        bearer = folder / "token"
        bearer.write_text(cluster.bearer(OPERATOR_USER))
        give_back_lease(cluster)
        config = kubeconfig_of(cluster, folder / "kubeconfig", bearer=bearer.read_text())
        flags = ("--desk-namespace", DESK[0])
        replica = stack.enter_context(running_operator(config, folder / "operator", *flags))
        replica.wait_until(replica.is_leading, "the operator leads", 120)
        replica.wait_until(lambda: bool(_kids(cluster)), "the bundle has the desk's key", 120)
        process, url = stack.enter_context(_desk(cluster, folder, bearer))
        followed = [stack.enter_context(_gate(cluster, folder / f"gate-{place}")) for place in range(gates)]
        made = Installation(cluster, replica, url, process, followed)
        wait_until(lambda: _passes(made), what="a token is taken by every gate", timeout_seconds=120)
        yield made


def _kids(cluster: Cluster) -> set[str]:
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/watchword-bundle-{SERVICE}"
    try:
        entries = cluster.request("GET", path)["data"]
    except Exception:  # noqa: BLE001 - it is not there yet
        return set()
    bundle = decode_bundle(entries["bundle.v2.json"].encode())
    return {each["kid"] for each in bundle.desk.keys} if bundle.desk else set()


def _passes(made: Installation) -> bool:
    answer = httpx.post(f"{made.desk_url}/oauth2/token", data=exchange_of(own_token()), trust_env=False)
    if answer.status_code != 200:
        return False
    token = answer.json()["access_token"]
    return all(gate_takes(each, token) for each in made.gates)


def gate_takes(gate: Gate, token: str) -> bool:
    """Whether a gate lets a token through."""
    headers = {"X-Original-Method": "GET", "X-Original-URI": PATH}
    return gate.ask(token, "/authz", **headers).status == 200


@contextmanager
def _gate(cluster: Cluster, folder: Path) -> Iterator[Gate]:
    folder.mkdir(parents=True)
    stored = cluster.request("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/watchword-bundle-{SERVICE}")
    boot = folder / "bundle.json"
    boot.write_bytes(encode_bundle(decode_bundle(stored["data"]["bundle.v2.json"].encode())))
    bearer = folder / "token"
    bearer.write_text(cluster.token(NAMESPACE, "default", expiration_seconds=7200))
    flags = (
        *("--watch", f"{NAMESPACE}/watchword-bundle-{SERVICE}", "--api-server", cluster.url),
        *("--api-token-file", str(bearer), "--api-ca-file", str(cluster.authority), "--audit", "off"),
    )
    with running_gate(boot, *flags, log=folder / "gate.log") as gate:
        yield gate


@contextmanager
def _desk(cluster: Cluster, folder: Path, bearer: Path) -> Iterator[tuple[int, str]]:
    log = folder / "desk.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "watchword.cli.main", "desk", "--token-desk", "/".join(DESK)),
                *("--store", f"sqlite:///{folder / 'desk.db'}", "--api-server", cluster.url),
                *("--api-token-file", str(bearer), "--api-ca-file", str(cluster.authority)),
                *("--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"),
                *("--address-rate", "0", "--subject-rate", "0"),
            ],
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: bool(log_lines(log, "listening")), what="the desk listens", timeout_seconds=120)
        yield process.pid, f"http://{log_lines(log, 'listening')[0]['listen']}"
    finally:
        process.terminate()
        process.wait(30)
