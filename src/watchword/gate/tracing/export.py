# SPDX-License-Identifier: Apache-2.0
"""Spans to an OpenTelemetry collector: a bounded queue, a thread that drains it, a count of what was lost.

A collector that is away, slow or silent must never be felt by a request: the queue takes a span or counts it
as lost, at once. Only this module imports OpenTelemetry, and only a gate that traces imports this module.
"""

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from watchword.gate.tracing.spans import SpanRecord
from watchword.process.logs import LOGGER

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

# The specification's own defaults ("SDK environment variables", Batch Span Processor).
QUEUE_SPANS: Final = 2048
BATCH_SPANS: Final = 512
DELAY_MILLISECONDS: Final = 5000
# A span is half a KiB: beyond this, what a variable asks for would be the memory of the pod.
MAX_QUEUE_SPANS: Final = 16_384
# How often it is said that spans were lost, in seconds.
LOG_SECONDS: Final = 60.0
# How long the end of the process waits for the last batch, in seconds.
CLOSE_SECONDS: Final = 3.0
SERVICE_NAME: Final = "watchword-gate"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_ONLY_PROTOCOL: Final = "http/protobuf"
_LIBRARY: Final = "opentelemetry"
QUEUE_FULL, EXPORT_FAILED = "queue_full", "export_failed"


class TracingError(Exception):
    """Tracing cannot be turned on; the message says what is wrong and what would be right."""


class SpanExport:
    """Exports spans from a thread of its own."""

    def __init__(
        self,
        exporter: "SpanExporter",
        convert: "Callable[[SpanRecord], ReadableSpan]",
        *,
        on_exported: Callable[[int], None],
        on_lost: Callable[[str, int], None],
        queue_spans: int = QUEUE_SPANS,
        batch_spans: int = BATCH_SPANS,
        delay_seconds: float = DELAY_MILLISECONDS / 1000,
    ) -> None:
        """Start the thread.

        Args:
            exporter: sends a batch, and may take its time.
            convert: makes what it takes.
            on_exported: called with the number of spans that a collector took.
            on_lost: called with the cause and the number of those that none did.
            queue_spans: how many may wait.
            batch_spans: how many are sent at once.
            delay_seconds: how long the first of a batch waits for others.
        """
        self._exporter, self._convert = exporter, convert
        self._on_exported, self._on_lost = on_exported, on_lost
        self._queue: queue.Queue[SpanRecord | None] = queue.Queue(queue_spans)
        self._batch_spans, self._delay_seconds = batch_spans, delay_seconds
        self._closing = threading.Event()
        # Each is counted by one thread alone: by the event loop, by the one that exports.
        self._refused = self._failed = self._said = 0
        self._said_at = -LOG_SECONDS
        self.trouble = _Trouble()
        self._thread = threading.Thread(target=self._drain, name="spans", daemon=True)
        self._thread.start()

    def put(self, span: SpanRecord) -> None:
        """Queue a span; never waits."""
        try:
            self._queue.put_nowait(span)
        except queue.Full:
            self._refused += 1
            self._on_lost(QUEUE_FULL, 1)

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """Export what is queued and stop; a collector that is silent is given up after the time-out."""
        self._closing.set()
        # Where there is no room for it, the thread is not waiting.
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(timeout_seconds)
        self._exporter.shutdown()

    def _drain(self) -> None:
        while batch := self._next_batch():
            self._export(batch)
            self._say_losses()

    def _next_batch(self) -> list[SpanRecord]:
        """The next spans; none at the end."""
        batch: list[SpanRecord] = []
        until = 0.0
        while len(batch) < self._batch_spans:
            try:
                if self._closing.is_set():
                    span = self._queue.get_nowait()
                elif batch:
                    span = self._queue.get(timeout=max(0.0, until - time.monotonic()))
                else:
                    span = self._queue.get()
            except queue.Empty:
                break
            if span is None:
                continue
            if not batch:
                until = time.monotonic() + self._delay_seconds
            batch.append(span)
        return batch

    def _export(self, batch: list[SpanRecord]) -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult

        self.trouble.last = ""
        try:
            result = self._exporter.export([self._convert(each) for each in batch])
        except Exception as error:  # noqa: BLE001 - a library's defect must not end the thread
            self.trouble.last = type(error).__name__
            result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self._on_exported(len(batch))
        else:
            self._failed += len(batch)
            self._on_lost(EXPORT_FAILED, len(batch))

    def _say_losses(self) -> None:
        now, lost = time.monotonic(), self._refused + self._failed
        if lost > self._said and now - self._said_at >= LOG_SECONDS:
            LOGGER.warning(
                "spans were lost", extra={"spans": lost - self._said, "error_type": self.trouble.last}
            )
            self._said, self._said_at = lost, now


class _Trouble(logging.Handler):
    """What the library logs of its failures, reduced to what holds no address, no key and no answer's text.

    Attributes:
        last: the type of the last error, the HTTP status that a collector gave, or `timeout`; empty: none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the kind of a failure."""
        given = record.args if isinstance(record.args, tuple) else ()
        for each in given:
            if isinstance(each, Exception):
                self.last = type(each).__name__
                return
            if isinstance(each, int) and not isinstance(each, bool):
                self.last = str(each)
                return
        if record.levelno >= logging.ERROR and not self.last:
            # It tried again until its time was over, and says no more.
            self.last = "timeout"


def otlp_export(
    *,
    on_exported: Callable[[int], None],
    on_lost: Callable[[str, int], None],
    environment: Mapping[str, str] = os.environ,
) -> SpanExport:
    """Export by OTLP over HTTP, as the OTEL_* variables say.

    Args:
        on_exported: as in SpanExport.
        on_lost: likewise.
        environment: the variables that are read here; OpenTelemetry reads its own.

    Raises:
        TracingError: a library is missing, or a variable asks for what there is not.
    """
    for name in _PROTOCOLS:
        protocol = environment.get(name) or _ONLY_PROTOCOL
        if protocol != _ONLY_PROTOCOL:
            raise TracingError(
                f"{name} is {protocol!a}, and the gate speaks {_ONLY_PROTOCOL} alone. Remedy: remove it, and "
                "name a receiver of OTLP over HTTP, on port 4318 by default"
            )
    sizes = [
        _number(environment, name, default, most)
        for name, default, most in (
            ("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_SPANS, MAX_QUEUE_SPANS),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH_SPANS, QUEUE_SPANS),
            ("OTEL_BSP_SCHEDULE_DELAY", DELAY_MILLISECONDS, 60_000),
        )
    ]
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        from watchword.gate.tracing.conversion import converter
    except ImportError as error:
        raise TracingError(
            f"tracing needs OpenTelemetry, and {error.name} is not installed. Remedy: install "
            "watchword[otel], or leave the flag out"
        ) from None
    try:
        exporter = OTLPSpanExporter()
        convert = converter({"service.name": SERVICE_NAME})
    except Exception as error:  # noqa: BLE001 - whatever the library makes of its variables
        raise TracingError(
            f"OpenTelemetry does not start ({type(error).__name__}). Remedy: correct the variables "
            "OTEL_EXPORTER_OTLP_*"
        ) from None
    export = SpanExport(
        exporter,
        convert,
        on_exported=on_exported,
        on_lost=on_lost,
        queue_spans=sizes[0],
        batch_spans=min(sizes[0], sizes[1]),
        delay_seconds=sizes[2] / 1000,
    )
    # Its own lines quote addresses and answers, and come with each batch.
    library = logging.getLogger(_LIBRARY)
    library.handlers[:], library.propagate = [export.trouble], False
    return export


def _number(environment: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise TracingError(
            f"{name} is {text[:32]!a}, and not a number from 1 to {most}. Remedy: correct it, or remove it"
        )
    return int(text)
