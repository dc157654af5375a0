# SPDX-License-Identifier: Apache-2.0
"""One object as the operator holds it: the version that counts, what is wrong with the newest, its status.

Only what decides something is kept of an object. A status that cannot be read counts as none: it is ours to
write, and what somebody else put there must not stop us.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from watchword.operator.managed import version_of
from watchword.operator.names import Name
from watchword.trust.conditions import ISSUER, SERVICE, WORKLOAD, ConditionType
from watchword.trust.problems import Problem
from watchword.trust.skew import narrowed, read_any_release
from watchword.trust.specs import Resource, TrustedWorkload
from watchword.trust.specs.status import IssuerStatus, ServiceStatus, WorkloadStatus

Status = IssuerStatus | ServiceStatus | WorkloadStatus
# (kind, namespace, name); the namespace of a cluster-scoped object is empty.
Key = tuple[str, str, str]
STATUS_TYPES: Final[Mapping[str, type[Status]]] = {
    ISSUER: IssuerStatus,
    SERVICE: ServiceStatus,
    WORKLOAD: WorkloadStatus,
}
_OURS: Final = frozenset(ConditionType)


@dataclass(slots=True)
class Entry:
    """One object of our three kinds.

    Attributes:
        key: its kind, namespace and name.
        uid: of this object and no other.
        version: the resourceVersion of the newest version that was read.
        generation: its metadata.generation.
        created: its metadata.creationTimestamp.
        resource: the version that counts: the newest, or the last that was understood; None: none.
        problems: what is wrong with the newest version.
        remainder: the newest version without the fields that this release does not know; None: it has none.
        status: what its status says, in conditions of ours.
        held: of an issuer, `status.keys` as it stands there, whatever it is.
    """

    key: Key
    uid: str
    version: int
    generation: int
    resource: Resource | None
    problems: tuple[Problem, ...] = ()
    remainder: Resource | None = None
    status: Status = field(default_factory=WorkloadStatus)
    held: object = None

    @property
    def is_newer(self) -> bool:
        """Whether the newest version has fields that this release does not know."""
        return self.remainder is not None

    @property
    def is_unread(self) -> bool:
        """Whether it has such fields, and no version of it was ever understood."""
        return self.remainder is not None and self.resource is None

    @property
    def service(self) -> Name | None:
        """The service that it is about; None where that is nothing or not known."""
        kind, namespace, name = self.key
        if kind == SERVICE:
            return namespace, name
        resource = self.resource or self.remainder
        if isinstance(resource, TrustedWorkload):
            return namespace, resource.spec.service_ref.name
        return None


def read_entry(kind: str, document: Mapping[str, Any], before: Entry | None) -> Entry | None:
    """Read an object as a watch gives it. Never raises for a bad one.

    Args:
        kind: the kind that was watched.
        document: the object.
        before: the entry of the same name until now.

    Returns:
        The entry; None for what has no name or UID, and so is no object.
    """
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return None
    name, uid = metadata.get("name"), metadata.get("uid")
    namespace = metadata.get("namespace") or ""
    if not all(isinstance(text, str) for text in (name, uid, namespace)) or not name or not uid:
        return None
    reading = read_any_release(document)
    resource = reading.resource
    same = before if before is not None and before.uid == uid else None
    standing = same.resource if same else None
    if resource is None and reading.remainder is not None and standing is not None:
        resource = narrowed(standing, reading.remainder)
    elif resource is None and kind == SERVICE:
        # Its bundle stays anyway: then it must at least follow what becomes of its workloads.
        resource = standing
    generation, status = metadata.get("generation"), document.get("status")
    return Entry(
        key=(kind, namespace, str(name)),
        uid=str(uid),
        version=version_of(metadata),
        generation=generation if isinstance(generation, int) else 0,
        resource=resource,
        problems=reading.problems,
        remainder=reading.remainder,
        status=read_status(kind, status),
        # Also what cannot be read: an issuer with a past must not pass for a new one.
        held=status.get("keys") if kind == ISSUER and isinstance(status, dict) else None,
    )


def read_status(kind: str, document: object) -> Status:
    """An object's status, without conditions that others add; an empty one where it cannot be read."""
    expected = STATUS_TYPES[kind]
    try:
        status = msgspec.convert(document if document is not None else {}, expected)
    except (msgspec.ValidationError, RecursionError):
        return expected()
    ours = tuple(each for each in status.conditions if each.type in _OURS)
    return status if len(ours) == len(status.conditions) else msgspec.structs.replace(status, conditions=ours)
