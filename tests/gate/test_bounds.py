# SPDX-License-Identifier: Apache-2.0
"""Nothing that a caller sends makes anything grow without a bound."""

import logging
import threading

import pytest

from watchword.gate.audit import QUEUE_ENTRIES, AuditEntry, AuditLog
from watchword.gate.logs import RefusalLog
from watchword.gate.rate_limits import RateLimiter
from watchword.identity import Reason, Refusal
from watchword.process.listening import parse_address
from watchword.trust import Limits


def test_an_audit_log_that_is_stuck_drops_and_counts_and_never_waits() -> None:
    class Stuck:
        def __init__(self) -> None:
            self.release = threading.Event()

        def write(self, _: bytes) -> int:
            self.release.wait()
            return 0

        def flush(self) -> None:
            pass

    stuck, dropped = Stuck(), []
    log = AuditLog(stuck, lambda: dropped.append(1))  # type: ignore[arg-type]  # as much of a stream as is used
    entry = AuditEntry(0, "id", "allowed", "sha256:0", 1)
    for _ in range(QUEUE_ENTRIES + 100):
        log.write(entry)
    assert 99 <= len(dropped) <= 100
    stuck.release.set()
    log.close()


def test_a_flood_of_refusals_is_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog()
    with caplog.at_level(logging.INFO, "watchword"):
        for number in range(10_000):
            log.note(Refusal(Reason.BAD_SIGNATURE), str(number))
        log.summarize()
    assert [record.message for record in caplog.records] == ["refused", "refused again"]
    assert vars(caplog.records[1])["times"] == 9_999


def test_a_bucket_fills_again_at_its_rate() -> None:
    limiter, limits = RateLimiter(), Limits(requests_per_second=2, burst=4)
    assert [limiter.take("w", limits, 0) is None for _ in range(5)] == [True] * 4 + [False]
    assert limiter.take("other", limits, 0) is None
    assert [limiter.take("w", limits, 1) is None for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("text", ["8443", "x", "x:", "x:99999", "x:-1", "::1:80", "x:8 0", "x:²"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|brackets"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[::1]:80", ("::1", 80)), (":8443", ("", 8443)), ("localhost:0", ("localhost", 0))],
)
def test_an_address_is_taken_apart(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected
