# SPDX-License-Identifier: Apache-2.0
"""Who can write a bundle, by every verb that there is, on a real API server with its controller manager.

A namespace's editor decided who was let in to its services with one write of a ConfigMap. That must end, and
namespaces and services must still end too: the ones who delete here are Kubernetes' own controllers.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from testing.controlplane import (
    ApiError,
    Binaries,
    Cluster,
    Etcd,
    wait_until,
)
from testing.manifests import service
from tests.cluster.governed import governed_cluster
from tests.shipped import NAMESPACE
from watchword.trust.admission_policies import (
    BUNDLES_POLICY,
    GUARDED_PREFIXES,
    OPERATOR_POLICY,
    bundles_policy_spec,
    differences,
    operator_policy_spec,
)

RBAC = "rbac.authorization.k8s.io"
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
BUNDLE = "watchword-bundle-api"
PEOPLE = {"edit": "editor", "admin": "admin", "view": "viewer"}
FORGED = {"bundle.json": '{"forged": true}'}
_numbers = itertools.count(1)

Object = dict[str, Any]


@pytest.fixture(scope="module")
def whole(control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server with its controllers, our kinds, the operator's account and the policies in force."""
    folder = tmp_path_factory.mktemp("policies")
    with governed_cluster(folder, control_plane, etcd, PEOPLE.values()) as cluster:
        home = Home(cluster)
        wait_until(lambda: is_enforced(home), what="both policies are enforced", timeout_seconds=60)
        yield cluster


def is_enforced(home: Home) -> bool:
    """Whether each of the two policies refuses, in its own name, what the other lets through."""
    stranger = {"metadata": {"name": "aws-auth"}, "data": {}}
    path = "/api/v1/namespaces/kube-system/configmaps"
    return is_refused_by(
        OPERATOR_POLICY,
        lambda: home.cluster.request(
            "POST", path, stranger, bearer=home.operator, parameters={"dryRun": "All"}
        ),
    ) and is_refused_by(
        BUNDLES_POLICY,
        lambda: home.ask("editor", "POST", "configmaps", {"metadata": {"name": f"{BUNDLE}-x"}}, dryRun="All"),
    )


def is_refused_by(policy: str, act: Callable[[], object]) -> bool:
    try:
        act()
    except ApiError as error:
        return error.status in (403, 422) and f"'{policy}'" in error.message
    return False


class Home:
    """A namespace with a service, its bundle as the operator made it, and a person for each built-in role."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.name = cluster, f"home-{next(_numbers)}"
        cluster.create_namespace(self.name)
        for role, person in PEOPLE.items():
            cluster.apply(
                {
                    "apiVersion": f"{RBAC}/v1",
                    "kind": "RoleBinding",
                    "metadata": {"namespace": self.name, "name": f"is-{role}"},
                    "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
                    "subjects": [{"apiGroup": RBAC, "kind": "User", "name": person}],
                }
            )
        wait_until(self._may_write_others, what="the editor edits", timeout_seconds=60)
        document = service("api")
        document["metadata"]["namespace"] = self.name
        self.service = cluster.apply(document)
        self.operator = cluster.token(NAMESPACE, "watchword-operator")
        self.write(self.bundle())

    def _may_write_others(self) -> bool:
        try:
            self.ask("editor", "POST", "configmaps", {"metadata": {"generateName": "own-"}})
        except ApiError:
            return False
        return True

    @property
    def owner(self) -> Object:
        """The owner reference that the operator sets."""
        return {
            "apiVersion": self.service["apiVersion"],
            "kind": "ProtectedService",
            "name": "api",
            "uid": self.service["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": False,
        }

    def made(self, version: str, kind: str, name: str, **content: Any) -> Object:
        """An object as the operator makes it."""
        labels = {"app.kubernetes.io/managed-by": "watchword", "watchword.dev/service": "api"}
        metadata = {"namespace": self.name, "name": name, "labels": labels, "ownerReferences": [self.owner]}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}

    def bundle(self, **content: Any) -> Object:
        """The service's ConfigMap."""
        return self.made("v1", "ConfigMap", BUNDLE, **({"data": {"bundle.json": "{}"}} | content))

    def role(self, **rule: Any) -> Object:
        """The Role of a gate."""
        rules = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [BUNDLE], "verbs": ["get"]}
        return self.made(f"{RBAC}/v1", "Role", BUNDLE, rules=[rules | rule])

    def binding(self, role: str = BUNDLE, kind: str = "Role", **subject: Any) -> Object:
        """The RoleBinding of a gate."""
        subjects = [{"kind": "ServiceAccount", "name": "default", "namespace": self.name} | subject]
        reference = {"apiGroup": RBAC, "kind": kind, "name": role}
        return self.made(f"{RBAC}/v1", "RoleBinding", BUNDLE, roleRef=reference, subjects=subjects)

    def policy(self) -> Object:
        """The NetworkPolicy of the service."""
        version = "networking.k8s.io/v1"
        return self.made(version, "NetworkPolicy", "watchword-api", spec={"podSelector": {}})

    def write(self, document: Object, *, dry: bool = False) -> Object:
        """Apply as the operator does."""
        query = {"fieldManager": "watchword-operator", "force": "true"} | ({"dryRun": "All"} if dry else {})
        path = self.cluster.path_of(document)
        return self.cluster.request(
            "PATCH", path, document, parameters=query, content_type=APPLY, bearer=self.operator
        )

    def ask(
        self,
        person: str,
        method: str,
        path: str,
        body: Any = None,
        kind: str = "application/json",
        **query: str,
    ) -> Object:
        """Ask as a person, within the namespace."""
        return self.cluster.request(
            method,
            f"/api/v1/namespaces/{self.name}/{path}",
            body,
            bearer=self.cluster.bearer(person),
            content_type=kind,
            parameters=query or None,
        )

    def stored(self, name: str = BUNDLE) -> Object | None:
        """A ConfigMap as it is now; None: there is none."""
        try:
            return self.cluster.request("GET", f"/api/v1/namespaces/{self.name}/configmaps/{name}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise


@pytest.fixture
def home(whole: Cluster) -> Home:
    return Home(whole)


def names(prefix: str) -> str:
    return f"{prefix}other"


WRITES: dict[str, tuple[str, str, Any, str]] = {
    "update": (
        "PUT",
        f"configmaps/{BUNDLE}",
        {"metadata": {"name": BUNDLE}, "data": FORGED},
        "application/json",
    ),
    "merge patch": ("PATCH", f"configmaps/{BUNDLE}", {"data": FORGED}, MERGE),
    "strategic merge patch": ("PATCH", f"configmaps/{BUNDLE}", {"data": FORGED}, STRATEGIC),
    "apply": (
        "PATCH",
        f"configmaps/{BUNDLE}?fieldManager=kubectl&force=true",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": BUNDLE}, "data": FORGED},
        APPLY,
    ),
    "a patch of its labels alone": (
        "PATCH",
        f"configmaps/{BUNDLE}",
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}},
        MERGE,
    ),
    "a patch that makes it immutable": ("PATCH", f"configmaps/{BUNDLE}", {"immutable": True}, MERGE),
    "a patch that holds up its end": (
        "PATCH",
        f"configmaps/{BUNDLE}",
        {"metadata": {"finalizers": ["example.com/held"]}},
        MERGE,
    ),
    "delete": ("DELETE", f"configmaps/{BUNDLE}", None, "application/json"),
    "deletecollection": ("DELETE", "configmaps", None, "application/json"),
    "deletecollection by label": (
        "DELETE",
        "configmaps?labelSelector=watchword.dev/service",
        None,
        "application/json",
    ),
    "deletecollection by name": (
        "DELETE",
        f"configmaps?fieldSelector=metadata.name={BUNDLE}",
        None,
        "application/json",
    ),
    **{
        f"create {prefix}": (
            "POST",
            "configmaps",
            {"metadata": {"name": names(prefix)}, "data": FORGED},
            "application/json",
        )
        for prefix in GUARDED_PREFIXES
    },
    **{
        f"create with generateName {prefix}": (
            "POST",
            "configmaps",
            {"metadata": {"generateName": prefix}, "data": FORGED},
            "application/json",
        )
        for prefix in GUARDED_PREFIXES
    },
    "create with generateName and a name": (
        "POST",
        "configmaps",
        {"metadata": {"name": "watchword-bundle-x", "generateName": "own-"}, "data": FORGED},
        "application/json",
    ),
    "create by apply": (
        "PATCH",
        "configmaps/watchword-bundle-new?fieldManager=kubectl",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "watchword-bundle-new"},
            "data": FORGED,
        },
        APPLY,
    ),
    "create by update": (
        "PUT",
        "configmaps/watchword-bundle-new",
        {"metadata": {"name": "watchword-bundle-new"}, "data": FORGED},
        "application/json",
    ),
}


@pytest.mark.parametrize("person", ["editor", "admin"])
@pytest.mark.parametrize("way", WRITES)
def test_no_verb_of_a_namespaces_editor_or_admin_reaches_a_bundle(home: Home, way: str, person: str) -> None:
    method, path, body, kind = WRITES[way]
    before = home.stored()
    with pytest.raises(ApiError) as refused:
        home.ask(person, method, path, body, kind)
    # A PUT of what is not there is 404 where the kind cannot be made so, and never a new object.
    assert refused.value.status in ((403, 404) if way == "create by update" else (403,)), refused.value
    if refused.value.status == 403:
        assert "bundles.watchword.dev" in refused.value.message
        assert person in refused.value.message
    assert home.stored() == before
    listed = home.ask(person, "GET", "configmaps")["items"]
    assert [
        each["metadata"]["name"]
        for each in listed
        if each["metadata"]["name"].startswith(GUARDED_PREFIXES) and each["metadata"]["name"] != BUNDLE
    ] == []


def test_an_editors_own_config_maps_are_as_free_as_they_were(home: Home) -> None:
    for name in ("watchword", "watchword-bundl", "my-watchword-bundle-api", "bundle.json"):
        home.ask("editor", "POST", "configmaps", {"metadata": {"name": name}, "data": {"a": "b"}})
        home.ask("editor", "PATCH", f"configmaps/{name}", {"data": {"a": "c"}}, MERGE)
        home.ask("editor", "DELETE", f"configmaps/{name}")
    generated = home.ask("editor", "POST", "configmaps", {"metadata": {"generateName": "watchword-"}})
    home.ask("editor", "DELETE", "configmaps", labelSelector="watchword.dev/service!=api")
    assert home.stored(generated["metadata"]["name"]) is None
    assert home.stored() is not None


@pytest.mark.parametrize("verb", ["create", "update", "patch", "delete", "deletecollection", "*"])
@pytest.mark.parametrize("person", list(PEOPLE.values()))
def test_no_built_in_role_brings_the_right_to_write_bundles(home: Home, person: str, verb: str) -> None:
    attributes = {"group": "watchword.dev", "resource": "bundles", "verb": verb, "namespace": home.name}
    review = {"spec": {"user": person, "resourceAttributes": attributes}}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert home.cluster.request("POST", path, review)["status"]["allowed"] is False


def test_a_namespaces_admin_cannot_give_himself_the_right(home: Home) -> None:
    bearer = home.cluster.bearer("admin")
    base = f"/apis/{RBAC}/v1/namespaces/{home.name}"
    rule = {"apiGroups": ["watchword.dev"], "resources": ["bundles"], "verbs": ["update"]}
    subjects = [{"apiGroup": RBAC, "kind": "User", "name": "admin"}]
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "watchword-bundle-writer"}
    asked = [
        ("roles", {"metadata": {"name": "mine"}, "rules": [rule]}),
        ("rolebindings", {"metadata": {"name": "mine"}, "roleRef": reference, "subjects": subjects}),
    ]
    for plural, body in asked:
        with pytest.raises(ApiError) as refused:
            home.cluster.request("POST", f"{base}/{plural}", body, bearer=bearer)
        assert refused.value.status == 403


def test_a_service_that_is_deleted_takes_its_bundle_along(home: Home) -> None:
    home.cluster.request("DELETE", home.cluster.path_of(home.service))
    wait_until(lambda: home.stored() is None, what="the garbage collector deletes it", timeout_seconds=60)


def test_a_service_that_is_deleted_and_orphans_its_objects_ends(home: Home) -> None:
    path = home.cluster.path_of(home.service)
    home.cluster.request("DELETE", path, {"propagationPolicy": "Orphan"})

    def is_orphaned() -> bool:
        found = home.stored()
        return found is not None and not found["metadata"].get("ownerReferences")

    wait_until(is_orphaned, what="the garbage collector removes the owner", timeout_seconds=240)


def test_a_service_that_is_deleted_in_the_foreground_ends(home: Home) -> None:
    path = home.cluster.path_of(home.service)
    home.cluster.request("DELETE", path, {"propagationPolicy": "Foreground"})
    wait_until(lambda: home.stored() is None, what="the bundle is gone", timeout_seconds=240)


@pytest.mark.parametrize("by", ["the administrator", "the admin of the namespace"])
def test_a_namespace_with_bundles_ends(home: Home, by: str) -> None:
    path = f"/api/v1/namespaces/{home.name}"
    if by == "the administrator":
        home.cluster.request("DELETE", path)
    else:
        # Namespaces are deleted by whom the cluster lets: here, a Role of this one namespace.
        home.cluster.apply(
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": "Role",
                "metadata": {"namespace": home.name, "name": "ends-it"},
                "rules": [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["delete"]}],
            }
        )
        home.cluster.apply(
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": "RoleBinding",
                "metadata": {"namespace": home.name, "name": "ends-it"},
                "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "ends-it"},
                "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "admin"}],
            }
        )
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {
                "resourceAttributes": {
                    "verb": "delete",
                    "resource": "namespaces",
                    "name": home.name,
                    "namespace": home.name,
                }
            },
        }
        asks = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        admin = home.cluster.bearer("admin")
        # The API server sees a Role some time after it is stored.
        wait_until(
            lambda: bool(home.cluster.request("POST", asks, review, bearer=admin)["status"]["allowed"]),
            what="the Role of the namespace counts",
        )
        home.cluster.request("DELETE", path, bearer=admin)

    def is_gone() -> bool:
        try:
            home.cluster.request("GET", path)
        except ApiError as error:
            return error.status == 404
        return False

    wait_until(is_gone, what="the namespace controller ends it", timeout_seconds=120)


def test_an_administrator_may_write_a_bundle(home: Home) -> None:
    path = f"/api/v1/namespaces/{home.name}/configmaps/{BUNDLE}"
    home.cluster.request("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    home.cluster.request("DELETE", path)
    assert home.stored() is None


# The operator's own user.


def test_the_operator_writes_what_it_makes(home: Home) -> None:
    for document in (home.bundle(), home.role(), home.binding(), home.policy()):
        home.write(document)
    both = {"bundle.json": "{}", "bundle.v2.json": "{}"}
    home.write(home.bundle(data=both))
    packed = home.made("v1", "ConfigMap", BUNDLE, binaryData=dict.fromkeys(both, "e30="))
    home.write(packed)
    path = f"/apis/networking.k8s.io/v1/namespaces/{home.name}/networkpolicies/watchword-api"
    home.cluster.request("DELETE", path, bearer=home.operator)


def other(document: Object, **metadata: Any) -> Object:
    changed: Object = json.loads(json.dumps(document))
    for key, value in metadata.items():
        if value is None:
            changed["metadata"].pop(key)
        else:
            changed["metadata"][key] = value
    return changed


def bent(home: Home) -> dict[str, Object]:
    """What a stolen token of the operator would write, by what is wrong with it."""
    service_owner = home.owner
    return {
        "kube-system/aws-auth": other(
            home.bundle(data={"mapRoles": "[]"}), namespace="kube-system", name="aws-auth"
        ),
        "kube-system/aws-auth, dressed as ours": other(
            home.bundle(), namespace="kube-system", name="aws-auth"
        ),
        "another name with an owner": other(home.bundle(), name="app-config"),
        "another service's name": other(home.bundle(), name="watchword-bundle-other"),
        "no owner": other(home.bundle(), ownerReferences=None),
        "an owner that controls nothing": other(
            home.bundle(), ownerReferences=[service_owner | {"controller": False}]
        ),
        "an owner of another kind": other(
            home.bundle(), ownerReferences=[service_owner | {"apiVersion": "apps/v1", "kind": "Deployment"}]
        ),
        "no labels": other(home.bundle(), labels=None),
        "labels of another service": other(
            home.bundle(),
            labels={"app.kubernetes.io/managed-by": "watchword", "watchword.dev/service": "other"},
        ),
        "an entry that is none": home.bundle(data={"bundle.json": "{}", "kubeconfig": "x"}),
        "an entry of bytes that is none": home.bundle(binaryData={"mapRoles": "e30="}),
        "a role for all ConfigMaps": home.role(resourceNames=[]),
        "a role for another ConfigMap": home.role(resourceNames=["aws-auth"]),
        "a role for two": home.role(resourceNames=[BUNDLE, "aws-auth"]),
        "a role that writes": home.role(verbs=["get", "patch"]),
        "a role for everything": home.role(verbs=["*"]),
        "a role with a second rule": home.made(
            f"{RBAC}/v1", "Role", BUNDLE, rules=[home.role()["rules"][0], home.role()["rules"][0]]
        ),
        "a role without a rule": home.made(f"{RBAC}/v1", "Role", BUNDLE, rules=[]),
        "a binding to cluster-admin": home.binding("cluster-admin", "ClusterRole"),
        "a binding to a ClusterRole of our name": home.binding(BUNDLE, "ClusterRole"),
        "a binding to another Role": home.binding("other"),
        "a binding of a user": home.binding(
            kind="Role",
        )
        | {"subjects": [{"apiGroup": RBAC, "kind": "User", "name": "editor"}]},
        "a binding of a group": home.binding()
        | {"subjects": [{"apiGroup": RBAC, "kind": "Group", "name": "system:authenticated"}]},
        "a binding of another namespace's account": home.binding(namespace="kube-system"),
        "a policy of another name": other(home.policy(), name="default-deny"),
        "a policy without an owner": other(home.policy(), ownerReferences=None),
    }


BENT = (
    "kube-system/aws-auth",
    "kube-system/aws-auth, dressed as ours",
    "another name with an owner",
    "another service's name",
    "no owner",
    "an owner that controls nothing",
    "an owner of another kind",
    "no labels",
    "labels of another service",
    "an entry that is none",
    "an entry of bytes that is none",
    "a role for all ConfigMaps",
    "a role for another ConfigMap",
    "a role for two",
    "a role that writes",
    "a role for everything",
    "a role with a second rule",
    "a role without a rule",
    "a binding to cluster-admin",
    "a binding to a ClusterRole of our name",
    "a binding to another Role",
    "a binding of a user",
    "a binding of a group",
    "a binding of another namespace's account",
    "a policy of another name",
    "a policy without an owner",
)


@pytest.mark.parametrize("what", BENT)
def test_the_operators_token_writes_nothing_else(home: Home, what: str) -> None:
    home.write(home.role())
    # RBAC lets it bind these, which hold no more than it has itself: what stops it is the policy.
    rules = home.role()["rules"]
    for kind, name in (("Role", "other"), ("ClusterRole", BUNDLE)):
        place = {"namespace": home.name} if kind == "Role" else {}
        home.cluster.apply(
            {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": {"name": name, **place}, "rules": rules}
        )
    document = bent(home)[what]
    with pytest.raises(ApiError) as refused:
        home.write(document)
    assert refused.value.status == 403, refused.value
    # By the policy, not for want of a right: RBAC would let it for most of them.
    assert OPERATOR_POLICY in refused.value.message or "attempting to grant" in refused.value.message


def test_the_table_of_what_it_may_not_write_is_whole(home: Home) -> None:
    assert tuple(bent(home)) == BENT


def test_the_operator_deletes_no_policy_of_someone_else(home: Home) -> None:
    base = f"/apis/networking.k8s.io/v1/namespaces/{home.name}/networkpolicies"
    applied = other(home.policy(), ownerReferences=None)
    home.cluster.apply(applied)
    with pytest.raises(ApiError) as refused:
        home.cluster.request("DELETE", f"{base}/watchword-api", bearer=home.operator)
    assert (refused.value.status, OPERATOR_POLICY in refused.value.message) == (403, True)


def test_an_entry_that_someone_else_had_put_there_keeps_no_revocation_from_coming(home: Home) -> None:
    path = f"/api/v1/namespaces/{home.name}/configmaps/{BUNDLE}"
    home.cluster.request("PATCH", path, {"data": {"note": "mine"}}, content_type=MERGE)
    home.write(home.bundle(data={"bundle.json": '{"a": 1}'}))
    found = home.stored()
    assert found is not None
    assert found["data"] == {"bundle.json": '{"a": 1}', "note": "mine"}
    with pytest.raises(ApiError):
        home.write(home.bundle(data={"bundle.json": "{}", "note": "changed"}))


def test_what_is_in_force_is_what_the_doctor_expects(whole: Cluster) -> None:
    expected = {BUNDLES_POLICY: bundles_policy_spec(), OPERATOR_POLICY: operator_policy_spec()}
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    for name, spec in expected.items():
        stored = whole.request("GET", f"{path}/{name}")
        assert differences(stored["spec"], spec) == []
        # What the type checker finds wrong is a rule that may never hold.
        assert (stored.get("status") or {}).get("typeChecking", {}).get("expressionWarnings") is None
