# SPDX-License-Identifier: Apache-2.0
"""Changing the meters in ClickHouse: announced, counted back, then ready.

In this order, and each with a look at the log after it, so that no event is missed by both the writer and
the process that changes the meters: see `meter_log`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import msgspec

from watchword.usage.clickhouse.log import EventLog
from watchword.usage.clickhouse.meter_log import Change, MeterLog, MeterView, new_change
from watchword.usage.clickhouse.recount import Recount, write
from watchword.usage.clickhouse.rollups import Cells
from watchword.usage.clickhouse.sessions import Sessions
from watchword.usage.groups import month_of
from watchword.usage.meters import Meter
from watchword.usage.rollups import MeterSet, are_split_alike
from watchword.usage.store import MetersChangedError, Rebuilt
from watchword.usage.times import MICROSECONDS_PER_SECOND

_ROWS_AT_ONCE: Final = 50_000


class Changing:
    """Changes the meters of one store."""

    def __init__(self, sessions: Sessions, log: EventLog, cells: Cells, meters: MeterLog) -> None:
        """Take the store's connections, its logs and its amounts."""
        self._sessions, self._log, self._cells, self._meters = sessions, log, cells, meters

    def change(self, wanted: MeterSet, *, everything: bool = False, only_if_none: bool = False) -> Rebuilt:
        """Put meters in force; see `UsageStore.use_meters` and `rebuild`."""
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
            taken = self._take_over_groups(change, view)
            self._meters.announce(change)
            newest = self._meters.look().announced
            if newest is not None and newest.change != change.change:
                if taken:
                    self._sessions.do("forget_meters", "admission", meters=taken)
                if newest.digest != wanted.digest:
                    raise MetersChangedError("another gate changed the meters at this moment", "try again")
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
            for table in ("cell", "distinct_value", "admission"):
                self._sessions.do("forget_meters", table, meters=gone)
        unusable = {names[place]: count for place, count in recount.unusable.items()}
        dropped = tuple(sorted(ready.keys() - change.by_name().keys()))
        return Rebuilt(tuple(sorted(new)), dropped, recount.events, unusable)

    def _take_over_groups(self, change: Change, view: MeterView) -> list[str]:
        """Let the groups that came first in first again, where a meter is split as before; the new places.

        Events are counted back in the order of their keys, so that who came first could not be found out
        again. Before the change is announced: from then on, others let groups in at the new places.
        """
        old = view.ready.by_name() if view.ready is not None else {}
        moved = {
            old[name][1].place: entry.place
            for name, (meter, entry) in change.by_name().items()
            if name in old
            and entry.place != old[name][1].place
            and meter.group_by
            and are_split_alike(old[name][0], meter)
        }
        if moved:
            rows = (
                (account, moved[place], month, group)
                for account, place, month, group in self._sessions.stream("admitted_to", meters=sorted(moved))
            )
            while part := list(islice(rows, _ROWS_AT_ONCE)):
                self._sessions.insert_rows("admission", part)
        return sorted(moved.values())

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
                (account, moved[place], day, group, 0, last, amount)
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
            for table, these in (("cell", rows), ("distinct_value", values), ("admission", admitted)):
                if these:
                    self._sessions.insert_rows(table, these)
