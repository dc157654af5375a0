# SPDX-License-Identifier: Apache-2.0
"""What was proven of tokens, remembered for as long as the state that proved it is in use.

A pod exchanges one token for many targets, and a resource server asks with one token for minutes: their
signatures are checked once. Only a yes is remembered, never beyond the token's end, and under a digest of the
whole token; another state starts with nothing.
"""

import hashlib
from collections import OrderedDict
from typing import Final, Generic, TypeVar

MAX_REMEMBERED: Final = 2048

_T = TypeVar("_T")


class Remembered(Generic[_T]):
    """Values by token. Those that were put first go first."""

    def __init__(self, size: int = MAX_REMEMBERED) -> None:
        """Remember at most so many."""
        self._size = size
        self._kept: OrderedDict[bytes, tuple[_T, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, token: str, now: float) -> _T | None:
        """What was proven of a token; None: nothing, or it has ended (seconds since the epoch)."""
        found = self._kept.get(_digest(token))
        return found[0] if found is not None and now < found[1] else None

    def put(self, token: str, value: _T, until: float) -> None:
        """Remember a value until a time."""
        self._kept[_digest(token)] = (value, until)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
