# SPDX-License-Identifier: Apache-2.0
"""What `kubectl get` shows of each kind, and which fields it can be asked by.

The columns answer the question of three in the morning: is it working, why not, and since when. A column that
shows only what the reader typed wastes the line.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec


class Column(msgspec.Struct, frozen=True):
    """One printer column.

    Attributes:
        name: its heading.
        path: the JSONPath of what it shows.
        description: what that is.
        type: its OpenAPI type.
        priority: 0, or 1 for `-o wide` only.
    """

    name: str
    path: str
    description: str
    type: str = "string"
    priority: int = 0

    def as_json(self) -> dict[str, Any]:
        """The column as a CRD writes it."""
        column = {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.path,
            "description": self.description,
        }
        return column | ({"priority": self.priority} if self.priority else {})


def _of(condition: str, part: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].{part}'


_READY: Final = Column("Ready", _of("Ready", "status"), "Whether it works.")
_REASON: Final = Column("Reason", _of("Ready", "reason"), "Why, as a stable code.")
_MESSAGE: Final = Column("Message", _of("Ready", "message"), "What to do about it.", priority=1)
_AGE: Final = Column("Age", ".metadata.creationTimestamp", "How long it has been there.", type="date")

COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    "ClusterTrustedIssuer": (
        _READY,
        _REASON,
        Column("Keys", _of("KeysFresh", "reason"), "Whether its keys could be read last time."),
        Column("Rotation", _of("RotationSettled", "reason"), "Whether a key waits for approval, or retires."),
        Column("Issuer", ".spec.issuer", "The URL that its tokens say."),
        _AGE,
        Column("Policy", ".spec.rotation.policy", "How new keys come to be trusted.", priority=1),
        _MESSAGE,
    ),
    "ProtectedService": (
        _READY,
        _REASON,
        Column("Trusted", ".status.workloads.trusted", "Workloads in the bundle.", type="integer"),
        Column("Refused", ".status.workloads.refused", "Workloads left out of it.", type="integer"),
        Column(
            "Generation", ".status.bundle.generation", "The bundle that gates should run.", type="integer"
        ),
        Column("Policy", _of("PolicyApplied", "reason"), "What became of the NetworkPolicy."),
        Column(
            "Report-Only", _of("ReportOnly", "reason"), "Whether gates only report what they would refuse."
        ),
        _AGE,
        Column("Audience", ".status.audience", "What tokens should be made for.", priority=1),
        Column("Audiences", ".spec.audiences", "What is accepted besides.", priority=1),
        Column("Bundle", ".status.bundle.configMap", "The ConfigMap of the bundle.", priority=1),
        _MESSAGE,
    ),
    "TrustedWorkload": (
        _READY,
        _REASON,
        Column("Service", ".spec.serviceRef.name", "The service that trusts it."),
        Column("Issuer", ".spec.issuerRef.name", "The cluster that it runs in."),
        Column(
            "Subject-Namespace", ".spec.serviceAccount.namespace", "Its ServiceAccount's namespace, there."
        ),
        Column("Subject-Name", ".spec.serviceAccount.name", "Its ServiceAccount's name."),
        Column("Reachable", _of("Reachable", "reason"), "Whether its calls can arrive.", priority=1),
        Column("Expires", ".spec.expires", "When its trust ends by itself.", priority=1),
        _AGE,
        _MESSAGE,
    ),
    "TokenDesk": (
        _READY,
        _REASON,
        Column("Keys", _of("RotationSettled", "reason"), "Where the rotation of its signing keys is."),
        Column("Services", ".status.services", "Services that name it.", type="integer"),
        Column("Issuer", ".spec.issuer", "The URL that its tokens say."),
        _AGE,
        Column("Audience", ".status.audience", "What callers' tokens should be made for.", priority=1),
        _MESSAGE,
    ),
    "DeskClient": (
        _READY,
        _REASON,
        Column("Desk", ".spec.deskRef.name", "The desk that it is a client of."),
        Column("Type", ".spec.type", "What it may do there."),
        Column("Admin", ".spec.adminServiceAccount", "Whether it may use the admin API.", type="boolean"),
        _AGE,
        _MESSAGE,
    ),
    "AgentProvider": (
        _READY,
        _REASON,
        Column("Desk", ".spec.deskRef.name", "The desk that takes its assertions."),
        Column("Keys", _of("KeysFresh", "reason"), "Whether its keys could be read last time."),
        Column("Issuer", ".spec.issuer", "The URL that its assertions say."),
        _AGE,
        Column("Suspended", ".spec.suspended", "Whether it was suspended.", type="boolean", priority=1),
        _MESSAGE,
    ),
}

SELECTABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "ClusterTrustedIssuer": (".spec.issuer",),
    "ProtectedService": (".spec.networkPolicy.mode",),
    "TrustedWorkload": (
        ".spec.serviceRef.name",
        ".spec.issuerRef.name",
        ".spec.serviceAccount.namespace",
        ".spec.serviceAccount.name",
    ),
    "TokenDesk": (".spec.issuer",),
    "DeskClient": (".spec.deskRef.name", ".spec.type"),
    "AgentProvider": (".spec.deskRef.name", ".spec.issuer"),
}
