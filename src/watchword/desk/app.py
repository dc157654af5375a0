# SPDX-License-Identifier: Apache-2.0
"""The desk's public port: a request in, an answer out, bounded before anything in it is believed.

No path or URL is made of what a request says: the endpoints are three and the documents are three, and all
they say of themselves comes from the TokenDesk.
"""

import itertools
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from watchword.desk.agents import pages
from watchword.desk.agents.endpoints import AGENT_PATHS, allowed_methods, is_event, is_page, name_of
from watchword.desk.audit_events import RequestFacts
from watchword.desk.desk import Desk
from watchword.desk.forms import MAX_FORM_BYTES, Form, parse_form
from watchword.desk.metadata import (
    INTROSPECT,
    JWKS,
    RESOURCE_METADATA,
    REVOKE,
    SERVER_METADATA,
    TOKEN,
    key_set,
    resource_metadata,
    server_metadata,
)
from watchword.desk.rate_limits import Buckets, address_key, peer_address
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.desk.request_body import DisconnectedError, read_body
from watchword.desk.responses import Answer, json_answer, refusal_answer, send_answer
from watchword.desk.state import DeskState
from watchword.process.http_protocol import TARGET
from watchword.process.logs import LOGGER

_Endpoint = Callable[[Form, Sequence[bytes], RequestFacts], Awaitable[Answer | DeskRefusal]]
_ADMIN_REMEDY: Final = "The admin API has a port of its own (--admin-listen): ask there."
_DOCUMENTS: Final = {
    SERVER_METADATA: server_metadata,
    RESOURCE_METADATA: resource_metadata,
    JWKS: key_set,
}


class DeskApp:
    """The ASGI application of the desk's public port."""

    def __init__(
        self,
        desk: Desk,
        *,
        trusted_proxies: int = 0,
        addresses_per_second: float = 200.0,
        addresses_burst: int = 400,
    ) -> None:
        """Answer by a desk.

        Args:
            desk: what decides.
            trusted_proxies: how many proxies stand before the desk and set X-Forwarded-For.
            addresses_per_second: requests of one address in the long run; 0: no limit.
            addresses_burst: requests of one address at once.
        """
        self._desk, self._trusted_proxies = desk, trusted_proxies
        self._addresses = Buckets(addresses_per_second, addresses_burst)
        self._endpoints: dict[str, tuple[str, _Endpoint]] = {
            TOKEN: ("token", desk.exchange),
            INTROSPECT: ("introspect", desk.introspect),
            REVOKE: ("revoke", desk.revoke),
        }
        self._prefix, self._numbers = secrets.token_hex(6), itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            return
        client = scope.get("client")
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        facts = RequestFacts(
            f"{self._prefix}-{next(self._numbers):x}",
            peer_address(client[0] if client else "", forwarded, self._trusted_proxies),
            self._desk.clock(),
        )
        name, answer = "other", None
        try:
            name, answer = await self._answer(scope, receive, facts)
        except DisconnectedError:
            return
        except Exception as error:  # noqa: BLE001 - a defect is an answer too, and never a traceback
            LOGGER.error(
                "a request failed unforeseen",
                extra={"error_type": type(error).__name__, "request_id": facts.request_id},
            )
            answer = refusal_answer(refuse(DeskReason.INTERNAL_ERROR), facts.request_id)
        self._desk.metrics.answered(name, answer.reason)
        await send_answer(send, answer, facts.request_id, head_only=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope, receive: Receive, facts: RequestFacts) -> tuple[str, Answer]:
        wait = self._addresses.take(address_key(facts.peer), self._desk.monotonic())
        if wait:
            refusal = refuse(DeskReason.RATE_LIMITED, "Too many requests of one address.", retry_after=wait)
            return "other", self._refused("other", refusal, facts)
        target: bytes = scope.get(TARGET, b"")
        path, question, _ = target.partition(b"?")
        known = path.decode("latin-1")
        if known in _DOCUMENTS:
            return "document", self._document(known, scope["method"], facts)
        state = self._desk.state
        if known in AGENT_PATHS and state is not None and state.agents is not None:
            return name_of(known), await self._agents(known, scope, receive, state, facts)
        if known not in self._endpoints:
            remedy = _ADMIN_REMEDY if known.startswith("/admin/") else ""
            return "other", self._refused("other", refuse(DeskReason.UNKNOWN_ENDPOINT, remedy=remedy), facts)
        name, endpoint = self._endpoints[known]
        if scope["method"] != "POST":
            return name, self._refused(name, refuse(DeskReason.METHOD_NOT_ALLOWED), facts, allow=b"POST")
        if question:
            # RFC 6749, section 2.3.1: credentials are never in a URL, and what is there is in every log.
            refusal = refuse(DeskReason.MALFORMED_FORM, "Parameters are sent in the body, not in the URL.")
            return name, self._refused(name, refusal, facts)
        decided = await self._decide(scope, receive, endpoint, facts)
        if isinstance(decided, DeskRefusal):
            return name, self._refused(name, decided, facts)
        return name, decided

    async def _decide(
        self, scope: Scope, receive: Receive, endpoint: _Endpoint, facts: RequestFacts
    ) -> Answer | DeskRefusal:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        authorization = [value for name, value in headers if name == b"authorization"]
        refused = self._desk.refuse_admin(authorization) if authorization else None
        if refused is not None:
            return refused
        body = await read_body(receive, headers, MAX_FORM_BYTES)
        if body is None:
            return refuse(DeskReason.FORM_TOO_LARGE)
        form = parse_form(body, [value for name, value in headers if name == b"content-type"])
        if isinstance(form, DeskRefusal):
            return form
        return await endpoint(form, authorization, facts)

    async def _agents(
        self, path: str, scope: Scope, receive: Receive, state: DeskState, facts: RequestFacts
    ) -> Answer:
        """An endpoint for agents, or a page for the people who claim them."""
        refused = partial(self._refused, name_of(path), facts=facts, is_agents=True, is_event=is_event(path))
        endpoints, method, allowed = self._desk.agent_endpoints, scope["method"], allowed_methods(path)
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        query = bytes(scope.get(TARGET, b"")).partition(b"?")[2]
        decided: Answer | DeskRefusal
        authorization = [value for name, value in headers if name == b"authorization"]
        if (is_admins := self._desk.refuse_admin(authorization)) is not None:
            return refused(is_admins)
        if method not in allowed.decode().split(", "):
            return refused(refuse(DeskReason.METHOD_NOT_ALLOWED), allow=allowed)
        if method == "POST" and query:
            decided = refuse(DeskReason.MALFORMED_FORM, "Parameters are sent in the body, not in the URL.")
        elif method == "POST":
            types = [value for name, value in headers if name == b"content-type"]
            body = await read_body(receive, headers, MAX_FORM_BYTES)
            decided = (
                refuse(DeskReason.FORM_TOO_LARGE)
                if body is None
                else await endpoints.change(path, body, types, state, facts)
            )
        else:
            cookies = "; ".join(value.decode("latin-1") for name, value in headers if name == b"cookie")
            decided = await endpoints.read(path, query, cookies, state, facts)
        if isinstance(decided, Answer):
            return decided
        answer = refused(decided)
        if not is_page(path):
            return answer
        shown = pages.error_page(
            decided.status, decided.code, decided.detail, decided.remedy, facts.request_id
        )
        return msgspec.structs.replace(shown, headers=(*shown.headers, *answer.headers))

    def _document(self, path: str, method: str, facts: RequestFacts) -> Answer:
        if method not in ("GET", "HEAD"):
            return self._refused("document", refuse(DeskReason.METHOD_NOT_ALLOWED), facts, allow=b"GET, HEAD")
        state = self._desk.state
        if state is None:
            return self._refused("document", refuse(DeskReason.NOT_READY, retry_after=1), facts)
        return json_answer(_DOCUMENTS[path](state), is_public=True)

    def _refused(
        self,
        endpoint: str,
        refusal: DeskRefusal,
        facts: RequestFacts,
        *,
        allow: bytes = b"",
        is_agents: bool = False,
        is_event: bool = False,
    ) -> Answer:
        self._desk.note_refusal(endpoint, refusal, facts)
        return refusal_answer(refusal, facts.request_id, allow, is_agents=is_agents, is_event=is_event)
