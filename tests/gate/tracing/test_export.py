# SPDX-License-Identifier: Apache-2.0
"""Spans on their way to a collector that is there, away, slow or silent: bounded, counted, not waited for."""

from __future__ import annotations

import json
import logging
import socket
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from testing.controlplane.process import wait_until
from tests.gate.tracing.receiver import Receiver, attributes, running_receiver
from watchword.gate.tracing import export
from watchword.gate.tracing.export import SpanExport, TracingError, otlp_export
from watchword.gate.tracing.spans import SpanRecord
from watchword.process.logs import JsonFormatter

TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
SECRET = "key-that-no-log-may-hold"
WAIT_SECONDS = 60


class Counts:
    """What an export says of itself."""

    def __init__(self) -> None:
        self.exported = 0
        self.lost: Counter[str] = Counter()

    def on_exported(self, number: int) -> None:
        self.exported += number

    def on_lost(self, cause: str, number: int) -> None:
        self.lost[cause] += number


def span(number: int = 0, **changes: object) -> SpanRecord:
    given = {
        "name": "GET /app/{account}",
        "kind": "server",
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent_id": PARENT,
        "is_parent_remote": True,
        "start": 1_800_000_000_000_000_000,
        "end": 1_800_000_000_000_001_000,
        "attributes": {"http.response.status_code": 200, "number": number},
    }
    return SpanRecord(**(given | changes))  # type: ignore[arg-type]  # by name


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with running_receiver() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        yield running


Start = Callable[[], tuple[SpanExport, Counts]]


@pytest.fixture
def start() -> Iterator[Start]:
    made: list[SpanExport] = []
    library = logging.getLogger("opentelemetry")
    before = library.handlers[:], library.propagate

    def make() -> tuple[SpanExport, Counts]:
        counts = Counts()
        made.append(otlp_export(on_exported=counts.on_exported, on_lost=counts.on_lost))
        return made[-1], counts

    yield make
    for each in made:
        each.close()
    library.handlers[:], library.propagate = before


def test_a_collector_gets_what_was_noted(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=tuist-0")
    exports, counts = start()
    exports.put(span())
    exports.put(span(kind="internal", error="broken", parent_id="", is_parent_remote=False))
    first, second = receiver.wait_for(2)
    assert (first.trace_id.hex(), first.span_id.hex(), first.parent_span_id.hex()) == (TRACE, SPAN, PARENT)
    assert (first.name, first.kind) == ("GET /app/{account}", first.SPAN_KIND_SERVER)
    assert first.end_time_unix_nano - first.start_time_unix_nano == 1000
    assert attributes(first) == {"http.response.status_code": 200, "number": 0}
    assert first.status.code == first.status.STATUS_CODE_UNSET
    assert second.status.code == second.status.STATUS_CODE_ERROR
    assert second.kind == second.SPAN_KIND_INTERNAL
    assert not second.parent_span_id
    assert receiver.resources["service.name"] == "watchword-gate"
    assert receiver.resources["k8s.pod.name"] == "tuist-0"
    wait_until(lambda: counts.exported == 2, what="the count", timeout_seconds=WAIT_SECONDS)
    assert not counts.lost


def test_the_services_name_is_what_its_owner_says(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "tuist-gate")
    exports, _ = start()
    exports.put(span())
    receiver.wait_for(1)
    assert receiver.resources["service.name"] == "tuist-gate"


def test_what_waits_is_exported_at_the_end(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    exports, counts = start()
    for number in range(700):
        exports.put(span(number))
    exports.close(WAIT_SECONDS)
    assert [attributes(each)["number"] for each in receiver.spans] == list(range(700))
    assert receiver.batches == 2
    assert counts.exported == 700


def test_a_silent_collector_costs_a_bounded_queue_and_no_time(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1000")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100")
    receiver.goes_on.clear()
    exports, counts = start()
    exports.put(span())
    assert receiver.is_asked.wait(WAIT_SECONDS)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(20_000):
            exports.put(span(number))
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # 1000 wait, and none more was taken: the one that is asked holds the one that it asks with.
    assert counts.lost == {export.QUEUE_FULL: 19_000}
    assert held < 2_000_000
    receiver.goes_on.set()
    receiver.wait_for(1001)
    exports.put(span())
    wait_until(lambda: counts.exported == 1002, what="the rest", timeout_seconds=WAIT_SECONDS)
    assert counts.lost == {export.QUEUE_FULL: 19_000}


def test_the_end_does_not_wait_for_a_silent_collector(receiver: Receiver, start: Start) -> None:
    receiver.goes_on.clear()
    exports, _ = start()
    exports.put(span())
    assert receiver.is_asked.wait(WAIT_SECONDS)
    before = time.monotonic()
    exports.close(0.1)
    # The collector itself would be silent for as long as WAIT_SECONDS.
    assert time.monotonic() - before < WAIT_SECONDS


@pytest.fixture
def lines() -> Iterator[list[dict[str, object]]]:
    """The gate's log, by the formatter that it has."""
    found: list[dict[str, object]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(JsonFormatter().format(record)))

    handler, root = Keep(), logging.getLogger()
    root.addHandler(handler)
    yield found
    root.removeHandler(handler)


def test_a_collector_that_is_away_is_counted_and_said_once_in_a_while(
    start: Start, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, object]]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    # An address and a header may hold a key.
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{port}/v1/traces?key={SECRET}"
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-api-key={SECRET}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    exports, counts = start()
    for number in range(3):
        exports.put(span(number))
    wait_until(lambda: counts.lost[export.EXPORT_FAILED] == 3, what="all lost", timeout_seconds=WAIT_SECONDS)
    exports.close(WAIT_SECONDS)
    assert counts.exported == 0
    [said] = [each for each in lines if each["message"] == "spans were lost"]
    assert said["spans"] == 1
    assert said["error_type"]
    assert SECRET not in json.dumps(lines)
    assert len(lines) == 1


def test_a_collector_that_refuses_is_counted(
    receiver: Receiver, start: Start, lines: list[dict[str, object]]
) -> None:
    receiver.status = 403
    exports, counts = start()
    exports.put(span())
    wait_until(
        lambda: counts.lost[export.EXPORT_FAILED] == 1, what="it is lost", timeout_seconds=WAIT_SECONDS
    )
    exports.close(WAIT_SECONDS)
    assert [(each["message"], each["error_type"]) for each in lines] == [("spans were lost", "403")]
    assert counts.exported == 0


def test_a_defect_of_the_library_does_not_end_the_thread(receiver: Receiver, start: Start) -> None:
    exports, counts = start()
    exports.put(span(trace_id="no hexadecimal number"))
    wait_until(
        lambda: counts.lost[export.EXPORT_FAILED] == 1, what="it is lost", timeout_seconds=WAIT_SECONDS
    )
    exports.put(span())
    receiver.wait_for(1)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "1 to 16384"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100000000", "1 to 16384"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many", "1 to 2048"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1", "1 to 60000"),
    ],
)
def test_a_variable_that_asks_for_what_there_is_not_is_an_error(
    name: str, value: str, said: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(TracingError) as caught:
        start()
    assert name in str(caught.value)
    assert value in str(caught.value)
    assert said in str(caught.value)
    assert "Remedy:" in str(caught.value)
