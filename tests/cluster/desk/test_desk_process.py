# SPDX-License-Identifier: Apache-2.0
"""The desk's own process next to the operator, under the rights that are shipped: from a token to its end.

What the two leave for each other is tested on either side alone; here one writes what the other one reads.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner

from testing import manifests
from testing.controlplane import ApiError
from testing.controlplane.cluster import ADMINISTRATOR
from testing.logs import log_lines
from testing.manifests import API
from testing.openid import CAROL, CLIENT, openid_issuer
from testing.running_desk import (
    CLIENT_ASSERTION,
    exchange_form,
    subject_token,
)
from testing.tokens import Signer, claims_of
from tests.cluster.desk.conftest import DESKS, LABELS, World
from tests.cluster.desk.test_desks import SERVICE, client, desk, published, revocations, service
from tests.cluster.keys.contexts import write_contexts
from watchword.cli.main import watchword
from watchword.desk.admin.tickets import nonce_of
from watchword.identity import Identity, verify
from watchword.trust import load
from watchword.trust.admin_policy import ADMINS_POLICY, guard_identity

_RULES = Path(__file__).parents[3] / "charts" / "watchword" / "files" / "rules"
_RBAC = "rbac.authorization.k8s.io"
URL = "https://mine.example"
KEY = Signer("mine")
ISSUER = "https://desk.example.com"


class Process:
    """`watchword desk` as a ServiceAccount of the desk's namespace."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder = world, folder
        self.log, self._process = folder / "log", None
        (folder / "token").write_text(world.cluster.token(DESKS, "desk", expiration_seconds=7200))
        self.url = self.ops = self.admin_url = ""

    def start(self) -> None:
        with self.log.open("wb") as log:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                [
                    *(sys.executable, "-m", "watchword.cli.main", "desk", "--token-desk", f"{DESKS}/desk"),
                    *("--store", f"sqlite:///{self.folder / 'desk.db'}"),
                    *("--api-server", self.world.cluster.url),
                    *("--api-token-file", str(self.folder / "token")),
                    *("--api-ca-file", str(self.world.cluster.authority)),
                    *("--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--address-rate", "0"),
                    *("--admin-listen", "127.0.0.1:0"),
                ],
                stdout=log,
                stderr=log,
            )
        self.until(self._listens)

    def _listens(self) -> bool:
        for said in log_lines(self.log, "listening"):
            self.url, self.ops = f"http://{said['listen']}", f"http://{said['ops_listen']}"
            self.admin_url = f"http://{said['admin_listen']}"
            return True
        return False

    def is_ready(self) -> bool:
        return httpx.get(f"{self.ops}/readyz", trust_env=False).status_code == 200

    def until(self, condition: Any) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None

    def post(self, path: str, **form: str) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", data=form, trust_env=False)

    def admin_token(self, name: str = "robot") -> httpx.Response:
        """Ask for an admin token, as the ServiceAccount of this name."""
        return self.post(
            "/oauth2/token",
            grant_type="client_credentials",
            client_assertion=account_token(name),
            client_assertion_type=CLIENT_ASSERTION,
        )

    def admin(self, token: str, path: str = "/clients") -> tuple[int, str]:
        """Call the admin API: the status, and the reason of a no."""
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{self.admin_url}/admin/v1{path}", headers=headers, trust_env=False)
        return answer.status_code, answer.json().get("reason", "")

    def exchange(self, caller: str = "atlas", namespace: str = "tenant-a") -> httpx.Response:
        target = {"audience": f"{namespace}/{SERVICE}", "scope": "account:usage:read", "project": None}
        return self.post("/oauth2/token", **exchange_form(account_token(caller), **target))

    def introspect(self, token: str, name: str) -> dict[str, Any]:
        said = self.post(
            "/oauth2/introspect",
            token=token,
            client_assertion=account_token(name),
            client_assertion_type=CLIENT_ASSERTION,
        )
        assert said.status_code == 200, said.text
        found: dict[str, Any] = said.json()
        return found

    def revoke(self, token: str, caller: str) -> httpx.Response:
        """Revoke a token as a workload that says who it is."""
        return self.post(
            "/oauth2/revoke",
            token=token,
            client_assertion=account_token(caller),
            client_assertion_type=CLIENT_ASSERTION,
        )


def trusted(name: str, namespace: str) -> dict[str, Any]:
    """A TrustedWorkload for the ServiceAccount of that name."""
    return {
        "apiVersion": API,
        "kind": "TrustedWorkload",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "serviceRef": {"name": SERVICE},
            "issuerRef": {"name": "mine"},
            "serviceAccount": {"namespace": "callers", "name": name},
            "grants": [{"scopes": ["account:usage:read"], "accounts": ["acme"]}],
        },
    }


def account_token(name: str, namespace: str = "callers") -> str:
    """The projected token of a ServiceAccount, for the desk."""
    kubernetes = {
        "namespace": namespace,
        "pod": {"name": f"{name}-0", "uid": f"p-{name}"},
        "serviceaccount": {"name": name, "uid": f"sa-{name}"},
    }
    return subject_token(
        KEY,
        aud=[ISSUER],
        iss=URL,
        sub=f"system:serviceaccount:{namespace}:{name}",
        **{"kubernetes.io": kubernetes},
    )


@contextmanager
def running_process(world: World, folder: Path) -> Iterator[Process]:
    """The desk's process under the rights that are shipped, until the block ends."""
    world.cluster.create_service_account(DESKS, "desk")
    account = {"kind": "ServiceAccount", "name": "desk", "namespace": DESKS}
    metadata = {"name": "desk-process", "namespace": DESKS, "labels": LABELS}
    reference = {"apiGroup": _RBAC, "kind": "Role", "name": "desk-process"}
    rules = yaml.safe_load((_RULES / "desk.yaml").read_text())
    role: dict[str, Any] = {"apiVersion": f"{_RBAC}/v1", "metadata": metadata}
    world.cluster.apply(role | {"kind": "Role", "rules": rules})
    world.cluster.apply(role | {"kind": "RoleBinding", "roleRef": reference, "subjects": [account]})
    # What it may read in the whole cluster.
    rules = yaml.safe_load((_RULES / "desk-cluster.yaml").read_text())
    role = {"apiVersion": f"{_RBAC}/v1", "metadata": {"name": "desk-process"}}
    reference = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "desk-process"}
    world.cluster.apply(role | {"kind": "ClusterRole", "rules": rules})
    world.cluster.apply(role | {"kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [account]})
    made = Process(world, folder)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def process(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    world.apply(manifests.issuer("mine", KEY, issuer=URL))
    world.apply(desk())
    world.apply(service("tenant-a", resourceServers=["cache"]))
    world.apply(trusted("atlas", "tenant-a"))
    by = {"serviceAccount": {"issuerRef": {"name": "mine"}, "namespace": "callers", "name": "cache"}}
    world.apply(client(authentication=by))
    with running_process(world, tmp_path_factory.mktemp("desk-process")) as made:
        yield made


def accepts(world: World, token: str, namespace: str = "tenant-a") -> bool:
    """Whether a gate with the bundle that is published takes a token."""
    bundle = published(world, namespace)
    assert bundle is not None
    return isinstance(verify(token.encode(), load(bundle).policy, time.time()), Identity)


def test_a_token_is_issued_with_the_operators_key_and_gates_take_it(process: Process) -> None:
    process.until(process.is_ready)
    process.until(lambda: process.exchange().status_code == 200)

    token = process.exchange().json()["access_token"]

    assert accepts(process.world, token)
    assert claims_of(token)["aud"].endswith(f"/tenant-a/{SERVICE}")
    assert process.introspect(token, "cache")["active"] is True


def test_what_is_revoked_at_the_desk_is_in_the_list_of_the_services_gates(process: Process) -> None:
    token = process.exchange().json()["access_token"]
    assert process.post("/oauth2/revoke", token=token).status_code == 200

    token_id = claims_of(token)["jti"]
    process.until(lambda: token_id in revocations(process.world, "tenant-a").revocations.tokens)
    other = revocations(process.world, "tenant-b")
    assert other is None or token_id not in other.revocations.tokens


def test_a_workload_that_is_suspended_gets_no_more_tokens(process: Process) -> None:
    def suspend(value: bool) -> None:
        process.world.cluster.request(
            "PATCH",
            f"/apis/{API}/namespaces/tenant-a/trustedworkloads/atlas",
            {"spec": {"suspend": value}},
            content_type="application/merge-patch+json",
        )

    suspend(True)
    process.until(lambda: process.exchange().json().get("reason") == "suspended")
    suspend(False)
    process.until(lambda: process.exchange().status_code == 200)


@pytest.fixture(scope="module")
def tenants(process: Process) -> Process:
    """Two services of one desk, each with a workload and a resource server of its own."""
    world = process.world
    world.apply(service("tenant-b", resourceServers=["theirs"]))
    world.apply(trusted("beta", "tenant-b"))
    by = {"serviceAccount": {"issuerRef": {"name": "mine"}, "namespace": "callers", "name": "theirs"}}
    theirs = client(authentication=by, serviceRefs=[{"namespace": "tenant-b", "name": SERVICE}])
    theirs["metadata"]["name"] = "theirs"
    world.apply(theirs)
    process.until(lambda: process.exchange().status_code == 200)
    process.until(lambda: process.exchange("beta", "tenant-b").status_code == 200)
    return process


def test_each_tenant_has_what_is_its_own(tenants: Process) -> None:
    """What the next tests try across works within."""
    for caller, namespace, name in (("atlas", "tenant-a", "cache"), ("beta", "tenant-b", "theirs")):
        token = tenants.exchange(caller, namespace).json()["access_token"]
        assert accepts(tenants.world, token, namespace)
        tenants.until(lambda token=token, name=name: tenants.introspect(token, name)["active"])


# What one who may edit tenant-a writes there to be given tokens for tenant-b, or to read or end such tokens.
WRITES: dict[str, dict[str, Any]] = {
    "trusts its workload at the other's service": {
        "kind": "TrustedWorkload",
        "spec": {"serviceRef": {"name": SERVICE, "namespace": "tenant-b"}},
    },
    "trusts its workload at a service that it has not": {
        "kind": "TrustedWorkload",
        "spec": {"serviceRef": {"name": f"tenant-b/{SERVICE}"}},
    },
    "declares the other's audience": {"kind": "ProtectedService", "spec": {"audiences": ["theirs"]}},
    "names the other's resource server": {
        "kind": "ProtectedService",
        "spec": {"resourceServers": ["cache", "theirs"]},
    },
    "trusts the other's workload for everything": {
        "kind": "TrustedWorkload",
        "spec": {"serviceAccount": {"namespace": "callers", "name": "beta"}},
    },
}


@pytest.mark.parametrize("what", WRITES)
def test_nothing_that_a_tenant_writes_reaches_into_the_other(tenants: Process, what: str) -> None:
    world, bearer = tenants.world, tenants.world.bearers["tenant-a"]
    before = published(world, "tenant-b")
    assert before is not None
    written = WRITES[what]
    if written["kind"] == "ProtectedService":
        document = service("tenant-a", resourceServers=["cache"])
        document["spec"] |= written["spec"]
        if "audiences" in written["spec"]:
            assert before.desk
            document["spec"]["audiences"] = [before.desk.audience]
    else:
        document = trusted("mischief", "tenant-a")
        document["spec"] |= written["spec"]
    is_refused = refusal_of(world, document, bearer) is not None
    try:
        if not is_refused:
            # The operator has read it.
            tenants.until(lambda: has_settled(world, document))
        # Mints nothing, with its own workload's token or with that of another ServiceAccount of its own.
        for caller in ("atlas", "mischief"):
            said = tenants.exchange(caller, "tenant-b")
            assert (said.status_code, said.json()["error"]) == (400, "invalid_target"), said.text
        theirs = tenants.exchange("beta", "tenant-b").json()["access_token"]
        # Introspects nothing.
        assert tenants.introspect(theirs, "cache") == {"active": False}
        # Revokes nothing, even with the very token in hand, as who it is.
        assert tenants.revoke(theirs, "atlas").status_code == 200
        assert tenants.introspect(theirs, "theirs")["active"] is True
        # What it is given for itself is nothing there, and the other's is nothing here.
        mine = tenants.exchange("atlas", "tenant-a").json()["access_token"]
        assert not accepts(world, mine, "tenant-b")
        assert not accepts(world, theirs, "tenant-a")
        # Not a byte of the other's bundle is another one, but for what time changes.
        after = published(world, "tenant-b")
        assert after is not None
        assert (after.workloads, after.desk, after.service) == (before.workloads, before.desk, before.service)
    finally:
        world.apply(service("tenant-a", resourceServers=["cache"]))
        if document["kind"] == "TrustedWorkload" and not is_refused:
            world.delete("TrustedWorkload", "tenant-a", "mischief")


def refusal_of(world: World, document: dict[str, Any], bearer: str) -> ApiError | None:
    """Why the API server does not take an object; None: it does."""
    try:
        world.apply(document, bearer)
    except ApiError as error:
        return error
    return None


def has_settled(world: World, document: dict[str, Any]) -> bool:
    """Whether an object's status is about its present spec."""
    metadata = document["metadata"]
    found = world.get(
        f"/apis/{API}/namespaces/{metadata['namespace']}/{document['kind'].lower()}s/{metadata['name']}"
    )
    assert found is not None
    return bool(found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"])


def test_a_tenant_makes_no_one_a_client_and_no_issuer_trusted(tenants: Process) -> None:
    world, bearer = tenants.world, tenants.world.bearers["tenant-a"]
    mine = client(serviceRefs=[{"namespace": "tenant-b", "name": SERVICE}])
    mine["metadata"]["namespace"] = "tenant-a"
    for document in (mine, manifests.issuer("evil", KEY, issuer="https://evil.example")):
        with pytest.raises(ApiError) as refused:
            world.apply(document, bearer)
        assert refused.value.status == 403
    # A ServiceAccount of its own that has the client's name is not the client.
    world.cluster.request(
        "POST", "/api/v1/namespaces/tenant-a/serviceaccounts", {"metadata": {"name": "theirs"}}, bearer=bearer
    )
    theirs = tenants.exchange("beta", "tenant-b").json()["access_token"]
    said = tenants.post(
        "/oauth2/introspect",
        token=theirs,
        client_assertion=account_token("theirs", "tenant-a"),
        client_assertion_type=CLIENT_ASSERTION,
    )
    assert (said.status_code, said.json()["error"]) == (401, "invalid_client")


def robot(**spec: Any) -> dict[str, Any]:
    """An admin client, as the administrator of the cluster writes it."""
    by = {"serviceAccount": {"issuerRef": {"name": "mine"}, "namespace": "callers", "name": "robot"}}
    default = {"type": "AdminServiceAccount", "serviceRefs": [], "authentication": by}
    flag = {"adminServiceAccount": True, "grantedBy": ADMINISTRATOR}
    return manifests.desk_client("robot", DESKS, **(default | flag | spec))


def policy_in_force(world: World) -> str:
    policy, binding = (
        world.cluster.request(
            "GET", f"/apis/admissionregistration.k8s.io/v1/validatingadmission{kind}/{ADMINS_POLICY}"
        )
        for kind in ("policies", "policybindings")
    )
    return guard_identity(policy, binding)


def marked_under(world: World, name: str = "robot") -> str:
    found = world.cluster.request("GET", f"/apis/{API}/namespaces/{DESKS}/deskclients/{name}")
    return str((found.get("status", {}).get("adminGrant") or {}).get("policy", ""))


@pytest.fixture
def admin_token(process: Process) -> Iterator[str]:
    """The token of an admin client that counts."""
    world = process.world
    # Known to the operator before the flag is set: then it is set under the policy, whenever that was made.
    world.apply(robot(adminServiceAccount=False))
    world.wait(lambda: marked_under(world) == policy_in_force(world), "the operator knows the policy")
    world.apply(robot())
    world.wait(lambda: world.condition("DeskClient", DESKS, "robot") == ("True", "Granted"), "it counts")
    process.until(lambda: process.admin_token().status_code == 200)
    yield process.admin_token().json()["access_token"]
    world.delete("DeskClient", DESKS, "robot")


def change(world: World, name: str, spec: dict[str, Any]) -> None:
    path = f"/apis/{API}/namespaces/{DESKS}/deskclients/{name}"
    world.cluster.request("PATCH", path, {"spec": spec}, content_type="application/merge-patch+json")


def test_a_flag_that_is_withdrawn_counts_no_more_on_the_next_call(process: Process, admin_token: str) -> None:
    world = process.world
    assert process.admin(admin_token) == (200, "")
    change(world, "robot", {"adminServiceAccount": False})
    assert process.admin(admin_token) == (403, "not_an_admin")
    assert process.admin_token().json()["reason"] == "not_an_admin_client"
    change(world, "robot", {"adminServiceAccount": True, "grantedBy": ADMINISTRATOR})
    # Its status may still be that of before. Set again it is another grant: the token is of an earlier one.
    process.until(lambda: process.admin_token().status_code == 200)
    assert process.admin(admin_token) == (403, "not_an_admin")
    assert process.admin(process.admin_token().json()["access_token"]) == (200, "")
    # Another object of the same name is another client.
    world.delete("DeskClient", DESKS, "robot")
    assert process.admin(admin_token) == (403, "not_an_admin")
    world.apply(robot())
    world.wait(lambda: world.condition("DeskClient", DESKS, "robot") == ("True", "Granted"), "it counts")
    process.until(lambda: process.admin_token().status_code == 200)
    assert process.admin(admin_token) == (403, "not_an_admin")
    # Each of it is in the desk's log, with who granted it and which version of the object that was.
    token = process.admin_token().json()["access_token"]
    uid = world.cluster.request("GET", f"/apis/{API}/namespaces/{DESKS}/deskclients/robot")["metadata"]["uid"]

    def noted() -> set[tuple[str, str, bool]]:
        answer = httpx.get(
            f"{process.admin_url}/admin/v1/audit?event=admin_client_changed",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )
        found = [each["entry"] for each in answer.json()["entries"]]
        return {(each["change"], each.get("granted_by", ""), each["uid"] == uid) for each in found}

    process.until(lambda: {("granted", ADMINISTRATOR, True), ("removed", "", False)} <= noted())


def dora(issuer: str, **spec: Any) -> dict[str, Any]:
    """An admin who is a person."""
    by = {"person": {"issuer": issuer, "clientId": CLIENT, "address": CAROL}}
    default = {"type": "AdminPerson", "serviceRefs": [], "authentication": by}
    flag = {"adminServiceAccount": True, "grantedBy": ADMINISTRATOR}
    return manifests.desk_client("dora", DESKS, **(default | flag | spec))


def test_a_person_signs_in_and_is_out_on_the_next_call_once_the_flag_is_gone(process: Process) -> None:
    world = process.world
    with openid_issuer() as idp:

        def sign_in() -> httpx.Response:
            url = f"{process.admin_url}/admin/v1/sign-in"
            ticket = httpx.get(url, trust_env=False).json()["ticket"]
            body = {"id_token": idp.id_token(nonce_of(ticket)), "ticket": ticket}
            return httpx.post(url, json=body, trust_env=False)

        world.apply(dora(idp.url, adminServiceAccount=False))
        world.wait(lambda: marked_under(world, "dora") == policy_in_force(world), "the operator knows her")
        world.apply(dora(idp.url))
        world.wait(lambda: world.condition("DeskClient", DESKS, "dora") == ("True", "Granted"), "it counts")
        process.until(lambda: sign_in().status_code == 200)
        token = sign_in().json()["access_token"]
        assert process.admin(token) == (200, "")
        change(world, "dora", {"adminServiceAccount": False})
        assert process.admin(token) == (403, "not_an_admin")
        assert sign_in().json()["reason"] in ("not_an_admin_person", "sign_in_refused")
        world.delete("DeskClient", DESKS, "dora")
        assert process.admin(token) == (403, "not_an_admin")


@pytest.mark.parametrize("kind", ["policies", "policybindings"])
def test_without_the_policy_no_flag_counts_from_the_next_call_on(
    process: Process, admin_token: str, kind: str
) -> None:
    world = process.world
    path = f"/apis/admissionregistration.k8s.io/v1/validatingadmission{kind}/{ADMINS_POLICY}"
    before = world.cluster.request("GET", path)
    weaker = {"failurePolicy": "Ignore"} if kind == "policies" else {"validationActions": ["Audit"]}
    merge = "application/merge-patch+json"
    assert process.admin(admin_token) == (200, "")
    world.cluster.request("PATCH", path, {"spec": weaker}, content_type=merge)
    assert process.admin(admin_token) == (403, "not_an_admin")
    world.cluster.request("PATCH", path, {"spec": before["spec"]}, content_type=merge)
    assert process.admin(admin_token) == (200, "")
    world.cluster.request("DELETE", path)
    assert process.admin(admin_token) == (403, "not_an_admin")
    assert process.admin_token().json()["reason"] == "not_an_admin_client"
    kept = {name: before["metadata"][name] for name in ("name", "labels")}
    world.apply(
        {"apiVersion": before["apiVersion"], "kind": before["kind"], "metadata": kept, "spec": before["spec"]}
    )
    # It was confirmed under the policy of before, and nothing of the client was changed since.
    assert process.admin(admin_token) == (200, "")


def test_what_an_admin_revokes_is_in_the_list_of_the_services_gates(
    process: Process, admin_token: str
) -> None:
    process.until(lambda: process.exchange().status_code == 200)
    token_id = claims_of(process.exchange().json()["access_token"])["jti"]
    answer = httpx.post(
        f"{process.admin_url}/admin/v1/tokens/{token_id}/revoke",
        headers={"Authorization": f"Bearer {admin_token}"},
        trust_env=False,
    )
    assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
    process.until(lambda: token_id in revocations(process.world, "tenant-a").revocations.tokens)


def test_a_store_that_was_lost_revokes_the_key_and_the_operator_makes_another(process: Process) -> None:
    token = process.exchange().json()["access_token"]
    assert accepts(process.world, token)
    process.stop()
    for each in process.folder.glob("desk.db*"):
        each.unlink()

    process.start()

    process.until(lambda: not accepts(process.world, token))
    process.until(lambda: process.exchange().status_code == 200)
    after = process.exchange().json()["access_token"]
    assert accepts(process.world, after)
    assert not accepts(process.world, token)


def test_doctor_names_who_else_may_sign_and_a_client_that_no_one_names(
    tenants: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    world = tenants.world
    write_contexts(tmp_path / "kubeconfig", {"here": world.cluster})

    def said() -> str:
        environment = {"KUBECONFIG": str(tmp_path / "kubeconfig")}
        return CliRunner().invoke(watchword, ["doctor"], env=environment).output

    assert "may read its Secrets" not in said()
    metadata = {"namespace": DESKS, "name": "for-a-moment"}
    reference = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "edit"}
    subject = {"apiGroup": _RBAC, "kind": "User", "name": "alice"}
    binding = {"apiVersion": f"{_RBAC}/v1", "kind": "RoleBinding", "metadata": metadata, "roleRef": reference}
    world.apply(binding | {"subjects": [subject]})
    unnamed = client()
    unnamed["metadata"]["name"] = "unnamed"
    world.apply(unnamed)
    try:
        world.wait(lambda: world.condition("DeskClient", DESKS, "unnamed")[0] == "False", "it is judged")
        found = said()
    finally:
        path = f"/apis/{_RBAC}/v1/namespaces/{DESKS}/rolebindings/for-a-moment"
        world.cluster.request("DELETE", path)
        world.delete("DeskClient", DESKS, "unnamed")
    assert f"Namespace {DESKS}: User alice may read its Secrets by the RoleBinding for-a-moment" in found
    assert f"DeskClient {DESKS}/unnamed: Ready is False (NotNamed)" in found
