# SPDX-License-Identifier: Apache-2.0
"""Decisions answered where the last byte of the request was read, without a task, a scope or a framework.

It takes only what it can keep every promise for: a whole request to `/authz` or below, in HTTP/1.1, without a
body, without a header that comes twice, on a connection that stays open and on which nothing is in flight.
Everything else goes to uvicorn's request cycle and the application, which give the same bytes.
"""

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from watchword.gate.authz_request import (
    PATH,
    AuthzRequest,
    Credential,
    credential_of,
    find_credential,
    read_authz_request,
)
from watchword.gate.draining import Draining
from watchword.gate.engine import Engine
from watchword.gate.original_request import PAIRS
from watchword.gate.protocol import PassesOn, TargetProtocol, passes_nothing_on
from watchword.gate.request_templates import MAX_READ_BYTES, RequestTemplate, RequestTemplates
from watchword.gate.responses import ALLOWED_LINES, NO_IDENTITY_LINES, Allowed, Answer, lines_of
from watchword.gate.tracing.trace_context import read_trace_parent
from watchword.process.bounds import Budget

if TYPE_CHECKING:
    from watchword.gate.http2.connection import Service
    from watchword.gate.http2.upstream import AnyUpstream

# In one go; a caller who pipelines more of them waits in uvicorn's queue, behind the other callers.
MAX_ANSWERS_A_READ: Final = 16
# The targets of which no one needs to ask whether a URL parser would take them.
_PLAIN: Final = frozenset({PATH, *PAIRS})
# A caller who sends one of these may want what only uvicorn does.
_TELLING: Final = frozenset({b"content-length", b"expect"})
_NOTHING: Final = b""

Question = tuple[AuthzRequest | Answer, bool]


class FastPathProtocol(TargetProtocol):
    """uvicorn's HTTP protocol for the gate's port.

    Next to uvicorn's own state it knows whether the connection rests: between two messages, the last one
    answered here. Only a connection that rests takes the shortest way: a read that is, byte for byte, the
    request that this connection sent before, or one that differs from a known one in its token alone, is not
    parsed again.
    """

    # The app behind the gate, where there is one.
    upstream: "AnyUpstream | None" = None
    # The request that is being read, once its head was found fit; and what the last whole read was.
    _question: Question | None = None
    _kept_read: bytes | None = None
    _kept: Question
    # Of the present read: how many requests were answered here, and how many began, whichever way they go.
    _answers = _heads = 0
    _knows_caller = False
    _rested_at = 0.0
    _rest_timer: asyncio.TimerHandle | None = None
    # The first lines of a yes, which change with the date: once a second.
    _defaults: object = None
    _default_lines = _yes = _NOTHING

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        engine: Engine,
        draining: Draining,
        templates: RequestTemplates,
        budget: Budget | None = None,
        passes_on: PassesOn = passes_nothing_on,
    ) -> None:
        """Answer with an engine's decisions, until draining begins: that is done by the application."""
        super().__init__(config, server_state, app_state, _loop, budget=budget, passes_on=passes_on)
        self._engine, self._draining, self._templates = engine, draining, templates

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave no timer behind."""
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
        super().connection_lost(exc)

    def http2_service(self) -> "Service":
        """What a connection takes from here when it speaks HTTP/2."""
        from watchword.gate.http2.connection import Service

        return Service(
            engine=self._engine,
            app=self.app,
            draining=self._draining,
            passes_on=self._passes_on,
            upstream=self.upstream,
            budget=self.budget,
            state=self.server_state,
            keep_alive_seconds=self.timeout_keep_alive,
        )

    def data_received(self, data: bytes) -> None:
        """Answer at once what was asked before; have everything else parsed."""
        rests = self._rests and len(data) <= MAX_READ_BYTES
        # What is known of reads was found in Authorization.
        if rests and self._engine.reads_authorization and self._is_open():
            if data == self._kept_read:
                request, is_head = self._kept
                decided = self._engine.decide(request) if isinstance(request, AuthzRequest) else request
                self._say(decided, is_head)
                return
            recognized = self._templates.recognize(data)
            if recognized is not None and self._decide_token(data, *recognized):
                return
        # From here on as the base class does it, without a call of its own for each request.
        if self._is_over:
            return
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._answers = self._heads = 0
        self._read(data)
        # The parser's state between two messages is always the same, so the same bytes mean the same again;
        # what they mean is known here only if they are one request, answered here, and nothing else.
        if rests and self._rests and self._answers == self._heads == 1 and self._engine.reads_authorization:
            self._kept_read = data
            request, is_head = self._kept
            if (
                self._knows_caller
                and isinstance(request, AuthzRequest)
                and isinstance(request.credential, Credential)
                # What names one span comes once.
                and request.parent is None
            ):
                self._templates.learn(
                    data,
                    request.credential.value,
                    RequestTemplate(request.original, is_head, request.method),
                )

    def _after_read(self) -> None:
        if self._rests:
            if not self.parser.held and self.counted_bytes == self.bounds.connection_bytes:
                return
            # A part of the next head came: the connection is no longer between two messages.
            self._rests = not self.parser.has_begun
        super()._after_read()

    def _go_on(self) -> None:
        self._answers = 0
        super()._go_on()

    def asked_at(self) -> float:
        """When it asked for something last, on the loop's clock."""
        return max(self._asked_at, self._rested_at)

    def _decide_token(self, data: bytes, template: RequestTemplate, value: bytes) -> bool:
        authz_request = AuthzRequest(
            Credential(value, sha256(value).digest()), template.original, template.method, peer=self.client
        )
        decided = self._engine.decide_token(authz_request)
        if decided is None:
            return False
        self._kept_read, self._kept = data, (authz_request, template.is_head)
        self._say(decided, template.is_head)
        return True

    def on_head(self) -> None:
        """Find out which way the request goes."""
        self._rests, parser = False, self.parser
        self._heads += 1
        question = self._fit_question() if parser.target.startswith(PATH) else None
        self._question = question
        if question is None:
            super().on_head()
            return
        self._has_asked = True
        if self.is_counted_as_head:
            self.budget.asked(self)
        if self._deadline is not None:
            self._meet_deadline()

    def on_message_complete(self) -> None:
        """Answer, if it is ours to answer."""
        question = self._question
        if question is None:
            super().on_message_complete()
            return
        self._kept, self._kept_read, self._question = question, None, None
        self._answer(*question)
        if self.flow.write_paused:
            # Anyone who takes no answers gets no more of them.
            self.parser.pause()

    def _fit_question(self) -> Question | None:
        parser = self.parser
        url, headers = parser.target, parser.headers
        fields = dict(headers)
        if (
            not self._is_open()
            or self._answers >= MAX_ANSWERS_A_READ
            or self.access_log
            or self._ends
            or parser.has_body
            or not parser.keeps_alive
            or len(fields) != len(headers)
            or not (_TELLING.isdisjoint(fields) or _is_plain_all_the_same(fields))
        ):
            return None
        method = parser.method
        if url == PATH:
            engine = self._engine
            if engine.reads_authorization:
                credential = credential_of(fields.get(b"authorization"))
            else:
                credential = find_credential(headers, engine.token_header)
            parent = read_trace_parent(headers) if engine.tracer is not None else None
            return AuthzRequest(
                credential, None, method.decode("ascii"), PATH, self.client, parent
            ), method == b"HEAD"
        if url not in _PLAIN and not _is_plain(url):
            return None
        authz_request = read_authz_request(
            method.decode("ascii"),
            url,
            headers,
            self.client,
            self._engine.token_header,
            traces=self._engine.tracer is not None,
        )
        return None if authz_request is None else (authz_request, method == b"HEAD")

    def _answer(self, request: AuthzRequest | Answer, is_head: bool) -> None:
        self._say(self._engine.decide(request) if isinstance(request, AuthzRequest) else request, is_head)

    def _say(self, decided: Allowed | Answer, is_head: bool) -> None:
        state = self.server_state
        if state.default_headers is not self._defaults:
            self._refresh_defaults()
        if isinstance(decided, Allowed):
            own = f"x-watchword-decision-id: {decided.decision_id}\r\n\r\n".encode()
            self.transport.write(b"".join((self._yes, decided.identity, decided.granted, own)))
            # A public route is for everyone: only a caller who was recognized may teach a template.
            self._knows_caller = decided.identity is not NO_IDENTITY_LINES
        else:
            lines = decided.lines or lines_of(decided.headers)
            body = _NOTHING if is_head else decided.body
            whole = (STATUS_LINE[decided.status], self._default_lines, lines, b"\r\n", body)
            self.transport.write(b"".join(whole))
            self._knows_caller = False
        state.total_requests += 1
        self._answers += 1
        # As in `rest`, without a call.
        self._rests = True
        self._rested_at = self.loop.time()
        if self._rest_timer is None:
            self._rest_timer = self.loop.call_later(self.timeout_keep_alive, self._end_rest)

    def default_lines(self) -> bytes:
        """The lines that the head of each answer has, the gate's own and the app's alike: the date."""
        if self.server_state.default_headers is not self._defaults:
            self._refresh_defaults()
        return self._default_lines

    def _refresh_defaults(self) -> None:
        defaults = self.server_state.default_headers
        self._defaults, self._default_lines = defaults, lines_of(defaults)
        self._yes = b"%b%b%b" % (STATUS_LINE[200], self._default_lines, ALLOWED_LINES)

    def rest(self) -> None:
        """Wait for the next request for as long as a connection is kept."""
        self._rests = True
        self._rested_at = self.loop.time()
        if self._rest_timer is None:
            self._rest_timer = self.loop.call_later(self.timeout_keep_alive, self._end_rest)

    def _is_open(self) -> bool:
        is_ending = self._is_over or self._draining.has_begun or self.transport.is_closing()
        return not (is_ending or self.flow.write_paused)

    def _end_rest(self) -> None:
        # One timer for many answers: it looks at the time of the last one, instead of being set by each.
        self._rest_timer = None
        if not self._rests or self.transport.is_closing():
            return
        left = self._rested_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._rest_timer = self.loop.call_later(left, self._end_rest)
        else:
            self.transport.close()


def _is_plain_all_the_same(fields: Mapping[bytes, bytes]) -> bool:
    return (
        fields.get(b"expect", _NOTHING).lower() != b"100-continue"
        and fields.get(b"content-length", b"0") == b"0"
    )


def _is_plain(url: bytes) -> bool:
    try:
        return httptools.parse_url(url).path.isascii()
    except httptools.HttpParserInvalidURLError:
        return False
