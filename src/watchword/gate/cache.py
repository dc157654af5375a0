# SPDX-License-Identifier: Apache-2.0
"""Decisions remembered by the token's own bytes, bounded in bytes, for one ruleset.

A yes and a no live apart, so that a flood of bad tokens cannot push good ones out. The cache belongs to one
ruleset and goes with it: no entry can outlive the trust that it was made under.
"""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from watchword.identity import Reason, Refusal

POSITIVE_BYTES: Final = 8 * 1024 * 1024
NEGATIVE_BYTES: Final = 1024 * 1024
# A refusal may hang on the clock (expired): it is worth seconds, not minutes.
NEGATIVE_SECONDS: Final = 10.0
# What an entry weighs beside its token, in bytes: the identity, its headers, and the place in the table.
ENTRY_BYTES: Final = 1200

# Refused before anything costly was done (finding it again is as cheap as remembering it), or only for now.
_NOT_REMEMBERED: Final = frozenset(
    {
        Reason.TOKEN_TOO_LARGE,
        Reason.MALFORMED_TOKEN,
        Reason.UNSUPPORTED_ALGORITHM,
        Reason.UNSUPPORTED_HEADER,
        Reason.MISSING_KEY_ID,
        Reason.UNKNOWN_KEY,
        Reason.ISSUED_IN_FUTURE,
        Reason.NOT_YET_VALID,
    }
)

_V = TypeVar("_V")


class BoundedCache(Generic[_V]):
    """Least recently used entries give way once the bytes are used up. Each is good for a span of time."""

    def __init__(self, limit_bytes: int) -> None:
        """Hold at most about `limit_bytes`."""
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._entries: OrderedDict[bytes, tuple[_V, float, float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, token: bytes, now: float) -> _V | None:
        """The value, if its time has come and is not over.

        Args:
            token: the token's bytes.
            now: seconds since the epoch.
        """
        entry = self._entries.get(token)
        if entry is None:
            return None
        value, start, end, _ = entry
        if not start <= now < end:
            self._drop(token)
            return None
        self._entries.move_to_end(token)
        return value

    def put(self, token: bytes, value: _V, start: float, end: float, weight: int = ENTRY_BYTES) -> None:
        """Remember a value for `start <= now < end` (seconds since the epoch).

        Args:
            token: the token's bytes.
            value: what was decided.
            start: from when it is good.
            end: until when.
            weight: what it takes beside its token, in bytes.
        """
        if token in self._entries:
            self._drop(token)
        self._entries[token] = (value, start, end, weight)
        self.used_bytes += len(token) + weight
        while self.used_bytes > self.limit_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, token: bytes) -> None:
        *_, weight = self._entries.pop(token)
        self.used_bytes -= len(token) + weight


def is_worth_remembering(refusal: Refusal) -> bool:
    """Whether a refusal goes to the cache."""
    return refusal.reason not in _NOT_REMEMBERED
