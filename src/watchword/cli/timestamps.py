# SPDX-License-Identifier: Apache-2.0
"""Timestamps as people write and read them: RFC 3339, or seconds since the epoch.

A time without a zone is refused: a token judged an hour off is a wrong answer that looks right.
"""

import datetime

import click


class TimestampType(click.ParamType[float]):
    """RFC 3339 with a zone, or seconds since the epoch."""

    name = "timestamp"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse the text into seconds since the epoch; fails with what would be right."""
        if isinstance(value, int | float):
            return float(value)
        text = str(value)
        if text.isascii() and text.isdigit() and len(text) <= 11:
            return float(text)
        try:
            parsed = datetime.datetime.fromisoformat(text)
        except ValueError:
            parsed = None
        if parsed is None or parsed.tzinfo is None:
            self.fail(
                f"'{text}' is not a timestamp; say 2026-11-24T12:00:00Z, or seconds since the epoch.",
                param,
                ctx,
            )
        return parsed.timestamp()


TIMESTAMP = TimestampType()


def shown_timestamp(seconds: float | None, now: float) -> str:
    """A time as RFC 3339 in UTC, and how far it is from `now` (seconds since the epoch)."""
    if seconds is None:
        return "absent"
    try:
        parsed = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} (beyond any calendar)"
    away = seconds - now
    distance = f"in {away:.0f} s" if away >= 0 else f"{-away:.0f} s ago"
    return f"{parsed:%Y-%m-%dT%H:%M:%SZ} ({distance})"
