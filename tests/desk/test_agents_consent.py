# SPDX-License-Identifier: Apache-2.0
"""What a person agreed to bounds what a provider's agent gets: scopes, client and key, at each step."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.agent_providers import (
    CLIENT,
    OTHER_PROVIDER,
    ProviderDesk,
    event,
    id_jag,
    provider_desk,
    provider_object,
)
from testing.agents import READ, code_in, hidden, said
from testing.running_desk import Object
from testing.tokens import Signer
from tests.desk.roles import migrated

OTHER = "second-app"
WRITE = "account:usage:write"
BOTH = provider_object(clientIDs=[CLIENT, OTHER])


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderDesk]:
    if request.param == "sqlite":
        store = f"sqlite:///{tmp_path_factory.mktemp('desk') / 'desk.db'}"
    else:
        store = migrated(request.getfixturevalue("postgres"))
    with provider_desk(BOTH, store=store) as running:
        yield running


@pytest.fixture
def address(desk: ProviderDesk) -> Iterator[str]:
    yield next(desk.agents._people)
    desk.agents.trust(BOTH)


def page_of(desk: ProviderDesk, made: Object) -> str:
    secret = desk.agents.secret_of(made["claim"]["attempt"]["verification_uri"])
    return desk.http.get("/claim", params={"secret": secret}).text


def events_of(desk: ProviderDesk, kind: str) -> list[Object]:
    return [each for each in desk.agents.audit() if each["event"] == kind]


def test_an_assertion_without_scope_gets_no_more_than_the_person_was_shown(
    desk: ProviderDesk, address: str
) -> None:
    done = desk.linked(sub="narrow", email=address, scope="cache:read")
    again = desk.agents.good(desk.show(id_jag(sub="narrow", email=address)))
    assert (again["id"], again["scopes"]) == (done["id"], ["cache:read"])
    assert "pending" not in again
    refused = desk.agents.token(again["identity"]["assertion"])
    assert said(refused)[2] == "beyond_ceiling"
    assert "Show a new ID-JAG whose scope has it" in refused.json()["remedy"]


def test_another_client_asks_the_person_by_its_name_and_gets_nothing_before(
    desk: ProviderDesk, address: str
) -> None:
    done = desk.linked(sub="two", email=address, scope="cache:read")
    made = desk.asked(sub="two", email=address, client_id=OTHER, scope=READ)
    assert made["id"] != done["id"]
    shown = page_of(desk, made)
    assert f"<dt>Client</dt><dd>{OTHER}</dd>" in shown
    assert f"<dt>It may</dt><dd>{READ}</dd>" in shown
    code = code_in(desk.agents.decide(hidden(shown)["secret"]).text)
    other = desk.agents.good(desk.agents.complete(made, code))
    # Each has what the person was shown for it, and neither ends the other one.
    assert desk.minted(other)
    for client, scopes, found in ((CLIENT, ["cache:read"], done), (OTHER, [READ], made)):
        again = desk.agents.good(desk.show(id_jag(sub="two", email=address, client_id=client)))
        assert (again["id"], again["scopes"]) == (found["id"], scopes)
    assert said(desk.agents.token(done["identity"]["assertion"]))[2] == "beyond_ceiling"
    # What the provider says of the person ends both.
    desk.notify(event(sub="two"))
    ended = events_of(desk, "agent_provider_event")[-1]["subjects"]
    assert ended == sorted(f"agent:{each['id']}" for each in (done, made))


def test_one_that_asks_for_more_has_the_person_asked_and_gets_what_was_confirmed_until_then(
    desk: ProviderDesk, address: str
) -> None:
    done = desk.linked(sub="more", email=address, scope="cache:read")
    again = desk.agents.good(desk.show(id_jag(sub="more", scope=f"cache:read {READ}", email=...)))
    assert (again["id"], again["scopes"]) == (done["id"], ["cache:read"])
    pending = again["pending"]
    assert pending["id"] != done["id"]
    assert pending["scopes"] == {"post_claim": [READ, "cache:read"]}
    assert said(desk.agents.token(again["identity"]["assertion"]))[2] == "beyond_ceiling"
    shown = page_of(desk, pending)
    assert "<dt>It may already</dt><dd>cache:read</dd>" in shown
    assert f"<dt>It may also</dt><dd>{READ}</dd>" in shown
    assert f"<dt>Client</dt><dd>{CLIENT}</dd>" in shown
    code = code_in(desk.agents.decide(hidden(shown)["secret"]).text)
    wider = desk.agents.good(desk.agents.complete(pending, code))
    assert desk.minted(wider)
    # The new registration took the place of the one before, which its entry says.
    assert said(desk.agents.token(done["identity"]["assertion"]))[2] == "agent_ended"
    revoked = events_of(desk, "agent_revoked")[-1]
    assert (revoked["subject"], revoked["by"]) == (f"agent:{done['id']}", f"agent:{pending['id']}")
    whole = desk.agents.good(desk.show(id_jag(sub="more", email=address)))
    assert sorted(whole["scopes"]) == sorted([READ, "cache:read"])


def test_who_is_refused_more_keeps_what_was_confirmed(desk: ProviderDesk, address: str) -> None:
    done = desk.linked(sub="refused", email=address, scope="cache:read")
    again = desk.agents.good(desk.show(id_jag(sub="refused", email=address, scope=READ)))
    assert again["scopes"] == []
    secret = desk.agents.secret_of(again["pending"]["claim"]["attempt"]["verification_uri"])
    assert desk.agents.decide(secret, "refuse").status_code == 200
    kept = desk.agents.good(desk.show(id_jag(sub="refused", email=address)))
    assert (kept["id"], kept["scopes"]) == (done["id"], ["cache:read"])


def test_what_is_allowed_more_in_parts_adds_up(desk: ProviderDesk, address: str) -> None:
    desk.linked(sub="parts", email=address, scope="cache:read")
    again = desk.agents.good(desk.show(id_jag(sub="parts", email=address, scope=READ)))
    done = desk.confirmed(again["pending"])
    # The assertion that came with it says no more than the provider's did.
    assert done["scopes"] == {"post_claim": [READ]}
    whole = desk.agents.good(desk.show(id_jag(sub="parts", email=address)))
    assert sorted(whole["scopes"]) == sorted([READ, "cache:read"])


def test_scopes_that_the_desk_gives_later_are_not_the_links(desk: ProviderDesk, address: str) -> None:
    narrow = {"scopes": [READ, "cache:read"]}
    desk.agents.change(claimed=narrow)
    desk.linked(sub="later", email=address)
    desk.agents.change()
    again = desk.agents.good(desk.show(id_jag(sub="later", email=address)))
    assert again["scopes"] == [READ, "cache:read"]
    # Nor are those that came while the person looked at the page.
    desk.agents.change(claimed=narrow)
    made = desk.asked(sub="meanwhile", email=address)
    shown = page_of(desk, made)
    desk.agents.change()
    sent = desk.http.post("/claim/confirm", data=hidden(shown) | {"decision": "allow"})
    assert desk.agents.good(desk.agents.complete(made, code_in(sent.text)))["scopes"] == {
        "post_claim": [READ, "cache:read"]
    }


def test_a_link_that_another_person_takes_over_has_its_end_in_the_log(
    desk: ProviderDesk, address: str
) -> None:
    first = [desk.linked(sub="taken", email=address, client_id=each) for each in (CLIENT, OTHER)]
    other = next(desk.agents._people)
    done = desk.linked(sub="taken", email=other)
    ended = events_of(desk, "agent_revoked")[-2:]
    assert {each["subject"] for each in ended} == {f"agent:{each['id']}" for each in first}
    assert {each["by"] for each in ended} == {f"agent:{done['id']}"}
    for each in first:
        assert said(desk.agents.token(each["identity"]["assertion"]))[2] == "agent_ended"


def test_a_client_that_is_no_longer_listed_gets_nothing_more(desk: ProviderDesk, address: str) -> None:
    done = desk.linked(sub="unlisted", email=address, client_id=OTHER)
    out = desk.minted(done)
    assert desk.running.introspect(out).json()["active"] is True
    waiting = desk.asked(sub="unlisted-2", email=address, client_id=OTHER)
    secret = desk.agents.secret_of(waiting["claim"]["attempt"]["verification_uri"])
    confirmed = desk.asked(sub="unlisted-3", email=address, client_id=OTHER)
    code = desk.agents.code_of(confirmed["claim"]["attempt"]["verification_uri"])
    desk.agents.trust(provider_object())
    assert said(desk.agents.token(done["identity"]["assertion"]))[2] == "person_not_allowed"
    assert desk.http.get("/claim", params={"secret": secret}).status_code == 410
    assert desk.agents.decide(secret).status_code == 410
    assert said(desk.agents.complete(confirmed, code))[2] == "claim_denied"
    # Resource servers that ask are told at once, of a token that is out as well.
    assert desk.running.introspect(out).json() == {"active": False}
    desk.agents.trust(BOTH)
    assert desk.running.introspect(out).json()["active"] is True
    desk.agents.trust(provider_object(clientIDs=[CLIENT, OTHER], suspended=True))
    assert desk.running.introspect(out).json() == {"active": False}
    desk.agents.trust(BOTH)
    assert desk.minted(done)


@pytest.mark.parametrize(
    "after",
    [
        provider_object("helper", Signer("fresh", "ES256"), clientIDs=[CLIENT, OTHER]),
        provider_object(clientIDs=[CLIENT, OTHER], algorithms=["RS256"]),
    ],
    ids=["key", "algorithm"],
)
def test_what_a_key_signed_for_ends_with_the_key(desk: ProviderDesk, address: str, after: Object) -> None:
    sub = f"key {after['spec'].get('algorithms')}"
    done = desk.linked(sub=sub, email=address)
    again = desk.agents.good(desk.show(id_jag(sub=sub, email=address)))
    waiting = desk.asked(sub=f"{sub} 2", email=address)
    secret = desk.agents.secret_of(waiting["claim"]["attempt"]["verification_uri"])
    confirmed = desk.asked(sub=f"{sub} 3", email=address)
    code = desk.agents.code_of(confirmed["claim"]["attempt"]["verification_uri"])
    desk.agents.trust(after)
    for each in (done, again):
        refused = desk.agents.token(each["identity"]["assertion"])
        assert said(refused) == (400, "invalid_grant", "provider_key_withdrawn")
    assert desk.http.get("/claim", params={"secret": secret}).status_code == 410
    assert desk.agents.decide(secret).status_code == 410
    assert said(desk.agents.complete(confirmed, code))[2] == "claim_denied"
    desk.agents.trust(BOTH)
    assert desk.minted(again)


def test_a_link_of_before_keeps_the_first_client_and_the_scopes_of_then(tmp_path: Path) -> None:
    path = tmp_path / "desk.db"
    with provider_desk(BOTH, store=f"sqlite:///{path}") as desk:
        address = next(desk.agents._people)
        done = desk.linked(sub="old", email=address)
        with sqlite3.connect(path) as store:
            store.execute("UPDATE agent SET client = '', scope = '', signed_by = ''")
        again = desk.agents.good(desk.show(id_jag(sub="old", email=address)))
        assert (again["id"], len(again["scopes"])) == (done["id"], 3)
        desk.asked(sub="old", email=address, client_id=OTHER)
        desk.agents.change(claimed={"scopes": [READ, WRITE, "cache:read", "service:status:read"]})
        again = desk.agents.good(desk.show(id_jag(sub="old", email=address)))
        assert (again["id"], len(again["scopes"])) == (done["id"], 3)


def test_a_provider_that_has_many_asked_keeps_no_one_elses_agents_out() -> None:
    other = Signer("other-1", "ES256")
    providers = (
        provider_object(),
        provider_object("other", other, issuer=OTHER_PROVIDER, emailDomains=["example.org"]),
    )
    with provider_desk(*providers, registrations_per_hour=0, registrations_per_minute=4) as desk:
        desk.agents.change(unclaimed={"scopes": [READ], "accounts": ["trial"], "maxRegistrations": 3})

        def flood(number: int) -> str:
            said_of = {"iss": OTHER_PROVIDER, "sub": f"f{number}", "email": f"f{number}@example.org"}
            found: str = desk.show(id_jag(other, **said_of)).json()["reason"]
            return found

        assert [flood(number) for number in range(6)] == [
            *["interaction_required"] * 3,
            "registrations_full",
            *["agent_rate_limited"] * 2,
        ]
        desk.asked(sub="first", email="alice@example.com")
        assert desk.agents.post("/agent/identity", {"type": "anonymous"}).status_code == 200
        assert desk.agents.post(
            "/agent/identity", {"type": "service_auth", "login_hint": "alice@example.com"}
        ).is_success
