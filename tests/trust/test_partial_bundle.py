# SPDX-License-Identifier: Apache-2.0
"""Of a published bundle only that stands which nothing takes back, and nothing of it lets anybody new in."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.manifests import compiled, issuer, parsed, service, workload
from testing.tokens import signer
from watchword.trust import Bundle, load
from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer, TrustedWorkload
from watchword.trust.partial_bundle import Standing, standing_bundle, without_newcomers

NAMES = ("a", "b", "c", "d")
ISSUERS = (issuer("production"), issuer("other", signer("other")))


def bundle_of(*workloads: dict[str, Any], issuers: tuple[dict[str, Any], ...] = ISSUERS) -> Bundle:
    [found] = compiled(*issuers, service(), *workloads).bundles
    return found


def objects(*manifests: dict[str, Any]) -> dict[str, TrustedWorkload]:
    found = parsed(*ISSUERS, service(), *manifests).resources.workloads
    return {each.metadata.name: each for each in found}


def issuers(*manifests: dict[str, Any]) -> dict[str, ClusterTrustedIssuer]:
    return {each.metadata.name: each for each in parsed(*manifests).resources.issuers}


def trusted(name: str, **spec: Any) -> dict[str, Any]:
    return workload(name, name, **spec)


PUBLISHED = bundle_of(*(trusted(name) for name in NAMES))


def rows(bundle: Bundle) -> dict[str, bool]:
    load(bundle)
    return {row.name: row.suspended for row in bundle.workloads}


def test_nothing_changed_is_the_same_bundle() -> None:
    standing = Standing(objects(*(trusted(name) for name in NAMES[1:])), objects(trusted("a")), {})
    compiled_now = bundle_of(*(trusted(name) for name in NAMES[1:]))
    assert standing_bundle(PUBLISHED, compiled_now, standing, as_published=False).digest == PUBLISHED.digest


def test_what_is_gone_is_out_and_what_is_not_understood_stays() -> None:
    standing = Standing(objects(trusted("b")), objects(trusted("a")), {})
    found = standing_bundle(PUBLISHED, bundle_of(trusted("b")), standing, as_published=False)
    assert rows(found) == {"a": False, "b": False}


def test_what_can_be_read_of_it_takes_it_back() -> None:
    for change, left in (
        ({"suspend": True}, {"a": True}),
        ({"serviceAccount": {"namespace": "atlas-production", "name": "z"}}, {}),
        ({"issuerRef": {"name": "other"}}, {}),
    ):
        standing = Standing({}, objects(trusted("a", **change)), {})
        assert rows(standing_bundle(PUBLISHED, bundle_of(), standing, as_published=False)) == left
    ends = Standing({}, objects(trusted("a", expires="2027-01-01T00:00:00Z")), {})
    [row] = standing_bundle(PUBLISHED, bundle_of(), ends, as_published=False).workloads
    assert row.expires_at == 1798761600.0


def test_a_wider_grant_of_what_is_not_understood_is_not_taken_over() -> None:
    wide = trusted("a", grants=[{"scopes": ["app:administer"], "accounts": ["*"]}])
    found = standing_bundle(PUBLISHED, bundle_of(), Standing({}, objects(wide), {}), as_published=False)
    assert found.grants == PUBLISHED.grants


def test_an_issuer_that_is_not_understood_stays_less_what_it_takes_back() -> None:
    others = (issuer("other", signer("other")),)
    understood = objects(trusted("a"))
    remainder = issuers(issuer("production", revoked=[{"tokenId": "stolen"}]))
    standing = Standing(understood, {}, remainder)
    found = standing_bundle(PUBLISHED, bundle_of(issuers=others), standing, as_published=False)
    assert rows(found) == {"a": False}
    [kept] = [each for each in found.issuers if each.name == "production"]
    assert kept.revocations.token_ids == ("stolen",)
    key = signer().key.thumbprint
    revoked = issuers(issuer("production", revoked=[{"keyThumbprint": key}]))
    out = standing_bundle(
        PUBLISHED, bundle_of(issuers=others), Standing(understood, {}, revoked), as_published=False
    )
    assert rows(out) == {}


def test_a_service_that_is_not_understood_lets_nobody_in_who_was_not() -> None:
    now = bundle_of(*(trusted(name) for name in ("a", "new")))
    standing = Standing(objects(trusted("a"), trusted("new")), {}, {})
    found = standing_bundle(PUBLISHED, now, standing, as_published=True)
    assert rows(found) == {"a": False}
    assert (found.audiences, found.routes) == (PUBLISHED.audiences, PUBLISHED.routes)


@settings(deadline=None)
@given(
    understood=st.sets(st.sampled_from(NAMES)),
    unread=st.sets(st.sampled_from(NAMES)),
    suspended=st.sets(st.sampled_from(NAMES)),
    lost=st.booleans(),
)
def test_whatever_is_left_only_those_are_in_who_were_and_are_there(
    understood: set[str], unread: set[str], suspended: set[str], lost: bool
) -> None:
    unread -= understood
    manifests = {name: trusted(name, suspend=name in suspended) for name in NAMES}
    whole = [manifests[name] for name in sorted(understood)]
    kept = ISSUERS[1:] if lost else ISSUERS
    now = bundle_of(*whole, issuers=kept) if not lost else bundle_of(issuers=kept)
    standing = Standing(
        objects(*whole),
        objects(*(manifests[name] for name in sorted(unread))),
        issuers(ISSUERS[0]) if lost else {},
    )
    found = standing_bundle(PUBLISHED, now, standing, as_published=False)
    assert rows(found) == {name: name in suspended for name in sorted(understood | unread)}
    assert msgspec.structs.replace(found, generation=1).audiences == PUBLISHED.audiences


def test_a_bundle_without_room_lets_nobody_new_in_and_takes_back_what_was_taken_back() -> None:
    wanted = bundle_of(trusted("a"), trusted("b", suspend=True), trusted("new"))
    assert rows(without_newcomers(PUBLISHED, wanted, only_unchanged=False)) == {"a": False, "b": True}
    assert rows(without_newcomers(PUBLISHED, wanted, only_unchanged=True)) == {"a": False}


def test_an_issuer_that_is_new_has_to_wait_for_room_too() -> None:
    wanted = bundle_of(trusted("a"), issuers=(*ISSUERS, issuer("third", signer("third"))))
    found = without_newcomers(PUBLISHED, wanted, only_unchanged=False)
    assert [each.name for each in found.issuers] == [each.name for each in PUBLISHED.issuers]


@given(
    before=st.sets(st.sampled_from(NAMES)),
    after=st.dictionaries(st.sampled_from(NAMES), st.booleans()),
    only_unchanged=st.booleans(),
)
@settings(deadline=None)
def test_of_any_two_bundles_only_who_is_in_both_is_left(
    before: set[str], after: dict[str, bool], *, only_unchanged: bool
) -> None:
    published = bundle_of(*(trusted(name) for name in before))
    wanted = bundle_of(*(trusted(name, suspend=is_out) for name, is_out in after.items()))
    found = rows(without_newcomers(published, wanted, only_unchanged=only_unchanged))
    assert found == {
        name: is_out for name, is_out in after.items() if name in before and not (only_unchanged and is_out)
    }
