# SPDX-License-Identifier: Apache-2.0
"""A ClusterSource whose API server answers from a table: for states that a real one is slow to come to.

That the same paths are asked of a real API server is held in tests/cluster/console.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from watchword.cli.failures import UnusableInput
from watchword.console.cluster import ClusterSource
from watchword.console.source import PLURALS
from watchword.trust import API_VERSION, Bundle
from watchword.trust.bundle_forms import entries_of

FORBIDDEN = "kubectl get failed: Error from server (Forbidden): no"


class Answers(ClusterSource):
    """Objects as a cluster lists them, and ConfigMaps by their path; everything else is not there."""

    def __init__(
        self,
        objects: list[dict[str, Any]],
        bundles: Mapping[str, Bundle] | None = None,
        *,
        forbidden: tuple[str, ...] = (),
        context: str | None = "there",
        kubeconfig: str | None = None,
    ) -> None:
        super().__init__(context, kubeconfig, ())
        self.objects, self.bundles, self.refused = objects, dict(bundles or {}), forbidden

    def get(self, path: str) -> bytes:
        if any(path.endswith(each) for each in self.refused):
            raise UnusableInput(FORBIDDEN, "ask")
        for kind, plural in PLURALS.items():
            if path == f"/apis/{API_VERSION}/{plural}":
                return json.dumps({"items": [each for each in self.objects if each["kind"] == kind]}).encode()
        namespace, name = path.split("/")[4], path.rpartition("/")[2]
        bundle = self.bundles.get(f"{namespace}/{name.removeprefix('watchword-bundle-')}")
        if bundle is None or "/configmaps/" not in path:
            raise UnusableInput("kubectl get failed: Error from server (NotFound): none", "make it")
        packed = {entry: base64.b64encode(data).decode() for entry, data in entries_of(bundle).items()}
        return json.dumps({"metadata": {"namespace": namespace, "name": name}, "binaryData": packed}).encode()

    def _own_namespace(self) -> str:
        return "default"
