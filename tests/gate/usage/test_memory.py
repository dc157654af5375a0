# SPDX-License-Identifier: Apache-2.0
"""How large a gate grows that is sent the heaviest bodies there are, many at once, by one whom it trusts.

Counted in bytes of a real process: its highest resident size since it started, below four fifths of the limit
that the chart gives a gate.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from testing import tokens
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.memory import MIB, bound_of, memory_of

EVENTS = "/api/internal/usage/events"
GRANTS = [{"scopes": ["account:usage:read", "account:usage:write"], "accounts": ["*"]}]
METERS = [{"name": "hits", "eventType": "cache.hit", "aggregation": "count"}]
AT_ONCE = 12


def event(number: int, data: object) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "/cache",
        "type": "cache.hit",
        "subject": "acme",
        "data": data,
    }


def batch(*documents: object) -> bytes:
    return json.dumps(documents, separators=(",", ":")).encode()


# What is sent, and what may come of it: refused by what it has too much of, or taken.
BODIES: dict[str, tuple[bytes, set[int]]] = {
    "ones": (b"[" + b"1," * (MIB // 2 - 8) + b"1]", {413, 429, 503}),
    "ones in an event": (b"[[" + b"1," * (MIB // 2 - 8) + b"1]]", {413, 429, 503}),
    "objects": (b"[[" + b'{"a":1},' * (MIB // 8 - 8) + b"1]]", {413, 429, 503}),
    "as many values as may be": (batch(*(event(n, [1] * 4000) for n in range(15))), {200, 429, 503}),
    "as many members as may be": (
        batch(*(event(n, {f"k{m}": 1 for m in range(2000)}) for n in range(14))),
        {200, 429, 503},
    ),
    "refused one by one": (b"[" + b'"",' * 999 + b'""]', {422, 429, 503}),
}


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate of its own, so that its highest size is this test's."""
    objects = (issuer(), service(usage={"meters": METERS}), workload(grants=GRANTS))
    with running_gate(write_bundle(tmp_path / "bundle.json", *objects)) as gate:
        yield gate


@pytest.mark.parametrize("name", BODIES)
def test_the_heaviest_bodies_at_once_stay_within_the_gates_limit(gate: Gate, name: str) -> None:
    body, statuses = BODIES[name]
    now = int(time.time())
    bearer = tokens.token(iat=now - 60, nbf=now - 60, exp=now + 3000).decode()
    headers = {"authorization": f"Bearer {bearer}", "content-type": "application/cloudevents-batch+json"}

    async def send_all() -> list[int]:
        async with httpx.AsyncClient(base_url=gate.url, trust_env=False, timeout=120.0) as client:
            posts = [client.post(EVENTS, content=body, headers=headers) for _ in range(AT_ONCE)]
            return [answer.status_code for answer in await asyncio.gather(*posts)]

    for _ in range(3):
        found = asyncio.run(send_all())
        assert set(found) <= statuses
        # Somebody was answered by what the body is, and not by how many came.
        assert set(found) - {429, 503}
    assert memory_of(gate.pid).peak < bound_of("gate")
    assert gate.ask(bearer).status == 200
