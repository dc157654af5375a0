# SPDX-License-Identifier: Apache-2.0
"""People who sign in to the admin API, and all who try to be taken for one."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testing.agents import agent_objects, agents_spec
from testing.controlplane import wait_until
from testing.openid import CAROL, CLIENT, Issuer, openid_issuer
from testing.running_desk import (
    CLIENT_ASSERTION,
    TARGET,
    Object,
    RunningDesk,
    Source,
    account_token,
    admin_object,
    default_objects,
    person_object,
    running_desk,
)
from testing.tokens import Signer, b64, claims_of, compact, signer
from watchword.desk.admin.tickets import TICKET_SECONDS, TICKET_TYPE, nonce_of
from watchword.desk.agents.endpoints import AGENT_PATHS
from watchword.desk.agents.oidc_http import Providers
from watchword.desk.minting import SigningKey
from watchword.identity import Reason, Refusal, verify

OTHER = signer("idp-other")
ADDRESSES = [
    "Carol@corp.example",
    "carol@corp.example.evil.example",
    "carol@evil.corp.example",
    "carol@corp.example ",
    " carol@corp.example",
    "carol@corp.example\n",
    "carol@corp.example\x00",
    "carol+admin@corp.example",
    "c.arol@corp.example",
    "carol@corp.example.",
    "carol@corp-example",
    "carol@corp.exa\u043cple",
    "carol@corp\u3002example",
    "ca\u00adrol@corp.example",
    '"carol"@corp.example',
    "carol@[127.0.0.1]",
    "Carol <carol@corp.example>",
    "carol@corp.example,mallory@corp.example",
    "mallory@evil.example@corp.example",
    "@corp.example",
    "carol",
    "",
]


class World(NamedTuple):
    """A desk, the provider that its people sign in at, and one that no one named."""

    desk: RunningDesk
    idp: Issuer
    stranger: Issuer


def people(idp: Issuer) -> list[Object]:
    """Admins of all kinds."""
    return [
        *default_objects(),
        admin_object(),
        person_object("carol", idp.url, CAROL),
        person_object("pinned", idp.url, "pinned@corp.example", subject="p-1"),
        person_object("elsewhere", idp.url, "else@corp.example", clientId="other-cli"),
        person_object("unflagged", idp.url, "plain@corp.example", adminServiceAccount=None, grantedBy=None),
        person_object("withdrawn", idp.url, "gone@corp.example", adminServiceAccount=False),
        person_object("twin-a", idp.url, "twin@corp.example"),
        person_object("twin-b", idp.url, "twin@corp.example", subject="t-2"),
        person_object("shadow-a", idp.url, "shadow@corp.example"),
        # Not even a flag is needed to say that it is not known who is meant.
        person_object("shadow-b", idp.url, "shadow@corp.example", adminServiceAccount=None, grantedBy=None),
    ]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with openid_issuer() as idp, openid_issuer() as stranger:
        source = Source()
        source.objects = people(idp)
        with running_desk(source, admin_listen="127.0.0.1:0", admin_calls_per_second=0) as desk:
            assert not source.problems, [str(each) for each in source.problems]
            yield World(desk, idp, stranger)


def ticket_of(desk: RunningDesk) -> str:
    found: str = desk.begin_sign_in()["ticket"]
    return found


def signing_of(desk: RunningDesk) -> SigningKey:
    state = desk.desk.state
    assert state is not None
    assert state.signing is not None
    return state.signing


def made_ticket(
    desk: RunningDesk, by: SigningKey | None = None, header: Object | None = None, **changes: Any
) -> str:
    """A ticket as the desk would make it, but for what changes."""
    state, signing, now = desk.desk.state, by or signing_of(desk), int(time.time())
    assert state is not None
    claims = {
        "iss": state.issuer,
        "aud": state.audience,
        "jti": "0" * 32,
        "iat": now,
        "exp": now + TICKET_SECONDS,
    } | changes
    head = {"alg": "ES256", "typ": TICKET_TYPE, "kid": signing.kid} | (header or {})
    return signing.sign_bytes(
        compact({k: v for k, v in head.items() if v is not ...}),
        compact({k: v for k, v in claims.items() if v is not ...}),
    )


def said_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = claims_of(token)
    return found


def test_a_person_signs_in_and_is_an_admin_client_and_nothing_else(world: World) -> None:
    desk, idp, _ = world
    begun = desk.begin_sign_in()
    assert begun["providers"] == [
        {"issuer": idp.url, "client_id": "other-cli"},
        {"issuer": idp.url, "client_id": CLIENT},
    ]
    assert "@" not in json.dumps(begun)
    before = time.time()
    answer = desk.sign_in(idp.id_token(nonce_of(begun["ticket"])), begun["ticket"])
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    token = answer.json()["access_token"]
    said = said_of(token)
    assert (said["sub"], said["watchword"]) == ("client:carol", {"kind": "admin"})
    assert said["exp"] - before <= 900
    assert desk.admin("GET", "/tokens", token).status_code == 200
    shown = desk.admin("GET", "/clients/carol", token)
    assert shown.json()["authentication"] == {
        "person": {"issuer": idp.url, "client_id": CLIENT, "is_subject_pinned": False}
    }
    assert shown.json()["admin"]["counts"] is True
    entries = desk.admin("GET", "/audit?event=admin_token_issued", token).json()["entries"]
    newest = entries[0]["entry"]
    assert (newest["subject"], newest["granted_by"], newest["provider"]) == ("client:carol", "grace", idp.url)
    # The log is never deleted, so that no address may be in it.
    assert CAROL not in desk.admin("GET", "/audit?limit=200", token).text


REFUSED = (403, "sign_in_refused")
NO_ADMIN = (403, "not_an_admin_person")
MALFORMED = (400, "malformed_request")
NOT_BEGUN = (400, "sign_in_not_begun")


def changed(by: Signer | None = None, header: Object | None = None, **claims: Any) -> Any:
    """A sign-in whose ID token says something else."""
    return lambda world, ticket: (world.idp.id_token(nonce_of(ticket), by, header, **claims), ticket)


def at(seconds: int, *names: str) -> Any:
    """A sign-in whose ID token has another time."""
    return lambda world, ticket: (
        world.idp.id_token(nonce_of(ticket), **dict.fromkeys(names, int(time.time()) + seconds)),
        ticket,
    )


def with_ticket(**changes: Any) -> Any:
    """A sign-in with a ticket of another make."""

    def make(world: World, _: str) -> tuple[str, str]:
        ticket = made_ticket(world.desk, **changes)
        return world.idp.id_token(nonce_of(ticket)), ticket

    return make


def with_nonce(make: Callable[[str], str]) -> Any:
    return lambda world, ticket: (world.idp.id_token(make(ticket)), ticket)


def of_stranger(world: World, ticket: str) -> tuple[str, str]:
    return world.stranger.id_token(nonce_of(ticket)), ticket


def stranger_for_issuer(world: World, ticket: str) -> tuple[str, str]:
    return world.idp.id_token(nonce_of(ticket), iss=world.stranger.url), ticket


def none_signed(world: World, ticket: str) -> tuple[str, str]:
    parts = world.idp.id_token(nonce_of(ticket)).split(".")
    return ".".join((b64(compact({"alg": "none"})), parts[1], "")), ticket


def by_public_key(world: World, ticket: str) -> tuple[str, str]:
    """HS256 with the provider's public key for a secret."""
    import hmac

    header = b64(compact({"alg": "HS256", "kid": "idp-1"}))
    payload = world.idp.id_token(nonce_of(ticket)).split(".")[1]
    secret = json.dumps(world.idp.keys[0].jwk).encode()
    signature = hmac.new(secret, f"{header}.{payload}".encode(), hashlib.sha256).digest()
    return f"{header}.{payload}.{b64(signature)}", ticket


def desk_token_for_id(world: World, ticket: str) -> tuple[str, str]:
    return world.desk.minted(), ticket


def payload_swapped(world: World, ticket: str) -> tuple[str, str]:
    good = world.idp.id_token(nonce_of(ticket), email="mallory@corp.example").split(".")
    said = json.loads(base64.urlsafe_b64decode(good[1] + "=="))
    return ".".join((good[0], b64(compact(said | {"email": CAROL})), good[2])), ticket


def twice(world: World, ticket: str) -> tuple[str, str]:
    """A claim that is there twice: readers differ in which of them counts."""
    key = world.idp.keys[-1]
    header = compact({"alg": key.algorithm, "kid": key.kid})
    said = json.loads(base64.urlsafe_b64decode(world.idp.id_token(nonce_of(ticket)).split(".")[1] + "=="))
    text = compact(said).replace(b'"email":', b'"email":"mallory@corp.example","email":')
    return key.sign(header, text).decode(), ticket


def other_ticket(world: World, ticket: str) -> tuple[str, str]:
    return world.idp.id_token(nonce_of(ticket)), ticket_of(world.desk)


def id_token_for_ticket(world: World, ticket: str) -> tuple[str, str]:
    token = world.idp.id_token(nonce_of(ticket))
    return token, token


def admin_for_ticket(world: World, _: str) -> tuple[str, str]:
    token = world.desk.admin_token().json()["access_token"]
    return world.idp.id_token(nonce_of(token)), token


def cut_ticket(world: World, ticket: str) -> tuple[str, str]:
    return world.idp.id_token(nonce_of(ticket)), ticket[:-1]


def padded_ticket(world: World, ticket: str) -> tuple[str, str]:
    return world.idp.id_token(nonce_of(ticket + "=")), ticket + "="


TABLE: dict[str, tuple[Any, tuple[int, str]]] = {
    # The ID token is someone else's, or for someone else.
    "of another client id": (changed(aud="desk"), REFUSED),
    "of another admin's client id, which the address does not have": (changed(aud="other-cli"), NO_ADMIN),
    "for two": (changed(aud=[CLIENT, "other-cli"]), REFUSED),
    "for one, twice": (changed(aud=[CLIENT, CLIENT]), REFUSED),
    "for no one": (changed(aud=[]), REFUSED),
    "without audience": (changed(aud=...), REFUSED),
    "issued to another client": (changed(azp="other-cli"), REFUSED),
    "a number for azp": (changed(azp=1), REFUSED),
    "of an issuer that no one named": (of_stranger, REFUSED),
    "of an issuer that no one named, in the right one's name": (stranger_for_issuer, REFUSED),
    "the issuer with a slash": (changed(iss="http://127.0.0.1/"), REFUSED),
    "without issuer": (changed(iss=...), REFUSED),
    "a list of issuers": (changed(iss=["http://127.0.0.1"]), REFUSED),
    # It was not signed, or by another key.
    "by a key that is not the provider's": (changed(by=OTHER), REFUSED),
    "by another key with the kid of the provider's": (changed(by=OTHER, header={"kid": "idp-1"}), REFUSED),
    "by no key": (none_signed, REFUSED),
    "by the public key": (by_public_key, REFUSED),
    "another alg than the key's": (changed(header={"alg": "ES256"}), REFUSED),
    "a header that must be understood": (changed(header={"crit": ["b64"]}), REFUSED),
    "an access token of the same keys": (changed(header={"typ": "at+jwt"}), REFUSED),
    "a logout token of the same keys": (changed(header={"typ": "logout+jwt"}), REFUSED),
    "a typ that is a list": (changed(header={"typ": ["JWT"]}), REFUSED),
    "a header that changes the bytes": (changed(header={"b64": False}), REFUSED),
    "a key of its own in the header": (changed(by=OTHER, header={"jwk": OTHER.jwk}), REFUSED),
    "its payload swapped": (payload_swapped, REFUSED),
    "a claim twice": (twice, REFUSED),
    "a desk token": (desk_token_for_id, REFUSED),
    # Another sign-in's.
    "without nonce": (changed(nonce=...), REFUSED),
    "an empty nonce": (with_nonce(lambda _: ""), REFUSED),
    "the ticket itself for the nonce": (with_nonce(lambda ticket: ticket), REFUSED),
    "the nonce in hexadecimal": (
        with_nonce(lambda ticket: hashlib.sha256(ticket.encode()).hexdigest()),
        REFUSED,
    ),
    "a padded nonce": (with_nonce(lambda ticket: nonce_of(ticket) + "="), REFUSED),
    "a list of nonces": (changed(nonce=["x"]), REFUSED),
    "with the ticket of another sign-in": (other_ticket, REFUSED),
    # Not now.
    "six minutes old": (at(-360, "iat"), REFUSED),
    "of the future": (at(120, "iat"), REFUSED),
    "not to be used yet": (at(1000, "nbf"), REFUSED),
    "ended": (at(-90, "exp"), REFUSED),
    "without end": (changed(exp=...), REFUSED),
    "without beginning": (changed(iat=...), REFUSED),
    "a text for a time": (changed(iat="1"), REFUSED),
    "a huge time": (changed(exp=1e308, iat=1e308), REFUSED),
    # The address is not proven.
    "not verified": (changed(email_verified=False), REFUSED),
    "verified, as a text": (changed(email_verified="true"), REFUSED),
    "verified, as a number": (changed(email_verified=1), REFUSED),
    "verified or not is not said": (changed(email_verified=...), REFUSED),
    "verified is null": (changed(email_verified=None), REFUSED),
    "no address": (changed(email=...), REFUSED),
    "a list of addresses": (changed(email=[CAROL]), REFUSED),
    # No admin.
    "another person": (changed(email="mallory@corp.example"), NO_ADMIN),
    "the pinned address, of another subject": (changed(email="pinned@corp.example"), NO_ADMIN),
    "the pinned address, of a subject in other letters": (
        changed(email="pinned@corp.example", sub="P-1"),
        NO_ADMIN,
    ),
    "the pinned subject, of another address": (changed(email="new@corp.example", sub="p-1"), NO_ADMIN),
    "an empty subject": (changed(sub=""), REFUSED),
    "no subject": (changed(sub=...), REFUSED),
    "a flag that was never set": (changed(email="plain@corp.example"), NO_ADMIN),
    "a flag that was withdrawn": (changed(email="gone@corp.example"), NO_ADMIN),
    "a person of two clients": (changed(email="twin@corp.example"), NO_ADMIN),
    "a person of two clients, one of whom is pinned": (
        changed(email="twin@corp.example", sub="t-2"),
        NO_ADMIN,
    ),
    "a person of two clients, one of whom has no flag": (changed(email="shadow@corp.example"), NO_ADMIN),
    "the client id of another one": (changed(email="else@corp.example"), NO_ADMIN),
    # The ticket is none of this desk's, or not now.
    "the ticket of another desk's key": (with_ticket(by=SigningKey.generate()), NOT_BEGUN),
    "the ticket of another desk": (with_ticket(iss="https://other.example.com"), NOT_BEGUN),
    "the ticket of another audience": (with_ticket(aud="watchword.dev/desks/dev/a/b"), NOT_BEGUN),
    "an old ticket": (with_ticket(iat=int(time.time()) - 4000, exp=int(time.time()) - 3400), NOT_BEGUN),
    "a ticket of the future": (with_ticket(iat=int(time.time()) + 7200), NOT_BEGUN),
    "a ticket without end": (with_ticket(exp=...), NOT_BEGUN),
    "a ticket with more in it": (with_ticket(admin=True), NOT_BEGUN),
    "a ticket of another type": (with_ticket(header={"typ": "at+jwt"}), NOT_BEGUN),
    "a ticket without type": (with_ticket(header={"typ": ...}), NOT_BEGUN),
    "a ticket with more in its header": (with_ticket(header={"crit": []}), NOT_BEGUN),
    "an admin token for a ticket": (admin_for_ticket, NOT_BEGUN),
    "the ID token for a ticket": (id_token_for_ticket, NOT_BEGUN),
    "a ticket that was cut": (cut_ticket, NOT_BEGUN),
    "a ticket with padding": (padded_ticket, NOT_BEGUN),
    "no ticket": (lambda world, ticket: (world.idp.id_token(nonce_of(ticket)), ""), NOT_BEGUN),
    "no ID token": (lambda _, ticket: ("", ticket), REFUSED),
    "no JWT": (lambda _, ticket: ("a.b.c", ticket), REFUSED),
    "a long text": (lambda _, ticket: ("a" * 9000, ticket), REFUSED),
}


@pytest.mark.parametrize("what", TABLE)
def test_who_is_not_that_person_gets_nothing(world: World, what: str) -> None:
    make, (status, reason) = TABLE[what]
    id_token, ticket = make(world, ticket_of(world.desk))
    answer = world.desk.sign_in(id_token, ticket)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.json()["remedy"]
    assert "access_token" not in answer.text
    assert not id_token or id_token not in answer.text
    # The same ticket still serves the one who holds it: nothing was used up.


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_looks_alike_is_another_one_or_none(world: World, address: str) -> None:
    ticket = ticket_of(world.desk)
    answer = world.desk.sign_in(world.idp.id_token(nonce_of(ticket), email=address), ticket)
    assert (answer.status_code, answer.json()["reason"]) in (REFUSED, NO_ADMIN)


def test_the_domain_is_compared_in_lower_case_and_the_pinned_subject_whole(world: World) -> None:
    for claims in ({"email": "carol@CORP.example"}, {"email": "pinned@corp.example", "sub": "p-1"}):
        ticket = ticket_of(world.desk)
        answer = world.desk.sign_in(world.idp.id_token(nonce_of(ticket), **claims), ticket)
        assert answer.status_code == 200, answer.text


BODIES: dict[str, tuple[bytes, str, int]] = {
    "nothing": (b"", "application/json", 400),
    "a form, as another page could send it": (
        b"id_token=a&ticket=b",
        "application/x-www-form-urlencoded",
        400,
    ),
    "JSON as plain text, as another page could send it": (b'{"id_token":"","ticket":""}', "text/plain", 400),
    "a list": (b"[]", "application/json", 400),
    "a member is missing": (b'{"ticket":""}', "application/json", 400),
    "a member more": (b'{"id_token":"","ticket":"","client":"carol"}', "application/json", 400),
    "a member twice": (b'{"id_token":"","ticket":"","ticket":""}', "application/json", 400),
    "numbers": (b'{"id_token":1,"ticket":2}', "application/json", 400),
    "too long": (b'{"id_token":"' + b"a" * 20_000 + b'"}', "application/json", 413),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_is_no_sign_in_is_refused(world: World, what: str) -> None:
    body, media, status = BODIES[what]
    answer = world.desk.sign_in("", "", content=body, headers={"Content-Type": media})
    assert answer.status_code == status
    assert "access_token" not in answer.text


def test_a_sign_in_is_good_once_and_what_fails_uses_nothing_up(world: World) -> None:
    ticket = ticket_of(world.desk)
    id_token = world.idp.id_token(nonce_of(ticket))
    wrong = world.idp.id_token(nonce_of(ticket), email="mallory@corp.example")
    assert world.desk.sign_in(wrong, ticket).json()["reason"] == "not_an_admin_person"
    assert world.desk.sign_in(id_token, ticket).status_code == 200
    for again in (id_token, world.idp.id_token(nonce_of(ticket), jti="another")):
        answer = world.desk.sign_in(again, ticket)
        assert (answer.status_code, answer.json()["reason"]) == (403, "sign_in_used")


def test_two_replicas_take_each_other_s_tickets_and_each_sign_in_once(tmp_path: Any) -> None:
    with openid_issuer() as idp:
        store, source = f"sqlite:///{tmp_path}/desk.db", Source()
        source.objects = people(idp)
        settings_ = {"admin_listen": "127.0.0.1:0", "admin_calls_per_second": 0}
        with (
            running_desk(source, store=store, **settings_) as one,
            running_desk(source, store=store, **settings_) as two,
        ):
            ticket = ticket_of(one)
            id_token = idp.id_token(nonce_of(ticket))
            answer = two.sign_in(id_token, ticket)
            assert answer.status_code == 200, answer.text
            assert one.sign_in(id_token, ticket).json()["reason"] == "sign_in_used"
            assert one.admin("GET", "/tokens", answer.json()["access_token"]).status_code == 200


def test_the_ticket_of_a_desk_with_other_keys_is_none(world: World) -> None:
    source = Source()
    source.objects = people(world.idp)
    with running_desk(source, admin_listen="127.0.0.1:0") as other:
        ticket = ticket_of(other)
        answer = world.desk.sign_in(world.idp.id_token(nonce_of(ticket)), ticket)
    assert (answer.status_code, answer.json()["reason"]) == NOT_BEGUN


def signed_in(desk: RunningDesk, idp: Issuer, **claims: Any) -> str:
    ticket = ticket_of(desk)
    answer = desk.sign_in(idp.id_token(nonce_of(ticket), **claims), ticket)
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["access_token"]
    return found


@pytest.fixture
def own() -> Iterator[World]:
    """A desk that a test changes."""
    with openid_issuer() as idp, openid_issuer() as stranger:
        source = Source()
        source.objects = people(idp)
        with running_desk(source, admin_listen="127.0.0.1:0", admin_calls_per_second=0) as desk:
            yield World(desk, idp, stranger)


CHANGES: dict[str, dict[str, Any] | None] = {
    "the flag withdrawn": {"adminServiceAccount": False},
    "another address": {"address": "dave@corp.example"},
    "a subject pinned": {"subject": "carol"},
    "another client id": {"clientId": "newer-cli"},
    "granted by another one": {"grantedBy": "heidi"},
    "another type": {
        "type": "AdminServiceAccount",
        "authentication": {
            "serviceAccount": {"issuerRef": {"name": "atlas-production"}, "namespace": "a", "name": "b"}
        },
    },
    "deleted": None,
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_changed_after_a_sign_in_ends_it_on_the_next_call(own: World, what: str) -> None:
    desk, idp, _ = own
    token = signed_in(desk, idp)
    assert desk.admin("GET", "/tokens", token).status_code == 200
    rest = [each for each in people(idp) if each["metadata"]["name"] != "carol"]
    change = CHANGES[what]
    if change is not None:
        address = change.get("address", CAROL)
        rest.append(
            person_object("carol", idp.url, address, **{k: v for k, v in change.items() if k != "address"})
        )
    # Only what is read on each call is changed, not what the desk runs.
    desk.source.objects = rest
    answer = desk.admin("GET", "/tokens", token)
    assert (answer.status_code, answer.json()["reason"]) == (403, "not_an_admin")
    ticket = ticket_of(desk)
    again = desk.sign_in(idp.id_token(nonce_of(ticket)), ticket)
    # The desk's watch is behind, and what it proved is of an earlier version.
    assert again.json()["reason"] in ("not_ready", "not_an_admin_person"), again.text


def test_a_second_client_of_the_same_person_ends_both_at_once(own: World) -> None:
    desk, idp, _ = own
    token = signed_in(desk, idp)
    desk.source.objects = [*people(idp), person_object("mallory", idp.url, CAROL, clientId="mallory-cli")]
    assert desk.admin("GET", "/tokens", token).json()["reason"] == "not_an_admin"
    desk.change(*desk.source.objects)
    ticket = ticket_of(desk)
    for audience in (CLIENT, "mallory-cli"):
        answer = desk.sign_in(idp.id_token(nonce_of(ticket), aud=audience), ticket)
        assert (answer.status_code, answer.json()["reason"]) == NO_ADMIN


def test_who_is_proven_and_no_admin_is_in_the_log_by_a_pseudonym(world: World) -> None:
    desk, idp, _ = world
    for _ in range(2):
        ticket = ticket_of(desk)
        desk.sign_in(idp.id_token(nonce_of(ticket), sub="mallory", email="pinned@corp.example"), ticket)
    token = signed_in(desk, idp)

    def noted() -> set[tuple[str, str]]:
        answer = desk.admin("GET", "/audit?event=request_refused&limit=200", token)
        assert "@" not in answer.text
        found = [each["entry"] for each in answer.json()["entries"]]
        return {
            (each["subject"], each.get("internal", ""))
            for each in found
            if each["endpoint"] == "admin_sign_in"
        }

    said = "the provider's sub is not the one that is pinned for client:pinned"
    digest = hashlib.sha256(f"{idp.url}\nmallory".encode()).hexdigest()[:32]
    wait_until(lambda: (f"person:{digest}", said) in noted(), what="it is noted", timeout_seconds=30)


def test_what_a_stranger_is_refused_for_is_in_the_log(own: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "watchword")
    for _ in range(4):
        ticket = ticket_of(own.desk)
        own.desk.sign_in(own.idp.id_token(nonce_of(ticket), email_verified=False), ticket)
    found = [each for each in caplog.records if each.message == "a caller was refused"]
    assert len(found) == 4
    assert "verified" in found[0].__dict__["detail"]
    assert all(CAROL not in str(each.__dict__) for each in caplog.records)


def test_a_revoked_token_of_a_person_opens_nothing(world: World) -> None:
    token = signed_in(world.desk, world.idp)
    jti = said_of(token)["jti"]
    assert world.desk.admin("POST", f"/tokens/{jti}/revoke", token).status_code == 200
    assert world.desk.admin("GET", "/tokens", token).json()["reason"] == "invalid_admin_token"


def test_a_person_s_token_is_for_the_admin_api_alone(world: World) -> None:
    desk = world.desk
    token = signed_in(desk, world.idp)
    assert desk.exchange(token).json()["reason"] == "desk_token_as_subject"
    assert desk.introspect(token).json() == {"active": False}
    bearer = {"Authorization": f"Bearer {token}"}
    for path in ("/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"):
        answer = desk.http.post(path, headers=bearer, data={"token": token})
        assert (answer.status_code, answer.json()["reason"]) == (403, "wrong_token_kind"), path
    as_client = {
        "grant_type": "client_credentials",
        "client_assertion": token,
        "client_assertion_type": CLIENT_ASSERTION,
    }
    assert desk.http.post("/oauth2/token", data=as_client).status_code == 401
    # A gate asks the same function, with the same policy.
    state = desk.desk.state
    assert state is not None
    refused = verify(token.encode(), state.targets[TARGET].ruleset.policy, time.time())
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.WRONG_TOKEN_KIND


def test_a_person_s_token_is_403_on_every_route_of_agents() -> None:
    with openid_issuer() as idp:
        source = Source()
        source.objects = [*agent_objects(agents_spec()), person_object("carol", idp.url, CAROL)]
        with running_desk(source, admin_listen="127.0.0.1:0", admin_calls_per_second=0) as desk:
            bearer = {"Authorization": f"Bearer {signed_in(desk, idp)}"}
            for path in sorted(AGENT_PATHS):
                for method in ("GET", "POST"):
                    answer = desk.http.request(method, path, headers=bearer)
                    assert (answer.status_code, answer.json()["reason"]) == (403, "wrong_token_kind"), path


def test_a_person_is_no_client_of_the_token_endpoint(world: World) -> None:
    desk = world.desk
    ticket = ticket_of(desk)
    for assertion in (world.idp.id_token(nonce_of(ticket)), account_token("automation", "carol"), ticket):
        answer = desk.admin_token(client_assertion=assertion, client_id="carol")
        assert (answer.status_code, answer.json()["reason"]) == (401, "invalid_client_authentication")
    answer = desk.admin_token(
        client_assertion=None, client_assertion_type=None, client_id="carol", client_secret="x"
    )
    assert answer.status_code == 401


def test_only_providers_of_flagged_people_are_asked_and_only_once_a_ticket_holds(own: World) -> None:
    desk, idp, stranger = own
    plain = person_object("plain", stranger.url, "x@corp.example", adminServiceAccount=None, grantedBy=None)
    desk.change(*people(idp), plain)
    for make in (of_stranger, cut_ticket, stranger_for_issuer, id_token_for_ticket):
        desk.sign_in(*make(own, ticket_of(desk)))
    ticket = ticket_of(desk)
    desk.sign_in(stranger.id_token(nonce_of(ticket), email="x@corp.example"), ticket)
    assert (idp.asked, stranger.asked) == ([], [])
    assert {each["issuer"] for each in desk.begin_sign_in()["providers"]} == {idp.url}


def test_a_provider_that_is_away_is_said_and_not_asked_by_everyone_who_comes(own: World) -> None:
    desk, idp, _ = own
    idp.status = 500
    for _ in range(5):
        ticket = ticket_of(desk)
        answer = desk.sign_in(idp.id_token(nonce_of(ticket)), ticket)
        assert (answer.status_code, answer.json()["reason"]) == (503, "sign_in_provider_unavailable")
        assert answer.headers["retry-after"] == "30"
    assert len(idp.asked) == 1


def test_a_key_id_that_someone_made_up_has_the_provider_asked_at_most_once(own: World) -> None:
    desk, idp, _ = own
    signed_in(desk, idp)
    asked = len(idp.asked)
    for number in range(5):
        ticket = ticket_of(desk)
        answer = desk.sign_in(idp.id_token(nonce_of(ticket), signer(f"made-up-{number}")), ticket)
        assert (answer.status_code, answer.json()["reason"]) == REFUSED
    assert len(idp.asked) <= asked + 1


def test_a_provider_s_new_key_is_found_and_one_that_is_gone_counts_no_more() -> None:
    with openid_issuer() as idp:
        providers = Providers()
        assert [each.kid for each in providers.keys(idp.url, "idp-1")] == ["idp-1"]
        idp.keys = [signer("idp-2")]
        providers._known[idp.url].keys_at -= 31
        assert [each.kid for each in providers.keys(idp.url, "idp-2")] == ["idp-2"]
        assert providers.keys(idp.url, "idp-1") == ()


def test_addresses_that_sign_in_too_often_wait_before_anything_is_read() -> None:
    with openid_issuer() as idp:
        source = Source()
        source.objects = people(idp)
        with running_desk(source, admin_listen="127.0.0.1:0", admin_calls_per_second=0.01) as desk:
            answers = [desk.sign_in("a.b.c", "x") for _ in range(4)]
    assert [each.status_code for each in answers].count(429) >= 2
    assert idp.asked == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(min_value=0, max_value=5000), value=st.integers(min_value=1, max_value=255))
def test_no_change_of_one_byte_leaves_a_sign_in_good(world: World, place: int, value: int) -> None:
    ticket = ticket_of(world.desk)
    whole = json.dumps({"id_token": world.idp.id_token(nonce_of(ticket)), "ticket": ticket}).encode()
    spoiled = bytearray(whole)
    spoiled[place % len(whole)] ^= value
    if bytes(spoiled) in (whole,) or not _differs(whole, bytes(spoiled)):
        return
    answer = world.desk.sign_in("", "", content=bytes(spoiled), headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 403), (bytes(spoiled), answer.text)


def _differs(one: bytes, other: bytes) -> bool:
    """Whether two bodies say different things: white space may be another one."""
    try:
        return bool(json.loads(one) != json.loads(other))
    except ValueError:
        return True
