# SPDX-License-Identifier: Apache-2.0
"""What kopf calls: one plain handler for each kind that is watched, on every event.

No finalizer, no annotation, no handler for deletions: nothing of ours may ever hold up somebody's object, and
what an event means is decided by what is in memory.
"""

from collections.abc import Callable, Mapping
from typing import Any

import kopf

from watchword.trust.conditions import ISSUER, SERVICE, WORKLOAD
from watchword.trust.specs import API_GROUP

# Takes the kind, whether the object is gone, and the object.
Take = Callable[[str, bool, Mapping[str, Any]], None]


def registry(take: Take) -> kopf.OperatorRegistry:
    """The handlers, which pass each event on."""
    made = kopf.OperatorRegistry()
    _pass_on(made, take, ISSUER, (API_GROUP, "v1alpha1", "clustertrustedissuers"))
    _pass_on(made, take, SERVICE, (API_GROUP, "v1alpha1", "protectedservices"))
    _pass_on(made, take, WORKLOAD, (API_GROUP, "v1alpha1", "trustedworkloads"))
    _pass_on(made, take, "Namespace", ("", "v1", "namespaces"))
    return made


def _pass_on(made: kopf.OperatorRegistry, take: Take, kind: str, resource: tuple[str, str, str]) -> None:
    async def handler(event: Mapping[str, Any], **_: Any) -> None:
        take(kind, event["type"] == "DELETED", event["object"])

    handler.__name__ = f"take_{kind}"
    kopf.on.event(*resource, id=kind, registry=made)(handler)
