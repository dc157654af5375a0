# SPDX-License-Identifier: Apache-2.0
"""Report only ends by itself, whatever a clock does: no order of times brings back what is over."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.manifests import issuer, workload
from testing.tokens import NOW, signer, token
from tests.gate.report_only.rules import GRANTS, LASTS, UNTIL, enforcing, reporting
from watchword.gate.audit import AuditLog
from watchword.gate.authz_request import AuthzRequest, find_credential
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.gate.original_request import OriginalRequest
from watchword.gate.report_only import LatestTime, ReportOnly, may_pass
from watchword.gate.responses import NO_GRANT_LINES, NO_IDENTITY_LINES, Allowed, Answer
from watchword.identity import Reason, Refusal
from watchword.trust import Ruleset
from watchword.trust.bundle import MAX_REPORT_ONLY_SECONDS

DAY = 86_400.0


class Gate:
    """An engine with two clocks that a test moves."""

    def __init__(self, now: float = NOW) -> None:
        self.now, self.passed = now, 1000.0
        self.metrics, self.stream = GateMetrics(), io.BytesIO()
        self.audit = AuditLog(self.stream, self.metrics.audit_dropped.inc)
        self.engine = Engine(
            self.metrics,
            audit=self.audit,
            audit_level="refusals",
            clock=lambda: self.now,
            monotonic=lambda: self.passed,
        )

    def ask(self, credential: bytes = b"", target: bytes = b"/app/acme", *, to_app: bool = True) -> Any:
        """A request that is passed on, or one that a proxy asks about."""
        headers = [(b"authorization", credential)] if credential else []
        original = OriginalRequest("GET", target)
        request = AuthzRequest(find_credential(headers), original, goes_to_app=to_app)
        return self.engine.decide(request)

    def reports(self) -> bool:
        """Whether a request without a token passes; it must not be anything in between."""
        decided = self.ask()
        if isinstance(decided, Answer):
            assert decided.status == 401
            return False
        assert decided.would_refuse == b"x-watchword-would-refuse: missing_credential\r\n"
        assert decided.identity == NO_IDENTITY_LINES
        assert decided.granted == NO_GRANT_LINES + decided.would_refuse
        return True

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


def test_it_ends_at_its_time_and_not_a_moment_later() -> None:
    gate = Gate()
    gate.engine.adopt(reporting())
    assert gate.reports()
    gate.now = UNTIL - 0.001
    assert gate.reports()
    gate.now = UNTIL
    assert not gate.reports()


def test_a_clock_that_goes_back_does_not_bring_it_back() -> None:
    gate = Gate()
    gate.engine.adopt(reporting())
    gate.now = UNTIL + 1
    assert not gate.reports()
    gate.now = NOW
    assert not gate.reports()
    # Nor does the same bundle, or the next one, adopted under that clock.
    gate.engine.adopt(reporting())
    assert not gate.reports()


def test_a_clock_that_stands_still_does_not_hold_the_end_up() -> None:
    gate = Gate()
    gate.engine.adopt(reporting())
    gate.passed += LASTS - 1
    assert gate.reports()
    gate.passed += 1
    assert not gate.reports()


def test_a_bundle_that_is_later_than_the_clock_counts() -> None:
    gate = Gate(now=NOW - 3 * DAY)
    gate.engine.adopt(reporting(now=UNTIL - 60))
    assert gate.reports()
    gate.now += 59
    assert gate.reports()
    gate.now += 1
    assert not gate.reports()
    late = Gate(now=NOW - 3 * DAY)
    late.engine.adopt(reporting(generation=int(UNTIL * 1000)))
    assert not late.reports()


def test_a_later_bundle_moves_the_time_forward() -> None:
    gate = Gate(now=NOW - DAY)
    gate.engine.adopt(reporting())
    assert gate.reports()
    gate.engine.adopt(reporting(generation=int((UNTIL + 5) * 1000)))
    assert not gate.reports()


@pytest.mark.parametrize("ahead", [0.0, 5.0, -5.0])
def test_a_clock_that_is_set_right_takes_nothing_of_its_time(ahead: float) -> None:
    # The operator's clock may be some seconds ahead of the right one.
    gate = Gate(now=NOW - DAY)
    gate.engine.adopt(reporting())
    gate.passed += 10
    gate.now = NOW + 10 + ahead
    assert gate.reports()
    left = gate.value("watchword_report_only_seconds_left")
    assert left is not None
    assert abs(left - (LASTS - 10)) <= 5


def test_an_older_bundle_does_not_bring_back_what_a_later_one_has_ended() -> None:
    # A clock is behind, and the older bundle follows: the kubelet brings it after the API server did.
    gate = Gate(now=NOW - DAY)
    gate.engine.adopt(enforcing(generation=int((UNTIL + 5) * 1000)))
    assert not gate.reports()
    gate.engine.adopt(reporting())
    assert not gate.reports()
    ended = Gate(now=NOW - DAY)
    ended.engine.adopt(reporting(generation=int((UNTIL - 5) * 1000)))
    assert ended.reports()
    ended.passed += 5
    assert not ended.reports()
    ended.engine.adopt(reporting())
    assert not ended.reports()


@pytest.mark.parametrize("seconds", [0.0, -1.0, -400 * DAY])
def test_a_time_that_has_passed_is_no_time(seconds: float) -> None:
    gate = Gate()
    gate.engine.adopt(reporting(until=NOW + seconds))
    assert not gate.reports()
    assert gate.value("watchword_report_only_seconds_left") == 0


def test_a_time_that_is_too_far_ahead_is_none_for_compiler_and_gate() -> None:
    gate = Gate()
    assert reporting(until=NOW + 31 * DAY).report_only_until is None
    gate.engine.adopt(reporting(until=NOW + 31 * DAY))
    assert not gate.reports()
    # A bundle made by hand, or by a clock that is a day ahead: the gate does not take the compiler's word.
    gate.engine.adopt(reporting(until=NOW + 31 * DAY, now=NOW + DAY, generation=2))
    assert gate.engine.active is not None
    assert gate.engine.active.ruleset.report_only_until == NOW + 31 * DAY
    assert not gate.reports()
    # And it does not begin by itself when the time comes near.
    gate.now += 2 * DAY
    assert not gate.reports()


@pytest.mark.parametrize("label", [None, "", "Allowed", "true", "allowed,"])
def test_without_the_admins_label_nothing_is_only_reported(label: str | None) -> None:
    ruleset = reporting(label=label) if label != "allowed," else reporting(label="allowed.x")
    assert ruleset.report_only_until is None
    gate = Gate()
    gate.engine.adopt(ruleset)
    assert not gate.reports()


_MOVES = st.lists(
    st.tuples(st.floats(-2 * DAY, 2 * DAY), st.floats(0, 2000), st.booleans()), min_size=1, max_size=12
)


@settings(max_examples=200, deadline=None)
@given(start=st.floats(-40 * DAY, 2 * DAY), moves=_MOVES)
def test_no_order_of_times_lets_pass_what_was_refused(
    start: float, moves: list[tuple[float, float, bool]]
) -> None:
    now, passed = NOW + start, 0.0
    time = LatestTime(lambda: now, lambda: passed)
    made = ReportOnly(UNTIL, NOW, time)
    has_ended, told = not made.is_on(), time.now()
    for step, lasts, is_again in moves:
        now, passed = now + step, passed + lasts
        if is_again:
            made = ReportOnly(UNTIL, NOW, time)
        is_on = made.is_on()
        # By none of the times is it over, and it never goes on again. (It may begin: a clock was behind.)
        if is_on:
            assert now < UNTIL
            assert time.now() < UNTIL
        if has_ended and now < UNTIL <= told:
            assert not is_on
        assert time.now() >= told
        assert time.now() >= now
        told = time.now()
        if not is_again:
            assert not (has_ended and is_on)
        has_ended = not is_on


@settings(max_examples=100, deadline=None)
@given(ahead=st.integers(0, int(100 * DAY)))
def test_no_word_makes_it_longer_than_30_days(ahead: int) -> None:
    time = LatestTime(lambda: NOW, lambda: 0.0)
    is_on = ReportOnly(NOW + ahead, 0.0, time).is_on()
    assert is_on == (0 < ahead <= MAX_REPORT_ONLY_SECONDS + 600)


def stale() -> Ruleset:
    """The service, with a workload whose ServiceAccount was made again since."""
    made = reporting()
    known = {
        subject: msgspec.structs.replace(each, live_uid="another")
        for subject, each in made.policy.workloads.items()
    }
    return msgspec.structs.replace(made, policy=msgspec.structs.replace(made.policy, workloads=known))


NEVER: dict[str, Callable[[], Ruleset]] = {
    "suspended": lambda: reporting(trusted=workload(grants=GRANTS, suspend=True)),
    "revoked": lambda: reporting(issued_by=issuer(revoked=[{"podUid": "p-1"}])),
    "stale_identity": stale,
}


@pytest.mark.parametrize("code", NEVER)
def test_what_was_taken_back_is_refused_all_the_same(code: str) -> None:
    gate = Gate()
    gate.engine.adopt(NEVER[code]())
    assert gate.reports()
    # Again, since the second time a refusal is remembered.
    for _ in range(2):
        decided = gate.ask(b"Bearer " + token())
        assert isinstance(decided, Answer)
        assert dict(decided.headers)[b"x-watchword-reason"] == code.encode()


def test_nothing_passes_while_there_is_no_bundle() -> None:
    gate = Gate()
    assert gate.ask().status == 503
    gate.engine.adopt(reporting())
    assert gate.reports()
    gate.engine.end_trust(Refusal(Reason.NOT_READY, "The bundle is gone."))
    assert gate.ask().status == 503


@pytest.mark.parametrize("reason", Reason)
def test_every_other_reason_is_reported(reason: Reason) -> None:
    never = {"not_ready", "revoked", "revocations_unknown", "suspended", "stale_identity"}
    assert may_pass(Refusal(reason)) == (reason.code not in never)


def test_a_proxys_question_is_answered_as_ever() -> None:
    gate = Gate()
    gate.engine.adopt(reporting())
    assert gate.reports()
    for credential in (b"", b"Basic eDp5", b"Bearer " + token(aud=["other"])):
        assert isinstance(gate.ask(credential, to_app=False), Answer)
    assert isinstance(gate.ask(b"Bearer " + token(), b"/admin", to_app=False), Answer)


def test_a_refusal_that_is_remembered_is_refused_after_the_end() -> None:
    gate = Gate()
    gate.engine.adopt(reporting())
    wrong = b"Bearer " + token(aud=["other"], exp=int(UNTIL) + 600, iat=int(NOW) - 60)
    for _ in range(3):
        decided = gate.ask(wrong)
        assert isinstance(decided, Allowed)
        assert decided.would_refuse.endswith(b": wrong_audience\r\n")
    gate.now = UNTIL - 1
    assert isinstance(gate.ask(wrong), Allowed)
    gate.now = UNTIL
    assert isinstance(gate.ask(wrong), Answer)


def test_it_is_counted_and_audited_as_what_it_is() -> None:
    gate = Gate()
    gate.engine.adopt(reporting())
    gate.ask()
    gate.ask(b"Bearer " + token(), b"/admin")
    gate.ask(b"Bearer " + token())
    labels = {"service": "tuist/tuist-server"}
    for reason in ("missing_credential", "insufficient_scope"):
        assert gate.value("watchword_would_refuse_total", reason=reason, **labels) == 1
        assert gate.value("watchword_decisions_total", reason=reason, **labels) == 0
    assert gate.value("watchword_decisions_total", reason="allowed", **labels) == 1
    assert gate.value("watchword_report_only_seconds_left") == LASTS
    gate.audit.close(30)
    first, second = map(json.loads, gate.stream.getvalue().splitlines())
    assert (first["outcome"], first["reason"], "subject" in first) == (
        "would_refuse",
        "missing_credential",
        False,
    )
    assert (second["outcome"], second["reason"]) == ("would_refuse", "insufficient_scope")
    assert second["subject"] == "system:serviceaccount:atlas-production:atlas"
    assert second["workload"] == "tuist/atlas"
    assert second["scope"] == "app:administer"


def test_reasons_and_services_are_all_the_labels_that_there_are() -> None:
    gate = Gate()
    gate.engine.adopt(reporting())
    for number in range(300):
        gate.ask(b"Bearer " + token(signer(f"kid-{number % 3}"), jti=str(number)), b"/%d" % number)
    [family] = [each for each in gate.metrics.registry.collect() if each.name == "watchword_would_refuse"]
    assert {tuple(sorted(each.labels.items())) for each in family.samples} == {
        (("reason", "unknown_key"), ("service", "tuist/tuist-server"))
    }


def test_a_service_that_enforces_again_refuses_at_once() -> None:
    gate = Gate()
    gate.engine.adopt(reporting())
    assert gate.reports()
    gate.engine.adopt(enforcing())
    assert not gate.reports()
    gate.engine.adopt(reporting())
    assert gate.reports()
