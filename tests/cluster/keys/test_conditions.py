# SPDX-License-Identifier: Apache-2.0
"""Every condition and Event that is about an issuer's keys, brought about on the real operator.

Its issuers are followed from a real HTTPS endpoint that does what the test says, one path for each issuer.
"""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane import Binaries, Cluster, Etcd, SigningKey, start_cluster
from testing.keys.authority import Authority
from testing.keys.endpoint import Behaviour, Endpoint, Visit, always, answer, endpoint
from testing.keys.polling import jwks
from testing.manifests import service, workload
from testing.operator_process import NAMESPACE, Replica, give_back_lease, kubeconfig_of, running_operator
from testing.tokens import NOW, URL, Signer, b64, token
from tests.cluster.keys.conftest import ISSUERS
from watchword.identity import Refusal, verify
from watchword.trust import decode_bundle, load
from watchword.trust.crd.definitions import definitions
from watchword.trust.key_rotation.held_keys import held_key, held_to_status

MERGE = "application/merge-patch+json"
DAY = 86_400.0
OVERDUE = Signer("overdue", "ES256")
_numbers = itertools.count(1)


@dataclass
class Stage:
    """The operator, its cluster, and the endpoint with what it does for each issuer."""

    cluster: Cluster
    operator: Replica
    there: Endpoint
    authority: str
    folder: Path
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    seconds: dict[str, int] = field(default_factory=dict)

    def follow(self, behaviour: Behaviour, **spec: Any) -> str:
        """An issuer that is followed from the endpoint; its name."""
        name = f"issuer-{next(_numbers)}"
        self.behaviours[name] = behaviour
        discovery = {"jwksURL": self.there.url(f"/{name}"), "caBundle": self.authority}
        self.create(name, {"issuer": URL, "keys": {"discovery": discovery}} | spec)
        return name

    def inline(self, *keys: Any) -> str:
        """An issuer whose keys are written down."""
        name = f"issuer-{next(_numbers)}"
        self.create(name, {"issuer": URL, "keys": {"inline": {"keys": list(keys)}}})
        return name

    def create(self, name: str, spec: dict[str, Any]) -> None:
        self.cluster.apply(
            {
                "apiVersion": "watchword.dev/v1alpha1",
                "kind": "ClusterTrustedIssuer",
                "metadata": {"name": name},
                "spec": spec,
            }
        )

    def edit(self, name: str, **spec: Any) -> None:
        self.cluster.request("PATCH", f"{ISSUERS}/{name}", {"spec": spec}, content_type=MERGE)

    def behave(self, name: str, behaviour: Behaviour) -> None:
        """From now on; the operator asks at once, because where and how often was edited."""
        self.behaviours[name] = behaviour
        self.seconds[name] = self.seconds.get(name, 300) + 1
        self.edit(name, keys={"discovery": {"intervalSeconds": self.seconds[name]}})

    def says(self, name: str, *verdicts: str) -> None:
        """Wait until the status says all of these, each as Type/Reason."""

        def said() -> bool:
            status = self.cluster.request("GET", f"{ISSUERS}/{name}").get("status", {})
            found = {f"{each['type']}/{each['reason']}" for each in status.get("conditions", [])}
            return set(verdicts) <= found

        self.operator.wait_until(said, f"{name} says {verdicts}", timeout_seconds=120)

    def fresh(self, name: str) -> str:
        """The reason of KeysFresh; empty while there is none, or nothing was asked yet."""
        status = self.cluster.request("GET", f"{ISSUERS}/{name}").get("status", {})
        found = {each["type"]: each["reason"] for each in status.get("conditions", [])}
        reason: str = found.get("KeysFresh", "")
        return "" if reason == "NeverFetched" else reason

    def tells(self, name: str, reason: str) -> None:
        """Wait until there is an Event of this reason, with a text."""

        def told() -> bool:
            path = "/api/v1/namespaces/default/events"
            selector = {"fieldSelector": f"involvedObject.name={name},reason={reason}"}
            items = self.cluster.request("GET", path, parameters=selector)["items"]
            return any(item["message"] for item in items)

        self.operator.wait_until(told, f"{name} has the Event {reason}", timeout_seconds=120)

    def states(self, name: str) -> dict[str, str]:
        status = self.cluster.request("GET", f"{ISSUERS}/{name}").get("status", {})
        return {key["kid"]: key["state"] for key in status.get("keys", [])}


@pytest.fixture(scope="module")
def stage(control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder, authority = tmp_path_factory.mktemp("stage"), Authority()
    behaviours: dict[str, Behaviour] = {}

    def by_path(visit: Visit) -> None:
        behaviours[visit.path.strip("/")](visit)

    with (
        start_cluster(folder / "cluster", etcd=etcd, binaries=control_plane) as cluster,
        endpoint(authority.server(folder), by_path) as there,
    ):
        for definition in definitions():
            cluster.apply(definition)
        cluster.create_namespace("tuist")
        give_back_lease(cluster)
        _leave_overdue(cluster, there, authority.pem)
        behaviours["overdue"] = always(answer(jwks(OVERDUE)))
        kubeconfig = kubeconfig_of(cluster, folder / "operator")
        allowed = ("--allow-key-address", "127.0.0.0/8")
        with running_operator(kubeconfig, folder / "logs", *allowed) as operator:
            yield Stage(cluster, operator, there, authority.pem, folder / "cluster", behaviours)


def _leave_overdue(cluster: Cluster, there: Endpoint, authority: str) -> None:
    """An issuer as an operator of yesterday left it: a key has waited for two days."""
    discovery = {"jwksURL": there.url("/overdue"), "caBundle": authority}
    cluster.apply(
        {
            "apiVersion": "watchword.dev/v1alpha1",
            "kind": "ClusterTrustedIssuer",
            "metadata": {"name": "overdue"},
            "spec": {
                "issuer": URL,
                "keys": {"discovery": discovery},
                "rotation": {"policy": "Approve"},
            },
        }
    )
    held = [held_key(OVERDUE.key, "Pending", float(int(time.time() - 2 * DAY)))]
    cluster.request(
        "PATCH",
        f"{ISSUERS}/overdue/status",
        {"status": {"keys": held_to_status(held)}},
        content_type=MERGE,
    )


def keys(*letters: str) -> list[Signer]:
    """Fresh keys: one key under two issuers would be a conflict."""
    number = next(_numbers)
    return [Signer(f"{letter}-{number}", "ES256") for letter in letters]


def serving(*signers: Signer) -> Behaviour:
    return always(answer(jwks(*signers)))


@pytest.mark.brings_about(
    "ClusterTrustedIssuer/Ready/KeysTrusted",
    "ClusterTrustedIssuer/KeysFresh/Static",
    "ClusterTrustedIssuer/RotationSettled/Settled",
    "ClusterTrustedIssuer/Event/KeyTrusted",
)
def test_keys_that_are_written_down_are_trusted(stage: Stage) -> None:
    (a,) = keys("a")
    name = stage.inline(a.jwk)
    stage.says(name, "Ready/KeysTrusted", "KeysFresh/Static", "RotationSettled/Settled")
    stage.tells(name, "KeyTrusted")


@pytest.mark.brings_about("ClusterTrustedIssuer/KeysFresh/Fetched")
def test_keys_that_are_served_are_fetched(stage: Stage) -> None:
    name = stage.follow(serving(*keys("a")))
    stage.says(name, "Ready/KeysTrusted", "KeysFresh/Fetched", "RotationSettled/Settled")


@pytest.mark.brings_about(
    "ClusterTrustedIssuer/KeysFresh/NeverFetched",
    "ClusterTrustedIssuer/Ready/KeysUnavailable",
    "ClusterTrustedIssuer/Event/KeysUnavailable",
    "ClusterTrustedIssuer/KeysFresh/Unreachable",
    "ClusterTrustedIssuer/Event/Unreachable",
)
def test_an_endpoint_that_hangs_is_said_first_as_not_asked_and_then_as_away(stage: Stage) -> None:
    name = stage.follow(Visit.hold)
    stage.says(name, "KeysFresh/NeverFetched")
    stage.says(name, "KeysFresh/Unreachable", "Ready/KeysUnavailable")
    stage.tells(name, "Unreachable")
    stage.tells(name, "KeysUnavailable")


def flood(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(100):
        visit.send(b"x" * 2**20)


BAD: list[tuple[str, str, Behaviour]] = [
    ("an empty set", "AllKeysLost", always(answer(b'{"keys": []}'))),
    ("a login page", "AnswerRefused", always(answer(b"<html>", kind="text/html"))),
    ("a redirect elsewhere", "AnswerRefused", always(answer(b"", "302 F", Location="https://127.0.0.1/"))),
    (
        "100 MiB",
        "AnswerRefused",
        flood,
    ),
]


@pytest.mark.brings_about(
    "ClusterTrustedIssuer/KeysFresh/AllKeysLost",
    "ClusterTrustedIssuer/Event/AllKeysLost",
    "ClusterTrustedIssuer/KeysFresh/AnswerRefused",
    "ClusterTrustedIssuer/Event/AnswerRefused",
)
def test_whatever_the_endpoint_does_callers_stay_and_a_good_answer_mends_it(stage: Stage) -> None:
    a, b = keys("a", "b")
    name = stage.follow(serving(a))
    stage.cluster.apply(service())
    stage.cluster.apply(workload(issuerRef={"name": name}))

    def decision(by: Signer) -> str:
        path = "/api/v1/namespaces/tuist/configmaps/watchword-bundle-tuist-server"
        bundle = stage.cluster.request("GET", path)["data"]["bundle.json"].encode()
        decided = verify(token(by), load(decode_bundle(bundle)).policy, NOW)
        return decided.reason.code if isinstance(decided, Refusal) else "yes"

    stage.says(name, "KeysFresh/Fetched", "Ready/KeysTrusted")
    stage.operator.wait_until(lambda: decision(a) == "yes", "the caller is let in")
    for _, reason, behaviour in BAD:
        stage.behave(name, behaviour)
        stage.says(name, f"KeysFresh/{reason}", "Ready/KeysTrusted")
        stage.tells(name, reason)
        assert (decision(a), decision(b)) == ("yes", "unknown_key")
        assert stage.states(name) == {a.kid: "Active"}
        stage.behave(name, serving(a))
        stage.says(name, "KeysFresh/Fetched")
    stage.behave(name, serving(a, b))
    stage.operator.wait_until(lambda: decision(b) == "yes", "a good answer is followed")


@pytest.mark.brings_about(
    "ClusterTrustedIssuer/Ready/AwaitingApproval",
    "ClusterTrustedIssuer/Event/AwaitingApproval",
    "ClusterTrustedIssuer/RotationSettled/KeysPending",
    "ClusterTrustedIssuer/Event/KeyPending",
    "ClusterTrustedIssuer/Event/KeyWithdrawn",
)
def test_a_key_waits_for_a_person_and_may_go_again(stage: Stage) -> None:
    a, b = keys("a", "b")
    name = stage.follow(serving(a), rotation={"policy": "Approve"})
    stage.says(name, "Ready/AwaitingApproval", "RotationSettled/KeysPending")
    stage.tells(name, "KeyPending")
    stage.tells(name, "AwaitingApproval")
    stage.edit(name, rotation={"approved": [a.key.thumbprint]})
    stage.says(name, "Ready/KeysTrusted", "RotationSettled/Settled")
    stage.behave(name, serving(a, b))
    stage.says(name, "RotationSettled/KeysPending")
    stage.behave(name, serving(a))
    stage.says(name, "RotationSettled/Settled")
    stage.tells(name, "KeyWithdrawn")


@pytest.mark.brings_about(
    "ClusterTrustedIssuer/RotationSettled/ApprovalOverdue",
    "ClusterTrustedIssuer/Event/ApprovalOverdue",
    with_its_fixture=True,
)
def test_a_key_that_waited_for_days_is_overdue_and_still_not_trusted(stage: Stage) -> None:
    stage.says("overdue", "RotationSettled/ApprovalOverdue", "Ready/AwaitingApproval", "KeysFresh/Fetched")
    stage.tells("overdue", "ApprovalOverdue")
    assert stage.states("overdue") == {"overdue": "Pending"}


@pytest.mark.brings_about(
    "ClusterTrustedIssuer/RotationSettled/KeysRetiring",
    "ClusterTrustedIssuer/Event/KeyRetiring",
    "ClusterTrustedIssuer/Event/KeyRetired",
)
def test_a_key_that_is_no_longer_served_retires_and_is_gone(stage: Stage) -> None:
    a, b = keys("a", "b")
    name = stage.follow(serving(a, b))
    stage.says(name, "KeysFresh/Fetched")
    stage.behave(name, serving(a))
    stage.says(name, "RotationSettled/KeysRetiring", "Ready/KeysTrusted")
    stage.tells(name, "KeyRetiring")
    stage.edit(name, rotation={"retireAfterSeconds": 0})
    stage.says(name, "RotationSettled/Settled")
    stage.tells(name, "KeyRetired")
    stage.operator.wait_until(lambda: stage.states(name) == {a.kid: "Active"}, "it is gone")


@pytest.mark.brings_about("ClusterTrustedIssuer/Event/KeyDistrusted")
def test_a_revoked_key_loses_its_trust_at_once(stage: Stage) -> None:
    a, b = keys("a", "b")
    name = stage.follow(serving(a, b))
    stage.says(name, "KeysFresh/Fetched")
    stage.edit(name, revoked=[{"keyThumbprint": a.key.thumbprint}])
    stage.tells(name, "KeyDistrusted")
    expected = {a.kid: "Pending", b.kid: "Active"}
    stage.operator.wait_until(lambda: stage.states(name) == expected, "it is in sight, and not trusted")


@pytest.mark.brings_about(
    "ClusterTrustedIssuer/Ready/NoUsableKey",
    "ClusterTrustedIssuer/Event/NoUsableKey",
    "ClusterTrustedIssuer/Ready/KeyConflict",
    "ClusterTrustedIssuer/Event/KeyConflict",
)
def test_keys_that_cannot_be_used_or_are_anothers_are_said(stage: Stage) -> None:
    (a,) = keys("a")
    unusable = stage.inline({"kty": "RSA", "kid": "short", "n": b64(b"\xff" * 128), "e": "AQAB"})
    stage.says(unusable, "Ready/NoUsableKey")
    stage.tells(unusable, "NoUsableKey")
    first = stage.inline(a.jwk)
    stage.says(first, "Ready/KeysTrusted")
    time.sleep(1.1)  # creationTimestamps have seconds, and where none is older none stands
    second = stage.inline(a.jwk)
    stage.says(second, "Ready/KeyConflict")
    stage.tells(second, "KeyConflict")
    stage.says(first, "Ready/KeysTrusted")


@pytest.mark.brings_about(
    "ClusterTrustedIssuer/RotationSettled/KeysContested", "ClusterTrustedIssuer/Event/KeysContested"
)
def test_a_cluster_that_serves_anothers_key_loses_that_key_and_nothing_else(stage: Stage) -> None:
    a, b = keys("a", "b")
    owner = stage.inline(a.jwk)
    stage.says(owner, "Ready/KeysTrusted")
    copy = stage.follow(serving(b, a))
    stage.says(copy, "Ready/KeysTrusted", "RotationSettled/KeysContested")
    stage.tells(copy, "KeysContested")
    stage.says(owner, "Ready/KeysTrusted", "RotationSettled/Settled")


def test_an_issuer_that_is_made_again_trusts_what_its_config_map_holds_now(stage: Stage) -> None:
    a, b = keys("a", "b")
    path = "/api/v1/namespaces/tuist/configmaps"
    entry = {"metadata": {"name": "again"}, "data": {"jwks.json": jwks(a).decode()}}
    stage.cluster.request("POST", path, entry)
    source = {"configMap": {"namespace": "tuist", "name": "again"}}
    name = f"issuer-{next(_numbers)}"
    spec = {"issuer": "https://again.example", "keys": source}
    stage.create(name, spec)
    stage.operator.wait_until(lambda: stage.states(name) == {a.kid: "Active"}, "the first key is trusted")
    stage.cluster.request("DELETE", f"{ISSUERS}/{name}")
    # Once the watch has ended: what it still told would hide a cache that outlives it.
    stage.operator.wait_until(
        lambda: not any(each.endswith("tuist/again") for each in stage.operator.ready()["watches"]),
        "the ConfigMap is watched no more",
    )
    stage.cluster.request(
        "PATCH", f"{path}/again", {"data": {"jwks.json": jwks(b).decode()}}, content_type=MERGE
    )
    stage.create(name, spec)
    stage.says(name, "Ready/KeysTrusted")
    assert stage.states(name) == {b.kid: "Active"}


@pytest.mark.parametrize(
    ("label", "host"),
    [(None, None), ("another", "{host}"), ("{issuer}", None), ("{issuer}", "elsewhere.example")],
    ids=["bare", "another issuer's", "no host", "another host's"],
)
def test_a_secret_of_the_operators_namespace_goes_to_no_host_that_it_does_not_name(
    stage: Stage, label: str | None, host: str | None
) -> None:
    (a,) = keys("a")
    name, secret = f"issuer-{next(_numbers)}", f"secret-{next(_numbers)}"
    filled = {"issuer": name, "host": stage.there.url().split("/")[2]}
    metadata: dict[str, Any] = {"name": secret}
    if label is not None:
        metadata["labels"] = {"watchword.dev/issuer-credential": label.format(**filled)}
    if host is not None:
        metadata["annotations"] = {"watchword.dev/host": host.format(**filled)}
    value = {"metadata": metadata, "data": {"token": base64.b64encode(b"of-the-webhook").decode()}}
    stage.cluster.request("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", value)
    stage.behaviours[name] = serving(a)
    discovery = {
        "jwksURL": stage.there.url(f"/{name}"),
        "caBundle": stage.authority,
        "credentialSecretRef": {"namespace": NAMESPACE, "name": secret},
    }
    stage.create(name, {"issuer": URL, "keys": {"discovery": discovery}})
    stage.operator.wait_until(lambda: bool(stage.fresh(name)), "the issuer was asked or is not to be")
    visits = [each for each in stage.there.requests if each.path == f"/{name}"]
    assert [each.header("Authorization") for each in visits] == []
    assert stage.fresh(name) == "Unreachable"
    # Once its own metadata says so, it is sent, and only there.
    right = {
        "labels": {"watchword.dev/issuer-credential": name},
        "annotations": {"watchword.dev/host": filled["host"]},
    }
    path = f"/api/v1/namespaces/{NAMESPACE}/secrets/{secret}"
    stage.cluster.request("PATCH", path, {"metadata": right}, content_type=MERGE)
    stage.behave(name, serving(a))
    stage.says(name, "KeysFresh/Fetched")
    sent = [each.header("Authorization") for each in stage.there.requests if each.path == f"/{name}"]
    assert set(sent) == {"Bearer of-the-webhook"}


def test_a_config_map_is_followed_and_its_absence_takes_no_key_away(stage: Stage) -> None:
    a, b = keys("a", "b")
    path = "/api/v1/namespaces/tuist/configmaps"

    def write(*signers: Signer) -> None:
        stage.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"namespace": "tuist", "name": "trusted-keys"},
                "data": {"jwks.json": jwks(*signers).decode()},
            }
        )

    name = f"issuer-{next(_numbers)}"
    source = {"configMap": {"namespace": "tuist", "name": "trusted-keys"}}
    stage.create(name, {"issuer": URL, "keys": source})
    stage.says(name, "KeysFresh/Unreachable", "Ready/KeysUnavailable")
    write(a)
    stage.says(name, "KeysFresh/Fetched", "Ready/KeysTrusted")
    write(a, b)
    expected = {a.kid: "Active", b.kid: "Active"}
    stage.operator.wait_until(lambda: stage.states(name) == expected, "an edit is followed")
    stage.cluster.request("DELETE", f"{path}/trusted-keys")
    stage.says(name, "KeysFresh/Unreachable", "Ready/KeysTrusted")
    assert stage.states(name) == expected
    write(a)
    stage.says(name, "KeysFresh/Fetched", "RotationSettled/KeysRetiring")


def test_this_clusters_own_keys_are_followed_over_a_restart_of_its_api_server(stage: Stage) -> None:
    name = f"issuer-{next(_numbers)}"
    stage.create(name, {"issuer": URL, "keys": {"cluster": {}}})
    stage.says(name, "KeysFresh/Fetched", "Ready/KeysTrusted")
    (first,) = stage.states(name)
    fresh, published = SigningKey("RS256"), stage.folder / "service-account.pub"
    old = published.read_bytes()
    fresh.write_private(stage.folder / "service-account.key")
    fresh.write_public(published)
    published.write_bytes(published.read_bytes() + old)
    stage.cluster.program.kill()
    stage.cluster.program.start()
    # What counts as an answer is edited: the operator asks at once, not in a minute.
    stage.edit(name, algorithms=["RS256", "ES256"])
    expected = {first: "Active", fresh.key_id: "Active"}
    stage.operator.wait_until(
        lambda: stage.states(name) == expected, "the new key is trusted", timeout_seconds=120
    )
