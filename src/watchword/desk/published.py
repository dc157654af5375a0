# SPDX-License-Identifier: Apache-2.0
"""What the desk writes down outside of its store: its revocations, for gates, and a mark, for itself.

A store that was restored from a backup has forgotten revocations, and tokens that it issued. It cannot know
that by itself; the mark does. It names an entry of the audit log that was there already, and for which store
each signing key began to sign. Where the entry is missing, the store gets another id, and every key of before
is revoked by that.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import msgspec

from watchword.desk.audit_chain import Head, parse_head
from watchword.desk.store import DeskStore, RevokedToken
from watchword.trust import desk_revocations

MARK_ENTRY: Final = "store.json"


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What must be found in the store again.

    Attributes:
        store: the store's id.
        head: an entry of its audit log, as `<sequence>:<hash>`.
        keys: for which store a key began to sign, by `kid`.
        schema_version: 1.
    """

    store: str
    head: str
    keys: Mapping[str, str] = {}
    schema_version: int = 1


class PublishingError(Exception):
    """What is to be published could not be written, or read back; the message says why."""


class Publisher(Protocol):
    """Where the desk writes down what it publishes."""

    async def read(self) -> Mark | None:
        """The mark that was written last; None: none ever was. Raises PublishingError."""
        ...

    async def write(self, mark: Mark, revocations: bytes) -> None:
        """Write both, durably. Raises PublishingError."""
        ...


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(Mark)


def encode_mark(mark: Mark) -> bytes:
    """The document of a mark."""
    return _encoder.encode(mark)


def decode_mark(data: bytes) -> Mark:
    """Read the document of a mark.

    Raises:
        PublishingError: it is none. A desk that went on without it would trust a store that forgot.
    """
    try:
        mark = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise PublishingError("the mark of the desk's store cannot be read") from None
    if mark.schema_version != 1 or parse_head(mark.head) is None:
        raise PublishingError("the mark of the desk's store is of another release")
    return mark


def is_the_store_of(mark: Mark, store: DeskStore) -> bool:
    """Whether a store has all that a mark says; raises DeskStoreError."""
    head = parse_head(mark.head)
    if head is None or store.identity() != mark.store:
        return False
    if head == Head():
        return True
    found = store.entries_after(head.sequence - 1, 1)
    return bool(found) and (found[0].sequence, found[0].hash) == (head.sequence, head.hash)


def revocation_document(revoked: Iterable[RevokedToken], now: float) -> bytes:
    """The list of revocations by service.

    Raises:
        PublishingError: there are more than fit.
    """
    by_service: dict[str, list[desk_revocations.RevokedToken]] = defaultdict(list)
    for each in revoked:
        if not each.service:
            # A token for the desk itself: no gate takes it.
            continue
        by_service[each.service].append(
            desk_revocations.RevokedToken(each.token_id, each.subject, each.issued_at, each.expires_at)
        )
    try:
        return desk_revocations.desk_document(by_service, now)
    except desk_revocations.RevocationsError as problem:
        raise PublishingError(str(problem)) from None
