# SPDX-License-Identifier: Apache-2.0
"""The draft of `watchword routes`, patched into a service as docs/how-to/write-routes.md says."""

from __future__ import annotations

import json
from pathlib import Path

from testing.controlplane import Cluster
from testing.manifests import service
from tests.cluster.test_printed_yaml import kubectl, printed

ROOT = Path(__file__).parents[2]


def test_a_draft_is_a_patch_that_the_api_server_takes(crds: Cluster, tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/write-routes.md").read_text()
    [patch] = [line for line in page.splitlines() if line.startswith("kubectl -n shop patch")]
    # Other documents speak of it too.
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    kubectl(crds, "apply", "--filename=-", given=json.dumps(namespace))
    made = service(name="orders")
    made["metadata"]["namespace"] = "shop"
    kubectl(crds, "apply", "--filename=-", given=json.dumps(made))
    draft = printed("routes", "--from", str(ROOT / "manifests/openapi/orders.yaml"))
    (tmp_path / "routes.yaml").write_text(draft)
    file = str(tmp_path / "routes.yaml")
    words = [file if word == "routes.yaml" else word for word in patch.split()[1:]]
    kubectl(crds, *words)
    stored = json.loads(kubectl(crds, "-n", "shop", "get", "protectedservice", "orders", "-o", "json"))
    wanted = json.loads(
        printed("routes", "--from", str(ROOT / "manifests/openapi/orders.yaml"), "-o", "json")
    )
    # `public` is what the API server fills in.
    assert stored["spec"]["routes"] == [each | {"public": False} for each in wanted["spec"]["routes"]]
    assert stored["spec"]["port"] == made["spec"]["port"]
