# SPDX-License-Identifier: Apache-2.0
"""Decisions remembered by the SHA-256 of what was presented, bounded in bytes, for one ruleset.

A yes and a no live apart, so that a flood of bad tokens cannot push good ones out. The cache belongs to one
ruleset and goes with it: no entry can outlive the trust that it was made under. And no token is kept in it.
"""

from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from watchword.gate.responses import grant_lines, permit_lines
from watchword.identity import Grant, Identity, Reason, Refusal
from watchword.trust import RouteMatch

# Some 14,000 tokens: who has 10,000 callers, of whom some renewed their token, finds each of them again.
POSITIVE_BYTES: Final = 12 * 1024 * 1024
NEGATIVE_BYTES: Final = 1024 * 1024
# A refusal may hang on the clock (expired): it is worth seconds, not minutes.
NEGATIVE_SECONDS: Final = 10.0
# What an entry weighs next to its lines, in bytes: the identity, its names, the digest, its place.
ENTRY_BYTES: Final = 600
# What a refusal's proven part weighs next to its texts: the object and the heads of three texts.
PROVEN_BYTES: Final = 240
# What a desk token's claims take in memory, for each byte of them: many short names in tuples.
DESK_FACTOR: Final = 12
GRANT_LINES_BYTES: Final = 2 * 1024 * 1024
PERMIT_BYTES: Final = 512 * 1024

# Refused before anything costly was done (finding it again is as cheap as remembering it), or only for now.
_NOT_REMEMBERED: Final = frozenset(
    reason.code
    for reason in (
        Reason.TOKEN_TOO_LARGE,
        Reason.MALFORMED_TOKEN,
        Reason.UNSUPPORTED_ALGORITHM,
        Reason.UNSUPPORTED_HEADER,
        Reason.MISSING_KEY_ID,
        Reason.UNKNOWN_KEY,
        Reason.ISSUED_IN_FUTURE,
        Reason.NOT_YET_VALID,
    )
)


class Remembered(Protocol):
    """What can be remembered.

    Attributes:
        valid_from: from when it is good, in seconds since the epoch.
        valid_until: until when.
    """

    @property
    def valid_from(self) -> float:
        """From when it is good."""

    @property
    def valid_until(self) -> float:
        """Until when."""

    @property
    def weight(self) -> int:
        """What it takes with its place in the table, in bytes. Always the same."""


class CachedIdentity(Identity, frozen=True, gc=False):
    """Who is calling, with the lines that say so in each answer; those of the grants are in GrantLines.

    Attributes:
        lines: who it is; see `identity_lines`.
        granted: of a desk token, the lines of all that it and its workload allow; else nothing.
        desk_bytes: of a desk token, what it takes besides, in bytes; else 0.
    """

    lines: bytes = b""
    granted: bytes = b""
    desk_bytes: int = 0

    @property
    def weight(self) -> int:
        """What it takes, in bytes."""
        return ENTRY_BYTES + len(self.lines) + self.desk_bytes


class GrantLines:
    """The lines of grants, by the value of the ruleset that they are of; bounded in bytes.

    One workload may hold 1000 names in each of 32 grants: what all of them come to is bounded by this, and
    not by how many workloads call. It belongs to one ruleset, which keeps the values alive.

    Attributes:
        lines: by `id` of a tuple of grants, or of one grant: looked up here first.
        used_bytes: what they come to.
    """

    def __init__(self, limit_bytes: int = GRANT_LINES_BYTES) -> None:
        """Hold at most `limit_bytes`."""
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.lines: dict[int, bytes] = {}

    def of_all(self, grants: tuple[Grant, ...]) -> bytes:
        """Make and remember the lines of all that a workload holds."""
        return self._remember(id(grants), grant_lines(grants))

    def of_one(self, grant: Grant) -> bytes:
        """Make and remember the lines of the grant that let a request pass."""
        return self._remember(id(grant), permit_lines(grant))

    def _remember(self, key: int, lines: bytes) -> bytes:
        if self.used_bytes + len(lines) > self.limit_bytes:
            self.lines.clear()
            self.used_bytes = 0
        if len(lines) <= self.limit_bytes:
            self.lines[key] = lines
            self.used_bytes += len(lines)
        return lines


class Permits:
    """The lines of a yes, by what a workload holds and what its request is about; bounded in bytes.

    `authorize` finds the same grant for the same two values, so what it found for the ones stands for the
    next request of any token of the workload. It belongs to one ruleset.

    Attributes:
        known: by the `id` of both, with both next to their lines: while an entry is here, nothing else can
            have their ids.
        used_bytes: what they come to.
    """

    def __init__(self, limit_bytes: int = PERMIT_BYTES) -> None:
        """Hold at most about `limit_bytes`."""
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.known: dict[tuple[int, int], tuple[tuple[Grant, ...], RouteMatch, bytes]] = {}

    def remember(self, grants: tuple[Grant, ...], match: RouteMatch, lines: bytes) -> None:
        """Keep the lines of a yes to who holds these grants and asks for what a route matched."""
        weight = ENTRY_BYTES + len(lines)
        if self.used_bytes + weight > self.limit_bytes:
            self.known.clear()
            self.used_bytes = 0
        if weight <= self.limit_bytes:
            self.known[id(grants), id(match)] = grants, match, lines
            self.used_bytes += weight


class RememberedRefusal(msgspec.Struct, frozen=True, gc=False):
    """A refusal, for a while."""

    refusal: Refusal
    valid_from: float
    valid_until: float

    @property
    def weight(self) -> int:
        """What it takes, in bytes."""
        refusal, proven = self.refusal, self.refusal.proven
        weight = ENTRY_BYTES + len(refusal.detail) + len(refusal.hint)
        if proven is not None:
            # The issuer, its key and the workload are the ruleset's own texts.
            weight += PROVEN_BYTES + len(proven.subject) + len(proven.token_id) + len(proven.pod)
        return weight


_V = TypeVar("_V", bound=Remembered)


class BoundedCache(Generic[_V]):
    """Least recently used entries give way once the bytes are used up. Each is good for its own time."""

    def __init__(self, limit_bytes: int) -> None:
        """Hold at most about `limit_bytes`."""
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        # A plain dict keeps an order too, but finds its first entry by going over all that were taken from
        # its front: the more gave way, the longer each takes.
        self._entries: OrderedDict[bytes, _V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> _V | None:
        """The value, if its time has come and is not over.

        Args:
            key: the digest of what was presented.
            now: seconds since the epoch.
        """
        value = self._entries.get(key)
        if value is None:
            return None
        if value.valid_from <= now < value.valid_until:
            self._entries.move_to_end(key)
            return value
        del self._entries[key]
        self.used_bytes -= value.weight
        return None

    def put(self, key: bytes, value: _V) -> None:
        """Remember a value for its time.

        Args:
            key: the digest of what was presented.
            value: what was decided.
        """
        entries = self._entries
        if (old := entries.pop(key, None)) is not None:
            self.used_bytes -= old.weight
        entries[key] = value
        self.used_bytes += value.weight
        while self.used_bytes > self.limit_bytes:
            self.used_bytes -= entries.popitem(last=False)[1].weight


def is_worth_remembering(refusal: Refusal) -> bool:
    """Whether a refusal goes to the cache."""
    return refusal.reason.code not in _NOT_REMEMBERED
