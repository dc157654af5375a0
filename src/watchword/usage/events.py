# SPDX-License-Identifier: Apache-2.0
"""One usage event: CloudEvents 1.0 attributes checked strictly, its `subject` read as the account.

The account is compared by its whole name everywhere, so it is taken as it stands or refused, never trimmed or
folded. What CloudEvents lets a receiver ignore (odd names, odd types) is refused here: a misspelled `subject`
that is quietly dropped is usage that no one is billed for.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

import msgspec

from watchword.usage.media_types import is_json_media_type
from watchword.usage.problems import EventProblem, named, shown
from watchword.usage.times import (
    MICROSECONDS_PER_DAY,
    MICROSECONDS_PER_SECOND,
    ZONED_EXAMPLE,
    TimestampError,
    parse_time,
)

MAX_ID_CHARACTERS: Final = 256
MAX_SOURCE_CHARACTERS: Final = 1024
MAX_TYPE_CHARACTERS: Final = 253
MAX_ACCOUNT_CHARACTERS: Final = 253
MAX_ATTRIBUTE_NAME_CHARACTERS: Final = 64
FUTURE_SKEW_SECONDS: Final = 300.0

# CloudEvents 1.0.2, section "Type System": a String has no control characters, surrogates or noncharacters.
_NOT_IN_STRINGS = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane * 0x10000 + 0xFFFE) + chr(plane * 0x10000 + 0xFFFF) for plane in range(17))
    + "]"
)
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+\Z")
_ATTRIBUTE_NAME = re.compile(r"[a-z0-9]+\Z")

_INTEGER_BOUND = 2**31


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event that can be stored.

    `index`: its position in the batch. `time`: microseconds since the epoch; `time_given` is False when the
    sender left it to the time of receipt. `data`: the parsed data with exact decimals, meaningful when
    `data_text` (the same as JSON text) is not None. `data_base64`: binary data as it came. `extensions`: JSON
    text of an object with all other attributes, None when there are none.
    """

    index: int
    id: str
    source: str
    type: str
    account: str
    time: int
    time_given: bool = True
    data: object = None
    data_text: str | None = None
    data_base64: str | None = None
    extensions: str | None = None

    @property
    def day(self) -> int:
        """The UTC day that the event counts for, in days since 1970-01-01."""
        return self.time // MICROSECONDS_PER_DAY


class Receipt(msgspec.Struct, frozen=True):
    """When a message came (seconds since the epoch), and how far its events may be from then."""

    now: float
    future_skew_seconds: float = FUTURE_SKEW_SECONDS
    late_days: int | None = None


class EventRefusedError(Exception):
    """Carries the problem of one event out of the checks; does not leave this package."""

    def __init__(self, code: str, field: str, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.code = code
        self.field = field
        self.detail = detail
        self.remedy = remedy

    def problem(self, index: int) -> EventProblem:
        """Give the problem as a value, for the event at `index`."""
        return EventProblem(index, self.code, self.field, self.detail, self.remedy)


def account_flaw(account: str) -> str | None:
    """Say why a text cannot be an account's name, or None when it can."""
    if not account:
        return "it is empty"
    if len(account) > MAX_ACCOUNT_CHARACTERS:
        return f"it has {len(account)} characters"
    if _NOT_IN_STRINGS.search(account):
        return "it has a control character, a surrogate or a noncharacter"
    return None


ACCOUNT_REMEDY: Final = (
    f"use the account's whole name: 1 to {MAX_ACCOUNT_CHARACTERS} characters, no control characters"
)


def event_of(
    index: int,
    attributes: dict[str, object],
    *,
    data: object,
    data_text: str | None,
    data_base64: str | None,
    receipt: Receipt,
) -> Event:
    """Check the context attributes (CloudEvents 1.0.2, "Context Attributes") and build the event.

    Raises EventRefusedError.
    """
    present = {name: value for name, value in attributes.items() if value is not None}
    for name in present:
        if not _ATTRIBUTE_NAME.match(name) or len(name) > MAX_ATTRIBUTE_NAME_CHARACTERS:
            raise EventRefusedError(
                "invalid_attribute_name",
                named(name),
                "attribute names have lower-case letters and digits only",
                f"rename it to 1 to {MAX_ATTRIBUTE_NAME_CHARACTERS} of a-z and 0-9, or move it into `data`",
            )
    version = _text(present, "specversion", 16)
    if version != "1.0":
        raise EventRefusedError(
            "unsupported_specversion", "specversion", f"it is {shown(version)}", 'send specversion "1.0"'
        )
    identifier = _text(present, "id", MAX_ID_CHARACTERS)
    source = _text(present, "source", MAX_SOURCE_CHARACTERS)
    if not _URI_REFERENCE.match(source):
        raise EventRefusedError(
            "invalid_source",
            "source",
            f"{shown(source)} is not a URI reference (RFC 3986)",
            "send a URI or a path, other characters percent-encoded",
        )
    event_type = _text(present, "type", MAX_TYPE_CHARACTERS)
    account = _account(present)
    time, time_given = _time(present, receipt)
    _check_data_type(present)
    return Event(
        index,
        identifier,
        source,
        event_type,
        account,
        time,
        time_given,
        data,
        data_text,
        data_base64,
        _extensions(present),
    )


def _text(present: dict[str, object], name: str, longest: int) -> str:
    value = present.get(name)
    if value is None:
        raise EventRefusedError(
            "missing_attribute", name, "it is required", f"send `{name}` as a non-empty string"
        )
    if not isinstance(value, str):
        raise EventRefusedError("not_a_string", name, "it is not a string", f"send `{name}` as a string")
    if not value:
        raise EventRefusedError(
            "empty_attribute", name, "it is empty", f"send `{name}` as a non-empty string"
        )
    if len(value) > longest:
        raise EventRefusedError(
            "attribute_too_long",
            name,
            f"it has {len(value)} characters",
            f"send at most {longest} characters",
        )
    if _NOT_IN_STRINGS.search(value):
        raise EventRefusedError(
            "invalid_characters",
            name,
            "it has a control character, a surrogate or a noncharacter",
            "send printable text",
        )
    return value


def _account(present: dict[str, object]) -> str:
    account = present.get("subject")
    if account is None:
        raise EventRefusedError(
            "missing_attribute",
            "subject",
            "it is required: usage belongs to an account",
            "send the account's whole name as `subject`",
        )
    if not isinstance(account, str):
        raise EventRefusedError("not_a_string", "subject", "it is not a string", ACCOUNT_REMEDY)
    flaw = account_flaw(account)
    if flaw is not None:
        raise EventRefusedError("invalid_account", "subject", flaw, ACCOUNT_REMEDY)
    return account


def _time(present: dict[str, object], receipt: Receipt) -> tuple[int, bool]:
    now = receipt.now
    text = present.get("time")
    if text is None:
        return int(now * MICROSECONDS_PER_SECOND), False
    remedy = (
        f"send RFC 3339 with a zone, for example {ZONED_EXAMPLE}, or leave it out for the time of receipt"
    )
    if not isinstance(text, str):
        raise EventRefusedError("invalid_time", "time", "it is not a string", remedy)
    try:
        time = parse_time(text)
    except TimestampError as problem:
        if problem.code == "leap_second":
            remedy = "send second 59 of that minute or second 0 of the next one"
        raise EventRefusedError(problem.code, "time", f"{shown(text)}: {problem.detail}", remedy) from None
    ahead = time / MICROSECONDS_PER_SECOND - now
    if ahead > receipt.future_skew_seconds:
        raise EventRefusedError(
            "event_from_the_future",
            "time",
            f"it is {ahead:.0f} seconds ahead of this clock; {receipt.future_skew_seconds:.0f} are allowed",
            "synchronize the sender's clock, and send what has happened",
        )
    days_ago = int(now // 86_400) - time // MICROSECONDS_PER_DAY
    if receipt.late_days is not None and days_ago > receipt.late_days:
        raise EventRefusedError(
            "event_too_late",
            "time",
            f"it is {days_ago} days ago; {receipt.late_days} are allowed",
            "send events within that time; this one counts nowhere",
        )
    return time, True


def _check_data_type(present: dict[str, object]) -> None:
    declared = present.get("datacontenttype")
    if declared is None:
        return
    if isinstance(declared, str) and is_json_media_type(declared):
        return
    raise EventRefusedError(
        "unsupported_data_type",
        "datacontenttype",
        f"{shown(declared)} is not JSON in UTF-8",
        "send the data as application/json, or leave datacontenttype out",
    )


def _extensions(present: dict[str, object]) -> str | None:
    kept: dict[str, str | int | bool] = {}
    for name, value in present.items():
        if name in ("specversion", "id", "source", "type", "subject", "time"):
            continue
        if isinstance(value, str):
            if _NOT_IN_STRINGS.search(value):
                raise EventRefusedError(
                    "invalid_characters",
                    name,
                    "it has a character that CloudEvents forbids",
                    "send plain text",
                )
            kept[name] = value
        elif isinstance(value, bool):
            kept[name] = value
        elif isinstance(value, Decimal) and -_INTEGER_BOUND <= value < _INTEGER_BOUND and value == int(value):
            kept[name] = int(value)
        else:
            raise EventRefusedError(
                "invalid_attribute_value",
                name,
                "an attribute is a string, a boolean or a 32-bit integer",
                "send one of those, or move it into `data`",
            )
    return msgspec.json.encode(kept).decode() if kept else None
