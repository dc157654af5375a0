# SPDX-License-Identifier: Apache-2.0
"""A gate process in front of an app on bare sockets, and one way to speak to it in exact bytes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from testing import tokens
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.proxy.app import App, running_app

WAIT_SECONDS = 60
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
ROUTES = [
    {"path": "/app/{account}/{name}", "methods": METHODS, "scope": "app:use"},
    {"path": "/other/{account}/{name}", "methods": METHODS, "scope": "app:administer"},
]
GRANTS = [{"scopes": ["app:use", "account:usage:read", "account:usage:write"], "accounts": ["acme"]}]


def bearer() -> bytes:
    """A good Authorization header."""
    now = int(time.time())
    token = tokens.token(iat=now - 60, nbf=now - 60, exp=now + 3000)
    return b"Authorization: Bearer " + token


@dataclass(slots=True)
class Front:
    """The gate, and the app behind it."""

    gate: Gate
    app: App

    def connect(self) -> socket.socket:
        """A connection to the gate."""
        host, port = self.gate.address.rsplit(":", 1)
        return socket.create_connection((host, int(port)), WAIT_SECONDS)

    def ask(self, line: bytes, *headers: bytes, body: bytes = b"", credential: bytes | None = None) -> bytes:
        """One request in exact bytes on a connection of its own; what came until it closed."""
        given = [bearer() if credential is None else credential, *headers, b"Connection: close"]
        if not any(each.lower().startswith(b"host:") for each in headers):
            given.insert(0, b"Host: gate")
        with self.connect() as link:
            link.sendall(b"\r\n".join([line, *(each for each in given if each), b"", body]))
            return b"".join(iter(lambda: link.recv(65536), b""))


@pytest.fixture(scope="session")
def proxy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One trusted workload that may use the app for one account."""
    objects = (issuer(), service(routes=ROUTES), workload(grants=GRANTS))
    return write_bundle(tmp_path_factory.mktemp("proxy") / "bundle.json", *objects)


@pytest.fixture(scope="module")
def front(proxy_bundle: Path) -> Iterator[Front]:
    """A gate with `--upstream`."""
    with running_app() as app:
        flags = ("--upstream", app.url, "--upstream-timeout-seconds", "2", "--log-level", "debug")
        with running_gate(proxy_bundle, *flags) as gate:
            yield Front(gate, app)
