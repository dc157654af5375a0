# SPDX-License-Identifier: Apache-2.0
"""A protected app and its callers as manifests of real pods, with the gate written out by hand.

What a person without chart and webhook would write; the chart's and the webhook's tests put their own pods in
the place of `protected_spec` and keep the rest.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testing.controlplane import wait_until
from testing.node.node import Node
from testing.node.pods import container, pod, pod_spec, token_volume
from tests.image.fixtures import Images

Json = dict[str, Any]
SERVICE = "tuist-server"
AUDIENCE = "tuist-server"
GATE_PORT, APP_PORT, OPS_PORT = 8443, 8080, 9090
TOKEN_FOLDER = "/var/run/secrets/watchword.dev"
_API = "watchword.dev/v1alpha1"
_PYTHON = "/usr/bin/python3.11"
_DEMO = "/usr/share/watchword-demo"


@dataclass(frozen=True, slots=True)
class Stage:
    """A namespace with a protected service `tuist-server`, whose callers are ServiceAccounts beside it."""

    node: Node
    images: Images
    namespace: str
    folder: Path
    trusted: list[str] = field(default_factory=list)

    def trust(self, *accounts: str) -> None:
        """Trust these ServiceAccounts and nobody else: write the bundle that says so, and the accounts."""
        for account in accounts:
            self.node.apply(_object("v1", "ServiceAccount", self.namespace, account))
        manifests = [self.issuer(), self.service(), *(self.workload(account) for account in accounts)]
        (self.folder / "manifests").mkdir(exist_ok=True)
        (self.folder / "manifests/all.json").write_text("\n---\n".join(map(json.dumps, manifests)))
        command = [
            str(Path(sys.executable).with_name("watchword")),
            "compile",
            str(self.folder / "manifests"),
        ]
        bundle = subprocess.run([*command, "-o", "bundle"], capture_output=True, text=True, check=True).stdout
        config_map = _object("v1", "ConfigMap", self.namespace, "bundle")
        self.node.apply({**config_map, "data": {"bundle.json": bundle}})

    def issuer(self) -> Json:
        """This cluster as an issuer, with its keys pinned."""
        return {
            "apiVersion": _API,
            "kind": "ClusterTrustedIssuer",
            "metadata": {"name": "this-cluster"},
            "spec": {"issuer": self.node.cluster.issuer, "keys": {"inline": self.node.cluster.jwks()}},
        }

    def service(self) -> Json:
        """The protected service: one route, and the app's own port known."""
        return {
            **_object(_API, "ProtectedService", self.namespace, SERVICE),
            "spec": {
                "audiences": [AUDIENCE],
                "selector": {"matchLabels": {"app": SERVICE}},
                "port": GATE_PORT,
                "upstreamPort": APP_PORT,
                "routes": [
                    {
                        "path": "/api/accounts/{account}/projects",
                        "methods": ["GET"],
                        "scope": "account:projects:read",
                    }
                ],
                "limits": {"requestsPerSecond": 1000, "burst": 1000},
            },
        }

    def workload(self, account: str) -> Json:
        """Trust in one ServiceAccount of this namespace."""
        return {
            **_object(_API, "TrustedWorkload", self.namespace, account),
            "spec": {
                "serviceRef": {"name": SERVICE},
                "issuerRef": {"name": "this-cluster"},
                "serviceAccount": {"namespace": self.namespace, "name": account},
                "grants": [{"scopes": ["account:projects:read"], "accounts": ["*"]}],
                "from": [
                    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}}}
                ],
            },
        }

    def gate(self, **fields: Any) -> Json:
        """The gate as a native sidecar (KEP-753)."""
        probe = {"port": OPS_PORT, "scheme": "HTTP"}
        return container(
            "gate",
            self.images.gate,
            restartPolicy="Always",
            args=[
                "sidecar",
                "--bundle=/etc/watchword/bundle.json",
                f"--listen=0.0.0.0:{GATE_PORT}",
                f"--ops-listen=0.0.0.0:{OPS_PORT}",
                f"--upstream=http://127.0.0.1:{APP_PORT}",
                "--usage-dsn=sqlite:////var/lib/watchword/usage.db",
            ],
            ports=[{"containerPort": GATE_PORT}, {"containerPort": OPS_PORT}],
            startupProbe={
                "httpGet": {"path": "/healthz", **probe},
                "periodSeconds": 1,
                "failureThreshold": 60,
            },
            readinessProbe={"httpGet": {"path": "/readyz", **probe}, "periodSeconds": 1},
            lifecycle={"preStop": {"exec": {"command": ["/usr/bin/watchword", "drain"]}}},
            volumeMounts=[
                {"name": "bundle", "mountPath": "/etc/watchword", "readOnly": True},
                {"name": "usage", "mountPath": "/var/lib/watchword"},
            ],
            **fields,
        )

    def protected_spec(self, *, app: Json | None = None, gate: Json | None = None, **fields: Any) -> Json:
        """The `spec` of a pod with the app behind its gate."""
        volumes = [{"name": "bundle", "configMap": {"name": "bundle"}}, {"name": "usage", "emptyDir": {}}]
        return pod_spec(app or self.app(), initContainers=[gate or self.gate()], volumes=volumes, **fields)

    def app(self, *arguments: str, listen: str = f"127.0.0.1:{APP_PORT}", **fields: Any) -> Json:
        """The app: it listens on loopback, so that the gate alone reaches it."""
        command = [_PYTHON, "-I", f"{_DEMO}/app.py", f"--listen={listen}", *arguments]
        return container("app", self.images.demo, command=command, **fields)

    def start_protected_pod(self, name: str = "server", **fields: Any) -> str:
        """Run one pod with the app behind its gate; return its address."""
        spec = self.protected_spec(**fields)
        manifest = {**_object("v1", "Pod", self.namespace, name, labels={"app": SERVICE}), "spec": spec}
        self.node.apply(manifest)
        address: str = self.node.wait_for_pod(self.namespace, name)["status"]["podIP"]
        return address

    def caller(
        self,
        name: str,
        url: str,
        *arguments: str,
        account: str = "default",
        audience: str = AUDIENCE,
        token_seconds: int = 3600,
        **fields: Any,
    ) -> Json:
        """A Pod that calls as the ServiceAccount `account`, with a token that the kubelet projects."""
        calling = container(
            "caller",
            self.images.demo,
            command=[_PYTHON, "-I", f"{_DEMO}/caller.py", url, *arguments],
            env=[{"name": "WATCHWORD_TOKEN_FILE", "value": f"{TOKEN_FOLDER}/token"}],
            volumeMounts=[{"name": "identity", "mountPath": TOKEN_FOLDER, "readOnly": True}],
        )
        return pod(
            self.namespace,
            name,
            calling,
            labels={"app": name},
            serviceAccountName=account,
            restartPolicy="Never",
            volumes=[token_volume("identity", audience, seconds=token_seconds)],
            **fields,
        )

    def call_once(self, name: str, url: str, *arguments: str, **fields: Any) -> Json:
        """Run a caller for one call, and return what it says of the answer."""
        self.node.apply(self.caller(name, url, "--calls=1", *arguments, **fields))
        wait_until(
            lambda: self.node.pod(self.namespace, name)["status"].get("phase") in {"Succeeded", "Failed"},
            what=f"caller {name} ended",
            timeout_seconds=120.0,
        )
        [answer] = self.said(name, "answer")
        return answer

    def said(self, pod_name: str, event: str, container_name: str | None = None) -> list[Json]:
        """What the app or a caller has said so far of one kind of event."""
        return events(self.node.logs(self.namespace, pod_name, container_name), event)


def events(log: str, name: str) -> list[Json]:
    """The lines of a log that are events of this name."""
    return [each for each in map(json.loads, log.splitlines()) if each.get("event") == name]


def projects(host: str, port: int = GATE_PORT, account: str = "acme") -> str:
    """The URL of the route that the protected service has."""
    return f"http://{host}:{port}/api/accounts/{account}/projects"


def _object(version: str, kind: str, namespace: str, name: str, **metadata: Any) -> Json:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name, **metadata},
    }
