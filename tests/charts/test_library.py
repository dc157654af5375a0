# SPDX-License-Identifier: Apache-2.0
"""The library chart's templates make the very containers and volumes that the webhook adds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.charts.rendering import ROOT
from tests.charts.conftest import Helm
from watchword.injection import Injected, InjectionSettings, ServiceFacts, World, inject

LIBRARY = ROOT / "charts" / "watchword-sidecar"
IMAGE = "registry.example/gate:1"
SERVICE = ServiceFacts("tuist", "tuist-server", {"app": "tuist-server"}, 8443, 8080)
WORLD = World({("tuist", "tuist-server"): SERVICE}, frozenset({"tuist"}), cluster_id="a-cluster")
TEMPLATE = """
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  initContainers:
    {{- $gate := dict "root" $ "service" "tuist-server" "port" 8443 "upstreamPort" UPSTREAM "image" "IMAGE" }}
    {{- include "watchword.gate.container" $gate | nindent 4 }}
  containers:
    - name: app
      image: a
      env:
        {{- include "watchword.token.env" (dict) | nindent 8 }}
      volumeMounts:
        {{- include "watchword.token.mount" (dict) | nindent 8 }}
  volumes:
    {{- include "watchword.gate.volumes" (dict "service" "tuist-server") | nindent 4 }}
    {{- include "watchword.token.volume" (dict "audience" "AUDIENCE") | nindent 4 }}
"""


def rendered(helm: Helm, folder: Path, template: str) -> Any:
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: app\nversion: 1.0.0\n")
    (folder / "templates" / "pod.yaml").write_text(template)
    shutil.copytree(LIBRARY, folder / "charts" / "watchword-sidecar")
    return helm.run("template", "app", str(folder), "--namespace", "tuist", "--kube-version", "1.36.0")


@pytest.mark.parametrize(("upstream", "mode"), [("8080", "proxy"), ("0", "authz")])
def test_the_templates_make_what_the_webhook_adds(
    helm: Helm, tmp_path: Path, upstream: str, mode: str
) -> None:
    audience = "watchword.dev/services/a-cluster/tuist/tuist-server"
    text = TEMPLATE.replace("IMAGE", IMAGE).replace("UPSTREAM", upstream).replace("AUDIENCE", audience)
    found = rendered(helm, tmp_path / "app", text)
    assert found.returncode == 0, found.stderr
    given = yaml.safe_load(found.stdout)["spec"]
    labels = {
        "app": "tuist-server",
        "watchword.dev/gate": "enabled",
        "watchword.dev/call": "tuist.tuist-server",
    }
    pod = {
        "metadata": {"labels": labels, "annotations": {"watchword.dev/gate-mode": mode}},
        "spec": {"containers": [{"name": "app", "image": "a"}]},
    }
    wanted = inject(pod, "tuist", WORLD, InjectionSettings(image=IMAGE))
    assert isinstance(wanted, Injected)
    assert given["initContainers"] == wanted.pod["spec"]["initContainers"]
    assert given["volumes"] == wanted.pod["spec"]["volumes"]
    assert given["containers"] == wanted.pod["spec"]["containers"]


def test_resources_and_the_user_are_chosen_as_the_webhooks_settings_choose_them(
    helm: Helm, tmp_path: Path
) -> None:
    amounts = '"requests" (dict "cpu" "50m" "memory" "64Mi") "limits" (dict "cpu" "1" "memory" "1Gi")'
    chosen = f'"resources" (dict {amounts})'
    text = TEMPLATE.replace("IMAGE", IMAGE).replace(
        '"upstreamPort" UPSTREAM', f'"upstreamPort" 8080 "runAsUser" "" {chosen}'
    )
    found = rendered(helm, tmp_path / "app", text.replace("AUDIENCE", "a"))
    assert found.returncode == 0, found.stderr
    pod = {
        "metadata": {"labels": {"app": "tuist-server", "watchword.dev/gate": "enabled"}},
        "spec": {"containers": [{"name": "app", "image": "a"}]},
    }
    settings = InjectionSettings(
        image=IMAGE, run_as_user=None, cpu_request="50m", cpu_limit="1", memory_limit="1Gi"
    )
    wanted = inject(pod, "tuist", WORLD, settings)
    assert isinstance(wanted, Injected)
    assert yaml.safe_load(found.stdout)["spec"]["initContainers"] == wanted.pod["spec"]["initContainers"]


def test_what_is_missing_is_said_by_name(helm: Helm, tmp_path: Path) -> None:
    template = '{{ include "watchword.gate.container" (dict "root" $ "service" "a" "port" 1) }}'
    found = rendered(helm, tmp_path / "app", template)
    assert "watchword.gate.container: image is missing" in found.stderr
