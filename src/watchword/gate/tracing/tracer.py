# SPDX-License-Identifier: Apache-2.0
"""Which requests are traced, and what is said of them: a span a decision, and one a request for the app.

Whether a request is exported is the gate's own choice, by lot: neither the caller's `sampled` flag nor the
trace id, which the caller chooses too, has a say, or every caller could have everything recorded. Never in a
span are a token, a path as it came (it may hold a secret), a query, a header or a body.
"""

import os
import time
from collections.abc import Callable
from typing import Final

from watchword.gate.audit import WOULD_REFUSE, Teller
from watchword.gate.tracing.spans import AttributeValue, ServerSpan, SpanRecord
from watchword.gate.tracing.trace_context import TraceParent
from watchword.identity import Identity, Proven, Refusal
from watchword.trust import RouteMatch, Ruleset

# Others are a stranger's words, of which there may be any number ("HTTP spans", `http.request.method`).
_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)
_OTHER: Final = "_OTHER"
_TRACE_BYTES, _SPAN_BYTES, _LOT_BYTES = 16, 8, 7
_LOTS: Final = 1 << (8 * _LOT_BYTES)
_FIRST_SERVER_ERROR: Final = 500
DECISION: Final = "watchword.decide"
# "RPC semantic conventions for gRPC", `rpc.response.status_code`.
_GRPC_STATUSES: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
# Those that are a server's own failure; the others are the caller's, or part of the application's language.
_GRPC_ERRORS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
_UNKNOWN_STATUS: Final = 2
_YES: Final = 200


class Tracer:
    """Makes spans and hands those on that were drawn. Not thread-safe: it belongs to one event loop."""

    def __init__(
        self,
        ratio: float,
        export: Callable[[SpanRecord], None],
        random_bytes: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Export the part `ratio` (0 to 1) of all requests; `export` takes a span and never waits."""
        self._lots, self._export = int(ratio * _LOTS), export
        self._random_bytes, self._clock = random_bytes, clock
        self._began = 0

    def begin(
        self,
        caller: TraceParent | None,
        *,
        method: str,
        scheme: str,
        version: str,
        peer: str,
        is_grpc: bool = False,
    ) -> ServerSpan:
        """Begin the span of a request that is for the app.

        Args:
            caller: its span; None begins a trace.
            method: the request's.
            scheme: `http` or `https`, as the caller spoke.
            version: of HTTP: `1.0`, `1.1` or `2`.
            peer: the address of the other end; empty where it is not known.
            is_grpc: it is a gRPC call.
        """
        trace_id, span_id, is_sampled = self._draw(caller)
        attributes: dict[str, AttributeValue] = {}
        if is_sampled:
            attributes["http.request.method"] = method if method in _METHODS else _OTHER
            attributes["url.scheme"] = scheme
            attributes["network.protocol.version"] = version
            if peer:
                attributes["network.peer.address"] = peer
            if is_grpc:
                attributes["rpc.system.name"] = "grpc"
        return ServerSpan(
            caller, trace_id, span_id, self._clock(), is_sampled=is_sampled, attributes=attributes
        )

    def end(self, span: ServerSpan, status: int, *, error: str = "", grpc_status: bytes = b"") -> None:
        """End the span of a request.

        Args:
            span: it.
            status: of the answer; 0: there was none.
            error: what broke off; empty where nothing did.
            grpc_status: the number in the trailers of a gRPC call, as it came.
        """
        if not span.is_sampled:
            return
        attributes = span.attributes
        if status:
            attributes["http.response.status_code"] = status
        if not error and status >= _FIRST_SERVER_ERROR:
            error = str(status)
        if grpc_status:
            number = int(grpc_status) if grpc_status.isdigit() and len(grpc_status) < 3 else _UNKNOWN_STATUS
            name = _GRPC_STATUSES[number if number < len(_GRPC_STATUSES) else _UNKNOWN_STATUS]
            attributes["rpc.response.status_code"] = name
            if name in _GRPC_ERRORS:
                error = error or name
        if error:
            attributes["error.type"] = error
        method, route = attributes["http.request.method"], attributes.get("http.route")
        name = "HTTP" if method == _OTHER else str(method)
        caller = span.caller
        self._export(
            SpanRecord(
                name if route is None else f"{name} {route}",
                "server",
                span.trace_id,
                span.span_id,
                "" if caller is None else caller.span_id,
                caller is not None,
                span.start,
                self._clock(),
                attributes,
                error,
            )
        )

    def begin_decision(self) -> None:
        """Note that a decision begins, which ends in this very turn of the loop."""
        self._began = self._clock()

    def note_decision(
        self,
        told: Teller | None,
        decision_id: str,
        ruleset: Ruleset | None,
        refusal: Refusal | None,
        *,
        who: Identity | Proven | None,
        match: RouteMatch | None,
        passes: bool = False,
    ) -> str:
        """Note a decision, and return the id of its trace.

        Args:
            told: knows the request that it is about.
            decision_id: names the decision.
            ruleset: that it was made by; None where none is in use.
            refusal: why it is a no; None: it is a yes.
            who: what is proven of the caller.
            match: the route that was found.
            passes: it is a no that is only reported.
        """
        parent = told.parent if told is not None else None
        start, self._began = self._began, 0
        route = match.path if match is not None else ""
        if isinstance(parent, ServerSpan):
            if not parent.is_sampled:
                return parent.trace_id
            trace_id, parent_id = parent.trace_id, parent.span_id
            span_id = self._random_bytes(_SPAN_BYTES).hex()
            if route:
                parent.attributes["http.route"] = route
        else:
            trace_id, span_id, is_sampled = self._draw(parent)
            if not is_sampled:
                return trace_id
            parent_id = "" if parent is None else parent.span_id
        # Only for what is exported: that may be one request of a thousand.
        now, is_child = self._clock(), isinstance(parent, ServerSpan)
        status = refusal.reason.status if refusal is not None and not passes else _YES
        attributes = _attributes(decision_id, ruleset, refusal, who)
        if passes:
            attributes["watchword.decision.outcome"] = WOULD_REFUSE
        if not is_child:
            attributes["http.response.status_code"] = status
        if route:
            attributes["http.route"] = route
        self._export(
            SpanRecord(
                DECISION,
                "internal" if is_child else "server",
                trace_id,
                span_id,
                parent_id,
                parent is not None and not is_child,
                start or now,
                now,
                attributes,
                str(status) if status >= _FIRST_SERVER_ERROR else "",
            )
        )
        return trace_id

    def _draw(self, caller: TraceParent | None) -> tuple[str, str, bool]:
        """The ids of a span and of its trace, and whether it is exported."""
        drawn = self._random_bytes(_LOT_BYTES + _SPAN_BYTES + (_TRACE_BYTES if caller is None else 0))
        is_sampled = int.from_bytes(drawn[:_LOT_BYTES], "big") < self._lots
        span_id = drawn[_LOT_BYTES : _LOT_BYTES + _SPAN_BYTES].hex()
        trace_id = drawn[_LOT_BYTES + _SPAN_BYTES :].hex() if caller is None else caller.trace_id
        return trace_id, span_id, is_sampled


def _attributes(
    decision_id: str, ruleset: Ruleset | None, refusal: Refusal | None, who: Identity | Proven | None
) -> dict[str, AttributeValue]:
    """What a decision says of itself: proven, short, and of a bundle or an enum."""
    attributes: dict[str, AttributeValue] = {
        "watchword.decision.id": decision_id,
        "watchword.decision.outcome": "refused" if refusal else "allowed",
    }
    if refusal is not None:
        attributes["watchword.decision.reason"] = refusal.reason.code
    if ruleset is not None:
        attributes["watchword.service"] = ruleset.service
        attributes["watchword.bundle.generation"] = ruleset.generation
    if who is not None and who.issuer:
        attributes["watchword.issuer"] = who.issuer
    if who is not None and who.workload:
        attributes["watchword.workload"] = who.workload
    return attributes
