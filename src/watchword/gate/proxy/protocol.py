# SPDX-License-Identifier: Apache-2.0
"""The protocol of a gate's port that passes requests on: decided and sent where their last byte was read.

No task, no framework and no client library are in between. What the gate answers by itself goes the ways of
a gate without an app.
"""

import asyncio
import itertools
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from watchword.gate.authz_request import TOKEN_PLACE, AuthzRequest, Credential, find_credential
from watchword.gate.draining import Draining
from watchword.gate.engine import Engine
from watchword.gate.fast_path import MAX_ANSWERS_A_READ, FastPathProtocol
from watchword.gate.original_request import OriginalRequest
from watchword.gate.protocol import PassesOn
from watchword.gate.proxy.exchange import ProxiedExchange
from watchword.gate.proxy.headers import UnfitHeaderError
from watchword.gate.proxy.request_lines import request_lines
from watchword.gate.proxy.upstream import Upstream
from watchword.gate.proxy.upstream_errors import http2_only, unfit
from watchword.gate.proxy.withheld import REPORTED_POOL, passing, sign_in
from watchword.gate.request_templates import (
    MAX_READ_BYTES,
    ProxiedTemplate,
    RequestTemplate,
    RequestTemplates,
)
from watchword.gate.responses import NO_IDENTITY_LINES, Allowed
from watchword.gate.tracing.trace_context import (
    NO_HEADERS,
    TRACE_HEADERS,
    TraceParent,
    read_trace_parent,
)
from watchword.process.bounds import Budget
from watchword.process.http_protocol import expects_continue
from watchword.trust import form_flaw
from watchword.trust.ruleset import AUTHORIZATION

if TYPE_CHECKING:
    from watchword.gate.http2.upstream import AnyUpstream
    from watchword.gate.tracing.spans import ServerSpan
    from watchword.gate.tracing.tracer import Tracer

# No read is this short.
_NEVER: Final = b"\0"
_NUMBERS: Final = itertools.count()


class ProxyingProtocol(FastPathProtocol):
    """One connection to the port of a gate with an app behind it.

    Attributes:
        engine: what decides.
    """

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
        passes_on: PassesOn,
        upstream: "AnyUpstream",
        budget: Budget | None = None,
    ) -> None:
        """Pass on to an app what `passes_on` says is for it, if the engine decides so."""
        super().__init__(
            config,
            server_state,
            app_state,
            _loop,
            engine=engine,
            draining=draining,
            templates=templates,
            budget=budget,
            passes_on=passes_on,
        )
        self.engine, self.upstream = engine, upstream
        # ProxiedExchange asks only one that speaks HTTP/1.1 for a connection.
        self._upstream = cast("Upstream", upstream)
        self._forwarded = b""
        # How many requests were answered in the present turn of the loop.
        self._completed = 0
        # What the present read passed on, and the bytes around the token of the last one that did.
        self._passed: tuple[AuthzRequest, bytes] | None = None
        self._around = _NEVER
        # Once the caller has signed in for all of a connection to the app: the name of those that it has for
        # itself, also for the rounds of the sign-in and for what follows it.
        self._own_pool = b""
        self._signed_in: set[bytes] = set()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Note where the connection comes from, for the app."""
        super().connection_made(transport)
        if self.client is not None:
            self._forwarded = b"x-forwarded-for: %b\r\n" % self.client[0].encode()

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep no connection to the app that only this caller could use."""
        for pool in self._signed_in:
            self._upstream.close_idle(pool)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Answer or pass on; remember what was passed on as often as it comes again."""
        # What was begun by bytes that had waited is not of this read.
        rests, self._passed, self._completed, self._heads = self._rests, None, 0, 0
        super().data_received(data)
        # It is all of this read if nothing was there before it, no other request is in it, nothing waits, and
        # nothing was refused.
        if (
            rests
            and self._heads == 1
            and not (self.parser.held or self._is_over)
            and len(data) <= MAX_READ_BYTES
        ):
            self._learn(data)

    def begin_exchange(self, method: str) -> bool:
        """Decide on a request that is for the app, and pass it on."""
        parser, engine = self.parser, self.engine
        target, headers = parser.target, parser.headers
        if not self._passes_on(target):
            return False
        waits = parser.has_body and parser.http_minor == 1 and expects_continue(headers)
        exchange = ProxiedExchange(self, self._upstream, method, parser, awaits_continue=waits)
        self.cycle = exchange
        span, replaced = None, NO_HEADERS
        if engine.tracer is not None:
            replaced = TRACE_HEADERS
            version = "1.1" if parser.http_minor else "1.0"
            span = self._begin_span(engine.tracer, method, version, read_trace_parent(headers))
            exchange.span = span
        authz_request = AuthzRequest(
            find_credential(headers, engine.token_header),
            OriginalRequest(method, target, form_flaw(headers, has_body=parser.has_body)),
            peer=self.client,
            goes_to_app=True,
            parent=span,
        )
        decided = engine.decide(authz_request)
        lines = pool = b""
        if isinstance(decided, Allowed) and self._upstream.speaks_http2:
            decided = http2_only()
        elif isinstance(decided, Allowed):
            try:
                passes = passing(engine, headers, authz_request.credential, decided)
                passed, token, pool = passes.passed, passes.token, passes.pool
                if AUTHORIZATION in passed and not self._own_pool and sign_in(headers):
                    self._own_pool = b"%d" % next(_NUMBERS)
                if self._own_pool:
                    pool += self._own_pool
                    self._signed_in.add(pool)
                scheme = self.scheme or "http"
                lines = request_lines(parser, self._upstream, scheme, passed, token, replaced=replaced)
            except UnfitHeaderError as why:
                decided = unfit(str(why))
            else:
                knows_caller = decided.identity is not NO_IDENTITY_LINES
                if (
                    knows_caller
                    and parser.http_minor
                    and parser.keeps_alive
                    and not parser.has_body
                    # What names one span comes once.
                    and (span is None or span.caller is None)
                ):
                    self._passed = authz_request, lines
                if span is not None:
                    span.withhold(token)
        traced = span.lines if span is not None else b""
        exchange.begin(authz_request, decided, lines + self._forwarded + traced, pool)
        return True

    def _begin_span(
        self, tracer: "Tracer", method: str, version: str, caller: TraceParent | None
    ) -> "ServerSpan":
        peer = self.client[0] if self.client is not None else ""
        return tracer.begin(caller, method=method, scheme=self.scheme or "http", version=version, peer=peer)

    def _learn(self, data: bytes) -> None:
        if self._passed is None or not self.engine.reads_authorization:
            return
        authz_request, lines = self._passed
        credential, original = authz_request.credential, authz_request.original
        if not isinstance(credential, Credential) or not isinstance(original, OriginalRequest):
            return
        template = ProxiedTemplate(original, False, original.method, self.engine.active, lines)
        # What comes once, such as a path with an id, is not worth a place.
        self._around = self._templates.learn(data, credential.value, template, only=self._around or _NEVER)

    def _decide_token(self, data: bytes, template: RequestTemplate, value: bytes) -> bool:
        if not isinstance(template, ProxiedTemplate):
            return super()._decide_token(data, template, value)
        engine = self.engine
        if template.active is not engine.active:
            # Another bundle may let other headers through.
            return False
        if value[TOKEN_PLACE:] in template.lines:
            # What was some text to the caller who taught it holds the token of this one.
            return False
        span = None
        if engine.tracer is not None:
            span = self._begin_span(engine.tracer, template.method, "1.1", None)
        authz_request = AuthzRequest(
            Credential(value, sha256(value).digest()),
            template.original,
            peer=self.client,
            goes_to_app=True,
            parent=span,
        )
        decided = engine.decide_token(authz_request)
        if decided is None:
            return False
        self._rests, self._is_whole, self._has_cycle = False, True, True
        self._kept_read = None
        # It stands behind this request, as it would if it had read it.
        self.parser.is_paused = True
        exchange = ProxiedExchange(self, self._upstream, template.method)
        self.cycle = exchange
        # One that is reported has a token that a known key signed: Authorization stays here, as was learned.
        pool = REPORTED_POOL if isinstance(decided, Allowed) and decided.would_refuse else b""
        lines = template.lines + self._forwarded
        if span is not None:
            exchange.span = span
            lines += span.lines
        exchange.begin(authz_request, decided, lines, pool)
        exchange.take_end()
        return True

    # What the exchange calls.

    def is_draining(self) -> bool:
        """Whether each answer is the last one of its connection."""
        return self._draining.has_begun

    def on_exchange_complete(self, exchange: ProxiedExchange) -> None:
        """Go on with the next request, or see to the rest of this one's body."""
        self.server_state.total_requests += 1
        flow = self.flow
        if flow.is_full:
            flow.is_full = False
            flow.resume_reading()
        if self._is_over or self.transport.is_closing():
            return
        if not exchange.keep_alive:
            self._end_after_answer()
        elif self._is_whole:
            self.rest()
            self._completed += 1
            if self._completed >= MAX_ANSWERS_A_READ:
                # Where all are refused, nothing else lets others have their turn before the caller's own
                # buffer is full: with 200 such callers, the loop came round in four seconds.
                self._rests = not self.parser.held
                self.loop.call_soon(self._go_on_in_turn)
            elif self.parser.held or flow.write_paused:
                self._go_on()
            else:
                self.parser.resume()
        else:
            self._discard_body()

    def _go_on_in_turn(self) -> None:
        self._completed = 0
        if not self._is_over:
            self._go_on()
