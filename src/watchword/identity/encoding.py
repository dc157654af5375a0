# SPDX-License-Identifier: Apache-2.0
"""Bytes to values, strictly: one text for one value, or none.

Loose decoders let two different tokens mean the same thing (padding, spare bits, duplicate names), and that
is how a check of one copy and the use of another drift apart. Everything that was signed is read by these
two functions.
"""

import base64
import json
import math
from typing import Final

import msgspec

_URL_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# One pass turns the URL alphabet into the standard one and everything else, `+`, `/` and `=` too, into a
# byte that no decoder knows.
_TO_STANDARD: Final = bytes(
    {ord("-"): ord("+"), ord("_"): ord("/")}.get(byte, byte) if byte in _URL_ALPHABET else 0
    for byte in range(256)
)
# msgspec reads base64 from a JSON string, in two thirds of binascii's time. Of what is between the quotes
# nothing is left by then that could end the string or be an escape.
_PADDED: Final = (b'"%b"', None, b'"%b=="', b'"%b="')
# The last of 2 characters carries 4 spare bits, the last of 3 carries 2 (RFC 4648, section 3.5).
_CANONICAL_ENDS: Final[tuple[frozenset[int], ...]] = (
    frozenset(_URL_ALPHABET),
    frozenset(),
    frozenset(_URL_ALPHABET[::16]),
    frozenset(_URL_ALPHABET[::4]),
)

_decode_bytes: Final = msgspec.json.Decoder(bytes).decode
_decode_fast: Final = msgspec.json.Decoder().decode
_encode_fast: Final = msgspec.json.Encoder().encode


class EncodingError(ValueError):
    """The bytes are not the one canonical form of any value. The message never quotes them."""


def decode_base64url(text: bytes) -> bytes:
    """Decode canonical base64url without padding (RFC 7515, section 2; RFC 4648, section 3.5).

    Raises:
        EncodingError: another alphabet, padding, white space, spare bits, or an impossible length.
    """
    remainder = len(text) % 4
    padded = _PADDED[remainder]
    if padded is None or not text or text[-1] not in _CANONICAL_ENDS[remainder]:
        raise EncodingError("not canonical base64url")
    try:
        data = _decode_bytes(padded % text.translate(_TO_STANDARD))
    except msgspec.MsgspecError:
        raise EncodingError("not canonical base64url") from None
    # A decoder that skipped what it does not know would show here, as one byte too few.
    if len(data) != len(text) * 3 // 4:
        raise EncodingError("not canonical base64url")
    return data


def encode_base64url(data: bytes) -> str:
    """Encode as base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def parse_json_object(data: bytes) -> dict[str, object]:
    """Parse a JSON object in which no object, at any depth, repeats a name (RFC 8259, section 4).

    Raises:
        EncodingError: not UTF-8, not JSON, not an object, a repeated name, a number that is not finite,
            a lone surrogate, or nesting deeper than the parser goes.
    """
    # Kubernetes writes compact JSON. Where re-encoding gives the very same bytes, no name can have been
    # repeated: the fast parser proves it in a third of the time. Anything else goes the long way.
    try:
        value = _decode_fast(data)
        if type(value) is dict and _encode_fast(value) == data:
            return value
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    return _parse_strictly(data)


def _parse_strictly(data: bytes) -> dict[str, object]:
    try:
        value = _strict_decoder.decode(data.decode("utf-8"))
        # Escaped lone surrogates survive the parser; they have no UTF-8 form (RFC 8259, section 8.2).
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise EncodingError("not a JSON document with unique names and finite numbers") from None
    if not isinstance(value, dict):
        raise EncodingError("not a JSON object")
    return value


def _unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise EncodingError("a name is repeated")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise EncodingError("a number is not finite")
    return number


_strict_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_unique_names, parse_float=_finite, parse_constant=_finite
)
