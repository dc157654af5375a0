# SPDX-License-Identifier: Apache-2.0
"""`watchword revoke` through a real kubectl: it adds what was said, and takes nothing out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from testing.controlplane import Cluster
from testing.tokens import Signer
from tests.cluster.keys.conftest import ISSUERS, Kubectl
from watchword.trust.key_rotation.held_keys import KeyState, held_key

A, B = (Signer(f"key-{name}", "ES256") for name in "ab")
NewIssuer = Callable[..., str]


def held(signer: Signer, state: KeyState) -> Any:
    return held_key(signer.key, state, float(int(time.time())))


def revoked(cluster: Cluster, name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = cluster.request("GET", f"{ISSUERS}/{name}")["spec"].get("revoked", [])
    return found


def test_what_is_revoked_is_added_to_what_was(
    kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer
) -> None:
    name = new_issuer([held(A, "Active"), held(B, "Active")], revoked=[B.key.thumbprint])
    arguments = ["--key", A.key.thumbprint, "--pod-uid", "p-1", "--pod-uid", "p-2", "--token-id", "t"]
    arguments += ["--service-account-uid", "s", "--issued-before", "2027-01-01T00:00:00Z"]
    done = kubectl.run("revoke", name, *arguments, "--yes", "-o", "json")
    assert (done.exit_code, json.loads(done.stdout)["written"]) == (0, True)
    assert revoked(kinds, name) == [
        {"keyThumbprint": B.key.thumbprint},
        {"keyThumbprint": A.key.thumbprint},
        {"tokenId": "t"},
        {"podUid": "p-1"},
        {"podUid": "p-2"},
        {"serviceAccountUid": "s"},
        {"issuedBefore": "2027-01-01T00:00:00Z"},
    ]
    again = kubectl.run("revoke", name, *arguments, "--yes")
    assert (again.exit_code, "nothing is changed" in again.stderr) == (0, True)
    assert len(revoked(kinds, name)) == 7


def test_that_nobody_is_left_is_said_before_it_is_so(kubectl: Kubectl, new_issuer: NewIssuer) -> None:
    name = new_issuer([held(A, "Active"), held(B, "Retiring")])
    one = kubectl.run("revoke", name, "--key", A.key.thumbprint)
    assert (one.exit_code, "no trusted key" in one.stderr) == (2, False)
    both = kubectl.run("revoke", name, "--key", A.key.thumbprint, "--key", B.key.thumbprint)
    assert "no trusted key" in both.stderr
    strange = kubectl.run("revoke", name, "--key", "A" * 43)
    assert "in advance" in strange.stderr


def test_without_a_terminal_and_a_word_nothing_is_revoked(
    kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer
) -> None:
    name = new_issuer([held(A, "Active")])
    done = kubectl.run("revoke", name, "--key", A.key.thumbprint, stdin="y\n")
    assert (done.exit_code, "--yes" in done.stderr) == (2, True)
    assert revoked(kinds, name) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say what to revoke"),
        (["--key", "short"], "not an RFC 7638 thumbprint"),
        (["--pod-uid", ""], "revokes nothing"),
        (["--issued-before", "yesterday"], "not a time"),
    ],
)
def test_what_cannot_be_revoked_is_said(kubectl: Kubectl, arguments: list[str], said: str) -> None:
    done = kubectl.run("revoke", "x", *arguments, "--yes")
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
