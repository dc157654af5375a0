# SPDX-License-Identifier: Apache-2.0
"""Desk tokens and revocations as documents: what is built is read again, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.desk import CLUSTER, DESK_URL, SERVICE_AUDIENCE, desk_claims, origin
from testing.tokens import NOW, compact
from watchword.identity import Grant, Identity, Refusal
from watchword.trust import EVERY, authorize, held_grants
from watchword.trust.api.v1alpha1.service import TokenBounds
from watchword.trust.derived_audience import derived_audience, desk_audience
from watchword.trust.desk_revocations import (
    MAX_REVOCATION_BYTES,
    MAX_SKEW_SECONDS,
    Revocations,
    RevocationsError,
    RevokedSet,
    RevokedSubject,
    RevokedToken,
    desk_document,
    read_desk_document,
    read_service_document,
    service_document,
)
from watchword.trust.desk_revocations import (
    compact as compacted,
)
from watchword.trust.desk_tokens import (
    DeskClaims,
    DeskOrigin,
    encode_desk_claims,
    read_desk_claims,
    workload_claims,
)

SCOPES = st.lists(st.sampled_from(["a:r", "a:w", "b:r"]), min_size=1, max_size=3, unique=True).map(tuple)
# Prefixes and look-alikes of each other.
NAMES = st.lists(st.sampled_from(["x", "xy", "X", "x ", "y", EVERY]), max_size=3, unique=True).map(
    lambda names: (EVERY,) if EVERY in names else tuple(names)
)
GRANTS = st.builds(Grant, SCOPES, NAMES, NAMES)
HELD = st.lists(GRANTS, max_size=4).map(tuple)
ASKED = st.none() | st.sampled_from(["x", "xy", "X", "y"])
_MEMBERS = st.sampled_from(list(desk_claims()))
JSON = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(_MEMBERS, inner),
).map(lambda value: json.dumps(value).encode())


def claims(**changes: Any) -> DeskClaims:
    found = read_desk_claims(compact(desk_claims(**changes)))
    assert isinstance(found, DeskClaims)
    return found


def identity(grants: tuple[Grant, ...], desk: DeskClaims | None = None) -> Identity:
    return Identity("i", "s", "w", grants, "t", "k", "p", 0.0, NOW, desk)


def of_token(grants: tuple[Grant, ...]) -> DeskClaims:
    return workload_claims(
        issuer=DESK_URL,
        audience=SERVICE_AUDIENCE,
        origin=DeskOrigin(**origin()),
        grants=grants,
        token_id="j",
        issued_at=1,
        expires_at=2,
    )


@settings(deadline=None)
@given(HELD, st.none() | st.sampled_from(["p", "q-1"]), st.integers(0, 2**40), st.integers(0, 2**40))
def test_what_is_built_is_read_again(
    grants: tuple[Grant, ...], purpose: str | None, issued_at: int, expires_at: int
) -> None:
    built = msgspec.structs.replace(
        of_token(grants), purpose=purpose, issued_at=issued_at, expires_at=expires_at
    )
    assert read_desk_claims(encode_desk_claims(built)) == built
    # And in any order of members, as another library may write them.
    turned = dict(reversed(json.loads(encode_desk_claims(built)).items()))
    assert read_desk_claims(json.dumps(turned).encode()) == built
    assert built.grants == grants


@settings(deadline=None)
@given(st.binary(max_size=400) | JSON)
def test_whatever_else_is_read_is_a_refusal(data: bytes) -> None:
    assert isinstance(read_desk_claims(data), Refusal)


@settings(deadline=None)
@given(HELD, HELD, st.sampled_from(["a:r", "a:w", "b:r"]), ASKED, ASKED)
def test_a_desk_token_is_never_wider_than_its_workload_or_itself(
    own: tuple[Grant, ...], token: tuple[Grant, ...], scope: str, account: str | None, project: str | None
) -> None:
    by_desk = authorize(identity(own, of_token(token)), scope, account, project)
    alone = [authorize(identity(each), scope, account, project) for each in (own, token)]
    assert isinstance(by_desk, Grant) == all(isinstance(each, Grant) for each in alone)
    # What headers say of it is no wider either, and lets the same requests pass.
    shown = held_grants(identity(own, of_token(token)))
    assert isinstance(authorize(identity(shown), scope, account, project), Grant) == isinstance(
        by_desk, Grant
    )
    if isinstance(by_desk, Grant):
        assert isinstance(authorize(identity((by_desk,)), scope, account, project), Grant)


def test_a_desks_audience_is_no_services() -> None:
    assert desk_audience(CLUSTER, "a", "b") != derived_audience(CLUSTER, "a", "b")
    for bad in (("", "a", "b"), (CLUSTER, "a/b", "c"), (CLUSTER, "a", "")):
        with pytest.raises(ValueError, match="one segment"):
            desk_audience(*bad)


def test_claims_that_cannot_be_built_are_named() -> None:
    with pytest.raises(ValueError, match="has a scope"):
        of_token((Grant(()),))
    with pytest.raises(ValueError, match="at most 32"):
        of_token((Grant(("a:b",)),) * 33)
    with pytest.raises(ValueError, match="not a ServiceAccount"):
        workload_claims(
            issuer=DESK_URL, audience="a", origin=DeskOrigin(**origin(subject="alice")), grants=(),
            token_id="j", issued_at=1, expires_at=2,
        )  # fmt: skip


def revoked(number: int, subject: str = "s", **changes: int) -> RevokedToken:
    times = {"issued_at": 100, "expires_at": 1000} | changes
    return RevokedToken(f"t-{number}", subject, **times)


def test_up_to_64_tokens_of_a_subject_are_listed_and_then_it_is_one_line() -> None:
    few = compacted([revoked(each) for each in range(64)], 500)
    assert (len(few.tokens), few.subjects) == (64, {})
    many = compacted(
        [*(revoked(each, issued_at=100 + each) for each in range(65)), revoked(99, "other")], 500
    )
    assert many == Revocations({"t-99": 1000}, {"s": RevokedSubject(165, 1000)})


def test_tokens_that_have_ended_count_no_more() -> None:
    ended = [revoked(each, expires_at=400) for each in range(100)]
    assert compacted([*ended, revoked(100)], 700) == Revocations({"t-100": 1000})


def test_what_a_desk_writes_down_fits_a_config_map_whatever_is_revoked() -> None:
    tokens = {
        f"ns-{place}/service": [
            RevokedToken(f"{place}-{number}".ljust(36, "x"), f"workload:i:ns-{place}:{number % 10}", 1, 1000)
            for number in range(600)
        ]
        for place in range(40)
    }
    data = desk_document(tokens, 500)
    assert len(data) <= MAX_REVOCATION_BYTES
    read = read_desk_document(data)
    for service, given_tokens in tokens.items():
        known = RevokedSet()
        known.add(read.services[service], 500)
        for token in given_tokens:
            covered = msgspec.structs.replace(
                claims(), token_id=token.token_id, subject=token.subject, issued_at=token.issued_at
            )
            assert known.covers(covered)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from("ab"), st.integers(1, 5)), max_size=200))
def test_every_revoked_token_is_covered_by_what_gates_read(given_tokens: list[tuple[int, str, int]]) -> None:
    tokens = [revoked(number, subject, issued_at=at) for number, subject, at in given_tokens]
    document = read_service_document(service_document("ns/s", "ns/desk", compacted(tokens, 500)))
    known = RevokedSet(is_known=False)
    known.add(document.revocations, 500)
    for token in tokens:
        assert known.covers(
            msgspec.structs.replace(
                claims(), token_id=token.token_id, subject=token.subject, issued_at=token.issued_at
            )
        )


def test_a_shorter_list_brings_nothing_back_before_it_has_ended() -> None:
    known = RevokedSet()
    assert known.add(Revocations({"a": 1000}, {"s": RevokedSubject(50, 1000)}), 500)
    assert not known.add(Revocations(), 501)
    assert not known.add(Revocations({}, {"s": RevokedSubject(40, 900)}), 502)
    assert known.covers(msgspec.structs.replace(claims(), token_id="a"))
    assert known.covers(msgspec.structs.replace(claims(), subject="s", issued_at=49))
    assert not known.covers(msgspec.structs.replace(claims(), subject="s", issued_at=50))
    known.add(Revocations(), 1299)
    assert len(known) == 2
    known.add(Revocations(), 1300)
    assert len(known) == 0


def test_a_revocation_is_kept_for_as_long_as_any_gate_may_take_its_token() -> None:
    # Read from the rules of the resource itself: what it lets a service ask for is what is kept for.
    def is_taken(seconds: int) -> bool:
        try:
            msgspec.convert({"clockSkewSeconds": seconds}, TokenBounds)
        except msgspec.ValidationError:
            return False
        return True

    largest = max(filter(is_taken, range(1000)))
    assert largest == MAX_SKEW_SECONDS
    end = 1000
    for now, is_kept in ((end + largest - 1, True), (end + largest, False)):
        compacted_now = compacted([revoked(1), *(revoked(each, "many") for each in range(2, 99))], now)
        assert bool(compacted_now.tokens and compacted_now.subjects) == is_kept
        known = RevokedSet()
        known.add(Revocations({"t": end}, {"s": RevokedSubject(500, end)}), now)
        assert len(known) == 2 * is_kept
        known.add(Revocations(), now)
        assert len(known) == 2 * is_kept


@pytest.mark.parametrize(
    "data",
    [b"", b"{}x", b"[]", b'{"services":{"a/b":{"tokens":{"x":"y"}}}}',
     b'{"schemaVersion":2,"service":"a/b","desk":"a/d"}', b'{"service":"a/b"}',
     b'{"service":"","desk":"a/d"}', b'{"service":"a/b","desk":"a/d","revocations":{"unknown":{}}}', b"\xff"],
)  # fmt: skip
def test_what_is_no_list_is_an_error_and_never_an_empty_one(data: bytes) -> None:
    with pytest.raises(RevocationsError):
        read_service_document(data)
    with pytest.raises(RevocationsError):
        read_desk_document(data)
