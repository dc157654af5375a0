# SPDX-License-Identifier: Apache-2.0
"""`diff` on edits of routes: it names each caller that a gate lets in on one side alone, before or after."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from testing.desk import DESK, DESK_NAMESPACE, RULES, desk, desk_signer
from testing.manifests import issuer, parsed, service, workload
from testing.tokens import NOW
from tests.cli.test_who_can import (
    ACCOUNTS,
    CALLERS,
    PROJECTS,
    PURPOSES,
    SCOPES,
    bearer,
    by_desk,
    caller,
    grant,
)
from watchword.cli.access_changes import ANYONE
from watchword.cli.change import Change
from watchword.cli.probe_requests import MAX_PATTERNS
from watchword.cli.trust_changes import State, changes_between
from watchword.gate.authz_request import AuthzRequest
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.gate.original_request import OriginalRequest
from watchword.gate.responses import Allowed
from watchword.identity import Reason, Refusal
from watchword.trust import RouteMatch, compile_resources, load
from watchword.trust.desks import DeskKeys

Json = dict[str, Any]
Request = tuple[str, str]
_SEGMENTS = ["a", "b", "me", "{account}", "{project}", "{x}", "{y}"]
_NAMES = [*ACCOUNTS, *PROJECTS, "a", "b", "me", "A", "Me", "b.", "other", "%C3%A4", "a%20b"]
_QUERIES: list[dict[str, str]] = [
    {"t": "account"},
    {"t": "account?"},
    {"u": "account"},
    {"t": "account", "u": "project?"},
    {"t": "account", "u": "project"},
    {"u": "project?"},
]
_EXAMPLES = re.compile(r"may (?:no longer )?send (.*?)(?: and \d+ more)?(?:, refused before)?")


def state(routes: list[Json], workloads: list[Json], **spec: Any) -> State | None:
    """A state of trust; None where the routes are not a service's."""
    given = [issuer(), desk(), service(routes=routes, tokenDeskRef={"name": DESK}, **spec), *workloads]
    parts = parsed(*copy.deepcopy(given))
    keys = {(DESK_NAMESPACE, DESK): DeskKeys((desk_signer().jwk,))}
    compiled = compile_resources(parts.resources, audiences=RULES, desk_keys=keys)
    return None if parts.problems or not compiled.bundles else State(compiled, parts.resources)


def usable(routes: list[Json], workloads: list[Json], **spec: Any) -> State:
    found = state(routes, workloads, **spec)
    assert found is not None
    return found


def route(rng: random.Random) -> Json:
    path = "".join(f"/{rng.choice(_SEGMENTS)}" for _ in range(rng.randint(1, 3)))
    path += rng.choice(["", "", "", "/", "/{rest...}"])
    made: Json = {"path": path, "methods": rng.sample(["GET", "POST"], rng.randint(1, 2))}
    if rng.random() < 0.1:
        return made | {"public": True}
    made["scope"] = rng.choice(SCOPES)
    if rng.random() < 0.25:
        made["query"] = rng.choice(_QUERIES)
    if rng.random() < 0.15:
        made["purpose"] = rng.choice(PURPOSES)
    return made


def routes_of(rng: random.Random) -> list[Json]:
    """A list that a service may have: each route is tried, and stays where it does no harm."""
    found: list[Json] = []
    for _ in range(rng.randint(2, 7)):
        tried = [*found, route(rng)]
        found = tried if state(tried, []) is not None else found
    return found


def edited(rng: random.Random, routes: list[Json]) -> list[Json]:
    """The routes with a slip or two."""
    while True:
        found = copy.deepcopy(routes)
        for _ in range(rng.randint(1, 2)):
            place = rng.randrange(len(found)) if found else 0
            kind = rng.choice(
                ["drop", "add", "swap", "path", "scope", "methods", "query", "capture", "purpose"]
            )
            if kind == "add" or not found:
                found.insert(place, route(rng))
            elif kind == "drop":
                found.pop(place)
            elif kind == "swap":
                rng.shuffle(found)
            elif kind == "capture":
                names = ("{account}", "{tenant}"), ("{x}", "{account}"), ("{project}", "{z}")
                found[place]["path"] = found[place]["path"].replace(*rng.choice(names))
            else:
                other = route(rng)
                found[place].pop(kind, None)
                found[place].update({kind: other[kind]} if kind in other else {})
        if found != routes and state(found, []) is not None:
            return found


def requests_of(rng: random.Random, lists: list[list[Json]]) -> Iterator[Request]:
    """Requests for paths of the routes and for others, with odd names and queries."""
    paths = [each["path"] for routes in lists for each in routes]
    for _ in range(80):
        path = rng.choice(paths) if paths and rng.random() < 0.8 else "/{x}/{y}/{z}"[: rng.choice([4, 8, 12])]
        path = path.replace("{rest...}", "/".join(rng.choices(_NAMES, k=rng.randint(1, 2))))
        path = re.sub(r"\{\w+\}", lambda _: rng.choice(_NAMES), path)
        if rng.random() < 0.2:
            path = rng.choice([path + "/", path.rstrip("/"), path.upper(), f"{path}.", f"{path}/more"]) or "/"
        names = [*rng.sample(["t", "u"], rng.randint(0, 2)), *rng.choices(["T", "v"], k=rng.random() < 0.1)]
        query = "&".join(f"{name}={rng.choice(_NAMES)}" for name in names)
        yield rng.choice(["GET", "GET", "POST", "PUT"]), f"{path}?{query}" if query else path


@cache
def of_caller(name: str) -> Any:
    return bearer(caller(name, NOW))


@cache
def of_desk(name: str, purpose: str, scope: str, account: str | None, project: str | None) -> Any:
    return bearer(by_desk(name, purpose, scope, account, project))


class Gate:
    """What a gate's engine says, with every token that a caller can have for a request."""

    def __init__(self, of: State) -> None:
        [bundle] = of.compiled.bundles
        self.ruleset = load(bundle)
        self._engine = Engine(GateMetrics(), clock=lambda: NOW)
        self._engine.adopt(self.ruleset)

    def _is_let_in(self, credential: Any, request: Request) -> bool:
        asked = AuthzRequest(credential, OriginalRequest(request[0], request[1].encode()))
        return isinstance(self._engine.decide(asked), Allowed)

    def is_public(self, request: Request) -> bool:
        return self._is_let_in(Refusal(Reason.MISSING_CREDENTIAL), request)

    def lets_in(self, name: str, request: Request) -> bool:
        credentials = [of_caller(name)]
        match = self.ruleset.routes.match(request[0], request[1].encode())
        if isinstance(match, RouteMatch) and match.purpose is not None:
            purposes = self.ruleset.policy.desk and self.ruleset.policy.desk.purposes
            if match.purpose in (purposes or {}).get(f"tuist/{name}", ()):
                asked = (match.scope, match.account, match.project)
                credentials.append(of_desk(name, match.purpose, *asked))
        return any(self._is_let_in(each, request) for each in credentials)


def named(changes: list[Change], kind: str, who: str) -> bool:
    return any(each.kind == kind and each.who.startswith(who) for each in changes)


@pytest.mark.parametrize("seed", range(8))
def test_each_caller_that_a_gate_lets_in_or_refuses_is_named(seed: int) -> None:
    rng = random.Random(seed)
    found = {"gains": 0, "loses": 0}
    for _ in range(25):
        grants = {name: [grant(rng) for _ in range(rng.randint(1, 3))] for name in CALLERS}
        purposes = {name: rng.sample(PURPOSES, rng.randint(1, 2)) for name in CALLERS if rng.random() < 0.6}
        before = [workload(n, n, grants=g, **_purposes(purposes, n)) for n, g in grants.items()]
        after = copy.deepcopy(before)
        if rng.random() < 0.3:
            after[rng.randrange(len(after))]["spec"]["grants"] = [grant(rng)]
        lists = [routes_of(rng)]
        lists.append(edited(rng, lists[0]))
        states = usable(lists[0], before), usable(lists[1], after)
        changes = changes_between(*states, NOW)
        one, other = map(Gate, states)
        for request in requests_of(rng, lists):
            said = json.dumps([request, lists, grants, [each.what for each in changes]], indent=1)
            public = one.is_public(request), other.is_public(request)
            if public[0] != public[1]:
                kind = "gains" if public[1] else "loses"
                assert (
                    named(changes, kind, ANYONE)
                    or any(each.kind == kind and "is public" in each.what for each in changes)
                    or any(each.kind == kind and "is gone" in each.what for each in changes)
                ), said
            if any(public):
                continue
            for name in CALLERS:
                was, now = one.lets_in(name, request), other.lets_in(name, request)
                if was != now:
                    kind = "gains" if now else "loses"
                    found[kind] += 1
                    assert named(changes, kind, f"ServiceAccount atlas-production/{name} "), said
        _each_example_holds(changes, one, other)
    assert min(found.values()) > 10, found


def _purposes(purposes: dict[str, list[str]], name: str) -> Json:
    return {"purposes": purposes[name]} if name in purposes else {}


def _each_example_holds(changes: list[Change], one: Gate, other: Gate) -> None:
    for each in changes:
        examples = _EXAMPLES.fullmatch(each.what)
        for example in examples[1].split(", ") if examples else ():
            method, _, target = example.partition(" ")
            name = each.who.removeprefix("ServiceAccount atlas-production/").partition(" ")[0]

            def decision(gate: Gate, name: str = name, request: Request = (method, target)) -> bool:
                return gate.is_public(request) or (name in CALLERS and gate.lets_in(name, request))

            assert (decision(one), decision(other)) == (each.kind == "loses", each.kind == "gains"), each


BASE: list[Json] = [
    {"path": "/api/{account}/usage", "methods": ["GET"], "scope": "a:read"},
    {"path": "/admin", "methods": ["POST"], "scope": "c:run"},
    {"path": "/search", "methods": ["GET"], "scope": "a:read", "query": {"t": "account"}},
    {"path": "/{path...}", "methods": ["GET"], "scope": "b:write"},
]
ONE = "ServiceAccount atlas-production/one of production"
TWO = "ServiceAccount atlas-production/two of production"


def _edit(place: int, **fields: Any) -> Callable[[list[Json]], object]:
    return lambda routes: routes[place].update(fields)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            _edit(0, path="/api/{tenant}/usage"),
            [("gains", ONE, "may send GET /api/any-1/usage, refused before")],
        ),
        (
            _edit(1, scope="a:read"),
            [
                ("gains", ONE, "may send POST /admin, refused before"),
                ("loses", TWO, "may no longer send POST /admin"),
            ],
        ),
        (
            lambda routes: routes.pop(1),
            [
                ("gains", ONE, "may send GET /admin, refused before"),
                ("loses", TWO, "may no longer send POST /admin"),
            ],
        ),
        (
            _edit(0, path="/api/{account}/usages"),
            [
                ("gains", ONE, "may send GET /api/any-1/usage, GET /API/any-1/usage, refused before"),
                ("loses", ONE, "may no longer send GET /api/any-1/usages, GET /API/any-1/usages"),
            ],
        ),
        (_edit(3, methods=["GET", "POST"]), [("gains", ONE, "may send POST /any-0, refused before")]),
        (_edit(2, query={"t": "account?"}), [("gains", ONE, "may send GET /search, refused before")]),
        (
            _edit(2, query={"u": "account"}),
            [
                (
                    "gains",
                    ONE,
                    "may send GET /search?u=acme, GET /search?t=any-t&u=acme, refused before",
                ),
                (
                    "loses",
                    ONE,
                    "may no longer send GET /search?t=acme, GET /search?t=acme&u=any-u",
                ),
            ],
        ),
        (_edit(0, path="/api/{account}/{kind}"), []),
        (lambda routes: routes.insert(0, routes.pop(2)), []),
    ],
)
def test_an_edit_of_routes_names_who_gains_with_an_example(
    edit: Callable[[list[Json]], object], expected: list[tuple[str, str, str]]
) -> None:
    grants = [{"scopes": ["a:read", "b:write"], "accounts": ["acme"]}]
    callers = [workload("one", "one", grants=grants), workload("two", "two", grants=[{"scopes": ["c:run"]}])]
    routes = copy.deepcopy(BASE)
    edit(routes)
    changes = changes_between(usable(BASE, callers), usable(routes, callers), NOW)
    said = [(each.kind, each.who, each.what) for each in changes if each.who]
    if expected:
        assert said == expected
    back = changes_between(usable(routes, callers), usable(BASE, callers), NOW)
    opposite = {"gains": "loses", "loses": "gains"}
    assert sorted((opposite[each.kind], each.who) for each in back if each.who) == sorted(
        (kind, who) for kind, who, _ in said
    )


def test_another_base_path_of_the_gates_own_endpoints_names_who_may_ask_there() -> None:
    callers = [workload("one", "one", grants=[{"scopes": ["account:usage:read"], "accounts": ["acme"]}])]
    changes = changes_between(usable(BASE, callers), usable(BASE, callers, usage={"basePath": "/own"}), NOW)
    said = {each.kind: each.what for each in changes if each.who == ONE}
    assert "GET /own/usage" in said["gains"]
    assert "GET /api/internal/usage" in said["loses"]


def test_a_list_that_is_too_long_to_try_counts_as_wider() -> None:
    def routes(number: int, of: str) -> list[Json]:
        return [
            {"path": f"/{{x}}/{of}{one}/{{y}}", "methods": ["GET"], "scope": "a:read"}
            if one % 2
            else {"path": f"/{of}{one}/{{x}}/{{y}}", "methods": ["GET"], "scope": "a:read"}
            for one in range(number)
        ]

    assert MAX_PATTERNS < 250 * 250
    changes = changes_between(usable(routes(250, "a"), []), usable(routes(250, "b"), []), NOW)
    assert [each.what for each in changes if "too many ways" in each.what and each.kind == "gains"]
