# SPDX-License-Identifier: Apache-2.0
"""Create objects of our kinds as `kubectl create` does: with unknown fields refused, not dropped."""

from __future__ import annotations

from typing import Any

from testing.controlplane import Cluster
from watchword.trust.crd.definitions import KINDS

_PLURALS = {kind.name: kind.plural for kind in KINDS}


def create(
    cluster: Cluster, document: dict[str, Any], *, validation: str = "Strict", dry_run: bool = True
) -> dict[str, Any]:
    """Create an object, or only ask whether it would be taken. Raises `ApiError` when it is refused."""
    parameters = {"fieldValidation": validation} | ({"dryRun": "All"} if dry_run else {})
    return cluster.request("POST", collection(document), document, parameters=parameters)


def collection(document: dict[str, Any]) -> str:
    """The URL path of the objects of this kind, in the object's namespace."""
    namespace = document["metadata"].get("namespace")
    place = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{document['apiVersion']}{place}/{_PLURALS[document['kind']]}"
