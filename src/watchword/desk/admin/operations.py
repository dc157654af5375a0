# SPDX-License-Identifier: Apache-2.0
"""What the admin API does, one method an operation: list, show, revoke, explain.

Each returns a document or a refusal, and what is to be written with the call's own audit entry. Pages are
bounded by what is shown and by what is looked through: a filter that fits nothing must not read a million
rows for one request.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from watchword.desk import audit_events
from watchword.desk.admin.authentication import AdminCaller
from watchword.desk.admin.explain import Question, explain
from watchword.desk.admin.parameters import MAX_LIMIT, limit_of, malformed, read_body
from watchword.desk.admin.standing import AdminGrants, AdminStanding, StandingUnknownError
from watchword.desk.admin.views import client_view, entry_view, token_state, token_view
from watchword.desk.audit_events import RequestFacts
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.desk.state import DeskState
from watchword.desk.store import DeskStore, ListedToken, Operation, Revoke

# Rows that one request looks through, at most, for those that fit its filters.
MAX_SCANNED: Final = 2000
Query = Mapping[str, str]


class Call(msgspec.Struct, frozen=True):
    """One request that may be acted on.

    Attributes:
        caller: who asks.
        state: what the desk runs.
        facts: of the request.
        query: its parameters, each of the form that the operation says.
        name: the last part of a path that has one; empty: it has none.
        body: the bytes.
        content_types: the values of its Content-Type headers.
    """

    caller: AdminCaller
    state: DeskState
    facts: RequestFacts
    query: Query
    name: str = ""
    body: bytes = b""
    content_types: tuple[bytes, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """What a call came to.

    Attributes:
        document: the answer.
        about: what it was about, for the audit entry; empty: a list.
        operations: to be written together with the audit entry, before the answer.
    """

    document: dict[str, Any]
    about: str = ""
    operations: tuple[Operation, ...] = ()


class Operations:
    """The operations of one desk's admin API."""

    def __init__(self, store: DeskStore, grants: AdminGrants) -> None:
        """Read from a store, and whether clients are admins by `grants`."""
        self._store, self._grants = store, grants

    async def list_tokens(self, call: Call) -> Outcome | DeskRefusal:
        """GET /admin/v1/tokens: the newest first. Raises DeskStoreError."""
        limit = limit_of(call.query)
        if isinstance(limit, DeskRefusal):
            return limit
        return await asyncio.to_thread(self._page_of_tokens, call, limit)

    def _page_of_tokens(self, call: Call, limit: int) -> Outcome:
        found: list[dict[str, Any]] = []
        before, scanned = call.query.get("cursor", ""), 0
        while scanned < MAX_SCANNED:
            rows = self._store.tokens_before(before, min(MAX_LIMIT, MAX_SCANNED - scanned))
            for row in rows:
                scanned, before = scanned + 1, row.token_id
                if _fits(row, call.query, call.facts.at):
                    found.append(token_view(row, call.facts.at))
                    if len(found) == limit:
                        return Outcome({"tokens": found, "next_cursor": before})
            if len(rows) < MAX_LIMIT and scanned < MAX_SCANNED:
                return Outcome({"tokens": found, "next_cursor": None})
        return Outcome({"tokens": found, "next_cursor": before})

    async def show_token(self, call: Call) -> Outcome | DeskRefusal:
        """GET /admin/v1/tokens/{token_id}. Raises DeskStoreError."""
        token = await asyncio.to_thread(self._token, call.name)
        return not_found() if token is None else Outcome(token_view(token, call.facts.at), call.name)

    async def revoke_token(self, call: Call) -> Outcome | DeskRefusal:
        """POST /admin/v1/tokens/{token_id}/revoke: durable with the answer. Raises DeskStoreError."""
        if call.body:
            return malformed("The operation takes no body.")
        token = await asyncio.to_thread(self._token, call.name)
        if token is None:
            return not_found()
        operation = Revoke(
            token_id=token.token_id,
            subject=token.subject,
            service=token.service,
            issued_at=token.issued_at,
            expires_at=token.expires_at,
            event=audit_events.token_revoked_by_admin(call.facts, token, call.caller.subject),
        )
        revoked = msgspec.structs.replace(token, is_revoked=True)
        return Outcome(token_view(revoked, call.facts.at), call.name, (operation,))

    async def list_clients(self, call: Call) -> Outcome | DeskRefusal:
        """GET /admin/v1/clients: by name."""
        limit = limit_of(call.query)
        if isinstance(limit, DeskRefusal):
            return limit
        after = call.query.get("cursor", "")
        rest = [each for each in call.state.client_objects if each.metadata.name > after]
        shown = rest[:limit]
        cursor = shown[-1].metadata.name if len(rest) > limit else None
        return Outcome({"clients": [client_view(each, call.state) for each in shown], "next_cursor": cursor})

    async def show_client(self, call: Call) -> Outcome | DeskRefusal:
        """GET /admin/v1/clients/{name}, with whether an admin client is one now."""
        found = [each for each in call.state.client_objects if each.metadata.name == call.name]
        if not found:
            return not_found()
        try:
            standing = await self._grants.standing(call.name)
        except StandingUnknownError as error:
            standing = AdminStanding(str(error))
        return Outcome(client_view(found[0], call.state, standing), call.name)

    async def list_audit(self, call: Call) -> Outcome | DeskRefusal:
        """GET /admin/v1/audit: the newest first. Raises DeskStoreError."""
        limit = limit_of(call.query)
        if isinstance(limit, DeskRefusal):
            return limit
        return await asyncio.to_thread(self._page_of_entries, call, limit)

    def _page_of_entries(self, call: Call, limit: int) -> Outcome:
        cursor = call.query.get("cursor")
        before = self._store.head().sequence + 1 if cursor is None else int(cursor)
        wanted = {name: call.query[name] for name in ("event", "subject") if name in call.query}
        found: list[dict[str, Any]] = []
        scanned = 0
        while before > 1 and scanned < MAX_SCANNED:
            first = max(0, before - 1 - MAX_LIMIT)
            rows = self._store.entries_after(first, before - 1 - first)
            if not rows:
                break
            for row in reversed(rows):
                scanned, before = scanned + 1, row.sequence
                view = entry_view(row)
                if all(view["entry"].get(name) == value for name, value in wanted.items()):
                    found.append(view)
                    if len(found) == limit:
                        return Outcome({"entries": found, "next_cursor": _cursor(before)})
        return Outcome({"entries": found, "next_cursor": _cursor(before) if scanned >= MAX_SCANNED else None})

    async def show_head(self, call: Call) -> Outcome | DeskRefusal:
        """GET /admin/v1/audit/head: to be noted elsewhere, and compared later. Raises DeskStoreError."""
        del call
        head = await asyncio.to_thread(self._store.head)
        return Outcome({"sequence": head.sequence, "hash": head.hash, "head": str(head)})

    async def explain(self, call: Call) -> Outcome | DeskRefusal:
        """POST /admin/v1/explain: a dry run of an exchange."""
        question = read_body(call.body, list(call.content_types), Question)
        if isinstance(question, DeskRefusal):
            return question
        found = explain(question, call.state, call.facts.at)
        about = f"{question.issuer}:{question.namespace}:{question.service_account} {question.service}"
        return Outcome(msgspec.to_builtins(found), about[:256])

    def _token(self, token_id: str) -> ListedToken | None:
        # The next lower id than the one that follows it directly.
        found = self._store.tokens_before(token_id + "0", 1)
        return found[0] if found and found[0].token_id == token_id else None


def _fits(token: ListedToken, query: Query, now: float) -> bool:
    said = {
        "subject": token.subject,
        "service": token.service,
        "kind": token.kind,
        "state": token_state(token, now),
    }
    return all(query.get(name, value) == value for name, value in said.items())


def _cursor(before: int) -> str | None:
    return str(before) if before > 1 else None


def not_found() -> DeskRefusal:
    """The refusal for what is not there."""
    return refuse(DeskReason.NOT_FOUND)
