# SPDX-License-Identifier: Apache-2.0
"""Audiences on a real API server: what a callee declares brings it no token that is good elsewhere.

Each service's own audience comes from where it is; a token for it is refused by every other gate, and by the
API server itself, which is the strictest judge that there is here.
"""

from __future__ import annotations

import pytest

from testing.controlplane import ApiError
from testing.operated import AUDIENCE, Operated


def own(operated: Operated, namespace: str, name: str = "api") -> str:
    """The audience that the service must have."""
    cluster = operated.get("/api/v1/namespaces/kube-system")
    assert cluster is not None
    return f"watchword.dev/services/{cluster['metadata']['uid']}/{namespace}/{name}"


@pytest.mark.brings_about("ProtectedService/AudiencesDistinct/Distinct")
def test_a_service_without_audiences_has_its_own_and_says_it(operated: Operated, place: str) -> None:
    service = operated.service(place)
    del service["spec"]["audiences"]
    operated.apply(service, operated.workload(place))
    stored = operated.wait_for(service, "Ready/BundleCurrent", "AudiencesDistinct/Distinct")
    assert stored["status"]["audience"] == own(operated, place)
    bundle = operated.bundle(place)
    assert bundle is not None
    assert bundle.audiences == (own(operated, place),)


def test_a_token_for_one_service_is_refused_by_every_other_and_by_the_api_server(
    operated: Operated, place: str
) -> None:
    rival_place = operated.new_namespace()
    operated.account(rival_place)
    services = [operated.service(place), operated.service(rival_place), operated.service(place, "twin")]
    workloads = [
        operated.workload(place),
        operated.workload(rival_place, account=(place, "atlas")),
        operated.workload(place, "twin-atlas", serviceRef={"name": "twin"}),
    ]
    operated.apply(*services, *workloads)
    for each in (*services, *workloads):
        operated.wait_for(each, "Ready/BundleCurrent" if each in services else "Ready/Trusted")
    pod = operated.pod(place, "atlas")
    token = operated.cluster.token(place, "atlas", [own(operated, place)], pod=pod)
    assert operated.decision(token, place) == "allowed"
    assert operated.decision(token, rival_place) == "wrong_audience"
    assert operated.decision(token, place, "twin") == "wrong_audience"
    assert not operated.cluster.token_review(token).get("authenticated")
    with pytest.raises(ApiError) as refused:
        operated.cluster.request("GET", "/api/v1/namespaces", bearer=token)
    assert refused.value.status == 401


@pytest.mark.brings_about(
    "ProtectedService/AudiencesDistinct/AudienceReserved", "ProtectedService/Event/AudienceReserved"
)
def test_audiences_of_others_are_left_out_and_said(operated: Operated, place: str) -> None:
    reserved = [
        operated.cluster.issuer,
        operated.cluster.issuer + "/",
        "https://kubernetes.default.svc",
        *operated.cluster.api_audiences,
        "sts.amazonaws.com",
        "api://AzureADTokenExchange",
        "https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        "vault",
    ]
    declared = list(dict.fromkeys(reserved))
    service = operated.service(place, audiences=[*declared, "my-own"])
    operated.apply(service)
    stored = operated.wait_for(service, "AudiencesDistinct/AudienceReserved", "Ready/BundleCurrent")
    bundle = operated.bundle(place)
    assert bundle is not None
    assert set(bundle.audiences) == {own(operated, place), "my-own"}
    condition = next(each for each in stored["status"]["conditions"] if each["type"] == "AudiencesDistinct")
    assert "spec.audiences[0]" in condition["message"]
    operated.wait_for_event(service, "AudienceReserved", "Warning", "status.audience")
    operated.edit(service, audiences=["my-own"])
    operated.wait_for(service, "AudiencesDistinct/Distinct")


def test_a_url_is_reserved_from_when_an_issuer_has_it_and_no_longer(operated: Operated, place: str) -> None:
    url = f"https://issuer-of-{place}.example"
    service = operated.service(place, audiences=[url])
    operated.apply(service)
    operated.wait_for(service, "AudiencesDistinct/Distinct")
    issuer = operated.trusted_issuer(name=f"of-{place}", issuer=url, keys={"discovery": {}})
    operated.apply(issuer)
    operated.wait_for(service, "AudiencesDistinct/AudienceReserved")
    bundle = operated.bundle(place)
    assert bundle is not None
    assert bundle.audiences == (own(operated, place),)
    operated.delete(issuer)
    operated.wait_for(service, "AudiencesDistinct/Distinct")


@pytest.mark.parametrize(
    "declared", ["watchword.dev/x", "Watchword.DEV/services/x/y/z", "watchword.dev/desks/c/n/d"]
)
def test_no_object_can_declare_an_audience_that_is_derived(
    operated: Operated, place: str, declared: str
) -> None:
    for audience in (declared, own(operated, place)):
        with pytest.raises(ApiError) as refused:
            operated.apply(operated.service(place, audiences=[audience]))
        assert refused.value.status == 422
        assert "derived from a service's place" in str(refused.value)


@pytest.mark.brings_about(
    "ProtectedService/AudiencesDistinct/AudienceShared", "ProtectedService/Event/AudienceShared"
)
def test_an_audience_of_two_namespaces_is_said_to_both_without_a_name(operated: Operated, place: str) -> None:
    other = operated.new_namespace()
    shared = f"shared-{place}"
    one, two = (operated.service(each, audiences=[shared]) for each in (place, other))
    operated.apply(one)
    operated.wait_for(one, "AudiencesDistinct/Distinct")
    operated.apply(two)
    for service, stranger in ((one, other), (two, place)):
        stored = operated.wait_for(service, "AudiencesDistinct/AudienceShared", "Ready/BundleCurrent")
        [message] = [
            each["message"] for each in stored["status"]["conditions"] if each["type"] == "AudiencesDistinct"
        ]
        assert stranger not in message.split()
        operated.wait_for_event(service, "AudienceShared", "Warning")
    operated.delete(two)
    operated.wait_for(one, "AudiencesDistinct/Distinct")


def test_a_token_that_was_injected_before_is_accepted_while_its_audience_is_declared(
    operated: Operated, place: str
) -> None:
    service, workload = operated.service(place, audiences=[AUDIENCE]), operated.workload(place)
    operated.apply(service, workload)
    operated.wait_for(workload, "Ready/Trusted")
    before = operated.token(place)
    assert operated.decision(before, place) == "allowed"
    operated.edit(service, audiences=None)
    operated.wait_for_decision(before, "wrong_audience", place)
