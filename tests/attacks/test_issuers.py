# SPDX-License-Identifier: Apache-2.0
"""K6: what one trusted cluster serves never puts out another, through a gate that compiles the manifests.

Each token is sent three times on one connection: cold, from the cache, and where the gate knows the bytes.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from testing import tokens
from testing.attacks.gate_process import read
from testing.gate_process import Gate, running_dev
from testing.manifests import issuer, service, workload
from testing.tokens import Signer, signer

OTHER_URL = "https://other.example"
# The other cluster's object is older than the first one's, of the same second, or newer.
CREATED = {
    "older": "2025-12-31T23:59:59Z",
    "same second": "2026-01-01T00:00:00Z",
    "newer": "2026-01-01T00:00:01Z",
}
FIRST, SECOND, OWN = signer("first", "ES256"), signer("second", "ES256"), signer("own", "ES256")
# Another key under the first cluster's kid.
TWIN = Signer(FIRST.kid, "ES256")
SERVED: dict[str, list[dict[str, Any]]] = {
    "its own key alone": [OWN.jwk],
    "another key under the kid": [TWIN.jwk],
    "its own key, and another under the kid": [OWN.jwk, TWIN.jwk],
    "the public key": [FIRST.jwk],
    "its own key, and the public key": [OWN.jwk, FIRST.jwk],
    "the public key under another kid": [FIRST.jwk | {"kid": "renamed"}],
    "the public key and another under its kid": [FIRST.jwk, TWIN.jwk],
}


def issuer_of(name: str, url: str, created: str, keys: list[dict[str, Any]]) -> dict[str, Any]:
    return issuer(name, created=created, issuer=url, keys={"inline": {"keys": keys}})


def trusting(folder: Path, *issuers: dict[str, Any]) -> Path:
    """Manifests in which the account `atlas` of each issuer is trusted, as a workload of its own."""
    folder.mkdir()
    names = [each["metadata"]["name"] for each in issuers]
    workloads = [workload(f"atlas-{name}", issuerRef={"name": name}) for name in names]
    for number, each in enumerate([*issuers, service(), *workloads]):
        (folder / f"{number}.yaml").write_text(json.dumps(each))
    return folder


def told(gate: Gate, by: Signer, url: str = tokens.URL) -> list[str]:
    """Who is calling in three answers to one token, or why not."""
    now = int(time.time())
    token = tokens.token(by, iss=url, iat=now - 60, nbf=now - 60, exp=now + 600)
    found = []
    host, _, port = gate.address.rpartition(":")
    with socket.create_connection((host, int(port)), 30) as link:
        for _ in range(3):
            link.sendall(b"GET /authz HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer %s\r\n\r\n" % token)
            answer = read(link)
            names = [value for name, value in answer.headers if name == "x-watchword-workload"]
            found.append(names[0] if answer.status == 200 else answer.reason)
    return found


@pytest.mark.parametrize("created", CREATED)
@pytest.mark.parametrize("served", SERVED)
def test_what_another_issuer_serves_puts_none_out(tmp_path: Path, served: str, created: str) -> None:
    first = issuer_of("first", tokens.URL, CREATED["same second"], [FIRST.jwk, SECOND.jwk])
    other = issuer_of("other", OTHER_URL, CREATED[created], SERVED[served])
    with running_dev(trusting(tmp_path / "manifests", first, other)) as gate:
        assert told(gate, FIRST) == ["tuist/atlas-first"] * 3
        assert told(gate, SECOND) == ["tuist/atlas-first"] * 3
        keys = json.dumps(SERVED[served])
        for by in (OWN, TWIN):
            if by.jwk["x"] in keys:
                assert told(gate, by, OTHER_URL) == ["tuist/atlas-other"] * 3
            assert "tuist/atlas-first" not in told(gate, by)


@pytest.mark.parametrize("created", ["same second", "newer"])
@pytest.mark.parametrize("served", SERVED)
def test_of_two_issuers_of_one_iss_no_more_than_the_disputed_key_is_out(
    tmp_path: Path, served: str, created: str
) -> None:
    first = issuer_of("first", tokens.URL, CREATED["same second"], [FIRST.jwk, SECOND.jwk])
    other = issuer_of("other", tokens.URL, CREATED[created], SERVED[served])
    is_disputed = FIRST.jwk["x"] in json.dumps(SERVED[served])
    with running_dev(trusting(tmp_path / "manifests", first, other)) as gate:
        assert told(gate, SECOND) == ["tuist/atlas-first"] * 3
        if not is_disputed:
            assert told(gate, FIRST) == ["tuist/atlas-first"] * 3
        # Whatever became of it, its callers are never taken for the other's.
        assert "tuist/atlas-other" not in told(gate, FIRST)
        for by in (OWN, TWIN):
            if by.jwk["x"] in json.dumps(SERVED[served]):
                assert told(gate, by) == ["tuist/atlas-other"] * 3


def test_a_key_set_that_lists_one_key_twice_has_it_once(tmp_path: Path) -> None:
    # As a kube-apiserver serves it that was given one key file twice.
    first = issuer_of("first", tokens.URL, CREATED["newer"], [FIRST.jwk, FIRST.jwk, SECOND.jwk])
    with running_dev(trusting(tmp_path / "manifests", first)) as gate:
        assert told(gate, FIRST) == told(gate, SECOND) == ["tuist/atlas-first"] * 3
