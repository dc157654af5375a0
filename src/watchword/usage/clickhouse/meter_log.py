# SPDX-License-Identifier: Apache-2.0
"""Which meters are in force in ClickHouse, told by a log of changes: announced, counted back, then ready.

A writer looks at this log after its events are in theirs; the process that changes the meters looks at the
events after the change is announced. So each event is seen by one of the two; where both see it they write
the same rows. A meter that is changed gets another name for its amounts, so that no old one is ever mixed in.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from watchword.usage.clickhouse.sessions import Sessions
from watchword.usage.deduplication import EVENTS_FROM
from watchword.usage.meters import Meter
from watchword.usage.rollups import MeterSet, meter_of_definition
from watchword.usage.store import MeterState

CHANGED: Final = "changed"


class Entry(msgspec.Struct, frozen=True):
    """A meter of a change. `place` names its amounts; `counted_from` is the first day that it was whole for;
    `since` is when it came into force, in microseconds since the epoch.
    """

    definition: str
    place: str
    counted_from: int
    since: int


class Change(msgspec.Struct, frozen=True):
    """The meters from some point on."""

    change: uuid.UUID
    digest: str
    entries: tuple[Entry, ...]

    def by_name(self) -> dict[str, tuple[Meter, Entry]]:
        """Give the meters with their entries, by name."""
        return {meter.name: (meter, entry) for entry in self.entries for meter in [_meter(entry.definition)]}


class MeterView(msgspec.Struct, frozen=True):
    """What one look at the log gave: the newest change, the newest that is ready, and the marks."""

    announced: Change | None
    ready: Change | None
    marks: Mapping[str, int]

    @property
    def events_from(self) -> int:
        """The first day whose events are kept."""
        return self.marks.get(EVENTS_FROM, 0)

    @property
    def has_distinct(self) -> bool:
        """Whether there are meters that distinct values must be counted for."""
        entries = self.ready.by_name() if self.ready is not None else {}
        return any(meter.aggregation == "unique_count" for meter, _ in entries.values())

    def first_day(self, entry: Entry) -> int:
        """The first day that a meter has whole amounts for."""
        return max(entry.counted_from, self.marks.get(kept_mark(entry), 0))

    def states(self) -> list[MeterState]:
        """The meters that answers are made of."""
        entries = self.ready.by_name() if self.ready is not None else {}
        return [
            MeterState(meter, entry.since, self.first_day(entry))
            for _, (meter, entry) in sorted(entries.items())
        ]

    def counting(self) -> dict[str, list[tuple[Meter, str]]]:
        """What a batch counts for, by the meter's definition: the meter under its place, and its place.

        While a change is not ready, both its meters and those before it are counted.
        """
        found: dict[str, dict[str, Meter]] = {}
        for change in (self.ready, self.announced):
            for entry in change.entries if change is not None else ():
                meter = msgspec.structs.replace(_meter(entry.definition), name=entry.place)
                found.setdefault(entry.definition, {})[entry.place] = meter
        return {text: [(m, place) for place, m in places.items()] for text, places in found.items()}


def kept_mark(entry: Entry) -> str:
    """The name of the mark that says from which day on a meter's amounts are kept."""
    return f"kept:{entry.place}"


class MeterLog:
    """The changes of one store."""

    def __init__(self, sessions: Sessions) -> None:
        """Take the store's connections."""
        self._sessions = sessions
        self._seen: tuple[int, MeterView] | None = None

    def forget(self) -> None:
        """Read the log again the next time: its number of marks may be that of another one."""
        self._seen = None

    def look(self) -> MeterView:
        """Give the log and the marks as they are, read again where anything was added."""
        ((version,),) = self._sessions.rows("version")
        return self.at(int(version))

    def at(self, version: int) -> MeterView:
        """Give the log and the marks of a version, or newer ones. A version is the number of marks so far."""
        seen = self._seen
        if seen is not None and seen[0] == version:
            return seen[1]
        # Asked for after its version: what comes in between is in it, and read once more the next time.
        view = self._read()
        self._seen = (version, view)
        return view

    def _read(self) -> MeterView:
        rows = self._sessions.rows("look")
        changes = sorted((row for row in rows if row[0]), key=lambda row: int(row[4]))
        return view_of(
            (row[:4] for row in changes), ((name, value) for change, name, _, value, _ in rows if not change)
        )

    def announce(self, change: Change) -> None:
        """Say that batches count for these meters from now on."""
        self._write(change, ready=False)

    def make_ready(self, change: Change) -> None:
        """Say that all earlier events are counted for them too: answers may be made of them."""
        self._write(change, ready=True)

    def mark(self, name: str, value: int) -> None:
        """Raise a number that only grows."""
        self._sessions.insert_rows("mark", [(name, value)])

    def _write(self, change: Change, *, ready: bool) -> None:
        entries = msgspec.json.encode(change.entries).decode()
        self._sessions.insert_rows("meter_change", [(change.change, change.digest, entries, int(ready))])
        # Every addition is seen by the number of marks. Before this one is there, no one relies on the
        # change.
        self.mark(CHANGED, int(ready))


def new_change(wanted: MeterSet, view: MeterView, now: int, *, everything: bool) -> Change:
    """Make the change to these meters; those that stay as they are keep their entries."""
    known = {entry.definition: entry for entry in (view.announced.entries if view.announced else ())}
    entries = []
    for _, text in sorted(wanted.definitions.items()):
        old = known.get(text)
        if old is None:
            entries.append(Entry(text, _new_place(text), view.events_from, now))
        elif everything:
            # Counted again under another place; how far back it is whole stays as it was.
            entries.append(Entry(text, _new_place(text), old.counted_from, old.since))
        else:
            entries.append(old)
    return Change(uuid.uuid4(), wanted.digest, tuple(entries))


def view_of(changes: Iterable[Sequence[object]], marks: Iterable[Sequence[object]]) -> MeterView:
    """Make a view of rows: changes in their order (id, digest, meters, ready), marks (name, value)."""
    announced = ready = None
    for change, digest, text, is_ready in changes:
        read = _change(uuid.UUID(str(change)), str(digest), str(text))
        if is_ready:
            ready = read
        else:
            announced = read
    return MeterView(announced, ready, {str(name): int(str(value)) for name, value in marks})


@lru_cache(maxsize=64)
def _change(change: uuid.UUID, digest: str, text: str) -> Change:
    return Change(change, digest, tuple(msgspec.json.decode(text, type=list[Entry])))


@lru_cache(maxsize=512)
def _meter(definition: str) -> Meter:
    return meter_of_definition(definition)


def _new_place(definition: str) -> str:
    # The fold in the server tells maxima by this name.
    return f"{_meter(definition).aggregation}-{uuid.uuid4().hex}"
