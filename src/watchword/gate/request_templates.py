# SPDX-License-Identifier: Apache-2.0
"""Reads that differ in nothing but the token from one that was parsed: they ask the same, for another caller.

A proxy that asks about its callers sends one head again and again, with another token in it. Between messages
a parser's state is always the same, and a token's characters can neither end a header nor begin one: what
stands around the token needs no second parsing. The mistake to prevent is a "token" that does more than that;
who uses a template has to see that there are a token's characters only (RFC 6750, section 2.1).
"""

from typing import Final

import msgspec

from watchword.gate.original_request import OriginalRequest
from watchword.identity import Refusal

# A read up to this size is remembered; a pod's token and a proxy's headers are half of it. In bytes.
MAX_READ_BYTES: Final = 4096
# Callers who ask for identities alone need one each; a proxy has one for each path. At most 256 KiB.
MAX_TEMPLATES: Final = 64
_LINE: Final = b"\r\nauthorization: bearer "
_SCHEME: Final = b" Bearer "
_SCHEME_END: Final = len(b"Bearer ")


class RequestTemplate(msgspec.Struct, frozen=True, gc=False):
    """What is asked by all reads that differ in their token alone.

    Attributes:
        original: as in `AuthzRequest`.
        is_head: the method is HEAD: the answer has no body.
        method: the method, for the audit log.
    """

    original: OriginalRequest | Refusal | None
    is_head: bool
    method: str = "GET"


class ProxiedTemplate(RequestTemplate, frozen=True, gc=False):
    """What is passed on to an app by all reads that differ in their token alone.

    Attributes:
        active: the ruleset in use, as it was then: it says which headers pass.
        lines: the first lines of the request for the app.
    """

    active: object = None
    lines: bytes = b""


class RequestTemplates:
    """The templates of reads, by the bytes around the token. Only trusted callers may teach one."""

    def __init__(self, limit: int = MAX_TEMPLATES) -> None:
        """Hold at most so many."""
        self._limit = limit
        # By what is in front of the token and what is behind it, joined: the first ` Bearer ` is the end of
        # what is in front, so there is one way to take them apart again.
        self._known: dict[bytes, RequestTemplate] = {}

    def __len__(self) -> int:
        return len(self._known)

    def recognize(self, read: bytes) -> tuple[RequestTemplate, bytes] | None:
        """The template of a read and the value of its Authorization header; None: it has to be parsed.

        The template holds only if what follows `Bearer ` in the value are a token's characters.
        """
        place = read.find(_SCHEME) + 1
        if not place:
            return None
        end = read.find(b"\r", place)
        template = self._known.get(read[: place + _SCHEME_END] + read[end:])
        return None if template is None else (template, read[place:end])

    def learn(self, read: bytes, value: bytes, template: RequestTemplate, only: bytes = b"") -> bytes:
        """Note what a read meant.

        Args:
            read: one whole request without a body, as it came, which was parsed and got a yes.
            value: the value of its one Authorization header.
            template: what it asks.
            only: note it only if these are the bytes around the token; nothing: note it in any case.

        Returns:
            The bytes around the token; nothing where it cannot be told which they are.
        """
        place = read.find(_SCHEME) + 1
        start, end = place + _SCHEME_END, read.find(b"\r", place)
        # The first ` Bearer ` may be in another header, or the value may have had white space behind it.
        if read[place:end] != value or read[start - len(_LINE) : start].lower() != _LINE:
            return b""
        around = read[:start] + read[end:]
        if not only or around == only:
            if len(self._known) >= self._limit:
                self._known.clear()
            self._known[around] = template
        return around
