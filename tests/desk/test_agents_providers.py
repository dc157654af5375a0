# SPDX-License-Identifier: Apache-2.0
"""Agents of other providers, end to end: an ID-JAG, the claim page, the link, and its end by an event."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from authlib.oauth2.drafts.id_jag import IDJAGGrant
from cryptography.hazmat.primitives import serialization
from joserfc.jwk import ECKey

from testing.agent_providers import (
    CLIENT,
    ID_JAG,
    PROVIDER,
    REVOKED,
    ProviderDesk,
    event,
    id_jag,
    key,
    provider_desk,
    provider_object,
)
from testing.agents import READ, said
from testing.running_desk import ISSUER
from testing.tokens import claims_of
from tests.desk.roles import migrated


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderDesk]:
    if request.param == "sqlite":
        store = f"sqlite:///{tmp_path_factory.mktemp('desk') / 'desk.db'}"
    else:
        store = migrated(request.getfixturevalue("postgres"))
    with provider_desk(store=store) as running:
        yield running


def test_the_metadata_says_that_assertions_are_taken_and_never_whose(desk: ProviderDesk) -> None:
    metadata = desk.agents.good(desk.http.get("/.well-known/oauth-authorization-server"))
    found = metadata["agent_auth"]
    assert found["identity_types_supported"] == ["anonymous", "service_auth", "identity_assertion"]
    assert found["identity_assertion"] == {"assertion_types_supported": [ID_JAG]}
    assert found["events_supported"] == [REVOKED]
    assert found["events_endpoint"] == f"{ISSUER}/agent/event/notify"
    text = desk.http.get("/auth.md").text
    assert "identity_assertion" in text
    for document in (str(metadata), text):
        assert "agents.example.net" not in document
        assert "Example Helper" not in document
        assert CLIENT not in document


def test_the_first_agent_asks_the_person_and_the_next_one_comes_in_at_once(desk: ProviderDesk) -> None:
    address = next(desk.agents._people)
    answer = desk.show(id_jag(sub="first", email=address))
    assert said(answer) == (401, "interaction_required", "interaction_required")
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('AgentAuth error="interaction_required", error_description="')
    made = answer.json()
    assert made["type"] == "identity_assertion"
    assert "identity" not in made
    assert desk.agents.complete(made, "000000").json()["reason"] == "claim_not_confirmed"
    link = made["claim"]["attempt"]["verification_uri"]
    shown = desk.http.get(desk.agents.path_of(link))
    assert "An agent of <strong>Example Helper</strong> asks to act for" in shown.text
    assert address not in shown.text
    secret = desk.agents.secret_of(link)
    decision = desk.http.get(f"/claim?secret={secret}")
    assert "<dt>Agent of</dt><dd>Example Helper</dd>" in decision.text
    assert address in decision.text
    code = desk.agents.decide(secret).text.partition('Code">')[2][:6]
    done = desk.agents.good(desk.agents.complete(made, code))
    assert done["status"] == "claimed"
    assert "refresh_token" not in done["identity"]
    token = desk.minted(done)
    assert claims_of(token)["sub"] == f"agent:{made['id']}"
    again = desk.agents.good(desk.show(id_jag(sub="first", email=address)))
    assert again.keys() == {"accounts", "id", "type", "identity", "scopes"}
    assert (again["id"], again["type"]) == (made["id"], "identity_assertion")
    assert READ in again["scopes"]
    assert desk.running.introspect(desk.minted(again)).json()["active"] is True
    # The address is not needed any more; another subject of the provider is another link.
    assert desk.show(id_jag(sub="first", email=..., email_verified=...)).status_code == 200
    assert desk.show(id_jag(sub="First", email=address)).json()["error"] == "interaction_required"
    entries = desk.agents.audit()
    asserted = [each for each in entries if each["event"] == "agent_asserted"]
    assert asserted[-1]["provider"] == "helper"
    assert asserted[-1]["client"] == CLIENT
    assert asserted[-1]["person"].startswith("person_")
    assert address not in str(entries)


def test_an_event_of_the_provider_ends_the_whole_delegation(desk: ProviderDesk) -> None:
    address = next(desk.agents._people)
    done = desk.linked(sub="gone", email=address)
    token = desk.minted(done)
    waiting = desk.show(id_jag(sub="gone", email="bob@example.com")).json()
    answer = desk.notify(event(sub="gone"))
    assert (answer.status_code, answer.content) == (202, b"")
    assert desk.running.introspect(token).json() == {"active": False}
    assert said(desk.agents.token(done["identity"]["assertion"]))[2] == "agent_ended"
    for each in (done, waiting):
        assert said(desk.agents.complete(each, "000000"))[2] == "claim_revoked"
    link = waiting["claim"]["attempt"]["verification_uri"]
    assert desk.http.get(desk.agents.path_of(link)).status_code == 410
    # What comes later starts at the claim page again.
    made = desk.asked(sub="gone", email=address)
    assert desk.minted(desk.confirmed(made))
    assert desk.show(id_jag(sub="gone", email=address)).status_code == 200
    entry = next(each for each in reversed(desk.agents.audit()) if each["event"] == "agent_provider_event")
    assert entry["provider"] == "helper"
    assert f"agent:{done['id']}" in entry["subjects"]


def test_an_event_that_comes_twice_is_answered_alike_and_ends_nothing_new(desk: ProviderDesk) -> None:
    address = next(desk.agents._people)
    desk.linked(sub="twice", email=address)
    told = event(sub="twice")
    assert desk.notify(told).status_code == 202
    desk.linked(sub="twice", email=address)
    assert desk.notify(told).status_code == 202
    assert desk.show(id_jag(sub="twice", email=address)).status_code == 200


def test_the_scope_that_the_provider_says_bounds_what_its_agent_gets(desk: ProviderDesk) -> None:
    address = next(desk.agents._people)
    made = desk.show(id_jag(sub="scoped", email=address, scope="cache:read openid")).json()
    assert made["scopes"] == {"post_claim": ["cache:read"]}
    done = desk.confirmed(made)
    assert said(desk.agents.token(done["identity"]["assertion"]))[2] == "beyond_ceiling"
    for scope in (f"{READ} openid", ...):
        again = desk.agents.good(desk.show(id_jag(sub="scoped", scope=scope, email=address)))
        assert again["scopes"] == ([] if scope is not ... else ["cache:read"])
        assert said(desk.agents.token(again["identity"]["assertion"]))[2] == "beyond_ceiling"
    desk.linked(sub="whole", email=address)
    narrow = desk.agents.good(desk.show(id_jag(sub="whole", scope=f"{READ} openid", email=address)))
    assert narrow["scopes"] == [READ]
    assert desk.minted(narrow)
    for scope in ("", "*", "openid"):
        nothing = desk.show(id_jag(sub="whole", scope=scope, email=address))
        assert said(nothing) == (400, "invalid_scope", "scope_allows_nothing")
        assert said(desk.show(id_jag(sub="none", scope=scope, email=address))) == said(nothing)
    whole = desk.agents.good(desk.show(id_jag(sub="whole", email=address)))
    assert desk.minted(whole)


def test_a_registration_of_one_subject_takes_the_place_of_the_one_that_waits(desk: ProviderDesk) -> None:
    first = desk.asked(sub="often")
    second = desk.asked(sub="often")
    assert said(desk.agents.complete(first, "000000"))[2] == "invalid_claim_token"
    link = first["claim"]["attempt"]["verification_uri"]
    assert desk.http.get(desk.agents.path_of(link)).status_code == 410
    link = second["claim"]["attempt"]["verification_uri"]
    assert desk.http.get(desk.agents.path_of(link)).status_code == 200


def test_an_assertion_that_another_maker_signs_is_taken(desk: ProviderDesk) -> None:
    """Authlib's ID-JAG, with a key in PEM: not a line of it is ours."""
    pem = key().private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    now = int(time.time())
    made = IDJAGGrant.sign(
        ECKey.import_key(pem),
        PROVIDER,
        ISSUER,
        "by-authlib",
        CLIENT,
        issued_at=now,
        expires_at=now + 300,
        claims={"auth_time": now, "email": "alice@example.com", "email_verified": True},
        alg="ES256",
        header={"kid": key().kid, "alg": "ES256"},
    )
    token = made.decode() if isinstance(made, bytes) else made
    assert said(desk.show(token))[1] == "interaction_required"
    assert said(desk.show(token))[2] == "assertion_replayed"


def test_forgetting_a_person_ends_the_link_and_what_waits() -> None:
    with provider_desk() as desk:
        from watchword.desk.agents.records import ForgetPerson

        done = desk.linked(sub="forgotten")
        waiting = desk.asked(sub="other")
        step = ForgetPerson(address="alice@example.com", now=int(time.time()))
        assert desk.running.desk._store.write([step]) == [True]
        assert said(desk.agents.token(done["identity"]["assertion"]))[2] == "agent_ended"
        assert said(desk.agents.complete(waiting, "000000"))[2] == "invalid_claim_token"
        assert desk.asked(sub="forgotten")["id"] != done["id"]


@pytest.mark.parametrize("change", ["suspended", "deleted", "domain", "made again"])
def test_each_mint_asks_again_whether_the_provider_is_trusted(change: str) -> None:
    with provider_desk() as desk:
        done = desk.linked()
        waiting = desk.asked(sub="user-2")
        secret = desk.agents.secret_of(waiting["claim"]["attempt"]["verification_uri"])
        third = desk.asked(sub="user-3")
        code = desk.agents.code_of(third["claim"]["attempt"]["verification_uri"])
        again = provider_object()
        if change == "suspended":
            again["spec"]["suspended"] = True
        elif change == "domain":
            again["spec"]["emailDomains"] = ["example.org"]
        elif change == "made again":
            again["metadata"]["uid"] = "another"
        desk.agents.trust(*([] if change == "deleted" else [again]))
        assert said(desk.agents.token(done["identity"]["assertion"]))[2] == "person_not_allowed"
        assert desk.agents.decide(secret).status_code == 410
        assert said(desk.agents.complete(third, code))[2] == "claim_denied"
        shown = desk.show(id_jag())
        expected = {
            "suspended": (400, "unknown_type"),
            "deleted": (400, "unknown_type"),
            "domain": (400, "domain_not_of_provider"),
            "made again": (401, "interaction_required"),
        }
        assert (shown.status_code, shown.json()["reason"]) == expected[change]
        if change == "suspended":
            # What it says is revoked ends all the same, and does not come back with it.
            assert desk.notify(event()).status_code == 202
            desk.agents.trust(provider_object())
            assert said(desk.agents.token(done["identity"]["assertion"]))[2] == "agent_ended"


def test_a_person_of_a_domain_that_signs_in_does_not_confirm_by_mail() -> None:
    with provider_desk() as desk:
        domain = {"domain": "example.com", "issuer": "http://127.0.0.1:9", "clientId": "desk"}
        done = desk.linked()
        desk.agents.change(people=[], domains=[domain | {"accounts": ["acme"]}])
        # What the mailbox proved counts no more; who signs in there is asked again.
        assert said(desk.agents.token(done["identity"]["assertion"]))[2] == "person_not_allowed"
        made = desk.asked()
        token = made["claim"]["attempt"]["verification_uri"].partition("attempt=")[2]
        assert desk.http.post("/claim/mail", data={"attempt": token}).status_code == 403
        assert len(desk.agents.mails.mails) == 1


def test_another_address_of_one_subject_is_asked_again_and_takes_the_link_over() -> None:
    with provider_desk() as desk:
        alice = desk.linked(email="alice@example.com")
        token = desk.minted(alice)
        made = desk.asked(email=next(desk.agents._people))
        # Until that person confirms, the first one's link stands.
        assert desk.show(id_jag(email="alice@example.com")).status_code == 200
        made = desk.asked(email=next(desk.agents._people))
        done = desk.confirmed(made)
        assert desk.minted(done)
        assert desk.running.introspect(token).json() == {"active": False}
        assert said(desk.agents.token(alice["identity"]["assertion"]))[2] == "agent_ended"
        assert desk.asked(email="alice@example.com")


@pytest.mark.postgresql
def test_two_desks_on_one_database_use_one_assertion_once(request: pytest.FixtureRequest) -> None:
    store = migrated(request.getfixturevalue("postgres"))
    with provider_desk(store=store) as one, provider_desk(store=store) as other:
        tokens = [id_jag(sub=f"user-{number}") for number in range(8)]
        for token in tokens:
            with ThreadPoolExecutor(2) as pool:
                answers = list(pool.map(lambda desk, token=token: desk.show(token), (one, other)))
            reasons = sorted(each.json()["reason"] for each in answers)
            assert reasons == ["assertion_replayed", "interaction_required"]
        done = one.linked(sub="both")
        assert other.show(id_jag(sub="both")).status_code == 200
        told = event(sub="both")
        assert other.notify(told).status_code == 202
        assert said(one.agents.token(done["identity"]["assertion"]))[2] == "agent_ended"
        one.linked(sub="both")
        assert one.notify(told).status_code == 202
        assert other.show(id_jag(sub="both")).status_code == 200
