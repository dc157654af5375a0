# SPDX-License-Identifier: Apache-2.0
"""Several accounts in one question: by name, or page by page. Pure.

The bounds are part of the answers: a limit that was lowered in silence looks like the end of the list, and
the accounts after it are never billed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from watchword.usage.events import ACCOUNT_REMEDY, account_flaw
from watchword.usage.meters import Meter
from watchword.usage.problems import QueryProblem, shown
from watchword.usage.read_model import PARAMETERS, UsageAnswer, UsageQuery, parse_query
from watchword.usage.rendering import render
from watchword.usage.store import MeterState
from watchword.usage.times import MICROSECONDS_PER_SECOND, day_of_number, midnight, moment

MAX_ACCOUNTS: Final = 100
PARAMETERS_OF_MANY: Final = (
    "account",
    "after",
    "limit",
    *(name for name in PARAMETERS if name != "shape"),
)
_ANY: Final = "any"  # stands in for the account while the rest of the query is read


class AccountsQuery(msgspec.Struct, frozen=True):
    """What is asked: `accounts` by name, or else up to `limit` known ones whose names come `after` one."""

    query: UsageQuery
    accounts: tuple[str, ...] = ()
    after: str = ""
    limit: int = MAX_ACCOUNTS


def parse_accounts_query(
    params: Sequence[tuple[str, str]], now: float, meters: Sequence[Meter] = ()
) -> AccountsQuery | QueryProblem:
    """Read the query string of the read model for several accounts.

    Takes the parameters for one account, and `account` up to MAX_ACCOUNTS times, or `after` and `limit`. A
    limit above MAX_ACCOUNTS is taken as that; the answer says which one was used.
    """
    names = [value for name, value in params if name == "account"]
    own = [(name, value) for name, value in params if name in ("after", "limit")]
    rest = [(name, value) for name, value in params if name not in ("account", "after", "limit")]
    flaw = _flaw(names, own, rest)
    if flaw is not None:
        return flaw
    query = parse_query(_ANY, rest, now, meters, known=PARAMETERS_OF_MANY)
    if isinstance(query, QueryProblem):
        return query
    given = dict(own)
    limit = given.get("limit", str(MAX_ACCOUNTS))
    if not limit.isascii() or not limit.isdigit() or not 0 < len(limit) < 10 or int(limit) == 0:
        return QueryProblem(
            "limit",
            "invalid_limit",
            f"it is {shown(limit)}",
            f"give a whole number from 1 to {MAX_ACCOUNTS}; more is taken as {MAX_ACCOUNTS}",
        )
    return AccountsQuery(query, tuple(names), given.get("after", ""), min(int(limit), MAX_ACCOUNTS))


def render_accounts(
    asked: AccountsQuery, names: Sequence[str], found: Mapping[str, UsageAnswer], meters: Sequence[Meter]
) -> dict[str, object]:
    """Give the answer for several accounts: those found in order, those not known, and where to go on."""
    accounts: list[dict[str, object]] = []
    for name in names:
        if name in found:
            document = render(msgspec.structs.replace(asked.query, account=name), found[name], meters)
            accounts.append({key: value for key, value in document.items() if key != "period"})
    answer: dict[str, object] = {
        "period": {"start": midnight(asked.query.start), "end": midnight(asked.query.end)},
        "accounts": accounts,
    }
    if asked.accounts:
        answer["unknown"] = [name for name in names if name not in found]
    else:
        answer["limit"] = asked.limit
        if len(names) == asked.limit:
            answer["next"] = names[-1]
    return answer


def render_meters(
    states: Sequence[MeterState], meters: Sequence[Meter], late_days: int | None = None
) -> dict[str, object]:
    """Give what is counted, and since when: `since` is when the definition came into force, `complete_from`
    the first day that amounts are whole for, where it is not the beginning. `late_days`: how many days ago an
    event may be, where that is bounded.
    """
    known = {state.meter.name: state for state in states}
    document: dict[str, object] = {"meters": [_meter(meter, known.get(meter.name)) for meter in meters]}
    if late_days is not None:
        document["late_days"] = late_days
    return document


def _meter(meter: Meter, state: MeterState | None) -> dict[str, object]:
    document: dict[str, object] = {
        "name": meter.name,
        "event_type": meter.event_type,
        "aggregation": meter.aggregation,
    }
    if meter.value is not None:
        document["value"] = meter.value
    if meter.unit:
        document["unit"] = meter.unit
    if meter.group_by:
        document["group_by"] = [dimension.name for dimension in meter.group_by]
        document["max_groups"] = meter.max_groups
    if meter.retention_days is not None:
        document["retention_days"] = meter.retention_days
    if state is not None:
        document["since"] = moment(state.since // MICROSECONDS_PER_SECOND)
        if state.first_day:
            document["complete_from"] = midnight(day_of_number(state.first_day))
    return document


def _flaw(
    names: Sequence[str], own: Sequence[tuple[str, str]], rest: Sequence[tuple[str, str]]
) -> QueryProblem | None:
    for name in names:
        if (flaw := account_flaw(name)) is not None:
            return QueryProblem("account", "invalid_account", flaw, ACCOUNT_REMEDY)
    if len(names) > MAX_ACCOUNTS:
        return QueryProblem(
            "account",
            "too_many_accounts",
            f"{len(names)} accounts are asked for",
            f"ask for at most {MAX_ACCOUNTS} at once",
        )
    if len(set(names)) != len(names):
        return QueryProblem(
            "account", "repeated_account", "an account is given twice", "give each account once"
        )
    if len({name for name, _ in own}) != len(own):
        return QueryProblem(own[0][0], "repeated_parameter", "it is given twice", "give each parameter once")
    if names and own:
        return QueryProblem(
            own[0][0], "page_of_names", "accounts are given by name", "give account, or after and limit"
        )
    if any(name == "shape" for name, _ in rest):
        return QueryProblem(
            "shape",
            "shape_conflict",
            "the flat shape is for one account",
            "ask for one account, or leave it out",
        )
    return None
