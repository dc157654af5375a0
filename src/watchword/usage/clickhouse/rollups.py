# SPDX-License-Identifier: Apache-2.0
"""Amounts in ClickHouse: what each batch adds, folded now and then into what all batches up to one come to.

Every row is a function of the log alone, so that any writer writes the same: a batch that its
writer left half done is finished by the next one who comes across it, and two who fold at once do no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from watchword.usage.clickhouse import schema
from watchword.usage.clickhouse.log import EventLog
from watchword.usage.clickhouse.meter_log import MeterLog, MeterView
from watchword.usage.clickhouse.native import column
from watchword.usage.clickhouse.sessions import Sessions
from watchword.usage.events import Event
from watchword.usage.groups import OVERFLOW, Admission, Scope, month_of
from watchword.usage.meters import Meter
from watchword.usage.problems import EventProblem
from watchword.usage.rollups import Contribution, MeterSet, Tally, combine, contribution

FOLDED: Final = "folded"
DROPPED: Final = "dropped"
FORGOTTEN: Final = "forgotten"
_MOST_ACCOUNTS_KNOWN: Final = 100_000
# A folded batch's own rows go only when no question that began before the fold can still be running.
_KEEP_FOLDED_SECONDS: Final = 600

Measured = Sequence[tuple[Event, Sequence[Contribution]]]
Cell = tuple[str, str, int, str]
"""Account, place of the meter, day, group."""


class SumColumns(NamedTuple):
    """What a batch adds, as columns of the table `cell` that lack only the number of its block."""

    accounts: set[str]
    rows: int
    account: bytes
    meter: bytes
    day: bytes
    group: bytes
    amount: bytes


class Sums:
    """What events add to meters, by meter and group, then by account and day."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], dict[tuple[str, int], Decimal]] = {}
        self.accounts: set[str] = set()

    def add(self, event: Event, contributions: Sequence[Contribution]) -> bool:
        """Add what one event gives; False, with nothing added, where it has groups or distinct values: what
        those come to is settled later.
        """
        cell = (event.account, event.day)
        for _, amount, group in contributions:
            if group or isinstance(amount, str):
                return False
        for meter, amount, group in contributions:
            sums = self.cells.get((meter.name, group))
            if sums is None:
                sums = self.cells[meter.name, group] = {}
            before = sums.get(cell)
            sums[cell] = amount if before is None else combine(meter.aggregation, before, amount)  # type: ignore[assignment,arg-type]  # no text: see above
        self.accounts.add(event.account)
        return True

    def columns(self, places: Mapping[str, str]) -> SumColumns:
        """Write the sums under the places of their meters. The last row says that the batch is whole; it is
        in one block with the others.
        """
        cells = [cell for sums in self.cells.values() for cell in sums]
        meters, groups = bytearray(), bytearray()
        for (name, group), sums in self.cells.items():
            meters += column("String", [places[name]]) * len(sums)
            groups += column("String", [group]) * len(sums)
        end = column("String", [""])
        return SumColumns(
            self.accounts,
            len(cells) + 1,
            column("String", [account for account, _ in cells]) + end,
            bytes(meters) + end,
            column("Int32", [day for _, day in cells] + [0]),
            bytes(groups) + end,
            column(
                "Decimal(76, 30)",
                [amount for sums in self.cells.values() for amount in sums.values()] + [Decimal(0)],
            ),
        )


class Cells:
    """The amounts of one store."""

    def __init__(self, sessions: Sessions, log: EventLog, meters: MeterLog) -> None:
        """Take the store's connections and its two logs."""
        self._sessions, self._log, self._meters = sessions, log, meters
        self._known_accounts: set[str] | None = None
        self._forgotten = (0, 0)

    def end_batch(self, seq: int, measured: Measured, view: MeterView) -> None:
        """Write all that a batch's first events add, by a look at the meters after they were in the log."""
        tally = self.tally(measured)
        self.write_values(tally)
        sums = Sums()
        for (account, day, place, group), (_, amount) in tally.amounts.items():
            sums.cells.setdefault((place, group), {})[account, day] = amount
        sums.accounts = {event.account for event, _ in measured}
        self.write(seq, sums.columns({place: place for place, _ in sums.cells}), view)

    def write(self, seq: int, columns: SumColumns, view: MeterView) -> None:
        """Write what a batch adds, and with it that this is all."""
        self._write_accounts(columns.accounts, view)
        numbers = column("UInt64", [seq]) * columns.rows
        self._sessions.insert(
            "cell",
            columns.rows,
            [columns.account, columns.meter, columns.day, columns.group, numbers, numbers, columns.amount],
        )

    def tally(self, measured: Measured, *, letting_in: bool = True) -> Tally:
        """Add contributions up; groups that are new are let in, or only looked at."""
        tally = Tally(self._admission(measured, letting_in=letting_in))
        for event, contributions in measured:
            tally.add(event, contributions)
        return tally

    def write_values(self, tally: Tally) -> None:
        """Write the distinct values of a tally; those that are there already are no second ones."""
        rows = [
            (account, place, day, group, value)
            for (account, day, place, group), values in tally.distinct.items()
            for value in values
        ]
        if rows:
            self._sessions.insert_rows("distinct_value", sorted(rows))

    def finish(self, seqs: Collection[int], view: MeterView) -> None:
        """Finish those of these batches that no one finished."""
        open_ones = {seq for seq in seqs if seq > view.marks.get(DROPPED, 0)}
        if open_ones:
            open_ones -= {seq for (seq,) in self._sessions.rows("ended", seqs=sorted(open_ones))}
        for seq in sorted(open_ones):
            events = self._log.first_events_of_block(seq)
            view = self._meters.look()
            self.end_batch(seq, measure_all(events, view), view)

    def horizon(self, view: MeterView) -> int:
        """Give a number up to which all batches are finished, finishing what is missing."""
        folded = view.marks.get(FOLDED, 0)
        ended = {seq for (seq,) in self._sessions.rows("ended_after", seq=folded)}
        if not ended:
            return folded
        highest = int(max(ended))
        # A number without an end is a batch half done, or no batch: deletions take numbers too.
        missing = set(range(folded + 1, highest)) - ended
        self.finish(self._log.those_there(missing), view)
        return highest

    def fold(self) -> None:
        """Fold what batches added into amounts, and drop what has long been folded."""
        view = self._meters.look()
        upto = self.horizon(view)
        folded = view.marks.get(FOLDED, 0)
        if upto <= folded:
            return
        self._sessions.do("fold", after=folded, upto=upto)
        self._meters.mark(FOLDED, upto)
        ((long_ago,),) = self._sessions.rows("folded_before", seconds=_KEEP_FOLDED_SECONDS)
        for (partition,) in self._sessions.rows("partitions", upto=int(long_ago)):
            last = (int(partition) + 1) * schema.BATCHES_A_PARTITION - 1
            if last <= int(long_ago):
                self._meters.mark(DROPPED, last)
                self._sessions.do("drop_partition", partition=int(partition) + 1)

    def of_account(self, account: str, upto: int) -> dict[Cell, Decimal]:
        """Give an account's amounts, whatever the meter, from all batches up to one."""
        base: dict[Cell, tuple[int, Decimal]] = {}
        fresh: list[tuple[Cell, int, Decimal]] = []
        for kind, name, place, day, group, seq, amount in self._sessions.rows(
            "cells", account=account, upto=upto
        ):
            cell = (name, place, day, group)
            if kind == "base":
                base[cell] = (seq, amount)
            else:
                fresh.append((cell, seq, amount))
        return joined(base, fresh)

    def _write_accounts(self, accounts: set[str], view: MeterView) -> None:
        known = self._known_accounts
        forgotten = (view.marks.get(FORGOTTEN, 0), self._log.times_forgotten)
        if known is None or forgotten != self._forgotten or len(known) > 2 * _MOST_ACCOUNTS_KNOWN:
            # At once, so that the first batches of a process need not write accounts that are known.
            rows = self._sessions.rows("accounts_after", after="", limit=_MOST_ACCOUNTS_KNOWN)
            known = self._known_accounts = {name for (name,) in rows}
            self._forgotten = forgotten
        if new := sorted(accounts - known):
            self._sessions.insert_rows("account", [(name,) for name in new])
            known |= accounts

    def _admission(self, measured: Measured, *, letting_in: bool) -> Admission:
        wanted: dict[Scope, tuple[Meter, dict[str, None]]] = {}
        for event, contributions in measured:
            for meter, _, group in contributions:
                if group:
                    scope = (event.account, meter.name, month_of(event.day))
                    wanted.setdefault(scope, (meter, {}))[1][group] = None
        known = self._admitted(wanted)
        asking = [
            (*scope, group)
            for scope, (meter, groups) in wanted.items()
            if len(known[scope]) < meter.max_groups
            for group in groups
            if group not in known[scope]
        ]
        if asking and letting_in:
            self._sessions.insert_rows("admission", asking)
            known = self._admitted(wanted)
        return _Settled(known, {scope: meter.max_groups for scope, (meter, _) in wanted.items()})

    def _admitted(self, scopes: Mapping[Scope, object]) -> dict[Scope, list[str]]:
        found: dict[Scope, list[str]] = {scope: [] for scope in scopes}
        if found:
            rows = self._sessions.rows(
                "admitted",
                accounts=sorted({account for account, _, _ in found}),
                meters=sorted({place for _, place, _ in found}),
            )
            for account, place, month, group in rows:
                groups = found.get((account, place, month))
                if groups is not None and group not in groups:
                    groups.append(group)
        return found


class _Settled(Admission):
    """Groups whose order the server has settled: the first ones of a scope have a place of their own."""

    def __init__(self, order: Mapping[Scope, list[str]], room: Mapping[Scope, int]) -> None:
        super().__init__(lambda scope: set(order[scope][: room[scope]]))
        self._order = order

    def place(self, meter: Meter, account: str, day: int, group: str) -> str:
        """Give the group that an event counts in."""
        scope = (account, meter.name, month_of(day))
        order = self._order.get(scope, [])
        return group if group in order[: meter.max_groups] else OVERFLOW


def measure_all(events: Iterable[Event], view: MeterView) -> list[tuple[Event, list[Contribution]]]:
    """Tell what events that are stored add, under the places of all meters that count at this moment."""
    by_type: dict[str, list[Meter]] = {}
    for places in view.counting().values():
        for meter, _ in places:
            by_type.setdefault(meter.event_type, []).append(meter)
    measured = []
    for event in events:
        found = [contribution(meter, event) for meter in by_type.get(event.type, ())]
        # What a meter cannot use came in before it did: see `Rebuilt.unusable`.
        usable = [one for one in found if one is not None and not isinstance(one, EventProblem)]
        measured.append((event, usable))
    return measured


def under_places(measured: Measured, view: MeterView, counted: MeterSet) -> Measured | None:
    """Give contributions to `counted` under the places of the same meters, or None where others count too."""
    places = _places(view, counted)
    if places is None:
        return None
    return [
        (event, [(meter, amount, group) for old, amount, group in found for meter in places[old.name]])
        for event, found in measured
    ]


def only_places(view: MeterView, counted: MeterSet) -> dict[str, str] | None:
    """Give the place of each meter by its name, or None where others count too or one has two places."""
    places = _places(view, counted)
    if places is None or any(len(meters) != 1 for meters in places.values()):
        return None
    return {name: meter.name for name, (meter,) in places.items()}


def _places(view: MeterView, counted: MeterSet) -> dict[str, list[Meter]] | None:
    counting = view.counting()
    if counting.keys() != set(counted.definitions.values()):
        return None
    return {name: [meter for meter, _ in counting[text]] for name, text in counted.definitions.items()}


def joined(
    base: Mapping[Cell, tuple[int, Decimal]], fresh: Iterable[tuple[Cell, int, Decimal]]
) -> dict[Cell, Decimal]:
    """Join amounts up to some batch each with what later batches added."""
    totals = {cell: amount for cell, (_, amount) in base.items()}
    for cell, seq, amount in fresh:
        known = base.get(cell)
        if known is not None and seq <= known[0]:
            continue
        before = totals.get(cell)
        aggregation = "max" if cell[1].startswith("max-") else "sum"
        totals[cell] = amount if before is None else combine(aggregation, before, amount)  # type: ignore[arg-type]  # of the two
    return totals
