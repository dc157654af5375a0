# SPDX-License-Identifier: Apache-2.0
"""Spans as the gate notes them: plain values of the event loop; another thread exports them."""

from typing import Literal

import msgspec

from watchword.gate.tracing.trace_context import TraceParent

Kind = Literal["server", "internal"]
AttributeValue = str | int


class SpanRecord(msgspec.Struct, frozen=True, gc=False):
    """A span that is over.

    Attributes:
        name: what it is about; of few different values.
        kind: `server`: all that the gate did for a request; `internal`: a part of it.
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_id: that of the span it is part of; empty where it is the first of its trace.
        is_parent_remote: the span it is part of is the caller's.
        start: in nanoseconds since the epoch.
        end: likewise.
        attributes: by OpenTelemetry's semantic conventions, and `watchword.*`.
        error: the kind of failure; empty where there was none.
    """

    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str
    is_parent_remote: bool
    start: int
    end: int
    attributes: dict[str, AttributeValue]
    error: str = ""


class ServerSpan:
    """A request that is for the app, from its head to the end of its answer.

    Attributes:
        caller: the caller's span; None where the gate began the trace.
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        is_sampled: whether it is exported, with the decision that is part of it.
        start: in nanoseconds since the epoch.
        attributes: what is known of it by now.
    """

    __slots__ = ("attributes", "caller", "is_sampled", "span_id", "start", "trace_id")

    def __init__(
        self,
        caller: TraceParent | None,
        trace_id: str,
        span_id: str,
        start: int,
        *,
        is_sampled: bool,
        attributes: dict[str, AttributeValue],
    ) -> None:
        self.caller, self.trace_id, self.span_id, self.start = caller, trace_id, span_id, start
        self.is_sampled, self.attributes = is_sampled, attributes

    @property
    def claimed_trace_id(self) -> str:
        """The trace that the caller says it is part of; nothing where the gate began it."""
        return "" if self.caller is None else self.caller.trace_id

    def withhold(self, token: bytes) -> None:
        """Pass no `tracestate` on that holds the caller's token."""
        if token and self.caller is not None and token in self.caller.state:
            self.caller = msgspec.structs.replace(self.caller, state=b"")

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the app gets: the span that its own ones are part of, and whether that is exported."""
        value = f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}".encode()
        state = self.caller.state if self.caller is not None else b""
        return [(b"traceparent", value), *([(b"tracestate", state)] if state else [])]

    @property
    def lines(self) -> bytes:
        """The same as lines of HTTP/1.1."""
        return b"".join(b"%b: %b\r\n" % pair for pair in self.headers)


Parent = TraceParent | ServerSpan
