# SPDX-License-Identifier: Apache-2.0
"""A running gate that trusts the default token."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.manifests import issuer, service, workload
from tests.gate.running import RunningGate


@pytest.fixture
def bare_gate(tmp_path: Path) -> Iterator[RunningGate]:
    """A gate without a bundle."""
    running = RunningGate(tmp_path)
    yield running
    running.close()


@pytest.fixture
def gate(bare_gate: RunningGate) -> RunningGate:
    """A gate with one service, routes, meters and one trusted workload."""
    routes = [
        {"path": "/app/{account}", "methods": ["GET"], "scope": "account:usage:read"},
        {"path": "/admin", "methods": ["GET"], "scope": "admin:read"},
    ]
    meters = [{"name": "hits", "eventType": "cache.hit", "aggregation": "count"}]
    grants = [{"scopes": ["account:usage:read", "account:usage:write"], "accounts": ["acme"]}]
    bare_gate.adopt(issuer(), service(routes=routes, usage={"meters": meters}), workload(grants=grants))
    return bare_gate
