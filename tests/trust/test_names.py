# SPDX-License-Identifier: Apache-2.0
"""Names and texts end up in headers and log lines: what could end a line never gets that far."""

from typing import Any

import pytest

from testing.manifests import compiled, issuer, parsed, service, workload

ROUTE = {"path": "/a", "methods": ["GET"], "scope": "a:b"}
LABELS = {"matchLabels": {"a": "b\n"}}


def named(document: dict[str, Any], **metadata: str) -> dict[str, Any]:
    return document | {"metadata": document["metadata"] | metadata}


@pytest.mark.parametrize(
    ("field", "document"),
    [
        ("metadata.name", named(issuer(), name="a/b")),
        ("metadata.name", named(issuer(), name="A")),
        ("metadata.name", named(service(), name="a\n")),
        ("metadata.name", named(service(), name="s" * 64)),
        ("metadata.name", named(workload(), name="w\r\nX-Evil: 1")),
        ("metadata.name", named(workload(), name="*")),
        ("metadata.namespace", named(workload(), namespace="a/b")),
        ("metadata.namespace", named(service(), namespace="a.b")),
        ("spec.issuer", issuer(issuer="https://x\n")),
        ("spec.revoked[0].tokenId", issuer(revoked=[{"tokenId": "x\n"}])),
        ("spec.allowedNamespaces.matchLabels", issuer(allowedNamespaces={"matchLabels": {}})),
        ("spec.selector.matchLabels", service(selector=LABELS)),
        ("spec.routes[0].scope", service(routes=[ROUTE | {"scope": "a:b\n"}])),
        ("spec.routes[0].methods", service(routes=[ROUTE | {"methods": ["GET\n"]}])),
        (
            "spec.usage.meters[0].eventType",
            service(usage={"meters": [{"name": "m", "eventType": "a\u2028b", "aggregation": "count"}]}),
        ),
        ("spec.grants[0].scopes", workload(grants=[{"scopes": ["a:b\n"]}])),
        ("spec.grants[0].accounts", workload(grants=[{"scopes": ["a:b"], "accounts": ["a\n"]}])),
        ("spec.serviceRef.name", workload(serviceRef={"name": "s\n"})),
        (
            "spec.routes",
            service(routes=[ROUTE | {"path": "/a/{name}"}, ROUTE | {"path": "/a/{account}"}]),
        ),
        ("spec.routes", service(routes=[ROUTE | {"path": "/ab"}, ROUTE | {"path": "/a%62"}])),
    ],
)
def test_a_text_that_is_unfit_for_a_header_or_a_route_is_named(field: str, document: dict[str, Any]) -> None:
    assert [problem.field for problem in parsed(document).problems] == [field]


def test_a_problem_is_one_printable_line_whatever_the_file_says() -> None:
    (problem,) = parsed(service(**{"au\ndience\x1b[2J": 1})).problems
    assert "\\n" in str(problem)
    assert str(problem).isprintable()


def test_the_longest_name_of_a_service_is_a_label_too() -> None:
    (policy,) = compiled(service("s" * 63)).network_policies
    assert policy["metadata"]["labels"]["watchword.dev/service"] == "s" * 63
