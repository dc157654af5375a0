# SPDX-License-Identifier: Apache-2.0
"""Every hostile token that gates refuse, sent to the desk as a subject: refused there for the same reason."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote_from_bytes

import msgspec
import pytest

from testing.attacks.case import Case, ids
from testing.attacks.tokens_all import TOKENS
from testing.attacks.world import policy, token
from testing.running_desk import EXCHANGE, JWT, TARGET, RunningDesk, running_desk

# What a desk says where it knows better than a gate, or may say less.
OTHERWISE = {
    # A stranger to the service is not told that there is such a service.
    "unknown_workload": {"target_unavailable"},
    # It is named as what it is, before its header is looked at.
    "unsupported_header": {"unsupported_header", "desk_token_as_subject"},
    # Bytes that no form can hold are refused with the form.
    "malformed_token": {"malformed_token", "malformed_form"},
    "token_too_large": {"token_too_large", "form_too_large", "malformed_form"},
}


@pytest.fixture(scope="module")
def world() -> Iterator[RunningDesk]:
    """A desk whose service has the policy that the attacks are made for."""
    with running_desk() as running:
        state = running.desk.state
        assert state is not None
        target = msgspec.structs.replace(state.targets[TARGET], subjects=policy())
        running.desk.state = msgspec.structs.replace(
            state,
            targets={TARGET: target},
            by_audience={target.audience: target},
            anyone=msgspec.structs.replace(policy(), workloads={}, max_lifetime_seconds=86_400),
        )
        yield running


def send(desk: RunningDesk, subject: bytes) -> tuple[int, dict[str, str]]:
    """Exchange these very bytes."""
    body = (
        f"grant_type={EXCHANGE}&subject_token_type={JWT}&audience={TARGET}&scope=cache:read"
        f"&subject_token={quote_from_bytes(subject)}"
    )
    answer = desk.http.post(
        "/oauth2/token", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    return answer.status_code, answer.json()


def test_the_good_token_that_the_attacks_change_is_known(world: RunningDesk) -> None:
    # It is granted nothing, which is the last thing that is looked at.
    assert send(world, token())[1]["reason"] == "grant_not_covered"


@pytest.mark.parametrize("case", TOKENS, ids=ids(TOKENS))
def test_a_hostile_subject_token_is_refused_for_its_reason(world: RunningDesk, case: Case[bytes]) -> None:
    status, answer = send(world, case.build())

    assert answer["reason"] in OTHERWISE.get(case.reason, {case.reason}) | (
        {"missing_parameter"} if not case.build() else set()
    )
    assert status in (400, 413)
    # RFC 8693, section 2.2.2: a subject token that is not accepted is an invalid request.
    assert answer["error"] == (
        "invalid_target" if answer["reason"] == "target_unavailable" else "invalid_request"
    )
    assert answer["remedy"]
    assert answer["request_id"]
