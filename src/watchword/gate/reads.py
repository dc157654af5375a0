# SPDX-License-Identifier: Apache-2.0
"""Reads that were parsed before: by their SHA-256, whose credential they present.

An app that asks `/authz` about each of its callers sends the same bytes for the same caller, on whichever of
its connections is free. Between two messages a parser's state is always the same, so the same bytes mean the
same: they need no parsing, and no digest of the credential. What is decided about it is looked up each time.
"""

from collections import OrderedDict
from hashlib import sha256
from typing import Final

# As many as the decisions that fit their cache, and what each takes: 3 MiB at most.
MAX_READS: Final = 12_288
READ_BYTES: Final = 240


class KnownReads:
    """Least recently used reads give way. Only bytes are in it: digests of reads and of credentials."""

    def __init__(self, limit: int = MAX_READS) -> None:
        """Hold at most so many."""
        self._limit = limit
        self._keys: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def credential_of(self, digest: bytes) -> bytes | None:
        """The key of the credential that a read presents, if the read is known."""
        key = self._keys.get(digest)
        if key is not None:
            self._keys.move_to_end(digest)
        return key

    def remember(self, digest: bytes, key: bytes) -> None:
        """Note what a read presents, once it was parsed."""
        self._keys[digest] = key
        if len(self._keys) > self._limit:
            self._keys.popitem(last=False)


def digest_of(read: bytes) -> bytes:
    """What a read is remembered by."""
    return sha256(read).digest()
