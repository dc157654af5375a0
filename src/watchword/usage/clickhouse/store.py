# SPDX-License-Identifier: Apache-2.0
"""The usage store on ClickHouse: events to the log, what they add next to them, amounts folded now and then.

A batch is said to be stored after its events and all that they add are on disk. Where a writer dies in
between, the writer that sends its events again, or counts past them, finishes what it began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import msgspec

from watchword.usage.aggregation import spans_of
from watchword.usage.clickhouse import schema
from watchword.usage.clickhouse.answers import Answers
from watchword.usage.clickhouse.log import EventLog
from watchword.usage.clickhouse.meter_changes import Changing
from watchword.usage.clickhouse.meter_log import MeterLog, MeterView, kept_mark
from watchword.usage.clickhouse.noted_keys import NotedKeys
from watchword.usage.clickhouse.recount import Comparison, Recount
from watchword.usage.clickhouse.rollups import Cells, measure_all, under_places
from watchword.usage.clickhouse.sessions import Sessions
from watchword.usage.deduplication import (
    EVENTS_FROM,
    MAX_DIFFERENCES,
    Batch,
    Kept,
    Key,
    digest_of,
    key_of,
    past_keeping,
    require_in_force,
)
from watchword.usage.events import Event
from watchword.usage.meters import Meter
from watchword.usage.problems import EventProblem
from watchword.usage.read_model import UsageAnswer, UsageQuery
from watchword.usage.rollups import Contribution, MeterSet, meter_set
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

    def __init__(self, dsn: str) -> None:
        """Read the DSN; the server is asked when the store is first used, so that it may come up later.

        Raises StoreRefusedError when the DSN cannot be read.
        """
        self._sessions = Sessions(dsn)
        self._log, self._meters = EventLog(self._sessions), MeterLog(self._sessions)
        self._noted = NotedKeys(self._sessions)
        self._cells = Cells(self._sessions, self._log, self._meters)
        self._changing = Changing(self._sessions, self._log, self._cells, self._meters)
        # Whether a meter counted distinct values when last looked; a wrong guess costs one more question.
        self._has_distinct = False

    def ingest(self, events: Sequence[Event], meters: Sequence[Meter]) -> list[Outcome]:
        """Store a batch as one block of the log; an outcome for each event, in order."""
        counted = meter_set(tuple(meters))
        view = self._meters.look()
        if view.announced is None:
            self._changing.change(counted, only_if_none=True)
            view = self._meters.look()
        require_in_force(view.announced.digest if view.announced is not None else None, counted)
        measured = [counted.contributions(event) for event in events]
        problems = [
            past_keeping(event, view.events_from) or (found if isinstance(found, EventProblem) else None)
            for event, found in zip(events, measured, strict=True)
        ]
        return self._store(Batch(events, problems), events, measured, counted)

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
        if first > view.events_from:
            self._sessions.do("delete_old_keys", before=first)
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
            self._sessions.do("forget_accounts", names=unfounded)
        if unknown := sorted(founded - known):
            self._sessions.insert("account", [(name,) for name in unknown])
        self._cells.forget_accounts()
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
        self._sessions.close()

    def _store(
        self,
        batch: Batch,
        events: Sequence[Event],
        measured: Sequence[list[Contribution] | EventProblem],
        counted: MeterSet,
    ) -> list[Outcome]:
        if not events:
            return []
        digests = {key: digest_of(*key) for key in batch.keys}
        by_version_1 = self._log.keys_of_version_1(digests)
        # Of several events with one key the day of the one that may be stored.
        days = {digests[key_of(event)]: event.day for event in events}
        days |= {digests[key]: events[place].day for key, place in batch.first.items()}
        note, noted = self._noted.note(days, by_version_1.values())
        blocks = self._log.blocks_of(noted.intersection(digests.values()))
        earlier = [
            key for key, digest in by_version_1.items() if digest in noted and digests[key] not in blocks
        ]
        for key, (digest, block) in self._log.blocks_of_version_1(earlier).items():
            digests[key], blocks[digest] = digest, block
        new = {digests[key]: place for key, place in batch.first.items() if digests[key] not in blocks}
        stored: set[int] = set()
        if new:
            token = self._log.append([(digest, events[place]) for digest, place in new.items()])
            conflicts = self._noted.conflicts(note, new.keys(), token)
            # One key tells, unless its event was given up as too old at this moment.
            block = conflicts.block or self._log.block_of(token, new.keys())
            if not block:
                raise StoreUnavailableError(
                    "the events of the batch were given up as they came", "send the same events again"
                )
            # Also what was noted before: its event may have come since.
            beaten = self._log.settle(token, (conflicts.keys | noted) & new.keys())
            stored = {place for digest, place in new.items() if digest not in beaten}
            # After the log, so that a process that changes the meters now sees these events: see `meter_log`.
            view = self._meters.look()
            mine = [(events[place], measured[place]) for place in sorted(stored)]
            usable = [(event, found) for event, found in mine if not isinstance(found, EventProblem)]
            added = under_places(usable, view, counted)
            if added is None:
                added = measure_all([event for event, _ in usable], view)
            self._cells.end_batch(block, added)
            blocks |= self._log.blocks_of(beaten)
            if block % schema.BATCHES_A_PARTITION == 0:
                self._cells.fold()
        existing: dict[Key, Kept] = {}
        if blocks:
            # "It is there already" may be said only of what counts already.
            self._cells.finish(set(blocks.values()), self._meters.look())
            kept = self._log.kept(list(blocks))
            existing = {key: kept[digest] for key, digest in digests.items() if digest in kept}
        return batch.outcomes(stored, existing)

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
