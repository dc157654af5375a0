# SPDX-License-Identifier: Apache-2.0
"""What reads a provider's tokens gets any bytes and any claims: it answers, and says yes to one form."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from testing.agent_providers import (
    CLIENT,
    EVENT_TYPE,
    JAG_TYPE,
    REVOKED,
    event_claims,
    id_jag,
    jag_claims,
    key,
    provider_object,
    signed,
)
from testing.agents import agents_spec
from testing.manifests import parsed
from testing.running_desk import ISSUER, desk_object
from testing.tokens import compact
from watchword.desk.agents.id_jag import MAX_SECONDS, IdJag, read_id_jag
from watchword.desk.agents.policy import AgentPolicy, agent_policy
from watchword.desk.agents.providers import identity_providers
from watchword.desk.agents.security_events import MAX_AGE_SECONDS, Ended, read_event
from watchword.desk.refusals import DeskRefusal

_SKEW = 60


def policy() -> AgentPolicy:
    resources = parsed(desk_object(agents=agents_spec()), provider_object()).resources
    [desk] = resources.desks
    problems: list[str] = []
    providers = identity_providers(desk, resources.providers, {}, time.time(), problems)
    assert problems == []
    made = agent_policy(desk.spec.agents, {}, providers)
    assert made is not None
    return made


POLICY = policy()
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("iss", "sub", "aud", "client_id", "jti", "iat", "exp", "nbf", "auth_time", "email",
         "email_verified", "scope", "resource", "cnf", "tenant", "events", "sub_id", "act")  # fmt: skip
CHANGES = st.dictionaries(st.sampled_from(NAMES), ODD | st.just(...), max_size=4)
TIMES = st.integers(-(10**5), 10**5)


def read(token: str) -> IdJag | DeskRefusal:
    return read_id_jag(token, POLICY, ISSUER, time.time())


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_any_text_is_answered_and_none_is_taken(data: bytes | str) -> None:
    text = data if isinstance(data, str) else data.decode("latin-1")
    assert isinstance(read(text), DeskRefusal)
    assert isinstance(read_event(text, POLICY, time.time()), DeskRefusal)


@given(st.binary(max_size=200), st.dictionaries(st.text(max_size=8), ODD, max_size=4))
def test_any_signed_payload_under_any_header_is_answered(payload: bytes, header: dict[str, Any]) -> None:
    for kind in (JAG_TYPE, EVENT_TYPE):
        token = signed(payload, kind, header=header)
        assert isinstance(read(token), DeskRefusal)
        assert isinstance(read_event(token, POLICY, time.time()), DeskRefusal)


@given(CHANGES)
def test_what_is_taken_says_what_it_must(changes: dict[str, Any]) -> None:
    claims = jag_claims(**changes)
    found = read(signed(claims, JAG_TYPE))
    assert isinstance(found, IdJag | DeskRefusal)
    if isinstance(found, DeskRefusal):
        return
    assert claims["aud"] in (ISSUER, [ISSUER])
    assert claims["client_id"] == CLIENT
    assert 0 < claims["exp"] - claims["iat"] <= MAX_SECONDS
    assert not {"cnf", "tenant"} & claims.keys()
    assert isinstance(claims["sub"], str)
    assert found.address == "" or claims["email_verified"] is True


@given(CHANGES)
def test_an_event_that_is_taken_says_what_it_must(changes: dict[str, Any]) -> None:
    claims = event_claims(**changes)
    found = read_event(signed(claims, EVENT_TYPE), POLICY, time.time())
    assert isinstance(found, Ended | DeskRefusal)
    if isinstance(found, Ended) and found.origin:
        assert claims["aud"] in (ISSUER, [ISSUER])
        assert claims["events"] == {REVOKED: {}}


@given(issued=TIMES, ends=TIMES, signed_in=TIMES)
def test_times_are_taken_within_their_bounds_and_nowhere_else(issued: int, ends: int, signed_in: int) -> None:
    now = 1_800_000_000
    token = id_jag(iat=now + issued, exp=now + ends, auth_time=now + signed_in)
    found = read_id_jag(token, POLICY, ISSUER, float(now))
    in_time = 0 < ends - issued <= MAX_SECONDS and ends > -_SKEW and issued <= _SKEW
    fresh = -3600 <= signed_in <= _SKEW
    assert isinstance(found, IdJag) == (in_time and fresh)
    if isinstance(found, DeskRefusal):
        assert found.code == ("login_required" if in_time else "assertion_not_in_time")


@given(issued=TIMES)
def test_an_event_counts_for_a_day(issued: int) -> None:
    now = 1_800_000_000
    found = read_event(signed(event_claims(iat=now + issued), EVENT_TYPE), POLICY, float(now))
    assert isinstance(found, Ended) == (-MAX_AGE_SECONDS <= issued <= _SKEW)


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_one_byte_that_differs_is_no_token_of_the_provider(place: int, byte: int) -> None:
    token = bytearray(signed(compact(jag_claims()), JAG_TYPE), "ascii")
    at = place % len(token)
    if token[at] != byte:
        token[at] = byte
        assert isinstance(read(token.decode("latin-1")), DeskRefusal)


def test_names_of_subjects_do_not_run_into_each_other() -> None:
    [provider] = POLICY.providers.values()
    origins = {provider.origin_of(each) for each in ("a", "A", "a ", "a\\", '"a"', "", "a\u0301", "\u00e1")}
    assert len(origins) == 8
    assert key().kid not in repr(provider)
