# SPDX-License-Identifier: Apache-2.0
"""The chart's life on a real API server with RBAC: installed, upgraded, rolled back, gone, and back again."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.charts.rendering import CHART, NAMESPACE
from testing.controlplane import Binaries, Cluster, Etcd, start_cluster
from testing.controlplane.process import wait_until
from testing.manifests import issuer, service
from tests.charts.conftest import Helm
from watchword.webhook.certificates import make_pair, utc_now

BUNDLE = base64.b64encode(make_pair(("localhost",), utc_now()).certificate).decode()
KINDS_OF_OURS = len(list((CHART / "files/crds").glob("*.yaml")))
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KINDS = (
    f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
    f"/api/v1/namespaces/{NAMESPACE}/services",
    f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies",
    f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets",
    f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles",
    f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/rolebindings",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
)


@pytest.fixture(scope="module")
def fresh(control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server that nothing of Watchword was ever on."""
    with start_cluster(tmp_path_factory.mktemp("helm-cluster"), etcd=etcd, binaries=control_plane) as running:
        yield running


def run(helm: Helm, cluster: Cluster, *arguments: str) -> str:
    found = helm.run(*arguments, "--namespace", NAMESPACE, kubeconfig=cluster.kubeconfig)
    assert found.returncode == 0, found.stderr
    return found.stdout


def ours(cluster: Cluster) -> set[str]:
    """Everything of the release that is there."""
    found = set()
    for path in KINDS:
        for each in cluster.request("GET", path)["items"]:
            labels = each["metadata"].get("labels") or {}
            if labels.get("app.kubernetes.io/part-of") == "watchword":
                found.add(f"{path.rpartition('/')[2]}/{each['metadata']['name']}")
    return found


def another_version(folder: Path, version: str) -> Path:
    """A copy of the chart under another version, whose issuer's CRD lacks what the newest one has."""
    copy = folder / "watchword"
    shutil.copytree(CHART, copy)
    chart = yaml.safe_load((copy / "Chart.yaml").read_text())
    (copy / "Chart.yaml").write_text(yaml.safe_dump({**chart, "version": version, "appVersion": version}))
    path = copy / "files" / "crds" / "trustedworkloads.yaml"
    definition = yaml.safe_load(path.read_text())
    columns = definition["spec"]["versions"][0]["additionalPrinterColumns"]
    del columns[-1]
    path.write_text(yaml.safe_dump(definition))
    return copy


def columns(cluster: Cluster) -> int:
    found = cluster.request("GET", f"{CRDS}/trustedworkloads.watchword.dev")
    return len(found["spec"]["versions"][0]["additionalPrinterColumns"])


def image_of(cluster: Cluster) -> str:
    found: dict[str, Any] = cluster.request("GET", f"{KINDS[0]}/watchword-operator")
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


def webhooks(cluster: Cluster) -> list[dict[str, Any]]:
    return list(cluster.request("GET", f"{KINDS[-1]}/watchword-webhook")["webhooks"])


def trust_certificate(cluster: Cluster) -> None:
    """As the webhook does when it has made a certificate."""
    patch = [
        {"op": "add", "path": f"/webhooks/{place}/clientConfig/caBundle", "value": BUNDLE}
        for place in range(len(webhooks(cluster)))
    ]
    path = f"{KINDS[-1]}/watchword-webhook"
    cluster.request("PATCH", path, patch, content_type="application/json-patch+json")  # type: ignore[arg-type]  # a JSON patch is a list


def test_a_release_lives_through_upgrade_rollback_uninstall_and_return(
    helm: Helm, fresh: Cluster, tmp_path: Path
) -> None:
    older = another_version(tmp_path, "0.1.0-rc.1")
    said = run(helm, fresh, "install", "watchword", str(older), "--create-namespace")
    assert "rollout status deployment/watchword-operator" in said
    installed, few = ours(fresh), columns(fresh)
    assert {"deployments/watchword-operator", "deployments/watchword-webhook"} <= installed
    assert image_of(fresh) == "watchword.dev/operator:0.1.0-rc.1"
    fresh.apply(issuer())
    fresh.create_namespace("tuist")
    fresh.apply(service())

    run(helm, fresh, "upgrade", "watchword", str(CHART))
    assert columns(fresh) == few + 1, "the definitions are upgraded with the chart"
    assert image_of(fresh) == "watchword.dev/operator:0.1.0"
    assert ours(fresh) == installed

    trust_certificate(fresh)
    run(helm, fresh, "upgrade", "watchword", str(CHART), "--set", "operator.logLevel=debug")
    assert all(each["clientConfig"]["caBundle"] == BUNDLE for each in webhooks(fresh)), (
        "what the webhook wrote into its configuration outlives an upgrade"
    )

    run(helm, fresh, "upgrade", "watchword", str(CHART), "--set", "webhook.enabled=false")
    assert ours(fresh) == {each for each in installed if "webhook" not in each}

    run(helm, fresh, "rollback", "watchword", "3")
    assert ours(fresh) == installed

    run(helm, fresh, "uninstall", "watchword")
    # Kept on purpose: bundles stay guarded, and namespaces that hold one can still end.
    assert ours(fresh) == {
        "clusterroles/watchword-bundle-cleaner",
        "clusterrolebindings/watchword-bundle-cleaner",
    }
    # Kept on purpose: without their definitions every issuer, service and workload would be gone.
    assert len(fresh.request("GET", CRDS)["items"]) == KINDS_OF_OURS
    assert fresh.request("GET", "/apis/watchword.dev/v1alpha1/clustertrustedissuers")["items"]
    assert fresh.request("GET", "/apis/watchword.dev/v1alpha1/protectedservices")["items"]

    run(helm, fresh, "install", "watchword", str(CHART))
    assert ours(fresh) == installed

    run(
        helm,
        fresh,
        "upgrade",
        "watchword",
        str(CHART),
        "--set",
        "crds.keep=false,admissionPolicies.keep=false",
    )
    run(helm, fresh, "uninstall", "watchword")
    assert ours(fresh) == set()
    # Definitions go once the last of their objects has.
    wait_until(lambda: not fresh.request("GET", CRDS)["items"], what="no definition of ours")


def test_the_rendered_manifests_are_taken_by_a_strict_api_server(helm: Helm, fresh: Cluster) -> None:
    values = {"metrics": {"dashboard": True}, "rbac": {"editGrantsAccess": True}}
    if not any(
        each["metadata"]["name"] == NAMESPACE for each in fresh.request("GET", "/api/v1/namespaces")["items"]
    ):
        fresh.create_namespace(NAMESPACE)
    plurals = {
        "CustomResourceDefinition": "customresourcedefinitions",
        "NetworkPolicy": "networkpolicies",
        "PodDisruptionBudget": "poddisruptionbudgets",
        "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    }
    for each in helm.template(values):
        group, _, version = each["apiVersion"].rpartition("/")
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        namespace = each["metadata"].get("namespace")
        plural = plurals.get(each["kind"], each["kind"].lower() + "s")
        path = f"{root}{f'/namespaces/{namespace}' if namespace else ''}/{plural}"
        fresh.request("POST", path, each, parameters={"fieldValidation": "Strict", "dryRun": "All"})


def test_an_operator_of_another_release_name_is_a_release_of_its_own(helm: Helm) -> None:
    rendered = json.dumps(helm.template({"fullnameOverride": "other", "crds": {"install": False}}))
    assert '"name": "watchword-operator"' not in rendered
    assert '"name": "other-operator"' in rendered
