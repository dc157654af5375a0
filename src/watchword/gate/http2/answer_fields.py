# SPDX-License-Identifier: Apache-2.0
"""What an HTTP/2 app's answer may have: what one of an HTTP/1.1 app may (`process/http_response_parser.py`).

The library looks at the form of names and values. It would end the app's connection for a wrong length, and
so all other streams; that is looked for here, stream by stream.
"""

import re
from typing import Final

from watchword.gate.http2.host import Fields
from watchword.gate.proxy.upstream_connection import MAX_HEADERS, MAX_TRAILER_BYTES, MAX_TRAILERS

_STATUS: Final = re.compile(rb"[1-9][0-9]{2}")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_LENGTH: Final = b"content-length"
_SWITCHING: Final = 101
_WITHOUT_BODY: Final = frozenset({204, 304})


class MalformedAnswerError(ValueError):
    """An answer that is none; the text says why, without a byte of what came."""


def read_status(fields: Fields) -> int:
    """The status of a head, early or final.

    Raises:
        MalformedAnswerError: it has none, or more fields than an answer may have.
    """
    if _STATUS.fullmatch(fields[0][1]) is None:
        raise MalformedAnswerError("its status is not three digits")
    if len(fields) > MAX_HEADERS + 1:
        raise MalformedAnswerError(f"it has more than {MAX_HEADERS} fields")
    status = int(fields[0][1])
    if status == _SWITCHING:
        # HTTP/2 has none (RFC 9113, section 8.6).
        raise MalformedAnswerError("it switches protocols")
    return status


def body_length(fields: Fields, status: int, *, is_head: bool) -> int | None:
    """How many bytes of a body have to come behind a final head; None: it does not say.

    Raises:
        MalformedAnswerError: its length is not one number.
    """
    lengths = [value for name, value in fields if name == _LENGTH]
    if len(lengths) > 1 or (lengths and _DIGITS.fullmatch(lengths[0]) is None):
        raise MalformedAnswerError("`content-length` is not one number")
    if is_head or status in _WITHOUT_BODY:
        return 0
    return int(lengths[0]) if lengths else None


def check_answer_trailers(fields: Fields) -> None:
    """Check the fields behind a body.

    Raises:
        MalformedAnswerError: there are too many, or one says how long the body is.
    """
    if len(fields) > MAX_TRAILERS:
        raise MalformedAnswerError(f"it has more than {MAX_TRAILERS} trailers")
    if sum(len(name) + len(value) for name, value in fields) > MAX_TRAILER_BYTES:
        raise MalformedAnswerError(f"its trailers have more than {MAX_TRAILER_BYTES} bytes")
    if any(name == _LENGTH for name, _ in fields):
        raise MalformedAnswerError("its trailers have a `content-length`")
