# SPDX-License-Identifier: Apache-2.0
"""Answers of the gate as gRPC statuses: what a stub shows its caller, reason and remedy included.

A gRPC client reads no body of an HTTP error: all that it would say of a 403 is "PERMISSION_DENIED: 403". So
the status and the words go into header fields ("gRPC over HTTP2", Responses, Trailers-Only).
"""

from typing import Final
from urllib.parse import quote

import msgspec

from watchword.gate.responses import Answer

Fields = list[tuple[bytes, bytes]]

# HTTP status: code of gRPC ("Status codes and their use in gRPC").
_CODES: Final = {
    400: 3,  # INVALID_ARGUMENT
    401: 16,  # UNAUTHENTICATED
    403: 7,  # PERMISSION_DENIED
    404: 12,  # UNIMPLEMENTED
    429: 8,  # RESOURCE_EXHAUSTED
    502: 14,  # UNAVAILABLE
    503: 14,
    504: 14,
}
_UNKNOWN: Final = 2
_MAX_MESSAGE_BYTES: Final = 1024
# Percent-encoded are all but space to tilde, and the percent sign itself.
_SAFE: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_NOT_IN_TRAILERS: Final = frozenset({b"content-type", b"content-length"})


def status_fields(answer: Answer) -> Fields:
    """The trailers that say what an answer says: grpc-status, grpc-message, and the gate's own fields."""
    code = _CODES.get(answer.status, _UNKNOWN)
    fields: Fields = [(b"grpc-status", b"%d" % code), (b"grpc-message", _message(answer))]
    return fields + [pair for pair in answer.headers if pair[0] not in _NOT_IN_TRAILERS]


def trailers_only(answer: Answer) -> Fields:
    """A whole answer to a gRPC call in one block of fields."""
    return [(b":status", b"200"), (b"content-type", b"application/grpc"), *status_fields(answer)]


def _message(answer: Answer) -> bytes:
    try:
        problem = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        problem = {}
    problem = problem if isinstance(problem, dict) else {}
    parts = [str(problem[name]) for name in ("detail", "remedy") if problem.get(name)]
    reason = problem.get("reason")
    text = " ".join(parts) or str(problem.get("title", ""))
    return quote(f"{reason}: {text}" if reason else text, safe=_SAFE)[:_MAX_MESSAGE_BYTES].encode()
