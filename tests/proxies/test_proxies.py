# SPDX-License-Identifier: Apache-2.0
"""The gate asked by real proxies: who gets in, what the refused are told, and which identity the app sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from testing.gate_process import USAGE_PATH, issuer, running_gate, service, workload, write_bundle
from testing.tokens import signer
from tests.proxies.callers import ISSUER, bearer
from tests.proxies.echo import Server, tap, told, toy_app
from tests.proxies.front import Answer, Front, start_proxy

IDENTITY_HEADERS = (
    "X-Watchword-Subject",
    "X-Watchword-Issuer",
    "X-Watchword-Workload",
    "X-Watchword-Scopes",
    "X-Watchword-Accounts",
    "X-Watchword-Account",
    "X-Watchword-Project",
    "X-Watchword-Grants",
    "X-Watchword-Decision-Id",
)

# A path without an account is about none, and only /authz tells all grants.
LEFT_EMPTY = {"X-Watchword-Account", "X-Watchword-Project", "X-Watchword-Grants"}


def test_a_caller_with_a_project_reaches_the_project_and_not_the_account(front: Front) -> None:
    hostile = (
        "X-Watchword-Project: android",
        "X-Watchword-Account: other",
        'X-Watchword-Grants: [{"scopes":[]}]',
    )
    answer = front.send("GET", "/api/accounts/acme/projects/ios", bearer("builder"), *hostile)

    assert answer.status == 200
    [seen] = front.app.seen
    assert seen.values("X-Watchword-Account") == ["acme"]
    assert seen.values("X-Watchword-Project") == ["ios"]
    assert "".join(seen.values("X-Watchword-Grants")) == ""

    assert front.send("GET", USAGE_PATH, bearer("builder")).status == 403
    assert front.send("GET", "/api/accounts/acme/projects/android", bearer("builder")).status == 403


def test_a_trusted_caller_reaches_the_app_with_the_identity_that_the_gate_found(front: Front) -> None:
    answer = front.send("GET", USAGE_PATH, bearer("reader"))

    assert (answer.status, answer.body) == (200, "hello from the app")
    [seen] = front.app.seen
    assert seen.values("X-Watchword-Subject") == ["system:serviceaccount:atlas:reader"]
    assert seen.values("X-Watchword-Issuer") == [ISSUER]
    assert seen.values("X-Watchword-Workload") == ["tuist/reader"]
    assert seen.values("X-Watchword-Accounts") == ["acme"]
    assert seen.values("X-Watchword-Account") == ["acme"]
    assert len(seen.values("X-Watchword-Decision-Id")) == 1


def test_the_app_does_not_get_the_token(front: Front) -> None:
    front.send("GET", USAGE_PATH, bearer("reader"))

    [seen] = front.app.seen
    assert not seen.values("Authorization")
    assert "eyJ" not in repr(seen.headers)


@pytest.mark.parametrize(
    ("request_line", "authorization", "refusal"),
    [
        pytest.param(f"GET {USAGE_PATH}", lambda: "", "401 missing_credential", id="nobody"),
        pytest.param(
            f"GET {USAGE_PATH}",
            lambda: "Authorization: Basic YTpi",
            "400 malformed_credential",
            id="a password",
        ),
        pytest.param(
            f"GET {USAGE_PATH}", lambda: bearer("stranger"), "403 unknown_workload", id="a stranger"
        ),
        pytest.param(
            f"GET {USAGE_PATH}",
            lambda: bearer("reader", signer("another-cluster")),
            "401 unknown_key",
            id="the same name in another cluster",
        ),
        pytest.param(
            f"GET {USAGE_PATH}",
            lambda: bearer("reader", audience="another-service"),
            "401 wrong_audience",
            id="a token for another service",
        ),
        pytest.param("GET /admin", lambda: bearer("reader"), "403 no_route", id="no route"),
        pytest.param(
            f"POST {USAGE_PATH}", lambda: bearer("reader"), "403 insufficient_scope", id="another method"
        ),
        pytest.param(
            f"HEAD {USAGE_PATH}", lambda: bearer("reader"), "403 no_route", id="a method of no route"
        ),
        pytest.param(
            "GET /api/accounts/other/usage",
            lambda: bearer("reader"),
            "403 account_not_granted",
            id="another account",
        ),
    ],
)
def test_who_is_refused_learns_why_and_does_not_reach_the_app(
    front: Front, request_line: str, authorization: Callable[[], str], refusal: str
) -> None:
    method, path = request_line.split()
    status, reason = refusal.split()

    answer = front.send(method, path, *filter(None, [authorization()]))

    assert (answer.status, answer.values("X-Watchword-Reason")) == (int(status), [reason])
    assert not front.app.seen
    if method != "HEAD":
        assert json.loads(answer.body)["reason"] == reason


def test_a_401_carries_one_challenge(front: Front) -> None:
    answer = front.send("GET", USAGE_PATH, bearer("reader", audience="another-service"))

    [challenge] = answer.values("WWW-Authenticate")
    assert challenge.startswith("Bearer ")


def test_the_query_decides_nothing_and_reaches_the_app(front: Front) -> None:
    allowed = front.send("GET", f"{USAGE_PATH}?from=2026-01-01&x=/../admin", bearer("reader"))
    targets = [seen.target for seen in front.app.seen]
    refused = front.send("GET", f"/admin?x={USAGE_PATH}", bearer("reader"))

    assert allowed.status == 200
    assert targets == [f"{USAGE_PATH}?from=2026-01-01&x=/../admin"]
    assert (refused.status, front.app.seen) == (403, [])


def test_a_request_with_a_body_is_decided_by_its_method_and_arrives_whole(front: Front) -> None:
    body = "one event"
    lines = (bearer("writer"), f"Content-Length: {len(body)}", "", body)
    # `send` ends with an empty line, which a server reads as nothing after the body.
    answer = front.send("POST", USAGE_PATH, *lines)

    assert answer.status == 200
    [seen] = front.app.seen
    assert (seen.method, seen.values("Content-Length")) == ("POST", ["9"])


def with_body(front: Front, method: str, *lines: str) -> Answer:
    """A request with a body for a route that binds the account from the query."""
    body = "tenant_id=other"
    sent = (bearer("reader"), *lines, f"Content-Length: {len(body)}", "", body)
    return front.send(method, "/search?tenant_id=acme", *sent)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/mixed; boundary=a", "text/xml"]
)
def test_a_form_does_not_reach_an_app_whose_account_is_in_the_query(
    front: Front, method: str, kind: str
) -> None:
    answer = with_body(front, method, f"Content-Type: {kind}")

    assert (answer.status, answer.values("X-Watchword-Reason")) == (400, ["ambiguous_query"])
    assert not front.app.seen


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_what_has_no_type_could_be_a_form(front: Front, method: str) -> None:
    assert with_body(front, method).status == 400
    assert front.send(method, "/search?tenant_id=acme", bearer("reader")).status == 400
    assert not front.app.seen


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_the_gate_is_handed_the_type_of_the_body_and_what_is_no_form_passes(
    front: Front, method: str
) -> None:
    answer = with_body(front, method, "Content-Type: application/json")

    assert answer.status == 200
    [asked] = front.gate.seen
    assert asked.values("Content-Type") == ["application/json"]
    [seen] = front.app.seen
    assert seen.values("Content-Type") == ["application/json"]
    assert seen.values("X-Watchword-Account") == ["acme"]


def test_a_token_in_a_header_of_its_own_comes_to_the_gate_and_not_to_the_app(front: Front) -> None:
    token = bearer("reader").removeprefix("Authorization: Bearer ")
    front.send("GET", "/open", bearer("reader"), f"X-Watchword-Token: {token}")

    [asked] = front.gate.seen
    assert asked.values("X-Watchword-Token") == [token]
    [seen] = front.app.seen
    assert seen.values("X-Watchword-Token") == []
    assert token not in repr(seen.headers)


def spellings(name: str) -> list[str]:
    """The ways to write a header so that some app takes it for `name`."""
    return [
        name,
        name.lower(),
        name.upper(),
        name.replace("-", "_"),
        name.replace("-", "_").lower(),
        name.replace("-", "_", 1),
        name[::-1].replace("-", "_", 1)[::-1],
        # All that HTTP allows in a name besides letters, digits and the dash (RFC 9110, section 5.6.2).
        *(name.replace("-", sign) for sign in "!#$%&'*+.^`|~"),
    ]


@pytest.mark.parametrize("account", ["reader", "bare"])
@pytest.mark.parametrize("name", IDENTITY_HEADERS)
def test_an_identity_that_the_caller_wrote_never_reaches_the_app(
    front: Front, name: str, account: str
) -> None:
    path = "/open"
    assert front.send("GET", path, bearer(account)).status == 200
    true = front.app.seen[0].values(name)

    for spelling in spellings(name):
        front.send("GET", path, f"{spelling}: forged", bearer(account), f"{spelling}: forged-too")
        for seen in front.app.seen:
            found = seen.values(name)
            assert "forged" not in repr(found), spelling
            if name != "X-Watchword-Decision-Id":
                assert found == true, spelling


def test_what_the_gate_left_empty_the_caller_cannot_fill(front: Front) -> None:
    front.send("GET", "/open", bearer("bare"), "X-Watchword-Accounts: *", "x_watchword_accounts: *")

    [seen] = front.app.seen
    assert "".join(seen.values("X-Watchword-Accounts")) == ""


@pytest.mark.parametrize("name", IDENTITY_HEADERS)
@pytest.mark.parametrize("connection", ["{name}", "close, {name}", "keep-alive,{lower}", "x, {upper} , y"])
def test_a_header_named_in_connection_is_not_lost_on_the_way(
    front: Front, name: str, connection: str
) -> None:
    value = connection.format(name=name, lower=name.lower(), upper=name.upper())

    front.send("GET", "/open", bearer("reader"))
    # nginx passes no header that the gate left empty; the others pass it empty.
    usual = len(front.app.seen[0].values(name))
    assert usual or name in LEFT_EMPTY

    answer = front.send("GET", "/open", bearer("reader"), f"Connection: {value}", f"{name}: forged")

    for seen in front.app.seen:
        assert len(seen.values(name)) == usual
        assert "forged" not in repr(seen.headers)
    assert answer.status == (200 if front.app.seen else 400)


# Everything that some proxy or framework takes for the path or the method of the original request.
FORWARDING = (
    ("X-Original-URI", USAGE_PATH),
    ("X-Original-Url", USAGE_PATH),
    ("X-Forwarded-Uri", USAGE_PATH),
    ("X-Forwarded-Path", USAGE_PATH),
    ("X-Forwarded-Prefix", "/api"),
    ("X-Rewrite-Url", USAGE_PATH),
    ("X-Envoy-Original-Path", USAGE_PATH),
    ("X-Original-Method", "GET"),
    ("X-Forwarded-Method", "GET"),
    ("X-HTTP-Method-Override", "GET"),
)


@pytest.mark.parametrize(("name", "value"), FORWARDING)
@pytest.mark.parametrize(("method", "path"), [("GET", "/admin"), ("POST", USAGE_PATH)])
def test_a_caller_cannot_choose_what_is_decided(
    front: Front, name: str, value: str, method: str, path: str
) -> None:
    for spelling in (name, name.lower(), name.replace("-", "_")):
        for extra in ((), (f"Connection: close, {name}",)):
            twice = (f"{spelling}: {value}", bearer("reader"), f"{spelling}: {value}", *extra)
            answer = front.send(method, path, *twice)

            assert answer.status == 403, (spelling, extra)
            assert not front.app.seen, (spelling, extra)


def test_the_gate_is_told_one_method_and_one_path_and_they_are_the_real_ones(front: Front) -> None:
    own = "X-Original" if front.name == "nginx" else "X-Forwarded"

    front.send("GET", USAGE_PATH, bearer("reader"), f"{own}-Uri: /open", f"{own}-Method: POST")

    [asked] = front.gate.seen
    assert asked.target.startswith(front.endpoint)
    assert told(asked) == ("GET", USAGE_PATH)


@pytest.mark.parametrize(
    "path",
    [
        "/.watchword",
        "/%2ewatchword",
        "/authz",
        "/authz/nginx",
        "/authz/caddy",
        "/authz/traefik",
        "/authz/envoy",
    ],
)
def test_the_gates_own_paths_are_not_open_through_the_proxy(front: Front, path: str) -> None:
    answer = front.send("GET", path, bearer("reader"))

    assert answer.status in {403, 404}
    assert not answer.values("X-Watchword-Subject")
    assert not front.app.seen


def test_a_caller_over_its_rate_is_told_to_wait(proxy: str, tmp_path: Path) -> None:
    bundle = write_bundle(
        tmp_path / "bundle.json",
        issuer(ISSUER, {"keys": [signer("proxies").jwk]}),
        service(limits={"requestsPerSecond": 1, "burst": 1}),
        workload("reader", ISSUER, ("atlas", "reader")),
    )
    with (
        running_gate(bundle) as gate,
        toy_app() as app,
        tap(gate.address) as between,
        start_proxy(proxy, tmp_path, gate=between, app=app) as front,
    ):
        # More than one a second: as many as it takes, and never more than a second's worth get in.
        answers = [front.send("GET", USAGE_PATH, bearer("reader")) for _ in range(5)]

    refused = [each for each in answers if each.status != 200]
    assert {each.status for each in refused} == {429}
    assert {*refused[0].values("X-Watchword-Reason")} == {"rate_limited"}
    assert int(refused[0].values("Retry-After")[0]) >= 1


def test_without_its_gate_a_proxy_lets_nobody_in(proxy: str, tmp_path: Path) -> None:
    # Port 1 of loopback: nobody listens there.
    with (
        toy_app() as app,
        start_proxy(proxy, tmp_path, gate=Server("127.0.0.1:1"), app=app) as front,
    ):
        answer = front.send("GET", USAGE_PATH, bearer("reader"))

        assert answer.status >= 500
        assert not app.seen


def test_a_gate_that_is_not_ready_is_said_to_be_so(proxy: str, tmp_path: Path) -> None:
    with (
        running_gate(tmp_path / "missing.json", is_ready_required=False) as gate,
        toy_app() as app,
        tap(gate.address) as between,
        start_proxy(proxy, tmp_path, gate=between, app=app) as front,
    ):
        answer = front.send("GET", USAGE_PATH, bearer("reader"))

        # Envoy takes every 5xx of a gate for none, and says its own.
        reason = [] if proxy in {"envoy", "istio"} else ["not_ready"]
        assert (answer.status, answer.values("X-Watchword-Reason")) == (503, reason)
        assert not app.seen
