# SPDX-License-Identifier: Apache-2.0
"""Points in time as microseconds since 1970-01-01T00:00:00Z, and days as whole UTC days since then.

Usage is billed by UTC day and month. Local time zones, lenient date parsers and floats each move an event
near midnight into another month; integers and one strict grammar (RFC 3339, section 5.6) do not.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

MICROSECONDS_PER_SECOND = 1_000_000
MICROSECONDS_PER_DAY = 86_400 * MICROSECONDS_PER_SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_LONGEST = 64

# RFC 3339, section 5.6. [0-9] and \Z on purpose: \d also takes other scripts' digits, and $ a trailing
# newline.
_DATE_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))\Z"
)
_FULL_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})\Z")

ZONED_EXAMPLE = "2026-11-24T09:30:00Z"


class TimestampError(Exception):
    """The text is not a time that can be counted; `code` and `detail` say why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def parse_time(text: str) -> int:
    """Read an RFC 3339 time with its zone, in microseconds since the epoch; finer digits are cut off.

    Raises TimestampError: not that grammar, no such date, a leap second (`:60`, which no UTC day bucket has a
    microsecond for), or before 1970.
    """
    match = _DATE_TIME.match(text) if len(text) <= _LONGEST else None
    if match is None:
        raise TimestampError("invalid_time", "it is not an RFC 3339 time with a zone")
    year, month, day, hour, minute, second, fraction, zulu, sign, zone_hours, zone_minutes = match.groups()
    if second == "60":
        raise TimestampError(
            "leap_second", "it is a leap second (:60), which no day of 86,400 seconds has room for"
        )
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError:
        raise TimestampError("invalid_time", "there is no such date or time of day") from None
    since_epoch = moment - _EPOCH
    seconds = since_epoch.days * 86_400 + since_epoch.seconds
    if not zulu:
        if int(zone_hours) > 23 or int(zone_minutes) > 59:
            raise TimestampError("invalid_time", "there is no such zone offset")
        offset = int(zone_hours) * 3600 + int(zone_minutes) * 60
        seconds += offset if sign == "-" else -offset
    if seconds < 0:
        raise TimestampError("time_before_1970", "it is before 1970-01-01T00:00:00Z")
    return seconds * MICROSECONDS_PER_SECOND + (int(fraction[:6].ljust(6, "0")) if fraction else 0)


def parse_date(text: str) -> date:
    """Read `YYYY-MM-DD` as a UTC day, from 1970 on. Raises TimestampError."""
    match = _FULL_DATE.match(text)
    if match is None:
        raise TimestampError("invalid_date", "it is not a date")
    try:
        found = date(*(int(part) for part in match.groups()))
    except ValueError:
        raise TimestampError("invalid_date", "there is no such date") from None
    if found.year < 1970:
        raise TimestampError("date_before_1970", "it is before 1970-01-01")
    return found


def day_number(day: date) -> int:
    """Give a UTC day as the number of days since 1970-01-01."""
    return day.toordinal() - _EPOCH_ORDINAL


def day_of_number(number: int) -> date:
    """Give the UTC day that is `number` days after 1970-01-01."""
    return date.fromordinal(number + _EPOCH_ORDINAL)


def day_at(now: float) -> date:
    """Give the UTC day that holds `now` (seconds since the epoch)."""
    return day_of_number(int(now // 86_400))


def month_start(day: date) -> date:
    """Give the first day of the month of `day`."""
    return day.replace(day=1)


def next_month(day: date) -> date:
    """Give the first day of the month after that of `day`."""
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)


def moment(seconds: int) -> str:
    """Give a point in time, in seconds since the epoch, in RFC 3339."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(microseconds: int) -> str:
    """Give a point in time, in microseconds since the epoch, in RFC 3339 with all its digits."""
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat().replace("+00:00", "Z")


def midnight(day: date) -> str:
    """Give the start of a UTC day in RFC 3339, as the read model writes it."""
    return f"{day.isoformat()}T00:00:00Z"
