# SPDX-License-Identifier: Apache-2.0
"""JSON read once and one way: no duplicate names, no NaN, decimals exact, nesting bounded.

Two parsers that disagree on `{"bytes": 1, "bytes": 9}` bill two different amounts, and 0.1 as a binary float
is not a tenth. A value with such a flaw is still read to its end, so that the events after it in a batch can
stand.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import msgspec

MAX_NESTING = 64
MAX_MAGNITUDE = 308  # decimal digits: what every other JSON parser can still read as a finite number

_EXACT = msgspec.json.Encoder(decimal_format="number")
_WHITESPACE = re.compile(r"[ \t\n\r]*")


class Flaw(NamedTuple):
    """What makes a syntactically sound JSON value unacceptable (RFC 8259 sections 4, 6; RFC 7493)."""

    code: str
    detail: str
    remedy: str


class StrictReader:
    """Reads JSON values one after the other out of a text, with all numbers as `decimal.Decimal`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._flaw: Flaw | None = None
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_float=self._number,
            parse_int=self._number,
            parse_constant=self._constant,
        )

    def skip_whitespace(self, position: int) -> int:
        """Give the position of the first character from `position` on that is not JSON whitespace."""
        found = _WHITESPACE.match(self.text, position)
        return position if found is None else found.end()

    def value_at(self, position: int) -> tuple[object, int, Flaw | None]:
        """Read the value that starts at `position`: the value, where it ends, its first flaw if any.

        Raises ValueError where the text is not JSON, RecursionError where it is nested beyond all reason.
        """
        self._flaw = None
        try:
            value, end = self._decoder.raw_decode(self.text, position)
        except StopIteration:
            raise ValueError("a value is missing") from None
        flaw: Flaw | None = self._flaw  # set by the hooks below while the decoder ran
        if flaw is None and self._nested_too_deep(value, position, end):
            flaw = Flaw(
                "nested_too_deep", f"it is nested deeper than {MAX_NESTING} levels", "send flatter data"
            )
        return value, end, flaw

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        members = dict(pairs)
        if len(members) != len(pairs) and self._flaw is None:
            self._flaw = Flaw(
                "duplicate_name", "an object has the same name twice", "send each name of an object once"
            )
        return members

    def _number(self, text: str) -> Decimal:
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal(0)
            in_range = False
        else:
            in_range = -MAX_MAGNITUDE <= number.adjusted() <= MAX_MAGNITUDE or (
                not number and "e" not in text and "E" not in text
            )
        if not in_range and self._flaw is None:
            self._flaw = Flaw(
                "number_out_of_range",
                "a number has an exponent beyond that of a 64-bit float",
                "send finite numbers below 1e308",
            )
        return number

    def _constant(self, text: str) -> Decimal:
        if self._flaw is None:
            self._flaw = Flaw(
                "not_finite", f"{text} is not a JSON number", "send finite numbers, or leave the member out"
            )
        return Decimal(0)

    def _nested_too_deep(self, value: object, start: int, end: int) -> bool:
        # No value can be deeper than it has opening brackets, and counting those is much cheaper than
        # walking.
        if self.text.count("{", start, end) + self.text.count("[", start, end) <= MAX_NESTING:
            return False
        level = [value]
        for _ in range(MAX_NESTING + 1):
            deeper: list[object] = []
            for item in level:
                if isinstance(item, dict):
                    deeper.extend(item.values())
                elif isinstance(item, list):
                    deeper.extend(item)
            if not deeper:
                return False
            level = deeper
        return True


def read_trusted(text: str) -> object:
    """Read JSON that a StrictReader once accepted, with the same exact numbers."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def json_of_trusted(value: object) -> str:
    """Write such a value again, equal values as equal texts."""
    return _EXACT.encode(value).decode()
