# SPDX-License-Identifier: Apache-2.0
"""A gate with routes that are public, take any rest, or bind from the query: what reaches the app."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.gate_process import write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.proxy.conftest import GRANTS
from tests.gate.proxy.scripted import Heard, Scene, credential, read_all, read_until, request, scene
from tests.gate.proxy.test_known_reads import shown
from tests.gate.proxy.test_passing_on import body_of, status_of
from tests.gate.proxy.test_tunnel import UPGRADE

ROUTES = [
    {"path": "/healthz", "methods": ["GET", "POST"], "public": True},
    {"path": "/stream", "methods": ["GET"], "public": True},
    {"path": "/socket", "methods": ["GET"], "public": True},
    {"path": "/Admin", "methods": ["POST"], "scope": "app:administer"},
    {
        "path": "/q",
        "methods": ["GET", "POST"],
        "scope": "app:use",
        "query": {"tenant_id": "account", "namespace_id": "project?"},
    },
    {"path": "/files/{account}/{path...}", "methods": ["GET"], "scope": "app:use"},
    {"path": "/{path...}", "methods": ["GET"], "scope": "app:administer"},
]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
EMPTY = (b"subject", b"issuer", b"workload", b"scopes", b"accounts", b"account", b"project", b"grants")


def script(heard: Heard) -> bytes | bool:
    if heard.name == "stream":
        heard.link.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
        heard.link.recv(1)
        return False
    if heard.name == "socket" and b"upgrade: websocket" in heard.head.lower():
        heard.link.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello"
        )
        heard.link.recv(1)
        return False
    lengths = shown(heard.head, b"content-length")
    size = int(lengths[0]) if lengths else 0
    while len(heard.rest) < size:
        data = heard.link.recv(65536)
        if not data:
            return False
        heard.rest += data
    heard.rest = heard.rest[size:]
    return OK % (len(heard.head), heard.head)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Scene]:
    """A gate before an app that answers with the head that it got."""
    with scene(tmp_path, script, routes=ROUTES) as running:
        yield running


def ask(place: Scene, line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    with place.connect() as link:
        head = [line, b"Host: gate", *headers, b"Connection: close", b"", body]
        link.sendall(b"\r\n".join(head))
        return read_all(link)


@pytest.mark.parametrize(
    "headers",
    [(), (b"Authorization: Bearer nonsense",), (b"Authorization: Basic YTpi",), (credential("one"),)],
)
def test_a_public_route_needs_no_token_and_gives_no_identity(
    place: Scene, headers: tuple[bytes, ...]
) -> None:
    for _ in range(3):
        forged = (b"X-Watchword-Subject: forged", b"x_watchword_accounts: *")
        answer = ask(place, b"GET /healthz?a=1 HTTP/1.1", *headers, *forged)
        assert status_of(answer) == 200
        head = body_of(answer)
        assert head.startswith(b"GET /healthz?a=1 HTTP/1.1\r\n")
        assert [shown(head, b"x-watchword-" + name) for name in EMPTY] == [[b""]] * len(EMPTY)
        assert len(shown(head, b"x-watchword-decision-id")) == 1
        assert shown(head, b"authorization") == []


@pytest.mark.parametrize(
    "line",
    [
        b"PUT /healthz HTTP/1.1",
        b"GET /healthz/ HTTP/1.1",
        b"GET /HEALTHZ HTTP/1.1",
        b"GET /healthz/../Admin HTTP/1.1",
        b"GET //healthz HTTP/1.1",
        b"GET /anything HTTP/1.1",
        b"GET /q?tenant_id=acme HTTP/1.1",
        b"GET /authz HTTP/1.1",
        b"GET /api/internal/accounts/acme/usage HTTP/1.1",
    ],
)
def test_without_a_token_nothing_else_reaches_the_app(place: Scene, line: bytes) -> None:
    assert status_of(ask(place, line)) == 401
    assert place.app.heard == []


def test_a_body_on_a_public_route_passes_and_a_kept_connection_serves_both(place: Scene) -> None:
    assert status_of(ask(place, b"POST /healthz HTTP/1.1", b"Content-Length: 3", body=b"abc")) == 200
    with place.connect() as link:
        for _ in range(3):
            link.sendall(b"GET /healthz HTTP/1.1\r\nHost: gate\r\n\r\n")
            read_until(link, b"x-watchword-decision-id: ")
            time.sleep(0.05)
    connections = {each.connection for each in place.app.heard}
    assert status_of(place.ask(b"GET /files/acme/a HTTP/1.1")) == 200
    # A connection to the app that served strangers serves no workload.
    assert place.app.heard[-1].connection not in connections


def test_authz_lets_a_public_request_in_without_a_token(place: Scene) -> None:
    public = (b"X-Original-Method: GET", b"X-Original-URI: /healthz")
    answer = ask(place, b"GET /authz/nginx HTTP/1.1", *public)
    assert status_of(answer) == 200
    assert [shown(answer, b"x-watchword-" + name) for name in EMPTY] == [[b""]] * len(EMPTY)
    other = (b"X-Original-Method: PUT", b"X-Original-URI: /healthz")
    assert status_of(ask(place, b"GET /authz/nginx HTTP/1.1", *other)) == 401
    assert status_of(ask(place, b"GET /authz HTTP/1.1")) == 401


def test_public_answers_and_sockets_last_through_bundles_and_end_with_the_trust(
    place: Scene, tmp_path: Path
) -> None:
    trusted = {"name": "one", "serviceAccount": {"namespace": "apps", "name": "one"}, "grants": GRANTS}
    with place.connect() as link, place.connect() as socket:
        link.sendall(b"GET /stream HTTP/1.1\r\nHost: gate\r\n\r\n")
        read_until(link, b"part\r\n")
        socket.sendall(b"\r\n".join([b"GET /socket HTTP/1.1", b"Host: gate", *UPGRADE, b"", b""]))
        read_until(socket, b"hello")
        write_bundle(
            tmp_path / "bundle.json", issuer(), service(routes=ROUTES), workload(**trusted), generation=2
        )
        while place.gate.ready().json()["generation"] != 2:
            time.sleep(0.05)
        # The sweep of long connections comes each second.
        for each in (link, socket):
            each.settimeout(1.5)
            with pytest.raises(TimeoutError):
                each.recv(1)
            each.settimeout(30)
        withdrawn = [each for each in ROUTES if not each.get("public")]
        write_bundle(
            tmp_path / "bundle.json", issuer(), service(routes=withdrawn), workload(**trusted), generation=3
        )
        assert b"0\r\n\r\n" not in read_all(link)
        read_all(socket)
    assert status_of(ask(place, b"GET /healthz HTTP/1.1")) == 401


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"GET /q?tenant_id=acme HTTP/1.1", 200, b""),
        (b"GET /q?tenant_id=rival HTTP/1.1", 403, b"account_not_granted"),
        (b"GET /q?tenant_id=acme&namespace_id=ios HTTP/1.1", 403, b"account_not_granted"),
        (b"GET /q HTTP/1.1", 400, b"ambiguous_query"),
        (b"GET /q?tenant_id=acme&tenant_id=rival HTTP/1.1", 400, b"ambiguous_query"),
        (b"GET /q?tenant_id=acme&Tenant.Id=rival HTTP/1.1", 400, b"ambiguous_query"),
        (b"GET /q?tenant_id[]=rival&tenant_id=acme HTTP/1.1", 400, b"ambiguous_query"),
        (b"GET /q?a=1;tenant_id=rival&tenant_id=acme HTTP/1.1", 400, b"ambiguous_query"),
        (b"GET /q?tenant_id=acme#&tenant_id=rival HTTP/1.1", 400, b"ambiguous_query"),
        (b"GET /files/acme/a/b/c HTTP/1.1", 200, b""),
        (b"GET /files/rival/a HTTP/1.1", 403, b"account_not_granted"),
        (b"GET /Admin HTTP/1.1", 403, b"no_route"),
        (b"GET /admin/ HTTP/1.1", 403, b"no_route"),
        (b"GET /Files/acme/a HTTP/1.1", 403, b"no_route"),
        (b"GET /else HTTP/1.1", 403, b"insufficient_scope"),
    ],
)
def test_what_a_workload_is_told(place: Scene, line: bytes, status: int, reason: bytes) -> None:
    # Twice: from the cache as well.
    for _ in range(2):
        before = len(place.app.heard)
        answer = place.ask(line)
        assert status_of(answer) == status
        assert (b"x-watchword-reason: " + reason + b"\r\n" in answer) == bool(reason)
        assert len(place.app.heard) == before + (status == 200)
        if b"tenant_id" in line and status == 200:
            assert shown(body_of(answer), b"x-watchword-account") == [b"acme"]


def test_a_form_on_a_route_that_reads_the_query_is_refused(place: Scene) -> None:
    line = b"POST /q?tenant_id=acme HTTP/1.1"
    kinds = (
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"multipart/mixed",
        b"",
    )
    for headers in ((), *((b"Content-Type: " + kind,) for kind in kinds)):
        form = place.ask(line, *headers, b"Content-Length: 15", body=b"tenant_id=rival")
        assert status_of(form) == 400
        assert b"ambiguous_query" in form
        chunks = b"f\r\ntenant_id=rival\r\n0\r\n\r\n"
        assert status_of(place.ask(line, *headers, b"Transfer-Encoding: chunked", body=chunks)) == 400
    assert place.app.heard == []
    plain = place.ask(line, b"Content-Type: application/json", b"Content-Length: 1", body=b"1")
    assert status_of(plain) == 200
    for nothing in ((), (b"Content-Length: 0",)):
        assert status_of(place.ask(line, *nothing)) == 200


def test_the_query_is_decided_in_known_reads_too(place: Scene) -> None:
    good, bad = b"GET /q?tenant_id=acme HTTP/1.1", b"GET /q?tenant_id=rival HTTP/1.1"
    with place.connect() as link:
        for _ in range(4):
            link.sendall(request(good))
            found = read_until(link, b"\r\n\r\n")
            length = int(shown(found, b"content-length")[0])
            while len(body_of(found)) < length:
                found += link.recv(65536)
            link.sendall(request(bad))
            assert b"account_not_granted" in read_until(link, b'"decision_id"')
    assert len(place.app.heard) == 4
