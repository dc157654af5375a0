# SPDX-License-Identifier: Apache-2.0
"""The CRDs as people and appliers meet them: defaults, explanations, columns, owners, old objects."""

from __future__ import annotations

import copy
import ssl
from typing import Any

import httpx
import pytest

from testing.controlplane import ApiError, Cluster, wait_until
from testing.controlplane.cluster import ADMINISTRATOR
from testing.manifests import issuer, parsed, service, workload
from tests.cluster.admission import collection, create
from tests.trust.admission import Object, grant
from watchword.trust.api.v1alpha1 import TokenRules
from watchword.trust.crd.definitions import KINDS, definition

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
READY = {
    "type": "Ready", "status": "True", "reason": "Trusted", "message": "It is.", "observedGeneration": 1,
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}  # fmt: skip


def named(document: Object, name: str) -> Object:
    return copy.deepcopy(document) | {"metadata": {**document["metadata"], "name": name}}


def path_of(document: Object) -> str:
    return f"{collection(document)}/{document['metadata']['name']}"


def apply_status(cluster: Cluster, document: Object, manager: str, **status: Any) -> Object:
    body = {key: document[key] for key in ("apiVersion", "kind", "metadata")} | {"status": status}
    parameters = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
    path = f"{path_of(document)}/status"
    return cluster.request("PATCH", path, body, parameters=parameters, content_type=APPLY)


def test_what_is_left_out_is_stored_as_the_parser_understands_it(crds: Cluster) -> None:
    spec = create(crds, service())["spec"]
    assert spec["token"] == {
        "maxLifetimeSeconds": 3600,
        "clockSkewSeconds": 60,
        "binding": "Pod",
        "header": "Authorization",
    }
    assert spec["serviceAccountName"] == "default"
    assert spec["networkPolicy"] == {"mode": "Enforce"}
    (understood,) = parsed(service()).resources.services
    assert understood.spec.token == TokenRules()
    (stored,) = parsed(service(**spec)).resources.services
    assert stored.spec == understood.spec


@pytest.mark.parametrize("document", [issuer(), workload()], ids=["issuer", "workload"])
def test_an_object_as_stored_is_read_as_it_was_written(crds: Cluster, document: Object) -> None:
    stored = create(crds, document)
    read, written = parsed(document | {"spec": stored["spec"]}), parsed(document)
    assert not read.problems
    for kind in ("issuers", "workloads"):
        assert [each.spec for each in getattr(read.resources, kind)] == [
            each.spec for each in getattr(written.resources, kind)
        ]


def test_an_unknown_field_is_dropped_in_silence_only_where_the_client_asks_for_it(crds: Cluster) -> None:
    document = service(audience="a")
    with pytest.raises(ApiError, match=r'unknown field "spec.audience"'):
        create(crds, document)
    assert "audience" not in create(crds, document, validation="Ignore")["spec"]


def test_the_members_of_a_written_key_set_are_kept(crds: Cluster) -> None:
    stored = create(crds, issuer())
    assert stored["spec"]["keys"]["inline"] == issuer()["spec"]["keys"]["inline"]


def test_kubectl_explain_has_a_text_for_every_field(crds: Cluster) -> None:
    schemas = crds.request("GET", "/openapi/v3/apis/watchword.dev/v1alpha1")["components"]["schemas"]
    silent = []

    def walk(path: str, schema: Object) -> None:
        for name, field in schema.get("properties", {}).items():
            if not field.get("description"):
                silent.append(f"{path}.{name}")
            walk(f"{path}.{name}", field)
        if isinstance(schema.get("items"), dict):
            walk(path, schema["items"])

    for kind in KINDS:
        schema = schemas[f"dev.watchword.v1alpha1.{kind.name}"]
        assert schema["description"] == kind.summary
        for part in ("spec", "status"):
            walk(f"{kind.name}.{part}", schema["properties"][part])
    assert silent == []


def test_short_names_and_the_category_are_served(crds: Cluster) -> None:
    resources = crds.request("GET", "/apis/watchword.dev/v1alpha1")["resources"]
    served = {each["name"]: each for each in resources}
    assert {each["name"]: each["shortNames"] for each in resources if "shortNames" in each} == {
        kind.plural: [kind.short] for kind in KINDS
    }
    for kind in KINDS:
        assert served[kind.plural]["categories"] == ["watchword"]
        assert served[f"{kind.plural}/status"]["verbs"] == ["get", "patch", "update"]


def table(cluster: Cluster, path: str) -> dict[str, str]:
    """What `kubectl get` prints of the first object, by heading."""
    answer = httpx.get(
        cluster.url + path,
        verify=ssl.create_default_context(cafile=str(cluster.authority)),
        headers={
            "Authorization": f"Bearer {cluster.bearer(ADMINISTRATOR)}",
            "Accept": "application/json;as=Table;v=v1;g=meta.k8s.io",
        },
        trust_env=False,
    ).json()
    headings = [column["name"] for column in answer["columnDefinitions"]]
    return dict(zip(headings, answer["rows"][0]["cells"], strict=True))


def test_the_columns_say_whether_it_works_and_why_not(crds: Cluster) -> None:
    document = named(workload(), "columns")
    create(crds, document, dry_run=False)
    refused = READY | {"status": "False", "reason": "SubjectConflict", "message": "Keep one."}
    apply_status(crds, document, "operator", observedGeneration=1, conditions=[refused])
    row = table(crds, path_of(document))
    shown = {
        heading: row[heading]
        for heading in ("Ready", "Reason", "Service", "Issuer", "Subject-Name", "Message")
    }
    assert shown == {
        "Ready": "False", "Reason": "SubjectConflict", "Service": "tuist-server", "Issuer": "production",
        "Subject-Name": "atlas", "Message": "Keep one.",
    }  # fmt: skip


def test_the_columns_of_a_service_and_an_issuer_show_what_the_operator_said(crds: Cluster) -> None:
    protected, trusted = named(service(), "columns"), named(issuer(), "columns")
    for document in (protected, trusted):
        create(crds, document, dry_run=False)
    bundle = {"configMap": "watchword-bundle-columns", "generation": 7, "digest": "d"}
    policy = READY | {"type": "PolicyApplied", "reason": "Enforced"}
    counts = {"trusted": 12, "refused": 1}
    apply_status(crds, protected, "operator", conditions=[READY, policy], bundle=bundle, workloads=counts)
    row = table(crds, path_of(protected))
    assert [row[heading] for heading in ("Ready", "Trusted", "Refused", "Generation", "Policy")] == [
        "True", 12, 1, 7, "Enforced",
    ]  # fmt: skip
    fresh = READY | {"type": "KeysFresh", "status": "False", "reason": "Unreachable"}
    apply_status(crds, trusted, "operator", conditions=[READY, fresh])
    row = table(crds, path_of(trusted))
    assert [row["Ready"], row["Keys"], row["Issuer"]] == ["True", "Unreachable", trusted["spec"]["issuer"]]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (workload(serviceRef={"name": "selected"}), "spec.serviceRef.name=selected"),
        (workload(issuerRef={"name": "selected"}), "spec.issuerRef.name=selected"),
        (
            workload(serviceAccount={"namespace": "selected", "name": "a"}),
            "spec.serviceAccount.namespace=selected",
        ),
        (issuer(issuer="https://selected"), "spec.issuer=https://selected"),
        (service(networkPolicy={"mode": "Off"}), "spec.networkPolicy.mode=Off"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_field_selector_finds_the_objects_of_one_service_or_issuer(
    crds: Cluster, document: Object, field: str
) -> None:
    name = field.partition("=")[0].lower().replace(".", "-")
    create(crds, named(document, name), dry_run=False)
    found = crds.request("GET", collection(document), parameters={"fieldSelector": field})["items"]
    assert [each["metadata"]["name"] for each in found] == [name]


def test_a_spec_is_not_changed_through_status_nor_status_through_the_object(crds: Cluster) -> None:
    document = named(workload(), "two-doors")
    stored = create(crds, document | {"status": {"conditions": [READY]}}, dry_run=False)
    assert "status" not in stored
    changed = document | {"spec": document["spec"] | {"suspend": True}}
    path = f"{path_of(document)}/status"
    body = changed | {"status": {"conditions": [READY]}}
    answer = crds.request("PATCH", path, body, content_type=MERGE)
    assert answer["spec"]["suspend"] is False
    assert answer["metadata"]["generation"] == 1
    assert answer["status"]["conditions"] == [READY]


def test_conditions_of_two_managers_stand_side_by_side(crds: Cluster) -> None:
    document = named(workload(), "two-managers")
    create(crds, document, dry_run=False)
    apply_status(crds, document, "operator", conditions=[READY])
    other = READY | {"type": "example.com/Audited"}
    stored = apply_status(crds, document, "auditor", conditions=[other])
    assert {each["type"] for each in stored["status"]["conditions"]} == {"Ready", "example.com/Audited"}


def test_keys_in_status_are_told_apart_by_name_and_thumbprint_and_kept_whole(crds: Cluster) -> None:
    document = named(issuer(), "keys")
    create(crds, document, dry_run=False)
    jwk = {"kty": "RSA", "n": "abc", "e": "AQAB", "anything": {"else": [1]}}
    keys = [
        {"kid": kid, "thumbprint": thumbprint * 43, "algorithm": "RS256", "state": "Active",
         "since": "2026-01-01T00:00:00Z", "jwk": jwk}
        for kid, thumbprint in (("one", "A"), ("two", "A"), ("one", "B"))
    ]  # fmt: skip
    assert apply_status(crds, document, "operator", keys=keys)["status"]["keys"] == keys
    with pytest.raises(ApiError, match="Unsupported value"):
        apply_status(crds, document, "operator", keys=[keys[0] | {"state": "Trusted"}])


def test_entries_of_a_set_have_owners_of_their_own(crds: Cluster) -> None:
    document = named(service(), "owners")
    for manager, audience in (("helm", "a"), ("argocd", "b")):
        body = document | {"spec": document["spec"] | {"audiences": [audience]}}
        stored = crds.apply(body, field_manager=manager)
    assert stored["spec"]["audiences"] == ["a", "b"]


def test_an_object_that_breaks_a_newer_rule_can_still_be_edited_elsewhere(cluster: Cluster) -> None:
    """Ratcheting (KEP-4008): a rule that comes later must not lock up what is there."""
    lax, strict = (_elsewhere(definition(kind)) for kind in (KINDS[2], KINDS[2]))
    _strip_rules(lax)
    cluster.apply(lax)
    old = named(grant(accounts=["acme*"]), "old") | {"apiVersion": "ratchet.example/v1alpha1"}
    old["metadata"]["namespace"] = "default"
    stored = create(cluster, old, dry_run=False)
    cluster.apply(strict)
    path = path_of(old)
    _wait_for_rules(cluster, old)
    suspended = cluster.request("PATCH", path, {"spec": {"suspend": True}}, content_type=MERGE)
    assert suspended["metadata"]["generation"] == stored["metadata"]["generation"] + 1
    with pytest.raises(ApiError, match="a pattern, a comma"):
        cluster.request(
            "PATCH",
            path,
            {"spec": {"grants": [{"scopes": ["a:b"], "accounts": ["other*"]}]}},
            content_type=MERGE,
        )


def _elsewhere(crd: Object) -> Object:
    crd["metadata"]["name"] = f"{crd['spec']['names']['plural']}.ratchet.example"
    crd["spec"]["group"] = "ratchet.example"
    del crd["spec"]["names"]["shortNames"], crd["spec"]["names"]["categories"]
    return crd


def _strip_rules(schema: Any) -> None:
    members = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    if isinstance(schema, dict):
        schema.pop("x-kubernetes-validations", None)
    for member in list(members):
        _strip_rules(member)


def _wait_for_rules(cluster: Cluster, old: Object) -> None:
    def is_refused() -> bool:
        try:
            create(cluster, named(old, "new"))
        except ApiError:
            return True
        return False

    wait_until(is_refused, what="the new rules in force")
