# SPDX-License-Identifier: Apache-2.0
"""Routes and grants: whole segments, whole names, and nothing that two parsers could read as two paths."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.identity import Grant, Identity, Refusal
from watchword.trust import AmbiguousTargetError, RouteMatch, RouteTable, authorize, split_target
from watchword.trust.api.v1alpha1 import Route

TABLE = RouteTable(
    [
        Route(path="/api/accounts/{account}/usage", methods=("GET",), scope="account:usage:read"),
        Route(
            path="/api/accounts/{account}/projects/{project}", methods=("GET", "PUT"), scope="project:write"
        ),
        Route(path="/", methods=("GET",), scope="root:read"),
        Route(path="/files/", methods=("GET",), scope="files:read"),
    ]
)


@pytest.mark.parametrize(
    ("method", "target", "account", "project"),
    [
        ("GET", b"/api/accounts/acme/usage", "acme", None),
        ("GET", b"/api/accounts/acme/usage?x=/../y&z=%2F", "acme", None),
        ("GET", b"/api/accounts/a%20b/usage", "a b", None),
        ("GET", b"/api/accounts/%C3%A9/usage", "é", None),
        ("PUT", b"/api/accounts/acme/projects/prj_abc", "acme", "prj_abc"),
        ("GET", b"/", None, None),
        ("GET", b"/files/", None, None),
    ],
)
def test_a_plain_path_finds_its_route(method: str, target: bytes, account: str, project: str) -> None:
    match = TABLE.match(method, target)
    assert isinstance(match, RouteMatch)
    assert (match.account, match.project) == (account, project)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", b"/api/accounts/acme/usage"),
        ("HEAD", b"/api/accounts/acme/usage"),
        ("get", b"/api/accounts/acme/usage"),
        ("GET", b"/api/accounts/acme/usage/"),
        ("GET", b"/api/accounts//usage"),
        ("GET", b"//api/accounts/acme/usage"),
        ("GET", b"/api/accounts/x/../acme/usage"),
        ("GET", b"/api/accounts/./acme/usage"),
        ("GET", b"/api/accounts/%2e%2e/usage"),
        ("GET", b"/api/accounts/%2E/usage"),
        ("GET", b"/api/accounts/a%2Fb/usage"),
        ("GET", b"/api/accounts/a%5Cb/usage"),
        ("GET", b"/api/accounts/a\\b/usage"),
        ("GET", b"/api/accounts/a%252Fb/usage"),
        ("GET", b"/api/accounts/a%25b/usage"),
        ("GET", b"/api/accounts/a%3Fb/usage"),
        ("GET", b"/api/accounts/a;v=1/usage"),
        ("GET", b"/api/accounts/a%3Bv/usage"),
        ("GET", b"/api/accounts/acme/usage#x"),
        ("GET", b"/api/accounts/a%00/usage"),
        ("GET", b"/api/accounts/a%0a/usage"),
        ("GET", b"/api/accounts/..%20/usage"),
        ("GET", b"/api/accounts/.%20%20/usage"),
        ("GET", b"/api/accounts/..%C2%A0/usage"),
        ("GET", b"/api/accounts/a%7f/usage"),
        ("GET", b"/api/accounts/a%ff/usage"),
        ("GET", b"/api/accounts/a%c0%af/usage"),
        ("GET", b"/api/accounts/a%zz/usage"),
        ("GET", b"/api/accounts/a%/usage"),
        ("GET", b"/API/accounts/acme/usage"),
        ("GET", b"http://gate/api/accounts/acme/usage"),
        ("GET", b"*"),
        ("GET", b""),
        ("GET", b"/" + b"a" * 8192),
        ("GET", b"/files"),
    ],
)
def test_anything_else_has_no_route(method: str, target: bytes) -> None:
    assert isinstance(TABLE.match(method, target), Refusal)


@given(st.text(min_size=1, max_size=40))
def test_a_capture_is_exactly_what_was_encoded(name: str) -> None:
    try:
        encoded = quote(name, safe="")
    except UnicodeEncodeError:
        return
    match = TABLE.match("GET", f"/api/accounts/{encoded}/usage".encode())
    assert isinstance(match, Refusal) or match.account == name


@given(st.binary(max_size=60))
def test_no_target_crashes_and_no_match_hides_a_separator(raw: bytes) -> None:
    match = TABLE.match("GET", b"/api/accounts/" + raw + b"/usage")
    if isinstance(match, RouteMatch):
        assert match.account
        assert not set(match.account) & set("/\\%;?#\x00")
        assert match.account not in {".", ".."}


def read(target: bytes) -> tuple[str, ...] | str:
    try:
        return split_target(target)
    except AmbiguousTargetError as problem:
        return str(problem)


@given(st.text("ab./-_~:@,=+()*'&$!", max_size=12))
def test_a_path_that_needs_no_decoding_is_read_like_one_that_does(path: str) -> None:
    # The query decides nothing, and one encoded letter has the same path decoded segment by segment.
    assert read(f"/{path}a".encode()) == read(f"/{path}%61".encode()) == read(f"/{path}a?%zz//..".encode())


@pytest.mark.parametrize(
    "path", ["a", "/a//b", "/{a", "/{A}", "/x{a}", "/{a}{b}", "/{a}/{a}", "/a?b", "/%2e%2e", "/a/../b"]
)
def test_a_template_that_is_ambiguous_is_no_template(path: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        RouteTable([Route(path=path, methods=("GET",), scope="a:b")])


def identity(*grants: Grant) -> Identity:
    return Identity("i", "s", "w", grants, "", "", "", 0, 0)


READ, WRITE = "account:usage:read", "account:usage:write"


@pytest.mark.parametrize(
    ("expected", "grants", "account", "project"),
    [
        ("granted", [Grant((READ,), ("*",))], "acme", None),
        ("granted", [Grant((READ,), ("acme",))], "acme", None),
        ("granted", [Grant((READ,))], None, None),
        ("granted", [Grant((READ,), ("other",)), Grant((READ,), ("acme",))], "acme", None),
        ("granted", [Grant((READ,), ("acme",), ("prj_abc",))], "acme", "prj_abc"),
        ("insufficient_scope", [], "acme", None),
        ("insufficient_scope", [Grant((WRITE,), ("*",))], "acme", None),
        ("account_not_granted", [Grant((READ,))], "acme", None),
        ("account_not_granted", [Grant((READ,), ("acm",))], "acme", None),
        ("account_not_granted", [Grant((READ,), ("acme",))], "acmes", None),
        ("account_not_granted", [Grant((READ,), ("Acme",))], "acme", None),
        ("account_not_granted", [Grant((READ,), ("acme",), ("prj_abc",))], "acme", "prj_abcd"),
        ("account_not_granted", [Grant((READ,), ("acme",))], "acme", "prj_abc"),
        ("account_not_granted", [Grant((READ,), ("other",)), Grant((WRITE,), ("acme",))], "acme", None),
        ("account_not_granted", [Grant((READ,), ("a",), ("p",)), Grant((READ,), ("b",), ("q",))], "a", "q"),
    ],
)
def test_one_grant_holds_everything_or_nothing_is_granted(
    expected: str, grants: list[Grant], account: str | None, project: str | None
) -> None:
    decision = authorize(identity(*grants), READ, account, project)
    assert (decision.reason.code if isinstance(decision, Refusal) else "granted") == expected
