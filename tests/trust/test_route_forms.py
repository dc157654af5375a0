# SPDX-License-Identifier: Apache-2.0
"""Routes that are public, and those that take any rest but what an earlier route fits in any spelling."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.manifests import compiled, issuer, parsed, service, workload
from watchword.identity import Refusal
from watchword.trust import RouteMatch, RouteTable, decode_bundle
from watchword.trust.api.v1alpha1 import Route
from watchword.trust.bundle import BundleError
from watchword.trust.bundle_forms import entries_of, newest, routes_of_previous_release
from watchword.trust.route_templates import covers, may_overlap, template_of


def route(path: str, *methods: str, scope: str | None = "a:b", **members: Any) -> Route:
    return Route(path=path, methods=methods or ("GET",), scope=scope, **members)


def public(path: str, *methods: str) -> Route:
    return route(path, *methods, scope=None, public=True)


TABLE = RouteTable(
    [
        public("/healthz"),
        route("/Admin", "POST", scope="admin:write"),
        route("/accounts/{account}/keys", "PUT", scope="keys:write"),
        route("/{account}/files/{path...}", "GET", "PUT", scope="files:use"),
        public("/assets/{path...}"),
        route("/{path...}", scope="app:read"),
        route("/late", "GET", "DELETE", scope="late:use"),
    ]
)


@pytest.mark.parametrize(
    ("method", "target", "path"),
    [
        ("GET", b"/healthz", "/healthz"),
        ("GET", b"/acme/files/a", "/{account}/files/{path...}"),
        ("PUT", b"/acme/files/a/b%20c/d/", "/{account}/files/{path...}"),
        ("GET", b"/assets/app.js?v=1", "/assets/{path...}"),
        ("GET", b"/late", "/{path...}"),
        ("DELETE", b"/late", "/late"),
        ("GET", b"/other/thing", "/{path...}"),
        ("GET", b"/healthz/deep", "/{path...}"),
    ],
)
def test_a_request_finds_its_route(method: str, target: bytes, path: str) -> None:
    for _ in range(2):
        match = TABLE.match(method, target)
        assert isinstance(match, RouteMatch)
        assert match.path == path


def test_a_rest_binds_what_stands_before_it() -> None:
    match = TABLE.match("GET", b"/acme/files/rival/keys")
    assert isinstance(match, RouteMatch)
    assert (match.account, match.project, match.is_public) == ("acme", None, False)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        # Of an earlier route's path, by another method, in another case, with a slash at the end.
        ("GET", b"/Admin"),
        ("GET", b"/admin"),
        ("GET", b"/ADMIN/"),
        ("GET", b"/%61dmin"),
        ("GET", b"/accounts/acme/keys"),
        ("GET", b"/Accounts/acme/KEYS/"),
        ("GET", b"/HEALTHZ"),
        ("GET", b"/healthz/"),
        ("GET", b"/ACME/FILES/a"),
        ("GET", b"/Assets/app.js"),
        # In front of its rest: some servers take an empty one.
        ("GET", b"/acme/files"),
        ("GET", b"/acme/files/"),
        ("GET", b"/ACME/Files/"),
        ("GET", b"/assets"),
        ("GET", b"/assets/"),
        # In one case for Java, for a Turkish locale, for servers that normalize, and for Windows.
        ("GET", "/adm\u0131n".encode()),
        ("GET", b"/adm%C4%B1n"),
        ("GET", b"/ADM%C4%B0N/"),
        ("GET", b"/%EF%BD%81dmin"),
        ("GET", b"/accounts/acme/%E2%84%AAeys"),
        ("GET", b"/account%C5%BF/acme/keys"),
        ("GET", b"/admin."),
        ("GET", b"/admin%20"),
        ("GET", b"/admin.%20."),
        # No rest at all, or none that begins.
        ("GET", b"/"),
        ("POST", b"/other"),
        ("GET", b"//a"),
        ("GET", b"/assets/../admin"),
        ("GET", b"/assets/%2e%2e/admin"),
        ("GET", b"/assets/a%2Fb"),
    ],
)
def test_a_rest_takes_nothing_of_an_earlier_route(method: str, target: bytes) -> None:
    for _ in range(2):
        match = TABLE.match(method, target)
        # The one that says `/{account}/files/{path...}` fits `/ACME/FILES/a` in no case.
        assert isinstance(match, Refusal), match


@pytest.mark.parametrize(
    ("method", "target", "path"),
    [
        ("GET", b"/users/me", "/users/me"),
        ("PUT", b"/users/me", "/users/{user}"),
        ("GET", b"/users/bob", "/users/{user}"),
        ("GET", b"/users/ME", None),
        ("PUT", b"/users/Me", None),
        ("GET", b"/users/me.", None),
        ("GET", b"/users/ME/", None),
        ("GET", b"/users/bob/", "/users/{user}/"),
        ("GET", b"/Users", "/Users"),
        ("GET", b"/users", None),
        ("GET", b"/usERs/a", None),
        ("GET", b"/other", "/{one}"),
        ("GET", b"/other/a", "/{one}/{two}"),
        ("GET", b"/files/acme", None),
        ("GET", b"/files/acme/", None),
        ("GET", b"/Files/acme", None),
        ("GET", b"/files/acme/a", "/files/{account}/{path...}"),
    ],
)
def test_a_capture_takes_no_literal_of_an_earlier_route_in_another_spelling(
    method: str, target: bytes, path: str | None
) -> None:
    table = RouteTable(
        [
            route("/users/me", scope="me:read"),
            route("/Users", scope="list:read"),
            route("/files/{account}/{path...}", scope="files:read"),
            route("/users/{user}", "GET", "PUT", scope="users:read"),
            route("/users/{user}/", scope="users:read"),
            route("/{one}", scope="one:read"),
            route("/{one}/{two}", scope="two:read"),
        ]
    )
    for _ in range(2):
        match = table.match(method, target)
        assert (match.path if isinstance(match, RouteMatch) else None) == path


def test_a_refusal_tells_what_is_wrong_and_no_method_of_a_route_that_does_not_take_it() -> None:
    table = RouteTable(
        [
            route("/Desk", "POST", scope="desk:use"),
            route("/files/{account}/{path...}", scope="files:use"),
            route("/{path...}", "GET", "HEAD", scope="app:read"),
        ]
    )

    def said(method: str, target: bytes) -> str:
        found = table.match(method, target)
        assert isinstance(found, Refusal)
        return f"{found.detail} {found.hint}"

    assert "capitals" in said("get", b"/other")
    assert "capitals" in said("post", b"/Desk")
    # The catch-all has GET, and not for these.
    assert said("GET", b"/Desk").startswith("The path has POST, and not")
    assert said("get", b"/Desk").startswith("The path has POST, and not")
    assert said("GET", b"/desk").startswith("A route has this path in another case.")
    for target in (b"/files/acme", b"/files/acme/", b"/FILES/acme"):
        assert said("GET", target).startswith("The path ends where")
    assert said("PUT", b"/else").startswith("The path has GET and HEAD, and not")


SEGMENTS = st.sampled_from(["a", "B", "b", "{x}", "c"])
TEMPLATES = st.builds(
    lambda parts, end: "/" + "/".join(dict.fromkeys(parts)) + end,
    st.lists(SEGMENTS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/", "/{rest...}"]),
)


@settings(max_examples=3000, deadline=None)
@given(
    st.lists(st.tuples(TEMPLATES, st.sampled_from(["GET", "PUT"])), min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "A", "b", "B", "c", "d"]), min_size=1, max_size=4),
    st.booleans(),
)
def test_the_table_decides_as_its_words_say(
    written: list[tuple[str, str]], parts: list[str], slash: bool
) -> None:
    """Against a reading of the rule that shares no code with the table."""
    segments = [*parts, ""] if slash else parts
    table = RouteTable([route(path, method, scope=f"s:n{n}") for n, (path, method) in enumerate(written)])
    match = table.match("GET", ("/" + "/".join(segments)).encode())
    plain = [each.lower() for each in parts]
    expected = None
    for place, (path, method) in enumerate(written):
        if method != "GET" or not fits(path[1:].split("/"), segments):
            continue
        earlier = [each for each, _ in written[:place]]
        if path.endswith("...}") and any(fits_loosely(folded(each), plain) for each in earlier):
            continue
        if any(
            fits_loosely(folded(each), plain)
            and not fits(each[1:].split("/"), segments)
            and captures_a_literal(folded(path), folded(each))
            for each in earlier
        ):
            continue
        expected = path
        break
    assert (match.path if isinstance(match, RouteMatch) else None) == expected


def folded(path: str) -> list[str]:
    return path.lower().rstrip("/")[1:].split("/")


def fits_loosely(template: list[str], segments: list[str]) -> bool:
    """As `fits`, and with an empty rest."""
    return fits(template, segments) or (template[-1].endswith("...}") and fits(template[:-1], segments))


def captures_a_literal(later: list[str], earlier: list[str]) -> bool:
    return any(
        two.startswith("{") and not one.startswith("{") for one, two in zip(earlier, later, strict=False)
    )


def fits(template: list[str], segments: list[str]) -> bool:
    if template[-1].endswith("...}"):
        fixed = len(template) - 1
        return len(segments) > fixed and bool(segments[fixed]) and fits(template[:-1], segments[:fixed])
    return len(template) == len(segments) and all(
        bool(given) if wanted.startswith("{") else wanted == given
        for wanted, given in zip(template, segments, strict=True)
    )


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ([public("/{path...}")], "all paths would be public"),
        ([public("/{anything...}")], "all paths would be public"),
        ([route("/a", scope=None)], "needs a scope"),
        ([route("/a", public=True)], "no scope"),
        ([route("/a", scope=None, public=True, query={"t": "account"})], "binds nothing"),
        ([route("/{account...}")], "more than one segment"),
        ([route("/{a...}/b")], "braces"),
        ([route("/x{a...}")], "braces"),
        ([route("/{a}/{a...}")], "named twice"),
        ([route("/a", query={"t": "project"})], "without an account"),
    ],
)
def test_a_table_that_says_too_much_is_refused(routes: list[Route], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RouteTable(routes)


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("/{p...}", "/a", True),
        ("/{p...}", "/", False),
        ("/a/{p...}", "/a/{x}/c", True),
        ("/a/{p...}", "/b/c", False),
        ("/{x}/{p...}", "/a/b/{q...}", True),
        ("/a", "/a", False),
    ],
)
def test_what_is_never_reached_is_told(wide: str, narrow: str, expected: bool) -> None:
    assert covers(template_of(wide), template_of(narrow)) == expected
    objects = service(routes=[{"path": each, "methods": ["GET"], "scope": "a:b"} for each in (wide, narrow)])
    problems = [each for each in parsed(objects).problems if "reached" in each.detail]
    assert bool(problems) == (expected and wide != narrow)


def written(*routes: Route) -> list[str]:
    return [each.path for each in routes_of_previous_release(routes)]


def test_gates_of_the_last_release_get_no_route_that_takes_more_for_them() -> None:
    assert written(public("/open"), route("/open"), route("/{x}")) == ["/open", "/{x}"]
    # Without the first one, they would go on to the second, which asks for less.
    assert written(route("/q", query={"t": "account"}), route("/{x}"), route("/q/r")) == ["/q/r"]
    assert written(route("/q", query={"t": "account"}), route("/{x}", "PUT")) == ["/{x}"]
    assert written(route("/a/{p...}"), route("/a/b"), route("/A/c/"), route("/a")) == ["/a"]
    # Nor one that takes the path in front of a rest, which apps serve with an empty rest.
    assert written(route("/files/{account}/{p...}"), route("/{a}/{b}"), route("/{a}")) == ["/{a}"]
    assert written(route("/a/{p...}"), route("/b/{x}"), route("/{x}", "PUT")) == ["/b/{x}", "/{x}"]
    # And what is left out for that is a reason of its own.
    assert written(route("/q", query={"t": "account"}), route("/{x}", "GET", "PUT"), route("/z", "PUT")) == []


@given(TEMPLATES, TEMPLATES, st.lists(st.sampled_from(["a", "A", "b", "c"]), min_size=1, max_size=4))
def test_templates_that_share_a_path_are_said_to_overlap(one: str, two: str, parts: list[str]) -> None:
    if fits(folded(one), [each.lower() for each in parts]) and fits(
        folded(two), [each.lower() for each in parts]
    ):
        assert may_overlap(template_of(one), template_of(two))


ROUTES = [
    {"path": "/healthz", "methods": ["GET"], "public": True},
    {"path": "/q", "methods": ["GET"], "scope": "account:usage:read", "query": {"tenant_id": "account"}},
    {"path": "/plain", "methods": ["GET"], "scope": "account:usage:read"},
]


def test_the_whole_form_says_that_it_needs_a_reader_of_routes() -> None:
    [bundle] = compiled(issuer(), service(routes=ROUTES), workload()).bundles
    entries = entries_of(bundle)
    whole, previous = (decode_bundle(entries[name]) for name in ("bundle.v2.json", "bundle.json"))
    assert whole.requires == ("routes.2",)
    assert [each.path for each in whole.routes] == ["/healthz", "/q", "/plain"]
    assert [each.path for each in previous.routes] == ["/plain"]
    assert newest(entries) == entries["bundle.v2.json"]
    assert b"public" not in entries["bundle.json"]
    assert b"query" not in entries["bundle.json"]
    assert b"requires" not in entries["bundle.json"]


def test_a_bundle_of_plain_routes_asks_nothing_new_of_its_reader() -> None:
    [bundle] = compiled(issuer(), service(routes=ROUTES[2:]), workload()).bundles
    assert decode_bundle(entries_of(bundle)["bundle.v2.json"]).requires == ()
    whole = entries_of(bundle)["bundle.v2.json"]
    # Nor does it hold a member that an earlier reader of this form does not know: it checks the digest.
    assert not any(each in whole for each in (b'"public"', b'"query"', b'"tokenHeader"', b'"header"'))


def test_a_gate_that_does_not_know_of_routes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    [bundle] = compiled(issuer(), service(routes=ROUTES), workload()).bundles
    entries = entries_of(bundle)
    monkeypatch.setattr("watchword.trust.bundle.FEATURES", frozenset())
    assert newest(entries) == entries["bundle.json"]
    with pytest.raises(BundleError, match=r"routes\.2"):
        decode_bundle(entries["bundle.v2.json"])
