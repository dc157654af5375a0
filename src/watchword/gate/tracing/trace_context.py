# SPDX-License-Identifier: Apache-2.0
"""`traceparent` and `tracestate`, read as strictly as they are defined (W3C Trace Context, section 3).

Both are a stranger's word. They may name the trace that a request is part of, and nothing else: what is not
well-formed to the last character counts as not sent, and the caller's `sampled` flag is not even kept.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"
# What the gate sends itself, in place of the caller's.
TRACE_HEADERS: Final = frozenset({TRACEPARENT, TRACESTATE})
NO_HEADERS: Final[frozenset[bytes]] = frozenset()
# More members than these make the whole list invalid (section 3.3.1.1). What is longer in bytes is dropped
# too: 512 have to pass (section 3.3.1.5), and 32 members of the largest size would be 16 KiB in each request.
MAX_MEMBERS: Final = 32
MAX_STATE_BYTES: Final = 2048

# A later version may have more behind another hyphen; `ff` is none (section 3.2.2.1).
_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.DOTALL)
_MAX_PARENT_BYTES: Final = 512
_KNOWN_VERSION, _NO_VERSION = b"00", b"ff"
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16
_KEY: Final = rb"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_MEMBER: Final = re.compile(rb"(%b)=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]" % _KEY)
_WHITE_SPACE: Final = b" \t"


class TraceParent(msgspec.Struct, frozen=True, gc=False):
    """The span of the caller that a request belongs to.

    Attributes:
        trace_id: 32 hex digits, chosen by the caller.
        span_id: 16 hex digits.
        state: the value of `tracestate` to pass on; nothing where there is none.
    """

    trace_id: str
    span_id: str
    state: bytes = b""

    @property
    def claimed_trace_id(self) -> str:
        """The trace that a caller says it is part of."""
        return self.trace_id


def read_trace_parent(headers: Iterable[tuple[bytes, bytes]]) -> TraceParent | None:
    """The caller's span as the headers name it; None: not at all, twice, or not well-formed.

    Args:
        headers: the request's, names in lower case.
    """
    parents: list[bytes] = []
    states: list[bytes] = []
    for name, value in headers:
        if name == TRACEPARENT:
            parents.append(value)
        elif name == TRACESTATE:
            states.append(value)
    if len(parents) != 1 or len(parents[0]) > _MAX_PARENT_BYTES:
        return None
    found = _PARENT.fullmatch(parents[0])
    if found is None:
        return None
    version, trace_id, span_id, more = found.groups()
    if version == _NO_VERSION or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    if version == _KNOWN_VERSION and more is not None:
        return None
    return TraceParent(trace_id.decode(), span_id.decode(), _state(states))


def _state(values: list[bytes]) -> bytes:
    """The one list that all `tracestate` headers are (section 3.3.1); nothing where it is not well-formed."""
    if not values or sum(map(len, values)) > MAX_STATE_BYTES:
        return b""
    members: dict[bytes, bytes] = {}
    for part in b",".join(values).split(b","):
        member = part.strip(_WHITE_SPACE)
        if not member:
            # An empty member is allowed, and says nothing.
            continue
        found = _MEMBER.fullmatch(member)
        if found is None or found[1] in members or len(members) == MAX_MEMBERS:
            return b""
        members[found[1]] = member
    return b",".join(members.values())
