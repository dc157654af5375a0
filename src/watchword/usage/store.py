# SPDX-License-Identifier: Apache-2.0
"""What every usage store promises, whatever engine is behind it: never counted twice, never lost once stored.

The gate knows only this protocol, and one suite of contract tests holds each engine to it. What an engine
cannot do becomes an exception that says so; a store never answers with less than it was asked to keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal, Protocol

import msgspec

from watchword.usage.events import Event
from watchword.usage.meters import Meter
from watchword.usage.problems import EventProblem
from watchword.usage.read_model import UsageAnswer, UsageQuery


class StoreError(Exception):
    """A store could not do what it was asked to; nothing was changed. `detail` and `remedy` are for the
    operator.
    """

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(f"{detail}; {remedy}")
        self.detail = detail
        self.remedy = remedy


class StoreRefusedError(StoreError):
    """The store cannot be opened as it is configured: trying again does not help."""


class StoreMissingError(StoreRefusedError):
    """There is no store where the DSN says, and none was to be made."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"there is no usage store at {place}",
            "see to the DSN; a gate makes its store when it starts, and `watchword usage import` makes one",
        )


class StoreUnavailableError(StoreError):
    """The engine is busy, full or away: the same call may succeed later. The sender should send its events
    again.

    When the answer to a commit was lost, the events may have been stored all the same; sending them again is
    safe. `is_away`: the engine could not be reached at all, so that asking again at once is of no use.
    """

    def __init__(self, detail: str, remedy: str, *, is_away: bool = False) -> None:
        super().__init__(detail, remedy)
        self.is_away = is_away


class MetersChangedError(StoreError):
    """The meters passed in are not those that the store's rollups are kept by: another gate changed them.

    The gate that has the newer meters calls `use_meters`; the one with the older answers "try again" until it
    has the newer ones too.
    """


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one event of a batch.

    `stored`: it is durable and counted. `duplicate`: an event of its account with its `source` and `id` was
    there already and stands as it was; `differs` then names what is different in this one (`type`, `time`,
    `data`, `extensions`), and is empty for a true replay. `refused`: `problem` says why; the others of the
    batch stand.
    """

    index: int
    status: Literal["stored", "duplicate", "refused"]
    differs: tuple[str, ...] = ()
    problem: EventProblem | None = None


class Rebuilt(msgspec.Struct, frozen=True):
    """What a change of meters did: which were recomputed or dropped, and from how many events.

    `unusable` counts, by meter, the stored events of its type that hold no value for it: they were accepted
    before the meter was there, and it does not count them.
    """

    recomputed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    events: int = 0
    unusable: Mapping[str, int] = {}


class Expired(msgspec.Struct, frozen=True):
    """What was given up because its time was over: events, and amounts of meters."""

    events: int = 0
    amounts: int = 0


class MeterState(msgspec.Struct, frozen=True):
    """A meter that a store keeps amounts by.

    `since`: when this definition came into force, in microseconds since the epoch. `first_day`: the first day
    (days since 1970-01-01) that it has whole amounts for; 0 when nothing was ever given up.
    """

    meter: Meter
    since: int
    first_day: int


class Difference(msgspec.Struct, frozen=True):
    """One place where what is stored is not what the events say. `day` and `meter` are None for a missing
    account.
    """

    account: str
    day: date | None
    meter: str | None
    stored: str | None
    expected: str | None
    group: str | None = None


class UsageStore(Protocol):
    """Keeps events and their rollups.

    At most `threads` threads at a time may use a store, not necessarily the one that opened it; any number of
    stores, in any number of processes, may be open on the same data. Methods block: call them from a worker
    thread.
    """

    threads: int

    def identity(self) -> str:
        """Tell which store this is, in words without secrets; no two stores have the same.

        What was noted of one store (how far an import came, a cursor) must not be taken for another's, though
        that one may be at the same place by now. Raises StoreUnavailableError.
        """
        ...

    def ingest(self, events: Sequence[Event], meters: Sequence[Meter]) -> list[Outcome]:
        """Store a batch in one transaction that is durable when this returns, and answer for each event in
        order.

        An event is known by its account, `source` and `id`, for as long as it is kept. A store may tell an id
        that comes with another time than its event's for WINDOW_DAYS only, counted from when that came; it is
        another event then. Events that no meter counts are stored too: a later meter can. `meters` must be
        those in force (`use_meters`); a store that never had any takes these. Events of days that are no
        longer kept are refused: a replay could not be told from them.

        Raises MetersChangedError or StoreUnavailableError, and then has stored nothing of the batch;
        ValueError when two meters share a name.
        """
        ...

    def read(self, query: UsageQuery) -> UsageAnswer | None:
        """Answer a query from the rollups in one consistent view; None when no event of the account was ever
        stored.

        Raises StoreUnavailableError.
        """
        ...

    def read_many(self, query: UsageQuery, accounts: Sequence[str]) -> dict[str, UsageAnswer]:
        """Answer one query for several accounts in one consistent view; accounts never heard of are absent.

        `query.account` is not looked at. Raises StoreUnavailableError.
        """
        ...

    def accounts_after(self, account: str, limit: int) -> list[str]:
        """Give up to `limit` known accounts whose names come after `account`, by the bytes of their UTF-8."""
        ...

    def meters(self) -> list[MeterState]:
        """Give the meters in force, by name. Raises StoreUnavailableError."""
        ...

    def events_after(self, cursor: str, limit: int) -> tuple[list[Event], str]:
        """Give up to `limit` stored events and the cursor that goes on after them; "" begins and ends.

        The order is the store's own, and stable. `data` is not parsed, `data_text` has it. Raises
        StoreUnavailableError; ValueError when the cursor is none of this store's.
        """
        ...

    def expire(self, events_before: date | None, amounts_before: Mapping[str, date]) -> Expired:
        """Give up events of days before a date, and amounts of meters (by name) before others.

        Amounts outlive their events. What was given up stays given up: dates that go back change nothing.
        Raises StoreUnavailableError.
        """
        ...

    def use_meters(self, meters: Sequence[Meter]) -> Rebuilt:
        """Put these meters in force: recompute new and changed ones from the events, drop the others'
        rollups.

        Days whose events are no longer kept cannot be recomputed: see `MeterState.first_day`. Cheap when
        nothing changed. Raises StoreUnavailableError; ValueError when two meters share a name.
        """
        ...

    def rebuild(self, meters: Sequence[Meter]) -> Rebuilt:
        """Put these meters in force and recompute all their rollups from the events, changed or not.

        Amounts of unchanged meters on days whose events are no longer kept stay as they are. Raises as
        `use_meters` does.
        """
        ...

    def check(self, meters: Sequence[Meter]) -> list[Difference]:
        """Recompute everything from the events aside, and name up to 1000 differences to what is stored.

        Days whose events or amounts are no longer kept are not compared. Changes nothing. Raises as
        `use_meters` does.
        """
        ...

    def close(self) -> None:
        """Give up the connection. May be called twice."""
        ...
