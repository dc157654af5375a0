# SPDX-License-Identifier: Apache-2.0
"""What the operator's own objects are called, and how one knows that an object is one of them.

An object of somebody else may bear the very name that we would give: a name alone never makes it ours.
"""

from collections.abc import Mapping
from typing import Any, Final

from watchword.trust.specs import API_GROUP

FIELD_MANAGER: Final = "watchword-operator"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "watchword"
MANAGED_SELECTOR: Final = f"{MANAGED_BY}={MANAGER}"
SERVICE_LABEL: Final = f"{API_GROUP}/service"
GENERATION_ANNOTATION: Final = f"{API_GROUP}/generation"
DIGEST_ANNOTATION: Final = f"{API_GROUP}/digest"
BUNDLE_ENTRY: Final = "bundle.json"

# (namespace, name)
Name = tuple[str, str]


def bundle_name(service: str) -> str:
    """The name of a service's bundle ConfigMap, and of the Role and RoleBinding that let a gate read it."""
    return f"watchword-bundle-{service}"


def policy_name(service: str) -> str:
    """The name of a service's NetworkPolicy."""
    return f"watchword-{service}"


def service_of(kind: str, name: str) -> str:
    """The service that an object of ours is for, by its name: labels can be changed by hand."""
    return name.removeprefix("watchword-" if kind == "NetworkPolicy" else "watchword-bundle-")


def labels_for(service: str) -> dict[str, str]:
    """The labels of every object that is made for a service."""
    return {MANAGED_BY: MANAGER, SERVICE_LABEL: service}


def is_ours(metadata: Mapping[str, Any], service: str, service_uid: str) -> bool:
    """Whether an object was made for this service: it says so itself, or the service owns it.

    Either is enough, so that removing a label by hand does not make it a stranger's.
    """
    labels = metadata.get("labels") or {}
    if labels.get(MANAGED_BY) == MANAGER and labels.get(SERVICE_LABEL) == service:
        return True
    owners = metadata.get("ownerReferences") or ()
    return any(owner.get("uid") == service_uid and owner.get("controller") for owner in owners)
