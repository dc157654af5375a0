# SPDX-License-Identifier: Apache-2.0
"""The usage store on ClickHouse: events to the log, what they add next to them, amounts folded now and then.

A batch is said to be stored after its events and all that they add are on disk. Where a writer dies in
between, the writer that sends its events again, or counts past them, finishes what it began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Final

import msgspec

from watchword.usage.aggregation import spans_of
from watchword.usage.clickhouse import schema
from watchword.usage.clickhouse.answers import Answers
from watchword.usage.clickhouse.arrivals import NO_TIME, Found, beats, best
from watchword.usage.clickhouse.log import EventLog, Look
from watchword.usage.clickhouse.meter_changes import Changing
from watchword.usage.clickhouse.meter_log import MeterLog, MeterView, kept_mark
from watchword.usage.clickhouse.recount import Comparison, Recount
from watchword.usage.clickhouse.rollups import (
    FORGOTTEN,
    Cells,
    Measured,
    Sums,
    measure_all,
    only_places,
    under_places,
)
from watchword.usage.clickhouse.sessions import Sessions
from watchword.usage.deduplication import (
    EVENTS_FROM,
    MAX_DIFFERENCES,
    Batch,
    Kept,
    Key,
    digests_of_keys,
    key_of,
    past_keeping,
    require_in_force,
)
from watchword.usage.events import Event
from watchword.usage.meters import Meter
from watchword.usage.problems import EventProblem
from watchword.usage.read_model import UsageAnswer, UsageQuery
from watchword.usage.rollups import MeterSet, meter_set
from watchword.usage.store import (
    Difference,
    Expired,
    MeterState,
    Outcome,
    Rebuilt,
    StoreUnavailableError,
)
from watchword.usage.times import MICROSECONDS_PER_DAY, day_number

_TRIES: Final = 5


class ClickHouseStore:
    """A `UsageStore` in one database. See the protocol for what each method promises."""

    threads = 4

    def __init__(self, dsn: str, *, may_make: bool = True) -> None:
        """Read the DSN; the server is asked when the store is first used, so that it may come up later.

        Raises StoreRefusedError when the DSN cannot be read.
        """
        self._sessions = Sessions(dsn, may_make=may_make)
        self._meters = MeterLog(self._sessions)
        self._log = EventLog(self._sessions, self._meters)
        self._cells = Cells(self._sessions, self._log, self._meters)
        self._changing = Changing(self._sessions, self._log, self._cells, self._meters)
        self._pool = ThreadPoolExecutor(self.threads, "clickhouse-usage")
        # Whether a meter counted distinct values when last looked; a wrong guess costs one more question.
        self._has_distinct = False

    def identity(self) -> str:
        """Tell which store this is."""
        database = self._sessions.database
        ((number,),) = self._sessions.rows("identity", database=database)
        return f"the ClickHouse database {database} ({number})"

    def ingest(self, events: Sequence[Event], meters: Sequence[Meter]) -> list[Outcome]:
        """Store a batch as one block of the log; an outcome for each event, in order."""
        if not events:
            return []
        counted = meter_set(tuple(meters))
        digests = dict(zip(map(key_of, events), digests_of_keys(events), strict=True))
        days, times = _days_and_times(events, digests)
        # While the server looks, what the events add is counted: nearly always all of them are new.
        looking = self._pool.submit(self._log.look, days)
        problems, sums = _measure(events, counted)
        look = looking.result()
        view = look.view
        if view.announced is None:
            self._changing.change(counted, only_if_none=True)
            view = self._meters.look()
        require_in_force(view.announced.digest if view.announced is not None else None, counted)
        if view.events_from:
            problems = [
                past_keeping(event, view.events_from) or problem
                for event, problem in zip(events, problems, strict=True)
            ]
        batch = Batch(events, problems)
        known = self._known(digests, days, times, look)
        new = {digests[key]: events[place] for key, place in batch.first.items() if key not in known}
        stored: set[int] = set()
        if new:
            beaten = self._append(new, counted, sums if len(new) == len(events) else None, look)
            stored = {
                place
                for key, place in batch.first.items()
                if digests[key] in new and digests[key] not in beaten
            }
            known |= {key: beaten[digests[key]] for key in batch.first if digests[key] in beaten}
        existing: dict[Key, Kept] = {}
        if known:
            # "It is there already" may be said only of what counts already.
            self._cells.finish({found.block for found in known.values()}, look.view)
            kept = self._log.kept(known.values())
            existing = {key: kept[found.key] for key, found in known.items() if found.key in kept}
        return batch.outcomes(stored, existing)

    def read(self, query: UsageQuery) -> UsageAnswer | None:
        """Answer a query by one question; None for an unknown account."""
        return self.read_many(query, [query.account]).get(query.account)

    def read_many(self, query: UsageQuery, accounts: Sequence[str]) -> dict[str, UsageAnswer]:
        """Answer a query for several accounts by one question."""
        if not accounts:
            return {}
        spans = [span for place, span in enumerate(spans_of(query)) if not place or span[1] - span[0] > 1]
        parameters: dict[str, object] = {
            "accounts": list(accounts),
            "start": spans[0][0],
            "end": spans[0][1],
            "firsts": [first for first, _ in spans],
            "lasts": [last for _, last in spans],
        }
        asked_values = self._has_distinct
        while True:
            name = schema.read_name(
                values=asked_values, days=query.window == "day", groups=bool(query.group_by)
            )
            answers = Answers(self._sessions.rows(name, **parameters))
            view = self._meters.at(answers.version)
            self._has_distinct = view.has_distinct
            if asked_values or not view.has_distinct:
                # Who has amounts is known; whether the others are known is asked for those only.
                known = answers.accounts
                if others := [name for name in accounts if name not in known]:
                    known |= {name for (name,) in self._sessions.rows("accounts_known", accounts=others)}
                return answers.answers(query, [name for name in accounts if name in known], view)
            asked_values = True

    def accounts_after(self, account: str, limit: int) -> list[str]:
        """Give known accounts in order."""
        return [name for (name,) in self._sessions.rows("accounts_after", after=account, limit=limit)]

    def meters(self) -> list[MeterState]:
        """Give the meters in force."""
        return self._meters.look().states()

    def events_after(self, cursor: str, limit: int) -> tuple[list[Event], str]:
        """Give events by the digest of their key."""
        rows, more = self._log.after(cursor, limit)
        events = [
            Event(0, name, source, kind, account, when, True, None, data, binary, extensions)
            for _, source, name, kind, account, when, data, binary, extensions in rows
        ]
        return events, more

    def expire(self, events_before: date | None, amounts_before: Mapping[str, date]) -> Expired:
        """Give up what is past its time."""
        view = self._meters.look()
        first = max(view.events_from, 0 if events_before is None else day_number(events_before))
        if first > view.events_from:
            self._meters.mark(EVENTS_FROM, first)
        amounts = 0
        entries = view.ready.by_name() if view.ready is not None else {}
        for name, before in sorted(amounts_before.items()):
            if name in entries:
                _, entry = entries[name]
                day = day_number(before)
                self._meters.mark(kept_mark(entry), day)
                ((count,),) = self._sessions.rows("count_expiring", meter=entry.place, day=day)
                amounts += int(count)
                for table in ("cell", "distinct_value") if count else ():
                    self._sessions.do("expire", table, meter=entry.place, day=day)
        ((events,),) = self._sessions.rows("old_events", before=first * MICROSECONDS_PER_DAY)
        if events:
            self._sessions.do("delete_old_events", before=first * MICROSECONDS_PER_DAY)
        return Expired(int(events), amounts)

    def use_meters(self, meters: Sequence[Meter]) -> Rebuilt:
        """Put meters in force; count the earlier events for those that are new."""
        return self._changing.change(meter_set(tuple(meters)))

    def rebuild(self, meters: Sequence[Meter]) -> Rebuilt:
        """Put meters in force; count all events again for all of them."""
        rebuilt = self._changing.change(meter_set(tuple(meters)), everything=True)
        named = {name for (name,) in self._sessions.rows("accounts_of_amounts")}
        known = set(self.accounts_after("", 2**32 - 1))
        events = Recount(self._log, self._cells, (), self._log.last_block())
        founded = {account for account, _, _ in events.by_account({}, letting_in=False)}
        founded |= {name for name in named if self._cells.of_account(name, self._log.last_block())}
        if unfounded := sorted(known - founded):
            self._meters.mark(FORGOTTEN, self._meters.look().marks.get(FORGOTTEN, 0) + 1)
            self._sessions.do("forget_accounts", names=unfounded)
        if unknown := sorted(founded - known):
            self._sessions.insert_rows("account", [(name,) for name in unknown])
        return rebuilt

    def check(self, meters: Sequence[Meter]) -> list[Difference]:
        """Compare what is stored up to some batch with what the events up to it say, while others write."""
        found: list[Difference] = []
        for _ in range(_TRIES):
            view = self._meters.look()
            upto = self._cells.horizon(view)
            found = self._compare(meter_set(tuple(meters)), view, upto)
            ((folded,),) = self._sessions.rows("highest_upto")
            if not found or folded <= upto:
                break
            # Amounts were folded past the batch that this looked at; look again from there.
        return found

    def close(self) -> None:
        """Give up the connections."""
        self._pool.shutdown()
        self._sessions.close()

    def _known(
        self, digests: Mapping[Key, bytes], days: Mapping[bytes, int], times: Mapping[bytes, int], look: Look
    ) -> dict[Key, Found]:
        """Give what stands for those of these keys that came before."""
        chosen = best(look.found, times)
        known = {key: chosen[digest] for key, digest in digests.items() if digest in chosen}
        unknown = {key: digest for key, digest in digests.items() if key not in known}
        former = self._log.keys_of_version_1(unknown, days, look.bounds)
        return known | self._log.found_of_version_1(former)

    def _append(
        self, arrived: Mapping[bytes, Event], counted: MeterSet, sums: Sums | None, look: Look
    ) -> dict[bytes, Found]:
        """Insert events, given by key, and what they add (`sums`, where that is known); give those that were
        beaten.
        """
        self._log.remember_ahead(arrived.values(), look.bounds)
        inserting = self._pool.submit(self._log.append, list(arrived.items()), look.bounds.today)
        places = only_places(look.view, counted) if sums is not None else None
        columns = sums.columns(places) if sums is not None and places is not None else None
        insert = inserting.result()
        # After the log, so that a process that changes the meters now sees these events: see `meter_log`.
        days = {digest: event.day for digest, event in arrived.items()}
        again, block = self._log.look_again(insert, days, look)
        if not block:
            raise StoreUnavailableError(
                "the events of the batch were given up as they came", "send the same events again"
            )
        others = [one for one in again.found if beats(one, arrived[one.key].time, block, insert.came)]
        beaten = {one.key: one for one in sorted(others, key=lambda one: -one.block)}
        self._log.delete(insert, beaten)
        if columns is not None and not beaten and only_places(again.view, counted) == places:
            self._cells.write(block, columns, again.view)
        else:
            mine = [event for digest, event in arrived.items() if digest not in beaten]
            self._cells.end_batch(block, _added(mine, counted, again.view), again.view)
        if block % schema.BATCHES_A_PARTITION == 0:
            self._cells.fold()
        return beaten

    def _compare(self, counted: MeterSet, view: MeterView, upto: int) -> list[Difference]:
        entries = view.ready.by_name() if view.ready is not None else {}
        names = {entry.place: name for name, (_, entry) in entries.items()}
        first_days = {
            entry.place: max(view.events_from, view.first_day(entry)) for _, entry in entries.values()
        }
        asked = []
        for name, meter in counted.by_name.items():
            place = f"{meter.aggregation}-"
            if name in entries and entries[name][1].definition == counted.definitions[name]:
                place = entries[name][1].place
            else:
                place += name
                names[place], first_days[place] = name, view.events_from
            asked.append(msgspec.structs.replace(meter, name=place))
        recount = Recount(self._log, self._cells, asked, upto)
        comparison = Comparison(self._sessions, self._cells, names, first_days)
        found: list[Difference] = []
        founded: set[str] = set()
        for account, amounts, distinct in recount.by_account(first_days, letting_in=False):
            founded.add(account)
            found += comparison.of_account(account, upto, amounts, distinct)
        known = set(self.accounts_after("", 2**32 - 1))
        for (account,) in self._sessions.rows("accounts_of_amounts"):
            if account not in founded:
                found += comparison.of_account(account, upto, {}, {})
                if account in known and not self._cells.of_account(account, upto):
                    found.append(Difference(account, None, None, "known", None))
        found += [Difference(account, None, None, None, "known") for account in sorted(founded - known)]
        return found[:MAX_DIFFERENCES]


def _days_and_times(
    events: Sequence[Event], digests: Mapping[Key, bytes]
) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """Give by key the day from which on an event of this batch may have come, and the time of the first."""
    days: dict[bytes, int] = {}
    times: dict[bytes, int] = {}
    for event in events:
        digest = digests[key_of(event)]
        day = event.day if event.time_given else NO_TIME
        days[digest] = min(day, days.get(digest, day))
        times.setdefault(digest, event.time)
    return days, times


def _measure(events: Sequence[Event], counted: MeterSet) -> tuple[list[EventProblem | None], Sums | None]:
    """Tell what is wrong with each event, and what they add if all of them are new and sound."""
    problems: list[EventProblem | None] = []
    sums: Sums | None = Sums()
    for event in events:
        found = counted.contributions(event)
        if isinstance(found, EventProblem):
            problems.append(found)
            sums = None
            continue
        problems.append(None)
        if sums is not None and not sums.add(event, found):
            sums = None
    return problems, sums


def _added(events: Sequence[Event], counted: MeterSet, view: MeterView) -> Measured:
    """Tell what sound events add, under the places of the meters that count at this moment."""
    measured = [(event, counted.contributions(event)) for event in events]
    usable = [(event, found) for event, found in measured if not isinstance(found, EventProblem)]
    added = under_places(usable, view, counted)
    return measure_all(events, view) if added is None else added
