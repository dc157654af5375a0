# SPDX-License-Identifier: Apache-2.0
"""Usage out: one account, several accounts, the meters. Each account is asked for at the caller's grants.

The accounts of a list are known by their whole names, and a list that is asked for without names has only
those that were granted: a page of all accounts for anyone who has one of them would be the customer list.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, urlencode

import msgspec

from watchword.gate.audit import Teller
from watchword.gate.engine import Active, Engine, RequestHeaders
from watchword.gate.responses import Answer, problem
from watchword.gate.usage.fair_queue import QueueFullError
from watchword.gate.usage.negotiation import wants_csv
from watchword.gate.usage.responses import (
    account_not_found,
    query_problem,
    queue_is_full,
    unavailable,
    usage_answer,
)
from watchword.gate.usage.store import GateStore
from watchword.identity import Identity, Refusal
from watchword.trust import EVERY, RouteMatch, authorize, held_grants
from watchword.trust import USAGE_READ_SCOPE as READ_SCOPE
from watchword.usage import (
    AccountsQuery,
    Meter,
    MeterState,
    QueryProblem,
    StoreError,
    UsageAnswer,
    UsageQuery,
    UsageStore,
    parse_accounts_query,
    parse_query,
    render,
    render_accounts,
    render_meters,
    too_large,
)
from watchword.usage.problems import named, shown
from watchword.usage.report import Cell, columns, csv_of, period_state, rows

# A whole page of accounts by name, and all other parameters.
MAX_PARAMETERS = 128
# Whether a page without names has every account, or those that the caller was granted: a bill of some
# accounts must not be taken for one of all.
WHOSE: Final = b"x-watchword-accounts"
FLAT_IS_JSON: Final = QueryProblem(
    "shape",
    "shape_conflict",
    "the flat shape is JSON, and CSV is asked for",
    "leave out shape, or send Accept: application/json",
)


class UsageReader:
    """The endpoints that only read."""

    def __init__(self, engine: Engine, store: GateStore) -> None:
        """Decide by an engine, and answer from a store."""
        self._engine, self._store = engine, store

    async def account(
        self, headers: RequestHeaders, account: str, target: bytes, told: Teller | None = None
    ) -> Answer:
        """GET accounts/{account}/usage: what an account used."""
        allowed = self._allow(headers, "/accounts/{account}/usage", account, told)
        if isinstance(allowed, Answer):
            return allowed
        parameters = _parameters(target)
        if isinstance(parameters, QueryProblem):
            return query_problem(parameters)
        if parameters is None:
            return _unreadable()
        query = parse_query(account, parameters, self._engine.clock(), self._store.wanted or ())
        if isinstance(query, QueryProblem):
            return query_problem(query)
        asked = query

        def work(
            store: UsageStore, meters: tuple[Meter, ...]
        ) -> tuple[UsageAnswer | None, tuple[Meter, ...]]:
            return store.read(asked), meters

        try:
            found, meters = await self._store.read(account, work)
        except StoreError as error:
            return unavailable(error)
        except QueueFullError as full:
            return queue_is_full(full)
        ended = self._ended(allowed, headers, "/accounts/{account}/usage", [account], told)
        if ended is not None:
            return ended
        if found is None:
            return account_not_found()
        if (excess := too_large([found])) is not None:
            return query_problem(excess)
        if not wants_csv(headers):
            return usage_answer(render(query, found, meters), headers)
        if query.flat:
            return query_problem(FLAT_IS_JSON)
        return usage_answer(self._csv(allowed[0], query, {account: found}, meters), headers)

    async def accounts(self, headers: RequestHeaders, target: bytes, told: Teller | None = None) -> Answer:
        """GET usage: several accounts, by name or in pages."""
        allowed = self._allow(headers, "/usage", None, told)
        if isinstance(allowed, Answer):
            return allowed
        active, identity = allowed
        parameters = _parameters(target)
        if isinstance(parameters, QueryProblem):
            return query_problem(parameters)
        if parameters is None:
            return _unreadable()
        query = parse_accounts_query(parameters, self._engine.clock(), self._store.wanted or ())
        if isinstance(query, QueryProblem):
            return query_problem(query)
        for account in query.accounts:
            grant = authorize(identity, READ_SCOPE, account)
            if isinstance(grant, Refusal):
                match = RouteMatch(f"{active.ruleset.usage_base_path}/usage", READ_SCOPE, account, None)
                return self._engine.refuse(active, grant, identity, match, method="GET", told=told)
        asked, granted = query, _granted(identity)

        def work(
            store: UsageStore, meters: tuple[Meter, ...]
        ) -> tuple[Sequence[str], dict[str, UsageAnswer], tuple[Meter, ...]]:
            names = asked.accounts or _page(store, asked, granted)
            return names, store.read_many(asked.query, names), meters

        try:
            names, found, meters = await self._store.read(identity.workload, work)
        except StoreError as error:
            return unavailable(error)
        except QueueFullError as full:
            return queue_is_full(full)
        ended = self._ended(allowed, headers, "/usage", [None, *names], told, is_page=not asked.accounts)
        if ended is not None:
            return ended
        if (excess := too_large(found.values())) is not None:
            return query_problem(excess)
        more = [] if query.accounts else [(WHOSE, b"all" if granted is None else b"granted")]
        if not wants_csv(headers):
            return usage_answer(render_accounts(query, names, found, meters), headers, more)
        if not query.accounts and len(names) == query.limit:
            more.append((b"link", _link(active, parameters, names[-1])))
        ordered = {name: found[name] for name in names if name in found}
        return usage_answer(self._csv(active, query.query, ordered, meters), headers, more)

    async def meters(self, headers: RequestHeaders, told: Teller | None = None) -> Answer:
        """GET usage/meters: what is counted, in which unit, split how, and since when."""
        allowed = self._allow(headers, "/usage/meters", None, told)
        if isinstance(allowed, Answer):
            return allowed

        def work(store: UsageStore, meters: tuple[Meter, ...]) -> tuple[list[MeterState], tuple[Meter, ...]]:
            return store.meters(), meters

        try:
            states, meters = await self._store.read(allowed[1].workload, work)
        except StoreError as error:
            return unavailable(error)
        except QueueFullError as full:
            return queue_is_full(full)
        ended = self._ended(allowed, headers, "/usage/meters", [None], told)
        if ended is not None:
            return ended
        return usage_answer(render_meters(states, meters, allowed[0].ruleset.late_days), headers)

    def _csv(
        self,
        active: Active,
        query: UsageQuery,
        found: Mapping[str, UsageAnswer],
        meters: Sequence[Meter],
    ) -> bytes:
        state = period_state(query.end, self._engine.clock(), active.ruleset.late_days)
        table: list[Sequence[Cell]] = [columns(query)]
        for account, answer in found.items():
            table += rows(query, account, answer, meters, state)
        return csv_of(table)

    def _allow(
        self, headers: RequestHeaders, path: str, account: str | None, told: Teller | None
    ) -> tuple[Active, Identity] | Answer:
        found = self._engine.authenticate_or_refuse(headers, told)
        if isinstance(found, Answer):
            return found
        active, known = found
        match = RouteMatch(f"{active.ruleset.usage_base_path}{path}", READ_SCOPE, account, None)
        permitted = self._engine.permit(active, known, match, "GET", told)
        if isinstance(permitted, Answer):
            return permitted
        self._engine.note_allowed(active, known, match, "GET", told)
        return active, known

    def _ended(
        self,
        allowed: tuple[Active, Identity],
        headers: RequestHeaders,
        path: str,
        accounts: Sequence[str | None],
        told: Teller | None,
        *,
        is_page: bool = False,
    ) -> Answer | None:
        """Why what was read must not go out any more: while it waited for the store, trust may have ended."""
        if self._engine.still_trusts(*allowed):
            return None
        found = self._engine.authenticate_or_refuse(headers, told)
        if isinstance(found, Answer):
            return found
        now_active, known = found
        for account in accounts:
            grant = authorize(known, READ_SCOPE, account)
            if isinstance(grant, Refusal):
                match = RouteMatch(f"{now_active.ruleset.usage_base_path}{path}", READ_SCOPE, account, None)
                if is_page and account is not None:
                    # The caller named no account, and must not learn one from the refusal.
                    grant = Refusal(grant.reason)
                return self._engine.refuse(now_active, grant, known, match, method="GET", told=told)
        return None


def _parameters(target: bytes) -> list[tuple[str, str]] | QueryProblem | None:
    """Read a target's query; what is wrong with one parameter, or None where it cannot be read at all."""
    try:
        found = parse_qsl(
            target.partition(b"?")[2].decode("ascii"),
            keep_blank_values=True,
            strict_parsing=False,
            errors="surrogateescape",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError:
        return None
    for name, value in found:
        # Read with marks in the place of such bytes, it would be another account, or another page.
        if not _is_text(name) or not _is_text(value):
            return QueryProblem(
                named(name),
                "not_utf8",
                f"the {'value' if _is_text(name) else 'name'} of {shown(name)} is not UTF-8, percent-encoded",
                "write names and values in UTF-8, and percent-encode its bytes",
            )
    return found


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _link(active: Active, parameters: Sequence[tuple[str, str]], last: str) -> bytes:
    """Where the next page is (RFC 8288): the same question, after the last account of this page."""
    following = [*((name, value) for name, value in parameters if name != "after"), ("after", last)]
    return f'<{active.ruleset.usage_base_path}/usage?{urlencode(following)}>; rel="next"'.encode()


def _unreadable() -> Answer:
    detail = f"Use at most {MAX_PARAMETERS} parameters in ASCII, percent-encoded."
    return problem(400, "The query is not readable.", detail, reason="unreadable_query", remedy=detail)


def _granted(identity: Identity) -> frozenset[str] | None:
    """The accounts that may be read; None: every one. Grants for projects have none."""
    names = {
        name
        for grant in held_grants(identity)
        if READ_SCOPE in grant.scopes and not grant.projects
        for name in grant.accounts
    }
    return None if EVERY in names else frozenset(names)


def _page(store: UsageStore, asked: AccountsQuery, granted: frozenset[str] | None) -> list[str]:
    """The next known accounts that the caller may read, in the order of their names' bytes."""
    if granted is None:
        return store.accounts_after(asked.after, asked.limit)
    mine = sorted((name for name in granted if name.encode() > asked.after.encode()), key=str.encode)
    found: list[str] = []
    period = msgspec.structs.replace(asked.query, window=None, group_by=())
    for start in range(0, len(mine), asked.limit):
        part = mine[start : start + asked.limit]
        known = store.read_many(period, part)
        found += [name for name in part if name in known]
        if len(found) >= asked.limit:
            break
    return found[: asked.limit]
