# SPDX-License-Identifier: Apache-2.0
"""The audit log says who was refused once the signature held, and what the rest merely say, as such.

Each case goes through the fast path and the slow one, cold and from the cache: whoever looks for a pod must
find it behind the thousandth refusal as behind the first.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st

from testing.manifests import compiled, issuer, service, workload
from testing.tokens import NOW, SUBJECT, claims, signer, token
from tests.gate.fast_path.ways import both_ways, ruleset
from watchword.gate.audit import (
    MAX_UNPROVEN_BYTES,
    UNPROVEN_PER_SECOND,
    AuditEntry,
    Said,
    Unproven,
    path_of,
    shown,
)
from watchword.gate.cache import NEGATIVE_BYTES, BoundedCache, RememberedRefusal
from watchword.identity import Outcome, Refusal, examine, verify
from watchword.trust import Ruleset, load

PEER = {"peer": "192.0.2.7:40007"}
PROVEN = ("issuer", "subject", "pod", "token_id", "key_thumbprint")
KUBERNETES: dict[str, Any] = claims()["kubernetes.io"]


def rules(**workload_spec: Any) -> Ruleset:
    if not workload_spec:
        return ruleset()
    routes = [{"path": "/app/{account}", "methods": ["GET"], "scope": "account:usage:read"}]
    made = compiled(issuer(), service(routes=routes), workload(**workload_spec))
    return load(made.bundles[0])


def revoking(**revocation: Any) -> Ruleset:
    made = compiled(issuer(revoked=[revocation]), service(), workload())
    return load(made.bundles[0])


def changed(**kubernetes: Any) -> bytes:
    return token(**{"kubernetes.io": KUBERNETES | kubernetes})


# Reason: a token of a trusted key that is refused for it, and the rules where they are not the usual ones.
AFTER_THE_SIGNATURE: dict[str, tuple[Callable[[], bytes], Callable[[], Ruleset]]] = {
    "wrong_issuer": (lambda: token(iss="https://other.example"), rules),
    "wrong_audience": (lambda: token(aud=["other"]), rules),
    "missing_time": (lambda: token(exp=...), rules),
    "issued_in_future": (lambda: token(iat=NOW + 900, exp=NOW + 1800), rules),
    "not_yet_valid": (lambda: token(nbf=NOW + 900), rules),
    "expired": (lambda: token(iat=NOW - 900, nbf=NOW - 900, exp=NOW - 300), rules),
    "lifetime_too_long": (lambda: token(exp=NOW + 90_000), rules),
    "not_a_service_account": (lambda: token(sub="admin"), rules),
    "inconsistent_claims": (lambda: token(sub="system:serviceaccount:atlas-production:other"), rules),
    "not_bound": (lambda: changed(pod={"name": "", "uid": ""}), rules),
    "revoked": (token, lambda: revoking(tokenId=claims()["jti"])),
    "unknown_workload": (
        lambda: token(
            sub="system:serviceaccount:other:other",
            **{
                "kubernetes.io": KUBERNETES
                | {"namespace": "other", "serviceaccount": {"name": "other", "uid": "u"}}
            },
        ),
        rules,
    ),
    "suspended": (token, lambda: rules(suspend=True)),
    "trust_expired": (token, lambda: rules(expires="2020-01-01T00:00:00Z")),
}


def asks(credential: bytes, target: bytes = b"/authz", *lines: bytes, method: bytes = b"GET") -> bytes:
    head = [method + b" " + target + b" HTTP/1.1", b"Host: gate"]
    if credential:
        head.append(b"Authorization: Bearer " + credential)
    return b"\r\n".join([*head, *lines, b"", b""])


def audited(reads: list[bytes], under: Ruleset | None) -> list[dict[str, Any]]:
    """The entries, which are the same by both paths."""
    fast, slow = both_ways(reads, under)
    assert fast.audited == slow.audited
    return [json.loads(line) for line in fast.audited.splitlines()]


@pytest.mark.parametrize("reason", AFTER_THE_SIGNATURE)
def test_a_refusal_behind_the_signature_names_who_was_refused(reason: str) -> None:
    make, under = AFTER_THE_SIGNATURE[reason]
    given = make()
    body = json.loads(_payload(given))
    entries = audited([asks(given)] * 3, under())
    assert [each["reason"] for each in entries] == [reason] * 3
    for entry in entries:
        assert entry["issuer"] == "production"
        assert entry["subject"] == body["sub"]
        assert entry["token_id"] == body["jti"]
        assert entry["key_thumbprint"] == signer().key.thumbprint
        assert entry.get("pod", "") == body["kubernetes.io"]["pod"]["name"]
        assert entry["unproven"] == {**PEER, "method": "GET", "path": "/authz"}
        assert ("workload" in entry) == (reason in {"suspended", "trust_expired"})


def test_claims_that_cannot_be_read_name_the_issuer_and_its_key_alone() -> None:
    given = signer().sign(b'{"alg":"RS256","kid":"key-1"}', b'{"sub":7}')
    [entry] = audited([asks(given)], rules())
    assert entry["reason"] == "malformed_claims"
    assert (entry["issuer"], entry["key_thumbprint"]) == ("production", signer().key.thumbprint)
    assert not {"subject", "pod", "token_id", "workload"} & set(entry)


def test_of_a_key_that_two_issuers_hold_the_one_that_the_token_does_not_name_is_not_told() -> None:
    other = "https://other.example"
    objects = (issuer(), issuer("staging", issuer=other), service(), workload())
    rules = load(compiled(*objects).bundles[0])
    nameless, named = token(iss="https://third.example"), token(iss=other)
    entries = audited([asks(nameless)] * 2 + [asks(named)] * 2, rules)
    assert [(each["reason"], each.get("issuer")) for each in entries] == [
        *[("wrong_issuer", None)] * 2,
        *[("unknown_workload", "staging")] * 2,
    ]
    assert {each["key_thumbprint"] for each in entries} == {signer().key.thumbprint}


@pytest.mark.parametrize("changes", [{}, {"aud": ["other"]}, {"iss": "https://third.example"}])
def test_a_key_that_was_revoked_proves_nothing_of_the_names_that_it_signs(changes: dict[str, Any]) -> None:
    revoked = [{"keyThumbprint": signer().key.thumbprint}]
    objects = (issuer("production", signer("key-2"), signer(), revoked=revoked), service(), workload())
    rules = load(compiled(*objects).bundles[0])
    entries = audited([asks(token(**changes))] * 2, rules)
    assert len(entries) == 2
    for entry in entries:
        assert not {*PROVEN, "workload", "detail"} & set(entry)
        assert entry["unproven"] == {**PEER, "method": "GET", "path": "/authz"}


@pytest.mark.parametrize(
    "given",
    [b"", b"x", b"a.b.c", token()[:-8] + b"AAAAAAAA", token(signer("strange"), sub="never-proven")],
    ids=["none", "no token", "no JWS", "a broken signature", "a strange key"],
)
def test_a_refusal_before_the_signature_names_nobody(given: bytes) -> None:
    entries = audited([asks(given, b"/authz?access_token=secret")] * 2, rules())
    assert len(entries) == 2
    for entry in entries:
        assert not {*PROVEN, "workload", "detail"} & set(entry)
        assert entry["unproven"] == {**PEER, "method": "GET", "path": "/authz"}


@pytest.mark.parametrize(
    ("endpoint", "lines", "method"),
    [
        (b"/authz/nginx", (b"X-Original-Method: DELETE", b"X-Original-URI: /app/rival?key=secret"), b"GET"),
        (b"/authz/caddy", (b"X-Forwarded-Method: DELETE", b"X-Forwarded-Uri: /app/rival?key=secret"), b"GET"),
        (
            b"/authz/traefik",
            (b"X-Forwarded-Method: DELETE", b"X-Forwarded-Uri: /app/rival?key=secret"),
            b"GET",
        ),
        (b"/authz/envoy/app/rival?key=secret", (), b"DELETE"),
    ],
)
@pytest.mark.parametrize("credential", ["good", "broken"])
def test_behind_a_proxy_the_original_request_is_told(
    endpoint: bytes, lines: tuple[bytes, ...], method: bytes, credential: str
) -> None:
    given = token() if credential == "good" else token()[:-8] + b"AAAAAAAA"
    entries = audited([asks(given, endpoint, *lines, method=method)] * 2, rules())
    for entry in entries:
        assert entry["unproven"] == {**PEER, "method": "DELETE", "path": "/app/rival"}
        # No route named the method: it is the caller's word, and stands nowhere else.
        assert "method" not in entry
        assert ("subject" in entry) == (credential == "good")


def test_checks_16_and_17_name_who_was_refused_and_what_was_asked() -> None:
    no_route = asks(token(), b"/authz/envoy/admin")
    foreign = asks(token(), b"/authz/envoy/app/rival")
    allowed = asks(token(), b"/authz/envoy/app/acme")
    entries = audited([no_route, foreign, *[allowed] * 9], ruleset())
    reasons = [each.get("reason", "") for each in entries]
    assert reasons[:2] == ["no_route", "account_not_granted"]
    assert reasons[-1] == "rate_limited"
    for entry in entries:
        assert entry["subject"] == SUBJECT
        assert entry["workload"] == "tuist/atlas"
        assert entry["unproven"]["peer"] == PEER["peer"]
    assert [each["unproven"]["path"] for each in entries[:3]] == ["/admin", "/app/rival", "/app/acme"]


def test_a_gate_without_a_bundle_says_who_asked_for_what() -> None:
    [entry] = audited([asks(token(), b"/authz/envoy/app/acme", method=b"PUT")], None)
    assert entry["reason"] == "not_ready"
    assert entry["unproven"] == {**PEER, "method": "PUT", "path": "/app/acme"}


def test_no_more_than_twenty_unproven_entries_are_written_a_second_and_none_of_the_proven_is_lost() -> None:
    bad, proven = asks(token()[:-8] + b"AAAAAAAA"), asks(token(aud=["other"]))
    entries = audited([bad] * 60 + [proven] * 30, rules())
    assert sum(each["reason"] == "bad_signature" for each in entries) == UNPROVEN_PER_SECOND
    assert sum(each["reason"] == "wrong_audience" for each in entries) == 30


@given_by(st.binary(max_size=600), st.text(max_size=400))
@settings(max_examples=500, deadline=None)
def test_what_is_unproven_is_bounded_visible_ascii_whatever_was_sent(target: bytes, method: str) -> None:
    found = Said(("2001:db8::1", 7), method, target).unproven()
    for text in (found.method, found.path):
        assert text.isascii()
        assert not text or text.isprintable()
        assert " " not in text
        # Each byte takes four characters at most, and three dots say that some is missing.
        assert len(text) <= 4 * MAX_UNPROVEN_BYTES + 3
    assert found.peer == "[2001:db8::1]:7"


@given_by(st.from_regex(rb"[ -~]{0,40}", fullmatch=True), st.from_regex(rb"[ -~]{1,40}", fullmatch=True))
@settings(max_examples=300, deadline=None)
def test_no_query_is_ever_told(path: bytes, query: bytes) -> None:
    assert path_of(b"/" + path.replace(b"?", b"").replace(b"#", b"") + b"?" + query) == b"/" + path.replace(
        b"?", b""
    ).replace(b"#", b"")


@pytest.mark.parametrize(
    "target",
    [
        b"/app/%s",
        b"/app/%s/more",
        b"/app/a%%20%s",
        b"/app?%s",
        b"/app#%s",
        b"http://user:%s@host/app",
        b"user:%s@host:1",
        b"/" + b"a" * 250 + b"/%s",
    ],
)
def test_no_part_of_a_token_is_ever_told(target: bytes) -> None:
    for given in (token(), token().replace(b".", b"%2E")):
        whole = target % given
        text = shown(path_of(whole))
        head, payload, _ = token().split(b".")
        assert head[:12].decode() not in text
        assert payload[:12].decode() not in text


def test_a_path_that_is_cut_says_so_and_escapes_can_be_told_from_what_was_sent() -> None:
    assert shown(b"/" + b"a" * 400) == "/" + "a" * 255 + "..."
    assert shown(b"/a\r\nb\\x0a\xe2\x80\xae") == "/a\\x0d\\x0ab\\x5cx0a\\xe2\\x80\\xae"


def test_what_is_remembered_of_a_refusal_is_weighed_with_its_names() -> None:
    long = token(sub="s" * 2000, jti="j" * 2000)
    refusal = verify(long, ruleset().policy, NOW)
    assert isinstance(refusal, Refusal)
    assert refusal.proven is not None
    assert (len(refusal.proven.subject), len(refusal.proven.token_id)) == (512, 512)
    remembered = RememberedRefusal(refusal, NOW, NOW + 10)
    assert remembered.weight >= 600 + 1024
    cache: BoundedCache[RememberedRefusal] = BoundedCache(NEGATIVE_BYTES)
    for number in range(2000):
        cache.put(b"%d" % number, remembered)
    assert cache.used_bytes <= NEGATIVE_BYTES
    assert len(cache) <= NEGATIVE_BYTES // remembered.weight


def test_the_answer_to_the_caller_does_not_name_what_is_proven() -> None:
    given = token(aud=["other"])
    fast, slow = both_ways([asks(given)] * 2, rules())
    for written in (fast.written, slow.written):
        assert claims()["jti"].encode() not in written
        assert KUBERNETES["pod"]["name"].encode() not in written


@pytest.mark.parametrize("reason", AFTER_THE_SIGNATURE)
def test_an_explanation_proves_what_the_decision_proved(reason: str) -> None:
    make, under = AFTER_THE_SIGNATURE[reason]
    given, policy = make(), under().policy
    decided, examined = verify(given, policy, NOW), examine(given, policy, NOW)
    assert decided == examined.decision
    assert next(each for each in examined.checks if each.outcome is Outcome.FAILED).refusal == decided


def test_the_reference_page_has_each_field() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "audit.md").read_text()
    named = {*AuditEntry.__struct_fields__, *(f"unproven.{each}" for each in Unproven.__struct_fields__)}
    assert {each for each in named - {"unproven"} if f"`{each}`" not in page} == set()


def _payload(given: bytes) -> bytes:
    part = given.split(b".")[1]
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
