# SPDX-License-Identifier: Apache-2.0
"""Agents, end to end: each flow by a client that follows only what the desk itself says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.agents import ALICE, READ, AgentDesk, agent_desk, agent_objects, agents_spec, code_in
from testing.running_desk import TARGET
from testing.tokens import claims_of
from tests.desk.roles import migrated
from tests.desk.test_at_a_gate import handed_on
from tests.gate.running import RunningGate
from watchword.trust import load


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentDesk]:
    if request.param == "sqlite":
        store = f"sqlite:///{tmp_path_factory.mktemp('desk') / 'desk.db'}"
    else:
        store = migrated(request.getfixturevalue("postgres"))
    with agent_desk(store=store) as running:
        yield running


def follow(gate: RunningGate, desk: AgentDesk) -> None:
    gate.engine.adopt(load(desk.running.source.bundles[0]))


@pytest.fixture
def gate(tmp_path: Path, desk: AgentDesk) -> Iterator[RunningGate]:
    running = RunningGate(tmp_path)
    follow(running, desk)
    yield running
    running.close()


def answer(gate: RunningGate, token: str, uri: str = "/acme/usage", method: str = "GET") -> Any:
    import time

    gate.now = time.time()
    headers = [("x-forwarded-method", method), ("x-forwarded-uri", uri)]
    return gate.call("/authz/traefik", token.encode(), headers)


def test_an_agent_that_knows_only_the_metadata_gets_a_token_for_no_one(
    desk: AgentDesk, gate: RunningGate
) -> None:
    metadata = desk.good(desk.http.get("/.well-known/oauth-authorization-server"))
    agent_auth = metadata["agent_auth"]
    assert agent_auth["identity_types_supported"] == ["anonymous", "service_auth"]
    text = desk.http.get(desk.path_of(agent_auth["skill"]))
    assert text.headers["content-type"] == "text/markdown; charset=utf-8"
    assert f"audience={TARGET}" in text.text
    made = desk.good(desk.post(desk.path_of(agent_auth["identity_endpoint"]), {"type": "anonymous"}))
    assert made["scopes"]["pre_claim"] == [READ, "service:status:read"]
    [account] = made["accounts"]["pre_claim"]
    [jwt_bearer] = [each for each in metadata["grant_types_supported"] if each.endswith(":jwt-bearer")]
    form = {
        "grant_type": jwt_bearer,
        "assertion": made["identity"]["assertion"],
        "audience": TARGET,
        "scope": READ,
        "account": account,
    }
    found = desk.good(desk.http.post(desk.path_of(metadata["token_endpoint"]), data=form))
    assert found["token_type"] == "Bearer"
    claims = claims_of(found["access_token"])
    assert claims["sub"] == claims["client_id"] == f"agent:{made['id']}"
    assert claims["watchword"] == {"kind": "agent"}
    let_in = answer(gate, found["access_token"], "/trial/usage")
    assert let_in.status_code == 200
    assert let_in.headers["x-watchword-subject"] == let_in.headers["x-watchword-workload"] == claims["sub"]
    assert let_in.headers["x-watchword-issuer"] == "watchword-desk/desk"
    assert let_in.headers["x-watchword-accounts"] == "trial"
    assert answer(gate, found["access_token"]).headers["x-watchword-reason"] == "not_in_token"


def test_a_person_claims_an_agent_by_mail_and_it_gets_the_persons_accounts(
    desk: AgentDesk, gate: RunningGate
) -> None:
    made = desk.service_auth(ALICE)
    assert "identity" not in made
    attempt = made["claim"]["attempt"]
    early = desk.complete(made, "000000")
    assert (early.status_code, early.json()["error"]) == (409, "claim_not_confirmed")
    secret = desk.secret_of(attempt["verification_uri"])
    shown = desk.http.get(f"/claim?secret={secret}")
    assert ALICE in shown.text
    assert "acme" in shown.text
    code = code_in(desk.decide(secret).text)
    done = desk.good(desk.complete(made, code))
    assert done["status"] == "claimed"
    assert done["accounts"]["post_claim"] == ["acme"]
    token = desk.good(desk.token(done["identity"]["assertion"]))["access_token"]
    assert answer(gate, token).status_code == 200
    introspected = desk.running.introspect(token).json()
    assert introspected["active"] is True
    assert introspected["sub"] == f"agent:{made['id']}"
    refreshed = desk.good(
        desk.post(
            "/agent/identity",
            {"type": "refresh", "refresh_token": done["identity"]["refresh_token"]["value"]},
        )
    )
    assert refreshed["accounts"] == done["accounts"]
    assert desk.token(refreshed["identity"]["assertion"]).status_code == 200
    # The assertion of before is as good until it ends.
    assert desk.token(done["identity"]["assertion"]).status_code == 200
    events = {each["event"] for each in desk.audit()}
    assert {
        "agent_registered",
        "agent_claim_requested",
        "agent_claim_proof",
        "agent_claim_confirmed",
        "agent_claimed",
        "agent_refreshed",
        "agent_token_issued",
    } <= events
    assert ALICE not in str(desk.audit())


def test_the_end_of_a_delegation_reaches_the_gate(desk: AgentDesk, gate: RunningGate) -> None:
    done = desk.claimed()
    tokens = [desk.good(desk.token(done["identity"]["assertion"]))["access_token"] for _ in range(3)]
    assert [answer(gate, each).status_code for each in tokens] == [200] * 3
    assert desk.running.revoke(done["identity"]["refresh_token"]["value"]).status_code == 200
    for each in tokens:
        handed_on(desk.running, gate, each)
    reasons = [answer(gate, each).headers["x-watchword-reason"] for each in tokens]
    assert reasons == ["revoked"] * 3


def test_a_gate_whose_service_lets_no_agent_in_refuses_what_the_desk_signed(
    desk: AgentDesk, gate: RunningGate
) -> None:
    token = desk.good(desk.token(desk.claimed()["identity"]["assertion"]))["access_token"]
    before = desk.running.desk.state
    desk.running.change(*agent_objects(agents_spec(desk.mails.port), ceiling={}))
    follow(gate, desk)
    refused = answer(gate, token)
    desk.running.desk.state = before
    assert (refused.status_code, refused.headers["x-watchword-reason"]) == (403, "wrong_token_kind")
