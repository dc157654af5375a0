# SPDX-License-Identifier: Apache-2.0
"""A stage as a service's owner sets it: pods with one label, three objects, and the operator does the rest.

Whoever writes a gate or a token volume by hand here would test the hand, and not what the webhook makes.
"""

from __future__ import annotations

import json
from typing import Any

from testing.controlplane import wait_until
from testing.controlplane.api import ApiError
from testing.node.pods import pod_spec
from tests.e2e.stage import GATE_PORT, SERVICE, Stage, projects

Json = dict[str, Any]


class Labelled(Stage):
    """A stage whose pods are what their authors wrote, with one label; the operator does the rest."""

    def prepare(self) -> None:
        """The issuer that is this cluster, and the service."""
        self.node.kubectl("label", "namespace", self.namespace, "watchword.dev/injection=enabled")
        self.node.apply(
            {
                "apiVersion": "watchword.dev/v1alpha1",
                "kind": "ClusterTrustedIssuer",
                "metadata": {"name": "this-cluster"},
                "spec": {"issuer": self.node.cluster.issuer, "keys": {"cluster": {}}},
            },
            self.account("server"),
            self.service(),
        )

    def account(self, name: str) -> Json:
        """A ServiceAccount of the namespace."""
        metadata = {"namespace": self.namespace, "name": name}
        return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}

    def service(self) -> Json:
        """The service, whose bundle the pods' own ServiceAccount may read."""
        found = super().service()
        found["spec"] |= {"serviceAccountName": "server", "networkPolicy": {"mode": "Enforce"}}
        return found

    def server(self, replicas: int = 1, **annotations: str) -> Json:
        """A Deployment of the app with one label more."""
        labels = {"app": SERVICE, "watchword.dev/gate": "enabled"}
        # What every app behind a Service does, gate or not: it serves on until nobody is sent to it any more.
        app = self.app(lifecycle={"preStop": {"sleep": {"seconds": 5}}})
        spec = self.protected_spec(app=app, terminationGracePeriodSeconds=30)
        del spec["initContainers"], spec["volumes"]
        spec["serviceAccountName"] = "server"
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": self.namespace, "name": "server"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": SERVICE}},
                "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec},
            },
        }

    def job(self, name: str, pod: Json) -> Json:
        """A Job that runs the pod of a manifest once, with its labels, and never a second time."""
        template = {"metadata": {"labels": pod["metadata"]["labels"]}, "spec": pod["spec"]}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"namespace": self.namespace, "name": name},
            "spec": {"backoffLimit": 0, "template": template},
        }

    def gated_once(self, code: int) -> Json:
        """A Pod with the gate's label, whose app ends at once with this exit code."""
        app = self.app()
        app["command"] = ["/usr/bin/python3.11", "-Ic", f"raise SystemExit({code})"]
        spec = pod_spec(app, restartPolicy="Never", serviceAccountName="server")
        return {"metadata": {"labels": {"app": SERVICE, "watchword.dev/gate": "enabled"}}, "spec": spec}

    def end_of_job(self, name: str) -> tuple[str, Json]:
        """Wait until a Job has ended: the condition that says how, and its one Pod as it is then."""
        path = f"/apis/batch/v1/namespaces/{self.namespace}/jobs/{name}"
        selector = f"batch.kubernetes.io/job-name={name}"

        def ends() -> list[str]:
            conditions = self.node.cluster.request("GET", path)["status"].get("conditions", [])
            by_type = {each["type"] for each in conditions if each["status"] == "True"}
            return sorted(by_type & {"Complete", "Failed"})

        try:
            wait_until(lambda: ends() != [], what=f"the Job {name} ended", timeout_seconds=180.0)
        except TimeoutError as slow:
            pods = self.node.pods(self.namespace, selector)
            shown = [self.node.describe(self.namespace, each["metadata"]["name"]) for each in pods]
            raise TimeoutError("\n".join([str(slow), *(shown or ["it has no pod"])])) from None
        [end] = ends()
        [pod] = self.node.pods(self.namespace, selector)
        return end, pod

    def address(self) -> Json:
        """A Service in front of the gates."""
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": self.namespace, "name": "server"},
            "spec": {"selector": {"app": SERVICE}, "ports": [{"port": GATE_PORT, "targetPort": GATE_PORT}]},
        }

    def caller(self, name: str, url: str, *arguments: str, account: str = "default", **fields: Any) -> Json:
        """A calling pod as its author wrote it, with one label more and no token volume of its own."""
        pod = super().caller(name, url, *arguments, account=account, **fields)
        pod["metadata"]["labels"]["watchword.dev/call"] = f"{self.namespace}.{SERVICE}"
        del (
            pod["spec"]["volumes"],
            pod["spec"]["containers"][0]["volumeMounts"],
            pod["spec"]["containers"][0]["env"],
        )
        return pod

    def ready(self, kind: str, name: str) -> Json:
        """The condition Ready of an object of ours."""
        place = f"namespaces/{self.namespace}/" if kind != "clustertrustedissuers" else ""
        found = self.node.cluster.request("GET", f"/apis/watchword.dev/v1alpha1/{place}{kind}/{name}")
        conditions = found.get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == "Ready"), {})

    def trust_now(self, *accounts: str) -> None:
        """Trust these ServiceAccounts besides those that are, until each gate follows."""
        for account in accounts:
            self.node.apply(self.account(account), self.workload(account))
            wait_until(
                lambda account=account: self.ready("trustedworkloads", account).get("reason") == "Trusted",
                what=f"{account} is Trusted",
                timeout_seconds=90.0,
            )
        self.trusted.extend(accounts)
        self.wait_for_gates()

    def wait_for_gates(self) -> None:
        """Until every gate runs on as many workloads as are trusted."""

        def follow() -> bool:
            pods = self.node.pods(self.namespace, f"app={SERVICE}")
            counts = [
                json.loads(self.node.run("curl", "-s", f"http://{each['status']['podIP']}:9090/readyz"))
                for each in pods
                if each["status"].get("podIP") and not each["metadata"].get("deletionTimestamp")
            ]
            return bool(counts) and all(each.get("workloads") == len(self.trusted) for each in counts)

        wait_until(follow, what="the gates follow", timeout_seconds=90.0)

    def wait_for_owned(self, *paths: str) -> None:
        """Until the operator has made what belongs to the service."""

        def is_there() -> bool:
            try:
                return all(self.node.cluster.request("GET", path) for path in paths)
            except ApiError:
                return False

        wait_until(is_there, what=f"{paths}", timeout_seconds=90.0)

    def start_calling(self, *arguments: str, account: str, name: str = "steady") -> None:
        """A pod that calls again and again, until it has got through once."""
        self.node.apply(self.caller(name, self.url(), *arguments, account=account))
        self.node.wait_for_pod(self.namespace, name)
        wait_until(lambda: self.said(name, "counts") != [], what=f"{name} calls", timeout_seconds=90.0)

    def counts(self, name: str = "steady") -> dict[str, int]:
        """How often a caller heard what so far."""
        found: dict[str, int] = self.said(name, "counts")[-1]["counts"]
        return found

    def url(self) -> str:
        """The service's one route, at the address of the Service in front."""
        found = self.node.cluster.request("GET", f"/api/v1/namespaces/{self.namespace}/services/server")
        return projects(found["spec"]["clusterIP"])
