# SPDX-License-Identifier: Apache-2.0
"""The audit log's form: entries in a row, each with a hash over itself and everything before it.

A database can refuse to change a row, but not what is done to its files. So each entry's hash covers the hash
before it: to change one entry unseen, all that follow must be changed too, and the head with them, which was
logged and exported elsewhere meanwhile.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

# What comes before the first entry.
GENESIS: Final = "0" * 64
_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class AuditEvent(msgspec.Struct, frozen=True):
    """Something that is to be in the log.

    Attributes:
        event: what happened, such as `token_issued`; docs/reference/desk.md lists them.
        fields: who, what, and by which request. Built-in types; no token, no secret, no e-mail address.
        at: when, in seconds since the epoch.
    """

    event: str
    fields: Mapping[str, Any]
    at: float


class Head(msgspec.Struct, frozen=True):
    """The newest entry.

    Attributes:
        sequence: its number; 0: there is none.
        hash: its hash, in hex.
    """

    sequence: int = 0
    hash: str = GENESIS

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"


class AuditRow(msgspec.Struct, frozen=True):
    """One entry as it is stored.

    Attributes:
        sequence: its number, from 1, without gaps.
        entry: canonical JSON, the number and the time included.
        hash: over the hash before and the entry, in hex.
    """

    sequence: int
    entry: str
    hash: str


class ChainProblem(msgspec.Struct, frozen=True):
    """Where the log is not what was written.

    Attributes:
        sequence: the first entry that does not fit.
        detail: what is wrong with it.
    """

    sequence: int
    detail: str


def link(head: Head, events: Iterable[AuditEvent]) -> tuple[list[AuditRow], Head]:
    """The rows that follow a head, and the head after them."""
    rows: list[AuditRow] = []
    for event in events:
        number = head.sequence + 1
        time = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
        entry = _encode({**event.fields, "sequence": number, "time": time, "event": event.event}).decode()
        head = Head(number, hash_of(head.hash, entry))
        rows.append(AuditRow(number, entry, head.hash))
    return rows, head


def hash_of(before: str, entry: str) -> str:
    """The hash of an entry, given the hash before it: SHA-256, in hex."""
    return hashlib.sha256(f"{before}\n{entry}".encode()).hexdigest()


def check_chain(rows: Iterable[AuditRow], head: Head | None = None) -> Head | ChainProblem:
    """Follow the whole log.

    Args:
        rows: all entries, in order.
        head: a head that was noted before, which must be in the log; None: there is none to compare.

    Returns:
        The head of the log, or the first entry that does not fit.
    """
    last, is_noted_there = Head(), head is None or head == Head()
    for row in rows:
        expected = last.sequence + 1
        if row.sequence != expected:
            return ChainProblem(expected, f"entry {expected} is missing; entry {row.sequence} comes next")
        if hash_of(last.hash, row.entry) != row.hash:
            return ChainProblem(expected, "the entry, or one before it, is not what its hash was made of")
        try:
            said = _decode(row.entry).get("sequence")
        except (msgspec.MsgspecError, ValueError):
            said = None
        if said != expected:
            return ChainProblem(expected, "the entry does not say its own number")
        last = Head(row.sequence, row.hash)
        if head is not None and head.sequence == row.sequence:
            if head.hash != row.hash:
                return ChainProblem(expected, "the entry is another one than when the head was noted")
            is_noted_there = True
    if not is_noted_there and head is not None:
        detail = f"the log ends at entry {last.sequence}, and the noted head is entry {head.sequence}"
        return ChainProblem(last.sequence + 1, detail)
    return last


def parse_head(text: str) -> Head | None:
    """Read `<sequence>:<hash>`, as the desk logs it and `audit verify` prints it; None: it is no head."""
    number, colon, digest = text.strip().partition(":")
    is_hash = len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    if not colon or not number.isascii() or not number.isdigit() or len(number) > 18 or not is_hash:
        return None
    return Head(int(number), digest)
