# SPDX-License-Identifier: Apache-2.0
"""Usage out: one account, several accounts, the meters. Each account is asked for at the caller's grants.

The accounts of a list are known by their whole names, and a list that is asked for without names has only
those that were granted: a page of all accounts for whoever has one of them would be the customer list.
"""

from collections.abc import Sequence
from urllib.parse import parse_qsl

import msgspec

from watchword.gate.answers import Answer, problem
from watchword.gate.engine import Active, Engine, RequestHeaders
from watchword.gate.fairline import LineIsFull
from watchword.gate.usage_answers import (
    account_not_found,
    line_is_full,
    not_found,
    query_problem,
    unavailable,
    usage_answer,
)
from watchword.gate.usage_store import GateStore
from watchword.identity import Identity, Refusal
from watchword.trust import EVERY, RouteMatch, authorize
from watchword.usage import (
    AccountsQuery,
    Meter,
    MeterState,
    QueryProblem,
    StoreError,
    UsageAnswer,
    UsageStore,
    parse_accounts_query,
    parse_query,
    render,
    render_accounts,
    render_meters,
    too_large,
)

READ_SCOPE = "account:usage:read"
# A whole page of accounts by name, and all other parameters.
MAX_PARAMETERS = 128


class UsageReader:
    """The endpoints that only read."""

    def __init__(self, engine: Engine, store: GateStore) -> None:
        """Decide by an engine, and answer from a store."""
        self._engine, self._store = engine, store

    async def account(self, headers: RequestHeaders, account: str, target: bytes) -> Answer:
        """GET accounts/{account}/usage: what an account used."""
        allowed = self._allow(headers, "/accounts/{account}/usage", account)
        if isinstance(allowed, Answer):
            return allowed
        parameters = _parameters(target)
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
        except LineIsFull as full:
            return line_is_full(full)
        if found is None:
            return account_not_found()
        if (excess := too_large([found])) is not None:
            return query_problem(excess)
        return usage_answer(render(query, found, meters), headers)

    async def accounts(self, headers: RequestHeaders, target: bytes) -> Answer:
        """GET usage: several accounts, by name or in pages."""
        allowed = self._allow(headers, "/usage", None)
        if isinstance(allowed, Answer):
            return allowed
        active, identity = allowed
        parameters = _parameters(target)
        if parameters is None:
            return _unreadable()
        query = parse_accounts_query(parameters, self._engine.clock(), self._store.wanted or ())
        if isinstance(query, QueryProblem):
            return query_problem(query)
        for account in query.accounts:
            grant = authorize(identity, READ_SCOPE, account)
            if isinstance(grant, Refusal):
                match = RouteMatch(f"{active.ruleset.usage_base_path}/usage", READ_SCOPE, account, None)
                return self._engine.refuse(active, grant, identity, match, method="GET")
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
        except LineIsFull as full:
            return line_is_full(full)
        if (excess := too_large(found.values())) is not None:
            return query_problem(excess)
        return usage_answer(render_accounts(query, names, found, meters), headers)

    async def meters(self, headers: RequestHeaders) -> Answer:
        """GET usage/meters: what is counted, in which unit, split how, and since when."""
        allowed = self._allow(headers, "/usage/meters", None)
        if isinstance(allowed, Answer):
            return allowed

        def work(store: UsageStore, meters: tuple[Meter, ...]) -> tuple[list[MeterState], tuple[Meter, ...]]:
            return store.meters(), meters

        try:
            states, meters = await self._store.read(allowed[1].workload, work)
        except StoreError as error:
            return unavailable(error)
        except LineIsFull as full:
            return line_is_full(full)
        return usage_answer(render_meters(states, meters), headers)

    def _allow(
        self, headers: RequestHeaders, path: str, account: str | None
    ) -> tuple[Active, Identity] | Answer:
        active = self._engine.active
        known = self._engine.who(active, headers)
        if active is None or isinstance(known, Refusal):
            return self._engine.refuse(active, known) if isinstance(known, Refusal) else not_found()
        match = RouteMatch(f"{active.ruleset.usage_base_path}{path}", READ_SCOPE, account, None)
        if refusal := self._engine.permit(active, known, match, "GET"):
            return refusal
        self._engine.note_allowed(active, known, match, "GET")
        return active, known


def _parameters(target: bytes) -> list[tuple[str, str]] | None:
    try:
        return parse_qsl(
            target.partition(b"?")[2].decode("ascii"),
            keep_blank_values=True,
            strict_parsing=False,
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError:
        return None


def _unreadable() -> Answer:
    detail = f"Use at most {MAX_PARAMETERS} parameters in ASCII, percent-encoded."
    return problem(400, "The query is not readable.", detail, reason="unreadable_query", remedy=detail)


def _granted(identity: Identity) -> frozenset[str] | None:
    """The accounts that may be read; None: every one."""
    names = {name for grant in identity.grants if READ_SCOPE in grant.scopes for name in grant.accounts}
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
