# SPDX-License-Identifier: Apache-2.0
"""`who-can` says of random manifests and questions exactly what a gate does with the callers' tokens."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from testing.desk import (
    DESK,
    DESK_NAMESPACE,
    RULES,
    desk,
    desk_signer,
    desk_token,
    from_origin,
    granting,
)
from testing.gate_process import running_gate
from testing.manifests import issuer, parsed, service, workload
from testing.tokens import NOW, kubernetes, token
from tests.cli.conftest import Work
from watchword.gate.app import GateApp
from watchword.gate.authz_request import AuthzRequest, find_credential
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.gate.original_request import OriginalRequest
from watchword.gate.responses import Allowed
from watchword.gate.usage.api import UsageApi
from watchword.identity import Reason, Refusal
from watchword.trust import Bundle, compile_resources, encode_bundle, load
from watchword.trust.bundle import seal
from watchword.trust.desks import DeskKeys
from watchword.usage import open_store

SCOPES = ["a:read", "b:write", "c:run"]
USAGE = "account:usage:read"
PURPOSES = ["cache-read", "deploy"]
ACCOUNTS, PROJECTS = ["acme", "globex", "acme-2"], ["ios", "android"]
CALLERS = ["one", "two", "three", "four", "five"]
Question = tuple[str, str | None, str | None]


def routes(rng: random.Random) -> list[dict[str, Any]]:
    """Some routes for each scope, with what may stand before them: public ones, and the gate's own paths."""
    made: list[dict[str, Any]] = []
    for n, scope in enumerate(SCOPES):
        ends = ["", "/{account}", "/{account}/{project}", "/{account}/{project}/{path...}"]
        found: list[dict[str, Any]] = [
            {"path": f"/s{n}{end}", "scope": scope} for end in rng.sample(ends, rng.randint(1, len(ends)))
        ]
        bound = rng.choice(
            [{"owner": "account"}, {"owner": "account?"}, {"owner": "account", "app": "project?"}]
        )
        found.append({"path": f"/q{n}", "scope": scope, "query": bound})
        for each in found:
            if rng.random() < 0.3:
                each["purpose"] = rng.choice(PURPOSES)
        shadows = ["/s{n}/acme", "/s{n}/{x}/ios", "/s{n}/acme/{y}", "/s{n}/{x}/ios/{y...}"]
        if rng.random() < 0.4:
            path, method = rng.choice(shadows).replace("{n}", str(n)), rng.choice(["GET", "GET", "POST"])
            made.append({"path": path, "public": True, "methods": [method]})
        made += [{"path": f"/authz/s{n}/{{account}}", "scope": scope}] if rng.random() < 0.3 else []
        made += rng.sample(found, rng.randint(1, len(found)))
    if rng.random() < 0.5:
        made.append({"path": "/api/internal/accounts/{account}/usage", "scope": rng.choice(SCOPES)})
    return [{"methods": ["GET"]} | each for each in made]


def some(rng: random.Random, names: list[str], *, every: float = 0.2) -> list[str]:
    return ["*"] if rng.random() < every else rng.sample(names, rng.randint(1, len(names)))


def grant(rng: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {"scopes": rng.sample([*SCOPES, USAGE], rng.randint(1, 2))}
    if rng.random() < 0.8:
        made["accounts"] = some(rng, ACCOUNTS)
    if rng.random() < 0.4:
        made["projects"] = some(rng, PROJECTS)
    return made


def plain_routes() -> list[dict[str, Any]]:
    ends = ("", "/{account}", "/{account}/{project}")
    return [
        {"path": f"/s{n}{end}", "methods": ["GET"], "scope": scope}
        for n, scope in enumerate(SCOPES)
        for end in ends
    ]


def manifests(rng: random.Random, routes: list[dict[str, Any]]) -> Bundle:
    objects = [
        workload(
            name,
            name,
            grants=[grant(rng) for _ in range(rng.randint(0, 3))],
            **({"purposes": rng.sample(PURPOSES, rng.randint(1, 2))} if rng.random() < 0.5 else {}),
            suspend=rng.random() < 0.15,
            **(
                {"expires": rng.choice(["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])}
                if rng.random() < 0.3
                else {}
            ),
        )
        for name in CALLERS
        if rng.random() < 0.9
    ]
    its_desk = {"tokenDeskRef": {"name": DESK}} if rng.random() < 0.8 else {}
    parts = parsed(issuer(), desk(), service(routes=routes, **its_desk), *objects)
    assert not parts.problems, parts.problems
    keys = {(DESK_NAMESPACE, DESK): DeskKeys((desk_signer().jwk,))}
    return compile_resources(parts.resources, audiences=RULES, desk_keys=keys).bundles[0]


def question(rng: random.Random) -> Question:
    account = rng.choice([None, *ACCOUNTS, "unheard-of"])
    project = None if account is None or rng.random() < 0.5 else rng.choice([*PROJECTS, "unheard-of"])
    return rng.choice(SCOPES), account, project


def targets(bundle: Bundle, question_asked: Question) -> Iterator[tuple[str, str | None, str | None]]:
    """The requests that a question is about, each with its account and its project."""
    scope, account, project = question_asked
    accounts = [None, *ACCOUNTS, "unheard-of"] if account is None else [account]
    projects = [None, *PROJECTS, "unheard-of"] if account is None else [project]
    for route in bundle.routes:
        for one, two in itertools.product(accounts, projects) if route.scope == scope else ():
            given = {"account": one, "project": two}
            path = route.path.replace("{path...}", "deep/er")
            query = {name: given[kind.removesuffix("?")] for name, kind in route.query.items()}
            is_whole = all(
                query[name] is not None or kind.endswith("?") for name, kind in route.query.items()
            )
            bound = {each for each in given if f"{{{each}}}" in path} | {
                kind.removesuffix("?") for kind in route.query.values()
            }
            if is_whole and all(each in bound or given[each] is None for each in given):
                for name, value in given.items():
                    path = path.replace(f"{{{name}}}", value or "")
                parts = [f"{name}={value}" for name, value in query.items() if value is not None]
                if "//" not in path and (not path.endswith("/")):
                    yield path + ("?" + "&".join(parts) if parts else ""), one, two


@cache
def caller(name: str, at: float) -> bytes:
    times = {"iat": int(at) - 60, "nbf": int(at) - 60, "exp": int(at) + 600}
    said = kubernetes(serviceaccount={"name": name, "uid": "u"})
    return token(sub=f"system:serviceaccount:atlas-production:{name}", **times, **{"kubernetes.io": said})


def by_desk(name: str, purpose: str, scope: str, account: str | None, project: str | None) -> bytes:
    """What the desk gives a workload for one request; it never gives more than this."""
    named = {"accounts": account, "projects": project}
    detail = {kind: [value] for kind, value in named.items() if value is not None}
    subject = f"system:serviceaccount:atlas-production:{name}"
    return desk_token(
        sub=f"workload:production:atlas-production:{name}",
        client_id=f"workload:production:atlas-production:{name}",
        purpose=purpose,
        jti=f"{name}-{purpose}",
        **granting({"actions": [scope]} | detail),
        **from_origin(subject=subject, service_account_uid="u"),
    )


def who_can(work: Work, question_asked: Question, at: float) -> set[str]:
    scope, account, project = question_asked
    command = ["who-can", scope, *([account] if account is not None else [])]
    command += ["--project", project] if project is not None else []
    done = work.run(*command, "--bundle", "{work}/asked.json", "--at", f"{at:.0f}", "-o", "json")
    [answer] = json.loads(done.stdout)["answers"]
    assert done.exit_code == (0 if answer["can"] else 1)
    assert not {each["workload"] for each in answer["can"]} & {each["workload"] for each in answer["cannot"]}
    return {each["workload"].removeprefix("tuist/") for each in answer["can"]}


def bearer(data: bytes) -> Any:
    return find_credential([(b"authorization", b"Bearer " + data)])


def test_2000_answers_are_what_the_gates_engine_does(work: Work) -> None:
    rng, answers, yes, by_purpose = random.Random(17), 0, 0, 0
    store = open_store(f"sqlite:///{work.path}/usage.db")
    while answers < 2000:
        bundle = manifests(rng, routes(rng))
        work.write("asked.json", encode_bundle(bundle))
        engine = Engine(GateMetrics(), clock=lambda: NOW)
        engine.adopt(load(bundle))
        app = GateApp(engine, UsageApi(engine, store))
        tokens = {name: bearer(caller(name, NOW)) for name in CALLERS}

        def is_let_in(credential: Any, target: str, engine: Engine = engine) -> bool:
            asked = AuthzRequest(credential, OriginalRequest("GET", target.encode()))
            return isinstance(engine.decide(asked), Allowed)

        for put in (question(rng) for _ in range(25)):
            # What passes without a token takes no scope, and what the gate answers itself is no route's.
            asked = [
                each
                for each in targets(bundle, put)
                if app.passes_on(each[0].encode())
                and not is_let_in(Refusal(Reason.MISSING_CREDENTIAL), each[0])
            ]
            let_in = {name for name in CALLERS if any(is_let_in(tokens[name], each[0]) for each in asked)}
            by_token = {
                name
                for name in CALLERS
                for purpose in PURPOSES
                if any(
                    is_let_in(bearer(by_desk(name, purpose, put[0], *each[1:])), each[0]) for each in asked
                )
            }
            assert who_can(work, put, NOW) == let_in | by_token, (put, bundle.routes, bundle.grants)
            answers, yes = answers + 1, yes + bool(let_in | by_token)
            by_purpose += bool(by_token - let_in)
    store.close()
    # No side of it is empty.
    assert 200 < yes < 1900
    assert by_purpose > 50


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_what_a_running_gate_says_at_authz_nginx(work: Work, tmp_path: Path, seed: int) -> None:
    rng, now = random.Random(seed), float(int(time.time()))
    bundle = manifests(rng, plain_routes())
    work.write("asked.json", encode_bundle(bundle))
    path = tmp_path / "bundle.json"
    path.write_bytes(encode_bundle(bundle))
    with running_gate(path) as gate:
        connection = http.client.HTTPConnection(gate.address, timeout=30.0)

        def is_let_in(name: str, target: str) -> bool:
            headers = {"X-Original-Method": "GET", "X-Original-URI": target}
            headers["Authorization"] = f"Bearer {caller(name, now).decode()}"
            connection.request("GET", "/authz/nginx", headers=headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status == 200

        def reads(name: str, target: str) -> bool:
            connection.request(
                "GET", target, headers={"Authorization": f"Bearer {caller(name, now).decode()}"}
            )
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (200, 403, 404)
            return answer.status != 403

        for put in [question(rng) for _ in range(20)]:
            asked = [each[0] for each in targets(bundle, put)]
            let_in = {name for name in CALLERS if any(is_let_in(name, each) for each in asked)}
            assert who_can(work, put, now) == let_in
        for account, project in itertools.product([None, *ACCOUNTS], [None, "ios"]):
            if account is None and project is not None:
                continue
            # The gate's own usage endpoints are about accounts as a whole.
            path = "/api/internal/" + ("usage" if account is None else f"accounts/{account}/usage")
            let_in = {name for name in CALLERS if project is None and reads(name, path)}
            assert who_can(work, (USAGE, account, project), now) == let_in
        connection.close()


@pytest.fixture
def ask(work: Work) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        done = work.run("who-can", *arguments)
        return done.exit_code, done.stdout, done.stderr

    return run


def test_a_scope_that_no_route_requires_gets_a_likely_one(ask: Callable[..., tuple[int, str, str]]) -> None:
    code, out, error = ask("account:project:read", "--manifests", "{work}/good")
    assert (code, "did you mean account:projects:read?" in error) == (1, True)
    assert "no workload" in out


def test_the_screen_names_each_caller_its_grants_and_why_not(
    work: Work, ask: Callable[..., tuple[int, str, str]]
) -> None:
    atlas = (work.path / "good/atlas.yaml").read_text()
    paused = atlas.replace("name: atlas\n", "name: paused\n", 1).replace("name: atlas}", "name: paused}")
    work.write("good/paused.yaml", paused.rstrip() + "\n  suspend: true\n")
    code, out, _ = ask("account:projects:read", "acme", "--manifests", "{work}/good")
    assert code == 0
    assert "account:projects:read for account acme: 1 workload" in out
    assert "required by GET /api/accounts/{account}/projects" in out
    assert "✓ tuist/atlas  ServiceAccount atlas-production/atlas of development" in out
    assert "✗ tuist/paused  ServiceAccount atlas-production/paused of development  (suspended)" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a:b", "--project", "ios"), "--project needs ACCOUNT"),
        (("a:b", "--bundle", "{work}/bundle.json", "--manifests", "{work}/good"), "at most one of"),
        (("a:b", "--bundle", "{work}/bundle.json", "--context", "x"), "belong to a cluster"),
        (("a:b", "--bundle", "{work}/junk"), "is not usable"),
        (("a:b", "--manifests", "{work}/two", "--service", "tuist/absent"), "Choose one of: tuist/other"),
        (("a:b", "--manifests", "{work}/good", "--jwks", "development"), "is not NAME=FILE"),
    ],
)
def test_a_question_that_cannot_be_asked_is_said_with_what_would_be_right(
    ask: Callable[..., tuple[int, str, str]], arguments: tuple[str, ...], said: str
) -> None:
    code, _, error = ask(*arguments)
    assert (code, said in " ".join(error.split())) == (2, True), error


def test_a_route_that_no_request_reaches_is_not_listed(work: Work) -> None:
    routes = [
        {"path": path, "methods": ["GET"], "scope": "a:read"}
        for path in ("/authz/s/{account}", "/api/internal/accounts/{account}/usage", "/s/{account}")
    ]
    parts = parsed(
        issuer(), service(routes=routes), workload(grants=[{"scopes": ["a:read"], "accounts": ["*"]}])
    )
    work.write("dead.json", encode_bundle(compile_resources(parts.resources).bundles[0]))
    done = work.run("who-can", "a:read", "acme", "--bundle", "{work}/dead.json", "-o", "json")
    assert json.loads(done.stdout)["answers"][0]["routes"] == ["GET /s/{account}"]


def test_a_purpose_that_a_workload_may_not_name_keeps_it_out(work: Work) -> None:
    grants = [{"scopes": ["a:read"], "accounts": ["*"]}]
    routes = [{"path": "/s/{account}", "methods": ["GET"], "scope": "a:read", "purpose": "deploy"}]
    parts = parsed(
        issuer(),
        desk(),
        service(routes=routes, tokenDeskRef={"name": DESK}),
        workload("may", "may", grants=grants, purposes=["deploy"]),
        workload("other", "other", grants=grants),
    )
    bundle = compile_resources(parts.resources, audiences=RULES).bundles[0]
    work.write("purpose.json", encode_bundle(bundle))
    done = work.run("who-can", "a:read", "acme", "--bundle", "{work}/purpose.json")
    assert "required by GET /s/{account} (by a desk token for the purpose deploy)" in done.stdout
    assert "✓ tuist/may" in done.stdout
    assert "✗ tuist/other  ServiceAccount atlas-production/other of production  (not for this)" in done.stdout


def test_a_bundle_with_a_route_that_no_gate_takes_is_refused(work: Work) -> None:
    bundle = manifests(random.Random(1), plain_routes())
    broken = msgspec.structs.replace(bundle.routes[0], path="/a/{b")
    sealed = seal(msgspec.structs.replace(bundle, routes=(broken,)), 1)
    work.write("broken.json", encode_bundle(sealed))
    done = work.run("who-can", "a:read", "--bundle", "{work}/broken.json")
    assert (done.exit_code, "has a route that no gate takes: /a/{b" in done.stderr) == (2, True), done.stderr
