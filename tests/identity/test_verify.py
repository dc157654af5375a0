# SPDX-License-Identifier: Apache-2.0
"""The ordered checks: each reason from one change to a token that is otherwise good."""

from typing import Any

import pytest

from testing.tokens import (
    AUDIENCE,
    ISSUER,
    NOW,
    SUBJECT,
    URL,
    Signer,
    claims,
    kubernetes,
    policy,
    signer,
    token,
)
from watchword.identity import (
    ALGORITHMS,
    CHECKS,
    Identity,
    Issuer,
    Outcome,
    PinnedKey,
    Reason,
    Refusal,
    Revocations,
    Workload,
    examine,
    verify,
)


def reason_of(decision: Identity | Refusal) -> str:
    return decision.reason.code if isinstance(decision, Refusal) else "allowed"


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_projected_token_of_each_algorithm_gives_its_identity(algorithm: str) -> None:
    by = signer(f"key-{algorithm}", algorithm)
    decision = verify(token(by), policy(by), NOW)
    assert isinstance(decision, Identity)
    assert (decision.issuer, decision.subject, decision.workload) == (
        "atlas-production",
        SUBJECT,
        "tuist/atlas",
    )
    assert decision.key_thumbprint == by.key.thumbprint
    assert decision.pod == "atlas-0"


HOUR = 3600
REFUSED_CLAIMS: list[tuple[str, dict[str, Any]]] = [
    ("malformed_claims", {"exp": "1800000600"}),
    ("malformed_claims", {"exp": None}),
    ("malformed_claims", {"exp": [1]}),
    ("malformed_claims", {"iat": True}),
    ("malformed_claims", {"nbf": 2**70}),
    ("malformed_claims", {"iss": [URL]}),
    ("malformed_claims", {"sub": 7}),
    ("malformed_claims", {"aud": 7}),
    ("malformed_claims", {"aud": [AUDIENCE, 7]}),
    ("malformed_claims", {"aud": None}),
    ("malformed_claims", {"aud": {"a": AUDIENCE}}),
    ("malformed_claims", {"jti": 1}),
    ("malformed_claims", {"kubernetes.io": []}),
    ("malformed_claims", {"kubernetes.io": kubernetes(pod="atlas-0")}),
    ("wrong_issuer", {"iss": ...}),
    ("wrong_issuer", {"iss": URL + "/"}),
    ("wrong_issuer", {"iss": URL[:-1]}),
    ("wrong_issuer", {"iss": URL.upper()}),
    ("wrong_issuer", {"iss": URL + ".evil.example"}),
    ("wrong_audience", {"aud": ...}),
    ("wrong_audience", {"aud": []}),
    ("wrong_audience", {"aud": ""}),
    ("wrong_audience", {"aud": ["tuist"]}),
    ("wrong_audience", {"aud": ["Tuist-Server"]}),
    ("wrong_audience", {"aud": [URL]}),
    ("missing_time", {"iat": ...}),
    ("missing_time", {"exp": ...}),
    ("issued_in_future", {"iat": NOW + 61}),
    ("not_yet_valid", {"nbf": NOW + 61}),
    ("expired", {"exp": NOW - 60}),
    ("expired", {"exp": -1}),
    ("lifetime_too_long", {"iat": NOW - 60, "exp": NOW - 60 + HOUR + 1}),
    ("not_a_service_account", {"sub": ...}),
    ("not_a_service_account", {"sub": "admin"}),
    ("not_a_service_account", {"sub": SUBJECT + ":x"}),
    ("not_a_service_account", {"sub": "system:serviceaccount:atlas-production:"}),
    ("not_a_service_account", {"sub": "system:serviceaccount:Atlas:atlas"}),
    ("not_a_service_account", {"sub": SUBJECT + "\n"}),
    ("inconsistent_claims", {"kubernetes.io": ...}),
    ("inconsistent_claims", {"kubernetes.io": kubernetes(namespace="other")}),
    ("inconsistent_claims", {"kubernetes.io": kubernetes(serviceaccount={"name": "other", "uid": "sa-1"})}),
    ("inconsistent_claims", {"kubernetes.io": kubernetes(serviceaccount={"name": "atlas"})}),
    ("not_bound", {"kubernetes.io": kubernetes(pod=...)}),
    ("not_bound", {"kubernetes.io": kubernetes(pod={"name": "atlas-0"})}),
    ("unknown_workload", {"sub": "system:serviceaccount:a:b", "kubernetes.io":
        kubernetes(namespace="a", serviceaccount={"name": "b", "uid": "u"})}),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "changes"), REFUSED_CLAIMS)
def test_one_wrong_claim_is_refused_for_its_own_reason(reason: str, changes: dict[str, Any]) -> None:
    assert reason_of(verify(token(**changes), policy(), NOW)) == reason


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": AUDIENCE},
        {"aud": ["other", AUDIENCE]},
        {"nbf": ...},
        {"jti": ...},
        {"iat": NOW + 60, "nbf": NOW + 60},
        {"exp": NOW - 59},
        {"iat": NOW - 60, "exp": NOW - 60 + HOUR},
        {"exp": NOW + 0.5},
    ],
)
def test_what_the_rules_allow_passes(changes: dict[str, Any]) -> None:
    assert reason_of(verify(token(**changes), policy(), NOW)) == "allowed"


HEADERS: list[tuple[str, dict[str, Any]]] = [
    ("unsupported_algorithm", {"alg": "none"}),
    ("unsupported_algorithm", {"alg": "HS256"}),
    ("unsupported_algorithm", {"alg": "PS256"}),
    ("unsupported_algorithm", {"alg": "rs256"}),
    ("unsupported_algorithm", {"alg": ["RS256"]}),
    ("unsupported_algorithm", {"alg": "ES256"}),
    ("unsupported_header", {"crit": ["exp"]}),
    ("unsupported_header", {"crit": []}),
    ("unsupported_header", {"b64": False}),
    ("unsupported_header", {"jku": "https://evil.example/jwks"}),
    ("unsupported_header", {"jwk": {"kty": "RSA"}}),
    ("unsupported_header", {"x5u": "https://evil.example/x"}),
    ("unsupported_header", {"x5c": ["MIIB"]}),
    ("unsupported_header", {"zip": "DEF"}),
    ("unsupported_header", {"typ": "at+jwt"}),
    ("unsupported_header", {"typ": "jwt"}),
    ("missing_key_id", {"kid": ""}),
    ("missing_key_id", {"kid": 7}),
    ("unknown_key", {"kid": "key-2"}),
]


@pytest.mark.parametrize(("reason", "changes"), HEADERS)
def test_one_odd_header_is_refused_for_its_own_reason(reason: str, changes: dict[str, Any]) -> None:
    header = {"alg": "RS256", "kid": "key-1"} | changes
    assert reason_of(verify(token(header=header), policy(), NOW)) == reason


def test_a_token_of_the_other_cluster_is_unknown() -> None:
    assert reason_of(verify(token(Signer("other-key")), policy(), NOW)) == "unknown_key"


def test_a_token_of_another_key_under_the_same_kid_has_a_bad_signature() -> None:
    assert reason_of(verify(token(Signer("key-1")), policy(), NOW)) == "bad_signature"


def test_the_same_subject_of_another_trusted_issuer_is_another_workload() -> None:
    other = Signer("key-b")
    staging = Issuer("atlas-staging", frozenset({URL}), ALGORITHMS)
    both = {"key-1": (PinnedKey(signer().key, ISSUER),), "key-b": (PinnedKey(other.key, staging),)}
    assert reason_of(verify(token(other), policy(keys=both), NOW)) == "unknown_workload"


def test_an_issuer_may_narrow_its_algorithms() -> None:
    narrow = Issuer("atlas-production", frozenset({URL}), frozenset({"ES256"}))
    assert reason_of(verify(token(), policy(issuer=narrow), NOW)) == "unsupported_algorithm"


def test_an_additional_issuer_url_is_accepted() -> None:
    moved = Issuer("atlas-production", frozenset({URL, "https://new.example"}), ALGORITHMS)
    assert reason_of(verify(token(iss="https://new.example"), policy(issuer=moved), NOW)) == "allowed"


@pytest.mark.parametrize(
    "revocations",
    [
        Revocations(token_ids=frozenset({"7b1c1d0e-0000-4000-8000-000000000001"})),
        Revocations(pod_uids=frozenset({"p-1"})),
        Revocations(service_account_uids=frozenset({"sa-1"})),
        Revocations(issued_before=NOW - 59),
    ],
)
def test_what_was_revoked_is_refused(revocations: Revocations) -> None:
    issuer = Issuer("atlas-production", frozenset({URL}), ALGORITHMS, revocations)
    assert reason_of(verify(token(), policy(issuer=issuer), NOW)) == "revoked"


@pytest.mark.parametrize(
    ("reason", "workload"),
    [
        ("stale_identity", Workload("tuist/atlas", live_uid="sa-2")),
        ("stale_identity", Workload("tuist/atlas", live_uid="")),
        ("allowed", Workload("tuist/atlas", live_uid="sa-1")),
        ("suspended", Workload("tuist/atlas", suspended=True)),
        ("trust_expired", Workload("tuist/atlas", expires_at=NOW)),
        ("allowed", Workload("tuist/atlas", expires_at=NOW + 1)),
    ],
)
def test_the_state_of_trust_decides(reason: str, workload: Workload) -> None:
    assert reason_of(verify(token(), policy(workload=workload), NOW)) == reason


def test_an_unbound_token_passes_where_the_service_accepts_any() -> None:
    unbound = token(**{"kubernetes.io": kubernetes(pod=...)})
    assert reason_of(verify(unbound, policy(binding="Any"), NOW)) == "allowed"


def test_the_identity_ends_with_the_earlier_of_token_and_trust() -> None:
    decision = verify(token(), policy(workload=Workload("t/a", expires_at=NOW + 5)), NOW)
    assert isinstance(decision, Identity)
    assert (decision.valid_from, decision.valid_until) == (NOW - 120, NOW + 5)


def test_the_default_token_of_a_pod_gets_a_hint_of_its_own() -> None:
    refusal = verify(token(aud=[URL]), policy(), NOW)
    assert isinstance(refusal, Refusal)
    assert "its default token" in refusal.remedy
    assert "`tuist-server`" in refusal.remedy


def test_nothing_of_an_unverified_token_is_quoted() -> None:
    marker = "do-not-quote-me"
    for bad in (
        token(header={"alg": marker, "kid": marker}),
        token(header={"alg": "RS256", "kid": marker}),
        token(Signer("key-1"), sub=marker, iss=marker),
    ):
        refusal = verify(bad, policy(), NOW)
        assert isinstance(refusal, Refusal)
        assert marker not in refusal.sentence() + refusal.remedy


@pytest.mark.parametrize("changes", [{}, {"aud": ["x"]}, {"iat": ...}, {"sub": "x"}, {"iss": "x"}])
def test_an_examination_decides_as_verify_does(changes: dict[str, Any]) -> None:
    given = token(**changes)
    examination = examine(given, policy(), NOW)
    assert examination.decision == verify(given, policy(), NOW)
    outcomes = [line.outcome for line in examination.checks]
    assert outcomes == sorted(outcomes, key=[Outcome.PASSED, Outcome.FAILED, Outcome.NOT_REACHED].index)
    assert outcomes.count(Outcome.FAILED) == isinstance(examination.decision, Refusal)


def test_an_examination_of_an_unverified_token_shows_no_claims() -> None:
    assert examine(token(Signer("key-1")), policy(), NOW).claims is None
    assert examine(b"a.b", policy(), NOW).claims is None


def test_the_checks_are_in_order_and_every_reason_has_one_place() -> None:
    assert [check.number for check in CHECKS] == list(range(4, 16))
    given = [reason for check in CHECKS for reason in check.reasons]
    assert {reason for reason in given if given.count(reason) > 1} == {
        Reason.UNSUPPORTED_ALGORITHM,
        Reason.UNSUPPORTED_HEADER,
        Reason.REVOKED,
    }


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_summary_and_a_remedy(reason: Reason) -> None:
    assert reason.summary.endswith(".")
    assert reason.remedy.endswith(".")
    assert reason.code == reason.name.lower()


def test_a_repeated_name_in_the_payload_is_refused_wherever_it_stands() -> None:
    good = b'{"kubernetes.io":{"namespace":"a","namespace":"atlas-production"},"sub":"x"}'
    assert reason_of(verify(token(payload=good), policy(), NOW)) == "malformed_claims"
    twice = b'{"sub":"x","sub":"y"}'
    assert reason_of(verify(token(payload=twice), policy(), NOW)) == "malformed_claims"


def test_a_token_never_shows_in_a_repr() -> None:
    examination = examine(token(Signer("key-1")), policy(), NOW)
    assert token().decode().split(".")[2] not in repr(examination)


def test_the_builders_default_token_is_good() -> None:
    assert claims()["aud"] == [AUDIENCE]
    assert reason_of(verify(token(), policy(), NOW)) == "allowed"
