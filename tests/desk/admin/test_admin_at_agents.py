# SPDX-License-Identifier: Apache-2.0
"""An admin's token at every endpoint for agents: of the wrong kind, whatever is sent with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testing.agents import agent_objects, agents_spec
from testing.running_desk import RunningDesk, Source, admin_object, running_desk
from watchword.desk.agents.endpoints import AGENT_PATHS


@pytest.fixture(scope="module")
def desk() -> Iterator[RunningDesk]:
    """A desk for agents, with an admin."""
    source = Source()
    source.objects = [*agent_objects(agents_spec()), admin_object()]
    with running_desk(source, admin_listen="127.0.0.1:0", admin_calls_per_second=0) as running:
        yield running


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", sorted(AGENT_PATHS))
def test_an_admin_token_is_403_on_every_route_of_agents(desk: RunningDesk, path: str, method: str) -> None:
    token = desk.admin_token().json()["access_token"]
    for body in (b"", b'{"type": "anonymous"}', b"\x00"):
        answer = desk.http.request(
            method,
            path,
            content=body,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        assert (answer.status_code, answer.json()["reason"]) == (403, "wrong_token_kind")


def test_an_agent_s_token_opens_no_admin_route_and_is_listed_as_what_it_is(desk: RunningDesk) -> None:
    made = desk.http.post("/agent/identity", json={"type": "anonymous"}).json()
    found = desk.http.post(
        "/oauth2/token",
        data={
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": made["identity"]["assertion"],
            "audience": "tuist/tuist-server",
            "scope": "account:usage:read",
            "account": "trial",
        },
    )
    assert found.status_code == 200, found.text
    agent = found.json()["access_token"]
    answer = desk.admin("GET", "/tokens", agent)
    assert (answer.status_code, answer.json()["reason"]) == (403, "wrong_token_kind")
    listed = desk.admin("GET", "/tokens", params={"kind": "agent"}).json()["tokens"]
    assert [each["subject"] for each in listed] == [f"agent:{made['id']}"]
