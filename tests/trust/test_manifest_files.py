# SPDX-License-Identifier: Apache-2.0
"""What people write: each mistake gets the path of its field, and everything else stands."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.manifests import issuer, parsed, service, workload
from watchword.trust import ProblemReason, parse_manifests

ACCOUNT = {"namespace": "a", "name": "b"}
METER = {"name": "m", "eventType": "e", "aggregation": "sum"}
EU = {"name": "region", "value": "/region"}


def grouped(group_by: list[dict[str, str]], aggregation: str = "sum", **more: Any) -> dict[str, Any]:
    """A service with one meter that is split."""
    meter = METER | {"value": "/n", "aggregation": aggregation, "groupBy": group_by} | more
    return service(usage={"meters": [meter]})


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("spec.audience", service(audience=["x"])),
    ("spec.audiences", service(audiences=[])),
    ("spec.audiences", service(audiences=["a", "a"])),
    ("spec.audiences", service(audiences="a")),
    ("spec.port", service(port=0)),
    ("spec.port", service(port="8443")),
    ("spec.upstreamPort", service(upstreamPort=8443)),
    ("spec.selector.matchLabels", service(selector={"matchLabels": {}})),
    ("spec.token.maxLifetimeSeconds", service(token={"maxLifetimeSeconds": 86_401})),
    ("spec.token.binding", service(token={"binding": "pod"})),
    ("spec.token.maxLifetime", service(token={"maxLifetime": "1h"})),
    ("spec.routes[0].path", service(routes=[{"path": "a", "methods": ["GET"], "scope": "a:b"}])),
    ("spec.routes[0].path", service(routes=[{"path": "/a/../b", "methods": ["GET"], "scope": "a:b"}])),
    ("spec.routes[0].path", service(routes=[{"path": "/x{account}", "methods": ["GET"], "scope": "a:b"}])),
    ("spec.routes[0].methods", service(routes=[{"path": "/a", "methods": [], "scope": "a:b"}])),
    ("spec.routes[0].methods[0]", service(routes=[{"path": "/a", "methods": ["get"], "scope": "a:b"}])),
    ("spec.routes[0].scope", service(routes=[{"path": "/a", "methods": ["GET"], "scope": "a"}])),
    ("spec.routes", service(routes=[{"path": "/a", "methods": ["GET"], "scope": "a:b"}] * 2)),
    ("spec.limits.burst", service(limits={"requestsPerSecond": 5, "burst": 1})),
    ("spec.usage.meters[0].value", service(usage={"meters": [METER]})),
    ("spec.usage.meters[0].groupBy", grouped([EU, EU])),
    ("spec.usage.meters[0].groupBy", grouped([EU, EU | {"name": "arch"}], "unique_count")),
    ("spec.usage.meters[0].groupBy", grouped([EU | {"name": f"d{n}"} for n in range(4)])),
    ("spec.usage.meters[0].groupBy[0].name", grouped([EU | {"name": "meter"}])),
    ("spec.usage.meters[0].groupBy[0].name", grouped([EU | {"name": "'; DROP TABLE event"}])),
    ("spec.usage.meters[0].groupBy[0].value", grouped([EU | {"value": "$.region"}])),
    ("spec.usage.meters[0].maxGroups", grouped([EU], maxGroups=0)),
    ("spec.usage.lateDays", service(usage={"lateDays": 31, "eventRetentionDays": 30})),
    ("spec.usage.basePath", service(usage={"basePath": "/api/"})),
    ("spec.networkPolicy.allowFrom[0]", service(networkPolicy={"allowFrom": [{}]})),
    ("spec.keys", issuer(keys={})),
    ("spec.keys", issuer(keys={"inline": {"keys": []}, "cluster": {}})),
    ("spec.algorithms[0]", issuer(algorithms=["none"])),
    ("spec.algorithms[0]", issuer(algorithms=["HS256"])),
    ("spec.issuer", issuer(issuer="http://x", keys={"discovery": {}})),
    ("spec.revoked[0]", issuer(revoked=[{}])),
    ("spec.revoked[0].issuedBefore", issuer(revoked=[{"issuedBefore": "2027-01-01"}])),
    ("spec.serviceAccount.namespace", workload(serviceAccount=ACCOUNT | {"namespace": "*"})),
    ("spec.serviceAccount.name", workload(serviceAccount=ACCOUNT | {"name": "b*"})),
    ("spec.serviceAccount.name", workload(serviceAccount={"namespace": "a"})),
    ("spec.serviceRef.namespace", workload(serviceRef={"name": "s", "namespace": "other"})),
    ("spec.grants[0].accounts", workload(grants=[{"scopes": ["a:b"], "accounts": ["acme*"]}])),
    ("spec.grants[0].accounts", workload(grants=[{"scopes": ["a:b"], "accounts": ["*", "acme"]}])),
    ("spec.grants[0].scopes", workload(grants=[{"scopes": ["account:read\n"]}])),
    ("spec.routes[0].methods", service(routes=[{"path": "/a", "methods": ["GET\n"], "scope": "a:b"}])),
    ("spec.routes[0].scope", service(routes=[{"path": "/a", "methods": ["GET"], "scope": "a:b\n"}])),
    ("spec.expires", workload(expires="2027-01-01T00:00:00")),
    ("spec.expires", workload(expires="2027-13-01T00:00:00Z")),
    ("spec.from[0].ipBlock", workload(**{"from": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]})),
    ("spec.suspend", workload(suspend="no")),
    ("metadata.namespace", workload() | {"metadata": {"name": "x"}}),
    ("metadata.name", workload() | {"metadata": {"namespace": "x"}}),
    ("kind", workload() | {"kind": "TrustedWorkloads"}),
    ("kind", workload() | {"apiVersion": "watchword.dev/v1"}),
    ("specs", workload() | {"specs": {}}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "document"), WRONG)
def test_a_mistake_is_named_by_its_field_and_leaves_the_rest_standing(
    field: str, document: dict[str, Any]
) -> None:
    manifests = parsed(document, issuer("other"))
    assert [problem.field for problem in manifests.problems] == [field]
    assert manifests.problems[0].remedy
    assert [each.metadata.name for each in manifests.resources.issuers] == ["other"]


@pytest.mark.parametrize(
    "data",
    [
        b"a: &x 1\nb: *x",
        b"a: 1\na: 2",
        b"a: !!python/object:os.system {}",
        b"a: !custom 1",
        b"[" * 100,
        b"\xff\xfe",
        b"- 1",
        b"just text",
        b'{"a": 1, "a": 2}',
        b"? [1]\n: 2",
        b"1: 2",
        b"x: " + b"a" * (4 * 1024 * 1024),
    ],
)
def test_what_is_no_plain_yaml_is_one_problem_of_the_file(data: bytes) -> None:
    manifests = parse_manifests([("bad.yaml", data)])
    assert [problem.reason for problem in manifests.problems] == [ProblemReason.UNREADABLE]
    assert manifests.problems[0].source == "bad.yaml"


def test_a_time_in_yaml_stays_the_text_that_was_written() -> None:
    text = b"""
apiVersion: watchword.dev/v1alpha1
kind: TrustedWorkload
metadata: {namespace: tuist, name: atlas}
spec:
  serviceRef: {name: s}
  issuerRef: {name: i}
  serviceAccount: {namespace: a, name: b}
  expires: 2027-01-01T00:00:00Z
"""
    manifests = parse_manifests([("a.yaml", text)])
    assert not manifests.problems
    assert manifests.resources.workloads[0].spec.expires == "2027-01-01T00:00:00Z"


def test_other_kinds_are_none_of_our_business() -> None:
    assert not parsed({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"x": 1}}).problems


def test_two_objects_of_one_name_are_said() -> None:
    assert [problem.reason for problem in parsed(workload(), workload()).problems] == [
        ProblemReason.DUPLICATE_OBJECT
    ]


def test_a_list_is_taken_apart() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [issuer(), service(), workload()]}
    assert len(parsed(listed).resources.workloads) == 1


@pytest.mark.parametrize(
    "kind", [("v1", "Anything"), ("v1", "ConfigMap"), ("watchword.dev/v1alpha1", "TrustedWorkloadList")]
)
def test_whatever_has_items_is_a_list_as_it_is_to_kubectl(kind: tuple[str, str]) -> None:
    listed = {"apiVersion": kind[0], "kind": kind[1], "metadata": {"name": "a"}, "items": [workload()]}
    found = parsed(listed)
    assert (len(found.resources.workloads), found.problems) == (1, ())
    assert not found.resources.config_maps


def test_the_items_of_a_typed_list_need_not_say_their_kind() -> None:
    item = {name: value for name, value in workload().items() if name not in {"apiVersion", "kind"}}
    listed = {"apiVersion": "watchword.dev/v1alpha1", "kind": "TrustedWorkloadList", "items": [item]}
    assert len(parsed(listed).resources.workloads) == 1
    untyped = parsed({"apiVersion": "v1", "kind": "List", "items": [item]})
    assert [each.reason for each in untyped.problems] == [ProblemReason.UNKNOWN_KIND]


@pytest.mark.parametrize("items", [None, {}, "x"])
def test_items_that_are_no_list_are_a_problem(items: object) -> None:
    assert parsed(workload() | {"items": items}).problems


def test_an_object_of_ours_with_items_is_said_to_be_none() -> None:
    assert "kubectl would apply them" in parsed(workload() | {"items": []}).problems[0].detail


def test_json_values_behind_each_other_are_all_read() -> None:
    for between in ("", "\n", "\n---\n", " \r\n\t"):
        text = between.join(map(json.dumps, (issuer(), service(), workload())))
        found = parse_manifests([("all.json", f" {text}\n".encode())])
        assert (found.problems, len(found.resources.workloads)) == ((), 1), between
    # What follows may hide trust: nothing of the file is used.
    found = parse_manifests([("all.json", f"{json.dumps(workload())}\n}}".encode())])
    assert [each.reason for each in found.problems] == [ProblemReason.UNREADABLE]


@pytest.mark.parametrize("name", ["kustomization.yaml", "a/kustomization.yml"])
def test_a_kustomization_needs_no_kind(name: str) -> None:
    assert not parse_manifests([(name, b"resources: [a.yaml]")]).problems
    assert parse_manifests([(f"{name}.yaml", b"resources: [a.yaml]")]).problems
    # What has a kind is applied, whatever its file is called.
    held = parse_manifests([(name, json.dumps(workload()).encode())])
    assert len(held.resources.workloads) == 1


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    parse_manifests([("any.yaml", data)])
