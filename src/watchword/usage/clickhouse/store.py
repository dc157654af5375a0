# SPDX-License-Identifier: Apache-2.0
"""The usage store on ClickHouse: events to the log, what they add beside them, amounts folded now and then.

A batch is said to be stored after its events and all that they add are on disk. Where a writer dies in
between, whoever sends its events again, or counts past them, finishes what it began.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec

from watchword.usage.clickhouse import schema
from watchword.usage.clickhouse.cells import Cells, joined
from watchword.usage.clickhouse.log import EventLog
from watchword.usage.clickhouse.meterlog import Change, MeterLog, MeterView, kept_mark, new_change, view_of
from watchword.usage.clickhouse.recount import Comparison, Recount, write
from watchword.usage.clickhouse.sessions import Sessions
from watchword.usage.events import Event
from watchword.usage.folding import DistinctSpan, fold, spans_of
from watchword.usage.folding import Row as AmountRow
from watchword.usage.groups import month_of
from watchword.usage.meters import Meter
from watchword.usage.problems import EventProblem
from watchword.usage.readmodel import UsageAnswer, UsageQuery
from watchword.usage.rollups import MeterSet, meter_set
from watchword.usage.store import Difference, Expired, MetersChanged, MeterState, Outcome, Rebuilt
from watchword.usage.stored import EVENTS_FROM, MAX_DIFFERENCES, Batch, Kept, digest_of, past_keeping
from watchword.usage.times import MICROSECONDS_PER_DAY, MICROSECONDS_PER_SECOND, day_number

_TRIES: Final = 5


class ClickHouseStore:
    """A `UsageStore` in one database. See the protocol for what each method promises."""

    threads = 4

    def __init__(self, dsn: str) -> None:
        """Read the DSN; the server is asked when the store is first used, so that it may come up later.

        Raises StoreRefused when the DSN cannot be read.
        """
        self._sessions = Sessions(dsn)
        self._log, self._meters = EventLog(self._sessions), MeterLog(self._sessions)
        self._cells = Cells(self._sessions, self._log, self._meters)
        # Whether a meter counted distinct values when last looked; a wrong guess costs one more question.
        self._has_distinct = False

    def ingest(self, events: Sequence[Event], meters: Sequence[Meter]) -> list[Outcome]:
        """Store a batch as one block of the log; an outcome for each event, in order."""
        counted = meter_set(tuple(meters))
        view = self._meters.look()
        if view.announced is None:
            self._change(counted, only_if_none=True)
            view = self._meters.look()
        if view.announced is None or view.announced.digest != counted.digest:
            raise MetersChanged(
                "the store keeps its rollups by other meters than these",
                "put the newer meters in force (use_meters), or try again once this gate has them",
            )
        problems: list[EventProblem | None] = []
        for event in events:
            found = counted.contributions(event)
            problems.append(
                past_keeping(event, view.events_from) or (found if isinstance(found, EventProblem) else None)
            )
        return self._store(Batch(events, problems), events)

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
            answers = _Answers(self._sessions.rows(name, **parameters))
            self._has_distinct = answers.has_distinct
            if asked_values or not answers.has_distinct:
                # Who has amounts is known; whether the others are known is asked for those only.
                known = answers.accounts
                if others := [name for name in accounts if name not in known]:
                    known |= {name for (name,) in self._sessions.rows("accounts_known", accounts=others)}
                return answers.answers(query, [name for name in accounts if name in known])
            asked_values = True

    def accounts_after(self, account: str, limit: int) -> list[str]:
        """Give known accounts in order."""
        return [name for (name,) in self._sessions.rows("accounts_after", after=account, limit=limit)]

    def meters(self) -> list[MeterState]:
        """Give the meters in force."""
        return self._meters.look().states()

    def events_after(self, cursor: str, limit: int) -> tuple[list[Event], str]:
        """Give events by the digest of their key."""
        bytes.fromhex(cursor)
        rows = self._log.after(cursor, limit)
        events = [
            Event(0, name, source, kind, account, when, True, None, data, binary, extensions)
            for _, source, name, kind, account, when, data, binary, extensions in rows
        ]
        return events, bytes(rows[-1][0]).hex() if len(rows) == limit else ""

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
                for table in ("rollup", "amount", "distinct_value") if count else ():
                    self._sessions.do("expire", table, meter=entry.place, day=day)
        ((events,),) = self._sessions.rows("old_events", before=first * MICROSECONDS_PER_DAY)
        if events:
            self._sessions.do("delete_old_events", before=first * MICROSECONDS_PER_DAY)
        return Expired(int(events), amounts)

    def use_meters(self, meters: Sequence[Meter]) -> Rebuilt:
        """Put meters in force; count the earlier events for those that are new."""
        return self._change(meter_set(tuple(meters)))

    def rebuild(self, meters: Sequence[Meter]) -> Rebuilt:
        """Put meters in force; count all events anew for all of them."""
        rebuilt = self._change(meter_set(tuple(meters)), everything=True)
        named = {name for (name,) in self._sessions.rows("accounts_of_amounts")}
        known = set(self.accounts_after("", 2**32 - 1))
        events = Recount(self._log, self._cells, (), self._log.last_block())
        founded = {account for account, _, _ in events.by_account({}, letting_in=False)}
        founded |= {name for name in named if self._cells.of_account(name, self._log.last_block())}
        if unfounded := sorted(known - founded):
            self._sessions.do("forget_accounts", names=unfounded)
        if unknown := sorted(founded - known):
            self._sessions.insert("account", [(name,) for name in unknown])
        self._cells.forget_accounts()
        return rebuilt

    def check(self, meters: Sequence[Meter]) -> list[Difference]:
        """Compare what is stored up to some batch with what the events up to it say, beside writers."""
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
        self._sessions.close()

    def _store(self, batch: Batch, events: Sequence[Event]) -> list[Outcome]:
        digests = {key: digest_of(*key) for key in batch.keys}
        blocks = self._log.blocks_of(list(digests.values()))
        new = [place for key, place in batch.first.items() if digests[key] not in blocks]
        stored: set[int] = set()
        if new:
            keyed = [(digests[events[place].source, events[place].id], place) for place in new]
            verdict = self._log.append([(digest, events[place]) for digest, place in keyed])
            stored = {place for digest, place in keyed if digest in verdict.won}
            # After the log, so that whoever changes the meters now sees these events: see `meterlog`.
            view = self._meters.look()
            self._cells.end_batch(verdict.seq, [events[place] for place in sorted(stored)], view)
            if len(stored) < len(new):
                blocks |= self._log.blocks_of([d for d, place in keyed if place not in stored])
            if verdict.seq % schema.BATCHES_A_PARTITION == 0:
                self._cells.fold()
        existing: dict[tuple[str, str], Kept] = {}
        if blocks:
            # "It is there already" may be said only of what counts already.
            self._cells.finish(set(blocks.values()), self._meters.look())
            kept = self._log.kept(list(blocks))
            existing = {key: kept[digest] for key, digest in digests.items() if digest in kept}
        return batch.outcomes(stored, existing)

    def _change(self, wanted: MeterSet, *, everything: bool = False, only_if_none: bool = False) -> Rebuilt:
        view = self._meters.look()
        before = view.announced
        if only_if_none and before is not None:
            return Rebuilt()
        is_ready = before is not None and view.ready is not None and before.change == view.ready.change
        if before is not None and before.digest == wanted.digest and not everything:
            if is_ready:
                return Rebuilt()
            change = before  # another gate began it, and may be gone
        else:
            now = int(time.time() * MICROSECONDS_PER_SECOND)
            change = new_change(wanted, view, now, everything=everything)
            self._meters.announce(change)
            newest = self._meters.look().announced
            if newest is not None and newest.change != change.change:
                if newest.digest != wanted.digest:
                    raise MetersChanged("another gate changed the meters at this moment", "try again")
                change = newest
        return self._count_back(change, view)

    def _count_back(self, change: Change, view: MeterView) -> Rebuilt:
        ready = view.ready.by_name() if view.ready is not None else {}
        places = {entry.place for _, entry in ready.values()}
        new = {name: both for name, both in change.by_name().items() if both[1].place not in places}
        upto = self._log.last_block()
        names = {entry.place: name for name, (_, entry) in new.items()}
        recount = Recount(
            self._log,
            self._cells,
            [msgspec.structs.replace(meter, name=entry.place) for meter, entry in new.values()],
            upto,
        )
        if new:
            write(self._sessions, recount, dict.fromkeys(names, view.events_from), upto)
            self._carry_over(new, ready, view)
        self._meters.make_ready(change)
        kept = {entry.place for entry in change.entries}
        if gone := sorted(places - kept):
            for table in ("rollup", "amount", "distinct_value", "admission"):
                self._sessions.do("forget_meters", table, meters=gone)
        unusable = {names[place]: count for place, count in recount.unusable.items()}
        dropped = tuple(sorted(ready.keys() - change.by_name().keys()))
        return Rebuilt(tuple(sorted(new)), dropped, recount.events, unusable)

    def _carry_over(
        self, new: Mapping[str, tuple[Meter, Any]], old: Mapping[str, tuple[Meter, Any]], view: MeterView
    ) -> None:
        """Take over amounts of days whose events are gone, for meters that are only counted again."""
        moved = {
            old[name][1].place: entry.place
            for name, (_, entry) in new.items()
            if name in old and old[name][1].definition == entry.definition
        }
        if not moved or not view.events_from:
            return
        for source, target in moved.items():
            if day := view.marks.get(f"kept:{source}"):
                self._meters.mark(f"kept:{target}", day)
        last = self._log.last_block()
        month = month_of(view.events_from)
        for (account,) in self._sessions.rows("accounts_of_amounts"):
            rows = [
                (account, moved[place], day, group, amount, last)
                for (_, place, day, group), amount in self._cells.of_account(account, last).items()
                if place in moved and day < view.events_from
            ]
            values = [
                (account, moved[place], day, group, value)
                for place, day, group, value in self._sessions.rows("values", account=account)
                if place in moved and day < view.events_from
            ]
            admitted = [
                (account, moved[place], when, group)
                for _, place, when, group in self._sessions.rows(
                    "admitted", accounts=[account], meters=sorted(moved)
                )
                if when <= month
            ]
            for table, these in (("rollup", rows), ("distinct_value", values), ("admission", admitted)):
                if these:
                    self._sessions.insert(table, these)

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


class _Answers:
    """The rows of the question `read`, by account and kind."""

    def __init__(self, found: Sequence[Sequence[Any]]) -> None:
        changes: list[tuple[int, tuple[object, ...]]] = []
        marks: list[tuple[object, object]] = []
        self._base: dict[str, dict[Any, tuple[int, Decimal]]] = {}
        self._fresh: dict[str, list[tuple[Any, int, Decimal]]] = {}
        self._counts: dict[tuple[Any, ...], list[tuple[int, str, str, Decimal]]] = {}
        for kind, account, first, last, meter, group, seq, amount, text in found:
            cell = (account, meter, first, group)
            if kind == "change":
                changes.append((last, (meter, group, text, first)))
            elif kind == "mark":
                marks.append((meter, first))
            elif kind == "base":
                self._base.setdefault(account, {})[cell] = (seq, amount)
            elif kind == "fresh":
                self._fresh.setdefault(account, []).append((cell, seq, amount))
            else:
                place = (kind, account) if kind in ("day", "value") else (kind, account, first, last)
                self._counts.setdefault(place, []).append((first, meter, group, amount))
        self._view = view_of([change for _, change in sorted(changes, key=lambda each: each[0])], marks)

    @property
    def has_distinct(self) -> bool:
        """Whether there are meters that distinct values must be counted for."""
        entries = self._view.ready.by_name() if self._view.ready is not None else {}
        return any(meter.aggregation == "unique_count" for meter, _ in entries.values())

    @property
    def accounts(self) -> set[str]:
        """The accounts that have amounts in the period."""
        return self._base.keys() | self._fresh.keys() | {place[1] for place in self._counts}

    def answers(self, query: UsageQuery, accounts: Sequence[str]) -> dict[str, UsageAnswer]:
        """Give the accounts' answers."""
        entries = self._view.ready.by_name() if self._view.ready is not None else {}
        names = {entry.place: name for name, (_, entry) in entries.items()}
        meters = {name: meter for name, (meter, _) in entries.items()}
        first_days = {name: self._view.first_day(entry) for name, (_, entry) in entries.items()}
        return {
            account: fold(
                query, meters, self._rows(account, names), self._counter(account, names), first_days
            )
            for account in accounts
        }

    def _rows(self, account: str, names: Mapping[str, str]) -> list[AmountRow]:
        totals = joined(self._base.get(account, {}), self._fresh.get(account, []))
        rows = [(day, names[p], group, n) for (_, p, day, group), n in totals.items() if p in names]
        values = self._counts.get(("value", account), [])
        return rows + [(day, names[place], group, n) for day, place, group, n in values if place in names]

    def _counter(self, account: str, names: Mapping[str, str]) -> Callable[[DistinctSpan], list[AmountRow]]:
        def count(span: DistinctSpan) -> list[AmountRow]:
            kind = "group" if span.by_group else "span"
            place = ("day", account) if span.by_day else (kind, account, span.start, span.end)
            return [
                (day if span.by_day else 0, names[meter], group, amount)
                for day, meter, group, amount in self._counts.get(place, [])
                if meter in names
            ]

        return count
