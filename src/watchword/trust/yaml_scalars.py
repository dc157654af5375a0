# SPDX-License-Identifier: Apache-2.0
"""What a plain YAML scalar means to kubectl and Helm, and which text must be quoted to stay text.

kubectl and Helm read YAML 1.1 through sigs.k8s.io/yaml: `y` is true, `7e8` a number, `0o17` is 15. A reader
that sees something else accepts a manifest that the API server refuses, and a writer that leaves such text
bare changes it: an RSA key's member `n` was read as `false`.
"""

import math
import re
from decimal import Decimal
from typing import Final

Scalar = str | int | float | bool | None

_TRUE: Final = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE: Final = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_INTEGER: Final = re.compile(r"[-+]?(?:0[bB][01]+|0[oO]?[0-7]+|0[xX][0-9a-fA-F]+|0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
# Text that begins with a point goes to Go's ParseFloat as it is: underscores only between digits.
_POINT_FIRST: Final = re.compile(r"\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?")
_INT64: Final = range(-(2**63), 2**63)
_MAX_DIGITS: Final = 400
# What any parser might take for a number, a time or a merge key; wider than what one of them does.
_LIKE_A_NUMBER: Final = re.compile(
    r"(?:[-+]_*)?[0-9.][0-9a-fA-FoOxX_.:eE+\-]*(?:[tT ][0-9:.+\-]*[zZ]?)?|<<|="
)
_LIKE_A_WORD: Final = re.compile(
    r"[-+]?\.?(?:y|n|yes|no|on|off|true|false|null|nil|none|nan|inf|infinity|~)?", re.IGNORECASE
)


class UnusableNumberError(ValueError):
    """A number that no JSON document holds, and so no API server: infinite, NaN, or of hundreds of digits."""


def plain_scalar(text: str) -> Scalar:
    """The value that kubectl reads where this text stands without quotes.

    Timestamps stay text. An integer beyond int64 is the float nearest to it, as Go makes it.

    Raises:
        UnusableNumberError: the text is an infinity, a NaN, or a number of more than 400 digits.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text in _NULL:
        return None
    if _NOT_FINITE.fullmatch(text):
        raise UnusableNumberError(f"{text} is not a number that JSON can hold; quote it if it is text")
    if text[0] not in "+-.0123456789":
        return text
    return _number(text)


def must_be_quoted(text: str) -> bool:
    """Whether some parser of YAML 1.1 or 1.2 could read this text as something else when it stands bare."""
    return bool(_LIKE_A_WORD.fullmatch(text) or _LIKE_A_NUMBER.fullmatch(text))


def _number(text: str) -> Scalar:
    if text.startswith(".") and not _POINT_FIRST.fullmatch(text):
        return text
    digits = text.replace("_", "")
    if len(digits) > _MAX_DIGITS and (_FLOAT.fullmatch(digits) or _INTEGER.fullmatch(digits)):
        raise UnusableNumberError(f"a number of more than {_MAX_DIGITS} digits; quote it if it is text")
    if _INTEGER.fullmatch(digits):
        value = _integer(digits)
        if value in _INT64:
            return value
        if 0 <= value < 2**64 and digits[0] not in "+-":
            return _as_json(float(value))
    if _FLOAT.fullmatch(digits):
        number = float(digits)
        if math.isinf(number):
            # Go reports what is out of range as an error, and the text stays text.
            return text
        return _as_json(number)
    return text


def _as_json(number: float) -> int | float:
    """The number as an API server gets it: Go's JSON has no fraction where there is none."""
    return int(Decimal(repr(number))) if number.is_integer() and abs(number) < 1e21 else number


def _integer(digits: str) -> int:
    sign = -1 if digits.startswith("-") else 1
    bare = digits.lstrip("+-").lower()
    if len(bare) > 1 and bare.startswith("0"):
        base = {"b": 2, "o": 8, "x": 16}.get(bare[1], 8)
        return sign * int(bare[2:] if bare[1].isalpha() else bare[1:], base)
    return sign * int(bare)
