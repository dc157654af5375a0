# SPDX-License-Identifier: Apache-2.0
"""CRDs older and newer than the operator, objects with every field hostile, and writers that fight over the
operator's own objects.

`WATCHWORD_HOSTILE_OBJECTS` (150 unless said) is how many hostile objects of each kind are made; by hand all.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from testing.controlplane import ApiError, Binaries, Etcd, start_cluster, wait_until
from testing.faults.hostile import lax, newer, older, variants
from testing.faults.standing import APPS, BUNDLE, Onlooker, Standing, standing
from testing.gate_process import NAMESPACE, SERVICE, issuer, service, workload
from testing.operator_process import Replica
from watchword.trust.crd.definitions import definitions

HOSTILE = int(os.environ.get("WATCHWORD_HOSTILE_OBJECTS", "150"))
STORM_SECONDS = float(os.environ.get("WATCHWORD_STORM_SECONDS", "6"))
_API = "/apis/watchword.dev/v1alpha1"


@pytest.fixture(scope="module")
def place(
    control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Standing]:
    """An installation whose CRDs may be changed."""
    folder = tmp_path_factory.mktemp("objects")
    with (
        start_cluster(folder / "cluster", etcd=etcd, binaries=control_plane) as running,
        standing(running, folder) as made,
    ):
        made.operator("operator")
        made.check_that_edits_count()
        yield made


@pytest.fixture
def calm(place: Standing) -> Iterator[Standing]:
    """`place`, where nothing may change meanwhile for one who is trusted and one who is not, where the term
    fails at nothing, and where edits count in the end."""
    [operator] = place.replicas
    _, trusted = place.newcomer()
    place.wait_until_in(trusted)
    _, stranger = place.account()
    with Onlooker(place.gate, trusted=(trusted,), strangers=(stranger,)) as onlooker:
        yield place
        for definition in definitions():
            place.cluster.apply(definition)
        place.check_that_edits_count()
    assert onlooker.wrong == []
    assert operator.says("leadership failed") == []
    assert [line for line in operator.lines() if line["level"] in {"error", "critical"}] == []


def change_crds(place: Standing, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    for definition in definitions():
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}"
        stored = place.cluster.request("GET", path)
        stored["spec"] = change(definition)["spec"]
        place.cluster.request("PUT", path, stored)


def test_under_older_crds_the_operator_works_and_what_they_drop_is_as_if_never_said(calm: Standing) -> None:
    change_crds(calm, lambda definition: older(definition, "serviceAccountName", "limits", "suspend"))
    [operator] = calm.replicas
    operator.wait_until(lambda: "lacks spec.limits" in str(operator.ready().get("warnings")), "it says so")
    name, token = calm.newcomer()
    calm.wait_until_in(token)
    calm.distrust(name)
    calm.wait_until_out(token)


def test_a_field_of_a_newer_release_trusts_nobody_new_and_drops_nobody(calm: Standing) -> None:
    """What the field would say is not known; it may well narrow. The old word stands until it can be read."""
    [operator] = calm.replicas
    field = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    name, before = calm.newcomer()
    other_name, other = calm.newcomer()
    for token in (before, other):
        calm.wait_until_in(token)
    change_crds(calm, lambda definition: newer(definition, onlyOnWeekdays=field))
    operator.wait_until(lambda: "it has spec.only" in str(operator.ready().get("warnings")), "it says so")
    wait_until(lambda: _is_applied(calm, name), what="the API server knows the field")
    newer_name, after = calm.account()
    calm.trust(newer_name, onlyOnWeekdays={"from": "Monday"})
    condition = _ready(calm, "trustedworkloads", newer_name)
    assert condition["status"] == "False"
    assert "onlyOnWeekdays" in condition["message"]
    assert calm.is_in(before)
    assert not calm.is_in(after)
    for each in (name, newer_name, other_name):
        calm.distrust(each)
    calm.wait_until_out(before)


def _is_applied(place: Standing, name: str) -> bool:
    try:
        return "onlyOnWeekdays" in place.trust(name, onlyOnWeekdays={"from": "Monday"})["spec"]
    except ApiError as error:
        # Its schema for apply lags behind the CRD.
        assert "not declared in schema" in error.message  # noqa: PT017 - asked again
        return False


def _ready(place: Standing, plural: str, name: str) -> dict[str, Any]:
    path = f"{_API}/namespaces/{NAMESPACE}/{plural}/{name}"

    def conditions() -> list[dict[str, Any]]:
        status = place.cluster.request("GET", path).get("status", {})
        return [each for each in status.get("conditions", []) if each["type"] == "Ready"]

    wait_until(lambda: bool(conditions()), what=f"{name} has a condition")
    return conditions()[0]


def _full_workload() -> dict[str, Any]:
    return workload(
        "hostile",
        "here",
        (APPS, "nobody"),
        **{
            "from": [
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                {
                    "namespaceSelector": {"matchLabels": {"a": "b"}},
                    "podSelector": {"matchLabels": {"a": "b"}},
                },
            ],
            "suspend": False,
            "expires": "2030-01-01T00:00:00Z",
        },
    )


def _full_service() -> dict[str, Any]:
    made = service(
        token={"maxLifetimeSeconds": 3600, "clockSkewSeconds": 60, "binding": "Pod"},
        limits={"requestsPerSecond": 50, "burst": 100},
        networkPolicy={"mode": "Enforce", "allowFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
        usage={"meters": [{"name": "hits", "eventType": "cache.hit", "aggregation": "count"}]},
        serviceAccountName="default",
    )
    made["metadata"]["name"] = "hostile"
    return made


def _full_issuer(jwks: dict[str, Any]) -> dict[str, Any]:
    made = issuer("hostile", jwks, iss="https://hostile.example")
    made["spec"] |= {
        "additionalIssuers": ["https://other.example"],
        "algorithms": ["RS256"],
        "rotation": {"policy": "Continuity", "approved": [], "retireAfterSeconds": 60},
        "allowedNamespaces": {"matchLabels": {"a": "b"}},
        "revoked": [{"tokenId": "x"}],
    }
    return made


def _status_of(place: Standing, plural: str, name: str) -> dict[str, Any]:
    where = "" if plural == "clustertrustedissuers" else f"/namespaces/{NAMESPACE}"
    document = place.cluster.request("GET", f"{_API}{where}/{plural}/{name}")
    status: dict[str, Any] = document.get("status", {})
    return status


@pytest.mark.parametrize("part", ["spec", "status"])
def test_objects_with_every_field_hostile_hurt_nobody_else(calm: Standing, part: str) -> None:
    place = calm
    named, _ = place.newcomer()
    bases = [
        ("trustedworkloads", _full_workload(), _status_of(place, "trustedworkloads", named)),
        ("protectedservices", _full_service(), _status_of(place, "protectedservices", SERVICE)),
        (
            "clustertrustedissuers",
            _full_issuer({"keys": []}),
            _status_of(place, "clustertrustedissuers", "here"),
        ),
    ]
    change_crds(place, lax)
    _wait_until_lax(place)
    dice = random.Random(11)
    made: list[tuple[str, str]] = []
    try:
        for plural, base, status in bases:
            base["status"] = status
            chosen = list(variants(base, part))
            if len(chosen) > HOSTILE:
                chosen = dice.sample(chosen, HOSTILE)
            where = "" if plural == "clustertrustedissuers" else f"/namespaces/{NAMESPACE}"
            for each in chosen:
                path = f"{_API}{where}/{plural}"
                if _tried(place, "POST", path, each):
                    made.append((path, each["metadata"]["name"]))
                    if part == "status":
                        _write_status(place, f"{path}/{each['metadata']['name']}", each["status"])
        assert len(made) > HOSTILE
        place.check_that_edits_count()
    finally:
        for path, name in made:
            place.cluster.request("DELETE", f"{path}/{name}")
    place.check_that_edits_count()


def _wait_until_lax(place: Standing) -> None:
    anything = workload("lax", "here", (APPS, "nobody"), grants="anything")

    def is_lax() -> bool:
        return _tried(place, "POST", f"{_API}/namespaces/{NAMESPACE}/trustedworkloads", anything)

    wait_until(is_lax, what="the CRDs take anything")
    place.distrust("lax")


def _tried(place: Standing, method: str, path: str, document: dict[str, Any]) -> bool:
    """Whether the API server took it; what it refuses whatever the CRD says is none of our business."""
    try:
        place.cluster.request(method, path, document)
    except ApiError as error:
        if error.status not in {400, 404, 409, 413, 422}:
            raise
        return False
    return True


def _write_status(place: Standing, path: str, status: Any) -> None:
    # The operator writes it too: the last word is not always ours, and need not be.
    current = place.cluster.request("GET", path)
    _tried(place, "PUT", f"{path}/status", {**current, "status": status})


def test_names_and_metadata_at_their_limits_hurt_nobody(calm: Standing) -> None:
    long_name = "x" * 63
    annotations = {"example.com/big": "y" * 200_000}
    labels = {f"example.com/{number}": "z" * 63 for number in range(50)}
    objects: list[dict[str, Any]] = []
    for made in (service(), workload("limits", "here", (APPS, "nobody")), issuer("limits", {"keys": []})):
        made["metadata"] |= {"name": long_name, "annotations": annotations, "labels": labels}
        objects.append(made)
    objects[2]["spec"]["keys"] = {"cluster": {}}
    for each in objects:
        calm.cluster.apply(each)
    name, token = calm.newcomer()
    calm.wait_until_in(token)
    calm.distrust(name)
    where = f"{_API}/namespaces/{NAMESPACE}"
    condition = _ready(calm, "protectedservices", long_name)
    assert condition["status"] in {"True", "False"}
    for path in (f"{where}/protectedservices", f"{where}/trustedworkloads", f"{_API}/clustertrustedissuers"):
        calm.cluster.request("DELETE", f"{path}/{long_name}")


class Storm:
    """Writers that write the same objects as fast as they can, until the block ends."""

    def __init__(self, *writers: Callable[[int], None]) -> None:
        self.writes = 0
        self._writers, self._is_over = writers, threading.Event()
        self._threads = [threading.Thread(target=self._blow, args=(writer,)) for writer in writers]

    def __enter__(self) -> Storm:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def wait(self, seconds: float) -> None:
        self._is_over.wait(seconds)

    def _blow(self, writer: Callable[[int], None]) -> None:
        for number in itertools.count():
            if self._is_over.is_set():
                return
            try:
                writer(number)
                self.writes += 1
            except ApiError as error:
                if error.status not in {httpx.codes.CONFLICT, httpx.codes.NOT_FOUND}:
                    raise


def test_writers_that_hammer_the_same_objects_keep_nobody_out_and_once_they_rest_so_does_the_operator(
    calm: Standing,
) -> None:
    [operator] = calm.replicas
    cluster = calm.cluster
    config_map = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{BUNDLE}"
    name, _ = calm.newcomer()
    merge = "application/merge-patch+json"

    def patch(path: str, document: dict[str, Any], suffix: str = "") -> None:
        cluster.request("PATCH", f"{path}{suffix}", document, content_type=merge)

    def spoil_bundle(number: int) -> None:
        patch(config_map, {"data": {"bundle.json": f'{{"spoiled": {number}}}'}})

    def spoil_generation(number: int) -> None:
        patch(config_map, {"metadata": {"annotations": {"watchword.dev/digest": f"spoiled-{number}"}}})

    def label_service(number: int) -> None:
        patch(
            f"{_API}/namespaces/{NAMESPACE}/protectedservices/{SERVICE}",
            {"metadata": {"labels": {"number": str(number)}}},
        )

    def label_workload(number: int) -> None:
        patch(
            f"{_API}/namespaces/{NAMESPACE}/trustedworkloads/{name}",
            {"metadata": {"annotations": {"number": str(number)}}},
        )

    def spoil_status(number: int) -> None:
        status = {"status": {"bundle": {"configMap": BUNDLE, "generation": number, "digest": "spoiled"}}}
        patch(f"{_API}/namespaces/{NAMESPACE}/protectedservices/{SERVICE}", status, "/status")

    with Storm(spoil_bundle, spoil_generation, label_service, label_workload, spoil_status) as storm:
        storm.wait(STORM_SECONDS)
        late_name, late = calm.newcomer()
        calm.wait_until_in(late)
    assert storm.writes > 50
    calm.distrust(late_name)
    calm.wait_until_out(late)
    wait_until(lambda: _is_at_rest(operator), what="the operator rests", timeout_seconds=60)
    generation, document = calm.bundle()
    assert document["generation"] == generation
    status = _status_of(calm, "protectedservices", SERVICE)
    assert (status["bundle"]["generation"], status["bundle"]["digest"]) == (generation, document["digest"])
    calm.distrust(name)


def _is_at_rest(operator: Replica) -> bool:
    """No request of reconciles within two seconds."""
    before = operator.metric("watchword_operator_api_requests_total")
    threading.Event().wait(2)
    return operator.metric("watchword_operator_api_requests_total") == before


@pytest.mark.parametrize("value", ["-5", "abc", "", "99999999999999999999999", "9223372036854775807", "1e3"])
def test_a_generation_that_somebody_wrote_over_neither_stops_nor_turns_back_the_bundle(
    calm: Standing, value: str
) -> None:
    before, _ = calm.bundle()
    calm.cluster.request(
        "PATCH",
        f"/api/v1/namespaces/{NAMESPACE}/configmaps/{BUNDLE}",
        {"metadata": {"annotations": {"watchword.dev/generation": value}}},
        content_type="application/merge-patch+json",
    )
    calm.check_that_edits_count()
    assert calm.bundle()[0] > before
