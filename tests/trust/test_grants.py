# SPDX-License-Identifier: Apache-2.0
"""Grants against a second, naive reading of the rules: what it permits passes, and nothing else.

A grant for one project must never open its account, and taking a name out of a list must never permit more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.manifests import parsed, service, workload
from watchword.identity import Grant, Identity, Refusal
from watchword.trust import RouteTable, authorize
from watchword.trust.api.v1alpha1 import Route
from watchword.trust.bundle import BundleGrant
from watchword.trust.grants import USAGE_SCOPES, account_wide_scopes, grants_of_previous_release

SCOPES = ("cache:read", "cache:write")
# Names that a loose comparison takes for each other.
NAMES = ("ios", "ios2", "io", "IOS", "ios ", "acme", "*")

names = st.lists(st.sampled_from(NAMES), max_size=3, unique=True).map(tuple)
grants = st.builds(
    Grant, st.lists(st.sampled_from(SCOPES), min_size=1, max_size=2, unique=True).map(tuple), names, names
)
asked = st.none() | st.sampled_from(NAMES)


def identity(*held: Grant) -> Identity:
    return Identity("i", "s", "w", held, "", "", "", 0, 0)


def permits(held: tuple[Grant, ...], scope: str, account: str | None, project: str | None) -> bool:
    """The rules as the design says them, one sentence after the other."""
    for grant in held:
        if scope not in grant.scopes:
            continue
        if account is None and project is not None:
            continue  # a route that binds a project binds an account
        if account is not None and "*" not in grant.accounts and account not in grant.accounts:
            continue
        if len(grant.projects) == 0 and project is not None:
            continue  # absent: only paths without a project
        if len(grant.projects) > 0 and project is None:
            continue  # named or "*": nothing that is the whole account's
        if project is not None and "*" not in grant.projects and project not in grant.projects:
            continue
        return True
    return False


def is_granted(held: tuple[Grant, ...], scope: str, account: str | None, project: str | None) -> bool:
    return not isinstance(authorize(identity(*held), scope, account, project), Refusal)


@given(st.lists(grants, max_size=4).map(tuple), st.sampled_from(SCOPES), asked, asked)
def test_what_the_rules_permit_passes_and_nothing_else(
    held: tuple[Grant, ...], scope: str, account: str | None, project: str | None
) -> None:
    assert is_granted(held, scope, account, project) == permits(held, scope, account, project)


@given(grants, st.data(), st.sampled_from(SCOPES), asked, asked)
def test_taking_a_name_out_of_a_list_never_permits_more(
    grant: Grant, data: st.DataObject, scope: str, account: str | None, project: str | None
) -> None:
    field = data.draw(st.sampled_from(("scopes", "accounts", "projects")))
    entries: tuple[str, ...] = getattr(grant, field)
    # The last entry cannot go: a list that is present is never empty (the test below).
    if len(entries) < 2:
        return
    gone = data.draw(st.integers(0, len(entries) - 1))
    parts = {"scopes": grant.scopes, "accounts": grant.accounts, "projects": grant.projects}
    less = Grant(**parts | {field: entries[:gone] + entries[gone + 1 :]})
    if not is_granted((grant,), scope, account, project):
        assert not is_granted((less,), scope, account, project)


@given(st.lists(grants, min_size=1, max_size=4), st.sampled_from(SCOPES), asked, asked)
def test_taking_a_grant_away_never_permits_more(
    held: list[Grant], scope: str, account: str | None, project: str | None
) -> None:
    if not is_granted(tuple(held), scope, account, project):
        assert not is_granted(tuple(held[1:]), scope, account, project)


@pytest.mark.parametrize("field", ["accounts", "projects"])
def test_a_list_that_is_present_has_an_entry(field: str) -> None:
    grant: dict[str, Any] = {"scopes": ["cache:read"], "accounts": ["acme"], field: []}
    [problem] = parsed(workload(grants=[grant])).problems
    assert (problem.field, problem.reason) == (f"spec.grants[0].{field}", "InvalidField")


def test_a_refusal_says_that_the_grant_is_for_projects_and_how_to_grant_the_account() -> None:
    refusal = authorize(identity(Grant(("cache:read",), ("acme",), ("ios",))), "cache:read", "acme")
    assert isinstance(refusal, Refusal)
    assert refusal.reason.code == "account_not_granted"
    assert refusal.detail == "The scope cache:read is granted for projects only, and this request names none."
    assert "second grant without projects" in refusal.remedy


def test_a_refusal_for_a_project_says_that_the_grant_is_the_accounts() -> None:
    refusal = authorize(identity(Grant(("cache:read",), ("acme",))), "cache:read", "acme", "ios")
    assert isinstance(refusal, Refusal)
    assert "second grant that names them" in refusal.remedy


@pytest.mark.parametrize("path", ["/projects/{project}", "/{project}", "/x/{project}/{name}"])
def test_a_route_that_binds_a_project_without_an_account_is_refused(path: str) -> None:
    [problem] = parsed(service(routes=[route_document(path)])).problems
    assert problem.field == "spec.routes[0].path"
    assert "{project} without {account}" in problem.detail
    # A bundle of an earlier release may have such a route: the gate loads it and lets nobody pass on it.
    match = RouteTable([Route(path=path, methods=("GET",), scope="cache:read")]).match(
        "GET", path.format(project="ios", name="n").encode()
    )
    assert not isinstance(match, Refusal)
    held = identity(Grant(("cache:read",), ("*",), ("*",)))
    assert isinstance(authorize(held, match.scope, match.account, match.project), Refusal)


def test_a_route_that_binds_both_is_taken() -> None:
    assert not parsed(service(routes=[route_document("/{account}/projects/{project}")])).problems


def route_document(path: str) -> dict[str, Any]:
    return {"path": path, "methods": ["GET"], "scope": "cache:read"}


ROUTES = (
    Route(path="/{account}/cache", methods=("GET",), scope="cache:read"),
    Route(path="/{account}/{project}/cache", methods=("GET",), scope="cache:read"),
    Route(path="/{account}/{project}/builds", methods=("GET",), scope="builds:read"),
)


def test_the_scopes_of_the_account_are_those_of_paths_without_a_project_and_the_usage_endpoints() -> None:
    assert account_wide_scopes(ROUTES) == {"cache:read"} | USAGE_SCOPES


def test_gates_of_the_previous_release_get_nothing_that_they_would_read_wider() -> None:
    held = (
        BundleGrant(
            scopes=("account:usage:read", "builds:read", "cache:read"), accounts=("acme",), projects=("ios",)
        ),
        BundleGrant(scopes=("account:usage:write", "cache:read"), accounts=("acme",), projects=("*",)),
        BundleGrant(scopes=("cache:read",), accounts=("acme",)),
    )
    kept = (
        BundleGrant(scopes=("builds:read",), accounts=("acme",), projects=("ios",)),
        BundleGrant(scopes=("cache:read",), accounts=("acme",)),
    )
    # A workload points to its row by place: one of which nothing is left stays where it is.
    rows = (held, held[1:2], held[2:])
    assert grants_of_previous_release(rows, ROUTES) == (kept, (), held[2:])
    assert grants_of_previous_release((held,), ()) == (held[2:],)


def test_routes_are_read_once_however_many_rows_of_grants_a_bundle_has() -> None:
    read: list[Route] = []

    def routes() -> Iterator[Route]:
        for each in ROUTES:
            read.append(each)
            yield each

    row = (BundleGrant(scopes=("builds:read",), accounts=("acme",), projects=("ios",)),)
    assert grants_of_previous_release([row] * 100, routes()) == (row,) * 100
    assert read == list(ROUTES)


def permits_as_before(held: tuple[BundleGrant, ...], scope: str, account: str, project: str | None) -> bool:
    """How a gate of the previous release decides: a path without a project is no question of projects."""
    return any(
        scope in grant.scopes
        and (account in grant.accounts or "*" in grant.accounts)
        and (project is None or project in grant.projects or "*" in grant.projects)
        for grant in held
    )


bundle_grants = st.builds(
    BundleGrant,
    scopes=st.lists(
        st.sampled_from(("cache:read", "builds:read", *sorted(USAGE_SCOPES))), min_size=1, unique=True
    ).map(tuple),
    accounts=names,
    projects=names,
)


@given(st.lists(bundle_grants, max_size=3).map(tuple), st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_a_gate_of_the_previous_release_permits_no_more_than_one_of_this(
    held: tuple[BundleGrant, ...], account: str, project: str
) -> None:
    (old,) = grants_of_previous_release((held,), ROUTES)
    new = tuple(Grant(each.scopes, each.accounts, each.projects) for each in held)
    usage = [(scope, None) for scope in sorted(USAGE_SCOPES)]
    routed = [(route.scope, project if "{project}" in route.path else None) for route in ROUTES]
    for scope, name in [*routed, *usage]:
        if permits_as_before(old, scope, account, name):
            assert is_granted(new, scope, account, name)


@given(st.lists(bundle_grants, max_size=3).map(tuple), st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_a_gate_of_the_previous_release_still_serves_callers_of_project_routes(
    held: tuple[BundleGrant, ...], account: str, project: str
) -> None:
    # Where no path of the account shares the scope, both decide alike.
    (old,) = grants_of_previous_release((held,), ROUTES)
    new = tuple(Grant(each.scopes, each.accounts, each.projects) for each in held)
    assert permits_as_before(old, "builds:read", account, project) == is_granted(
        new, "builds:read", account, project
    )
