# SPDX-License-Identifier: Apache-2.0
"""Desks: what was taken back stays so whatever comes late, and what one namespace refuses stops no other."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Counter

from testing import manifests
from testing.manifests import API
from tests.operator.objects import remove, take
from watchword.kube.names import NamespacedName, ObjectKey
from watchword.kube.requests import NotLeadingError, ObjectClient, Response
from watchword.operator.cache import Cache
from watchword.operator.controllers import desk as controller_module
from watchword.operator.controllers.desk import DeskController, DeskReconciliation
from watchword.operator.desk_objects import DeskObjects, ReceivedDeskObject
from watchword.operator.desk_status import ClientResult, DeskResult
from watchword.operator.owned_objects import FIELD_MANAGER, PLURALS
from watchword.operator.status import ServiceResult, ServiceResults
from watchword.trust.api.v1alpha1.status import BundleStatus
from watchword.trust.audience import AudienceRules
from watchword.trust.bundle import Bundle
from watchword.trust.bundle_forms import entries_of
from watchword.trust.desk_objects import MADE_AT, PUBLIC_JWK, REVOKED_AT, SIGNS_FROM, copy_name
from watchword.trust.desk_revocations import (
    Revocations,
    RevokedToken,
    desk_document,
    read_service_document,
    service_document,
)
from watchword.trust.desks import Desks, ready_desks
from watchword.trust.issuers import Issuers

Object = dict[str, Any]
DESKS = "desks"
NOW = 1_800_000_000.0
DESK = ObjectKey("TokenDesk", DESKS, "desk")


def desk(name: str = "desk", **spec: Any) -> Object:
    return manifests.token_desk(name, DESKS, **spec)


def service(namespace: str, **spec: Any) -> Object:
    made = manifests.service("api", tokenDeskRef={"name": "desk"}, **spec)
    made["metadata"]["namespace"] = namespace
    made["spec"].pop("audiences", None)
    return made


class Server:
    """An API server that keeps what is applied, and refuses what it is told to."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.refuses: Callable[[str, str], bool] = lambda *_: False
        self.writes: list[str] = []
        self._versions = itertools.count(1000)

    async def request(self, method: str, path: str, body: bytes | None = None, **_: Any) -> Response:
        await asyncio.sleep(0)
        path = path.partition("?")[0]
        if self.refuses(method, path):
            return Response(403, b'{"message": "exceeded quota"}')
        if method == "GET":
            found = self.objects.get(path)
            return Response(404 if found is None else 200, json.dumps(found or {}).encode())
        self.writes.append(f"{method} {path}")
        if method == "DELETE":
            return Response(404 if self.objects.pop(path, None) is None else 200, b"{}")
        document = json.loads(body or b"{}")
        before = self.objects.get(path, {}).get("metadata", {})
        version = str(next(self._versions))
        document["metadata"] |= {"uid": before.get("uid", f"uid-{version}"), "resourceVersion": version}
        self.objects[path] = document
        return Response(200, json.dumps({"metadata": document["metadata"]}).encode())

    def config_map(self, namespace: str, name: str) -> Object | None:
        return self.objects.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")

    def secrets(self) -> list[Object]:
        return [each for path, each in self.objects.items() if "/secrets/" in path]


class Guard:
    is_leading = True

    def is_held(self) -> bool:
        return self.is_leading


class World:
    """A controller with what it knows, and a server that it writes to."""

    def __init__(self) -> None:
        self.server, self.guard, self.now = Server(), Guard(), NOW
        self.cache, self.objects = Cache(), DeskObjects(DESKS)
        self.results: ServiceResults = {}
        counter = Counter("requests", "Requests.", ["verb", "resource", "code"], registry=CollectorRegistry())
        client = ObjectClient(
            self.server,  # type: ignore[arg-type]  # of a client, requests alone are made
            self.guard,
            counter,
            field_manager=FIELD_MANAGER,
            plurals=PLURALS,
        )
        self.controller = DeskController(
            self.cache, client, self.objects, results=self.results, clock=lambda: self.now
        )
        self.cache.take_namespace("kube-system", "cluster-uid", {})
        for namespace in ("a", "b", "c"):
            self.cache.take_namespace(namespace, f"uid-{namespace}", {"desk": "yes"})
            take(self.cache, service(namespace), uid=f"uid-of-{namespace}")
        take(self.cache, desk())

    def reconcile(self) -> DeskReconciliation:
        return asyncio.run(self.controller.reconcile(AudienceRules(cluster_id="cluster-uid")))

    def judge(self) -> frozenset[NamespacedName]:
        return self.controller.judge(AudienceRules(cluster_id="cluster-uid"))

    def observe(self, document: Object) -> None:
        """What a watch of ConfigMaps or Secrets tells of an object."""
        item = msgspec.json.decode(msgspec.json.encode(document), type=ReceivedDeskObject)
        if document["kind"] == "Secret":
            self.objects.secrets.observe(self.objects.secret_from(item))
        else:
            self.objects.config_maps.observe(self.objects.config_map_from(item))

    def desk_writes(self, **entries: str) -> None:
        """Have the desk write its ConfigMap, and the watch tell of it."""
        path = f"/api/v1/namespaces/{DESKS}/configmaps/watchword-desk-desk"
        document = self.server.objects[path]
        version = str(next(self.server._versions))
        document = document | {"metadata": document["metadata"] | {"resourceVersion": version}}
        names = {"revocations": "revocations.json", "store": "store.json"}
        document["data"] = {names[name]: text for name, text in entries.items()}
        self.server.objects[path] = document
        self.observe(document)

    def revoked(self, namespace: str) -> set[str]:
        found = self.server.config_map(namespace, "watchword-revocations-api")
        assert found is not None
        return set(read_service_document(found["data"]["revocations.json"].encode()).revocations.tokens)

    def keys(self) -> tuple[int, int]:
        """How many keys of the desk are accepted, and how many are revoked."""
        found = self.controller.desks.ready["desk"].keys
        return len(found.keys), len(found.revoked)


@pytest.fixture
def world() -> World:
    return World()


def document_with(services: list[str], jti: str = "t-1") -> str:
    listed = {each: [RevokedToken(jti, "workload:here:a:b", int(NOW), int(NOW) + 600)] for each in services}
    return desk_document(listed, NOW).decode()


def test_a_reconcile_makes_a_key_and_tells_whom_it_changes(world: World) -> None:
    done = world.reconcile()
    assert done.services == {NamespacedName(each, "api") for each in "abc"}
    assert [each.reason.reason for each in done.events] == ["SigningKeyMade"]
    assert done.error is None
    result = done.results[DESK]
    assert isinstance(result, DeskResult)
    assert (result.services, result.is_signing, len(result.keys)) == (3, True, 1)
    assert world.keys() == (1, 0)
    before = list(world.server.writes)
    again = world.reconcile()
    assert (again.services, again.events, world.server.writes) == (frozenset(), (), before)


def test_a_key_that_was_revoked_does_not_come_back_by_an_event_that_was_under_way(world: World) -> None:
    world.reconcile()
    [late] = [json.loads(json.dumps(each)) for each in world.server.secrets()]
    assert "key.pem" in late["data"]
    kid = json.loads(late["metadata"]["annotations"][PUBLIC_JWK])["kid"]
    world.desk_writes(store=json.dumps({"store": "new", "keys": {kid: "old"}}))
    world.reconcile()
    assert world.keys() == (1, 1)
    # What the watch tells is older than the answer to our own write.
    world.observe(late)
    world.desk_writes(store=json.dumps({"store": "new", "keys": {}}))
    world.judge()
    assert world.keys() == (1, 1)


def test_a_key_that_is_gone_does_not_come_back_by_an_event_that_was_under_way(world: World) -> None:
    world.reconcile()
    [late] = world.server.secrets()
    secret = world.objects.secrets.all()[0]
    world.objects.secrets.remove(secret.name, secret.uid)
    world.observe(late)
    world.judge()
    assert world.keys() == (0, 0)


@pytest.mark.parametrize(
    ("notes", "data", "is_revoked"),
    [
        ({}, {"key.pem": base64.b64encode(b"pem").decode()}, False),
        ({}, {}, True),
        ({}, None, True),
        ({}, {"key.pem": ""}, True),
        ({REVOKED_AT: "2026-01-01T00:00:00Z"}, {"key.pem": base64.b64encode(b"pem").decode()}, True),
        # When it was revoked cannot be read: that it was, can.
        ({REVOKED_AT: "yesterday"}, {"key.pem": base64.b64encode(b"pem").decode()}, True),
    ],
)
def test_a_key_is_revoked_where_its_secret_says_so_or_holds_none(
    notes: dict[str, str], data: Any, is_revoked: bool
) -> None:
    annotations = {
        MADE_AT: "2025-01-01T00:00:00Z",
        SIGNS_FROM: "2025-01-01T00:00:00Z",
        PUBLIC_JWK: '{"kid":"wd-x"}',
    }
    metadata = {"name": "s", "namespace": DESKS, "labels": {"watchword.dev/desk": "desk"}}
    document = {"metadata": metadata | {"annotations": annotations | notes}, "data": data}
    item = msgspec.json.decode(msgspec.json.encode(document), type=ReceivedDeskObject)
    key = DeskObjects(DESKS).secret_from(item).key
    assert key is not None
    assert (key.revoked_at is not None) is is_revoked


def test_keys_of_a_lost_store_leave_the_bundles_although_their_secrets_cannot_be_written(
    world: World,
) -> None:
    world.reconcile()
    [secret] = world.server.secrets()
    kid = json.loads(secret["metadata"]["annotations"][PUBLIC_JWK])["kid"]
    world.server.refuses = lambda method, path: method == "PATCH" and "/secrets/" in path
    world.desk_writes(store=json.dumps({"store": "new", "keys": {kid: "old"}}))
    assert world.judge() == {NamespacedName(each, "api") for each in "abc"}
    assert world.keys() == (0, 1)
    done = world.reconcile()
    assert done.error is not None
    result = done.results[DESK]
    assert isinstance(result, DeskResult)
    assert result.trouble is not None
    assert result.trouble.verdict.reason == "KeysNotWritten"


def test_a_namespace_that_takes_no_more_objects_keeps_no_revocation_from_others(world: World) -> None:
    world.server.refuses = lambda method, path: method == "PATCH" and "/namespaces/a/" in path
    done = world.reconcile()
    assert "exceeded quota" in str(done.error)
    world.desk_writes(revocations=document_with(["a/api", "b/api", "c/api"]))
    world.now += 10
    done = world.reconcile()
    assert "exceeded quota" in str(done.error)
    assert (world.revoked("b"), world.revoked("c")) == ({"t-1"}, {"t-1"})


def test_a_desk_whose_keys_are_refused_keeps_nothing_from_the_others(world: World) -> None:
    take(world.cache, desk("a-first"))
    world.server.refuses = lambda method, path: "watchword-signing-a-first" in path
    done = world.reconcile()
    assert world.keys() == (1, 0)
    assert world.server.config_map("b", "watchword-revocations-api") is not None
    assert done.error is not None


@pytest.mark.parametrize("entries", [{}, {"revocations": "not a list"}])
def test_a_list_that_is_gone_or_unreadable_takes_nothing_back(world: World, entries: dict[str, str]) -> None:
    world.reconcile()
    world.desk_writes(revocations=document_with(["b/api"]))
    world.now += 10
    world.reconcile()
    assert (world.revoked("a"), world.revoked("b")) == (set(), {"t-1"})
    world.desk_writes(**entries)
    world.now += 10
    done = world.reconcile()
    assert world.revoked("b") == {"t-1"}
    result = done.results[DESK]
    assert isinstance(result, DeskResult)
    assert (result.trouble is not None) is bool(entries)
    # Once it can be read again, what it says counts.
    world.desk_writes(revocations=document_with([]))
    world.now += 10
    world.reconcile()
    assert world.revoked("b") == set()


def test_a_list_is_written_at_most_once_a_second_and_then_is_complete(world: World) -> None:
    world.reconcile()
    for number in range(5):
        world.desk_writes(revocations=document_with(["b/api"], f"t-{number}"))
        world.now += 0.1
        done = world.reconcile()
        assert done.look_again_seconds is not None
        assert done.look_again_seconds <= 1
    path = "PATCH /api/v1/namespaces/b/configmaps/watchword-revocations-api"
    assert world.server.writes.count(path) == 1
    world.now += 1
    world.reconcile()
    assert world.revoked("b") == {"t-4"}


def publish(world: World, bundle: Bundle, namespace: str = "b", *, uid: str | None = None) -> Object:
    """Have a service's bundle be published; `uid` is of the service that owns its ConfigMap."""
    entries = entries_of(bundle)
    owner = {"apiVersion": API, "kind": "ProtectedService", "name": "api", "controller": True}
    document: Object = {
        "metadata": {
            "namespace": namespace,
            "name": "watchword-bundle-api",
            "ownerReferences": [owner | {"uid": f"uid-of-{namespace}" if uid is None else uid}],
        },
        "data": {name: data.decode() for name, data in entries.items()},
    }
    world.server.objects[f"/api/v1/namespaces/{namespace}/configmaps/watchword-bundle-api"] = document
    world.results[NamespacedName(namespace, "api")] = ServiceResult(
        None,
        {},
        {},
        Issuers(),
        bundle=BundleStatus("watchword-bundle-api", bundle.generation, bundle.digest, "9"),
    )
    return document


def bundle_of(namespace: str = "b", generation: int = 7, audience: str = "api") -> Bundle:
    made = service(namespace)
    made["spec"]["audiences"] = [f"https://{audience}.example.com"]
    [bundle] = manifests.compiled(manifests.issuer(), made, generation=generation).bundles
    return bundle


def test_copies_come_with_what_was_published_and_go_with_the_services(world: World) -> None:
    name = NamespacedName("b", "api")
    stored = publish(world, bundle_of())
    world.reconcile()
    copy = world.server.config_map(DESKS, copy_name("b", "api"))
    assert copy is not None
    assert copy["data"] == {"bundle.v2.json": stored["data"]["bundle.v2.json"]}
    assert world.controller.concerns(name)
    remove(world.cache, service("b"), "uid-of-b")
    assert world.controller.concerns(name)
    world.reconcile()
    assert world.server.config_map(DESKS, copy_name("b", "api")) is None
    assert not world.controller.concerns(name)


@pytest.mark.parametrize("by", ["content", "generation", "owner", "deleted service", "no bundle"])
def test_what_is_not_the_bundle_that_was_published_is_not_copied(world: World, by: str) -> None:
    good, forged = bundle_of(), bundle_of(audience="forged")
    assert good.digest != forged.digest
    publish(world, good)
    result = world.results[NamespacedName("b", "api")]
    if by == "content":
        publish(world, forged)
    elif by == "generation":
        publish(world, msgspec.structs.replace(good, generation=8))
    elif by == "owner":
        publish(world, good)["metadata"]["ownerReferences"] = []
    elif by == "deleted service":
        publish(world, good, uid="uid-before")
    else:
        publish(world, good)["data"] = {"bundle.v2.json": "{}"}
    world.results[NamespacedName("b", "api")] = result
    assert world.reconcile().error is None
    assert world.server.config_map(DESKS, copy_name("b", "api")) is None
    # What was copied before stays.
    publish(world, good)
    world.reconcile()
    before = world.server.config_map(DESKS, copy_name("b", "api"))
    assert before is not None
    publish(world, msgspec.structs.replace(forged, generation=9))["metadata"]["ownerReferences"] = []
    world.reconcile()
    assert world.server.config_map(DESKS, copy_name("b", "api")) == before


def edited(world: World, namespace: str, name: str, data: Object) -> None:
    """Have someone change what a ConfigMap holds and nothing else, and the watch tell of it."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
    document = world.server.objects[path]
    version = str(next(world.server._versions))
    document = document | {"metadata": document["metadata"] | {"resourceVersion": version}, "data": data}
    world.server.objects[path] = document
    world.observe(document)


@pytest.mark.parametrize("data", [{}, None, {"revocations.json": "no list"}, "empty list"])
def test_a_hand_edit_of_a_list_is_undone(world: World, data: Any) -> None:
    world.reconcile()
    world.desk_writes(revocations=document_with(["b/api"]))
    world.now += 10
    world.reconcile()
    assert world.revoked("b") == {"t-1"}
    empty = {"revocations.json": service_document("b/api", f"{DESKS}/desk", Revocations()).decode()}
    edited(world, "b", "watchword-revocations-api", empty if data == "empty list" else data)
    world.now += 10
    world.reconcile()
    assert world.revoked("b") == {"t-1"}
    before = list(world.server.writes)
    world.now += 10
    world.reconcile()
    assert world.server.writes == before


def test_a_hand_edit_of_a_copy_is_undone(world: World) -> None:
    good, forged = bundle_of(), bundle_of(audience="forged")
    publish(world, good)
    world.reconcile()
    name = copy_name("b", "api")
    before = world.server.config_map(DESKS, name)
    assert before is not None
    for data in (entries_of(forged), {"bundle.v2.json": b"{}"}, {}):
        edited(world, DESKS, name, {entry: text.decode() for entry, text in data.items()})
        world.reconcile()
        after = world.server.config_map(DESKS, name)
        assert after is not None
        assert after["data"] == before["data"]
    written = list(world.server.writes)
    world.observe(world.server.config_map(DESKS, name) or {})
    world.reconcile()
    assert world.server.writes == written


@pytest.mark.parametrize("entries", [{"revocations": "not a list"}, {"store": '{"store": "s"}'}])
def test_where_it_is_not_known_what_is_revoked_no_gate_is_told_that_nothing_is(
    world: World, entries: dict[str, str]
) -> None:
    world.reconcile()
    world.desk_writes(revocations=document_with(["b/api"]))
    world.now += 10
    world.reconcile()
    world.desk_writes(**entries)
    path = "/api/v1/namespaces/b/configmaps/watchword-revocations-api"
    held = world.objects.revocations_of(NamespacedName("b", "api"))
    assert held is not None
    del world.server.objects[path]
    world.objects.config_maps.remove(held.name, held.uid)
    world.now += 10
    done = world.reconcile()
    assert world.server.config_map("b", "watchword-revocations-api") is None
    result = done.results[DESK]
    assert isinstance(result, DeskResult)
    assert result.trouble is not None
    assert result.trouble.verdict.reason == "RevocationsUnreadable"
    world.desk_writes(revocations=document_with(["b/api"]))
    world.now += 10
    world.reconcile()
    assert world.revoked("b") == {"t-1"}


def test_a_list_of_another_desk_goes_where_the_present_ones_cannot_be_read(world: World) -> None:
    world.reconcile()
    take(world.cache, desk("other"))
    world.now += 10
    world.reconcile()
    path = f"/api/v1/namespaces/{DESKS}/configmaps/watchword-desk-other"
    document = world.server.objects[path]
    version = str(next(world.server._versions))
    metadata = document["metadata"] | {"resourceVersion": version}
    world.observe(document | {"metadata": metadata, "data": {"revocations.json": "not a list"}})
    moved = service("b")
    moved["spec"]["tokenDeskRef"] = {"name": "other"}
    take(world.cache, moved, uid="uid-of-b", generation=2)
    world.now += 10
    world.reconcile()
    assert world.server.config_map("b", "watchword-revocations-api") is None
    assert world.revoked("a") == set()


def test_desks_are_judged_no_more_often_than_it_takes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []

    def judging(*given: Any, **named: Any) -> Desks:
        counted.append(given)
        return ready_desks(*given, **named)

    monkeypatch.setattr(controller_module, "ready_desks", judging)
    for number in range(5):
        take(world.cache, desk(f"desk-{number}"))
    world.reconcile()
    # Before keys are made, and after.
    assert len(counted) == 2


def test_an_object_with_the_label_and_another_name_is_passed_over(world: World) -> None:
    for namespace, name, is_kept in (
        ("a", "watchword-deskbundle-a.api", False),
        ("a", "watchword-desk-desk", False),
        ("a", "other", False),
        ("a", "watchword-revocations-api", True),
        (DESKS, "watchword-desk-desk", True),
        (DESKS, "watchword-deskbundle-a.api", True),
        (DESKS, "other", False),
    ):
        metadata = {"name": name, "namespace": namespace, "labels": {"watchword.dev/desk": "desk"}}
        document = {"metadata": metadata, "data": {"revocations.json": "x"}}
        item = msgspec.json.decode(msgspec.json.encode(document), type=ReceivedDeskObject)
        assert world.objects.config_map_from(item).is_kept is is_kept, (namespace, name)


def test_a_client_is_told_of_services_that_both_sides_name(world: World) -> None:
    account = {"issuerRef": {"name": "here"}, "namespace": "a", "name": "cache"}
    client = {
        "apiVersion": API,
        "kind": "DeskClient",
        "metadata": {"name": "cache", "namespace": DESKS},
        "spec": {
            "deskRef": {"name": "desk"},
            "type": "ResourceServer",
            "authentication": {"serviceAccount": account},
            "serviceRefs": [{"namespace": each, "name": "api"} for each in ("a", "b")],
        },
    }
    take(world.cache, client)
    take(world.cache, service("a", resourceServers=["cache"]), uid="uid-of-a")
    take(world.cache, service("c", resourceServers=["cache"]), uid="uid-of-c")
    key = ObjectKey("DeskClient", DESKS, "cache")
    assert world.reconcile().results[key] == ClientResult(has_desk=True, services=("a/api",))


def test_one_that_leads_no_more_writes_nothing(world: World) -> None:
    world.guard.is_leading = False
    with pytest.raises(NotLeadingError):
        world.reconcile()
    assert world.server.writes == []


def test_an_issuer_that_has_a_desks_url_ends_the_desk_and_frees_no_key(world: World) -> None:
    world.reconcile()
    rules = AudienceRules(cluster_id="cluster-uid", urls=frozenset({"https://desk.example.com"}))
    assert world.controller.judge(rules) == {NamespacedName(each, "api") for each in "abc"}
    assert world.controller.desks.ready == {}
    assert len(world.server.secrets()) == 1


def test_a_desks_url_concerns_the_services_that_are_not_understood(world: World) -> None:
    # Their published bundles stand, and may accept a URL that their specs do not declare any more.
    newer = manifests.service("newer")
    newer["metadata"]["namespace"] = "a"
    take(world.cache, newer | {"spec": newer["spec"] | {"ofTomorrow": True}})
    plain = manifests.service("plain")
    plain["metadata"]["namespace"] = "a"
    take(world.cache, plain)
    world.judge()
    take(world.cache, desk("new"))
    assert world.judge() == {NamespacedName("a", "newer")}
    assert world.judge() == frozenset()


def test_a_desks_url_concerns_the_services_that_declare_it(world: World) -> None:
    declaring = manifests.service("declaring", audiences=["https://new.example.com"])
    declaring["metadata"]["namespace"] = "a"
    take(world.cache, declaring)
    world.judge()
    take(world.cache, desk("new"))
    assert world.judge() == {NamespacedName("a", "declaring")}


def test_no_private_key_is_kept_or_shown(world: World) -> None:
    world.reconcile()
    [secret] = world.server.secrets()
    pem = base64.b64decode(secret["data"]["key.pem"]).decode()
    world.observe(secret)
    held = repr(world.objects.secrets.all())
    assert "PRIVATE" not in held
    assert pem.splitlines()[1] not in held
    assert secret["data"]["key.pem"] not in held


def test_an_edit_of_a_desk_or_a_client_has_the_desks_judged_and_a_status_does_not() -> None:
    cache = Cache()
    assert take(cache, desk()).desks
    assert not take(cache, desk(), status={"services": 3}).desks
    assert take(cache, desk(issuer="https://other.example.com"), generation=2).desks
    assert remove(cache, desk()).desks
    assert not take(cache, service("a")).desks


def test_the_services_that_name_a_desk_are_known_by_it() -> None:
    cache = Cache()
    take(cache, service("a"))
    take(cache, service("b"), uid="uid-b")
    assert cache.services_naming_desk("desk") == [NamespacedName("a", "api"), NamespacedName("b", "api")]
    moved = service("a")
    moved["spec"]["tokenDeskRef"] = {"name": "other"}
    take(cache, moved, generation=2)
    remove(cache, service("b"), "uid-b")
    assert cache.services_naming_desk("desk") == []
    assert cache.services_naming_desk("other") == [NamespacedName("a", "api")]


def test_a_desk_that_grew_too_large_to_be_read_counts_for_nothing(world: World) -> None:
    world.reconcile()
    grown = desk(signing={"revoked": ["x" * 43 for _ in range(2000)]})
    take(world.cache, grown, generation=2)
    world.judge()
    assert world.controller.desks.ready == {}
