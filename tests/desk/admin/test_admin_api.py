# SPDX-License-Identifier: Apache-2.0
"""The admin API: bounded pages, strict parameters, a document that is true, refusals that help."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator

from testing.running_desk import RunningDesk, Source, admin_object, client_object, running_desk
from testing.tokens import claims_of
from tests.desk.admin.world import objects
from watchword.desk.admin.openapi import openapi
from watchword.desk.admin.operations import MAX_SCANNED
from watchword.desk.admin.parameters import MAX_BODY_BYTES, MAX_LIMIT
from watchword.desk.admin.routes import ROUTES
from watchword.desk.agents.records import Attempt, Register, Registration, StartAttempt
from watchword.desk.audit_chain import AuditEvent
from watchword.desk.store import Issue, Note

DOCUMENT = openapi()
AGENT, ALICE = f"reg_{7:032x}", "alice@example.com"
schema: Any = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def busy() -> Iterator[RunningDesk]:
    """A desk with more tokens and entries than one request looks through."""
    source = Source()
    source.objects = [*objects(), *(client_object(f"cache-{number:03}") for number in range(120))]
    with running_desk(source, admin_listen="127.0.0.1:0", admin_calls_per_second=0) as running:
        store = running.desk._store
        now = int(time.time())
        issued = [
            Issue(
                f"{number:032x}",
                f"workload:a:b:w{number % 7}",
                "tuist/server",
                now - 100,
                now + number % 2 * 900,
                AuditEvent("token_issued", {"subject": f"workload:a:b:w{number % 7}"}, now),
            )
            for number in range(MAX_SCANNED + 500)
        ]
        rare = Note(AuditEvent("rare", {"subject": "rare"}, now))
        store.write([rare, *issued])
        yield running


@pytest.fixture(scope="module")
def token(busy: RunningDesk) -> str:
    found: str = busy.admin_token().json()["access_token"]
    return found


def pages(desk: RunningDesk, token: str, path: str, **query: str) -> Iterator[dict[str, Any]]:
    """All pages of a list."""
    cursor: str | None = ""
    while cursor is not None:
        parameters = query | ({"cursor": cursor} if cursor else {})
        answer = desk.admin("GET", path, token, params=parameters)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        yield page
        cursor = page["next_cursor"]


def test_pages_hold_each_token_once_the_newest_first(busy: RunningDesk, token: str) -> None:
    found = [
        each
        for page in pages(busy, token, "/tokens", limit="200", service="tuist/server")
        for each in page["tokens"]
    ]
    ids = [each["token_id"] for each in found]
    assert len(ids) == len(set(ids)) == MAX_SCANNED + 500
    assert ids == sorted(ids, reverse=True)


def test_a_filter_that_fits_nothing_ends_after_a_bounded_look_and_goes_on_by_its_cursor(
    busy: RunningDesk, token: str
) -> None:
    first = busy.admin("GET", "/tokens", token, params={"subject": "workload:a:b:nobody"}).json()
    assert first["tokens"] == []
    assert first["next_cursor"] is not None
    assert [page["tokens"] for page in pages(busy, token, "/tokens", subject="workload:a:b:nobody")] == [
        [],
        [],
    ]
    # The one entry that fits is the oldest of all.
    found = list(pages(busy, token, "/audit", event="rare"))
    assert len(found) >= 2
    assert [each["entry"]["subject"] for page in found for each in page["entries"]] == ["rare"]


@pytest.mark.parametrize("limit", [1, 7, MAX_LIMIT])
def test_a_page_holds_no_more_than_was_asked_for(busy: RunningDesk, token: str, limit: int) -> None:
    for path, entries in (("/tokens", "tokens"), ("/audit", "entries"), ("/clients", "clients")):
        page = busy.admin("GET", path, token, params={"limit": str(limit)}).json()
        assert len(page[entries]) == min(limit, 123 if entries == "clients" else limit)


def test_filters_are_whole_and_add_up(busy: RunningDesk, token: str) -> None:
    ended = [
        each
        for page in pages(busy, token, "/tokens", state="ended", subject="workload:a:b:w3", kind="workload")
        for each in page["tokens"]
    ]
    assert ended
    assert {(each["state"], each["subject"]) for each in ended} == {("ended", "workload:a:b:w3")}
    admins = [each for page in pages(busy, token, "/tokens", kind="admin") for each in page["tokens"]]
    assert {(each["subject"], each["service"]) for each in admins} == {("client:automation", None)}
    names = [each["name"] for page in pages(busy, token, "/clients", limit="50") for each in page["clients"]]
    assert names == sorted(names)
    assert len(names) == 123


BAD_QUERIES = {
    "an unknown name": ("/tokens", "subjekt=a"),
    "a name of another list": ("/clients", "subject=a"),
    "a parameter where there is none": ("/audit/head", "limit=1"),
    "a parameter of one token": (f"/tokens/{'0' * 32}", "state=active"),
    "twice": ("/tokens", "limit=1&limit=2"),
    "twice, once escaped": ("/tokens", "limit=1&%6cimit=2"),
    "empty": ("/tokens", "subject="),
    "no value": ("/tokens", "subject"),
    "nothing between two": ("/tokens", "limit=1&&state=active"),
    "a broken escape": ("/tokens", "subject=%zz"),
    "a cut escape": ("/tokens", "subject=%4"),
    "no UTF-8": ("/tokens", "subject=%ff"),
    "a control character": ("/tokens", "subject=a%00b"),
    "a line break": ("/tokens", "subject=a%0ab"),
    "a limit of zero": ("/tokens", "limit=0"),
    "a negative limit": ("/tokens", "limit=-1"),
    "a limit that is too large": ("/tokens", f"limit={MAX_LIMIT + 1}"),
    "a limit in other digits": ("/tokens", "limit=%D9%A1"),
    "a limit with a sign": ("/tokens", "limit=%2B1"),
    "a cursor that is none": ("/tokens", "cursor=' OR 1=1"),
    "a cursor of another list": ("/tokens", "cursor=17"),
    "a cursor of entries that is none": ("/audit", "cursor=0"),
    "a huge cursor": ("/audit", "cursor=9999999999999999999"),
    "a state that is none": ("/tokens", "state=Active"),
    "a kind that is none": ("/tokens", "kind=user"),
    "a service without a namespace": ("/tokens", "service=server"),
    "a long value": ("/tokens", "subject=" + "a" * 600),
}


@pytest.mark.parametrize("what", BAD_QUERIES)
def test_a_query_with_a_slip_is_refused_and_lists_nothing(busy: RunningDesk, token: str, what: str) -> None:
    path, query = BAD_QUERIES[what]
    answer = busy.admin("GET", f"{path}?{query}", token)
    assert (answer.status_code, answer.json()["reason"]) == (400, "malformed_request")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/token",
        "/tokens/",
        "/tokens/abc",
        f"/tokens/{'A' * 32}",
        f"/tokens/{'0' * 31}",
        "/clients/",
        "/clients/A",
        "/clients/a/b",
        "/clients/..",
        "/clients/%61",
        "/tokens/../clients",
        "//tokens",
        "/audit/",
        f"/tokens/{'0' * 32}/revoke/",
        "/explain/",
    ],
)
def test_paths_that_no_operation_has_are_404(busy: RunningDesk, token: str, path: str) -> None:
    # Sent as it is: a client would fold it.
    import http.client

    connection = http.client.HTTPConnection(busy.admin_url.removeprefix("http://"), timeout=30)
    connection.request("GET", f"/admin/v1{path}", headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    assert answer.status == 404
    assert json.loads(answer.read())["reason"] == "unknown_endpoint"
    connection.close()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_each_operation_takes_its_own_method_and_no_stranger(
    busy: RunningDesk, token: str, route: Any
) -> None:
    path = route.path.replace("{token_id}", "0" * 32).replace("{name}", "cache")
    path = path.replace("{agent_id}", AGENT)
    taken = [each.method for each in ROUTES if each.path == route.path]
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        if method not in taken:
            answer = busy.admin(method, path, token)
            assert (answer.status_code, answer.headers["allow"]) == (405, ", ".join(taken))
    if route.is_open:
        return
    answer = busy.http.request(route.method, f"{busy.admin_url}/admin/v1{path}")
    assert (answer.status_code, answer.json()["reason"]) == (401, "missing_admin_token")
    assert answer.headers["www-authenticate"] == 'Bearer realm="watchword-desk-admin"'


def test_two_authorization_headers_are_none(busy: RunningDesk, token: str) -> None:
    headers = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    answer = busy.http.get(f"{busy.admin_url}/admin/v1/tokens", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (401, "missing_admin_token")


QUESTION = {
    "issuer": "atlas-production",
    "namespace": "atlas-production",
    "service_account": "atlas",
    "service": "tuist/tuist-server",
}
BAD_BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "application/json"),
    "another type": (json.dumps(QUESTION).encode(), "text/plain"),
    "no JSON": (b"{", "application/json"),
    "a list": (b"[]", "application/json"),
    "a name twice": (b'{"issuer": "a", "issuer": "b"}', "application/json"),
    "a member is missing": (b'{"issuer": "a"}', "application/json"),
    "an unknown member": (json.dumps(QUESTION | {"token": "x"}).encode(), "application/json"),
    "a number for a name": (json.dumps(QUESTION | {"issuer": 1}).encode(), "application/json"),
    "deep": (b'{"issuer":' + b"[" * 5000 + b"]" * 5000 + b"}", "application/json"),
}


@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_body_that_is_none_of_the_operation_s_is_refused(busy: RunningDesk, token: str, what: str) -> None:
    body, media = BAD_BODIES[what]
    answer = busy.admin("POST", "/explain", token, content=body, headers={"Content-Type": media})
    assert (answer.status_code, answer.json()["reason"]) == (400, "malformed_request")


def test_a_body_is_bounded_and_one_where_none_belongs_is_refused(busy: RunningDesk, token: str) -> None:
    large = b" " * (MAX_BODY_BYTES + 1)
    assert busy.admin("POST", "/explain", token, content=large).status_code == 413
    jti = claims_of(busy.minted())["jti"]
    answer = busy.admin("POST", f"/tokens/{jti}/revoke", token, content=b"{}")
    assert (answer.status_code, answer.json()["reason"]) == (400, "malformed_request")
    assert busy.admin("GET", f"/tokens/{jti}", token).json()["state"] == "active"


def test_the_document_is_served_to_anyone_and_names_what_the_server_takes(busy: RunningDesk) -> None:
    answer = busy.http.get(f"{busy.admin_url}/admin/v1/openapi.json")
    assert answer.json() == DOCUMENT
    said = {(path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item}
    assert said == {(route.path, route.method) for route in ROUTES}


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.filter_too_much,
        HealthCheck.too_slow,
    ],
)
def test_every_answer_is_one_that_the_document_says(case: Any, busy: RunningDesk, token: str) -> None:
    request = case.as_transport_kwargs(base_url=f"{busy.admin_url}/admin/v1")
    headers = {
        name: value
        for name, value in dict(request["headers"]).items()
        if name.lower() not in ("authorization", "host", "content-length")
    }
    given = {name: request[name] for name in ("json", "params") if request.get(name) is not None}
    if isinstance(request.get("data"), bytes | str):
        given["content"] = request["data"]
    answer = httpx.request(
        request["method"],
        request["url"],
        headers={**headers, "Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=30,
        **given,
    )
    assert answer.status_code < 500
    operation = DOCUMENT["paths"][case.operation.path][case.operation.method.lower()]
    documented = operation["responses"]
    assert str(answer.status_code) in documented or answer.status_code in (404, 405)
    name = "Refusal" if answer.status_code != 200 else ""
    said = {"$ref": f"#/components/schemas/{name}"} if name else None
    content = said or documented["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**content, "components": DOCUMENT["components"]}).validate(answer.json())


@pytest.mark.parametrize(
    "route", [each for each in ROUTES if each.name != "sign_in"], ids=lambda route: route.name
)
def test_good_answers_are_as_the_document_says(busy: RunningDesk, token: str, route: Any) -> None:
    jti = claims_of(busy.minted())["jti"]
    agent = f"reg_{ROUTES.index(route):032x}"
    registration = Registration(id=agent, kind="anonymous", made_at=1, expires_at=int(time.time()) + 900)
    attempt = Attempt(digest=agent, agent=agent, address=ALICE, expires_at=registration.expires_at)
    now = int(time.time())
    busy.desk._store.write(
        [
            Register(registration=registration, claim_digest=agent, at_most=99, now=now),
            StartAttempt(attempt=attempt, now=now),
        ]
    )
    path = route.path.replace("{token_id}", jti).replace("{name}", "automation").replace("{agent_id}", agent)
    bodies = {"explain": QUESTION | {"scope": "cache:read"}}
    bodies |= {each: {"address": ALICE} for each in ("export_person", "forget_person")}
    body = {"json": bodies[route.name]} if route.name in bodies else {}
    answer = busy.admin(route.method, path, token, **body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    operation = DOCUMENT["paths"][route.path][route.method.lower()]
    content = operation["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**content, "components": DOCUMENT["components"]}).validate(answer.json())


def test_what_is_shown_of_clients_holds_no_secret_and_no_digest(busy: RunningDesk, token: str) -> None:
    digest = "ab" * 32
    busy.source.secrets = {("cache-secret", "sha256"): digest}
    busy.change(
        *objects(client_object("by-secret", authentication={"secretRef": {"name": "cache-secret"}})),
        admin_object("unflagged", adminServiceAccount=None, grantedBy=None),
    )
    answer = busy.admin("GET", "/clients/by-secret", token)
    assert answer.json()["authentication"] == {"secret": {"name": "cache-secret", "key": "sha256"}}
    assert digest not in answer.text
    admin = busy.admin("GET", "/clients/unflagged", token).json()["admin"]
    assert (admin["requested"], admin["counts"]) == (False, False)
    assert "adminServiceAccount" in admin["problem"]


def test_a_client_that_calls_too_often_waits(busy: RunningDesk) -> None:
    source = Source()
    source.objects = objects()
    with running_desk(source, admin_listen="127.0.0.1:0", admin_calls_per_second=0.5) as slow:
        token = slow.admin_token().json()["access_token"]
        answers = [slow.admin("GET", "/audit/head", token) for _ in range(3)]
    assert [each.status_code for each in answers].count(429) >= 1
    assert all(int(each.headers["retry-after"]) >= 1 for each in answers if each.status_code == 429)
