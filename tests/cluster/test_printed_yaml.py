# SPDX-License-Identifier: Apache-2.0
"""What commands print, through the real `kubectl apply` and Helm, into a real API server and back.

Our own reader would forgive what ours prints; kubectl and Helm are who people apply it with.
"""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner

from testing import refusals
from testing.controlplane import Cluster
from testing.manifests import service
from testing.tokens import signer
from tests.charts.conftest import Helm, helm
from tests.injection.pods import app_pod
from watchword.cli.main import watchword
from watchword.trust import encode_bundle

__all__ = ["helm"]
KUBECTL = Path(sysconfig.get_path("scripts"), "kubectl")
ISS = "https://kubernetes.default.svc.cluster.local"
ALGORITHMS = ("RS256", "ES256", "ES384", "ES512")
APPLIES = pytest.mark.parametrize("side", [(), ("--server-side",)], ids=["client-side", "server-side"])
LIKE_OTHERS = ("y", "n", "no", "1e3", "7e8", "0o17", "08", "null", "2026-10-01", "12:30", "~")


def kubectl(cluster: Cluster, *arguments: str, given: str = "") -> str:
    command = [str(KUBECTL), f"--kubeconfig={cluster.kubeconfig}", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(watchword, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    keys = [signer(f"printed-{algorithm}", algorithm).jwk for algorithm in ALGORITHMS]
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": keys}))
    return tmp_path / "jwks.json"


@APPLIES
@pytest.mark.parametrize("name", ["y", "no", "1e3", "null", "2026-10-01"])
def test_an_issuer_that_pin_prints_is_stored_with_its_keys_as_they_are(
    crds: Cluster, jwks: Path, name: str, side: tuple[str, ...]
) -> None:
    arguments = ("pin", "--jwks", str(jwks), "--issuer", ISS, "--name", name)
    kubectl(crds, "apply", *side, "--filename=-", given=printed(*arguments))
    try:
        stored = json.loads(kubectl(crds, "get", "clustertrustedissuer", name, "--output=json"))
        wanted = json.loads(printed(*arguments, "-o", "json"))
        assert stored["spec"]["keys"] == wanted["spec"]["keys"]
        assert next(sorted(key) for key in stored["spec"]["keys"]["inline"]["keys"]) == [
            "alg", "e", "kid", "kty", "n", "use",
        ]  # fmt: skip
    finally:
        kubectl(crds, "delete", "clustertrustedissuer", name)


def test_helm_reads_an_issuer_that_pin_prints_as_kubectl_does(helm: Helm, jwks: Path, tmp_path: Path) -> None:
    text = printed("pin", "--jwks", str(jwks), "--issuer", ISS, "--name", "y")
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: issuers, version: 1.0.0}")
    # Through Helm's own parser and printer, and not only through its templates.
    (chart / "issuer.yaml").write_text(text)
    (chart / "templates/issuer.json").write_text('{{ .Files.Get "issuer.yaml" | fromYaml | toJson }}')
    rendered = helm.run("template", "issuers", str(chart))
    document = rendered.stdout[rendered.stdout.index("{") :]
    wanted = json.loads(printed("pin", "--jwks", str(jwks), "--issuer", ISS, "--name", "y", "-o", "json"))
    assert json.loads(document) == wanted


@APPLIES
def test_what_inject_prints_keeps_each_value_that_looks_like_another(
    crds: Cluster, tmp_path: Path, side: tuple[str, ...]
) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/service.json").write_text(json.dumps(service()))
    name = f"printed-{len(side)}"
    pod = app_pod()
    notes = {f"example.test/{n}": text for n, text in enumerate(LIKE_OTHERS)}
    pod["metadata"] |= {"name": name, "annotations": notes}
    env = [{"name": f"VALUE_{n}", "value": text} for n, text in enumerate(LIKE_OTHERS)]
    pod["spec"]["containers"][0]["env"] = env
    data = {text.replace("~", "tilde").replace(":", "."): text for text in LIKE_OTHERS}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    given = {"apiVersion": "v1", "kind": "List", "items": [pod, settings]}
    (tmp_path / "in.json").write_text(json.dumps(given))
    arguments = (
        "inject",
        str(tmp_path / "in.json"),
        "--services",
        str(tmp_path / "manifests"),
        "-n",
        "tuist",
    )
    kubectl(crds, "apply", *side, "--namespace=tuist", "--filename=-", given=printed(*arguments))
    objects = [
        json.loads(kubectl(crds, "get", kind, name, "--namespace=tuist", "--output=json"))
        for kind in ("pod", "configmap")
    ]
    [container] = [each for each in objects[0]["spec"]["containers"] if each["name"] == "app"]
    assert container["env"] == env
    assert notes.items() <= objects[0]["metadata"]["annotations"].items()
    assert objects[1]["data"] == data
    kubectl(crds, "delete", "pod,configmap", name, "--namespace=tuist", "--now", "--wait=false")


@APPLIES
@pytest.mark.parametrize("request_line", [(), ("--method", "GET", "--path", refusals.PATH)])
def test_the_workload_that_verify_prints_is_taken_as_it_is_and_lets_the_caller_in(
    crds: Cluster, tmp_path: Path, side: tuple[str, ...], request_line: tuple[str, ...]
) -> None:
    (tmp_path / "token").write_bytes(refusals.token(account="reports"))
    (tmp_path / "world.json").write_bytes(encode_bundle(refusals.World().bundle()))
    arguments = ("verify", str(tmp_path / "token"), "--bundle", str(tmp_path / "world.json"))
    said = CliRunner().invoke(watchword, (*arguments, *request_line)).stdout
    text = said[said.index("# The TrustedWorkload that is missing") :]
    kubectl(crds, "apply", *side, "--filename=-", given=text)
    try:
        name = ("trustedworkloads.watchword.dev", "atlas-production-reports", "--namespace=tuist")
        stored = json.loads(kubectl(crds, "get", *name, "--output=json"))
    finally:
        kubectl(crds, "delete", "--filename=-", given=text)
    made = {key: stored[key] for key in ("apiVersion", "kind", "spec")}
    made["metadata"] = {"namespace": "tuist", "name": stored["metadata"]["name"]}
    world = refusals.World().with_object("reports", made)
    (tmp_path / "world.json").write_bytes(encode_bundle(world.bundle()))
    assert CliRunner().invoke(watchword, (*arguments, *request_line)).exit_code == 0
