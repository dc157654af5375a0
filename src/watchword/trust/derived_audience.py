# SPDX-License-Identifier: Apache-2.0
"""The audience that a service has by where it is, and the part of all audiences that no object may declare.

It imports no resources, so that the rules which read them can ask it too.
"""

import re
from typing import Final

# Everything below it is derived; no object may declare it.
PREFIX: Final = "watchword.dev/"
SERVICE_AUDIENCES: Final = f"{PREFIX}services/"
_DESKS: Final = f"{PREFIX}desks/"
# A UID, or the name of a cluster that is none, such as `dev`: one segment, so that no two places are one
# text.
_CLUSTER_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def is_cluster_id(text: str) -> bool:
    """Whether a text can stand for a cluster in an audience: the UID of its `kube-system` Namespace."""
    return _CLUSTER_ID.fullmatch(text) is not None


def derived_audience(cluster_id: str, namespace: str, name: str) -> str:
    """The audience of a service, from where it is.

    Args:
        cluster_id: the UID of the `kube-system` Namespace.
        namespace: of the ProtectedService.
        name: of the ProtectedService.

    Raises:
        ValueError: a part is empty, or could be read as two.
    """
    return _derived(SERVICE_AUDIENCES, cluster_id, namespace, name)


def desk_audience(cluster_id: str, namespace: str, name: str) -> str:
    """The audience of a TokenDesk, from where it is: no service can have it.

    Args:
        cluster_id: the UID of the `kube-system` Namespace.
        namespace: of the TokenDesk.
        name: of the TokenDesk.

    Raises:
        ValueError: a part is empty, or could be read as two.
    """
    return _derived(_DESKS, cluster_id, namespace, name)


def _derived(prefix: str, cluster_id: str, namespace: str, name: str) -> str:
    if not is_cluster_id(cluster_id) or not all(part and "/" not in part for part in (namespace, name)):
        raise ValueError("a cluster, a namespace and a name make an audience, each one segment")
    return f"{prefix}{cluster_id}/{namespace}/{name}"


def is_derived(audience: str) -> bool:
    """Whether a text is in the part that no object may declare, in any case of its letters."""
    return audience.casefold().startswith(PREFIX)
