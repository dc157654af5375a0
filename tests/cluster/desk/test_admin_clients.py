# SPDX-License-Identifier: Apache-2.0
"""Who makes an admin of a DeskClient, by every way to write one, on a real API server with real roles.

`carol` may edit DeskClients, and even their status; `grace` has the verb `grant-admin` besides. The operator
runs under the rights that are shipped, and says which flags count.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testing import manifests
from testing.controlplane import ApiError
from testing.manifests import API
from testing.operator_process import kubeconfig_of
from tests.charts.conftest import Helm, helm
from tests.cluster.desk.conftest import CLERK, DESKS, GRANTER, World
from tests.cluster.desk.test_desks import wait_told
from tests.shipped import admission_policies
from watchword.trust.admin_policy import ADMINS_POLICY, admins_policy_spec, guard_identity, guard_problem

__all__ = ["helm"]
_RBAC = "rbac.authorization.k8s.io"
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
CLIENTS = f"/apis/{API}/namespaces/{DESKS}/deskclients"
_POLICIES = "/apis/admissionregistration.k8s.io/v1"
NO_VERB = f"{CLERK} may not grant-admin deskclients in {DESKS}"
_numbers = itertools.count(1)

Object = dict[str, Any]


def by_account(name: str) -> Object:
    return {"serviceAccount": {"issuerRef": {"name": "here"}, "namespace": "automation", "name": name}}


def admin(name: str, **spec: Any) -> Object:
    """An admin client without the flag."""
    default = {"type": "AdminServiceAccount", "serviceRefs": [], "authentication": by_account(name)}
    return manifests.desk_client(name, DESKS, **(default | spec))


def flagged(name: str, by: str = GRANTER, **spec: Any) -> Object:
    return admin(name, **({"adminServiceAccount": True, "grantedBy": by} | spec))


PERSON = {"issuer": "https://idp.example.com", "clientId": "watchword-cli", "address": "dora@example.com"}


def flagged_person(name: str, by: str = GRANTER, **person: Any) -> Object:
    """An admin who is a person; a member that is None is left out."""
    given = {key: value for key, value in (PERSON | person).items() if value is not None}
    return flagged(name, by, type="AdminPerson", authentication={"person": given})


class People:
    """The two people, and what they send."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bearers = {each: world.cluster.bearer(each) for each in (CLERK, GRANTER)}

    def send(
        self, person: str | None, method: str, path: str, body: Any = None, kind: str = "", **parameters: str
    ) -> Object:
        given: Object = {} if person is None else {"bearer": self.bearers.get(person, person)}
        if kind:
            given["content_type"] = kind
        return self.world.cluster.request(method, path, body, parameters=parameters, **given)

    def create(self, person: str | None, document: Object, **parameters: str) -> Object:
        return self.send(person, "POST", CLIENTS, document, **parameters)

    def apply(self, person: str | None, document: Object, **parameters: str) -> Object:
        path = f"{CLIENTS}/{document['metadata']['name']}"
        parameters = {"fieldManager": "test", "force": "true"} | parameters
        return self.send(person, "PATCH", path, document, APPLY, **parameters)

    def patch(self, person: str | None, name: str, change: Object) -> Object:
        return self.send(person, "PATCH", f"{CLIENTS}/{name}", change, MERGE)

    def read(self, name: str) -> Object:
        return self.send(None, "GET", f"{CLIENTS}/{name}")

    def delete(self, person: str | None, name: str) -> None:
        self.send(person, "DELETE", f"{CLIENTS}/{name}")

    def said(self, name: str) -> tuple[str, str]:
        return self.world.condition("DeskClient", DESKS, name)

    def wait_for(self, name: str, status: str, reason: str) -> None:
        self.world.wait(lambda: self.said(name) == (status, reason), f"{name} is {reason}: {self.said(name)}")


@pytest.fixture(scope="module")
def people(world: World) -> Iterator[People]:
    """The desk is there, and the policy is in force."""
    verbs = ["get", "list", "watch", "create", "update", "patch", "delete"]
    for person, extra in ((CLERK, []), (GRANTER, ["grant-admin"])):
        rules = [
            {"apiGroups": ["watchword.dev"], "resources": ["deskclients"], "verbs": verbs + extra},
            {"apiGroups": ["watchword.dev"], "resources": ["deskclients/status", "tokendesks/status"],
             "verbs": ["get", "update", "patch"]},
        ]  # fmt: skip
        metadata = {"name": f"clients-{person}", "namespace": DESKS}
        world.apply({"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": rules})
        world.apply(
            {"apiVersion": f"{_RBAC}/v1", "kind": "RoleBinding", "metadata": metadata,
             "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": metadata["name"]},
             "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": person}]}
        )  # fmt: skip
    world.apply(manifests.token_desk("desk", DESKS))
    made = People(world)
    world.wait(lambda: is_enforced(made), "the policy refuses the clerk")
    settle(made)
    yield made
    for each in made.send(None, "GET", CLIENTS)["items"]:
        made.delete(None, each["metadata"]["name"])


def settle(people: People) -> None:
    """Wait until the operator knows the policy as it is now: what is made before counts as made before it."""
    if not any(
        each["spec"]["type"] == "AdminServiceAccount" for each in people.send(None, "GET", CLIENTS)["items"]
    ):
        people.create(None, admin("first"))

    def is_known() -> bool:
        policy, binding = (
            people.send(None, "GET", f"{_POLICIES}/validatingadmission{kind}/{ADMINS_POLICY}")
            for kind in ("policies", "policybindings")
        )
        known = people.world.desk().get("status", {}).get("adminPolicy")
        return bool(known == guard_identity(policy, binding))

    people.world.wait(is_known, "the operator knows the policy")


def is_enforced(people: People) -> bool:
    try:
        people.create(CLERK, flagged("probe", CLERK), dryRun="All")
    except ApiError as error:
        return f"'{ADMINS_POLICY}'" in error.message and NO_VERB in error.message
    return False


def refused(people: People, words: str, act: Callable[[], object]) -> None:
    with pytest.raises(ApiError) as caught:
        act()
    assert caught.value.status in (403, 422), caught.value
    assert words in caught.value.message


@pytest.fixture
def granted(people: People) -> Iterator[str]:
    """An admin client that counts."""
    name = f"automation-{next(_numbers)}"
    settle(people)
    people.create(GRANTER, flagged(name))
    people.wait_for(name, "True", "Granted")
    yield name
    try:
        people.delete(None, name)
    except ApiError as error:
        if error.status != 404:
            raise


def json_patch(people: People, person: str, name: str, *steps: Object) -> Object:
    return people.send(person, "PATCH", f"{CLIENTS}/{name}", list(steps), JSON_PATCH)


def replaced(people: People, person: str, name: str, **spec: Any) -> Object:
    document = copy.deepcopy(people.read(name))
    document["spec"] |= spec
    return people.send(person, "PUT", f"{CLIENTS}/{name}", document)


STOLEN = by_account("mallory")
# Every way in which the spec of an object can be written: each is sent with this authentication.
WRITES: dict[str, Callable[[People, str, str], object]] = {
    "merge patch": lambda p, who, name: p.patch(
        who, name, {"spec": {"authentication": STOLEN, "grantedBy": who}}
    ),
    "JSON patch": lambda p, who, name: json_patch(
        p, who, name,
        {"op": "replace", "path": "/spec/authentication", "value": STOLEN},
        {"op": "replace", "path": "/spec/grantedBy", "value": who},
    ),
    "server-side apply": lambda p, who, name: p.apply(
        who, flagged(name, who, authentication=STOLEN)
    ),
    "apply of one field": lambda p, who, name: p.apply(
        who,
        {"apiVersion": API, "kind": "DeskClient", "metadata": {"name": name, "namespace": DESKS},
         "spec": {"authentication": STOLEN, "grantedBy": who}},
        fieldManager="other",
    ),
    "replace": lambda p, who, name: replaced(p, who, name, authentication=STOLEN, grantedBy=who),
    "delete and create": lambda p, who, name: (
        p.delete(who, name), p.create(who, flagged(name, who, authentication=STOLEN))
    ),
    "delete and apply": lambda p, who, name: (
        p.delete(who, name), p.apply(who, flagged(name, who, authentication=STOLEN))
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WRITES)
def test_who_may_edit_and_not_grant_cannot_put_her_credential_in_place(
    people: People, granted: str, way: str
) -> None:
    refused(people, NO_VERB, lambda: WRITES[way](people, CLERK, granted))
    found = people.send(None, "GET", CLIENTS)["items"]
    assert all(each["spec"]["authentication"] != STOLEN for each in found)


@pytest.mark.parametrize("way", WRITES)
def test_who_may_grant_changes_an_admin_client_in_each_of_these_ways(
    people: People, granted: str, way: str
) -> None:
    WRITES[way](people, GRANTER, granted)
    found = people.read(granted)
    assert found["spec"]["authentication"] == STOLEN
    people.world.wait(
        lambda: (
            (people.read(granted).get("status", {}).get("adminGrant") or {}).get("generation")
            == people.read(granted)["metadata"]["generation"]
        ),
        "the operator marked this generation",
    )
    people.wait_for(granted, "True", "Granted")


def test_a_name_that_is_not_the_writer_s_own_is_refused(people: People, granted: str) -> None:
    words = f"it is not the user who makes this change; set it to {GRANTER}"
    refused(people, words, lambda: people.create(GRANTER, flagged("borrowed", "alice")))
    refused(people, words, lambda: people.patch(GRANTER, granted, {"spec": {"grantedBy": CLERK}}))
    # Not even who may do everything grants in another one's name.
    with pytest.raises(ApiError, match="it is not the user who makes this change"):
        people.create(None, flagged("borrowed"))


def test_service_accounts_make_no_admins_unless_they_are_listed(people: People) -> None:
    world = people.world
    world.cluster.create_service_account(DESKS, "gitops")
    user = f"system:serviceaccount:{DESKS}:gitops"
    world.apply(
        {"apiVersion": f"{_RBAC}/v1", "kind": "RoleBinding",
         "metadata": {"name": "gitops", "namespace": DESKS},
         "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": f"clients-{GRANTER}"},
         "subjects": [{"kind": "ServiceAccount", "name": "gitops", "namespace": DESKS}]}
    )  # fmt: skip
    bearer = world.cluster.token(DESKS, "gitops")

    def attempt() -> str:
        try:
            people.create(bearer, flagged("from-git", user), dryRun="All")
        except ApiError as error:
            return error.message
        return ""

    world.wait(lambda: "is a ServiceAccount" in attempt(), "it is refused for being one")
    policy = shipped("ValidatingAdmissionPolicy")
    policy["spec"]["variables"][0]["expression"] = f"['{user}']"
    world.apply(policy)
    try:
        world.wait(lambda: not attempt(), "it is listed")
    finally:
        world.apply(shipped("ValidatingAdmissionPolicy"))
    world.wait(lambda: "is a ServiceAccount" in attempt(), "it is not any more")


def test_withdrawing_needs_no_verb_and_leaving_out_does_not_withdraw(people: People, granted: str) -> None:
    lost = "a flag that was set is not withdrawn by leaving it out"
    refused(people, lost, lambda: people.patch(CLERK, granted, {"spec": {"adminServiceAccount": None}}))
    refused(people, lost, lambda: people.patch(GRANTER, granted, {"spec": {"adminServiceAccount": None}}))
    people.patch(CLERK, granted, {"spec": {"adminServiceAccount": False}})
    people.wait_for(granted, "False", "NotGranted")
    refused(
        people, NO_VERB,
        lambda: people.patch(CLERK, granted, {"spec": {"adminServiceAccount": True, "grantedBy": CLERK}}),
    )  # fmt: skip
    people.patch(GRANTER, granted, {"spec": {"adminServiceAccount": True}})
    people.wait_for(granted, "True", "Granted")


def test_what_leaves_the_spec_alone_keeps_the_flag_and_needs_no_verb(people: People, granted: str) -> None:
    people.patch(CLERK, granted, {"metadata": {"labels": {"team": "platform"}, "annotations": {"a": "b"}}})
    replaced(people, CLERK, granted)
    found = people.read(granted)
    assert found["spec"]["adminServiceAccount"] is True
    assert found["metadata"]["labels"] == {"team": "platform"}
    assert people.said(granted) == ("True", "Granted")


# Each would make someone else that admin.
CHANGES: dict[str, Object] = {
    "the address": {"address": "mallory@example.com"},
    "the provider": {"issuer": "https://idp.evil.example"},
    "the client id": {"clientId": "mallory"},
    "a subject": {"subject": "mallory"},
}


def test_a_person_is_guarded_as_an_automation_is(people: People) -> None:
    settle(people)
    name = f"dora-{next(_numbers)}"
    refused(people, NO_VERB, lambda: people.create(CLERK, flagged_person(name, CLERK)))
    refused(
        people, "it is not the user who makes this change",
        lambda: people.create(GRANTER, flagged_person(name, CLERK)),
    )  # fmt: skip
    people.create(GRANTER, flagged_person(name))
    people.wait_for(name, "True", "Granted")
    try:
        for change in CHANGES.values():
            by = {"authentication": {"person": PERSON | change}, "grantedBy": CLERK}
            refused(people, NO_VERB, lambda by=by: people.patch(CLERK, name, {"spec": by}))  # type: ignore[misc]
            refused(people, NO_VERB, lambda by=by: replaced(people, CLERK, name, **by))  # type: ignore[misc]
        as_robot = {"type": "AdminServiceAccount", "authentication": STOLEN, "grantedBy": CLERK}
        refused(people, NO_VERB, lambda: replaced(people, CLERK, name, **as_robot))
        # Who may edit can end it: by a second object that names the person, and by withdrawing the flag.
        twin = flagged_person(f"{name}-twin")
        del twin["spec"]["adminServiceAccount"], twin["spec"]["grantedBy"]
        people.create(CLERK, twin)
        people.wait_for(name, "False", "AccountTaken")
        people.delete(CLERK, f"{name}-twin")
        people.wait_for(name, "True", "Granted")
        people.patch(CLERK, name, {"spec": {"adminServiceAccount": False}})
        people.wait_for(name, "False", "NotGranted")
    finally:
        people.delete(None, name)


def test_the_operator_alone_says_that_a_flag_counts(people: People, granted: str) -> None:
    words = "the operator alone confirms that a flag was set under this policy"
    mark = people.read(granted)["status"]["adminGrant"]
    path = f"{CLIENTS}/{granted}/status"
    desk = f"/apis/{API}/namespaces/{DESKS}/tokendesks/desk/status"
    for person in (CLERK, GRANTER):
        for forged in (mark | {"generation": 99}, None):
            change = {"status": {"adminGrant": forged}}
            refused(people, words, lambda p=person, c=change: people.send(p, "PATCH", path, c, MERGE))
        document = people.read(granted)
        document["status"]["adminGrant"] = mark | {"counts": False}
        refused(people, words, lambda p=person, d=document: people.send(p, "PUT", path, d))
        change = {"status": {"adminPolicy": "x"}}
        refused(people, words, lambda p=person, c=change: people.send(p, "PATCH", desk, c, MERGE))
    # What does not touch that is theirs to write, as RBAC says; spec does not change by it.
    people.send(
        CLERK, "PATCH", path, {"spec": {"authentication": STOLEN}, "status": {"observedGeneration": 1}}, MERGE
    )
    assert people.read(granted)["spec"]["authentication"] != STOLEN


def shipped(kind: str) -> Object:
    [found] = [
        each for each in admission_policies()
        if each["kind"] == kind and each["metadata"]["name"] == ADMINS_POLICY
    ]  # fmt: skip
    return copy.deepcopy(found)


def put_back(people: People) -> None:
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        people.world.apply(shipped(kind))
    people.world.wait(lambda: is_enforced(people), "the policy is in force again")


def test_what_is_installed_is_found_to_be_in_force(people: People) -> None:
    policy = people.send(None, "GET", f"{_POLICIES}/validatingadmissionpolicies/{ADMINS_POLICY}")
    binding = people.send(None, "GET", f"{_POLICIES}/validatingadmissionpolicybindings/{ADMINS_POLICY}")
    assert guard_problem(policy, binding) == ""
    assert policy["metadata"]["generation"] >= 1
    assert binding["metadata"]["generation"] >= 1
    # The API server's own check of types has nothing to say against the expressions.
    assert not (policy.get("status", {}).get("typeChecking") or {}).get("expressionWarnings")


LOOSENED: dict[str, tuple[str, Any]] = {
    "the policy lets pass what it cannot judge": ("policies", {"spec": {"failurePolicy": "Ignore"}}),
    "the policy has no rules": ("policies", {"spec": {"validations": [{"expression": "true"}]}}),
    "the policy leaves some out": (
        "policies",
        {"spec": {"matchConditions": [{"name": "some", "expression": "false"}]}},
    ),
    "the policy sees no namespace": (
        "policies",
        {"spec": {"matchConstraints": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}},
    ),
    "everyone is a granter": (
        "policies",
        {
            "spec": {
                "variables": [
                    {"name": "granters", "expression": "[request.userInfo.username]"},
                    *admins_policy_spec()["variables"][1:],
                ]
            }
        },
    ),
    "the binding only warns": ("policybindings", {"spec": {"validationActions": ["Warn"]}}),
    "the binding leaves some out": (
        "policybindings",
        {"spec": {"matchResources": {"objectSelector": {"matchLabels": {"a": "b"}}}}},
    ),
}


@pytest.mark.brings_about("DeskClient/Event/Granted")
@pytest.mark.parametrize("how", LOOSENED)
def test_with_the_policy_altered_no_flag_counts_and_earlier_ones_count_again_after(
    people: People, granted: str, how: str
) -> None:
    kind, change = LOOSENED[how]
    path = f"{_POLICIES}/validatingadmission{kind}/{ADMINS_POLICY}"
    people.send(None, "PATCH", path, change, MERGE)
    try:
        people.wait_for(granted, "False", "PolicyNotInForce")
    finally:
        put_back_whole(people, kind)
    people.wait_for(granted, "True", "Granted")
    wait_told(people.world, DESKS, granted, "Granted")


def put_back_whole(people: People, kind: str) -> None:
    """Apply what is shipped in place of what is there, what others added included."""
    path = f"{_POLICIES}/validatingadmission{kind}/{ADMINS_POLICY}"
    singular = {"policies": "Policy", "policybindings": "PolicyBinding"}[kind]
    document = shipped(f"ValidatingAdmission{singular}")
    document["metadata"]["resourceVersion"] = people.send(None, "GET", path)["metadata"]["resourceVersion"]
    people.send(None, "PUT", path, document)
    people.world.wait(lambda: is_enforced(people), "the policy is in force again")


@pytest.mark.brings_about(
    "DeskClient/Ready/GrantNotConfirmed",
    "DeskClient/Ready/PolicyNotInForce",
    "DeskClient/Ready/Granted",
    "DeskClient/Ready/NotGranted",
    "DeskClient/Ready/ConfirmingGrant",
    "DeskClient/Event/PolicyNotInForce",
    "DeskClient/Event/GrantNotConfirmed",
)
def test_flags_that_were_set_without_the_policy_never_count_until_they_are_set_again(
    people: People, granted: str
) -> None:
    world = people.world
    binding = f"{_POLICIES}/validatingadmissionpolicybindings/{ADMINS_POLICY}"
    people.send(None, "DELETE", binding)
    try:
        world.wait(lambda: not is_enforced(people), "the policy is not in force")
        people.wait_for(granted, "False", "PolicyNotInForce")
        # What the clerk could not do before: of her own, and in place of the granter's.
        people.create(CLERK, flagged("before", CLERK))
        people.patch(CLERK, granted, {"spec": {"authentication": STOLEN}})
        people.wait_for("before", "False", "PolicyNotInForce")
    finally:
        put_back(people)
    for name in ("before", granted):
        people.wait_for(name, "False", "GrantNotConfirmed")
        wait_told(world, DESKS, name, "GrantNotConfirmed")
        assert people.read(name)["status"]["adminGrant"]["counts"] is False
    # A change of anything else does not make it count, and neither does the clerk.
    people.patch(CLERK, "before", {"metadata": {"labels": {"a": "b"}}})
    refused(people, NO_VERB, lambda: people.patch(CLERK, "before", {"spec": {"authentication": STOLEN}}))
    assert people.said("before") == ("False", "GrantNotConfirmed")
    for change in ({"adminServiceAccount": False}, {"adminServiceAccount": True, "grantedBy": GRANTER}):
        people.patch(GRANTER, granted, {"spec": change})
    people.wait_for(granted, "True", "Granted")
    people.delete(None, "before")
    people.patch(None, granted, {"spec": {"adminServiceAccount": False}})
    people.wait_for(granted, "False", "NotGranted")
    wait_told(world, DESKS, granted, "PolicyNotInForce")


@pytest.mark.brings_about("DeskClient/Ready/AccountTaken", "DeskClient/Event/AccountTaken")
def test_two_clients_of_one_service_account_are_neither(people: People, granted: str) -> None:
    people.create(CLERK, admin("twin", authentication=by_account(granted)))
    people.wait_for(granted, "False", "AccountTaken")
    people.wait_for("twin", "False", "AccountTaken")
    wait_told(people.world, DESKS, granted, "AccountTaken")
    people.delete(CLERK, "twin")
    people.wait_for(granted, "True", "Granted")


RELEASES = "releases"
_CHART = {
    "Chart.yaml": "apiVersion: v2\nname: automation\nversion: 0.1.0\n",
    "templates/client.yaml": """\
apiVersion: watchword.dev/v1alpha1
kind: DeskClient
metadata:
  name: from-helm
  namespace: {{ .Values.namespace }}
  labels: {chart: "{{ .Values.label }}"}
spec:
  deskRef: {name: desk}
  type: AdminServiceAccount
  authentication:
    serviceAccount: {issuerRef: {name: here}, namespace: automation, name: {{ .Values.account }}}
  adminServiceAccount: true
  grantedBy: {{ .Values.by }}
""",
}


def test_a_helm_upgrade_makes_an_admin_with_the_verb_and_keeps_one_without(
    people: People, helm: Helm, tmp_path: Path
) -> None:
    """A chart with an admin client, installed and upgraded by Helm as the one and as the other."""
    world, chart = people.world, tmp_path / "chart"
    for name, text in _CHART.items():
        (chart / name).parent.mkdir(parents=True, exist_ok=True)
        (chart / name).write_text(text)
    settle(people)
    world.cluster.create_namespace(RELEASES)
    for person in (CLERK, GRANTER):
        world.apply(
            {
                "apiVersion": f"{_RBAC}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": f"helm-{person}", "namespace": RELEASES},
                "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "admin"},
                "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": person}],
            }
        )

    def run(person: str, **values: str) -> str:
        path = tmp_path / person / "kubeconfig"
        kubeconfig_of(world.cluster, path, bearer=people.bearers[person])
        given = {"namespace": DESKS, "label": "one", "account": "from-helm", "by": person} | values
        done = helm.run(
            *("upgrade", "--install", "automation", str(chart), "--namespace", RELEASES),
            *("--kubeconfig", str(path)),
            *(f"--set={name}={value}" for name, value in given.items()),
        )
        return "" if done.returncode == 0 else done.stderr + done.stdout

    def may_write() -> bool:
        try:
            people.send(
                CLERK, "POST", f"/api/v1/namespaces/{RELEASES}/secrets",
                {"metadata": {"generateName": "own-"}}, dryRun="All",
            )  # fmt: skip
        except ApiError:
            return False
        return True

    world.wait(may_write, "releases may be written")
    assert NO_VERB in run(CLERK)
    assert run(GRANTER) == ""
    people.wait_for("from-helm", "True", "Granted")
    # The clerk upgrades what is not of the flag: the spec stays as the granter wrote it.
    assert run(CLERK, label="two", by=GRANTER) == ""
    found = people.read("from-helm")
    assert (found["metadata"]["labels"]["chart"], found["spec"]["adminServiceAccount"]) == ("two", True)
    assert people.said("from-helm") == ("True", "Granted")
    assert NO_VERB in run(CLERK, label="three", account="mallory", by=GRANTER)
    assert people.read("from-helm")["spec"]["authentication"] == found["spec"]["authentication"]
    assert run(GRANTER, label="four", account="another") == ""
    people.delete(None, "from-helm")


_KEY = {"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "kid": "k"}
# Combinations that contradict themselves: what the API server answers to each.
CONTRADICTIONS: dict[str, tuple[Object, str]] = {
    "a secret": (
        flagged("c", authentication={"secretRef": {"name": "a"}}),
        "never proves itself by a secret",
    ),
    "no way at all": (flagged("c", authentication={}), "not exactly one way is given"),
    "two ways": (
        flagged("c", authentication=by_account("a") | {"jwks": {"keys": [_KEY]}}),
        "not exactly one way is given",
    ),
    "a way and a secret": (
        flagged("c", authentication=by_account("a") | {"secretRef": {"name": "a"}}),
        "not exactly one way is given",
    ),
    "no keys": (flagged("c", authentication={"jwks": {"keys": []}}), "the list holds no key"),
    "a private key": (
        flagged("c", authentication={"jwks": {"keys": [_KEY | {"d": "x"}]}}),
        "private or secret",
    ),
    "a symmetric key": (
        flagged("c", authentication={"jwks": {"keys": [{"kty": "oct", "k": "x", "kid": "k"}]}}),
        "private or secret",
    ),
    "every ServiceAccount": (
        flagged("c", authentication=by_account("*")),
        "not the name of a ServiceAccount",
    ),
    "ServiceAccounts by a prefix": (
        flagged("c", authentication=by_account("ci-*")),
        "not the name of a Serv",
    ),
    "the ServiceAccount default": (
        flagged("c", authentication=by_account("default")),
        "every pod of the namespace",
    ),
    "every namespace": (
        flagged(
            "c", authentication={"serviceAccount": by_account("a")["serviceAccount"] | {"namespace": "*"}}
        ),
        "not the name of a namespace",
    ),
    "no issuer": (
        flagged("c", authentication={"serviceAccount": {"namespace": "a", "name": "b"}}),
        "issuerRef",
    ),
    "services": (
        flagged("c", serviceRefs=[{"namespace": "a", "name": "b"}]),
        "asks about no service's tokens",
    ),
    "the flag of a resource server": (
        flagged("c", type="ResourceServer"),
        "only an AdminServiceAccount or an AdminPerson has",
    ),
    "false of a resource server": (
        flagged("c", type="ResourceServer", adminServiceAccount=False),
        "only an AdminServiceAccount or an AdminPerson has",
    ),
    "a person without a way": (
        flagged("c", type="AdminPerson"),
        "proves itself by signing in, and in no other",
    ),
    "an automation that signs in": (
        flagged("c", authentication={"person": PERSON}),
        "only an AdminPerson proves itself",
    ),
    "a person in two ways": (
        flagged("c", type="AdminPerson", authentication={"person": PERSON} | by_account("a")),
        "not exactly one way",
    ),
    "a person by a secret": (
        flagged("c", type="AdminPerson", authentication={"secretRef": {"name": "a", "key": "sha256"}}),
        "proves itself by signing in, and in no other",
    ),
    "all people of a domain": (flagged_person("c", address="*@example.com,"), "not an address"),
    "a provider in plain text": (
        flagged_person("c", issuer="http://idp.example.com"),
        "not the URL of a provider",
    ),
    "a person without a provider": (flagged_person("c", issuer=None), "issuer"),
    "a null for the flag": (flagged("c", adminServiceAccount=None), "spec.adminServiceAccount"),
    "nobody who granted it": (flagged("c", grantedBy=None), "the field is required with adminServiceAccount"),
    "an empty name of who granted it": (flagged("c", grantedBy=""), "at least 1 chars"),
    "a line break in that name": (flagged("c", grantedBy="grace\nroot"), "control character"),
    "a text for the flag": (flagged("c", adminServiceAccount="true"), "boolean"),
    "another type": (flagged("c", type="Admin"), "Unsupported value"),
    "a reserved name": (flagged("admin"), "the name is reserved"),
    "a name of our own": (flagged("watchword-console"), "the name is reserved"),
    "an unknown field": (flagged("c", scopes=["*"]), "unknown field"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_contradiction_is_refused_and_not_repaired(people: People, what: str) -> None:
    document, words = CONTRADICTIONS[what]
    document = copy.deepcopy(document)
    if what == "nobody who granted it":
        del document["spec"]["grantedBy"]
    if what == "no issuer":
        words = "issuerRef"
    with pytest.raises(ApiError) as caught:
        people.create(GRANTER, document, fieldValidation="Strict")
    assert words in caught.value.message, caught.value.message
