# SPDX-License-Identifier: Apache-2.0
"""The desk's admin port: a request in, an answer out, and an audit entry for each call of an admin.

The order is the promise: the address's rate, the route, who asks, then what is asked. The entry is durable
before the answer is given, for a list as for a change. The two routes of sign-in alone ask for no token.
"""

import itertools
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from watchword.desk import audit_events
from watchword.desk.admin.authentication import AdminCaller, authenticate_admin
from watchword.desk.admin.openapi import openapi
from watchword.desk.admin.operations import Call, Operations, Outcome
from watchword.desk.admin.parameters import MAX_BODY_BYTES, malformed, read_query
from watchword.desk.admin.people import People
from watchword.desk.admin.registrations import Registrations
from watchword.desk.admin.routes import DOCUMENT, ROUTES, Route
from watchword.desk.admin.standing import AdminGrants
from watchword.desk.agents.provider_fetches import ProviderFetches
from watchword.desk.audit_events import RequestFacts
from watchword.desk.desk import Desk
from watchword.desk.rate_limits import Buckets, address_key
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import RETRY_SECONDS, DeskRefusal, body_of, not_ready, refuse
from watchword.desk.request_body import DisconnectedError, read_body
from watchword.desk.responses import Answer, json_answer, send_answer
from watchword.desk.state import DeskState
from watchword.desk.store import DeskStore, DeskStoreError, Note, Revoke
from watchword.desk.writer import Writer
from watchword.process.http_protocol import TARGET
from watchword.process.logs import LOGGER
from watchword.trust.desk_tokens import CLIENT_PREFIX

_UNKNOWN_REMEDY: Final = f"Read {DOCUMENT}: it lists all operations."


_Handler = Callable[[Call], Awaitable[Outcome | DeskRefusal]]
_PATTERNS: Final = tuple((route, route.pattern) for route in ROUTES)


class AdminApp:
    """The ASGI application of the desk's admin port."""

    def __init__(
        self,
        desk: Desk,
        store: DeskStore,
        writer: Writer,
        grants: AdminGrants,
        *,
        calls_per_second: float = 20.0,
        calls_burst: int = 40,
    ) -> None:
        """Answer about a desk.

        Args:
            desk: whose state, clock and metrics these are.
            store: what is read.
            writer: what is changed, and the audit log.
            grants: whether a client is an admin now.
            calls_per_second: of one address and of one admin, in the long run; 0: no limit.
            calls_burst: of one address and of one admin, at once.
        """
        self._desk, self._store, self._writer, self._grants = desk, store, writer, grants
        operations, registrations = Operations(store, grants), Registrations(store)
        self._handlers: dict[str, _Handler] = {
            "list_tokens": operations.list_tokens,
            "show_token": operations.show_token,
            "revoke_token": operations.revoke_token,
            "list_clients": operations.list_clients,
            "show_client": operations.show_client,
            "list_agents": registrations.list_agents,
            "show_agent": registrations.show_agent,
            "revoke_agent": registrations.revoke_agent,
            "export_person": registrations.export_person,
            "forget_person": registrations.forget_person,
            "list_audit": operations.list_audit,
            "show_audit_head": operations.show_head,
            "explain": operations.explain,
        }
        self._people = People(grants, ProviderFetches(monotonic=desk.monotonic))
        self._document = json_answer(openapi())
        self._addresses = Buckets(calls_per_second, calls_burst)
        self._callers = Buckets(calls_per_second, calls_burst)
        self._prefix, self._numbers = secrets.token_hex(6), itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            return
        client = scope.get("client")
        number = f"{self._prefix}-{next(self._numbers):x}"
        facts = RequestFacts(number, client[0] if client else "", self._desk.clock())
        name = "admin"
        try:
            name, answer = await self._answer(scope, receive, facts)
        except DisconnectedError:
            return
        except Exception as error:  # noqa: BLE001 - a defect is an answer too, and never a traceback
            extra = {"error_type": type(error).__name__, "request_id": number}
            LOGGER.error("a request failed unforeseen", extra=extra)
            answer = _refused(refuse(DeskReason.INTERNAL_ERROR), facts)
        self._desk.metrics.answered(name, answer.reason)
        await send_answer(send, answer, number, head_only=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope, receive: Receive, facts: RequestFacts) -> tuple[str, Answer]:
        if wait := self._addresses.take(address_key(facts.peer), self._desk.monotonic()):
            refusal = refuse(DeskReason.RATE_LIMITED, "Too many requests of one address.", retry_after=wait)
            return "admin", self._strange(refusal, facts)
        target: bytes = scope.get(TARGET, b"")
        path_bytes, _, query = target.partition(b"?")
        path, method = path_bytes.decode("latin-1"), scope["method"]
        if path == DOCUMENT:
            if method in ("GET", "HEAD"):
                return "admin", self._document
            return "admin", self._strange(refuse(DeskReason.METHOD_NOT_ALLOWED), facts, b"GET, HEAD")
        fitting = [(route, match) for route, pattern in _PATTERNS if (match := pattern.fullmatch(path))]
        if not fitting:
            refusal = refuse(DeskReason.UNKNOWN_ENDPOINT, remedy=_UNKNOWN_REMEDY)
            return "admin", self._strange(refusal, facts)
        chosen = [each for each in fitting if each[0].method == method]
        route, match = (chosen or fitting)[0]
        label = f"admin_{route.name}"
        if not chosen:
            refusal = refuse(DeskReason.METHOD_NOT_ALLOWED, remedy=_UNKNOWN_REMEDY)
            allow = ", ".join(each.method for each, _ in fitting)
            return label, self._strange(refusal, facts, allow.encode())
        state = self._desk.state
        if state is None:
            return label, self._strange(not_ready(), facts)
        if route.is_open:
            opened = await self._open(route, scope, receive, state, facts)
            if isinstance(opened, DeskRefusal):
                return label, self._closed(label, opened, facts)
            return label, json_answer(opened)
        authorization = [value for name, value in scope["headers"] if name == b"authorization"]
        caller = await authenticate_admin(authorization, state, self._store, self._grants, facts.at)
        if isinstance(caller, DeskRefusal):
            self._desk.note_refusal(label, caller, facts)
            return label, _refused(caller, facts)
        if wait := self._callers.take(caller.client, self._desk.monotonic()):
            refusal = refuse(DeskReason.RATE_LIMITED, "The client is over its rate.", retry_after=wait)
            return label, self._strange(refusal, facts)
        parameter = match.groupdict().get("name", "")
        found = await self._act(route, scope, receive, query, Call(caller, state, facts, {}, parameter))
        return label, await self._finish(route.name, caller, parameter, found, facts)

    async def _open(
        self,
        route: Route,
        scope: Scope,
        receive: Receive,
        state: DeskState,
        facts: RequestFacts,
    ) -> dict[str, Any] | DeskRefusal:
        """Begin a person's sign-in, or finish one: the token of an admin client."""
        body = await self._body(route, scope, receive)
        if isinstance(body, DeskRefusal):
            return body
        _, _, query = scope.get(TARGET, b"").partition(b"?")
        if isinstance(parameters := read_query(query, route.query), DeskRefusal):
            return parameters
        if route.method == "GET":
            return self._people.begin(state, facts)
        found = await self._people.finish(body, _types(scope), state, facts)
        if isinstance(found, DeskRefusal):
            return found
        claims = found.token.claims
        if wait := self._callers.take(claims.subject.removeprefix(CLIENT_PREFIX), self._desk.monotonic()):
            return refuse(DeskReason.RATE_LIMITED, "The client is over its rate.", retry_after=wait)
        try:
            [is_first] = await self._writer.write(found.once)
            if not is_first:
                return refuse(DeskReason.SIGN_IN_USED, subject=claims.subject)
            await self._writer.write(found.token.operation)
        except DeskStoreError as error:
            return self._failed(error)
        self._desk.metrics.count(self._desk.metrics.issued, "admin")
        return found.token.document(self._desk.clock())

    def _closed(self, label: str, refusal: DeskRefusal, facts: RequestFacts) -> Answer:
        """The answer to a sign-in that failed: noted where the person is proven, else counted and logged."""
        now = self._desk.monotonic()
        if refusal.subject and (wait := self._callers.take(refusal.subject, now)):
            limited = refuse(DeskReason.RATE_LIMITED, "The person is over the rate.", retry_after=wait)
            return self._strange(limited, facts)
        self._desk.note_refusal(label, refusal, facts)
        return _refused(refusal, facts)

    async def _body(self, route: Route, scope: Scope, receive: Receive) -> bytes | DeskRefusal:
        body = await read_body(receive, scope["headers"], MAX_BODY_BYTES)
        if body is None:
            detail = f"The body is larger than {MAX_BODY_BYTES // 1024} KiB."
            return refuse(DeskReason.FORM_TOO_LARGE, detail, remedy="Ask about one thing at a time.")
        return malformed("The operation takes no body.") if body and route.method == "GET" else body

    async def _act(
        self, route: Route, scope: Scope, receive: Receive, query: bytes, call: Call
    ) -> Outcome | DeskRefusal:
        body = await self._body(route, scope, receive)
        if isinstance(body, DeskRefusal):
            return body
        parameters = read_query(query, route.query)
        if isinstance(parameters, DeskRefusal):
            return parameters
        types = _types(scope)
        call = msgspec.structs.replace(call, query=parameters, body=body, content_types=tuple(types))
        try:
            return await self._handlers[route.name](call)
        except DeskStoreError as error:
            return self._failed(error)

    async def _finish(
        self,
        operation: str,
        caller: AdminCaller,
        parameter: str,
        found: Outcome | DeskRefusal,
        facts: RequestFacts,
    ) -> Answer:
        """Write what the call changes and that it was made; then the answer."""
        reason = found.code if isinstance(found, DeskRefusal) else "ok"
        about = parameter if isinstance(found, DeskRefusal) else found.about
        event = audit_events.admin_called(
            facts, caller.subject, caller.token_id, operation=operation, about=about, reason=reason
        )
        changes = () if isinstance(found, DeskRefusal) else found.operations
        try:
            effects = await self._writer.write(*changes, Note(event))
        except DeskStoreError as error:
            return _refused(self._failed(error), facts)
        for each, has_effect in zip(changes, effects[: len(changes)], strict=True):
            if isinstance(each, Revoke) and has_effect:
                self._desk.metrics.count(self._desk.metrics.revoked, each.service or "admin")
            if has_effect or isinstance(each, Revoke):
                # Gates are to learn of it.
                self._desk.is_changed.set()
        return _refused(found, facts) if isinstance(found, DeskRefusal) else json_answer(found.document)

    def _failed(self, error: DeskStoreError) -> DeskRefusal:
        self._desk.metrics.store_failures.inc()
        LOGGER.error("the store failed", extra={"detail": error.detail, "remedy": error.remedy})
        return refuse(DeskReason.STORE_UNAVAILABLE, retry_after=RETRY_SECONDS)

    def _strange(self, refusal: DeskRefusal, facts: RequestFacts, allow: bytes = b"") -> Answer:
        self._desk.note_refusal("admin", refusal, facts)
        return _refused(refusal, facts, allow)


def _types(scope: Scope) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == b"content-type"]


def _refused(refusal: DeskRefusal, facts: RequestFacts, allow: bytes = b"") -> Answer:
    """The answer for a refusal, with what RFC 6750, section 3, asks for."""
    headers: list[tuple[bytes, bytes]] = []
    if refusal.status in (401, 403):
        # RFC 6750, section 3.1: a request without credentials is told of no error.
        said = (
            b""
            if refusal.code == DeskReason.MISSING_TOKEN.code
            else b', error="' + refusal.error.encode() + b'"'
        )
        headers.append((b"www-authenticate", b'Bearer realm="watchword-desk-admin"' + said))
    if refusal.retry_after:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    if allow:
        headers.append((b"allow", allow))
    return Answer(refusal.status, body_of(refusal, facts.request_id), refusal.code, headers=tuple(headers))
