# SPDX-License-Identifier: Apache-2.0
"""A remembered yes to a route is the one that would be found again, and of no one else."""

from __future__ import annotations

import gc
import random
from pathlib import Path
from typing import Any

import pytest

from testing.manifests import issuer, service, workload
from testing.tokens import kubernetes, token
from tests.gate.running import RunningGate
from watchword.gate.cache import ENTRY_BYTES, Permits
from watchword.identity import Grant
from watchword.trust import RouteMatch

ROUTES = [
    {"path": "/{account}/cache", "methods": ["GET"], "scope": "cache:read"},
    {"path": "/{account}/cache", "methods": ["PUT"], "scope": "cache:write"},
    {"path": "/{account}/{project}/cache", "methods": ["GET"], "scope": "cache:read"},
    {"path": "/status", "methods": ["GET"], "scope": "status:read"},
]
GRANTS: dict[str, list[dict[str, Any]]] = {
    "reader": [{"scopes": ["cache:read"], "accounts": ["acme"]}],
    # Equal to the reader's, and not the same.
    "twin": [{"scopes": ["cache:read"], "accounts": ["acme"]}],
    "writer": [{"scopes": ["cache:read", "cache:write"], "accounts": ["acme", "globex"]}],
    "project": [{"scopes": ["cache:read"], "accounts": ["acme"], "projects": ["ios"]}],
    "status": [{"scopes": ["status:read"], "accounts": ["*"]}],
}
TARGETS = ["/acme/cache", "/globex/cache", "/acme/ios/cache", "/acme/android/cache", "/status", "/none"]


def objects(grants: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    workloads = [
        workload(name, grants=held, serviceAccount={"namespace": "callers", "name": name})
        for name, held in grants.items()
    ]
    return [issuer(), service(routes=ROUTES), *workloads]


def asked(gate: RunningGate, who: str, method: str, target: str) -> tuple[int, dict[str, str]]:
    sent = [("x-original-method", method), ("x-original-uri", target)]
    own_claim = kubernetes(namespace="callers", serviceaccount={"name": who, "uid": f"sa-{who}"})
    shown = token(sub=f"system:serviceaccount:callers:{who}", **{"kubernetes.io": own_claim})
    answer = gate.call("/authz/nginx", shown, sent)
    own = {name: value for name, value in answer.headers.items() if name.startswith("x-watchword-")}
    own.pop("x-watchword-decision-id", None)
    return answer.status_code, own


@pytest.mark.parametrize("limit_bytes", [1 << 20, 3 * ENTRY_BYTES])
def test_any_order_of_callers_and_requests_is_answered_as_without_a_memory(
    tmp_path: Path, limit_bytes: int
) -> None:
    (tmp_path / "forgets").mkdir()
    gate, forgets = RunningGate(tmp_path), RunningGate(tmp_path / "forgets")
    rng, seen = random.Random(11), set()
    for generation in range(1, 4):
        # Each bundle gives another one what its predecessor gave: what is remembered must go with it.
        names = list(GRANTS)
        held = dict(zip(names, rng.sample(list(GRANTS.values()), len(names)), strict=True))
        for each, limit in ((gate, limit_bytes), (forgets, 0)):
            each.adopt(*objects(held), generation=generation)
            assert each.engine.active is not None
            each.engine.active.permits = Permits(limit)
        for _ in range(300):
            question = rng.choice(names), rng.choice(["GET", "PUT"]), rng.choice(TARGETS)
            answer = asked(gate, *question)
            assert answer == asked(forgets, *question), question
            seen.add(answer[0])
        assert gate.engine.active is not None
        assert gate.engine.active.permits.known
        assert forgets.engine.active is not None
        assert not forgets.engine.active.permits.known
    assert seen == {200, 403}


def test_while_a_permit_is_kept_nothing_else_has_its_ids() -> None:
    permits = Permits(200 * ENTRY_BYTES)
    for number in range(950):
        # No one else holds them: without the entry, their ids would be given to the next ones.
        grants = (Grant((f"s{number}:read",), ("acme",)),)
        match = RouteMatch("/", f"s{number}:read", "acme", None)
        permits.remember(grants, match, b"%d" % number)
        del grants, match
        if number % 100 == 0:
            gc.collect()
        assert permits.used_bytes <= permits.limit_bytes
        assert all(key == (id(held), id(match)) for key, (held, match, _) in permits.known.items())
        assert all(held[0].scopes == (match.scope,) for held, match, _ in permits.known.values())
    assert len(permits.known) > 50


def test_a_permit_that_is_larger_than_the_bound_is_not_kept() -> None:
    permits = Permits(ENTRY_BYTES)
    permits.remember((), RouteMatch("/", "s:read", None, None), b"x")
    assert (permits.known, permits.used_bytes) == ({}, 0)
