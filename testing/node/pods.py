# SPDX-License-Identifier: Apache-2.0
"""Pod manifests that pass the Pod Security level `restricted`, with as little else in them as can be."""

from __future__ import annotations

from typing import Any

from testing.node.services import PAUSE_IMAGE

Json = dict[str, Any]


def container(name: str, image: str = PAUSE_IMAGE, **fields: Any) -> Json:
    """A container under `restricted`, with a read-only root and an image that is on the node already."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "Never",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **fields,
    }


def pod(namespace: str, name: str, *containers: Json, **fields: Any) -> Json:
    """A Pod of these containers; `fields` go into its `spec`, and `labels` into its metadata."""
    labels = fields.pop("labels", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": pod_spec(*containers, **fields),
    }


def pod_spec(*containers: Json, **fields: Any) -> Json:
    """The `spec` of a Pod that no ServiceAccount token is mounted into unless said."""
    return {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "containers": list(containers),
        **fields,
    }


def token_volume(name: str, audience: str, *, seconds: int = 3600) -> Json:
    """A projected ServiceAccount token in the file `token`; less than 600 seconds is refused."""
    source = {"serviceAccountToken": {"audience": audience, "expirationSeconds": seconds, "path": "token"}}
    return {"name": name, "projected": {"sources": [source]}}
