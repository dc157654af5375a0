# SPDX-License-Identifier: Apache-2.0
"""The objects that the operator makes for a service: their names and bodies, whose they are, what is there.

A write is made when what is there is not what should be there, and at no other time, so that a restart
writes nothing. Names and labels decide nothing about ownership: `watchword compile` prints objects with the
very same ones for people to apply. An operator that took such a NetworkPolicy for its own deleted it, and
so opened the app's port. Each write and each deletion names the UID and the version that it was decided
from, so that no object is mistaken for its successor.
"""

import hashlib
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Literal

import msgspec

from watchword.kube.names import NamespacedName
from watchword.kube.requests import ConflictError, ObjectClient
from watchword.kube.watch.messages import version_of
from watchword.trust.api.v1alpha1 import API_GROUP, API_VERSION, ProtectedService, TokenDesk
from watchword.trust.bundle_forms import ENTRIES
from watchword.trust.desk_objects import DESK_LABEL, revocations_name

FIELD_MANAGER: Final = "watchword-operator"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "watchword"
MANAGED_SELECTOR: Final = f"{MANAGED_BY}={MANAGER}"
SERVICE_LABEL: Final = f"{API_GROUP}/service"
GENERATION_ANNOTATION: Final = f"{API_GROUP}/generation"
DIGEST_ANNOTATION: Final = f"{API_GROUP}/digest"
OwnedKind = Literal["ConfigMap", "Role", "RoleBinding", "NetworkPolicy"]
OWNED_KINDS: Final[tuple[OwnedKind, ...]] = ("ConfigMap", "Role", "RoleBinding", "NetworkPolicy")
PLURALS: Final = {
    "ClusterTrustedIssuer": "clustertrustedissuers",
    "ProtectedService": "protectedservices",
    "TrustedWorkload": "trustedworkloads",
    "TokenDesk": "tokendesks",
    "DeskClient": "deskclients",
    "AgentProvider": "agentproviders",
    "ConfigMap": "configmaps",
    "Secret": "secrets",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "NetworkPolicy": "networkpolicies",
    "Event": "events",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}
Body = dict[str, Any]
# Deletions remembered: more than can happen between a write and its answer.
_REMEMBERED: Final = 256
_ATTEMPTS: Final = 4
_SERVICE_KIND: Final = "ProtectedService"


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


class Owner(Enum):
    """Whose an object is: a ProtectedService's that exists, one's that was deleted, or another owner's."""

    THIS_SERVICE = 1
    EARLIER_SERVICE = 2
    OTHER = 3


class NameTakenError(Exception):
    """An object that is not of this service has the name of one of its objects; it must not be touched.

    Attributes:
        kind: its kind.
        name: its name.
        owner: whose it is.
    """

    def __init__(self, kind: str, name: str, owner: Owner) -> None:
        super().__init__(f"{kind} {name}")
        self.kind, self.name, self.owner = kind, name, owner

    @property
    def detail(self) -> str:
        """What is the case, for a condition."""
        if self.owner is Owner.EARLIER_SERVICE:
            return (
                f"{self.kind} {self.name} belongs to a deleted ProtectedService of the same name (another "
                "UID); it was not touched"
            )
        return (
            f"{self.kind} {self.name} is there and this ProtectedService is not its controller "
            "(metadata.ownerReferences); it was not touched"
        )

    @property
    def remedy(self) -> str:
        """What to do about it, for a condition."""
        if self.owner is Owner.EARLIER_SERVICE:
            return (
                "wait until Kubernetes' garbage collector deletes it; if it does not, see its finalizers, or "
                "delete it"
            )
        return (
            "delete or rename it. To hand it over to the operator instead, which then overwrites it, set its "
            "only ownerReference to this ProtectedService (apiVersion, kind, name, uid, controller: true)"
        )


def owner_of(metadata: Mapping[str, Any], service: str, service_uid: str) -> Owner:
    """Whose an object is, by its controller: the one owner reference with `controller: true`.

    Args:
        metadata: of the object.
        service: the name of the ProtectedService that asks.
        service_uid: its UID.
    """
    name, uid = controller_of(metadata)
    return owner_by(uid if name == service else "", service_uid)


def owner_by(owner_uid: str, service_uid: str) -> Owner:
    """Whose an object is that a ProtectedService of the asking one's name controls.

    Args:
        owner_uid: the UID of that ProtectedService; empty: none does.
        service_uid: the UID of the ProtectedService that asks.
    """
    if not owner_uid or not service_uid:
        return Owner.OTHER
    return Owner.THIS_SERVICE if owner_uid == service_uid else Owner.EARLIER_SERVICE


def controller_of(metadata: Mapping[str, Any]) -> tuple[str, str]:
    """The name and UID of the ProtectedService that controls an object; empty texts where none does.

    An object has at most one controller (Kubernetes docs: Owners and Dependents).
    """
    references = metadata.get("ownerReferences")
    for each in references if isinstance(references, (list, tuple)) else ():
        if not isinstance(each, Mapping) or each.get("controller") is not True:
            continue
        group, _, version = str(each.get("apiVersion", "")).partition("/")
        if version and (group, each.get("kind")) == (API_GROUP, _SERVICE_KIND):
            return str(each.get("name", "")), str(each.get("uid", ""))
        return "", ""
    return "", ""


def role(service: ProtectedService) -> Body:
    """The Role that lets its holder read the ConfigMap of the bundle, and that of the desk's revocations."""
    name = bundle_name(service.metadata.name)
    revocations, names_desk = revocations_name(service.metadata.name), service.spec.token_desk_ref is not None
    body = owned_body("rbac.authorization.k8s.io/v1", "Role", service, name)
    body["rules"] = [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [name, *([revocations] if names_desk else ())],
            "verbs": ["get", "list", "watch"],
        }
    ]
    return body


def role_binding(service: ProtectedService) -> Body:
    """The RoleBinding that gives that Role to the ServiceAccount of the service's pods."""
    name = bundle_name(service.metadata.name)
    body = owned_body("rbac.authorization.k8s.io/v1", "RoleBinding", service, name)
    body["roleRef"] = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    account = {"namespace": service.metadata.namespace, "name": service.spec.service_account_name}
    body["subjects"] = [{"kind": "ServiceAccount"} | account]
    return body


def owned_policy(service: ProtectedService, policy: Mapping[str, Any]) -> Body:
    """A NetworkPolicy that `watchword.trust` made, as one of the service's objects."""
    body = owned_body(policy["apiVersion"], policy["kind"], service, policy["metadata"]["name"])
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


def owned_body(api_version: str, kind: str, owner: ProtectedService | TokenDesk, name: str) -> Body:
    """The frame of an object of a service or a desk: its name, labels and owner."""
    metadata = owner.metadata
    is_of_desk = isinstance(owner, TokenDesk)
    labels = {MANAGED_BY: MANAGER, DESK_LABEL: metadata.name} if is_of_desk else labels_for(metadata.name)
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "namespace": metadata.namespace,
            "name": name,
            "labels": labels,
            # It goes with its owner, and delays no deletion.
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "TokenDesk" if is_of_desk else _SERVICE_KIND,
                    "name": metadata.name,
                    "uid": metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
    }


def config_map_named(name: NamespacedName) -> Body:
    """A ConfigMap by its name."""
    metadata = {"namespace": name.namespace, "name": name.name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


class Seen(msgspec.Struct, frozen=True):
    """One object as it is in the cluster.

    Attributes:
        uid: of this object and no other.
        version: its resourceVersion as a number (KEP-5504: they can be compared).
        content: the fingerprint of its content; for a ConfigMap, the digest that its annotation states.
        generation: the bundle's generation that its annotation states; 0: none.
        owner_uid: the UID of the ProtectedService that controls it, of the name that the object's own name
            gives; empty: none does, and it is another owner's.
    """

    uid: str
    version: int
    content: str
    generation: int = 0
    owner_uid: str = ""

    def owner(self, service_uid: str) -> Owner:
        """Whose it is, asked by the service of this UID."""
        return owner_by(self.owner_uid, service_uid)


class Written(msgspec.Struct, frozen=True):
    """The operator's own last write of an object.

    Attributes:
        version: the resourceVersion that it led to.
        content: what was written, as in `Seen`.
    """

    version: int
    content: str


def seen_from(kind: OwnedKind, document: dict[str, Any]) -> Seen:
    """Read an object with our label; of a ConfigMap, the metadata is enough."""
    metadata = document["metadata"]
    uid, version = str(metadata.get("uid", "")), version_of(metadata)
    service, owner_uid = controller_of(metadata)
    if service != service_of(kind, str(metadata.get("name", ""))):
        owner_uid = ""
    if kind != "ConfigMap":
        return Seen(uid, version, fingerprint(document), owner_uid=owner_uid)
    notes = metadata.get("annotations") or {}
    generation = str(notes.get(GENERATION_ANNOTATION, ""))
    # Anyone may have written there: 18 digits are more than any generation of ours will have.
    known = int(generation) if generation.isascii() and generation.isdigit() and len(generation) < 19 else 0
    return Seen(uid, version, str(notes.get(DIGEST_ANNOTATION, "")), known, owner_uid)


def has_the_last_word(metadata: dict[str, Any]) -> bool:
    """Whether everything that we set of a ConfigMap was set by us last (Kubernetes docs: field management).

    Another writer that changes a field takes it from our entry in managedFields, under whatever name.
    """
    for entry in metadata.get("managedFields") or ():
        if (entry.get("manager"), entry.get("operation")) != (FIELD_MANAGER, "Apply"):
            continue
        fields = entry.get("fieldsV1") or {}
        content = fields.get("f:data") or fields.get("f:binaryData") or {}
        owned = fields.get("f:metadata") or {}
        notes, labels = owned.get("f:annotations") or {}, owned.get("f:labels") or {}
        return (
            {f"f:{entry}" for entry in ENTRIES} <= content.keys()
            and {f"f:{DIGEST_ANNOTATION}", f"f:{GENERATION_ANNOTATION}"} <= notes.keys()
            and {f"f:{label}" for label in labels_for("")} <= labels.keys()
            and bool(owned.get("f:ownerReferences"))
        )
    return False


class OwnedObjects:
    """The operator's own objects as the cluster shows them, and what was last written to each."""

    def __init__(self) -> None:
        self._seen: dict[tuple[OwnedKind, NamespacedName], Seen] = {}
        self._written: dict[tuple[OwnedKind, NamespacedName], Written] = {}
        self._gone: deque[str] = deque(maxlen=_REMEMBERED)

    def seen(self, kind: OwnedKind, name: NamespacedName) -> Seen | None:
        """The object as it is known to be; None: there is none."""
        return self._seen.get((kind, name))

    def written(self, kind: OwnedKind, name: NamespacedName) -> Written | None:
        """Our last write to it since this process leads."""
        return self._written.get((kind, name))

    def observe(self, kind: OwnedKind, name: NamespacedName, seen: Seen) -> bool:
        """Take what a watch says. Returns whether it is news, and not our own write."""
        known, written = self._seen.get((kind, name)), self._written.get((kind, name))
        if known is not None and known.uid == seen.uid and known.version >= seen.version:
            return False
        if known is not None and known.uid != seen.uid and known.version > seen.version:
            return False
        self._seen[kind, name] = seen
        return written is None or written.version != seen.version

    def vanish(self, kind: OwnedKind, name: NamespacedName, uid: str) -> bool:
        """Take it that an object is gone. Returns whether it was known."""
        known = self._seen.get((kind, name))
        if known is None or known.uid != uid:
            return False
        del self._seen[kind, name]
        self._gone.append(uid)
        return True

    def wrote(self, kind: OwnedKind, name: NamespacedName, seen: Seen) -> None:
        """Take what a write of ours was answered with."""
        if seen.uid in self._gone:
            # Deleted before the answer to our write came: it must be made again, not believed in.
            return
        self._written[kind, name] = Written(seen.version, seen.content)
        known = self._seen.get((kind, name))
        # Another client's later write may have been seen before our own answer came.
        if known is None or known.uid != seen.uid or known.version <= seen.version:
            self._seen[kind, name] = seen

    def removed(self, kind: OwnedKind, name: NamespacedName) -> None:
        """Take it that we deleted an object."""
        self._seen.pop((kind, name), None)
        self._written.pop((kind, name), None)

    def __len__(self) -> int:
        return len(self._seen)


class OwnedObjectWriter:
    """Applies and deletes Roles, RoleBindings and NetworkPolicies."""

    def __init__(self, client: ObjectClient, owned: OwnedObjects) -> None:
        """Write through a client; compare with what is known to be there."""
        self._client, self._owned = client, owned

    async def apply(self, service: ProtectedService, body: Body) -> str:
        """Make an object be there as the body says, with a write only where it differs.

        Returns:
            What another client had done to it and was put right, for an Event; empty: nothing.

        Raises:
            NameTakenError: an object that is not of this service has the name.
            ConflictError, RefusedError, UnavailableError, NotLeadingError: as `ObjectClient.apply`.
        """
        kind: OwnedKind = body["kind"]
        name = NamespacedName(body["metadata"]["namespace"], body["metadata"]["name"])
        written, wanted = self._owned.written(kind, name), fingerprint(body)
        seen, undone = self._owned.seen(kind, name), ""
        for _ in range(_ATTEMPTS):
            if seen is None or seen.owner(service.metadata.uid) is not Owner.THIS_SERVICE:
                # The watch tells only of what has our label: what has it not, or lost it, may be gone again.
                seen = await self._read(body, name)
                if seen is None and written is not None:
                    undone = f"{kind} {name.name} was deleted"
            if seen is not None:
                owner = seen.owner(service.metadata.uid)
                if owner is not Owner.THIS_SERVICE:
                    raise NameTakenError(kind, name.name, owner)
                if seen.content == wanted:
                    return undone
                if written is not None and written.content == wanted:
                    undone = f"{kind} {name.name} was changed"
            try:
                await self._apply(service, body, seen, wanted)
            except ConflictError:
                # It is not what the watch told of any more: the next attempt looks for itself.
                seen = None
                continue
            return undone
        raise ConflictError(f"another client keeps writing {kind} {name}")

    async def remove(self, service: ProtectedService, body: Body) -> None:
        """Delete an object of this service; one that is another owner's stays.

        Raises:
            ConflictError, RefusedError, UnavailableError, NotLeadingError: as `ObjectClient.delete`.
        """
        kind: OwnedKind = body["kind"]
        name = NamespacedName(body["metadata"]["namespace"], body["metadata"]["name"])
        seen = self._owned.seen(kind, name)
        for _ in range(_ATTEMPTS):
            if seen is None or seen.owner(service.metadata.uid) is not Owner.THIS_SERVICE:
                return
            try:
                await self._client.delete(body, seen.uid, seen.version)
            except ConflictError:
                seen = await self._read(body, name)
                continue
            self._owned.removed(kind, name)
            return
        raise ConflictError(f"another client keeps writing {kind} {name}")

    async def _apply(self, service: ProtectedService, body: Body, seen: Seen | None, wanted: str) -> None:
        kind: OwnedKind = body["kind"]
        name = NamespacedName(body["metadata"]["namespace"], body["metadata"]["name"])
        if seen is not None:
            decided_from = {"uid": seen.uid, "resourceVersion": str(seen.version)}
            body = body | {"metadata": body["metadata"] | decided_from}
        metadata = await self._client.apply(body)
        version = version_of(metadata)
        # The server may write a thing differently; what it made of our body counts as our body.
        self._owned.wrote(
            kind, name, Seen(str(metadata["uid"]), version, wanted, owner_uid=service.metadata.uid)
        )

    async def _read(self, body: Body, name: NamespacedName) -> Seen | None:
        kind: OwnedKind = body["kind"]
        document = await self._client.read(body)
        if document is None:
            if (known := self._owned.seen(kind, name)) is not None:
                self._owned.vanish(kind, name, known.uid)
            return None
        seen = seen_from(kind, document)
        self._owned.observe(kind, name, seen)
        return seen
