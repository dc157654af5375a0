# SPDX-License-Identifier: Apache-2.0
"""The operator's own objects as the cluster shows them, and what was last written to each.

A write is needed when what is there is not what should be there, and at no other time. An object whose
version is not the one that we wrote was written by somebody else.
"""

from collections import deque
from typing import Any, Final, Literal

import msgspec

from watchword.apiwatch.messages import version_number
from watchword.operator.names import (
    BUNDLE_ENTRY,
    DIGEST_ANNOTATION,
    FIELD_MANAGER,
    GENERATION_ANNOTATION,
    Name,
    labels_for,
)
from watchword.operator.objects import fingerprint

ManagedKind = Literal["ConfigMap", "Role", "RoleBinding", "NetworkPolicy"]
# Deletions remembered: more than can happen between a write and its answer.
_REMEMBERED: Final = 256
MANAGED_KINDS: Final[tuple[ManagedKind, ...]] = ("ConfigMap", "Role", "RoleBinding", "NetworkPolicy")


class Seen(msgspec.Struct, frozen=True):
    """One object as it is in the cluster.

    Attributes:
        uid: of this object and no other.
        version: its resourceVersion as a number (KEP-5504: they can be compared).
        content: the fingerprint of its content; for a ConfigMap, the digest that its annotation states.
        generation: the bundle's generation that its annotation states; 0: none.
    """

    uid: str
    version: int
    content: str
    generation: int = 0


class Written(msgspec.Struct, frozen=True):
    """Our own last write of an object.

    Attributes:
        version: the resourceVersion that it led to.
        content: what was written, as in `Seen`.
    """

    version: int
    content: str


def seen_from(kind: ManagedKind, document: dict[str, Any]) -> Seen:
    """Read an object of ours; of a ConfigMap, the metadata is enough."""
    metadata = document["metadata"]
    uid, version = str(metadata.get("uid", "")), version_of(metadata)
    if kind != "ConfigMap":
        return Seen(uid, version, fingerprint(document))
    notes = metadata.get("annotations") or {}
    generation = str(notes.get(GENERATION_ANNOTATION, ""))
    # Anybody may have written there: 18 digits are more than any generation of ours will have.
    known = int(generation) if generation.isascii() and generation.isdigit() and len(generation) < 19 else 0
    return Seen(uid, version, str(notes.get(DIGEST_ANNOTATION, "")), known)


def version_of(metadata: dict[str, Any]) -> int:
    """An object's resourceVersion as a number; 0 where it is none."""
    return version_number(str(metadata.get("resourceVersion", "")))


def has_the_last_word(metadata: dict[str, Any]) -> bool:
    """Whether everything that we set of a ConfigMap was set by us last (Kubernetes docs: field management).

    Whoever changes a field takes it from our entry in managedFields, under whatever name they write.
    """
    for entry in metadata.get("managedFields") or ():
        if (entry.get("manager"), entry.get("operation")) != (FIELD_MANAGER, "Apply"):
            continue
        fields = entry.get("fieldsV1") or {}
        content = fields.get("f:data") or fields.get("f:binaryData") or {}
        owned = fields.get("f:metadata") or {}
        notes, labels = owned.get("f:annotations") or {}, owned.get("f:labels") or {}
        return (
            f"f:{BUNDLE_ENTRY}" in content
            and {f"f:{DIGEST_ANNOTATION}", f"f:{GENERATION_ANNOTATION}"} <= notes.keys()
            and {f"f:{label}" for label in labels_for("")} <= labels.keys()
            and bool(owned.get("f:ownerReferences"))
        )
    return False


class ManagedObjects:
    """All objects of ours, by kind, namespace and name."""

    def __init__(self) -> None:
        self._seen: dict[tuple[ManagedKind, Name], Seen] = {}
        self._written: dict[tuple[ManagedKind, Name], Written] = {}
        self._gone: deque[str] = deque(maxlen=_REMEMBERED)

    def seen(self, kind: ManagedKind, name: Name) -> Seen | None:
        """The object as it is known to be; None: there is none."""
        return self._seen.get((kind, name))

    def written(self, kind: ManagedKind, name: Name) -> Written | None:
        """Our last write to it in this term."""
        return self._written.get((kind, name))

    def observe(self, kind: ManagedKind, name: Name, seen: Seen) -> bool:
        """Take what a watch says. Returns whether it is news, and not our own write."""
        known, written = self._seen.get((kind, name)), self._written.get((kind, name))
        if known is not None and known.uid == seen.uid and known.version >= seen.version:
            return False
        if known is not None and known.uid != seen.uid and known.version > seen.version:
            return False
        self._seen[kind, name] = seen
        return written is None or written.version != seen.version

    def vanish(self, kind: ManagedKind, name: Name, uid: str) -> bool:
        """Take it that an object is gone. Returns whether it was known."""
        known = self._seen.get((kind, name))
        if known is None or known.uid != uid:
            return False
        del self._seen[kind, name]
        self._gone.append(uid)
        return True

    def wrote(self, kind: ManagedKind, name: Name, seen: Seen) -> None:
        """Take what a write of ours was answered with."""
        if seen.uid in self._gone:
            # Deleted before the answer to our write came: it must be made again, not believed in.
            return
        self._written[kind, name] = Written(seen.version, seen.content)
        known = self._seen.get((kind, name))
        # Somebody else's later write may have been seen before our own answer came.
        if known is None or known.uid != seen.uid or known.version <= seen.version:
            self._seen[kind, name] = seen

    def removed(self, kind: ManagedKind, name: Name) -> None:
        """Take it that we deleted an object."""
        self._seen.pop((kind, name), None)
        self._written.pop((kind, name), None)

    def __len__(self) -> int:
        return len(self._seen)
