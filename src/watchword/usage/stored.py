# SPDX-License-Identifier: Apache-2.0
"""A stored event beside one that arrives with its key, and what both mean for the sender. For every store.

The first event of a key stands. Whoever sends another one is told what differs: a reused id is a lost event
otherwise.
"""

from __future__ import annotations

from typing import Final

from watchword.usage.events import Event
from watchword.usage.problems import EventProblem
from watchword.usage.store import Outcome
from watchword.usage.strictjson import read_trusted
from watchword.usage.times import day_of_number

Kept = tuple[str, str, int, str | None, str | None, str | None]
"""Of a stored event: type, account, time, data, data_base64, extensions."""

MAX_DIFFERENCES: Final = 1000
EVENTS_FROM: Final = "events_from"
METERS: Final = "meters"
"""What a store remembers of itself: the first day whose events are kept, the digest of its meters."""


def duplicate(event: Event, kept: Kept) -> Outcome:
    """Answer for an event whose key is taken by `kept`."""
    kind, account, when, data, data_base64, extensions = kept
    same = {
        "type": kind == event.type,
        "subject": account == event.account,
        # A time that was taken from the receipt is another one at each replay.
        "time": when == event.time or not event.time_given,
        "data": data_base64 == event.data_base64 and _same_json(data, event.data_text),
        "extensions": _same_json(extensions, event.extensions),
    }
    return Outcome(event.index, "duplicate", differs=tuple(name for name, equal in same.items() if not equal))


def past_keeping(event: Event, events_from: int) -> EventProblem | None:
    """Say that an event's day is no longer kept, or None: with those gone, a replay looks like a new one."""
    if event.day >= events_from:
        return None
    first = day_of_number(events_from).isoformat()
    return EventProblem(
        event.index,
        "event_too_late",
        "time",
        f"events before {first} are no longer kept, so that a replay could not be told",
        f"send events within their time; this one counts nowhere. The first day that is open is {first}",
    )


def _same_json(one: str | None, other: str | None) -> bool:
    if one is None or other is None or one == other:
        return one == other
    return read_trusted(one) == read_trusted(other)
