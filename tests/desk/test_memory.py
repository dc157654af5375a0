# SPDX-License-Identifier: Apache-2.0
"""What was proven once ends with the token, and with the state that proved it."""

from __future__ import annotations

import time

from testing.running_desk import (
    default_objects,
    running_desk,
    subject_token,
    workload_object,
)
from testing.tokens import claims_of
from watchword.desk.memory import Remembered


def test_a_remembered_token_ends_when_it_says_so() -> None:
    with running_desk() as desk:
        token = desk.minted()
        for _ in range(2):
            assert desk.introspect(token).json()["active"] is True
        ended = claims_of(token)["exp"] + 1
        desk.desk.clock = lambda: float(ended)
        assert desk.introspect(token).json() == {"active": False}
        desk.desk.clock = time.time


def test_a_remembered_subject_ends_when_it_says_so() -> None:
    with running_desk() as desk:
        now = int(time.time())
        subject = subject_token(exp=now + 100)
        for _ in range(2):
            assert desk.exchange(subject).status_code == 200
        desk.desk.clock = lambda: now + 300.0
        assert desk.exchange(subject).json()["reason"] == "expired"
        desk.desk.clock = lambda: now + 100.0
        # Within the clocks' skew a gate takes it; a new token would not live for a second.
        assert desk.exchange(subject).json()["reason"] == "token_ends_too_soon"
        desk.desk.clock = time.time


def test_a_remembered_client_ends_when_its_assertion_does() -> None:
    from testing.running_desk import account_token

    with running_desk() as desk:
        now = int(time.time())
        token, assertion = desk.minted(), account_token("caches", "cache", exp=now + 100)
        for _ in range(2):
            assert desk.introspect(token, assertion).json()["active"] is True
        desk.desk.clock = lambda: now + 300.0
        assert desk.introspect(token, assertion).status_code == 401
        desk.desk.clock = time.time


def test_another_state_remembers_nothing() -> None:
    with running_desk() as desk:
        subject = subject_token()
        assert desk.exchange(subject).status_code == 200
        kept = [each for each in default_objects() if each["kind"] != "TrustedWorkload"]
        desk.change(*kept, workload_object(suspend=True))
        assert desk.exchange(subject).json()["reason"] == "suspended"


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    memory: Remembered[int] = Remembered(3)
    for each in range(10):
        memory.put(str(each), each, 100.0)
    assert len(memory) == 3
    assert memory.get("9", 99.0) == 9
    assert memory.get("9", 100.0) is None
    assert memory.get("0", 0.0) is None
