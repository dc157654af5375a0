# SPDX-License-Identifier: Apache-2.0
"""What is kept of agents and people: seen, ended, exported, deleted and forgotten by time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from testing.agents import AgentDesk, agent_desk
from watchword.cli.main import watchword
from watchword.desk.agents import storage
from watchword.desk.agents.records import (
    Attempt,
    Complete,
    Confirm,
    CountUse,
    OpenProof,
    Person,
    Register,
    Registration,
    StartAttempt,
)
from watchword.desk.store import DeskStore

NOW = 1_800_000_000


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'desk.db'}"


@pytest.fixture
def desk(store: str) -> Iterator[AgentDesk]:
    with agent_desk(store=store) as running:
        yield running


def run(*arguments: str) -> Result:
    return CliRunner().invoke(watchword, ["desk", "agents", *arguments])


def test_an_operator_sees_agents_and_ends_one(desk: AgentDesk, store: str) -> None:
    done, other = desk.claimed(), desk.claimed()
    token = desk.good(desk.token(done["identity"]["assertion"]))["access_token"]
    listed = [json.loads(line) for line in run("list", "--store", store).stdout.splitlines()]
    assert {each["id"]: each["state"] for each in listed} == {done["id"]: "claimed", other["id"]: "claimed"}
    assert run("revoke", done["id"], "--store", store).exit_code == 0
    assert run("revoke", done["id"], "--store", store).exit_code == 1
    assert run("revoke", "reg_none", "--store", store).exit_code == 1
    assert desk.token(done["identity"]["assertion"]).json()["reason"] == "agent_ended"
    assert desk.running.introspect(token).json() == {"active": False}
    assert desk.token(other["identity"]["assertion"]).status_code == 200
    assert [each["by"] for each in desk.audit() if each["event"] == "agent_revoked"] == ["operator"]


def test_what_is_kept_of_a_person_is_exported_and_deleted_while_a_claim_is_open(
    desk: AgentDesk, store: str
) -> None:
    address = "person150@example.com"
    done, open_one = desk.claimed(address), desk.service_auth(address)
    secret = desk.secret_of(open_one["claim"]["attempt"]["verification_uri"])
    exported = json.loads(run("export-person", address, "--store", store).stdout)
    [person] = exported["people"]
    assert [each["id"] for each in person["agents"]] == [done["id"]]
    assert [each["agent"] for each in exported["open_claims"]] == [open_one["id"]]
    assert person["pseudonym"] in json.dumps(desk.audit())
    assert run("forget-person", address, "--store", store).exit_code == 0
    assert desk.token(done["identity"]["assertion"]).json()["reason"] == "agent_ended"
    refresh = {"type": "refresh", "refresh_token": done["identity"]["refresh_token"]["value"]}
    assert desk.post("/agent/identity", refresh).status_code == 401
    assert desk.decide(secret).status_code == 410
    assert desk.complete(open_one, "000000").json()["reason"] == "claim_not_confirmed"
    assert run("export-person", address, "--store", store).exit_code == 1
    assert run("forget-person", address, "--store", store).exit_code == 1
    assert address not in json.dumps(desk.audit())


@pytest.mark.parametrize("address", ["alice", "", "a@b", "alice@example.com "])
def test_what_is_no_address_is_said_to_be_none(store: str, desk: AgentDesk, address: str) -> None:
    del desk
    for name in ("export-person", "forget-person"):
        found = run(name, address, "--store", store)
        assert found.exit_code == 2
        assert "not one whole mail address" in found.output


def registered(store: DeskStore, number: int, *, at_most: int = 100, ends: int = NOW + 600) -> bool:
    made = Registration(id=f"reg_{number:032x}", kind="anonymous", made_at=NOW, expires_at=ends)
    [kept] = store.write([Register(registration=made, claim_digest=f"c{number}", at_most=at_most, now=NOW)])
    return kept


def test_each_store_bounds_what_waits_and_forgets_what_ended(open_store: Callable[[], DeskStore]) -> None:
    store = open_store()
    assert [registered(store, number, at_most=3) for number in range(5)] == [True] * 3 + [False] * 2
    # Over several connections, and the same id again.
    other = open_store()
    assert not registered(other, 5, at_most=3)
    assert not registered(other, 0)
    uses = [CountUse(key="k", at_most=2, until=NOW + 10, now=NOW)] * 3
    assert store.write(uses) == [True, True, False]
    assert other.write([CountUse(key="k", at_most=2, until=NOW + 99, now=NOW + 10)]) == [True]
    store.expire(NOW + 601)
    assert store.look(storage.ALL_REGISTRATIONS, (10,)) == []
    assert registered(store, 6, at_most=1)


def test_each_store_completes_a_claim_once_and_only_as_it_was_confirmed(
    open_store: Callable[[], DeskStore],
) -> None:
    store, other = open_store(), open_store()
    assert registered(store, 1)
    agent, person = f"reg_{1:032x}", Person("person_1", "alice@example.com")
    attempt = Attempt(digest="a1", agent=agent, address=person.address, expires_at=NOW + 60)
    done = Complete(
        agent=agent,
        attempt="a1",
        code_digest="code",
        person=person,
        refresh_digest="r1",
        expires_at=NOW + 999,
        now=NOW,
    )
    assert store.write([StartAttempt(attempt=attempt, now=NOW), done]) == [True, False]
    proof = OpenProof(attempt="a1", secret_digest="s1", now=NOW)
    assert store.write([proof, Confirm(secret_digest="s2", code_digest="x", now=NOW)]) == [True, False]
    late = Confirm(secret_digest="s1", code_digest="code", now=NOW + 60)
    assert store.write([late]) == [False]
    assert store.write([Confirm(secret_digest="s1", code_digest="code", now=NOW)] * 2) == [True, False]
    wrong = [
        Complete(**{name: getattr(done, name) for name in done.__struct_fields__} | changes)
        for changes in ({"code_digest": "other"}, {"attempt": "a2"}, {"now": NOW + 60}, {"agent": "reg_x"})
    ]
    assert store.write(wrong) == [False] * 4
    assert other.write([done, done]) == [True, False]
    found = storage.registration_of(store.look(storage.BY_REFRESH, ("r1",)))
    assert found is not None
    assert (found.state, found.epoch, found.person) == ("claimed", 1, "person_1")
    assert storage.person_of(store.look(storage.PEOPLE_BY_ADDRESS, (person.address,))) == person
    store.expire(NOW + 1000)
    # No agent of this person is left, so nothing is kept of the person.
    assert store.look(storage.PEOPLE_BY_ADDRESS, (person.address,)) == []


def test_each_store_pages_registrations_by_their_ids(open_store: Callable[[], DeskStore]) -> None:
    store = open_store()
    assert all(registered(store, number) for number in (3, 1, 2, 11))
    after, found = "", list[str]()
    while rows := store.look(storage.REGISTRATIONS_AFTER, (after, 2)):
        assert len(rows) <= 2
        pages = [storage.registration_of([row]) for row in rows]
        found += [each.id for each in pages if each is not None]
        after = found[-1]
    assert found == [f"reg_{number:032x}" for number in (1, 2, 3, 11)]
