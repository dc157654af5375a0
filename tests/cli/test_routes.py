# SPDX-License-Identifier: Apache-2.0
"""`watchword routes`: drafts that lint and the route table take, in order, and that open nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import Work
from tests.cli.test_lint import ISSUER, SERVICE
from watchword.cli.routes.draft import Draft, draft_routes, snake
from watchword.cli.routes.openapi import METHODS, OpenApiError, Operation, Parameter, read_openapi
from watchword.trust.routes import RouteMatch, RouteTable

ROOT = Path(__file__).parents[2]
ORDERS = ROOT / "manifests/openapi/orders.yaml"


def document(paths: dict[str, Any], **members: Any) -> bytes:
    return json.dumps({"openapi": "3.1.0", "paths": paths, **members}).encode()


def drafted(paths: dict[str, Any], **members: Any) -> Draft:
    return draft_routes(read_openapi(document(paths, **members)).operations)


def one(
    path: str, operation: dict[str, Any] | None = None, method: str = "get", **members: Any
) -> tuple[str, str | None, dict[str, str]]:
    draft = drafted({path: {method: operation or {}}}, **members)
    (found,) = draft.routes
    return found.route.path, found.route.scope, dict(found.route.query)


def test_the_example_is_drafted_as_the_docs_show_it(work: Work) -> None:
    done = work.run("routes", "--from", str(ORDERS))
    assert done.exit_code == 0
    shown = (ROOT / "docs/how-to/write-routes.md").read_text()
    assert done.stdout in shown
    assert done.stderr == "7 operations, 7 routes, 2 with a note for you.\n"


def test_json_holds_the_same_routes(work: Work) -> None:
    as_yaml = yaml.safe_load(work.run("routes", "--from", str(ORDERS)).stdout)
    as_json = json.loads(work.run("routes", "--from", str(ORDERS), "-o", "json").stdout)
    assert as_json["spec"] == as_yaml["spec"]
    assert as_json["routes"][0]["operations"] == ["health"]


def test_a_draft_is_part_of_a_service_as_it_is(work: Work) -> None:
    draft = yaml.safe_load(work.run("routes", "--from", str(ORDERS)).stdout)
    service = yaml.safe_load(SERVICE)
    service["spec"] |= draft["spec"]
    work.write("drafted/service.yaml", yaml.safe_dump(service))
    work.write("drafted/issuer.yaml", ISSUER)
    done = work.run("lint", "{work}/drafted", "-o", "json")
    assert done.exit_code == 0
    codes = {each["code"] for each in json.loads(done.stdout)["findings"]}
    # No workload is granted anything here, and no route is dead.
    assert codes <= {"no-callers", "scope-not-granted", "keys-not-read"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/{id}", "/a/{id}"),
        ("/a/{orderId}", "/a/{order_id}"),
        ("/a/{Order-ID}", "/a/{order_id}"),
        ("/a/{2fa}", "/a/{p_2fa}"),
        ("/a/{id}/{ID}", "/a/{id}/{id_2}"),
        ("/a/{id}.json", "/a/{id}"),
        ("/a/{from}-{to}", "/a/{from_to}"),
        ("/a/{proxy+}", "/a/{proxy...}"),
        ("/a/{+path}", "/a/{path...}"),
        ("/a/b/?action=x", "/a/b/"),
        ("/accounts/{accountId}/x", "/accounts/{account}/x"),
        ("/o/{org}/p/{projectId}", "/o/{account}/p/{project}"),
        # A project's name alone may be one of two accounts.
        ("/p/{projectId}", "/p/{project_id}"),
        ("/t/{tenant}/{tenant_id}", "/t/{account}/{tenant_id}"),
        # An account is one segment.
        ("/t/{tenant+}", "/t/{tenant...}"),
        ("/%61/{id}", "/%61/{id}"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert one(path)[0] == expected


@pytest.mark.parametrize(
    "path", ["/a//b", "/a/../b", "/a/{id", "/a/{x+}/b", "/" + "a" * 600, "a/b", "/a;b=1/c"]
)
def test_paths_that_no_route_can_have_are_named_and_left_out(path: str) -> None:
    draft = drafted({path: {"get": {}}, "/ok": {"get": {}}})
    if path == "/a/{x+}/b":
        # In the middle, one segment.
        assert [each.route.path for each in draft.routes] == ["/ok", "/a/{x}/b"]
        return
    assert [each.route.path for each in draft.routes] == ["/ok"]
    assert len(draft.notes) == 1
    assert draft.notes[0].startswith(f"GET {path} is left out: ")


@pytest.mark.parametrize(
    ("operation", "method", "scope"),
    [
        ({}, "get", "orders:read"),
        ({}, "head", "orders:read"),
        ({}, "delete", "orders:write"),
        ({"tags": ["Order Items"]}, "post", "order-items:write"),
        ({"tags": ["orderItems"]}, "post", "order-items:write"),
        ({"tags": ["Ünï 1"]}, "post", "n-1:write"),
        ({"tags": ["2fa"]}, "post", "app-2fa:write"),
        ({"tags": ["日本"]}, "post", "app:write"),
        ({"security": [{"o": ["orders:list"]}]}, "get", "orders:list"),
        # Alternatives: what each of them requires.
        ({"security": [{"o": ["orders:list"]}, {"o": ["admin:all", "orders:list"]}]}, "get", "orders:list"),
        ({"security": [{"o": ["orders:list"]}, {"k": []}]}, "get", "orders:read"),
        ({"security": [{"o": ["Orders.List"]}]}, "get", "orders:read"),
        # An API key has roles in 3.1, and no scopes.
        ({"security": [{"k": ["orders:list"]}]}, "get", "orders:read"),
    ],
)
def test_scopes(operation: dict[str, Any], method: str, scope: str) -> None:
    schemes = {"o": {"type": "oauth2"}, "k": {"type": "apiKey"}}
    found = one("/api/v1/orders", operation, method, components={"securitySchemes": schemes})
    assert found[1] == scope


def test_no_credential_in_the_document_opens_no_route() -> None:
    for security in ([], [{}], [{}, {"k": []}]):
        (route,) = drafted({"/a": {"get": {"security": security}}}).routes
        assert not route.route.public
        assert route.route.scope == "a:read"
        assert any("public: true" in note for note in route.notes)
    (route,) = drafted({"/a": {"get": {}}}).routes
    assert not route.notes


@pytest.mark.parametrize(
    ("parameters", "query", "noted"),
    [
        ([("tenantId", True)], {"tenantId": "account"}, 0),
        ([("tenantId", True), ("project", True)], {"tenantId": "account", "project": "project"}, 0),
        # Optional in the document: a request without it is refused until a person says `account?`.
        ([("tenant", False)], {"tenant": "account"}, 1),
        ([("tenant", True), ("account", True)], {"tenant": "account"}, 1),
        ([("project", True)], {}, 0),
        ([("page", True)], {}, 0),
    ],
)
def test_queries(parameters: list[tuple[str, bool]], query: dict[str, str], noted: int) -> None:
    written = [{"name": name, "in": "query", "required": required} for name, required in parameters]
    (route,) = drafted({"/a": {"get": {"parameters": written}}}).routes
    assert dict(route.route.query) == query
    assert len(route.notes) == noted


def test_a_parameter_is_found_by_reference_and_overridden_by_the_operation() -> None:
    shared = {"T": {"name": "tenant", "in": "query"}}
    paths = {
        "/a": {
            "parameters": [{"$ref": "#/components/parameters/T"}],
            "get": {},
            "post": {"parameters": [{"name": "tenant", "in": "query", "required": True}]},
            "delete": {"parameters": [{"$ref": "#/components/parameters/none"}, {"$ref": "other.yaml#/T"}]},
        },
        "/b": {"$ref": "#/components/pathItems/B"},
        "/loop": {"$ref": "#/paths/~1loop"},
    }
    components = {"parameters": shared, "pathItems": {"B": {"get": {"tags": ["b"]}}}}
    read = read_openapi(document(paths, components=components))
    draft = draft_routes(read.operations)
    assert [(each.route.path, each.route.methods, each.route.scope) for each in draft.routes] == [
        ("/a", ("GET",), "a:read"),
        ("/a", ("POST", "DELETE"), "a:write"),
        ("/b", ("GET",), "b:read"),
    ]
    assert len(read.notes) == 3
    assert "other.yaml#/T" in read.notes[1]


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"servers": [{"url": "https://a.example/api/v2/"}]}, "/api/v2/a"),
        ({"servers": [{"url": "/api"}]}, "/api/a"),
        ({"servers": [{"url": "https://{h}/{base}", "variables": {"base": {"default": "v1"}}}]}, "/v1/a"),
        ({"servers": [{"url": "https://[bad"}]}, "/a"),
        ({"servers": []}, "/a"),
        ({}, "/a"),
    ],
)
def test_the_path_of_the_servers_comes_first(members: dict[str, Any], path: str) -> None:
    assert one("/a", **members)[0] == path


def test_an_operations_servers_come_before_those_of_its_path_and_the_document() -> None:
    def at(path: str) -> list[dict[str, str]]:
        return [{"url": path}]

    paths = {"/a": {"servers": at("/item"), "get": {}, "post": {"servers": at("/own")}}, "/b": {"get": {}}}
    draft = drafted(paths, servers=at("/all"))
    assert {each.route.path for each in draft.routes} == {"/item/a", "/own/a", "/all/b"}


def test_swagger_2_and_its_base_path(work: Work) -> None:
    work.write(
        "old.yaml",
        "swagger: 2.0\nbasePath: /v1\npaths:\n  /a:\n    get: {responses: {200: {description: on}}}\n",
    )
    done = work.run("routes", "--from", "{work}/old.yaml")
    assert '{path: "/v1/a", methods: [GET], scope: "a:read"}' in done.stdout
    done = work.run("routes", "--from", "{work}/old.yaml", "--base-path", "/edge/")
    assert '{path: "/edge/a",' in done.stdout


def test_own_names_replace_the_built_in_ones(work: Work) -> None:
    done = work.run("routes", "--from", str(ORDERS), "--account-parameter", "orderId", "-o", "json")
    routes = json.loads(done.stdout)["spec"]["routes"]
    paths = {each["path"] for each in routes}
    assert "/api/v1/orders/{account}" in paths
    assert "/api/v1/tenants/{tenant_id}/projects/{project_id}/invoices" in paths
    assert not any("query" in each for each in routes)


def test_what_the_gate_answers_itself_is_said() -> None:
    draft = drafted({"/authz": {"get": {}}, "/api/internal/usage": {"get": {}}, "/authzed": {"get": {}}})
    said = {each.route.path: bool(each.notes) for each in draft.routes}
    assert said == {"/authz": True, "/api/internal/usage": True, "/authzed": False}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "holds no mapping"),
        (b"[]", "holds no mapping"),
        (b"\x00junk", "neither YAML nor JSON"),
        (b"\xff\xfea\x00", "The file is UTF-16"),
        (b"openapi: 3.1.0\npaths: {}\npaths: {}", "'paths' is repeated"),
        (b'{"openapi": "3.0.0", "a": 1, "a": 2}', "'a' is repeated"),
        (b'{"openapi": "\\u12", "a": }', "not JSON: line 1"),
        (b"openapi: 4.0.0\npaths: {}", "`openapi` is '4.0.0'"),
        (b"info: {}", "`openapi` is missing"),
        (b"openapi: 3.0.0\npaths: []", "`paths` is not a mapping"),
        (b"openapi: 3.0.0\npaths: {}", "no operation"),
        (b"openapi: 3.0.0\npaths: {/a: {get: [], x-b: {}}, x-c: {}}", "GET /a is left out"),
        (b"openapi: 3.0.0\n? [a]\n: b", "a key is not a word"),
        (b"[" * 5000, "neither YAML nor JSON"),
    ],
)
def test_an_unusable_document_is_a_sentence(work: Work, data: bytes, words: str) -> None:
    work.write("bad.yaml", data)
    done = work.run("routes", "--from", "{work}/bad.yaml")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert re.sub(r"\s+", " ", done.stderr).count(words) == 1
    assert "Remedy:" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        '{"openapi": "3.0.0", "info": {"title": "\\ud83d\\ude00 \\/"}, "paths": {"/a": {"get": {}}}}',
        "{openapi: 3.0.0, paths: {/a: {get: {}}}}",
    ],
)
def test_json_and_what_only_looks_like_it(text: str) -> None:
    read = read_openapi(text.encode())
    assert [each.path for each in read.operations] == ["/a"]


def test_words_of_the_documents_author_stay_words(work: Work) -> None:
    hostile = "a\x1b[31m\nspec: {}\n#"
    paths = {"/a": {"get": {"operationId": hostile, "tags": [hostile]}}}
    work.write("bad.json", document(paths, info={"title": hostile, "version": "\u2028"}))
    done = work.run("routes", "--from", "{work}/bad.json")
    assert done.exit_code == 0
    assert "\x1b" not in done.output
    assert list(yaml.safe_load(done.stdout)["spec"]["routes"][0]) == ["path", "methods", "scope"]


SEGMENTS = st.sampled_from(
    [
        "a",
        "b",
        "{id}",
        "{b}",
        "{tenantId}",
        "{project}",
        "{x+}",
        "{x}.json",
        "a.b",
        "",
        "{}",
        "..",
        "%2f",
        "{é}",
    ]
)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
OPERATIONS = st.fixed_dictionaries(
    {},
    optional={
        "tags": st.lists(st.text(max_size=8), max_size=2),
        "security": st.lists(st.just({}), max_size=1),
        "parameters": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["tenant", "project", "q"]), "in": st.just("query")}
            ),
            max_size=2,
        ),
    },
)


@given(st.dictionaries(PATHS, st.dictionaries(st.sampled_from(METHODS), OPERATIONS, max_size=3), max_size=6))
def test_each_operation_is_let_through_by_its_route_or_named_as_left_out(paths: dict[str, Any]) -> None:
    read = read_openapi(document(paths))
    draft = draft_routes(read.operations)
    table = RouteTable([each.route for each in draft.routes])
    assert not table.has_public
    named = [name for each in draft.routes for name in each.operations]
    assert len(named) + len(draft.notes) == len(read.operations)
    for each in draft.routes:
        if each.route.path.endswith("...}"):
            # What narrower routes leave of it depends on them, and the draft says so.
            assert any("fits, whatever the method" in note for note in each.notes)
            continue
        # Values that no literal segment here has.
        target = re.sub(r"\{[^{}]*\}", "value", each.route.path)
        query = "&".join(f"{name}=v" for name in each.route.query)
        for method in each.route.methods:
            found = table.match(method, f"{target}?{query}".encode())
            assert isinstance(found, RouteMatch)
            assert found.scope == each.route.scope


@given(st.text(max_size=40))
def test_a_capture_can_always_be_written(name: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,31}", snake(name))


@given(st.binary(max_size=200))
def test_bytes_are_a_document_or_a_sentence(data: bytes) -> None:
    try:
        read_openapi(data)
    except OpenApiError:
        return


def test_an_operation_is_of_text() -> None:
    operation = Operation(
        "GET", "/a", "n", "", (), needs_credential=True, query=(Parameter("account", is_required=True),)
    )
    (route,) = draft_routes([operation]).routes
    assert dict(route.route.query) == {"account": "account"}
