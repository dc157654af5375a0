# SPDX-License-Identifier: Apache-2.0
"""`watchword verify` on requests: public routes, paths that the gate answers itself, and what is missing."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from testing.gate_process import running_gate
from testing.manifests import compiled, issuer, service, workload
from testing.tokens import kubernetes, token
from tests.cli.conftest import AT, Work
from watchword.gate.authz_request import AuthzRequest, find_credential, read_authz_request
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.gate.original_request import OriginalRequest
from watchword.gate.responses import Allowed, Answer
from watchword.trust import encode_bundle, load

ROUTES = [
    {"path": "/health", "methods": ["GET"], "public": True},
    {"path": "/accounts/{account}/usage", "methods": ["GET"], "scope": "account:usage:read"},
    {"path": "/builds", "methods": ["GET"], "scope": "builds:read"},
    {"path": "/deploys/{account}", "methods": ["GET"], "scope": "deploys:write", "purpose": "deploy"},
    {"path": "/authz/foo", "methods": ["GET"], "scope": "account:usage:read"},
]
BUNDLE = compiled(issuer(), service(routes=ROUTES), workload()).bundles[0]
STRANGER = token(
    sub="system:serviceaccount:atlas-production:stranger",
    **{"kubernetes.io": kubernetes(serviceaccount={"name": "stranger", "uid": "u"})},
)


@pytest.fixture(autouse=True)
def _bundle(work: Work) -> None:
    work.write("routes.json", encode_bundle(BUNDLE))


def verify(work: Work, path: str, data: bytes | None = None, *more: str) -> tuple[int, str]:
    arguments = ("verify", "--bundle", "{work}/routes.json", "--at", AT, "--method", "GET", "--path", path)
    done = work.run(*arguments, *more, stdin=token() if data is None else data)
    return done.exit_code, re.sub(r"\s+", " ", done.stdout)


@pytest.mark.parametrize("prefix", ["", "/authz/envoy"])
def test_a_public_route_needs_no_scope_behind_any_proxy(work: Work, prefix: str) -> None:
    code, said = verify(work, f"{prefix}/health")
    assert (code, "the route of the request is public: it needs no token" in said) == (0, True), said
    assert "which is granted" not in said
    report = json.loads(verify(work, f"{prefix}/health", None, "-o", "json")[1])
    assert (report["public"], report["requiredScope"]) == (True, "")


@pytest.mark.parametrize("prefix", ["", "/authz/envoy"])
def test_a_refused_token_at_a_public_route_is_said_to_pass_there(work: Work, prefix: str) -> None:
    code, said = verify(work, f"{prefix}/health", STRANGER)
    assert code == 1
    assert "Refused: unknown_workload" in said
    assert "The route of the request is public: the gate lets it in without a token" in said
    # It would be let in: there is nothing to grant.
    assert "grants: [{scopes: [SCOPE]" in said
    assert "public: the gate" not in verify(work, f"{prefix}/builds", STRANGER)[1]


@pytest.mark.parametrize("path", ["/authz/foo", "/authz/nginx/x", "/authz/", "/authz/envoy"])
def test_what_the_gate_answers_404_is_refused_although_a_route_has_the_path(work: Work, path: str) -> None:
    code, said = verify(work, path)
    assert (code, "no_route" in said, "There is no such endpoint below /authz" in said) == (1, True, True)


@pytest.mark.parametrize("path", ["/authz/nginx", "/authz/ingress-nginx", "/authz/traefik", "/authz/caddy"])
def test_a_proxys_endpoint_asks_for_the_original_request(work: Work, path: str) -> None:
    code, said = verify(work, path)
    assert (code, "Give the method and the path of the original request" in said) == (1, True), said


def test_verify_says_yes_where_the_gate_does(work: Work) -> None:
    engine = Engine(GateMetrics(), clock=lambda: float(AT))
    engine.adopt(load(BUNDLE))
    bearer = [(b"authorization", b"Bearer " + token())]
    plain = ("/health", "/accounts/acme/usage", "/builds", "/deploys/acme", "/none", "/accounts/a/../b")
    answers = set()
    for path in (*plain, *(f"/authz/envoy{each}" for each in plain), "/authz", "/authz/foo", "/authz/x"):
        asked = read_authz_request("GET", path.encode(), bearer)
        if asked is None:
            asked = AuthzRequest(find_credential(bearer), OriginalRequest("GET", path.encode()))
        decided = asked if isinstance(asked, Answer) else engine.decide(asked)
        answers.add(isinstance(decided, Allowed))
        assert (verify(work, path)[0] == 0) == isinstance(decided, Allowed), path
    assert answers == {True, False}


ODD = [
    "/x/é", "/accounts/ünï/usage", "/accounts/acme/usage ", "/accounts/acme/usage\t", " /builds", "/ x",
    "/x y", "/x\ty", "/x?é", "/x?a b", "/\u202ex", "/x\x01", "/x%20y", "/x%00", "/%ff", "/x\udcff", "", " ",
    "x", "*", "?x", "//x", "/x/", "/x/..;/y", "/\uff0fx", "/BUILDS", "/builds#a", "/x\x7f", "/x\xa0",
    "/x\u2003", "/x\ud800",
]  # fmt: skip


@pytest.mark.parametrize("path", ODD)
def test_verify_says_of_odd_paths_what_a_running_gate_says_behind_nginx(
    work: Work, nginx: Callable[[bytes, bytes], tuple[int, str]], path: str
) -> None:
    status, reason = nginx(path.encode("utf-8", "surrogatepass"), caller())
    done = work.run(*_command(path), "-o", "json", stdin=caller())
    said = json.loads(done.stdout)
    assert (done.exit_code == 0) == (status == 200), (status, reason, said)
    # A head that is no HTTP gets 400, which has no reason.
    assert said.get("reason", "") == reason or status == 400


def _command(path: str) -> tuple[str, ...]:
    return ("verify", "--bundle", "{work}/odd.json", "--method", "GET", "--path", path)


@cache
def caller() -> bytes:
    now = int(time.time())
    return token(iat=now - 60, nbf=now - 60, exp=now + 3000)


@pytest.fixture(scope="module")
def odd_gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, bytes]]:
    every = [*ROUTES[:3], {"path": "/{path...}", "methods": ["GET"], "scope": "builds:read"}]
    scopes = ["builds:read", "account:usage:read"]
    trusted = workload(grants=[{"scopes": scopes, "accounts": ["acme", "ünï"]}])
    bundle = encode_bundle(compiled(issuer(), service(routes=every), trusted).bundles[0])
    file = tmp_path_factory.mktemp("odd") / "bundle.json"
    file.write_bytes(bundle)
    with running_gate(file) as gate:
        yield gate.address, bundle


@pytest.fixture
def nginx(work: Work, odd_gate: tuple[str, bytes]) -> Callable[[bytes, bytes], tuple[int, str]]:
    """Ask a gate as nginx does, which passes on the bytes of a path as they came."""
    address, bundle = odd_gate
    work.write("odd.json", bundle)
    host, _, port = address.rpartition(":")

    def ask(target: bytes, credential: bytes) -> tuple[int, str]:
        lines = (
            b"GET /authz/nginx HTTP/1.1", b"Host: gate", b"Connection: close",
            b"Authorization: Bearer " + credential, b"X-Original-Method: GET", b"X-Original-URI: " + target,
        )  # fmt: skip
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
            with connection.makefile("rb") as file:
                head = file.read().partition(b"\r\n\r\n")[0].decode("latin-1")
        reason = re.search(r"(?im)^x-watchword-reason: (\S+)", head)
        return int(head.split()[1]), reason[1] if reason else ""

    return ask


def test_a_missing_workload_is_given_the_purpose_of_the_route(work: Work) -> None:
    report = json.loads(verify(work, "/deploys/acme", STRANGER, "-o", "json")[1])
    spec = report["trustedWorkload"]["spec"]
    assert spec["grants"] == [{"scopes": ["deploys:write"], "accounts": ["acme"]}]
    assert spec["purposes"] == ["deploy"]
