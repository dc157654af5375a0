# SPDX-License-Identifier: Apache-2.0
"""A stored event next to one that arrives with its key, and what both mean for the sender. For every store.

The first event of a key stands, and a key is an account's own: were it not, one tenant could store the ids
that another will use. The sender of a second one is told what differs: a reused id is a lost event otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from watchword.usage.events import Event
from watchword.usage.problems import EventProblem, shown
from watchword.usage.rollups import MeterSet
from watchword.usage.store import MetersChangedError, Outcome, StoreRefusedError
from watchword.usage.strict_json import read_trusted
from watchword.usage.times import MICROSECONDS_PER_DAY, day_of_number, instant

Kept = tuple[str, str, int, str | None, str | None, str | None]
"""Of a stored event: type, account, time, data, data_base64, extensions."""

Key = tuple[str, str, str]
"""Account, source and id: what one account stores is no other account's business."""

DIGEST_BYTES: Final = 20
MAX_DIFFERENCES: Final = 1000
EVENTS_FROM: Final = "events_from"
METERS: Final = "meters"
AHEAD: Final = "ahead"
ARRIVALS_FROM: Final = "arrivals_from"
"""What a store remembers of itself: the first day whose events are kept, the digest of its meters, by how
many days an event's day was ever after the day on which it came, and since which day it tells on which day
events came (0 where it always did).
"""

WINDOW_DAYS: Final = 7
"""For how many days after its event came an id is known whatever time it is sent with again, at least. With
the event's own time, or without one, it is known for as long as the event is kept.
"""

CLOCKS_DIFFER_DAYS: Final = 1


def duplicate(event: Event, kept: Kept) -> Outcome:
    """Answer for an event whose key is taken by `kept`."""
    kind, _, when, data, data_base64, extensions = kept
    same = {
        "type": kind == event.type,
        # A time that was taken from the receipt is another one at each replay.
        "time": when == event.time or not event.time_given,
        "data": data_base64 == event.data_base64 and _same_json(data, event.data_text),
        "extensions": _attributes(extensions) == _attributes(event.extensions),
    }
    return Outcome(event.index, "duplicate", differs=tuple(name for name, equal in same.items() if not equal))


class Batch:
    """A batch for a store that takes it all at once: who is first of a key in it, and what each one gets.

    `keys_of_events`: each event's key in the store's own form, where it has one. `first`: by key, the place
    of the first event that has no problem. `keys`: all that are in it.
    """

    def __init__(
        self,
        events: Sequence[Event],
        problems: Sequence[EventProblem | None],
        keys_of_events: Sequence[Any] | None = None,
    ) -> None:
        self._events, self._problems = events, problems
        self._keys: Sequence[Any] = list(map(key_of, events)) if keys_of_events is None else keys_of_events
        self.first: dict[Any, int] = {}
        for place, (key, problem) in enumerate(zip(self._keys, problems, strict=True)):
            if problem is None:
                self.first.setdefault(key, place)
        self.keys = set(self._keys)

    def outcomes(self, stored: AbstractSet[int], existing: Mapping[Any, Kept]) -> list[Outcome]:
        """Answer for each event, given the places that were stored and what stood for the other keys."""
        if len(stored) == len(self._events):
            return [Outcome(event.index, "stored") for event in self._events]
        return [self._outcome(place, stored, existing) for place in range(len(self._events))]

    def _outcome(self, place: int, stored: AbstractSet[int], existing: Mapping[Any, Kept]) -> Outcome:
        event, problem = self._events[place], self._problems[place]
        key = self._keys[place]
        first = self.first.get(key)
        if first == place and place in stored:
            return Outcome(event.index, "stored")
        kept = existing.get(key)
        if kept is None and first is not None and first in stored and first < place:
            kept = kept_of(self._events[first])
        if kept is None:
            # An event that was stored under earlier meters and is sent again is a duplicate, not "refused":
            # it is not lost. This one was not.
            return Outcome(event.index, "refused", problem=problem)
        return duplicate(event, kept)


def key_of(event: Event) -> Key:
    """Give what an event is known by."""
    return (event.account, event.source, event.id)


def first_arrival(event: Event, ahead: int) -> int:
    """Give the first day on which this very event may have come before, in days since 1970-01-01.

    An event comes on its day or later, or earlier by at most `ahead` days; so a replay with its time needs no
    look at what came before that. Of an event without a time the time says nothing: 0.
    """
    return event.day - max(ahead, CLOCKS_DIFFER_DAYS) if event.time_given else 0


def by_first_day(
    events: Sequence[Event], ahead: int, looked_at_from: Callable[[int], int]
) -> dict[int, list[int]]:
    """Give the places of events by the first day that is looked at for them: `looked_at_from` gives it for
    the first day on which an event may have come.
    """
    days: dict[int, list[int]] = {}
    # Events of a batch have few days, which few look back from.
    known: dict[int | None, list[int]] = {}
    for place, event in enumerate(events):
        own = event.time // MICROSECONDS_PER_DAY if event.time_given else None
        places = known.get(own)
        if places is None:
            day = looked_at_from(first_arrival(event, ahead))
            places = known[own] = days.setdefault(day, [])
        places.append(place)
    return days


def most_ahead(events: Sequence[Event], today: int, ahead: int) -> int:
    """Give the most days that an event is ahead of the day on which it comes, these and all before."""
    return max([ahead, *(event.day - today for event in events)])


def digest_of(*parts: str) -> bytes:
    """Digest texts so that no two lists of them meet: each goes in with its length before it."""
    return _digest(b"".join(map(_framed, parts)))


def digests_of(events: Sequence[Event]) -> list[bytes]:
    """Give `digest_of` the source and the id of each event; a batch has few sources and many ids."""
    sources = _each_framed(event.source for event in events)
    return [_digest(sources[event.source] + _framed(event.id)) for event in events]


def digests_of_keys(events: Sequence[Event]) -> list[bytes]:
    """Give `digest_of` the key of each event: its account, source and id."""
    accounts = _each_framed(event.account for event in events)
    sources = _each_framed(event.source for event in events)
    return [_digest(accounts[event.account] + sources[event.source] + _framed(event.id)) for event in events]


def _each_framed(texts: Iterable[str]) -> dict[str, bytes]:
    return {text: _framed(text) for text in set(texts)}


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


def _framed(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(4, "big") + raw


def event_of_row(row: Sequence[Any]) -> Event:
    """Make an event of what counts of it: source, id, type, account, time, data, data_base64."""
    source, identifier, kind, account, when, data, binary = row
    try:
        value = None if data is None else read_trusted(data)
    except (ValueError, RecursionError):
        # Only JSON is ever stored: someone or something else wrote it.
        raise StoreRefusedError(
            f"the stored event {shown(identifier)} of source {shown(source)} and account {shown(account)} "
            "has data that is no JSON, so that nothing can be counted again",
            "restore the store from a backup, or delete that event in it and import it again",
        ) from None
    return Event(0, identifier, source, kind, account, when, data=value, data_text=data, data_base64=binary)


def row_of(event: Event) -> tuple[str | int | None, ...]:
    """Give an event as a row: source, id and what is kept next to them."""
    return (event.source, event.id, *kept_of(event))


def require_in_force(digest: str | None, counted: MeterSet) -> None:
    """Raise MetersChangedError when the store's amounts are kept by other meters than these."""
    if digest != counted.digest:
        raise MetersChangedError(
            "the store keeps its rollups by other meters than these",
            "put the newer meters in force (use_meters), or try again once this gate has them",
        )


def kept_of(event: Event) -> Kept:
    """Give what a store keeps of an event next to its key."""
    return (event.type, event.account, event.time, event.data_text, event.data_base64, event.extensions)


def past_keeping(event: Event, events_from: int) -> EventProblem | None:
    """Say that an event's day is no longer kept, or None: with those gone, a replay looks like a new one."""
    if event.day >= events_from:
        return None
    first = day_of_number(events_from).isoformat()
    return EventProblem(
        event.index,
        "event_too_late",
        "time",
        f"{instant(event.time)} is before {first}, and events of such days are no longer kept",
        "send events within their time: a replay of this one could not be told, so it counts nowhere. "
        f"The first day that is open is {first}",
    )


def _attributes(extensions: str | None) -> dict[str, object]:
    found: dict[str, object] = {} if extensions is None else dict(json.loads(extensions))
    # Binary mode says it of every event and the JSON format of none; only JSON is ever taken.
    found.pop("datacontenttype", None)
    return found


def _same_json(one: str | None, other: str | None) -> bool:
    if one is None or other is None or one == other:
        return one == other
    return read_trusted(one) == read_trusted(other)
