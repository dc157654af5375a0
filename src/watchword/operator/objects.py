# SPDX-License-Identifier: Apache-2.0
"""The objects that the operator makes for a service, as the bodies that it applies.

Pure: the same service and bundle give the same bodies, so that whether anything has to be written is a
comparison and not a guess. Each belongs to its ProtectedService and goes with it.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from watchword.operator.names import (
    BUNDLE_ENTRY,
    DIGEST_ANNOTATION,
    GENERATION_ANNOTATION,
    bundle_name,
    labels_for,
)
from watchword.trust.bundle import MAX_BUNDLE_BYTES, Bundle, encode_bundle, pack_bundle
from watchword.trust.specs import API_VERSION, ProtectedService

Body = dict[str, Any]
# JSON of more bytes than this is packed; smaller ones stay readable with kubectl.
PACK_BYTES: Final = 256 * 1024
# What a ConfigMap may hold in all (Kubernetes docs: ConfigMaps).
MAX_CONFIG_MAP_BYTES: Final = 1024 * 1024


class BundleTooLarge(Exception):
    """A bundle that fits no ConfigMap even when packed, or that no gate unpacks; the message says which."""

    def __init__(self, packed: int, plain: int) -> None:
        super().__init__(
            f"the bundle has {packed} bytes when packed, and a ConfigMap holds {MAX_CONFIG_MAP_BYTES}"
            if packed > MAX_CONFIG_MAP_BYTES
            else f"the bundle has {plain} bytes, and a gate reads {MAX_BUNDLE_BYTES}"
        )


def bundle_entry(bundle: Bundle) -> tuple[str, str]:
    """The member of the ConfigMap (`data` or `binaryData`) and the entry's text in it.

    Raises:
        BundleTooLarge: it does not fit an object.
    """
    data = encode_bundle(bundle)
    if len(data) <= PACK_BYTES:
        return "data", data.decode()
    packed = pack_bundle(data)
    # What packs well can fit and yet be more than a gate unpacks.
    if len(packed) > MAX_CONFIG_MAP_BYTES or len(data) > MAX_BUNDLE_BYTES:
        raise BundleTooLarge(len(packed), len(data))
    return "binaryData", base64.b64encode(packed).decode()


def config_map(service: ProtectedService, bundle: Bundle, entry: tuple[str, str]) -> Body:
    """The ConfigMap of a bundle; `entry` is what `bundle_entry` gave for it."""
    body = _body("v1", "ConfigMap", service, bundle_name(service.metadata.name))
    body["metadata"]["annotations"] = {
        GENERATION_ANNOTATION: str(bundle.generation),
        DIGEST_ANNOTATION: bundle.digest,
    }
    member, text = entry
    body[member] = {BUNDLE_ENTRY: text}
    return body


def role(service: ProtectedService) -> Body:
    """The Role that lets its holder read the one ConfigMap of the bundle."""
    name = bundle_name(service.metadata.name)
    body = _body("rbac.authorization.k8s.io/v1", "Role", service, name)
    body["rules"] = [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [name],
            "verbs": ["get", "list", "watch"],
        }
    ]
    return body


def role_binding(service: ProtectedService) -> Body:
    """The RoleBinding that gives that Role to the ServiceAccount of the service's pods."""
    name = bundle_name(service.metadata.name)
    body = _body("rbac.authorization.k8s.io/v1", "RoleBinding", service, name)
    body["roleRef"] = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    account = {"namespace": service.metadata.namespace, "name": service.spec.service_account_name}
    body["subjects"] = [{"kind": "ServiceAccount"} | account]
    return body


def owned_policy(service: ProtectedService, policy: Mapping[str, Any]) -> Body:
    """A NetworkPolicy that `watchword.trust` made, as one of the service's objects."""
    body = _body(policy["apiVersion"], policy["kind"], service, policy["metadata"]["name"])
    body["spec"] = policy["spec"]
    return body


def fingerprint(body: Mapping[str, Any]) -> str:
    """What an object says of what we set, as a short text: equal for what we applied and what is stored.

    Covers our labels, the owner and the content; not what the server adds (uid, managedFields, times).
    """
    metadata = body.get("metadata") or {}
    labels = metadata.get("labels") or {}
    said = {
        "labels": {key: labels.get(key) for key in labels_for("")},
        "owners": sorted(
            (str(owner.get("uid")), bool(owner.get("controller")))
            for owner in metadata.get("ownerReferences") or ()
        ),
        **{key: body.get(key) for key in ("rules", "roleRef", "subjects", "spec")},
    }
    return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()


def _body(api_version: str, kind: str, service: ProtectedService, name: str) -> Body:
    metadata = service.metadata
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "namespace": metadata.namespace,
            "name": name,
            "labels": labels_for(metadata.name),
            # It goes with its service, and holds up nobody's deletion.
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "ProtectedService",
                    "name": metadata.name,
                    "uid": metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
    }
