# SPDX-License-Identifier: Apache-2.0
"""The life of trust on a real API server: given, suspended, ended, taken back, and never to the wrong one."""

from __future__ import annotations

import itertools
import random
import time
from datetime import UTC, datetime

import pytest

from testing.operated import Operated, signed
from testing.tokens import Signer

ATLAS = "system:serviceaccount:{}:atlas"


@pytest.mark.brings_about(
    "TrustedWorkload/Ready/Trusted",
    "TrustedWorkload/Ready/Suspended",
    "ProtectedService/Ready/BundleCurrent",
    "ProtectedService/BundlePublished/Published",
    "ProtectedService/PolicyApplied/Enforced",
)
def test_one_object_trusts_a_workload_and_its_end_is_the_end(operated: Operated, place: str) -> None:
    service, workload = operated.service(place), operated.workload(place)
    token = operated.token(place)
    operated.apply(service)
    operated.wait_for(service, "Ready/BundleCurrent", "BundlePublished/Published", "PolicyApplied/Enforced")
    assert operated.decision(token, place) == "unknown_workload"

    operated.apply(workload)
    operated.wait_for(workload, "Ready/Trusted")
    assert operated.decision(token, place) == "allowed"

    operated.edit(workload, suspend=True)
    operated.wait_for(workload, "Ready/Suspended")
    assert operated.decision(token, place) == "suspended"

    operated.edit(workload, suspend=False)
    operated.wait_for(workload, "Ready/Trusted")
    assert operated.decision(token, place) == "allowed"

    operated.delete(workload)
    operated.wait_for_decision(token, "unknown_workload", place)


@pytest.mark.brings_about("TrustedWorkload/Ready/Expired", "TrustedWorkload/Event/Expired")
def test_trust_ends_by_time_alone(operated: Operated, place: str) -> None:
    end = datetime.fromtimestamp(int(time.time()) + 4, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    peer = {"ipBlock": {"cidr": "10.20.0.0/16"}}
    workload = operated.workload(place, expires=end, **{"from": [peer]})
    token = operated.token(place)
    operated.apply(operated.service(place), workload)
    operated.wait_for(workload, "Ready/Trusted")
    policy = operated.policy(place)
    assert policy is not None
    assert policy["spec"]["ingress"][0]["from"] == [peer]

    operated.wait_for(workload, "Ready/Expired")
    operated.wait_for_event(workload, "Expired", "Warning", "later spec.expires")
    assert operated.decision(token, place) == "trust_expired"
    policy = operated.policy(place)
    assert policy is not None
    assert all("from" not in rule for rule in policy["spec"]["ingress"])


def test_a_token_that_is_taken_back_is_refused_and_others_of_its_workload_are_not(operated: Operated) -> None:
    cluster, place = Signer("revoking"), operated.new_namespace()
    issuer = operated.trusted_issuer(cluster)
    workload = operated.workload(place, issuerRef={"name": issuer["metadata"]["name"]})
    operated.apply(issuer, operated.service(place), workload)
    operated.wait_for(workload, "Ready/Trusted")
    bad, good = signed(cluster, place, jti="stolen"), signed(cluster, place, jti="other")
    assert operated.decision(bad, place) == "allowed"

    operated.edit(issuer, revoked=[{"tokenId": "stolen"}])
    operated.wait_for_decision(bad, "revoked", place)
    assert operated.decision(good, place) == "allowed"


@pytest.mark.brings_about("TrustedWorkload/Ready/SubjectConflict", "TrustedWorkload/Event/SubjectConflict")
def test_of_two_objects_for_one_subject_the_older_stands_and_the_newer_waits_its_turn(
    operated: Operated, place: str
) -> None:
    older = operated.workload(place, "older")
    newer = operated.workload(place, "newer", grants=[{"scopes": ["app:admin"], "accounts": ["*"]}])
    operated.apply(operated.service(place), older)
    operated.wait_for(older, "Ready/Trusted")
    # Ages are in whole seconds.
    time.sleep(1.1)
    operated.apply(newer)
    operated.wait_for(newer, "Ready/SubjectConflict")
    operated.wait_for_event(newer, "SubjectConflict", "Warning", "older")
    operated.wait_for(older, "Ready/Trusted")
    bundle = operated.bundle(place)
    assert bundle is not None
    assert [row.name for row in bundle.workloads] == ["older"]

    operated.delete(older)
    operated.wait_for(newer, "Ready/Trusted")


@pytest.mark.brings_about(
    "TrustedWorkload/Ready/NamespaceNotAllowed", "TrustedWorkload/Event/NamespaceNotAllowed"
)
def test_an_issuer_serves_only_the_namespaces_that_it_allows(operated: Operated) -> None:
    cluster, place = Signer("narrow"), operated.new_namespace()
    issuer = operated.trusted_issuer(cluster, allowedNamespaces={"matchLabels": {"tier": "gold"}})
    workload = operated.workload(place, issuerRef={"name": issuer["metadata"]["name"]})
    token = signed(cluster, place)
    operated.apply(issuer, operated.service(place), workload)
    operated.wait_for(workload, "Ready/NamespaceNotAllowed")
    operated.wait_for_event(workload, "NamespaceNotAllowed", "Warning", "label the namespace")
    assert operated.decision(token, place) == "unknown_key"

    operated.label_namespace(place, tier="gold")
    operated.wait_for(workload, "Ready/Trusted")
    assert operated.decision(token, place) == "allowed"

    operated.label_namespace(place, tier=None)
    operated.wait_for_decision(token, "unknown_key", place)


def test_two_clusters_with_one_iss_and_the_same_names_are_never_taken_for_each_other(
    operated: Operated,
) -> None:
    one, two, place = Signer("shared-one"), Signer("shared-two"), operated.new_namespace()
    first, second = operated.trusted_issuer(one), operated.trusted_issuer(two)
    workload = operated.workload(place, issuerRef={"name": first["metadata"]["name"]})
    operated.apply(first, second, operated.service(place), workload)
    operated.wait_for(workload, "Ready/Trusted")
    assert operated.decision(signed(one, place), place) == "allowed"
    operated.wait_for_decision(signed(two, place), "unknown_workload", place)


@pytest.mark.brings_about(
    "TrustedWorkload/Ready/ServiceAccountGone",
    "TrustedWorkload/Event/ServiceAccountGone",
    "TrustedWorkload/Event/ServiceAccountReplaced",
)
def test_an_account_that_is_deleted_or_made_anew_takes_its_tokens_with_it(
    operated: Operated, place: str
) -> None:
    workload = operated.workload(place)
    operated.apply(operated.service(place), workload)
    operated.wait_for(workload, "Ready/Trusted")
    old = operated.token(place)
    assert operated.decision(old, place) == "allowed"

    operated.cluster.delete_service_account(place, "atlas")
    operated.wait_for_decision(old, "stale_identity", place)
    operated.wait_for(workload, "Ready/ServiceAccountGone")
    operated.wait_for_event(workload, "ServiceAccountGone", "Warning", "Create the ServiceAccount")

    operated.account(place)
    operated.wait_for_event(workload, "ServiceAccountReplaced", "Warning", "made again")
    new = operated.token(place)
    operated.wait_for_decision(new, "allowed", place)
    assert operated.decision(old, place) == "stale_identity"


@pytest.mark.brings_about(
    "TrustedWorkload/Ready/ServiceNotFound",
    "TrustedWorkload/Event/ServiceNotFound",
    "TrustedWorkload/Ready/IssuerNotFound",
    "TrustedWorkload/Event/IssuerNotFound",
)
def test_what_a_workload_names_and_is_not_there_is_told(operated: Operated, place: str) -> None:
    nobody = operated.workload(place, "nobody", serviceRef={"name": "missing"})
    stranger = operated.workload(place, "stranger", (place, "other"), issuerRef={"name": "missing"})
    operated.apply(operated.service(place), nobody, stranger)
    operated.wait_for(nobody, "Ready/ServiceNotFound")
    operated.wait_for(stranger, "Ready/IssuerNotFound")
    operated.wait_for_event(nobody, "ServiceNotFound", "Warning", "ProtectedService")
    operated.wait_for_event(stranger, "IssuerNotFound", "Warning", "cluster admin")


@pytest.mark.brings_about("TrustedWorkload/Ready/IssuerUnusable", "TrustedWorkload/Event/IssuerUnusable")
def test_a_workload_of_an_issuer_in_trouble_says_whose_trouble_it_is(operated: Operated) -> None:
    place = operated.new_namespace()
    issuer = operated.trusted_issuer(keys={"configMap": {"namespace": place, "name": "keys"}})
    workload = operated.workload(place, issuerRef={"name": issuer["metadata"]["name"]})
    operated.apply(issuer, operated.service(place), workload)
    operated.wait_for(workload, "Ready/IssuerUnusable")
    operated.wait_for_event(workload, "IssuerUnusable", "Warning", "fix the issuer")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_objects_may_come_and_go_in_any_order(operated: Operated, order: tuple[int, ...]) -> None:
    cluster, place = Signer(f"order-{order}"), operated.new_namespace()
    issuer = operated.trusted_issuer(cluster)
    workload = operated.workload(place, issuerRef={"name": issuer["metadata"]["name"]})
    objects = [issuer, operated.service(place), workload]
    token = signed(cluster, place)
    for number in order:
        operated.apply(objects[number])
        time.sleep(random.choice([0.0, 0.1, 0.4]))
    operated.wait_for(workload, "Ready/Trusted")
    assert operated.decision(token, place) == "allowed"

    for number in order:
        operated.delete(objects[number])
        time.sleep(random.choice([0.0, 0.1, 0.4]))
    for each in objects:
        operated.apply(each)
    operated.wait_for(workload, "Ready/Trusted")
    operated.wait_for_decision(token, "allowed", place)
