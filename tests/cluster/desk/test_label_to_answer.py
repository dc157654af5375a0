# SPDX-License-Identifier: Apache-2.0
"""From the label `watchword.dev/exchange` to an answer of another service's app, with every part a real one.

The webhook patches the pod as the API server stores it; the API server makes the token that a kubelet would
mount; the desk exchanges it; a gate that follows what the operator published passes the request on.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.controlplane.process import reserved_port, wait_until
from testing.gate_process import Gate, running_gate
from testing.manifests import API, GRANTS
from testing.running_desk import EXCHANGE, JWT
from tests.cluster.desk.conftest import DESKS, World
from tests.cluster.desk.test_desk_process import Process, running_process
from tests.cluster.desk.test_desks import SERVICE, desk, published, service
from tests.cluster.webhook.conftest import CONFIGURATION, SYSTEM, configuration, running_webhook
from tests.injection.pods import caller_pod
from tests.shipped import access_of
from watchword.trust import encode_bundle

_RBAC = "rbac.authorization.k8s.io"
CALLERS = "callers"


class App(BaseHTTPRequestHandler):
    """Says which identity it was told."""

    def do_GET(self) -> None:
        names = ("X-Watchword-Workload", "X-Watchword-Account", "X-Watchword-Scopes", "Authorization")
        said = json.dumps({name: self.headers.get(name) for name in names}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@dataclass
class Stage:
    """All that runs."""

    world: World
    desk: Process
    gate: Gate

    def pod(self, account: str, label: str = f"{DESKS}.desk") -> dict[str, Any]:
        """A pod with the label, as the API server stores it."""
        pod = caller_pod()
        pod["metadata"] = {"generateName": "caller-", "labels": {"watchword.dev/exchange": label}}
        pod["spec"]["serviceAccountName"] = account
        return self.world.cluster.request("POST", f"/api/v1/namespaces/{CALLERS}/pods", pod)

    def mounted(self, pod: dict[str, Any]) -> str:
        """The token that the kubelet would put into the volume that was added."""
        [volume] = [each for each in pod["spec"]["volumes"] if each["name"] == "watchword-desk-token"]
        [source] = [each["serviceAccountToken"] for each in volume["projected"]["sources"]]
        account, name = pod["spec"]["serviceAccountName"], pod["metadata"]["name"]
        return self.world.cluster.token(CALLERS, account, [source["audience"]], pod=name)

    def exchange(self, token: str, account: str = "acme") -> httpx.Response:
        form = {
            "grant_type": EXCHANGE,
            "subject_token": token,
            "subject_token_type": JWT,
            "audience": f"tenant-a/{SERVICE}",
            "scope": "account:usage:read",
            "account": account,
        }
        return self.desk.post("/oauth2/token", **form)

    def call(self, token: str, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{self.gate.url}{path}", headers=headers, trust_env=False)


@pytest.fixture(scope="module")
def stage(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder, cluster = tmp_path_factory.mktemp("label"), world.cluster
    own = {"issuer": cluster.issuer, "keys": {"inline": cluster.request("GET", "/openid/v1/jwks")}}
    world.apply({"apiVersion": API, "kind": "ClusterTrustedIssuer", "metadata": {"name": "own"}, "spec": own})
    world.apply(desk(issuer="https://desk.example.com"))
    route = {"path": "/api/{account}/usage", "methods": ["GET"], "scope": "account:usage:read"}
    world.apply(service("tenant-a", routes=[route]))
    for each in access_of(CONFIGURATION):
        cluster.apply(each)
    # As the chart does it where there is a desk.
    metadata = {"name": CONFIGURATION, "namespace": DESKS}
    rules = [{"apiGroups": ["watchword.dev"], "resources": ["tokendesks"], "verbs": ["list", "watch"]}]
    account = {"kind": "ServiceAccount", "name": CONFIGURATION, "namespace": SYSTEM}
    role: dict[str, Any] = {"apiVersion": f"{_RBAC}/v1", "metadata": metadata}
    cluster.apply(role | {"kind": "Role", "rules": rules})
    reference = {"apiGroup": _RBAC, "kind": "Role", "name": CONFIGURATION}
    cluster.apply(role | {"kind": "RoleBinding", "roleRef": reference, "subjects": [account]})
    cluster.create_namespace(CALLERS)
    for name in ("atlas", "stranger"):
        cluster.create_service_account(CALLERS, name)
    world.apply(
        {
            "apiVersion": API,
            "kind": "TrustedWorkload",
            "metadata": {"name": "atlas", "namespace": "tenant-a"},
            "spec": {
                "serviceRef": {"name": SERVICE},
                "issuerRef": {"name": "own"},
                "serviceAccount": {"namespace": CALLERS, "name": "atlas"},
                "grants": GRANTS,
            },
        }
    )
    app = ThreadingHTTPServer(("127.0.0.1", 0), App)
    threading.Thread(target=app.serve_forever, daemon=True).start()
    with reserved_port() as port:
        pass
    # The webhook gives the configuration its certificate, and is not ready without one.
    cluster.apply(configuration(port))
    try:
        with (
            running_process(world, folder) as process,
            running_webhook(cluster, folder, port, "--desk-namespace", DESKS) as webhook,
            followed(world, folder, f"http://127.0.0.1:{app.server_port}") as gate,
        ):
            wait_until(lambda: webhook.ready().status_code == 200, what="webhook ready")
            yield Stage(world, process, gate)
    finally:
        app.shutdown()
        app.server_close()


def followed(world: World, folder: Path, upstream: str) -> Any:
    """A gate of tenant-a's service that follows what the operator published, under the service's own Role."""
    world.wait(lambda: (found := published(world, "tenant-a")) is not None and bool(found.desk), "a bundle")
    bundle = published(world, "tenant-a")
    assert bundle is not None
    boot, bearer = folder / "bundle.json", folder / "gate-token"
    boot.write_bytes(encode_bundle(bundle))
    bearer.write_text(world.cluster.token("tenant-a", "default", expiration_seconds=3600))
    flags = (
        *("--watch", f"tenant-a/watchword-bundle-{SERVICE}", "--api-server", world.cluster.url),
        *("--api-token-file", str(bearer), "--api-ca-file", str(world.cluster.authority)),
        *("--upstream", upstream, "--audit", "off"),
    )
    return running_gate(boot, *flags, log=folder / "gate.log")


def test_a_label_is_all_that_a_pod_needs_to_be_answered_by_another_service(stage: Stage) -> None:
    pod = stage.pod("atlas")
    environment = {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}
    assert environment["WATCHWORD_DESK"] == "https://desk.example.com"
    own = stage.mounted(pod)
    stage.desk.until(lambda: stage.exchange(own).status_code == 200)

    token = stage.exchange(own).json()["access_token"]
    stage.desk.until(lambda: stage.call(token, "/api/acme/usage").status_code == 200)

    answer = stage.call(token, "/api/acme/usage").json()
    assert answer["X-Watchword-Workload"] == "tenant-a/atlas"
    assert (answer["X-Watchword-Account"], answer["X-Watchword-Scopes"]) == ("acme", "account:usage:read")
    # The app is given no token that it could use elsewhere.
    assert answer["Authorization"] is None


def test_the_tokens_on_the_way_are_good_for_their_one_step(stage: Stage) -> None:
    pod = stage.pod("atlas")
    own = stage.mounted(pod)
    stage.desk.until(lambda: stage.exchange(own).status_code == 200)
    token = stage.exchange(own).json()["access_token"]

    # The pod's token is for the desk: not for the service, and not for the API server.
    assert stage.call(own, "/api/acme/usage").status_code == 401
    # The desk's is for the account that was asked for, and for no desk.
    assert stage.call(token, "/api/other/usage").status_code == 403
    assert stage.exchange(token).json()["reason"] == "desk_token_as_subject"


def test_a_pod_of_another_account_has_the_label_and_is_given_nothing(stage: Stage) -> None:
    own = stage.mounted(stage.pod("stranger"))
    answer = stage.exchange(own)
    assert (answer.status_code, answer.json()["reason"]) == (400, "target_unavailable")


def test_a_pod_that_is_deleted_leaves_a_token_that_ends_with_its_own(stage: Stage) -> None:
    pod = stage.pod("atlas")
    own = stage.mounted(pod)
    stage.desk.until(lambda: stage.exchange(own).status_code == 200)
    token = stage.exchange(own).json()["access_token"]
    # The desk asks nobody: a token lives on for its minutes, unless it or its workload is taken back.
    name = pod["metadata"]["name"]
    stage.world.cluster.request(
        "DELETE", f"/api/v1/namespaces/{CALLERS}/pods/{name}", {"gracePeriodSeconds": 0}
    )
    assert stage.call(token, "/api/acme/usage").status_code == 200
    assert stage.desk.post("/oauth2/revoke", token=token).status_code == 200
    stage.desk.until(lambda: stage.call(token, "/api/acme/usage").status_code == 401)
