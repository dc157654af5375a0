# SPDX-License-Identifier: Apache-2.0
"""Desks on a real API server: keys, rotation, copies of bundles, revocations, conditions; and two tenants.

The operator runs under the rights that are shipped, and the admission policies are in force. What gates would
say is decided by the real verifier on the bundle that the ConfigMap really holds.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from testing import manifests
from testing.controlplane import ApiError
from testing.controlplane.cluster import ADMINISTRATOR
from testing.manifests import API
from testing.tokens import Signer
from tests.cluster.desk.conftest import DESKS, World
from tests.shipped import admission_policies
from watchword.gate.desk_revocation_watch import RevocationWatch
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.gate.settings import FollowedConfigMap
from watchword.kube.watch import Endpoint
from watchword.trust import Bundle, decode_bundle, load
from watchword.trust.admission_policies import BUNDLES_POLICY
from watchword.trust.bundle_forms import entries_of
from watchword.trust.crd.definitions import definitions
from watchword.trust.desk_objects import SIGNS_FROM, copy_name
from watchword.trust.desk_revocations import (
    Revocations,
    RevokedToken,
    desk_document,
    read_service_document,
    service_document,
)
from watchword.trust.desk_rotation import LEAD_SECONDS

SERVICE = "api"
READ = "account:usage:read"
Object = dict[str, Any]


def desk(name: str = "desk", namespace: str = DESKS, **spec: Any) -> Object:
    return manifests.token_desk(name, namespace, **spec)


def service(namespace: str, desk_name: str | None = "desk", **spec: Any) -> Object:
    reference = {} if desk_name is None else {"tokenDeskRef": {"name": desk_name}}
    made = manifests.service(SERVICE, audiences=None, **reference, **spec)
    made["metadata"]["namespace"] = namespace
    return without_nulls(made)


def client(**spec: Any) -> Object:
    account, guarded = ("tenant-a", "cache"), ("tenant-a", SERVICE)
    return manifests.desk_client("cache", DESKS, issuer="here", account=account, service=guarded, **spec)


def without_nulls(document: Object) -> Object:
    document["spec"] = {name: value for name, value in document["spec"].items() if value is not None}
    return document


def bundle_of(found: Object | None) -> Bundle | None:
    if found is None:
        return None
    text = (found.get("data") or {}).get("bundle.v2.json")
    return None if text is None else decode_bundle(text.encode())


def published(world: World, namespace: str) -> Bundle | None:
    return bundle_of(world.config_map(namespace, f"watchword-bundle-{SERVICE}"))


def kids(world: World, namespace: str) -> tuple[set[str], set[str]]:
    """The kids of the desk's keys in a bundle: those that are accepted, those that were revoked."""
    bundle = published(world, namespace)
    if bundle is None or not bundle.desk:
        return set(), set()
    return {each["kid"] for each in bundle.desk.keys}, {each["kid"] for each in bundle.desk.revoked_keys}


def states(world: World) -> dict[str, str]:
    return {each["kid"]: each["state"] for each in world.desk().get("status", {}).get("keys", ())}


@pytest.fixture(scope="module")
def desks(world: World) -> World:
    """A desk, and each tenant's service that names it."""
    world.apply(manifests.issuer("here", Signer("here"), issuer="https://here.example"))
    world.apply(desk())
    for namespace in world.bearers:
        world.apply(service(namespace))
    for namespace in world.bearers:
        world.wait(lambda namespace=namespace: len(kids(world, namespace)[0]) == 1, "a bundle has the key")
        world.wait(
            lambda namespace=namespace: (
                bundle_of(world.config_map(DESKS, copy_name(namespace, SERVICE)))
                == published(world, namespace)
            ),
            "the desk has a copy of the bundle",
        )
    return world


@pytest.mark.brings_about(
    "TokenDesk/Ready/Issuing",
    "TokenDesk/RotationSettled/Settled",
    "TokenDesk/Event/SigningKeyMade",
    "ProtectedService/DeskAccepted/Accepted",
    with_its_fixture=True,
)
def test_a_desk_gets_a_key_that_is_in_the_bundles_and_is_nowhere_else(desks: World) -> None:
    [secret] = desks.secrets()
    private = load_pem_private_key(base64.b64decode(secret["data"]["key.pem"]), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert secret["type"] == "watchword.dev/signing-key"
    [owner] = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("TokenDesk", "desk", True)
    [kid] = kids(desks, "tenant-a")[0]
    desks.wait(lambda: states(desks) == {kid: "Signing"}, "the status says so")
    desks.wait(lambda: desks.condition("TokenDesk", DESKS, "desk") == ("True", "Issuing"), "the desk issues")
    status = desks.desk()["status"]
    assert status["services"] == 2
    cluster_id = desks.cluster.request("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    assert status["audience"] == f"watchword.dev/desks/{cluster_id}/{DESKS}/desk"
    bundle = published(desks, "tenant-a")
    assert bundle is not None
    assert bundle.desk
    assert bundle.desk.audience == f"watchword.dev/services/{cluster_id}/tenant-a/{SERVICE}"
    desks.wait(
        lambda: (
            desks.condition("ProtectedService", "tenant-a", SERVICE, "DeskAccepted") == ("True", "Accepted")
        ),
        "the service says so",
    )
    # Gates of the last release are not told of it, and no private part is anywhere but in the Secret.
    stored = desks.config_map("tenant-a", f"watchword-bundle-{SERVICE}")
    assert stored is not None
    assert "desk" not in json.loads(stored["data"]["bundle.json"])
    whole = json.dumps([stored, desks.desk(), desks.config_map(DESKS, copy_name("tenant-a", SERVICE))])
    assert '"d"' not in whole
    assert "PRIVATE KEY" not in whole


def test_gates_are_let_read_the_revocations_and_are_given_a_list(desks: World) -> None:
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/tenant-a/roles/watchword-bundle-{SERVICE}"
    role = desks.get(path)
    assert role is not None
    assert role["rules"][0]["resourceNames"] == [
        f"watchword-bundle-{SERVICE}",
        f"watchword-revocations-{SERVICE}",
    ]
    desks.wait(lambda: revocations(desks, "tenant-a") is not None, "there is a list")
    assert revocations(desks, "tenant-a").revocations.tokens == {}  # type: ignore[union-attr]


def revocations(world: World, namespace: str) -> Any:
    found = world.config_map(namespace, f"watchword-revocations-{SERVICE}")
    return None if found is None else read_service_document(found["data"]["revocations.json"].encode())


def write_as_desk(world: World, entries: dict[str, str]) -> None:
    world.cluster.request(
        "PATCH",
        f"/api/v1/namespaces/{DESKS}/configmaps/watchword-desk-desk",
        {"data": entries},
        content_type="application/merge-patch+json",
    )


@pytest.mark.brings_about("TokenDesk/Ready/RevocationsUnreadable", "TokenDesk/Event/RevocationsUnreadable")
def test_what_the_desk_revokes_reaches_the_gates_of_that_service_alone(desks: World) -> None:
    now = time.time()
    before = {name: published(desks, name).generation for name in desks.bearers}  # type: ignore[union-attr]
    token = RevokedToken("t-1", "workload:here:a:b", int(now), int(now) + 600)
    write_as_desk(desks, {"revocations.json": desk_document({f"tenant-a/{SERVICE}": [token]}, now).decode()})
    desks.wait(lambda: "t-1" in revocations(desks, "tenant-a").revocations.tokens, "its gates are told")
    assert revocations(desks, "tenant-b").revocations.tokens == {}
    # No new bundle, and no other version of one.
    after = {name: published(desks, name).generation for name in desks.bearers}  # type: ignore[union-attr]
    assert after == before
    write_as_desk(desks, {"revocations.json": "not a list"})
    desks.wait(
        lambda: desks.condition("TokenDesk", DESKS, "desk") == ("False", "RevocationsUnreadable"),
        "it is said",
    )
    wait_told(desks, DESKS, "desk", "RevocationsUnreadable")
    assert "t-1" in revocations(desks, "tenant-a").revocations.tokens
    write_as_desk(desks, {"revocations.json": desk_document({}, now).decode()})
    desks.wait(lambda: desks.condition("TokenDesk", DESKS, "desk") == ("True", "Issuing"), "it is well again")


def test_minting_and_revoking_in_a_loop_writes_at_most_once_a_second(desks: World) -> None:
    name = f"watchword-revocations-{SERVICE}"
    begun, versions = time.monotonic(), set[str]()
    while time.monotonic() - begun < 6:
        now = time.time()
        tokens = [
            RevokedToken(f"loop-{number}", "workload:here:a:b", int(now), int(now) + 600)
            for number in range(int((time.monotonic() - begun) * 20) + 1)
        ]
        write_as_desk(
            desks, {"revocations.json": desk_document({f"tenant-a/{SERVICE}": tokens}, now).decode()}
        )
        found = desks.config_map("tenant-a", name)
        assert found is not None
        versions.add(found["metadata"]["resourceVersion"])
    seconds = time.monotonic() - begun
    assert 2 <= len(versions) <= seconds + 2
    # More than 64 of one subject have become one line.
    desks.wait(lambda: bool(revocations(desks, "tenant-a").revocations.subjects), "they have become a line")
    desks.wait(lambda: not revocations(desks, "tenant-a").revocations.tokens, "and no list")
    write_as_desk(desks, {"revocations.json": desk_document({}, time.time()).decode()})


@pytest.mark.brings_about("TokenDesk/RotationSettled/KeyRotating")
def test_a_new_key_is_in_every_bundle_ten_minutes_before_it_signs(desks: World) -> None:
    [old] = kids(desks, "tenant-a")[0]
    # As if it had been signing for a whole rotation, less nine minutes.
    [secret] = desks.secrets()
    shifted = time.time() - 3600 + 540
    annotate(desks, secret, **{SIGNS_FROM: moment(shifted)})
    desks.apply(desk(signing={"rotateSeconds": 3600}))
    for namespace in desks.bearers:
        desks.wait(lambda namespace=namespace: len(kids(desks, namespace)[0]) == 2, "both keys are in it")
    [new] = kids(desks, "tenant-b")[0] - {old}
    desks.wait(lambda: states(desks) == {old: "Signing", new: "Published"}, "the old one still signs")
    made = next(each for each in desks.secrets() if each["metadata"]["uid"] != secret["metadata"]["uid"])
    notes = made["metadata"]["annotations"]
    seconds = seconds_of(notes[SIGNS_FROM]) - seconds_of(notes["watchword.dev/made-at"])
    assert seconds == LEAD_SECONDS
    # Its time comes: it signs, and the old one stays.
    annotate(desks, made, **{SIGNS_FROM: moment(time.time() - 1)})
    desks.wait(lambda: states(desks) == {new: "Signing", old: "Retiring"}, "the new one signs")
    assert kids(desks, "tenant-a")[0] == {old, new}


@pytest.mark.brings_about("TokenDesk/Event/SigningKeyRemoved")
def test_an_old_key_goes_when_its_last_token_has_ended(desks: World) -> None:
    old = next(kid for kid, state in states(desks).items() if state == "Retiring")
    new = next(kid for kid, state in states(desks).items() if state == "Signing")
    for each in desks.secrets():
        jwk = json.loads(each["metadata"]["annotations"]["watchword.dev/public-jwk"])
        back = 20_000 if jwk["kid"] == old else 4300
        annotate(desks, each, **{SIGNS_FROM: moment(time.time() - back)})
    # A rotation so long that no third key comes into it.
    desks.apply(desk(signing={"rotateSeconds": 2592000}))
    for namespace in desks.bearers:
        desks.wait(lambda namespace=namespace: kids(desks, namespace) == ({new}, set()), "it is gone")
    desks.wait(lambda: len(desks.secrets()) == 1, "and its Secret")


@pytest.mark.brings_about("TokenDesk/Event/SigningKeyRevoked")
def test_a_revoked_key_leaves_every_bundle_at_once_and_another_takes_over(desks: World) -> None:
    [leaked] = kids(desks, "tenant-a")[0]
    desks.apply(desk(signing={"revoked": [leaked.removeprefix("wd-")]}))
    for namespace in desks.bearers:
        desks.wait(
            lambda namespace=namespace: (
                kids(desks, namespace)[1] == {leaked} and len(kids(desks, namespace)[0]) == 1
            ),
            "it is revoked, and another is there",
        )
    desks.wait(lambda: sorted(states(desks).values()) == ["Revoked", "Signing"], "the status says so")
    held = [each for each in desks.secrets() if "key.pem" not in (each.get("data") or {})]
    assert len(held) == 1, "the private part of the revoked key is gone"


def test_keys_of_a_store_that_was_lost_are_revoked(desks: World) -> None:
    [signing] = kids(desks, "tenant-a")[0]
    write_as_desk(desks, {"store.json": json.dumps({"store": "new", "keys": {signing: "old"}, "head": "0:"})})
    desks.wait(lambda: signing in kids(desks, "tenant-a")[1], "it is revoked")
    desks.wait(lambda: len(kids(desks, "tenant-a")[0]) == 1, "another takes over")
    write_as_desk(desks, {"store.json": json.dumps({"store": "new", "keys": {}, "head": "0:"})})


@pytest.mark.brings_about("TokenDesk/Ready/WrongNamespace", "TokenDesk/Event/WrongNamespace")
def test_a_desk_of_another_namespace_counts_for_nothing(desks: World) -> None:
    desks.apply(desk("rogue", "tenant-a"))
    desks.wait(
        lambda: desks.condition("TokenDesk", "tenant-a", "rogue") == ("False", "WrongNamespace"), "it is said"
    )
    wait_told(desks, "tenant-a", "rogue", "WrongNamespace")
    assert desks.cluster.request("GET", "/api/v1/namespaces/tenant-a/secrets")["items"] == []
    desks.delete("TokenDesk", "tenant-a", "rogue")


@pytest.mark.brings_about(
    "TokenDesk/Ready/IssuerTaken", "TokenDesk/Event/IssuerTaken", "TokenDesk/Event/Issuing"
)
def test_a_desk_whose_issuer_url_is_taken_counts_for_nothing(desks: World) -> None:
    desks.apply(desk("late", issuer="https://here.example"))
    desks.wait(lambda: desks.condition("TokenDesk", DESKS, "late") == ("False", "IssuerTaken"), "it is said")
    wait_told(desks, DESKS, "late", "IssuerTaken")
    desks.apply(desk("late"))
    desks.wait(lambda: desks.condition("TokenDesk", DESKS, "late") == ("True", "Issuing"), "it issues")
    wait_told(desks, DESKS, "late", "Issuing")
    desks.delete("TokenDesk", DESKS, "late")
    # Its keys go with it.
    desks.wait(lambda: all("late" not in each["metadata"]["name"] for each in desks.secrets()), "they went")


@pytest.mark.brings_about(
    "ProtectedService/DeskAccepted/DeskNotFound",
    "ProtectedService/Event/DeskNotFound",
    "ProtectedService/DeskAccepted/DeskNotAllowed",
    "ProtectedService/Event/DeskNotAllowed",
)
def test_a_service_without_a_desk_that_counts_has_a_bundle_all_the_same(desks: World) -> None:
    def said() -> tuple[str, str]:
        return desks.condition("ProtectedService", "tenant-b", SERVICE, "DeskAccepted")

    desks.apply(service("tenant-b", "nowhere"))
    desks.wait(lambda: said() == ("False", "DeskNotFound"), "it is said")
    wait_told(desks, "tenant-b", SERVICE, "DeskNotFound")
    bundle = published(desks, "tenant-b")
    assert bundle is not None
    assert not bundle.desk
    desks.wait(lambda: desks.config_map(DESKS, copy_name("tenant-b", SERVICE)) is None, "the copy went")
    desks.apply(service("tenant-b"))
    label(desks, "tenant-b", None)
    desks.wait(lambda: said() == ("False", "DeskNotAllowed"), "it is said")
    desks.wait(lambda: kids(desks, "tenant-b") == (set(), set()), "no desk's tokens are accepted")
    desks.wait(lambda: desks.config_map(DESKS, copy_name("tenant-b", SERVICE)) is None, "the copy went")
    wait_told(desks, "tenant-b", SERVICE, "DeskNotAllowed")
    label(desks, "tenant-b", "yes")
    desks.wait(lambda: len(kids(desks, "tenant-b")[0]) == 1, "they are again")


@pytest.fixture
def unguarded(desks: World) -> Iterator[World]:
    """Without the admission policy for bundles: who may edit a namespace may edit its ConfigMaps."""
    documents = [each for each in admission_policies() if each["kind"].endswith("PolicyBinding")]
    [binding] = [each for each in documents if each["spec"]["policyName"] == BUNDLES_POLICY]
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
    desks.cluster.request("DELETE", f"{path}/{binding['metadata']['name']}")

    def is_open() -> bool:
        try:
            forge(desks, f"watchword-revocations-{SERVICE}", {}, dryRun="All")
        except ApiError:
            return False
        return True

    desks.wait(is_open, "the policy is gone")
    yield desks
    desks.apply(binding)
    desks.wait(lambda: not is_open(), "the policy is back")


def forge(world: World, name: str, change: Object, **parameters: str) -> None:
    """Change a ConfigMap of tenant-a as the person who may edit that namespace."""
    world.cluster.request(
        "PATCH",
        f"/api/v1/namespaces/tenant-a/configmaps/{name}",
        change,
        content_type="application/merge-patch+json",
        parameters=parameters,
        bearer=world.bearers["tenant-a"],
    )


def test_a_desk_is_given_no_bundle_that_someone_else_wrote(unguarded: World) -> None:
    world, copied, name = unguarded, copy_name("tenant-a", SERVICE), f"watchword-bundle-{SERVICE}"
    world.wait(lambda: world.config_map(DESKS, copied) is not None, "the desk has a copy")
    true = published(world, "tenant-a")
    assert true is not None
    stranger = service("tenant-a", None)
    stranger["spec"]["audiences"] = ["https://forged.example.com"]
    forged = manifests.compiled(
        manifests.issuer("here", Signer("forger"), issuer="https://here.example"),
        stranger,
        generation=true.generation + 1,
    ).bundles[0]
    entries = {entry: data.decode() for entry, data in entries_of(forged).items()}
    # It is the tenant's own by that: the operator leaves it alone, and says so.
    forge(world, name, {"metadata": {"ownerReferences": None}, "data": entries})
    world.wait(
        lambda: world.condition("ProtectedService", "tenant-a", SERVICE, "BundlePublished")[1] == "NameTaken",
        "it is said",
    )
    # The copy goes, and comes again.
    label(world, "tenant-a", None)
    world.wait(lambda: world.config_map(DESKS, copied) is None, "the copy went")
    world.wait(lambda: world.desk()["status"]["services"] == 1, "the desk does not serve it")
    label(world, "tenant-a", "yes")
    # Copies are written before the status.
    world.wait(lambda: world.desk()["status"]["services"] == 2, "the desk serves it again")
    assert world.config_map(DESKS, copied) is None
    world.cluster.request("DELETE", f"/api/v1/namespaces/tenant-a/configmaps/{name}")
    world.wait(
        lambda: (
            bundle_of(world.config_map(DESKS, copied)) == (found := published(world, "tenant-a"))
            and found is not None
            and found.digest == true.digest
        ),
        "the desk has a copy of what is published",
    )


@pytest.mark.parametrize("data", [None, {"revocations.json": ""}, "nothing"], ids=str)
def test_a_list_of_revocations_that_someone_else_edited_is_put_back(unguarded: World, data: Any) -> None:
    now = time.time()
    token = RevokedToken("edited", "workload:here:a:b", int(now), int(now) + 600)
    document = desk_document({f"tenant-a/{SERVICE}": [token]}, now).decode()
    write_as_desk(unguarded, {"revocations.json": document})

    def is_whole() -> bool:
        found = unguarded.config_map("tenant-a", f"watchword-revocations-{SERVICE}")
        text = ((found or {}).get("data") or {}).get("revocations.json", "")
        return "edited" in text

    unguarded.wait(is_whole, "gates are told")
    if data == "nothing":
        data = {
            "revocations.json": service_document(
                f"tenant-a/{SERVICE}", f"{DESKS}/desk", Revocations()
            ).decode()
        }
    forge(unguarded, f"watchword-revocations-{SERVICE}", {"data": data})
    unguarded.wait(is_whole, "it is put back")
    write_as_desk(unguarded, {"revocations.json": desk_document({}, time.time()).decode()})


@pytest.mark.brings_about(
    "DeskClient/Ready/Accepted",
    "DeskClient/Ready/DeskNotFound",
    "DeskClient/Ready/NotNamed",
    "DeskClient/Ready/NotGranted",
    "DeskClient/Event/DeskNotFound",
    "DeskClient/Event/NotNamed",
    "DeskClient/Event/Accepted",
)
def test_a_client_counts_where_both_sides_name_each_other(desks: World) -> None:
    def said() -> tuple[str, str]:
        return desks.condition("DeskClient", DESKS, "cache")

    desks.apply(client(deskRef={"name": "nowhere"}))
    desks.wait(lambda: said() == ("False", "DeskNotFound"), "there is no such desk")
    wait_told(desks, DESKS, "cache", "DeskNotFound")
    desks.apply(client())
    desks.wait(lambda: said() == ("False", "NotNamed"), "the service does not name it")
    wait_told(desks, DESKS, "cache", "NotNamed")
    desks.apply(service("tenant-a", resourceServers=["cache"]))
    desks.wait(lambda: said() == ("True", "Accepted"), "both sides do")
    wait_told(desks, DESKS, "cache", "Accepted")
    bundle = published(desks, "tenant-a")
    assert bundle is not None
    assert bundle.desk
    assert bundle.desk.resource_servers == ("cache",)
    desks.apply(client(type="AdminServiceAccount", serviceRefs=[]))
    desks.wait(lambda: said() == ("False", "NotGranted"), "it is no admin")
    desks.delete("DeskClient", DESKS, "cache")


FORBIDDEN: dict[str, tuple[str, str, Object | None]] = {
    "read the signing keys": ("GET", f"/api/v1/namespaces/{DESKS}/secrets", None),
    "read a copy of the other's bundle": (
        "GET", f"/api/v1/namespaces/{DESKS}/configmaps/{copy_name('tenant-b', SERVICE)}", None,
    ),
    "read the other's bundle": (
        "GET", f"/api/v1/namespaces/tenant-b/configmaps/watchword-bundle-{SERVICE}", None,
    ),
    "read the other's revocations": (
        "GET", f"/api/v1/namespaces/tenant-b/configmaps/watchword-revocations-{SERVICE}", None,
    ),
    "make a desk where desks count": ("POST", f"/apis/{API}/namespaces/{DESKS}/tokendesks", desk("mine")),
    "make a desk at home": ("POST", f"/apis/{API}/namespaces/tenant-a/tokendesks", desk("mine", "tenant-a")),
    "make a client": ("POST", f"/apis/{API}/namespaces/{DESKS}/deskclients", client()),
    "write what the desk revoked": (
        "PATCH", f"/api/v1/namespaces/{DESKS}/configmaps/watchword-desk-desk",
        {"data": {"revocations.json": "{}"}},
    ),
    "empty the list of its own service": (
        "PATCH", f"/api/v1/namespaces/tenant-a/configmaps/watchword-revocations-{SERVICE}", {"data": {}},
    ),
    "delete the list of its own service": (
        "DELETE", f"/api/v1/namespaces/tenant-a/configmaps/watchword-revocations-{SERVICE}", None,
    ),
    "make a list for a service to come": (
        "POST", "/api/v1/namespaces/tenant-a/configmaps",
        {"metadata": {"name": "watchword-revocations-later"}},
    ),
    "make a copy of a bundle at home": (
        "POST", "/api/v1/namespaces/tenant-a/configmaps", {"metadata": {"name": "watchword-deskbundle-a.b"}},
    ),
    "say in its status which keys a desk has": (
        "PATCH", f"/apis/{API}/namespaces/{DESKS}/tokendesks/desk/status", {"status": {"keys": []}},
    ),
    "name a desk in its bundle": (
        "PATCH", f"/api/v1/namespaces/tenant-a/configmaps/watchword-bundle-{SERVICE}",
        {"data": {"bundle.v2.json": "{}"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_tenant_who_may_edit_its_own_namespace_cannot(desks: World, what: str) -> None:
    method, path, body = FORBIDDEN[what]
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    with pytest.raises(ApiError) as refused:
        desks.cluster.request(method, path, body, content_type=kind, bearer=desks.bearers["tenant-a"])
    assert refused.value.status == 403


def test_nothing_that_a_tenant_may_write_changes_the_desk_or_the_other_tenant(desks: World) -> None:
    """Objects of all kinds that `edit` may write, with the very names and labels that the operator uses."""
    bearer = desks.bearers["tenant-a"]
    before = (published(desks, "tenant-b"), desks.secrets(), desks.desk()["spec"])
    labels = {"app.kubernetes.io/managed-by": "watchword", "watchword.dev/desk": "desk"}
    for kind, name, extra in (
        ("ConfigMap", "watchword-desk-desk", {"data": {"revocations.json": '{"services":{}}'}}),
        ("ConfigMap", "forged", {"data": {"revocations.json": "x" * 100_000}}),
        (
            "Secret",
            "watchword-signing-desk-forged",
            {"type": "watchword.dev/signing-key", "stringData": {"key.pem": "forged"}},
        ),
    ):
        plural = f"{kind.lower()}s"
        desks.cluster.request(
            "POST",
            f"/api/v1/namespaces/tenant-a/{plural}",
            {"metadata": {"name": name, "labels": labels}} | extra,
            bearer=bearer,
        )
    time.sleep(3)
    assert (published(desks, "tenant-b"), desks.secrets(), desks.desk()["spec"]) == before
    assert desks.condition("TokenDesk", DESKS, "desk") == ("True", "Issuing")


def test_the_operators_token_writes_nothing_of_a_desk_elsewhere(desks: World) -> None:
    bearer = desks.cluster.token("watchword-system", "watchword-operator")
    owner = {
        "apiVersion": API,
        "kind": "TokenDesk",
        "name": "desk",
        "uid": desks.desk()["metadata"]["uid"],
        "controller": True,
    }
    labels = {"app.kubernetes.io/managed-by": "watchword", "watchword.dev/desk": "desk"}
    for namespace, name in (
        ("kube-system", "watchword-desk-desk"),
        ("tenant-a", "watchword-deskbundle-tenant-a.x"),
        (DESKS, "aws-auth"),
        (DESKS, "watchword-desk-other"),
    ):
        body = {"metadata": {"name": name, "labels": labels, "ownerReferences": [owner]}}
        with pytest.raises(ApiError, match="the operator writes only"):
            desks.cluster.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", body, bearer=bearer)
    for namespace in ("kube-system", "tenant-a"):
        with pytest.raises(ApiError) as refused:
            desks.cluster.request("GET", f"/api/v1/namespaces/{namespace}/secrets", bearer=bearer)
        assert refused.value.status == 403


@pytest.mark.brings_about("TokenDesk/Ready/KeysNotWritten", "TokenDesk/Event/KeysNotWritten")
def test_keys_that_cannot_be_written_are_a_condition_and_what_is_there_stays(desks: World) -> None:
    before = kids(desks, "tenant-a")[0]
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{DESKS}/roles/watchword-operator"
    role = desks.cluster.request("GET", path)
    narrowed = role["rules"][0] | {"verbs": ["get", "list", "watch"]}
    desks.cluster.request("PATCH", path, {"rules": [narrowed]}, content_type="application/merge-patch+json")
    try:
        desks.apply(desk("poor"))
        desks.wait(
            lambda: desks.condition("TokenDesk", DESKS, "poor") == ("False", "KeysNotWritten"), "it is said"
        )
        wait_told(desks, DESKS, "poor", "KeysNotWritten")
        assert desks.operator.metric("watchword_operator_desk_keys_unwritten") == 1
        assert kids(desks, "tenant-a")[0] == before
    finally:
        desks.cluster.request(
            "PATCH", path, {"rules": role["rules"]}, content_type="application/merge-patch+json"
        )
    desks.wait(lambda: desks.condition("TokenDesk", DESKS, "poor") == ("True", "Issuing"), "it issues")
    assert desks.operator.metric("watchword_operator_desk_keys_unwritten") == 0
    desks.delete("TokenDesk", DESKS, "poor")


def test_a_gate_that_follows_hears_of_revocations_and_waits_for_the_first_list(desks: World) -> None:
    endpoint = Endpoint(
        desks.cluster.url, ca_file=str(desks.cluster.authority), token=desks.cluster.bearer(ADMINISTRATOR)
    )
    bundle = published(desks, "tenant-a")
    assert bundle is not None

    async def work() -> None:
        engine = Engine(GateMetrics())
        followed = FollowedConfigMap(endpoint, "tenant-a", f"watchword-bundle-{SERVICE}")
        watch = RevocationWatch(followed, engine)
        ruleset = load(bundle)
        engine.adopt(ruleset)
        assert not engine.revoked.is_known
        running = asyncio.create_task(watch.run())
        watch.adopted(ruleset)
        await until(lambda: engine.revoked.is_known)
        now = time.time()
        revoked = RevokedToken("heard", "workload:here:a:b", int(now), int(now) + 600)
        document = desk_document({f"tenant-a/{SERVICE}": [revoked]}, now).decode()
        await asyncio.to_thread(write_as_desk, desks, {"revocations.json": document})
        await until(lambda: len(engine.revoked) == 1)
        running.cancel()

    asyncio.run(work())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what it waits for sets no event
            await asyncio.sleep(0.02)


@pytest.mark.brings_about(
    "TokenDesk/Ready/NotUnderstood",
    "TokenDesk/Event/NotUnderstood",
    "DeskClient/Ready/NotUnderstood",
    "DeskClient/Event/NotUnderstood",
    # A CRD that changes ends the API server's history of its kind.
    with_its_fixture=True,
)
def test_an_object_of_a_newer_release_counts_for_nothing_and_says_so(desks: World) -> None:
    for definition in definitions():
        if definition["spec"]["names"]["kind"] in ("TokenDesk", "DeskClient"):
            newer = copy.deepcopy(definition)
            spec = newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
            spec["properties"]["later"] = {"type": "string"}
            desks.apply(newer)
    desks.wait(lambda: _takes(desks, desk("newer", later="x")), "the API server takes the new field")
    desks.apply(client(later="x"))
    for kind, name in (("TokenDesk", "newer"), ("DeskClient", "cache")):
        desks.wait(
            lambda kind=kind, name=name: desks.condition(kind, DESKS, name) == ("False", "NotUnderstood"),
            f"{kind} says so",
        )
    assert all("newer" not in each["metadata"]["name"] for each in desks.secrets())


def _takes(world: World, document: Object) -> bool:
    return "later" in world.apply(document)["spec"]


def told(world: World, namespace: str) -> set[tuple[str, str]]:
    """The Events of a namespace: of which object, and the reason."""
    found = world.cluster.request("GET", f"/api/v1/namespaces/{namespace}/events")
    return {(each["involvedObject"]["name"], each["reason"]) for each in found["items"]}


def wait_told(world: World, namespace: str, name: str, reason: str) -> None:
    """Wait for an Event of an object: a condition that did not stay for a moment is not told."""
    world.wait(lambda: (name, reason) in told(world, namespace), f"{reason} is told of {name}")


def moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def seconds_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def annotate(world: World, secret: Object, **notes: str) -> None:
    """Change annotations of a key's Secret, as no one but the operator does."""
    world.cluster.request(
        "PATCH",
        f"/api/v1/namespaces/{DESKS}/secrets/{secret['metadata']['name']}",
        {"metadata": {"annotations": notes}},
        content_type="application/merge-patch+json",
    )


def label(world: World, namespace: str, value: str | None) -> None:
    world.cluster.request(
        "PATCH",
        f"/api/v1/namespaces/{namespace}",
        {"metadata": {"labels": {"desk": value}}},
        content_type="application/merge-patch+json",
    )
