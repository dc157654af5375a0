# SPDX-License-Identifier: Apache-2.0
"""One gate for the folder; for each proxy, that proxy before it and a toy app behind.

Where a proxy is not installed its tests are skipped aloud, unless `WATCHWORD_REQUIRE_PROXIES=1` (CI).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.gate_process import ROUTES, Gate, issuer, running_gate, service, workload, write_bundle
from testing.tokens import signer
from testing.unavailable import skip_or_fail
from tests.proxies.callers import ISSUER
from tests.proxies.echo import tap, toy_app
from tests.proxies.front import PROXIES, Front, executable, start_proxy

PROJECT_ROUTE = {
    "path": "/api/accounts/{account}/projects/{project}",
    "methods": ["GET"],
    "scope": "project:read",
}
QUERY_ROUTE = {
    "path": "/search",
    "methods": ["GET", "POST", "DELETE"],
    "scope": "account:usage:read",
    "query": {"tenant_id": "account"},
}
_HERE = Path(__file__).parent


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder, so that `-m 'not proxies'` leaves all of them out."""
    if item.path.is_relative_to(_HERE):
        item.add_marker(pytest.mark.proxies)


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """The real gate. It trusts `reader`, `writer`, `builder`, and `bare`, which was granted nothing."""
    bundle = write_bundle(
        tmp_path_factory.mktemp("gate") / "bundle.json",
        issuer(ISSUER, {"keys": [signer("proxies").jwk]}),
        service(routes=[*ROUTES, PROJECT_ROUTE, QUERY_ROUTE]),
        workload(
            "reader",
            ISSUER,
            ("atlas", "reader"),
            grants=[{"scopes": ["account:usage:read", "app:read"], "accounts": ["acme"]}],
        ),
        workload(
            "writer",
            ISSUER,
            ("atlas", "writer"),
            grants=[{"scopes": ["account:usage:write"], "accounts": ["acme"]}],
        ),
        workload(
            "builder",
            ISSUER,
            ("atlas", "builder"),
            grants=[{"scopes": ["project:read"], "accounts": ["acme"], "projects": ["ios"]}],
        ),
        workload("bare", ISSUER, ("atlas", "bare"), grants=[{"scopes": ["app:read"]}]),
    )
    with running_gate(bundle) as running:
        yield running


@pytest.fixture(scope="session", params=PROXIES)
def proxy(request: pytest.FixtureRequest) -> str:
    """The name of each proxy in turn, where it is installed."""
    name: str = request.param
    if executable(name) is None:
        skip_or_fail("proxy tests", f"{name} is not installed", required_by="WATCHWORD_REQUIRE_PROXIES")
    return name


@pytest.fixture(scope="session")
def front(proxy: str, gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A proxy on the configuration of its how-to, asking the gate through a tap."""
    folder = tmp_path_factory.mktemp(proxy)
    with (
        toy_app() as app,
        tap(gate.address) as between,
        start_proxy(proxy, folder, gate=between, app=app) as running,
    ):
        yield running
