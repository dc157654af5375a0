# SPDX-License-Identifier: Apache-2.0
"""The objects that the operator makes for desks, as the cluster shows them.

Of a Secret, only whether it holds a private key is kept. Names and
namespaces decide whose an object is, since anyone may put a label on an object of their own. A version that
is older than what is known, or an object that is gone, changes nothing: a key that was just revoked must not
come back by an event that was under way.
"""

import base64
import hashlib
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from watchword.kube.names import NamespacedName
from watchword.kube.watch.messages import FullMeta, Part, version_number, version_of
from watchword.operator.owned_objects import (
    DIGEST_ANNOTATION,
    GENERATION_ANNOTATION,
    Body,
)
from watchword.operator.stored_bundle import stored_bundle
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.bundle import Bundle
from watchword.trust.desk_objects import (
    COPY_OF_ANNOTATION,
    COPY_PREFIX,
    DESK_LABEL,
    KEY_ENTRY,
    MADE_AT,
    PUBLIC_JWK,
    REVOCATIONS_PREFIX,
    REVOKED_AT,
    SIGNS_FROM,
    STORE_ENTRY,
    WRITTEN_PREFIX,
    copy_name,
    revocations_name,
    written_name,
)
from watchword.trust.desk_revocations import (
    REVOCATIONS_ENTRY,
    DeskDocument,
    RevocationsError,
    read_desk_document,
)
from watchword.trust.desk_rotation import HeldKey

_NOTES: Final = (COPY_OF_ANNOTATION, DIGEST_ANNOTATION, GENERATION_ANNOTATION)
# Deletions remembered: more than can happen between a write and its answer.
_REMEMBERED: Final = 1024
_NULL: Final = msgspec.Raw(b"null")


class ReceivedDeskObject(Part, frozen=True):
    """A Secret or a ConfigMap, its data still as the bytes that came; they are not to be kept."""

    metadata: FullMeta
    data: msgspec.Raw = _NULL
    binary_data: msgspec.Raw = msgspec.field(default=_NULL, name="binaryData")


class BundleVersion(NamedTuple):
    """Which bundle it is: its generation, and the digest of its content."""

    generation: int
    digest: str


class SigningSecret(msgspec.Struct, frozen=True):
    """A Secret with the label of a desk.

    Attributes:
        name: its namespace and name.
        uid: of this object and no other.
        version: its resourceVersion as a number.
        desk: the TokenDesk's name, by its label.
        key: the key; None: it says none that can be used.
    """

    name: NamespacedName
    uid: str
    version: int
    desk: str
    key: HeldKey | None


class DeskConfigMap(msgspec.Struct, frozen=True):
    """A ConfigMap with the label of a desk.

    Attributes:
        name: its namespace and name.
        uid: of this object and no other.
        version: its resourceVersion as a number.
        desk: the TokenDesk's name, by its label.
        is_kept: whether its name is one that the operator gives; others' are passed over.
        annotations: of ours, what it is a copy of and which bundle that was.
        bundle: of a copy: which bundle it really holds, whatever its annotations say; None: none.
        content: of a list of revocations: the digest of what it really holds; empty: it holds none.
        revocations: in the one that a desk writes: its list; None: there is none that can be read.
        is_unreadable: in the same one: the desk has written there, and no list can be read.
        store: in the same one: the mark of the desk's store; None: there is none.
    """

    name: NamespacedName
    uid: str
    version: int
    desk: str
    is_kept: bool = True
    annotations: Mapping[str, str] = {}
    bundle: BundleVersion | None = None
    content: str = ""
    revocations: DeskDocument | None = None
    is_unreadable: bool = False
    store: bytes | None = None


class _Versioned(Protocol):
    @property
    def name(self) -> NamespacedName: ...

    @property
    def uid(self) -> str: ...

    @property
    def version(self) -> int: ...


_T = TypeVar("_T", bound=_Versioned)


class _Newest(Generic[_T]):
    """The newest version of each object, by what a watch told and what writes were answered with."""

    def __init__(self) -> None:
        self._known: dict[NamespacedName, _T] = {}
        self._gone: deque[str] = deque(maxlen=_REMEMBERED)

    def get(self, name: NamespacedName) -> _T | None:
        return self._known.get(name)

    def all(self) -> list[_T]:
        return list(self._known.values())

    def observe(self, item: _T) -> bool:
        """Take what a watch says. Returns whether it is news."""
        known = self._known.get(item.name)
        if item.uid in self._gone or known == item or (known is not None and known.version > item.version):
            return False
        self._known[item.name] = item
        return True

    def wrote(self, item: _T) -> None:
        """Take what a write of ours was answered with; the watch knows more of the same version."""
        known = self._known.get(item.name)
        if item.uid not in self._gone and (known is None or known.version < item.version):
            self._known[item.name] = item

    def remove(self, name: NamespacedName, uid: str) -> bool:
        """Take it that an object is gone. Returns whether it was known."""
        self._gone.append(uid)
        known = self._known.get(name)
        if known is None or known.uid != uid:
            return False
        del self._known[name]
        return True


class DeskObjects:
    """The operator's own objects for desks, as the cluster shows them.

    Attributes:
        namespace: the one namespace in which TokenDesks count; empty: there are no desks.
        secrets: the Secrets of signing keys.
        config_maps: copies of bundles, what desks write, and lists of revocations.
    """

    def __init__(self, namespace: str = "") -> None:
        """Start empty, for the desks of a namespace."""
        self.namespace = namespace
        self.secrets: _Newest[SigningSecret] = _Newest()
        self.config_maps: _Newest[DeskConfigMap] = _Newest()

    def keys_of(self, desk: str) -> list[HeldKey]:
        """The signing keys of a desk."""
        return [each.key for each in self.secrets.all() if each.desk == desk and each.key is not None]

    def copy_of(self, service: NamespacedName) -> DeskConfigMap | None:
        """The copy of a service's bundle; None: there is none."""
        return self.config_maps.get(NamespacedName(self.namespace, copy_name(*service)))

    def copies(self) -> list[DeskConfigMap]:
        """All copies of bundles."""
        kept = (each for each in self.config_maps.all() if each.name.namespace == self.namespace)
        return [each for each in kept if COPY_OF_ANNOTATION in each.annotations]

    def written_by(self, desk: str) -> DeskConfigMap | None:
        """The ConfigMap that a desk writes; None: there is none."""
        return self.config_maps.get(NamespacedName(self.namespace, written_name(desk)))

    def revocations_of(self, service: NamespacedName) -> DeskConfigMap | None:
        """The list of revocations next to a service's bundle; None: there is none."""
        return self.config_maps.get(NamespacedName(service.namespace, revocations_name(service.name)))

    def secret_from(self, item: ReceivedDeskObject) -> SigningSecret:
        """Read a Secret as a watch gives it."""
        metadata = item.metadata
        return SigningSecret(
            NamespacedName(metadata.namespace, metadata.name),
            metadata.uid,
            version_number(metadata.resource_version),
            (metadata.labels or {}).get(DESK_LABEL, ""),
            _key_from(metadata.annotations or {}, has_private=_has_private(item.data)),
        )

    def config_map_from(self, item: ReceivedDeskObject) -> DeskConfigMap:
        """Read a ConfigMap as a watch gives it."""
        metadata = item.metadata
        name, notes = NamespacedName(metadata.namespace, metadata.name), metadata.annotations or {}
        is_here = name.namespace == self.namespace
        prefixes = (COPY_PREFIX, WRITTEN_PREFIX, REVOCATIONS_PREFIX) if is_here else (REVOCATIONS_PREFIX,)
        is_kept = name.name.startswith(prefixes)
        found = DeskConfigMap(
            name,
            metadata.uid,
            version_number(metadata.resource_version),
            (metadata.labels or {}).get(DESK_LABEL, ""),
            is_kept,
        )
        if not is_kept:
            return found
        found = msgspec.structs.replace(
            found, annotations={key: notes[key] for key in _NOTES if key in notes}
        )
        if name.name.startswith(COPY_PREFIX):
            return msgspec.structs.replace(found, bundle=self._bundle_in(found, item))
        data = _entries(item.data)
        text = _encoded(data.get(REVOCATIONS_ENTRY))
        if name.name.startswith(REVOCATIONS_PREFIX):
            return msgspec.structs.replace(found, content="" if text is None else content_of(text))
        store, document = _encoded(data.get(STORE_ENTRY)), _document_from(text)
        return msgspec.structs.replace(
            found,
            revocations=document,
            # A desk writes both at once: with the mark alone, its list was taken away.
            is_unreadable=document is None and not (text is None and store is None),
            store=store,
        )

    def _bundle_in(self, found: DeskConfigMap, item: ReceivedDeskObject) -> BundleVersion | None:
        known = self.config_maps.get(found.name)
        if known is not None and (known.uid, known.version) == (found.uid, found.version):
            # As it was written here: a large one is not read once more.
            return known.bundle
        bundle = stored_bundle({"data": _entries(item.data), "binaryData": _entries(item.binary_data)})
        return None if bundle is None else version_of_bundle(bundle)

    def wrote_secret(self, body: Body, metadata: Mapping[str, Any], key: HeldKey) -> None:
        """Take what a write of a key's Secret was answered with."""
        desk = body["metadata"]["labels"][DESK_LABEL]
        self.secrets.wrote(SigningSecret(*_identity_of(body, metadata), desk, key))

    def wrote_config_map(
        self, body: Body, metadata: Mapping[str, Any], bundle: BundleVersion | None = None
    ) -> None:
        """Take what a write of a ConfigMap was answered with.

        Args:
            body: what was written.
            metadata: the answer's.
            bundle: which bundle is in it; None: it is no copy of one.
        """
        text = _encoded((body.get("data") or {}).get(REVOCATIONS_ENTRY))
        found = DeskConfigMap(
            *_identity_of(body, metadata),
            desk=body["metadata"]["labels"][DESK_LABEL],
            annotations=body["metadata"].get("annotations") or {},
            bundle=bundle,
            content="" if text is None else content_of(text),
        )
        known = self.config_maps.get(found.name)
        if known is not None and known.uid == found.uid:
            found = msgspec.structs.replace(
                found,
                revocations=known.revocations,
                is_unreadable=known.is_unreadable,
                store=known.store,
            )
        self.config_maps.wrote(found)


def version_of_bundle(bundle: Bundle) -> BundleVersion:
    """Which bundle it is."""
    return BundleVersion(bundle.generation, bundle.digest)


def content_of(document: bytes) -> str:
    """What tells one content from another."""
    return "sha256:" + hashlib.sha256(document).hexdigest()


def _identity_of(body: Body, metadata: Mapping[str, Any]) -> tuple[NamespacedName, str, int]:
    name = NamespacedName(body["metadata"]["namespace"], body["metadata"]["name"])
    return name, str(metadata["uid"]), version_of(metadata)


def _key_from(notes: Mapping[str, str], *, has_private: bool) -> HeldKey | None:
    """The key that a Secret's annotations describe; None where they describe none that can be used."""
    try:
        jwk = msgspec.json.decode(notes.get(PUBLIC_JWK, ""), type=dict[str, str])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    made_at, signs_from = parse_time(notes.get(MADE_AT, "")), parse_time(notes.get(SIGNS_FROM, ""))
    kid = jwk.get("kid", "")
    if made_at is None or signs_from is None or not kid:
        return None
    # What has no private part signs nothing, whatever it says; nor does what was revoked at an unknown time.
    is_revoked = REVOKED_AT in notes or not has_private
    revoked_at = parse_time(notes.get(REVOKED_AT, ""))
    return HeldKey(
        kid=kid,
        thumbprint=kid.removeprefix("wd-"),
        jwk=jwk,
        made_at=made_at,
        signs_from=signs_from,
        revoked_at=(made_at if revoked_at is None else revoked_at) if is_revoked else None,
    )


def _has_private(data: msgspec.Raw) -> bool:
    try:
        entries = msgspec.json.decode(data, type=dict[str, str] | None) or {}
        return bool(base64.b64decode(entries.get(KEY_ENTRY, ""), validate=True))
    except (msgspec.MsgspecError, ValueError):
        return False


def _entries(data: msgspec.Raw) -> dict[str, str]:
    return msgspec.json.decode(data, type=dict[str, str] | None) or {}


def _document_from(text: bytes | None) -> DeskDocument | None:
    try:
        return None if text is None else read_desk_document(text)
    except RevocationsError:
        return None


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
