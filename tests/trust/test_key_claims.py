# SPDX-License-Identifier: Apache-2.0
"""Keys are public: a cluster that serves another's wins nothing by it, and puts no one out."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.manifests import issuer, parsed, service, workload
from testing.tokens import NOW, Signer, signer, token
from watchword.identity import Identity, Refusal, verify
from watchword.trust import Bundle, BundleError, decode_bundle, encode_bundle, load
from watchword.trust.bundle import seal
from watchword.trust.bundle_forms import PREVIOUS_ENTRY, WHOLE_ENTRY, entries_of, newest
from watchword.trust.issuers import JudgedIssuer, judge_issuer, settle_issuers
from watchword.trust.key_claims import NEW_SECONDS, Claim, disputes
from watchword.trust.key_rotation.held_keys import HeldKey, held_key
from watchword.trust.service import compile_service

ISS = frozenset({"https://kubernetes.default.svc"})
VICTIM, COPY, BEFORE = Signer("victims"), Signer("attackers-own"), Signer("before")
# Other keys under the kid of the victim.
OTHER, UNKNOWN = Signer(VICTIM.kid), Signer(VICTIM.kid)


def settled(*issuers: tuple[dict[str, Any], tuple[HeldKey, ...]]) -> Bundle:
    """The bundle of a service that trusts `atlas` of `production` and of `copy`, with these issuers."""
    judged = []
    for document, held in issuers:
        [resource] = parsed(document).resources.issuers
        data = json.dumps({"keys": [key.jwk for key in held if key.is_trusted]}).encode()
        judged.append(judge_issuer(resource, data, held))
    return bundle_of(judged)


def bundle_of(judged: Iterable[JudgedIssuer]) -> Bundle:
    """The bundle of a service that trusts `atlas` of `production` and of `copy`."""
    resources = parsed(
        service(), workload("mine"), workload("theirs", "atlas", issuerRef={"name": "copy"})
    ).resources
    compiled = compile_service(resources.services[0], resources.workloads, settle_issuers(judged))
    return decode_bundle(encode_bundle(compiled.bundle))


def followed(name: str, *, iss: str | None = None, **spec: Any) -> dict[str, Any]:
    given = {"issuer": iss} if iss else {}
    return issuer(name, keys={"discovery": {"jwksURL": "https://keys.example/jwks"}}, **given, **spec)


def held(*keys: tuple[Signer, float]) -> tuple[HeldKey, ...]:
    return tuple(held_key(each.key, "Active", since) for each, since in keys)


def decided(bundle: Bundle, data: bytes) -> str:
    decision = verify(data, load(bundle).policy, NOW)
    return decision.workload if isinstance(decision, Identity) else decision.reason.code


def test_a_cluster_that_serves_anothers_key_puts_it_out_neither_whole_nor_in_part() -> None:
    bundle = settled(
        (followed("production"), held((VICTIM, 1000.0))),
        (followed("copy"), held((COPY, 500.0), (VICTIM, 1000.0 + NEW_SECONDS))),
    )
    assert decided(bundle, token(VICTIM)) == "tuist/mine"
    assert decided(bundle, token(COPY)) == "tuist/theirs"


def test_a_cluster_that_uses_anothers_kid_changes_nothing_for_it() -> None:
    bundle = settled(
        (followed("production"), held((VICTIM, 1000.0))),
        (followed("copy"), held((OTHER, 0.0))),
    )
    assert decided(bundle, token(VICTIM)) == "tuist/mine"
    assert decided(bundle, token(OTHER)) == "tuist/theirs"
    assert decided(bundle, token(UNKNOWN)) == "bad_signature"


def test_the_next_key_of_another_wins_nothing_when_it_is_copied_first() -> None:
    bundle = settled(
        (followed("production"), held((BEFORE, 0.0), (VICTIM, 5000.0))),
        (followed("copy"), held((COPY, 0.0), (VICTIM, 5000.0 - NEW_SECONDS + 1))),
    )
    assert decided(bundle, token(VICTIM)) == "unknown_key"
    # Only that key waits.
    assert decided(bundle, token(BEFORE)) == "tuist/mine"
    assert decided(bundle, token(COPY)) == "tuist/theirs"


def test_an_approval_decides_whoever_held_it_first() -> None:
    bundle = settled(
        (followed("production", rotation={"approved": [VICTIM.key.thumbprint]}), held((VICTIM, 9e6))),
        (followed("copy"), held((COPY, 0.0), (VICTIM, 0.0))),
    )
    assert decided(bundle, token(VICTIM)) == "tuist/mine"


def test_this_clusters_own_keys_are_as_good_as_approved() -> None:
    own = issuer("production", keys={"cluster": {}})
    bundle = settled((own, held((VICTIM, 9e6))), (followed("copy"), held((COPY, 0.0), (VICTIM, 0.0))))
    assert decided(bundle, token(VICTIM)) == "tuist/mine"


def test_the_signed_iss_decides_between_issuers_of_one_key() -> None:
    bundle = settled(
        (followed("production", iss="https://a.example"), held((VICTIM, 0.0))),
        (followed("copy", iss="https://b.example"), held((VICTIM, 0.0))),
    )
    assert decided(bundle, token(VICTIM, iss="https://a.example")) == "tuist/mine"
    assert decided(bundle, token(VICTIM, iss="https://b.example")) == "tuist/theirs"
    assert decided(bundle, token(VICTIM, iss="https://c.example")) == "wrong_issuer"


def test_a_revoked_key_is_answered_as_revoked_and_never_with_advice_to_pin_it() -> None:
    revoked = {"revoked": [{"keyThumbprint": VICTIM.key.thumbprint}]}
    taken_back = msgspec.structs.replace(held((VICTIM, 0.0))[0], state="Pending")
    bundle = settled((followed("production", **revoked), (*held((signer(), 0.0)), taken_back)))
    decision = verify(token(VICTIM), load(bundle).policy, NOW)
    assert isinstance(decision, Refusal)
    assert decision.reason.code == "revoked"
    assert "watchword pin" not in decision.remedy
    assert decided(bundle, token(signer())) == "tuist/mine"


REVOKED = {"revoked": [{"keyThumbprint": VICTIM.key.thumbprint}]}


def test_the_revocation_of_another_iss_puts_no_one_out() -> None:
    bundle = settled(
        (followed("production", iss="https://a.example"), held((VICTIM, 0.0))),
        (followed("copy", iss="https://b.example", **REVOKED), held((COPY, 0.0))),
    )
    assert decided(bundle, token(VICTIM, iss="https://a.example")) == "tuist/mine"


def test_who_only_revokes_a_key_puts_no_one_out_who_was_approved_and_held_it() -> None:
    approved = {"rotation": {"approved": [VICTIM.key.thumbprint]}}
    bundle = settled(
        (followed("production", **approved), held((VICTIM, 0.0))),
        (followed("copy", **REVOKED), held((COPY, 0.0))),
    )
    assert decided(bundle, token(VICTIM)) == "tuist/mine"


def test_a_revocation_brings_no_copy_of_the_key_to_life() -> None:
    copy = (followed("copy"), held((COPY, 0.0), (VICTIM, 9e6)))
    before = settled((followed("production"), held((VICTIM, 0.0), (BEFORE, 0.0))), copy)
    assert decided(before, token(VICTIM)) == "tuist/mine"
    # In sight, or not served any more.
    for own in (held((VICTIM, 0.0), (BEFORE, 0.0)), held((BEFORE, 0.0))):
        after = settled((followed("production", **REVOKED), own), copy)
        assert decided(after, token(VICTIM)) in {"revoked", "unknown_key"}


def test_the_only_key_of_an_issuer_is_answered_as_revoked_too() -> None:
    taken_back = (followed("production", **REVOKED), held((VICTIM, 0.0)))
    bundle = settled(taken_back, (followed("copy"), held((COPY, 0.0))))
    assert decided(bundle, token(VICTIM)) == "revoked"
    assert load(bundle).issuers == 2


@pytest.mark.parametrize(
    "changes", [{"sub": "system:serviceaccount:a:guess"}, {"aud": ["other"]}, {"exp": 1}]
)
def test_a_revoked_key_tells_nothing_of_what_a_good_one_would_get(changes: dict[str, Any]) -> None:
    bundle = settled((followed("production", **REVOKED), held((VICTIM, 0.0), (BEFORE, 0.0))))
    assert decided(bundle, token(VICTIM, **changes)) == "revoked"


def test_no_issuer_fills_the_kid_of_another() -> None:
    crowd = [(Signer(VICTIM.kid), 10_000.0) for _ in range(8)]
    bundle = settled(
        (followed("production", iss="https://a.example"), held((BEFORE, 0.0), (VICTIM, 90_000.0))),
        (followed("copy", iss="https://b.example"), held(*crowd)),
    )
    assert decided(bundle, token(VICTIM, iss="https://a.example")) == "tuist/mine"


@pytest.mark.parametrize("copied", [VICTIM, OTHER], ids=["key", "kid"])
def test_gates_of_the_last_release_keep_the_firmer_claim_whatever_the_issuers_are_called(
    copied: Signer,
) -> None:
    bundle = settled(
        (followed("production", iss="https://a.example"), held((VICTIM, 0.0))),
        (followed("copy", iss="https://b.example"), held((COPY, 0.0), (copied, 9e6))),
    )
    old = decode_bundle(entries_of(bundle)[PREVIOUS_ENTRY])
    assert decided(old, token(VICTIM, iss="https://a.example")) == "tuist/mine"
    assert decided(old, token(COPY, iss="https://b.example")) == "tuist/theirs"


def test_a_newer_generation_of_the_older_form_is_not_hidden_by_an_entry_that_was_kept() -> None:
    bundle = settled((followed("production"), held((signer(), 0.0))))
    kept, later = entries_of(seal(bundle, 100)), entries_of(seal(bundle, 200))
    mixed = {WHOLE_ENTRY: kept[WHOLE_ENTRY], PREVIOUS_ENTRY: later[PREVIOUS_ENTRY]}
    assert newest(mixed) == later[PREVIOUS_ENTRY]


def test_the_form_of_the_last_release_holds_a_kid_once_and_a_key_of_one_issuer() -> None:
    bundle = settled(
        (followed("copy", iss="https://b.example"), held((VICTIM, 0.0))),
        (
            followed("production"),
            held((VICTIM, 0.0), (OTHER, 0.0), (signer(), 0.0)),
        ),
    )
    entries = entries_of(bundle)
    old = json.loads(entries[PREVIOUS_ENTRY])
    kids = [key["kid"] for each in old["issuers"] for key in each["keys"]]
    assert old["schemaVersion"] == 1
    assert sorted(kids) == sorted(set(kids))
    assert all("revokedKeys" not in each for each in old["issuers"])
    assert "requires" not in old
    loaded = load(decode_bundle(entries[PREVIOUS_ENTRY]))
    assert decided(decode_bundle(entries[PREVIOUS_ENTRY]), token()) == "tuist/mine"
    assert loaded.generation == load(bundle).generation
    assert decode_bundle(entries[WHOLE_ENTRY]) == bundle


def test_the_newest_form_that_can_be_read_is_taken() -> None:
    bundle = settled((followed("production"), held((signer(), 0.0))))
    entries = entries_of(bundle)
    assert newest(entries) == entries[WHOLE_ENTRY]
    assert newest({PREVIOUS_ENTRY: entries[PREVIOUS_ENTRY]}) == entries[PREVIOUS_ENTRY]
    assert newest({**entries, "bundle.v3.json": b"{}"}) == entries[WHOLE_ENTRY]
    later = json.loads(entries[WHOLE_ENTRY]) | {"requires": ["tomorrow"]}
    assert newest(entries | {WHOLE_ENTRY: json.dumps(later).encode()}) == entries[PREVIOUS_ENTRY]
    # What is broken is said, and not hidden by an older form.
    assert newest(entries | {WHOLE_ENTRY: b"{"}) == b"{"
    assert newest({"other": b"{}"}) is None


def test_a_member_of_a_later_release_is_passed_over_and_covered_by_the_digest() -> None:
    bundle = settled((followed("production"), held((signer(), 0.0))))
    document = json.loads(encode_bundle(bundle)) | {"zebra": {"of": ["tomorrow"]}}
    blank = document | {"generation": 1, "digest": ""}
    encoder = msgspec.json.Encoder(order="deterministic")
    document["digest"] = "sha256:" + hashlib.sha256(encoder.encode(blank)).hexdigest()
    assert decided(decode_bundle(encoder.encode(document)), token()) == "tuist/mine"
    with pytest.raises(BundleError, match="digest"):
        decode_bundle(encoder.encode(document | {"zebra": {"of": ["today"]}}))


CLAIMS = st.builds(
    Claim,
    issuer=st.sampled_from("abcd"),
    urls=st.sampled_from([ISS, frozenset({"https://x"}), ISS | {"https://x"}]),
    kid=st.sampled_from("kl"),
    thumbprint=st.sampled_from("123456"),
    is_approved=st.booleans(),
    held_since=st.one_of(st.none(), st.floats(0, 3 * NEW_SECONDS)),
)
CLAIM_LISTS = st.lists(CLAIMS, max_size=12, unique_by=lambda each: (each.issuer, each.kid, each.thumbprint))


def standing(claims: list[Claim]) -> set[tuple[str, str, str]]:
    lost = {(each.claim.issuer, each.claim.kid, each.claim.thumbprint) for each in disputes(claims)}
    return {(each.issuer, each.kid, each.thumbprint) for each in claims} - lost


@given(CLAIM_LISTS)
def test_no_key_stands_for_two_issuers_of_one_iss_and_no_kid_for_more_keys_than_are_tried(
    claims: list[Claim],
) -> None:
    kept = [each for each in claims if (each.issuer, each.kid, each.thumbprint) in standing(claims)]
    for one, other in itertools.combinations(kept, 2):
        if one.thumbprint == other.thumbprint and one.issuer != other.issuer:
            assert one.urls.isdisjoint(other.urls)
    for kid in "kl":
        assert len({each.thumbprint for each in kept if each.kid == kid}) <= 4


@given(CLAIM_LISTS)
def test_the_order_of_the_claims_decides_nothing(claims: list[Claim]) -> None:
    assert standing(claims) == standing(claims[::-1])


@given(CLAIM_LISTS, CLAIMS)
def test_a_claim_that_comes_later_puts_no_approved_or_older_one_out(claims: list[Claim], late: Claim) -> None:
    """Whatever one more issuer serves from now on, what an hour or a person vouches for stays."""
    now = 10 * NEW_SECONDS
    late = msgspec.structs.replace(late, issuer="attacker", is_approved=False, held_since=now)
    # One key a kid: an issuer's second one has room only while there is some.
    firm = {
        (each.issuer, each.kid): each for each in claims if each.is_approved or each.held_since is not None
    }
    known = list(firm.values())
    assert standing(known) <= standing([*known, late])
