# SPDX-License-Identifier: Apache-2.0
"""The worked example in manifests/tenant-cache: the node decides as the gate does, and asks where it must."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.running_desk import EXCHANGE, JWT
from tests.desk.test_dev import Dev, running
from tests.e2e.reader import ROOT

ISSUER, AUDIENCE = "https://desk.example.com", "watchword.dev/services/dev/cache/cache-server"
READ, WRITE = "cache:artifact:read", "cache:artifact:write"
EXAMPLE = ROOT / "manifests/tenant-cache"


@dataclass
class Example:
    """`watchword dev` on the example, and the node next to it."""

    dev: Dev
    node: str
    token_file: Path

    def exchange(self, caller: str, **parameters: str) -> httpx.Response:
        subject = self.dev.cluster_token("acme", caller, "watchword.dev/desks/dev/watchword-desk/desk")
        form = {
            "grant_type": EXCHANGE,
            "subject_token": subject,
            "subject_token_type": JWT,
            "audience": "cache/cache-server",
        }
        return httpx.post(f"{self.dev.desk}/oauth2/token", data=form | parameters, trust_env=False)

    def minted(self, caller: str, **parameters: str) -> str:
        answer = self.exchange(caller, **parameters)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token

    def ask(self, token: str, query: str, method: str = "GET", **named: Any) -> httpx.Response:
        """A request to the node."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.node}/api/cache/artifacts/a{query}"
        return httpx.request(method, url, headers=headers, trust_env=False, **named)

    def gate(self, token: str, query: str, method: str = "GET") -> int:
        """What the gate says to the same request."""
        headers = {
            "Authorization": f"Bearer {token}",
            "X-Forwarded-Method": method,
            "X-Forwarded-Uri": f"/api/cache/artifacts/a{query}",
            "Content-Type": "application/octet-stream",
        }
        return httpx.get(f"{self.dev.gate}/authz/traefik", headers=headers, trust_env=False).status_code

    def revoke(self, token: str) -> None:
        assert httpx.post(f"{self.dev.desk}/oauth2/revoke", data={"token": token}, trust_env=False).is_success


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    folder = tmp_path_factory.mktemp("example")
    manifests = shutil.copytree(EXAMPLE, folder / "tenant-cache")
    with running(manifests) as dev:
        token_file = folder / "node-token"
        token_file.write_text(dev.cluster_token("edge", "cache-node", ISSUER))
        with subprocess.Popen(
            [
                *(sys.executable, str(EXAMPLE / "cache_node.py"), "--desk", dev.desk, "--issuer", ISSUER),
                *("--audience", AUDIENCE, "--token-file", str(token_file), "--listen", "127.0.0.1:0"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                said = process.stdout.readline().split()
                made = Example(dev, f"http://{said[-1]}", token_file)
                # Something to read, for the whole account and for each project.
                for project in (None, "ios", "android"):
                    scoped = {"project": project} if project else {}
                    token = made.minted("ci", scope=WRITE, account="acme", **scoped)
                    query = "?tenant_id=acme" + (f"&namespace_id={project}" if project else "")
                    assert made.ask(token, query, "PUT", content=b"x").status_code == 201
                yield made
            finally:
                process.terminate()


QUERIES = [
    "?tenant_id=acme",
    "?tenant_id=acme&namespace_id=ios",
    "?namespace_id=ios&tenant_id=acme",
    "?tenant_id=acme&namespace_id=android",
    "?tenant_id=acme&namespace_id=ios2",
    "?tenant_id=acm&namespace_id=ios",
    "?tenant_id=acme2&namespace_id=ios",
    "?tenant_id=ACME&namespace_id=ios",
    "?tenant_id=acme&namespace_id=",
    "?tenant_id=&namespace_id=ios",
    "?namespace_id=ios",
    "?tenant_id=acme&tenant_id=other&namespace_id=ios",
    "?tenant_id=other&tenant_id=acme&namespace_id=ios",
    "?tenant_id=acme&namespace_id=ios&namespace_id=android",
    "?tenant_id=acme;namespace_id=ios",
    "",
]
TOKENS = {
    "the account": ("ci", {"scope": READ, "account": "acme"}),
    "a project, by who has all": ("ci", {"scope": READ, "account": "acme", "project": "ios"}),
    "a project, by who has it alone": ("ios", {"scope": READ, "account": "acme", "project": "ios"}),
    "to write": ("ci", {"scope": WRITE, "account": "acme", "project": "ios"}),
}


@pytest.mark.parametrize("name", TOKENS)
def test_the_node_decides_as_the_gate_does(example: Example, name: str) -> None:
    account, parameters = TOKENS[name]
    token = example.minted(account, **parameters)
    allowed = 0
    for query, method in itertools.product(QUERIES, ("GET", "PUT")):
        by_gate = example.gate(token, query, method) == 200
        by_node = example.ask(
            token, query, method, **({"content": b"x"} if method == "PUT" else {})
        ).is_success
        assert by_node == by_gate, (query, method)
        allowed += by_gate
    assert allowed == (1 if name == "the account" else 2)


def test_a_project_only_workload_gets_no_token_for_the_account_nor_for_another_project(
    example: Example,
) -> None:
    for wrong in ({"account": "acme"}, {"account": "acme", "project": "android"}, {"account": "other"}):
        answer = example.exchange("ios", scope=READ, **wrong)
        assert (answer.status_code, answer.json()["reason"]) == (400, "grant_not_covered")
    assert example.exchange("ios", scope=WRITE, account="acme", project="ios").status_code == 400


def test_a_write_is_refused_as_soon_as_its_token_was_revoked(example: Example) -> None:
    token = example.minted("ci", scope=WRITE, account="acme", project="ios")
    query = "?tenant_id=acme&namespace_id=ios"
    assert example.ask(token, query, "PUT", content=b"x").status_code == 201
    example.revoke(token)
    answer = example.ask(token, query, "PUT", content=b"x")
    assert (answer.status_code, answer.json()["detail"]) == (401, "the token is not active any more")


def test_a_read_asks_when_a_token_is_new_and_then_goes_by_what_was_answered(example: Example) -> None:
    query = "?tenant_id=acme&namespace_id=ios"
    revoked = example.minted("ios", scope=READ, account="acme", project="ios")
    example.revoke(revoked)
    assert example.ask(revoked, query).status_code == 401
    # Asked once: the bound that the page states is for how long a revoked token still reads here.
    token = example.minted("ios", scope=READ, account="acme", project="ios")
    assert example.ask(token, query).status_code == 200
    example.revoke(token)
    assert example.ask(token, query).status_code == 200


def test_a_desk_that_does_not_know_the_node_is_the_nodes_trouble_and_not_the_callers(
    example: Example,
) -> None:
    query = "?tenant_id=acme&namespace_id=ios"
    known = example.minted("ios", scope=READ, account="acme", project="ios")
    assert example.ask(known, query).status_code == 200
    own = example.token_file.read_text()
    example.token_file.write_text(example.dev.cluster_token("edge", "someone", ISSUER))
    try:
        new = example.minted("ios", scope=READ, account="acme", project="ios")
        assert example.ask(new, query).status_code == 503
        # Nothing is decided by the desk's silence, and what was asked before goes on.
        assert example.ask(known, query).status_code == 200
        # A no needs no one to ask.
        assert example.ask(new, "?tenant_id=other&namespace_id=ios").status_code == 403
    finally:
        example.token_file.write_text(own)


@pytest.mark.parametrize(
    "kind", ["a cluster token", "another audience", "another desk", "nothing", "a purpose"]
)
def test_what_is_no_desk_token_for_this_service_is_refused(example: Example, kind: str) -> None:
    query = "?tenant_id=acme&namespace_id=ios"
    if kind == "a purpose":
        parameters = {"scope": WRITE, "account": "acme", "project": "ios", "purpose": "cache-warming"}
        assert example.ask(example.minted("ci", **parameters), query, "PUT", content=b"x").status_code == 403
        return
    good = example.minted("ios", scope=READ, account="acme", project="ios")
    head, payload, signature = good.split(".")
    tokens = {
        "a cluster token": example.dev.cluster_token("acme", "ci", AUDIENCE),
        "another audience": example.dev.cluster_token("acme", "ci", ISSUER),
        "another desk": f"{head}.{payload}.{signature[::-1]}",
        "nothing": "",
    }
    assert example.ask(tokens[kind], query).status_code == 401
