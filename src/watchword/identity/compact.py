# SPDX-License-Identifier: Apache-2.0
"""A compact JWS, taken apart without believing a word of it.

Three canonical parts and a header object: nothing more is read before the signature holds. The payload stays
bytes here, so that no later line can use a claim that no one signed (RFC 7515, section 3.1 and 5.2).
"""

from functools import lru_cache
from typing import Final

import msgspec

from watchword.identity.encoding import EncodingError, decode_base64url, parse_json_object
from watchword.identity.reasons import Reason, Refusal

# A pod's token is about 1 KiB; 8 KiB is what common proxies allow one header line.
MAX_TOKEN_BYTES: Final = 8 * 1024
_PARTS: Final = 3
_PLACES: Final = {"header": 1, "payload": 2, "signature": 3}
# Kubernetes' own headers have about 80 characters; a longer one is read, but not remembered.
_MEMO_BYTES: Final = 128


class UnverifiedToken(msgspec.Struct, frozen=True):
    """A token of which nothing is proven. It has no claims, and its repr shows nothing.

    Attributes:
        header: the parsed header: good for finding the key, and for nothing else.
        signed: the signing input as received, in bytes.
        payload: the decoded second part, unparsed.
        signature: the decoded third part.
    """

    header: dict[str, object]
    signed: bytes
    payload: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "UnverifiedToken(...)"


def parse_compact(token: bytes) -> UnverifiedToken | Refusal:
    """Take a compact JWS apart (check 3).

    Args:
        token: what followed `Bearer `.

    Returns:
        The parts, or `token_too_large` or `malformed_token`. Never raises for bad input.
    """
    if len(token) > MAX_TOKEN_BYTES:
        return Refusal(
            Reason.TOKEN_TOO_LARGE, f"The token has {len(token)} bytes; at most {MAX_TOKEN_BYTES} are read."
        )
    parts = token.count(b".") + 1
    if parts != _PARTS:
        return _not_three_parts(token, parts)
    signed, _, signature_part = token.rpartition(b".")
    header_part, _, payload_part = signed.partition(b".")
    name = "header"
    try:
        header = _header(header_part) if len(header_part) <= _MEMO_BYTES else _header.__wrapped__(header_part)
        name = "payload"
        payload = decode_base64url(payload_part)
        name = "signature"
        signature = decode_base64url(signature_part)
    except EncodingError as problem:
        return Refusal(Reason.MALFORMED_TOKEN, f"The {name} (part {_PLACES[name]} of 3) is {problem}.")
    return UnverifiedToken(header, signed, payload, signature)


def _not_three_parts(token: bytes, parts: int) -> Refusal:
    number = "1 part" if parts == 1 else f"{parts} parts"
    detail, hint = f"A signed JWT has 3 parts, joined by dots; this has {number}.", ""
    if token.startswith(b"/"):
        hint = "What was sent looks like the path of a file: send the content of that file."
    elif parts == 5:
        hint = "Five parts make an encrypted token, which is not accepted: send a ServiceAccount token."
    elif parts == 2:
        hint = "Send the whole token: a part of it is missing, or it was never signed."
    elif parts == 1:
        hint = "This is not a ServiceAccount token: send the content of the pod's token file."
    return Refusal(Reason.MALFORMED_TOKEN, detail, hint)


@lru_cache(maxsize=256)
def _header(part: bytes) -> dict[str, object]:
    """A cluster signs all its tokens under one header: the few that recur are read once."""
    return parse_json_object(decode_base64url(part))
