# SPDX-License-Identifier: Apache-2.0
"""Where a usage report reads: a store itself. One page of accounts is in memory at a time.

A page is one consistent view; the report is one of as many moments as it has pages. Amounts of a month that
is closed are the same at each of them, unless the meters change: that is looked for, and ends the report.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import click
import msgspec

from watchword.usage import MAX_ACCOUNTS, Meter, UsageAnswer, UsageQuery, UsageStore
from watchword.usage.times import day_number

Page = list[tuple[str, UsageAnswer]]
"""Accounts in the order of their names' bytes, and what each used."""


class ReportFailed(click.ClickException):
    """There is no report; the same command may succeed later. Exits with 1.

    Args:
        detail: a sentence: what happened.
        remedy: a sentence: what helps.
    """

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(f"{detail}\nRemedy: {remedy}")


class Source(Protocol):
    """Where usage of all accounts comes from."""

    @property
    def late_days(self) -> int | None:
        """How many days ago an event may be; None where that is not bounded, or not known."""
        ...

    def meters(self) -> list[Meter]:
        """Give the meters in force, by name."""
        ...

    def pages(self, query: UsageQuery) -> Iterator[Page]:
        """Read all accounts; `query.account` is not looked at.

        Raises:
            ReportFailed: it cannot be read, or the meters changed meanwhile.
        """
        ...


class StoreSource:
    """A store that this process has opened."""

    def __init__(self, store: UsageStore, units: Mapping[str, str], late_days: int | None) -> None:
        """Read a store. A store knows no units and no bounds of events: those are the service's."""
        self._store, self._units, self.late_days = store, units, late_days

    def meters(self) -> list[Meter]:
        """Give the meters in force, by name, with the units that were given."""
        return [
            msgspec.structs.replace(state.meter, unit=self._units.get(state.meter.name, ""))
            for state in sorted(self._store.meters(), key=lambda state: state.meter.name)
        ]

    def pages(self, query: UsageQuery) -> Iterator[Page]:
        """Read all accounts."""
        before = self._definitions(query)
        after = ""
        while names := self._store.accounts_after(after, MAX_ACCOUNTS):
            found = self._store.read_many(query, names)
            yield [(name, found[name]) for name in names if name in found]
            after = names[-1]
        if self._definitions(query) != before:
            raise meters_changed()

    def _definitions(self, query: UsageQuery) -> list[tuple[Meter, int, int]]:
        start = day_number(query.start)
        states: Sequence[tuple[Meter, int, int]] = [
            (state.meter, state.since, max(start, state.first_day)) for state in self._store.meters()
        ]
        return sorted(states, key=lambda state: state[0].name)


def meters_changed() -> ReportFailed:
    """The meters of the first page are not those of the last one."""
    return ReportFailed(
        "The meters changed while the report was made: its accounts would not be counted alike.",
        "Run the same command again.",
    )
