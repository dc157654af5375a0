# SPDX-License-Identifier: Apache-2.0
"""AgentProviders on a real API server: what the operator says of them, and keys that a provider rotates.

The provider is a real HTTPS endpoint on loopback; the desk reads the keys as it does in a cluster, under the
rights that are shipped.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.agent_providers import id_jag
from testing.controlplane import ApiError, Binaries, Etcd
from testing.keys.authority import Authority
from testing.keys.endpoint import Behaviour, Endpoint, Visit, always, answer, endpoint
from testing.manifests import API, agent_provider, token_desk
from testing.operator_process import NAMESPACE, give_back_lease, kubeconfig_of, running_operator
from testing.tokens import Signer
from tests.cluster.desk.conftest import ACCOUNT, CLERK, DESKS, World, desk_rights
from tests.cluster.desk.test_desks import wait_told
from tests.cluster.governed import governed_cluster
from watchword.desk.agents.id_jag import IdJag, read_id_jag
from watchword.desk.cluster import ClusterDesk
from watchword.desk.configuration import Configuration, make_state
from watchword.desk.refusals import DeskRefusal
from watchword.kube.watch import Endpoint as ApiEndpoint
from watchword.trust.crd.definitions import definitions

_RULES = Path(__file__).parents[3] / "charts" / "watchword" / "files" / "rules"
_RBAC = "rbac.authorization.k8s.io"
MERGE = "application/merge-patch+json"
PATH = f"/apis/{API}/namespaces/{DESKS}/agentproviders"
URL = "https://desk.example.com"
_numbers = itertools.count(1)
Object = dict[str, Any]


class Stage:
    """The cluster with its operator, and an endpoint with what it does for each provider."""

    def __init__(self, world: World, there: Endpoint, behaviours: dict[str, Behaviour], folder: Path) -> None:
        self.world, self.there, self.folder = world, there, folder
        self.behaviours = behaviours

    def serve(self, name: str, *keys: Signer) -> None:
        """Have a provider serve these keys, from the next question on."""
        document = {"issuer": self.issuer(name), "jwks_uri": f"{self.issuer(name)}/keys"}
        self.behaviours[f"{name}/.well-known/openid-configuration"] = always(
            answer(json.dumps(document).encode(), kind="application/json")
        )
        jwks = json.dumps({"keys": [each.jwk for each in keys]}).encode()
        self.behaviours[f"{name}/keys"] = always(answer(jwks))

    def issuer(self, name: str) -> str:
        return self.there.url(f"/{name}")

    def follow(self, *keys: Signer, **spec: Any) -> str:
        """A provider whose keys are found by discovery; its name."""
        name = f"provider-{next(_numbers)}"
        self.serve(name, *keys)
        self.world.apply(self.provider(name, **spec))
        return name

    def provider(self, name: str, **spec: Any) -> Object:
        made = agent_provider(name, DESKS, issuer=self.issuer(name), **spec)
        made["spec"]["keys"] = {"discovery": {}}
        return made

    def look_again(self, name: str) -> None:
        """Edit the object, which has the provider asked at once."""
        seconds = 60 + next(_numbers)
        body = {"spec": {"maxAuthAgeSeconds": seconds}}
        self.world.cluster.request("PATCH", f"{PATH}/{name}", body, content_type=MERGE)

    def says(self, name: str, reason: str, type_: str = "Ready") -> None:
        self.world.wait(
            lambda: self.world.condition("AgentProvider", DESKS, name, type_)[1] == reason,
            f"{name} says {reason}",
        )

    def tells(self, name: str, reason: str) -> None:
        wait_told(self.world, DESKS, name, reason)

    def kids(self, name: str) -> list[str]:
        keys = self.world.cluster.request("GET", f"{PATH}/{name}").get("status", {}).get("keys") or {}
        return sorted(each["kid"] for each in keys.get("jwks", []))

    def read(self, name: str, by: Signer) -> IdJag | DeskRefusal:
        """What the desk makes of an ID-JAG of the provider, by what it reads of the cluster now."""
        api = ApiEndpoint(
            self.world.cluster.url,
            ca_file=str(self.world.cluster.authority),
            token_file=str(self.folder / "desk-token"),
        )

        async def first() -> Configuration:
            source = ClusterDesk(api, DESKS, "desk")
            async with asyncio.timeout(60):
                async for found in source.configurations():
                    if isinstance(found, Configuration):
                        return found
            raise AssertionError

        state = make_state(asyncio.run(first()), store_id="s", bindings={}, now=time.time())
        assert state.agents is not None
        token = id_jag(by, iss=self.issuer(name))
        return read_id_jag(token, state.agents, URL, time.time())


@pytest.fixture(scope="module")
def stage(control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder, authority = tmp_path_factory.mktemp("providers"), Authority()
    (folder / "authority.pem").write_text(authority.pem)
    behaviours: dict[str, Behaviour] = {}

    def by_path(visit: Visit) -> None:
        behaviours.get(visit.path.strip("/"), always(answer(b"", "404 Not Found")))(visit)

    with (
        governed_cluster(folder, control_plane, etcd, [CLERK]) as cluster,
        endpoint(authority.server(folder), by_path) as there,
    ):
        give_back_lease(cluster)
        cluster.create_namespace(DESKS)
        for document in desk_rights():
            cluster.apply(document)
        cluster.create_service_account(DESKS, "desk")
        account = {"kind": "ServiceAccount", "name": "desk", "namespace": DESKS}
        reference = {"apiGroup": _RBAC, "kind": "Role", "name": "desk"}
        made: Object = {"apiVersion": f"{_RBAC}/v1", "metadata": {"name": "desk", "namespace": DESKS}}
        rules = yaml.safe_load((_RULES / "desk.yaml").read_text())
        cluster.apply(made | {"kind": "Role", "rules": rules})
        cluster.apply(made | {"kind": "RoleBinding", "roleRef": reference, "subjects": [account]})
        (folder / "desk-token").write_text(cluster.token(DESKS, "desk", expiration_seconds=7200))
        bearer = cluster.token(NAMESPACE, ACCOUNT, expiration_seconds=7200)
        kubeconfig = kubeconfig_of(cluster, folder / "kubeconfig", bearer=bearer)
        flags = ("--desk-namespace", DESKS, "--allow-key-address", "127.0.0.0/8")
        trusted = {"SSL_CERT_FILE": str(folder / "authority.pem")}
        with running_operator(kubeconfig, folder / "operator", *flags, environment=trusted) as operator:
            operator.wait_until(operator.is_leading, "the operator leads", timeout_seconds=120)
            world = World(cluster, operator, {CLERK: cluster.bearer(CLERK)})
            claimed = {"claimed": {"scopes": ["account:usage:read"]}}
            world.apply(token_desk("desk", DESKS, issuer=URL, agents=claimed))
            world.wait(lambda: world.condition("TokenDesk", DESKS, "desk")[0] == "True", "the desk is ready")
            yield Stage(world, there, behaviours, folder)


@pytest.mark.brings_about(
    "AgentProvider/Ready/Accepted",
    "AgentProvider/Ready/DeskNotFound",
    "AgentProvider/Ready/AgentsNotServed",
    "AgentProvider/Ready/IssuerTaken",
    "AgentProvider/Ready/Suspended",
    "AgentProvider/Ready/NoUsableKey",
    "AgentProvider/KeysFresh/Static",
    "AgentProvider/KeysFresh/NeverFetched",
    "AgentProvider/Event/Accepted",
    "AgentProvider/Event/DeskNotFound",
    "AgentProvider/Event/AgentsNotServed",
    "AgentProvider/Event/IssuerTaken",
    "AgentProvider/Event/NoUsableKey",
)
def test_a_provider_says_whether_it_counts_and_why_not(stage: Stage) -> None:
    world, key = stage.world, Signer("inline", "ES256")

    def inline(name: str = "inline", **spec: Any) -> Object:
        return agent_provider(name, DESKS, keys=[key.jwk], **spec)

    world.apply(inline(deskRef={"name": "nowhere"}))
    stage.says("inline", "DeskNotFound")
    stage.says("inline", "Static", "KeysFresh")
    stage.tells("inline", "DeskNotFound")
    world.apply(stage.provider("unread", deskRef={"name": "nowhere"}))
    stage.says("unread", "NeverFetched", "KeysFresh")
    world.apply(inline())
    stage.says("inline", "Accepted")
    stage.tells("inline", "Accepted")
    world.apply(inline("twin"))
    stage.says("twin", "IssuerTaken")
    stage.says("inline", "IssuerTaken")
    stage.tells("inline", "IssuerTaken")
    world.delete("AgentProvider", DESKS, "twin")
    stage.says("inline", "Accepted")
    world.apply(inline(suspended=True))
    stage.says("inline", "Suspended")
    world.apply(agent_provider("inline", DESKS, keys=[{"kty": "EC", "kid": "k", "x": "x", "y": "y"}]))
    stage.says("inline", "NoUsableKey")
    stage.tells("inline", "NoUsableKey")
    world.apply(inline(algorithms=["RS256"]))
    stage.says("inline", "NoUsableKey")
    world.apply(inline())
    stage.says("inline", "Accepted")
    world.apply(token_desk("quiet", DESKS, issuer="https://quiet.example.com"))
    world.apply(inline(deskRef={"name": "quiet"}))
    stage.says("inline", "AgentsNotServed")
    stage.tells("inline", "AgentsNotServed")
    for name in ("inline", "unread"):
        world.delete("AgentProvider", DESKS, name)


@pytest.mark.brings_about("AgentProvider/KeysFresh/Fetched", "AgentProvider/Ready/Accepted")
def test_a_desk_follows_a_provider_that_rotates_its_keys(stage: Stage) -> None:
    first, second = Signer("first", "ES256"), Signer("second", "RS256")
    name = stage.follow(first)
    stage.says(name, "Fetched", "KeysFresh")
    stage.says(name, "Accepted")
    assert stage.kids(name) == ["first"]
    assert isinstance(stage.read(name, first), IdJag)
    stage.serve(name, first, second)
    stage.look_again(name)
    stage.world.wait(lambda: stage.kids(name) == ["first", "second"], "both keys are there")
    assert isinstance(stage.read(name, first), IdJag)
    assert isinstance(stage.read(name, second), IdJag)
    stage.serve(name, second)
    stage.look_again(name)
    stage.world.wait(lambda: stage.kids(name) == ["second"], "the first key is gone")
    assert isinstance(stage.read(name, second), IdJag)
    gone = stage.read(name, first)
    assert isinstance(gone, DeskRefusal)
    assert gone.code == "unverified_assertion"
    # A key that must not be served is left out; no private part of one is ever kept.
    secret = Signer("secret", "ES256")
    secret.jwk["d"] = "AQAB"
    stage.serve(name, second, secret)
    stage.look_again(name)
    stage.says(name, "Fetched", "KeysFresh")
    assert stage.kids(name) == ["second"]


@pytest.mark.brings_about(
    "AgentProvider/KeysFresh/Unreachable",
    "AgentProvider/KeysFresh/AnswerRefused",
    "AgentProvider/Event/Unreachable",
    "AgentProvider/Event/AnswerRefused",
)
def test_a_provider_that_cannot_be_asked_keeps_its_keys_and_says_since_when(stage: Stage) -> None:
    key = Signer("kept", "ES256")
    name = stage.follow(key)
    stage.says(name, "Fetched", "KeysFresh")
    fetched = stage.world.cluster.request("GET", f"{PATH}/{name}")["status"]["keys"]["fetchedAt"]
    place = f"{name}/keys"
    lies: list[Behaviour] = [
        always(answer(b"[]")),
        always(answer(b"not json")),
        always(answer(b"{}")),
        always(answer(b'{"keys": 7}')),
        always(answer(b"", "404 Not Found")),
        always(answer(b"", "302 Found", Location="https://127.0.0.1:1/keys")),
    ]
    for lie in lies:
        stage.serve(name, key)
        stage.look_again(name)
        stage.says(name, "Fetched", "KeysFresh")
        stage.behaviours[place] = lie
        stage.look_again(name)
        stage.says(name, "AnswerRefused", "KeysFresh")
        assert stage.kids(name) == ["kept"]
    stage.tells(name, "AnswerRefused")
    found = stage.world.cluster.request("GET", f"{PATH}/{name}")["status"]["conditions"]
    [message] = [each["message"] for each in found if each["type"] == "KeysFresh"]
    assert f"the keys of {fetched} still count" in message
    assert isinstance(stage.read(name, key), IdJag)
    # Silence is another thing than a bad answer, and is said once it lasts.
    stage.behaviours[place] = lambda visit: None
    stage.look_again(name)
    stage.says(name, "Unreachable", "KeysFresh")
    stage.tells(name, "Unreachable")
    assert isinstance(stage.read(name, key), IdJag)
    # A set without a key is an answer: whoever ends its keys so ends them here.
    stage.serve(name)
    stage.look_again(name)
    stage.says(name, "NoUsableKey")
    assert stage.kids(name) == []


def test_keys_of_another_issuer_or_of_the_day_before_do_not_count(stage: Stage) -> None:
    key = Signer("old", "ES256")
    name = stage.follow(key)
    stage.says(name, "Accepted")
    found = stage.world.cluster.request("GET", f"{PATH}/{name}")["status"]["keys"]
    body = {"spec": {"issuer": stage.issuer("elsewhere")}}
    stage.world.cluster.request("PATCH", f"{PATH}/{name}", body, content_type=MERGE)
    stage.says(name, "NoUsableKey")
    assert stage.kids(name) == []
    # As an operator that has ended would leave it: the desk judges by itself.
    day_before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 86_401))
    for keys in (found, found | {"fetchedAt": day_before, "issuer": stage.issuer("elsewhere")}):
        stage.world.operator.freeze()
        try:
            status = {"status": {"keys": keys}}
            stage.world.cluster.request("PATCH", f"{PATH}/{name}/status", status, content_type=MERGE)
            assert isinstance(stage.read("elsewhere", key), DeskRefusal)
        finally:
            stage.world.operator.thaw()


def test_no_one_but_the_operator_writes_the_keys(stage: Stage) -> None:
    """Who may edit a provider may choose its source; its status is another right, which no role gives."""
    world = stage.world
    role = {"apiVersion": f"{_RBAC}/v1", "metadata": {"name": "clerk", "namespace": DESKS}}
    verbs = ["create", "update", "patch", "delete", "get", "list", "watch"]
    rules = [{"apiGroups": ["watchword.dev"], "resources": ["agentproviders"], "verbs": verbs}]
    subject = {"apiGroup": _RBAC, "kind": "User", "name": CLERK}
    world.apply(role | {"kind": "Role", "rules": rules})
    reference = {"apiGroup": _RBAC, "kind": "Role", "name": "clerk"}
    world.apply(role | {"kind": "RoleBinding", "roleRef": reference, "subjects": [subject]})
    mine, theirs = Signer("mine", "ES256"), Signer("theirs", "ES256")
    name = stage.follow(theirs)
    stage.says(name, "Accepted")
    keys = {"issuer": stage.issuer(name), "fetchedAt": "2026-01-01T00:00:00Z", "jwks": [mine.jwk]}

    def edited() -> bool:
        try:
            world.cluster.request(
                "PATCH",
                f"{PATH}/{name}",
                {"spec": {"maxAuthAgeSeconds": 77}, "status": {"keys": keys}},
                content_type=MERGE,
                bearer=world.bearers[CLERK],
            )
        except ApiError:
            return False
        return True

    world.wait(edited, "the clerk may edit providers")
    assert stage.kids(name) == ["theirs"]
    with pytest.raises(ApiError) as refused:
        world.cluster.request(
            "PATCH",
            f"{PATH}/{name}/status",
            {"status": {"keys": keys}},
            content_type=MERGE,
            bearer=world.bearers[CLERK],
        )
    assert refused.value.status == 403


@pytest.mark.brings_about(
    "AgentProvider/Ready/NotUnderstood", "AgentProvider/Event/NotUnderstood", with_its_fixture=True
)
def test_a_provider_of_a_newer_release_counts_for_nothing_and_says_so(stage: Stage) -> None:
    world = stage.world
    [definition] = [each for each in definitions() if each["spec"]["names"]["kind"] == "AgentProvider"]
    newer = copy.deepcopy(definition)
    spec = newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["later"] = {"type": "string"}
    world.apply(newer)
    document = agent_provider("newer", DESKS, keys=[Signer("k", "ES256").jwk], later="x")

    def is_taken() -> bool:
        try:
            return "later" in world.apply(document)["spec"]
        except ApiError:
            # The schema of before is still in use.
            return False

    world.wait(is_taken, "the API server takes the new field")
    stage.says("newer", "NotUnderstood")
    stage.tells("newer", "NotUnderstood")
