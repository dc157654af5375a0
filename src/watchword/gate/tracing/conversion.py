# SPDX-License-Identifier: Apache-2.0
"""The gate's spans as OpenTelemetry's, for its exporter; called in the thread that exports."""

from collections.abc import Callable, Mapping
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from watchword.gate.tracing.spans import SpanRecord

_KINDS: Final = {"server": SpanKind.SERVER, "internal": SpanKind.INTERNAL}
# What OpenTelemetry calls a service that no variable names.
_NAME, _UNNAMED = "service.name", "unknown_service"
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


def converter(service: Mapping[str, str]) -> Callable[[SpanRecord], ReadableSpan]:
    """What makes OpenTelemetry's spans of the gate's.

    Args:
        service: attributes of their resource; OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME win.
    """
    given = dict(Resource.create().attributes)
    if str(given.get(_NAME, _UNNAMED)).startswith(_UNNAMED):
        given.pop(_NAME, None)
    resource = Resource({**service, **given})
    scope = InstrumentationScope("watchword.gate")

    def convert(span: SpanRecord) -> ReadableSpan:
        trace_id = int(span.trace_id, 16)
        parent = None
        if span.parent_id:
            parent = SpanContext(trace_id, int(span.parent_id, 16), span.is_parent_remote, _SAMPLED)
        return ReadableSpan(
            span.name,
            SpanContext(trace_id, int(span.span_id, 16), False, _SAMPLED),
            parent,
            resource,
            span.attributes,
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR) if span.error else Status(StatusCode.UNSET),
            start_time=span.start,
            end_time=span.end,
            instrumentation_scope=scope,
        )

    return convert
