# SPDX-License-Identifier: Apache-2.0
"""Who may take a token back: whoever holds it. What is answered says nothing of whether there was one."""

from __future__ import annotations

import time
from typing import Any

import pytest

from testing.running_desk import (
    CLIENT_ASSERTION,
    ISSUER,
    TARGET,
    RunningDesk,
    account_token,
    running_desk,
    subject_token,
)
from testing.tokens import claims_of


def test_a_revoked_token_is_inactive_from_the_answer_on(desk: RunningDesk) -> None:
    token = desk.minted()
    answer = desk.revoke(token)
    assert (answer.status_code, answer.content) == (200, b"")
    assert desk.introspect(token).json() == {"active": False}
    # Again, and it is the same.
    assert desk.revoke(token).status_code == 200


def test_one_token_of_a_workload_is_revoked_and_the_others_are_not(desk: RunningDesk) -> None:
    one, two = desk.minted(), desk.minted()
    desk.revoke(one)
    assert desk.introspect(two).json()["active"] is True


@pytest.mark.parametrize("token", ["x", "..", "a.b.c", "0" * 32])
def test_what_is_no_token_is_200(desk: RunningDesk, token: str) -> None:
    answer = desk.revoke(token)
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_clusters_token_is_not_revoked_here(desk: RunningDesk) -> None:
    subject = subject_token()
    assert desk.revoke(subject).status_code == 200
    assert desk.exchange(subject).status_code == 200


def test_hints_lie_and_are_not_believed(desk: RunningDesk) -> None:
    token = desk.minted()
    assert desk.revoke(token, token_type_hint="refresh_token").status_code == 200
    assert desk.introspect(token).json() == {"active": False}


def test_a_resource_server_revokes_nothing_and_is_not_told(desk: RunningDesk) -> None:
    token = desk.minted()
    credential = {
        "client_assertion": account_token("caches", "cache"),
        "client_assertion_type": CLIENT_ASSERTION,
    }
    answer = desk.revoke(token, **credential)
    assert (answer.status_code, answer.content) == (200, b"")
    assert desk.introspect(token).json()["active"] is True


def test_the_workload_may_say_who_it_is(desk: RunningDesk) -> None:
    token = desk.minted()
    credential = {"client_assertion": subject_token(), "client_assertion_type": CLIENT_ASSERTION}
    assert desk.revoke(token, **credential).status_code == 200
    assert desk.introspect(token).json() == {"active": False}


def test_another_workload_that_says_who_it_is_revokes_nothing(desk: RunningDesk) -> None:
    token = desk.minted()
    other = account_token("atlas-production", "other", ISSUER)
    answer = desk.revoke(token, client_assertion=other, client_assertion_type=CLIENT_ASSERTION)
    assert answer.status_code == 200
    assert desk.introspect(token).json()["active"] is True


def test_a_missing_token_is_an_error(desk: RunningDesk) -> None:
    answer = desk.http.post("/oauth2/revoke", data={"x": "y"})
    assert (answer.status_code, answer.json()["reason"]) == (400, "missing_parameter")


def test_revocations_are_published_within_moments_and_by_subject_where_they_are_many() -> None:
    with running_desk() as desk:
        first = desk.minted()
        desk.revoke(first)
        _until(lambda: claims_of(first)["jti"] in _listed(desk).tokens)
        writes = desk.source.writes
        tokens = [desk.minted() for _ in range(70)]
        for each in tokens:
            desk.revoke(each)
        subject = claims_of(first)["sub"]
        _until(lambda: subject in _listed(desk).subjects)
        listed = _listed(desk)
        assert not listed.tokens
        newest = max(claims_of(each)["iat"] for each in tokens)
        assert listed.subjects[subject].issued_before == newest + 1
        # Many revocations are few writes: at most one a second.
        assert desk.source.writes - writes < 30


def test_a_token_that_a_gate_may_still_take_after_its_end_can_be_taken_back_and_stays_listed() -> None:
    with running_desk() as desk:
        token = desk.minted()
        end = claims_of(token)["exp"]
        # The clock of a service's gate may be 300 s behind that of the desk (spec.token.clockSkewSeconds).
        desk.desk.clock = lambda: end + 200.0
        assert desk.revoke(token).status_code == 200
        _until(lambda: claims_of(token)["jti"] in _listed(desk).tokens)
        desk.desk.clock = lambda: end + 299.0
        later = desk.minted(subject_token(iat=end, nbf=end, exp=end + 3000))
        assert desk.revoke(later).status_code == 200
        _until(lambda: claims_of(later)["jti"] in _listed(desk).tokens)
        assert claims_of(token)["jti"] in _listed(desk).tokens


def test_revocations_of_one_service_are_not_those_of_another() -> None:
    with running_desk() as desk:
        desk.revoke(desk.minted())
        _until(lambda: bool(desk.source.revocations.services))
        assert set(desk.source.revocations.services) == {TARGET}


def _listed(desk: RunningDesk) -> Any:
    from watchword.trust.desk_revocations import Revocations

    return desk.source.revocations.services.get(TARGET, Revocations())


def _until(is_so: Any) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
