# SPDX-License-Identifier: Apache-2.0
"""The caller's current trace, for the headers of its requests (W3C Trace Context), if it traces at all."""

import sys
from typing import Final

import httpx

_API: Final = "opentelemetry.trace"
_TRACEPARENT, _TRACESTATE = "traceparent", "tracestate"


def add_trace_context(headers: httpx.Headers) -> None:
    """Add `traceparent` and `tracestate` of the current span of OpenTelemetry, where there is one.

    A program that has a span has imported OpenTelemetry: nothing is imported for it here. Headers that are
    there already, such as those of an instrumentation, stay. `baggage` is never sent: no gate passes it on.
    """
    get_current_span = getattr(sys.modules.get(_API), "get_current_span", None)
    if get_current_span is None or _TRACEPARENT in headers:
        return
    context = get_current_span().get_span_context()
    if not context.is_valid:
        return
    flags = int(context.trace_flags)
    headers[_TRACEPARENT] = f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"
    if context.trace_state:
        headers[_TRACESTATE] = context.trace_state.to_header()
