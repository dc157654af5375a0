# SPDX-License-Identifier: Apache-2.0
"""Amounts in PostgreSQL: a tally added in a few statements, whatever its size, and counting again.

Rows are touched in one order by everyone (events, groups, values, sums, maxima; each by its key): two
batches that share rows wait for each other in turn, and never in a circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from watchword.usage.deduplication import digest_of, event_of_row
from watchword.usage.events import Event
from watchword.usage.groups import Admission, Scope, month_of
from watchword.usage.postgresql.sessions import Connection
from watchword.usage.postgresql.statements import Statements
from watchword.usage.rollups import Contribution, Key, MeterSet, combine
from watchword.usage.times import MICROSECONDS_PER_DAY

_TALLY_CONTRIBUTIONS: Final = 50_000  # how much of a rebuild is kept in memory before it is written
_FETCH_ROWS: Final = 10_000

_BETWEEN: Final = "\0"

Statement = Callable[[str], bytes]
_Amounts = dict[tuple[int, str, str], dict[str, Decimal]]
"""By day, meter and group: of each account."""


def columns(rows: Sequence[Sequence[Any]], width: int) -> list[str]:
    """Turn rows into columns, as `unnest` takes them: each one text, in PostgreSQL's form of an array.

    The driver's own way costs more than the server's work on them. They are parameters all the same.
    """
    return [array(column) for column in zip(*rows, strict=True)] if rows else ["{}"] * width


def array(values: Sequence[Any]) -> str:
    """Write an array (PostgreSQL, "Array Input and Output Syntax"), every element quoted: each is itself."""
    if not values:
        return "{}"
    kinds = set(map(type, values))
    if kinds == {str}:
        # All at once: no text of PostgreSQL's has the character that is between them here.
        joined = _BETWEEN.join(values)
        if joined.count(_BETWEEN) == len(values) - 1:
            if "\\" in joined or '"' in joined:
                joined = joined.replace("\\", "\\\\").replace('"', '\\"')
            return '{"' + joined.replace(_BETWEEN, '","') + '"}'
    elif kinds in ({int}, {Decimal}):
        return "{" + ",".join(map(str, values)) + "}"
    elif kinds == {type(None)}:
        # What is shorter than the others, `unnest` fills up with NULL.
        return "{}"
    elif kinds == {bytes}:
        return '{"\\\\x' + '","\\\\x'.join(map(bytes.hex, values)) + '"}'
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    text = str(value)
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


class DayTally:
    """The amounts of a number of events, as `Tally` has them, but by account within day, meter and group.

    No object is made for each event: batches are large, and so is what garbage collection goes through.
    """

    def __init__(self, admission: Admission) -> None:
        self.added: _Amounts = {}
        self.raised: _Amounts = {}
        self.distinct: dict[Key, set[str]] = {}
        self.columns: list[str] | None = None
        self._admission = admission

    def add(self, event: Event, contributions: Sequence[Contribution]) -> None:
        """Add what one event contributes."""
        account, day = event.account, event.day
        for meter, amount, own_group in contributions:
            group = self._admission.place(meter, account, day, own_group) if own_group else own_group
            if isinstance(amount, str):
                self.distinct.setdefault((account, day, meter.name, group), set()).add(amount)
                continue
            amounts = self.raised if meter.aggregation == "max" else self.added
            place = (day, meter.name, group)
            mine = amounts.get(place)
            if mine is None:
                mine = amounts[place] = {}
            before = mine.get(account)
            mine[account] = amount if before is None else combine(meter.aggregation, before, amount)

    def prepare(self) -> None:
        """Write what is added as columns now, rather than when the server waits for it."""
        if not self.distinct:
            self.columns = _columns_of(self.added)


def add(connection: Connection, statement: Statement, tally: DayTally) -> None:
    """Add a tally to the tables of the statements."""
    added, raised = tally.added, tally.raised
    values = sorted((*key, digest_of(text), text) for key, texts in tally.distinct.items() for text in texts)
    if values:
        new = connection.execute(statement("insert_values"), columns(values, 6))
        for (account, day, name, group), count in Counter(new.fetchall()).items():
            added.setdefault((day, name, group), {})[account] = Decimal(count)
    if added:
        connection.execute(statement("add_amounts"), tally.columns or _columns_of(added))
    if raised:
        connection.execute(statement("raise_amounts"), _columns_of(raised))


def _columns_of(found: _Amounts) -> list[str]:
    """Give amounts as `columns` would, in one order for everyone: by day, meter, group and account."""
    accounts: list[str] = []
    days: list[int] = []
    meters: list[str] = []
    groups: list[str] = []
    amounts: list[Decimal] = []
    for (day, meter, group), mine in sorted(found.items()):
        names = sorted(mine)
        accounts += names
        days += [day] * len(names)
        meters += [meter] * len(names)
        groups += [group] * len(names)
        amounts += [mine[name] for name in names]
    return [array(accounts), array(days), array(meters), array(groups), array(amounts)]


def admission_of(
    connection: Connection, statements: Statements, measured: Iterable[tuple[Event, Sequence[Contribution]]]
) -> Admission:
    """Let groups in for these contributions, and keep those that are new; scopes with room are locked."""
    wanted: dict[Scope, set[str]] = {}
    room: dict[Scope, int] = {}
    for event, contributions in measured:
        for meter, _, group in contributions:
            if group:
                scope = (event.account, meter.name, month_of(event.day))
                wanted.setdefault(scope, set()).add(group)
                room[scope] = meter.max_groups
    known = load_admitted(connection, statements, wanted)
    short = sorted(s for s, groups in wanted.items() if groups - known[s] and len(known[s]) < room[s])
    if short:
        # Two batches that each found one place left would both take it.
        connection.execute(statements["insert_scopes"], columns(short, 3))
        connection.execute(statements["lock_scopes"], columns(short, 3))
        known |= load_admitted(connection, statements, short)
    return Admission(lambda scope: known.get(scope, set()))


def load_admitted(
    connection: Connection, statements: Statements, scopes: Iterable[Scope]
) -> dict[Scope, set[str]]:
    """Give the groups that these scopes have."""
    found: dict[Scope, set[str]] = {scope: set() for scope in scopes}
    if found:
        asked = columns(sorted(found), 3)
        for account, meter, month, group in connection.execute(statements["admitted"], asked):
            found[account, meter, month].add(group)
    return found


def admit(connection: Connection, statements: Statements, admission: Admission) -> None:
    """Keep the groups that are new."""
    if admission.new:
        rows = sorted((*scope, group) for scope, group in admission.new)
        connection.execute(statements["admit"], columns(rows, 4))
        admission.new.clear()


def recompute(
    connection: Connection,
    statements: Statements,
    meters: MeterSet,
    first_days: Mapping[str, int],
    *,
    expected: bool,
) -> tuple[int, dict[str, int]]:
    """Add what all stored events say to the stored tables or those of a check.

    Of each meter the days before its first one (days since 1970-01-01) are left out. Returns how many events
    counted, and by meter how many held nothing for it.
    """
    events = 0
    unusable: dict[str, int] = {}
    if not meters.by_name:
        return events, unusable
    statement = statements.expected if expected else statements.__getitem__
    batch: list[tuple[Event, list[Contribution]]] = []
    size = 0

    def write() -> None:
        admission = admission_of(connection, statements, batch)
        tally = DayTally(admission)
        for event, contributions in batch:
            tally.add(event, contributions)
        if not expected:
            admit(connection, statements, admission)
        add(connection, statement, tally)
        batch.clear()

    first = min(first_days.get(name, 0) for name in meters.by_name) * MICROSECONDS_PER_DAY
    with connection.cursor("events") as cursor:
        cursor.itersize = _FETCH_ROWS
        for row in cursor.execute(statements["all_events"], [first]):
            event = event_of_row(row)
            if not meters.counts_type(event.type):
                continue
            events += 1
            contributions, without_value = meters.past_contributions(event)
            for name in without_value:
                unusable[name] = unusable.get(name, 0) + 1
            batch.append((event, [c for c in contributions if event.day >= first_days.get(c[0].name, 0)]))
            size += len(contributions)
            if size >= _TALLY_CONTRIBUTIONS:
                write()
                size = 0
    write()
    return events, unusable
