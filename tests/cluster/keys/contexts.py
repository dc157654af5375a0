# SPDX-License-Identifier: Apache-2.0
"""A kubeconfig as a person has it who works with several clusters: one context each, the first is current."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from testing.controlplane import Cluster
from testing.controlplane.cluster import ADMINISTRATOR


def write_contexts(path: Path, clusters: Mapping[str, Cluster]) -> None:
    """Write it, for the administrator of each cluster."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": each.url, "certificate-authority": str(each.authority)}}
            for name, each in clusters.items()
        ],
        "users": [
            {"name": name, "user": {"token": each.bearer(ADMINISTRATOR)}} for name, each in clusters.items()
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in clusters],
        "current-context": next(iter(clusters)),
    }
    path.write_text(json.dumps(content))
