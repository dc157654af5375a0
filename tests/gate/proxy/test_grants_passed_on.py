# SPDX-License-Identifier: Apache-2.0
"""What the app behind the gate is told of grants, and that a caller adds nothing to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testing.gate_process import running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.proxy.app import running_app
from tests.gate.proxy.conftest import Front

ROUTES = [
    {"path": "/{account}/cache", "methods": ["GET"], "scope": "cache:read"},
    {"path": "/{account}/{project}/cache", "methods": ["GET"], "scope": "cache:read"},
]
GRANTS = [
    {"scopes": ["cache:read"], "accounts": ["acme"], "projects": ["ios"]},
    {"scopes": ["cache:read", "builds:read"], "accounts": ["globex"]},
]
FORGED = (
    b"X-Watchword-Account: forged",
    b"X-Watchword-Project: forged",
    b'X-Watchword-Grants: [{"scopes":["forged"]}]',
    b"x_watchword_project: forged",
)


@contextmanager
def granting_front(folder: Path) -> Iterator[Front]:
    """A gate with `--upstream` whose workload has a grant for a project and one for another account."""
    objects = (issuer(), service(routes=ROUTES), workload(grants=GRANTS))
    bundle = write_bundle(folder / "bundle.json", *objects)
    with running_app() as app, running_gate(bundle, "--upstream", app.url) as gate:
        yield Front(gate, app)


@pytest.fixture(scope="module")
def granting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with granting_front(tmp_path_factory.mktemp("grants")) as made:
        yield made


@pytest.mark.parametrize(
    ("path", "account", "project", "scopes", "accounts"),
    [
        (b"/acme/ios/cache", b"acme", b"ios", b"cache:read", b"acme"),
        (b"/globex/cache", b"globex", b"", b"builds:read cache:read", b"globex"),
    ],
)
def test_the_app_gets_what_was_decided_on_and_nothing_of_the_callers(  # noqa: PLR0917 - one row each
    granting: Front, path: bytes, account: bytes, project: bytes, scopes: bytes, accounts: bytes
) -> None:
    for _ in range(2):
        granting.app.seen.clear()
        assert b" 200 " in granting.ask(b"GET " + path + b" HTTP/1.1", *FORGED)
        [seen] = granting.app.seen
        assert seen.values(b"x-watchword-account") == [account]
        assert seen.values(b"x-watchword-project") == [project]
        assert seen.values(b"x-watchword-scopes") == [scopes]
        assert seen.values(b"x-watchword-accounts") == [accounts]
        assert seen.values(b"x-watchword-grants") == [b""]
        assert b"forged" not in repr(seen.headers).encode()


@pytest.mark.parametrize(
    "path", [b"/acme/cache", b"/acme/android/cache", b"/globex/ios/cache", b"/acme/ios2/cache"]
)
def test_what_no_single_grant_holds_never_reaches_the_app(granting: Front, path: bytes) -> None:
    for _ in range(2):
        granting.app.seen.clear()
        assert b"account_not_granted" in granting.ask(b"GET " + path + b" HTTP/1.1", *FORGED)
        assert granting.app.seen == []
