# SPDX-License-Identifier: Apache-2.0
"""Reads that differ in nothing but the token from one that was parsed: they ask the same, for another caller.

Whoever asks about its callers sends one head again and again, with another token in it. Between two messages
a parser's state is always the same, and a token's characters can neither end a header nor begin one: what
stands around the token needs no second parsing. The mistake to prevent is a "token" that does more than that;
who uses a shape has to see that there are a token's characters only (RFC 6750, section 2.1).
"""

from typing import Final

import msgspec

from watchword.gate.forwarded import Asked
from watchword.identity import Refusal

# A read up to this size has a shape; a pod's token and a proxy's headers are half of it. In bytes.
MAX_SHAPED_BYTES: Final = 4096
# Callers who ask for identities alone need one each; a proxy has one for each path. At most 256 KiB.
MAX_SHAPES: Final = 64
_LINE: Final = b"\r\nauthorization: bearer "
_SCHEME: Final = b" Bearer "
_SCHEME_END: Final = len(b"Bearer ")


class Shape(msgspec.Struct, frozen=True, gc=False):
    """What is asked by all reads of one shape.

    Attributes:
        asked: as in `Inquiry`.
        is_head: the method is HEAD: the answer has no body.
    """

    asked: Asked | Refusal | None
    is_head: bool


class Shapes:
    """The shapes of reads, by the bytes around the token. Only trusted callers may teach one."""

    def __init__(self, limit: int = MAX_SHAPES) -> None:
        """Hold at most so many."""
        self._limit = limit
        # By what is in front of the token and what is behind it, joined: the first ` Bearer ` is the end of
        # what is in front, so there is one way to take them apart again.
        self._known: dict[bytes, Shape] = {}

    def __len__(self) -> int:
        return len(self._known)

    def recognize(self, read: bytes) -> tuple[Shape, bytes] | None:
        """The shape of a read and the value of its Authorization header; None where it has to be parsed.

        The shape holds only if what follows `Bearer ` in the value are a token's characters.
        """
        place = read.find(_SCHEME) + 1
        if not place:
            return None
        end = read.find(b"\r", place)
        shape = self._known.get(read[: place + _SCHEME_END] + read[end:])
        return None if shape is None else (shape, read[place:end])

    def learn(self, read: bytes, value: bytes, shape: Shape) -> None:
        """Note what a read meant.

        Args:
            read: one whole request without a body, as it came, which was parsed and got a yes.
            value: the value of its one Authorization header.
            shape: what it asks.
        """
        place = read.find(_SCHEME) + 1
        start, end = place + _SCHEME_END, read.find(b"\r", place)
        # The first ` Bearer ` may be in another header, or the value may have had white space behind it.
        if read[place:end] != value or read[start - len(_LINE) : start].lower() != _LINE:
            return
        if len(self._known) >= self._limit:
            self._known.clear()
        self._known[read[:start] + read[end:]] = shape
