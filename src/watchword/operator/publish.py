# SPDX-License-Identifier: Apache-2.0
"""A bundle into its ConfigMap: only when it differs, with a generation that only grows.

A gate refuses a bundle whose generation does not follow the one in use, so a generation must exceed every one
that a gate may have met, whoever wrote it. Each write names the version that it was made from: of two writers
one is told so, and neither takes a generation back.
"""

import base64
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from watchword.operator.apply import Conflict, Writer
from watchword.operator.managed import ManagedObjects, Seen, has_the_last_word, seen_from
from watchword.operator.names import BUNDLE_ENTRY, Name, bundle_name, is_ours
from watchword.operator.objects import bundle_entry, config_map, fingerprint
from watchword.trust.bundle import Bundle, BundleProblem, decode_bundle
from watchword.trust.specs import ProtectedService
from watchword.trust.specs.status import BundleStatus

_ATTEMPTS: Final = 5
# A forged generation beyond this is not followed: ours could not exceed it for long.
_LAST_GENERATION: Final = 2**53


class NameTaken(Exception):
    """An object of somebody else has the name of one of ours.

    Attributes:
        kind: its kind.
        name: its name.
    """

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name}")
        self.kind, self.name = kind, name


class Publication(msgspec.Struct, frozen=True):
    """What is published now.

    Attributes:
        bundle: for the service's status.
        is_new: whether it was written just now.
        edit_undone: what somebody else had done to the ConfigMap and was put right; empty: nothing.
    """

    bundle: BundleStatus
    is_new: bool
    edit_undone: str = ""


class Publisher:
    """Publishes bundles."""

    def __init__(
        self, writer: Writer, managed: ManagedObjects, clock: Callable[[], float] = time.time
    ) -> None:
        """Write through a writer; `clock` gives seconds since the epoch."""
        self._writer, self._managed, self._clock = writer, managed, clock
        # The highest generation that was ever known of a service, deleted or not.
        self._floors: dict[Name, int] = {}

    async def publish(
        self, service: ProtectedService, bundle: Bundle, status: BundleStatus | None
    ) -> Publication:
        """See to it that the ConfigMap holds this bundle.

        Args:
            service: the service.
            bundle: its bundle, with any generation.
            status: what the service's status says was published last.

        Raises:
            NameTaken: a ConfigMap of somebody else has the name.
            BundleTooLarge: it fits no ConfigMap; nothing was written.
            Conflict: somebody else writes there without end.
            Refused, Unavailable, NotLeading: as `Writer.apply`.
        """
        place = (service.metadata.namespace, bundle_name(service.metadata.name))
        must_read = False
        for _ in range(_ATTEMPTS):
            seen = self._managed.seen("ConfigMap", place)
            expected = self._expected(place, status)
            if seen is not None and not must_read and seen.version == expected:
                if seen.content == bundle.digest:
                    return self._as_it_is(place, seen, bundle.digest)
                undone = ""
            else:
                document = await self._writer.read(config_map(service, bundle, ("data", "")))
                if document is not None and not is_ours(
                    document["metadata"], service.metadata.name, service.metadata.uid
                ):
                    raise NameTaken("ConfigMap", place[1])
                if document is not None and self._is_as_it_should_be(document, service, bundle):
                    seen = seen_from("ConfigMap", document)
                    self._managed.wrote("ConfigMap", place, seen)
                    return self._as_it_is(place, seen, bundle.digest)
                undone = self._what_was_done(place, document, expected)
                seen = self._refreshed(place, document)
            try:
                return await self._write(service, bundle, seen, status, undone)
            except Conflict:
                must_read = True
        raise Conflict(f"somebody else keeps writing ConfigMap {place[0]}/{place[1]}")

    async def published(self, service: ProtectedService) -> Bundle | None:
        """The bundle that a service's ConfigMap holds; None where it holds none of ours.

        Raises:
            Refused, Unavailable: as `Writer.read`.
        """
        empty = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "namespace": service.metadata.namespace,
                "name": bundle_name(service.metadata.name),
            },
        }
        document = await self._writer.read(empty)
        if document is None or not is_ours(document["metadata"], service.metadata.name, service.metadata.uid):
            return None
        return _stored(document)

    def _expected(self, place: Name, status: BundleStatus | None) -> int:
        """The resourceVersion of our own last write; 0: none is known."""
        written = self._managed.written("ConfigMap", place)
        if written is not None:
            return written.version
        said = status.resource_version if status is not None and status.config_map == place[1] else ""
        return int(said) if said.isascii() and said.isdigit() and len(said) < 19 else 0

    def _as_it_is(self, place: Name, seen: Seen, digest: str) -> Publication:
        self._raise_floor(place, seen.generation)
        return Publication(_status_of(place, seen, digest), is_new=False)

    def _is_as_it_should_be(
        self, document: dict[str, Any], service: ProtectedService, bundle: Bundle
    ) -> bool:
        stored, seen = _stored(document), seen_from("ConfigMap", document)
        return (
            stored is not None
            and stored.digest == seen.content == bundle.digest
            and stored.generation == seen.generation
            and fingerprint(document) == fingerprint(config_map(service, bundle, ("data", "")))
        )

    def _what_was_done(self, place: Name, document: dict[str, Any] | None, expected: int) -> str:
        """What somebody else did to the ConfigMap since our last write, for an Event."""
        if not expected:
            return ""
        if document is None:
            return f"ConfigMap {place[1]} was deleted"
        # It may be our own write whose answer was lost, or that of the leader before: nobody else's then.
        if seen_from("ConfigMap", document).version == expected or has_the_last_word(document["metadata"]):
            return ""
        return f"ConfigMap {place[1]} was changed"

    def _refreshed(self, place: Name, document: dict[str, Any] | None) -> Seen | None:
        if document is None:
            known = self._managed.seen("ConfigMap", place)
            if known is not None:
                self._raise_floor(place, known.generation)
                self._managed.vanish("ConfigMap", place, known.uid)
            return None
        seen = seen_from("ConfigMap", document)
        stored = _stored(document)
        self._raise_floor(place, max(seen.generation, stored.generation if stored else 0))
        self._managed.observe("ConfigMap", place, seen)
        return seen

    async def _write(
        self,
        service: ProtectedService,
        bundle: Bundle,
        seen: Seen | None,
        status: BundleStatus | None,
        undone: str,
    ) -> Publication:
        place = (service.metadata.namespace, bundle_name(service.metadata.name))
        self._raise_floor(place, seen.generation if seen else 0)
        self._raise_floor(place, status.generation if status else 0)
        floor = self._floors.get(place, 0)
        # By the clock and not by one: gates may hold a bundle of a service of this name that was deleted, or
        # one from before etcd was restored from a backup; what follows must be above both.
        generation = max(floor + 1, int(self._clock()))
        sealed = msgspec.structs.replace(bundle, generation=generation)
        body = config_map(service, sealed, bundle_entry(sealed))
        if seen is not None:
            body["metadata"] |= {"uid": seen.uid, "resourceVersion": str(seen.version)}
        metadata = await self._writer.apply(body)
        now = seen_from("ConfigMap", {"metadata": metadata})
        self._managed.wrote("ConfigMap", place, now)
        self._raise_floor(place, generation)
        return Publication(_status_of(place, now, bundle.digest), is_new=True, edit_undone=undone)

    def _raise_floor(self, place: Name, generation: int) -> None:
        if self._floors.get(place, 0) < generation < _LAST_GENERATION:
            self._floors[place] = generation


def _status_of(place: Name, seen: Seen, digest: str) -> BundleStatus:
    return BundleStatus(
        config_map=place[1], generation=seen.generation, digest=digest, resource_version=str(seen.version)
    )


def _stored(document: dict[str, Any]) -> Bundle | None:
    """The bundle that a ConfigMap really holds; None where it holds none."""
    try:
        text = (document.get("data") or {}).get(BUNDLE_ENTRY)
        if text is None:
            packed = (document.get("binaryData") or {}).get(BUNDLE_ENTRY, "")
            return decode_bundle(base64.b64decode(packed, validate=True))
        return decode_bundle(text.encode())
    except (BundleProblem, ValueError, AttributeError):
        return None
