# SPDX-License-Identifier: Apache-2.0
"""A bundle into its ConfigMap: only when it differs, with a generation that only grows.

A gate refuses a bundle whose generation does not follow the one in use, so a generation must exceed every one
that a gate may have met. Gates refuse one that is far ahead of the clock, so here it is overwritten, and one
forged near 2^53 stops no later one. Each write names the version that it was made from: of two writers one is
told so.
"""

import base64
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from watchword.kube.names import NamespacedName
from watchword.kube.requests import ConflictError, ObjectClient, RefusedError
from watchword.operator.owned_objects import (
    DIGEST_ANNOTATION,
    GENERATION_ANNOTATION,
    Body,
    NameTakenError,
    OwnedObjects,
    Owner,
    Seen,
    bundle_name,
    config_map_named,
    fingerprint,
    has_the_last_word,
    owned_body,
    owner_of,
    seen_from,
)
from watchword.operator.stored_bundle import highest_generation, stored_bundle
from watchword.operator.write_refusals import is_immutable
from watchword.trust.api.v1alpha1 import ProtectedService
from watchword.trust.api.v1alpha1.status import BundleStatus
from watchword.trust.bundle import MAX_BUNDLE_BYTES, Bundle, pack_bundle
from watchword.trust.bundle_forms import entries_of
from watchword.trust.partial_bundle import without_newcomers

_ATTEMPTS: Final = 5
# Generations are milliseconds of the clock. Gates refuse what is more than 600 s ahead of theirs, so one that
# is further ahead than this is in use at none whose clock is within 300 s of ours.
_FAR_AHEAD_SECONDS: Final = 900.0
# JSON of more bytes than this is packed; smaller ones stay readable with kubectl.
PACK_BYTES: Final = 256 * 1024
# What a ConfigMap may hold in all (Kubernetes docs: ConfigMaps).
MAX_CONFIG_MAP_BYTES: Final = 1024 * 1024


class BundleTooLargeError(Exception):
    """A bundle that fits no ConfigMap even when packed, or that no gate unpacks; the message says which."""

    def __init__(self, packed: int, plain: int) -> None:
        super().__init__(
            f"the bundle has {packed} bytes in both forms when packed, and a ConfigMap holds "
            f"{MAX_CONFIG_MAP_BYTES}"
            if packed > MAX_CONFIG_MAP_BYTES
            else f"the bundle has {plain} bytes, and a gate reads {MAX_BUNDLE_BYTES}"
        )


def bundle_entries(bundle: Bundle) -> tuple[str, dict[str, str]]:
    """The member of the ConfigMap (`data` or `binaryData`), and in it the text of each form by its entry.

    Raises:
        BundleTooLargeError: together they do not fit an object.
    """
    documents = entries_of(bundle)
    if sum(map(len, documents.values())) <= PACK_BYTES:
        return "data", {name: data.decode() for name, data in documents.items()}
    packed = {name: pack_bundle(data) for name, data in documents.items()}
    size, plain = sum(map(len, packed.values())), max(map(len, documents.values()))
    # What packs well can fit and yet be more than a gate unpacks.
    if size > MAX_CONFIG_MAP_BYTES or plain > MAX_BUNDLE_BYTES:
        raise BundleTooLargeError(size, plain)
    return "binaryData", {name: base64.b64encode(data).decode() for name, data in packed.items()}


def config_map(service: ProtectedService, bundle: Bundle, entries: tuple[str, dict[str, str]]) -> Body:
    """The ConfigMap of a bundle; `entries` is what `bundle_entries` gave for it."""
    body = owned_body("v1", "ConfigMap", service, bundle_name(service.metadata.name))
    body["metadata"]["annotations"] = {
        GENERATION_ANNOTATION: str(bundle.generation),
        DIGEST_ANNOTATION: bundle.digest,
    }
    member, texts = entries
    body[member] = texts
    return body


class Publication(msgspec.Struct, frozen=True):
    """What is published now.

    Attributes:
        bundle: for the service's status.
        is_new: whether it was written just now.
        edit_undone: what another client had done to the ConfigMap and was put right; empty: nothing.
    """

    bundle: BundleStatus
    is_new: bool
    edit_undone: str = ""


class Held(msgspec.Struct, frozen=True):
    """What a service's ConfigMap holds.

    Attributes:
        is_there: whether there is a ConfigMap of that name for gates to read, no matter who made it.
        is_ours: whether it is the service's own.
        bundle: the bundle in it; None: there is none that a gate can read.
    """

    is_there: bool
    is_ours: bool
    bundle: Bundle | None

    @property
    def own(self) -> Bundle | None:
        """The bundle, where the ConfigMap is the service's own."""
        return self.bundle if self.is_ours else None


class Publisher:
    """Publishes bundles."""

    def __init__(
        self, client: ObjectClient, owned: OwnedObjects, clock: Callable[[], float] = time.time
    ) -> None:
        """Write through a client; `clock` gives seconds since the epoch."""
        self._client, self._owned, self._clock = client, owned, clock
        # The highest generation that was ever known of a service, deleted or not.
        self._floors: dict[NamespacedName, int] = {}

    async def publish(
        self, service: ProtectedService, bundle: Bundle, status: BundleStatus | None
    ) -> Publication:
        """Make the ConfigMap hold this bundle, with a write only where it differs.

        Args:
            service: the service.
            bundle: its bundle, with any generation.
            status: what the service's status says was published last.

        Raises:
            NameTakenError: a ConfigMap of another owner has the name.
            BundleTooLargeError: it fits no ConfigMap; nothing was written.
            ConflictError: another client writes there without end.
            RefusedError, UnavailableError, NotLeadingError: as `ObjectClient.apply`.
        """
        name = _name_for(service)
        must_read = False
        for _ in range(_ATTEMPTS):
            known = self._owned.seen("ConfigMap", name)
            expected = self._expected(name, status)
            if known is not None and not must_read and known.version == expected:
                seen, undone = known, ""
                if seen.content == bundle.digest and not self._is_far_ahead(seen.generation):
                    return self._as_it_is(name, seen, bundle.digest)
            elif (document := await self._client.read(config_map_named(_name_for(service)))) is None:
                seen, undone = None, f"ConfigMap {name.name} was deleted" if expected else ""
                self._forget(name)
            else:
                owner = owner_of(document["metadata"], service.metadata.name, service.metadata.uid)
                if owner is not Owner.THIS_SERVICE:
                    raise NameTakenError("ConfigMap", name.name, owner)
                seen = seen_from("ConfigMap", document)
                if self._is_as_it_should_be(document, seen, service, bundle):
                    self._owned.wrote("ConfigMap", name, seen)
                    return self._as_it_is(name, seen, bundle.digest)
                undone = _what_was_done(name, document, seen, expected)
                self._raise_floor(name, seen.generation)
                self._raise_floor(name, highest_generation(document))
                self._owned.observe("ConfigMap", name, seen)
            try:
                return await self._write(service, bundle, seen, status, undone)
            except ConflictError:
                must_read = True
        raise ConflictError(f"another client keeps writing ConfigMap {name}")

    async def held(self, service: ProtectedService) -> Held:
        """Read what a service's ConfigMap really holds.

        Raises:
            RefusedError, UnavailableError: as `ObjectClient.read`.
        """
        document = await self._client.read(config_map_named(_name_for(service)))
        if document is None:
            return Held(is_there=False, is_ours=False, bundle=None)
        owner = owner_of(document["metadata"], service.metadata.name, service.metadata.uid)
        return Held(is_there=True, is_ours=owner is Owner.THIS_SERVICE, bundle=stored_bundle(document))

    def _expected(self, name: NamespacedName, status: BundleStatus | None) -> int:
        """The resourceVersion of our own last write; 0: none is known."""
        written = self._owned.written("ConfigMap", name)
        if written is not None:
            return written.version
        said = status.resource_version if status is not None and status.config_map == name.name else ""
        return int(said) if said.isascii() and said.isdigit() and len(said) < 19 else 0

    def _as_it_is(self, name: NamespacedName, seen: Seen, digest: str) -> Publication:
        self._raise_floor(name, seen.generation)
        return Publication(_status_of(name, seen, digest), is_new=False)

    def _is_as_it_should_be(
        self, document: dict[str, Any], seen: Seen, service: ProtectedService, bundle: Bundle
    ) -> bool:
        stored = stored_bundle(document)
        return (
            stored is not None
            and stored.digest == seen.content == bundle.digest
            and stored.generation == seen.generation
            and not self._is_far_ahead(seen.generation)
            and fingerprint(document) == fingerprint(config_map(service, bundle, ("data", {})))
            and _holds(document, msgspec.structs.replace(bundle, generation=stored.generation))
        )

    def _forget(self, name: NamespacedName) -> None:
        known = self._owned.seen("ConfigMap", name)
        if known is not None:
            self._raise_floor(name, known.generation)
            self._owned.vanish("ConfigMap", name, known.uid)

    async def _write(
        self,
        service: ProtectedService,
        bundle: Bundle,
        seen: Seen | None,
        status: BundleStatus | None,
        undone: str,
    ) -> Publication:
        name = _name_for(service)
        self._raise_floor(name, seen.generation if seen else 0)
        self._raise_floor(name, status.generation if status else 0)
        floor = self._floors.get(name, 0)
        if self._is_far_ahead(floor):
            # Our own clock was ahead then: gates whose clocks are right do not have it in use.
            floor = self._floors[name] = 0
        # By the clock and not by one: gates may hold a bundle of a service of this name that was deleted, or
        # one from before etcd was restored from a backup; what follows must be above both.
        generation = max(floor + 1, int(self._clock() * 1000))
        sealed = msgspec.structs.replace(bundle, generation=generation)
        body = config_map(service, sealed, bundle_entries(sealed))
        if seen is not None:
            body["metadata"] |= {"uid": seen.uid, "resourceVersion": str(seen.version)}
        try:
            metadata = await self._client.apply(body)
        except RefusedError as refused:
            if seen is None or not is_immutable(refused):
                raise
            metadata, undone = await self._remake(body, seen)
        now = seen_from("ConfigMap", {"metadata": metadata})
        self._owned.wrote("ConfigMap", name, now)
        self._raise_floor(name, generation)
        return Publication(_status_of(name, now, bundle.digest), is_new=True, edit_undone=undone)

    async def _remake(self, body: dict[str, Any], seen: Seen) -> tuple[dict[str, Any], str]:
        """Delete an immutable ConfigMap of ours and create it again: else no trust could be withdrawn.

        It is deleted only as it was seen, and so only if it is ours. Where it cannot be created again (a full
        quota), gates are left without a bundle, and refuse all calls: more trust than is said is worse.
        """
        name = NamespacedName(body["metadata"]["namespace"], body["metadata"]["name"])
        await self._client.delete(body, seen.uid, seen.version)
        self._owned.removed("ConfigMap", name)
        metadata = {
            key: each for key, each in body["metadata"].items() if key not in ("uid", "resourceVersion")
        }
        stored = await self._client.apply(body | {"metadata": metadata})
        return stored, f"ConfigMap {name.name} was made immutable"

    def _raise_floor(self, name: NamespacedName, generation: int) -> None:
        if self._floors.get(name, 0) < generation and not self._is_far_ahead(generation):
            self._floors[name] = generation

    def _is_far_ahead(self, generation: int) -> bool:
        """Whether a generation is one that no gate takes: forged, or of a clock that was wrong."""
        return generation > (self._clock() + _FAR_AHEAD_SECONDS) * 1000


class Fitted(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        publication: what is published now; None: nothing was, and nothing is known of what was.
        held: what the ConfigMap holds now, for gates to read.
        problem: why it is not the whole bundle; empty: it is.
        waiting: names of the workloads that it had no room for.
    """

    publication: Publication | None
    held: Held
    problem: str = ""
    waiting: frozenset[str] = frozenset()


async def publish_what_fits(
    publisher: Publisher,
    service: ProtectedService,
    bundle: Bundle,
    status: BundleStatus | None,
    held: Held | None = None,
) -> Fitted:
    """Publish a bundle, or of one that is too large the part without newcomers.

    Args:
        publisher: writes it.
        service: the service.
        bundle: its bundle, with any generation.
        status: what the service's status says was published last.
        held: what the ConfigMap holds, where it was just read; None: it is read if need be.

    Raises:
        NameTakenError, ConflictError, RefusedError, UnavailableError, NotLeadingError: as `publish`.
    """
    try:
        publication = await publisher.publish(service, bundle, status)
        return Fitted(publication, _holding(bundle, publication))
    except BundleTooLargeError as large:
        problem = str(large)
    everyone = frozenset(row.name for row in bundle.workloads)
    held = held or await publisher.held(service)
    if held.own is None:
        return Fitted(None, held, problem, everyone)
    for only_unchanged in (False, True):
        smaller = without_newcomers(held.own, bundle, only_unchanged=only_unchanged)
        try:
            publication = await publisher.publish(service, smaller, status)
        except BundleTooLargeError:
            continue
        waiting = everyone - {row.name for row in smaller.workloads}
        return Fitted(publication, _holding(smaller, publication), problem, waiting)
    return Fitted(None, held, problem, everyone)


def _name_for(service: ProtectedService) -> NamespacedName:
    """What names a service's ConfigMap."""
    return NamespacedName(service.metadata.namespace, bundle_name(service.metadata.name))


def _holding(bundle: Bundle, publication: Publication) -> Held:
    published = msgspec.structs.replace(bundle, generation=publication.bundle.generation)
    return Held(is_there=True, is_ours=True, bundle=published)


def _what_was_done(name: NamespacedName, document: dict[str, Any], seen: Seen, expected: int) -> str:
    """What another client did to the ConfigMap since our last write, for an Event."""
    # It may be our own write whose answer was lost, or that of the leader before: no one else's then.
    if not expected or seen.version == expected or has_the_last_word(document["metadata"]):
        return ""
    return f"ConfigMap {name.name} was changed"


def _status_of(name: NamespacedName, seen: Seen, digest: str) -> BundleStatus:
    return BundleStatus(
        config_map=name.name, generation=seen.generation, digest=digest, resource_version=str(seen.version)
    )


def _holds(document: dict[str, Any], bundle: Bundle) -> bool:
    """Whether a ConfigMap holds each form of a bundle, byte for byte: older gates read another than we do."""
    try:
        member, texts = bundle_entries(bundle)
    except BundleTooLargeError:
        return False
    held = document.get(member) or {}
    return all(held.get(name) == text for name, text in texts.items())
