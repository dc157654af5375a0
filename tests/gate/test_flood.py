# SPDX-License-Identifier: Apache-2.0
"""What a flood of requests may write: little to the log, little to the audit log, and never in the way."""

import io
import json
import logging
import threading

import pytest

from testing.manifests import issuer, service
from testing.tokens import token
from tests.gate.running import RunningGate
from watchword.gate.audit import QUEUE_ENTRIES, UNPROVEN_PER_SECOND, AuditEntry, AuditLog
from watchword.gate.logs import RefusalLog
from watchword.identity import Reason, Refusal
from watchword.process.logs import LOGGER, MESSAGES_PER_SPAN, SUMMARY_SECONDS, FloodFilter

ENTRY = AuditEntry(1.0, "d", "refused", "sha256:0", 1)


class StuckStream(io.BytesIO):
    """A stream that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.is_reached, self.let_go = threading.Event(), threading.Event()

    def write(self, data: object) -> int:
        self.is_reached.set()
        self.let_go.wait(30)
        return super().write(data)  # type: ignore[arg-type]  # BytesIO wants a buffer, and gets one


def test_what_the_audit_queue_cannot_take_is_counted_and_holds_nobody_up() -> None:
    stream, dropped = StuckStream(), []
    audit = AuditLog(stream, lambda: dropped.append(1))
    audit.write(ENTRY)
    assert stream.is_reached.wait(30)
    for _ in range(QUEUE_ENTRIES + 7):
        audit.write(ENTRY)
    assert len(dropped) == 7
    stream.let_go.set()
    audit.close(30)
    assert len(stream.getvalue().splitlines()) == QUEUE_ENTRIES + 1


def test_an_audit_stream_that_was_closed_is_counted_too() -> None:
    stream, dropped = io.BytesIO(), []
    stream.close()
    audit = AuditLog(stream, lambda: dropped.append(1))
    audit.write(ENTRY)
    audit.close()
    assert dropped == [1]


def test_a_flood_without_tokens_is_audited_a_little_and_counted_in_full(gate: RunningGate) -> None:
    for _ in range(500):
        gate.call("/authz")
    gate.audit.close()
    assert len(gate.audit_stream.getvalue().splitlines()) == UNPROVEN_PER_SECOND
    assert (
        gate.metrics.registry.get_sample_value("watchword_audit_dropped_total") == 500 - UNPROVEN_PER_SECOND
    )


def test_who_was_refused_under_a_good_signature_is_audited_through_any_flood(gate: RunningGate) -> None:
    gate.adopt(issuer(), service(), generation=2)
    for _ in range(100):
        gate.call("/authz")
    gate.call("/authz", token())
    gate.audit.close()
    last = json.loads(gate.audit_stream.getvalue().splitlines()[-1])
    assert last["reason"] == "unknown_workload"
    assert "system:serviceaccount:atlas-production:atlas of issuer production" in last["detail"]


def test_what_was_not_proven_leaves_no_detail_in_the_audit_log(gate: RunningGate) -> None:
    gate.call("/authz", headers=[("authorization", "Bearer a.b")])
    gate.audit.close()
    assert "detail" not in json.loads(gate.audit_stream.getvalue())


def test_refusals_are_logged_once_by_reason_and_then_as_a_number(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog()
    with caplog.at_level(logging.INFO, LOGGER.name):
        for _ in range(1000):
            log.note(Refusal(Reason.EXPIRED), "d")
        log.summarize()
    assert [record.message for record in caplog.records] == ["refused", "refused again"]
    assert vars(caplog.records[1])["times"] == 999


def _record(message: str) -> logging.LogRecord:
    return logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, message, (), None)


def test_one_message_is_written_so_often_and_the_rest_is_told_later() -> None:
    now = [0.0]
    flood = FloodFilter(lambda: now[0])
    written = [flood.filter(_record("Invalid HTTP request received.")) for _ in range(1000)]
    assert sum(written) == MESSAGES_PER_SPAN
    assert flood.filter(_record("another message"))
    now[0] = SUMMARY_SECONDS
    next_one = _record("Invalid HTTP request received.")
    assert flood.filter(next_one)
    assert vars(next_one)["unwritten"] == 1000 - MESSAGES_PER_SPAN


def test_messages_that_all_differ_share_one_allowance() -> None:
    flood = FloodFilter(lambda: 0.0)
    assert sum(flood.filter(_record(f"message {number}")) for number in range(10_000)) < 400
