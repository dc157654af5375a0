# SPDX-License-Identifier: Apache-2.0
"""What an event contributes to a meter: one, an exact decimal, a distinct value, nothing, or a problem.

Amounts are exact or refused: a sum that was rounded on its way is a slightly different bill.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Final, Literal

import msgspec

from watchword.usage.events import Event
from watchword.usage.pointers import MISSING, parse_pointer, resolve
from watchword.usage.problems import EventProblem, shown

Aggregation = Literal["count", "sum", "max", "unique_count"]

# Together 48 digits: ClickHouse's Decimal(76, 30) and PostgreSQL's numeric hold sums of them over any
# history.
MAX_INTEGER_DIGITS: Final = 18
MAX_FRACTION_DIGITS: Final = 30
MAX_DISTINCT_CHARACTERS: Final = 1024
MAX_NAME_CHARACTERS: Final = 253
MAX_DIMENSIONS: Final = 3
MAX_GROUPS: Final = 1000
MAX_UNIT_CHARACTERS: Final = 32
DEFAULT_GROUPS: Final = 100

# Inexact traps: a sum that would have to round is an error here, never a slightly different bill.
EXACT: Final = Context(prec=200, traps=[Inexact, InvalidOperation, Overflow, DivisionByZero])

_ZERO, _ONE = Decimal(0), Decimal(1)

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Dimension(msgspec.Struct, frozen=True, gc=False):
    """One way to split a meter: `name` in the read model, `value` a JSON pointer into the event's `data`.

    Raises ValueError when it is not a pointer.
    """

    name: str
    value: str

    def __post_init__(self) -> None:
        _check_name("name", self.name)
        # `meter` is what a series is grouped by without any dimension; `value` and `overflow` are members
        # next to the dimensions.
        if self.name in ("meter", "value", "overflow"):
            raise ValueError(f"name must be another one than {self.name}, which the read model uses itself")
        parse_pointer(self.value)


class Meter(msgspec.Struct, frozen=True, gc=False):
    """One thing that is counted per account and UTC day.

    `name` is its name in the read model. Events whose type equals `event_type` contribute: one each
    (`count`), or the value at the JSON pointer `value` (RFC 6901) into the event's `data`: added up (`sum`;
    negative numbers correct earlier ones), its largest (`max`), or how many different ones (`unique_count`:
    strings, numbers and booleans; 1 and 1.0 are one value, 1 and "1" are two).

    `group_by` splits it: at most `max_groups` groups for each account and month, everything beyond those in
    the overflow group. `unit` is only shown. `retention_days`: how long its amounts are kept; None: for ever.

    Raises ValueError when a part is missing, superfluous or not a pointer.
    """

    name: str
    event_type: str
    aggregation: Aggregation
    value: str | None = None
    group_by: tuple[Dimension, ...] = ()
    max_groups: int = DEFAULT_GROUPS
    unit: str = ""
    retention_days: int | None = None

    def __post_init__(self) -> None:
        for field, text in (("name", self.name), ("event_type", self.event_type)):
            _check_name(field, text)
        if self.aggregation not in ("count", "sum", "max", "unique_count"):
            raise ValueError(
                f"aggregation must be count, sum, max or unique_count, not {shown(self.aggregation)}"
            )
        if (self.value is None) != (self.aggregation == "count"):
            raise ValueError(
                f"value must be {'absent' if self.aggregation == 'count' else 'a JSON pointer'} "
                f"for aggregation {self.aggregation}"
            )
        if self.value is not None:
            parse_pointer(self.value)
        self._check_groups()

    def _check_groups(self) -> None:
        # Distinct values of one dimension cannot be added up over another one.
        most = 1 if self.aggregation == "unique_count" else MAX_DIMENSIONS
        if len(self.group_by) > most:
            raise ValueError(f"group_by must have at most {most} dimensions for {self.aggregation}")
        if len({dimension.name for dimension in self.group_by}) != len(self.group_by):
            raise ValueError("group_by must have dimensions of different names")
        if not 1 <= self.max_groups <= MAX_GROUPS:
            raise ValueError(f"max_groups must be 1 to {MAX_GROUPS}")
        if len(self.unit) > MAX_UNIT_CHARACTERS or _CONTROL.search(self.unit):
            raise ValueError(
                f"unit must have at most {MAX_UNIT_CHARACTERS} characters, no control characters"
            )
        if self.retention_days is not None and self.retention_days < 1:
            raise ValueError("retention_days must be at least 1")


def _check_name(field: str, text: str) -> None:
    if not 0 < len(text) <= MAX_NAME_CHARACTERS or _CONTROL.search(text):
        raise ValueError(
            f"{field} must have 1 to {MAX_NAME_CHARACTERS} characters and no control characters, "
            f"not {shown(text)}"
        )


def measure(meter: Meter, event: Event) -> Decimal | str | EventProblem | None:
    """Tell what `event` contributes to `meter`. Pure.

    None when it is of another type; Decimal for count, sum and max; for unique_count the value as canonical
    JSON text; EventProblem when the event is of the meter's type but has no value that the meter could take.
    """
    if event.type != meter.event_type:
        return None
    if meter.value is None:
        return _ONE
    if event.data_base64 is not None:
        return _problem(
            meter,
            event,
            "data_is_binary",
            "the event carries data_base64, which a pointer cannot look into",
            "send the data as JSON in `data`",
        )
    found = MISSING if event.data_text is None else resolve(parse_pointer(meter.value), event.data)
    if found is MISSING or found is None:
        return _problem(
            meter,
            event,
            "value_missing",
            "there is nothing at that place of the event's data",
            f"send {'a value' if meter.aggregation == 'unique_count' else 'a number'} there",
        )
    if isinstance(found, Decimal):
        number = exact(found)
        if number is None:
            return _problem(
                meter,
                event,
                "value_out_of_range",
                "the number has too many digits to be added up exactly",
                f"send at most {MAX_INTEGER_DIGITS} digits before and {MAX_FRACTION_DIGITS} after the point",
            )
        return plain(number) if meter.aggregation == "unique_count" else number
    if meter.aggregation == "unique_count":
        return _distinct(meter, event, found)
    return _problem(
        meter,
        event,
        "value_not_a_number",
        f"the value is {_kind(found)}",
        "send a JSON number, without quotes",
    )


def plain(number: Decimal) -> str:
    """Write a decimal without exponent and without trailing zeros, so that equal numbers are equal texts."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def exact(number: Decimal) -> Decimal | None:
    """Give a number that can be added up exactly, or None when it has too many digits."""
    if number.same_quantum(_ONE) and number.adjusted() < MAX_INTEGER_DIGITS:
        return number or _ZERO  # a plain whole number, which most are
    exponent = number.as_tuple().exponent if number.adjusted() < MAX_INTEGER_DIGITS else None
    if not isinstance(exponent, int) or exponent < -MAX_FRACTION_DIGITS:
        return None
    return number or _ZERO


def _distinct(meter: Meter, event: Event, found: object) -> str | EventProblem:
    if isinstance(found, bool):
        return "true" if found else "false"
    if not isinstance(found, str):
        return _problem(
            meter,
            event,
            "value_not_distinct",
            f"the value is {_kind(found)}, and only single values can be told apart",
            "send a string, number or boolean there",
        )
    if len(found) > MAX_DISTINCT_CHARACTERS:
        return _problem(
            meter,
            event,
            "value_too_long",
            f"the value has {len(found)} characters",
            f"send at most {MAX_DISTINCT_CHARACTERS} characters, for example a hash of it",
        )
    return msgspec.json.encode(found).decode()


def _kind(found: object) -> str:
    names: tuple[tuple[type, str], ...] = (
        (bool, "a boolean"),
        (str, "a string"),
        (list, "an array"),
        (dict, "an object"),
    )
    return next((name for kind, name in names if isinstance(found, kind)), "of another kind")


def _problem(meter: Meter, event: Event, code: str, detail: str, remedy: str) -> EventProblem:
    return EventProblem(
        event.index, code, f"data{meter.value}", f"meter {shown(meter.name)} cannot use it: {detail}", remedy
    )
