# SPDX-License-Identifier: Apache-2.0
"""What `watchword doctor` says before an upgrade: whose grants hold for less, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from testing.manifests import service, workload
from watchword.cli.doctor_grants import findings_of_grants
from watchword.cli.findings import Finding

ROUTES = [
    {"path": "/{account}/cache", "methods": ["GET"], "scope": "cache:read"},
    {"path": "/{account}/{project}/cache", "methods": ["GET"], "scope": "cache:read"},
    {"path": "/{account}/{project}/builds", "methods": ["GET"], "scope": "builds:read"},
]
HERE = "TrustedWorkload tuist/atlas"


def said(**grant: Any) -> list[Finding]:
    document = workload(grants=[{"scopes": ["cache:read"], "accounts": ["acme"]} | grant])
    return list(findings_of_grants([document, service(routes=ROUTES)]))


@pytest.mark.parametrize("projects", [["ios"], ["*"]])
@pytest.mark.parametrize(
    ("scopes", "lost"),
    [
        (["cache:read"], "/{account}/cache"),
        (["account:usage:read"], "reading the account's usage"),
        (["account:usage:write", "cache:read"], "/{account}/cache, writing the account's usage"),
    ],
)
def test_a_workload_whose_access_shrinks_is_named_with_what_it_loses(
    scopes: list[str], lost: str, projects: list[str]
) -> None:
    [(where, what, serious)] = said(scopes=scopes, projects=projects)
    assert where == HERE
    assert f"spec.grants[0] is for projects, and no longer holds for {lost}." in what
    assert "Remedy" in what
    assert not serious


@pytest.mark.parametrize(
    "grant", [{}, {"projects": ["ios"], "scopes": ["builds:read"]}, {"scopes": ["account:usage:read"]}]
)
def test_a_workload_that_keeps_all_that_it_had_is_not_named(grant: dict[str, Any]) -> None:
    assert said(**grant) == []


@pytest.mark.parametrize("field", ["accounts", "projects"])
def test_an_empty_list_is_named(field: str) -> None:
    [(where, what, _)] = said(**{field: []})
    assert (where, f"spec.grants[0].{field} is empty" in what) == (HERE, True)


def test_a_route_that_binds_a_project_alone_is_named() -> None:
    document = service(routes=[{"path": "/{project}", "methods": ["GET"], "scope": "a:b"}])
    [finding] = findings_of_grants([document])
    assert (finding.where, "/{project}" in finding.what) == ("ProtectedService tuist/tuist-server", True)


def test_objects_that_say_nothing_cost_nothing() -> None:
    bare = {"kind": "TrustedWorkload", "metadata": {"name": "x", "namespace": "y"}}
    assert list(findings_of_grants([bare, {"kind": "ClusterTrustedIssuer", "metadata": {"name": "i"}}])) == []


def test_a_project_whose_account_is_in_the_query_is_not_refused_after_the_upgrade() -> None:
    bound = {"path": "/{project}/cache", "methods": ["GET"], "scope": "a:b", "query": {"owner": "account"}}
    assert list(findings_of_grants([service(routes=[bound])])) == []
    [(_, what, _)] = findings_of_grants([service(routes=[bound | {"query": {"owner": "account?"}}])])
    assert "is refused from this release on" in what
    [(_, what, _)] = findings_of_grants([service(routes=[bound | {"query": None}])])
    assert "it binds {project} without {account}" in what
