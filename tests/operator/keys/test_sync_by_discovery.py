# SPDX-License-Identifier: Apache-2.0
"""Issuers whose keys are fetched from real endpoints: what was trusted stays, whatever comes in between."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from testing.keys.authority import Authority
from testing.keys.endpoint import Behaviour, Endpoint, Visit, always, answer, endpoint
from testing.keys.polling import A, B, World, issuer, jwks, running, until
from watchword.operator.keys import http
from watchword.operator.keys.addresses import AddressRules
from watchword.operator.keys.credentials import CredentialSecret
from watchword.operator.keys.fetch_lanes import LANE_WIDTH

LOOPBACK = AddressRules((ip_network("127.0.0.0/8"),))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def tls(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return authority.server(tmp_path_factory.mktemp("tls"))


def source(there: Endpoint, authority: Authority, **changes: Any) -> dict[str, Any]:
    return {"discovery": {"jwksURL": there.url(), "caBundle": authority.pem, "intervalSeconds": 30} | changes}


async def ask_now(world: World, there: Endpoint, name: str = "production") -> None:
    """Have the issuer asked once more, without waiting for its interval."""
    before = len(there.requests)
    followed = world.sync._polled[name]
    followed.due = 0.0
    followed.wake.set()
    await until(lambda: len(there.requests) > before, "it was asked")


BAD: list[tuple[str, Behaviour, str]] = [
    ("an empty set", always(answer(b'{"keys": []}')), "AllKeysLost"),
    (
        "a set of symmetric keys",
        always(answer(b'{"keys": [{"kty": "oct", "kid": "x", "k": "AA"}]}')),
        "AllKeysLost",
    ),
    ("no set", always(answer(b"{}")), "AnswerRefused"),
    ("HTML", always(answer(b"<html>", kind="text/html")), "AnswerRefused"),
    ("a redirect elsewhere", always(answer(b"", "302 F", Location="https://127.0.0.1/")), "AnswerRefused"),
    ("a set of 1 MiB", always(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2**20), "AnswerRefused"),
]


@pytest.mark.parametrize(("behaviour", "reason"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_after_any_bad_answer_the_keys_stand_and_a_good_one_mends_it(
    tls: ssl.SSLContext, authority: Authority, behaviour: Behaviour, reason: str
) -> None:
    async def scenario(there: Endpoint) -> None:
        world = World(LOOPBACK)
        async with running(world):
            world.sync.set_issuer(issuer(source(there, authority)), ())
            await until(lambda: world.trusted() == ["key-a"], "the first keys are taken")
            there.behaviour = behaviour
            await ask_now(world, there)
            await until(lambda: world.fresh() == reason, "it is said")
            assert (world.trusted(), world.states()) == (["key-a"], {"key-a": "Active"})
            there.behaviour = always(answer(jwks(A, B)))
            await ask_now(world, there)
            await until(lambda: world.fresh() == "Fetched", "it is mended without a restart")
            assert world.trusted() == ["key-a", "key-b"]

    with endpoint(tls, always(answer(jwks(A)))) as there:
        asyncio.run(scenario(there))


def test_an_endpoint_that_fails_once_is_no_news_and_one_that_fails_on_is(
    tls: ssl.SSLContext, authority: Authority
) -> None:
    async def scenario(there: Endpoint) -> None:
        world = World(LOOPBACK)
        async with running(world):
            world.sync.set_issuer(issuer(source(there, authority)), ())
            await until(lambda: world.trusted() == ["key-a"], "the first keys are taken")
            world.told.clear()
            there.behaviour = always(answer(b"", "503 Busy"))
            for failures in (1, 2):
                await ask_now(world, there)
                await until(
                    lambda failures=failures: world.sync._polled["production"].failures >= failures,
                    "counted",
                )
                if world.sync._polled["production"].failures < 3:
                    assert (world.fresh(), world.told) == ("Fetched", [])
            await ask_now(world, there)
            await until(lambda: world.fresh() == "Unreachable", "it is said")
            await ask_now(world, there)
            assert (world.trusted(), world.told) == (["key-a"], ["production"])

    with endpoint(tls, always(answer(jwks(A)))) as there:
        asyncio.run(scenario(there))


def test_an_endpoint_that_asks_for_time_gets_it_whatever_happens(
    tls: ssl.SSLContext, authority: Authority
) -> None:
    async def scenario(there: Endpoint) -> None:
        world = World(LOOPBACK)
        async with running(world):
            world.sync.set_issuer(issuer(source(there, authority)), ())
            await until(lambda: world.fresh() == "Unreachable", "the first failure is said at once")
            for number in range(50):
                # Edits that change nothing of the source: a storm of them must not become one of requests.
                rotation = {"retireAfterSeconds": number, "approved": [f"{number:042d}A"]}
                world.sync.set_issuer(issuer(source(there, authority), rotation=rotation), ())
                await asyncio.sleep(0)
            await asyncio.sleep(0.2)
            assert len(there.requests) == 1

    with endpoint(tls, always(answer(b"", "429 Too Many", Retry_After="3600"))) as there:
        asyncio.run(scenario(there))


def test_an_approval_before_a_key_was_seen_is_acted_on_at_once(
    tls: ssl.SSLContext, authority: Authority
) -> None:
    async def scenario(there: Endpoint) -> None:
        world = World(LOOPBACK)
        slow = source(there, authority, intervalSeconds=86_400)
        async with running(world):
            world.sync.set_issuer(issuer(slow), ())
            await until(lambda: world.trusted() == ["key-a"], "the first keys are taken")
            there.behaviour = always(answer(jwks(B)))
            approved = {"approved": [A.key.thumbprint, B.key.thumbprint]}
            world.sync.set_issuer(issuer(slow, rotation=approved), ())
            await until(lambda: world.trusted() == ["key-a", "key-b"], "the new key is trusted")
            world.sync.set_issuer(issuer(slow, rotation=approved), ())
            await asyncio.sleep(0.2)
            assert len(there.requests) == 2

    with endpoint(tls, always(answer(jwks(A)))) as there:
        asyncio.run(scenario(there))


def test_issuers_that_hang_hold_up_no_other(
    tls: ssl.SSLContext, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "DEADLINE_SECONDS", 1.0)

    async def scenario(hanging: Endpoint, there: Endpoint) -> None:
        world = World(LOOPBACK)
        async with running(world):
            for number in range(2 * LANE_WIDTH):
                world.sync.set_issuer(issuer(source(hanging, authority), name=f"hanging-{number}"), ())
            await until(lambda: hanging.connections >= LANE_WIDTH, "they hang, as many as are asked at once")
            # They have failed once: what they are asked from here on is in a lane of their own.
            await until(lambda: world.fresh(f"hanging-{2 * LANE_WIDTH - 1}") == "Unreachable", "all failed")
            world.sync.set_issuer(issuer(source(there, authority)), ())
            await until(lambda: world.trusted() == ["key-a"], "the good one is served")
            assert world.trusted("hanging-0") == []

    with endpoint(None, Visit.hold) as hanging, endpoint(tls, always(answer(jwks(A)))) as there:
        asyncio.run(scenario(hanging, there))


def test_an_answer_that_comes_after_its_source_was_edited_away_is_nobodys(
    tls: ssl.SSLContext, authority: Authority
) -> None:
    async def scenario(old: Endpoint, new: Endpoint, let_go: Callable[[], None]) -> None:
        world = World(LOOPBACK)
        async with running(world):
            world.sync.set_issuer(issuer(source(old, authority)), ())
            await until(lambda: len(old.requests) == 1, "the old source is asked")
            world.sync.set_issuer(issuer(source(new, authority)), ())
            let_go()
            await until(lambda: world.trusted() == ["key-b"], "the new source is asked")
            assert world.states() == {"key-b": "Active"}

    gate = threading.Event()

    def late(visit: Visit) -> None:
        gate.wait(30)
        visit.send(answer(jwks(A)))

    with endpoint(tls, late) as old, endpoint(tls, always(answer(jwks(B)))) as new:
        asyncio.run(scenario(old, new, gate.set))


def test_a_credential_is_read_for_each_fetch_and_its_absence_is_said(
    tls: ssl.SSLContext, authority: Authority
) -> None:
    async def scenario(there: Endpoint) -> None:
        world = World(LOOPBACK)
        reference = {"namespace": "trust", "name": "reader"}
        with_credential = source(there, authority, credentialSecretRef=reference)
        async with running(world):
            world.sync.set_issuer(issuer(with_credential), ())
            await until(lambda: world.fresh() == "Unreachable", "a missing Secret is said")
            assert "trust/reader" in world.sync.keys_of("production").fresh.message
            assert there.connections == 0
            host = with_credential["discovery"]["jwksURL"].split("/")[2]
            world.secrets["trust", "reader", "token"] = CredentialSecret("production", host, "secret-1")
            await ask_now(world, there)
            await until(lambda: world.trusted() == ["key-a"], "it is fetched with it")
            world.secrets["trust", "reader", "token"] = CredentialSecret("production", host, "secret-2")
            await ask_now(world, there)
            assert [visit.header("Authorization") for visit in there.requests] == [
                "Bearer secret-1",
                "Bearer secret-2",
            ]
            assert "secret" not in repr(world.sync.keys_of("production"))

    with endpoint(tls, always(answer(jwks(A)))) as there:
        asyncio.run(scenario(there))


@pytest.mark.parametrize(
    ("label", "note", "words"),
    [
        ("", "{host}", "not labelled"),
        ("staging", "{host}", "not labelled"),
        ("production.", "{host}", "not labelled"),
        ("production", "", "not for the host"),
        ("production", "elsewhere.example", "not for the host"),
        ("production", "{host}.elsewhere.example", "not for the host"),
        ("production", "https://{host}", "not for the host"),
        ("production", "localhost", "not for the host"),
    ],
)
def test_a_secret_that_was_made_for_something_else_is_sent_nowhere(
    tls: ssl.SSLContext, authority: Authority, label: str, note: str, words: str
) -> None:
    async def scenario(there: Endpoint) -> None:
        world = World(LOOPBACK)
        with_credential = source(
            there, authority, credentialSecretRef={"namespace": "trust", "name": "reader"}
        )
        host = with_credential["discovery"]["jwksURL"].split("/")[2]
        secret = CredentialSecret(label, note.format(host=host), "the-webhooks-own-key")
        world.secrets["trust", "reader", "token"] = secret
        assert "the-webhooks-own-key" not in repr(secret)
        async with running(world):
            world.sync.set_issuer(issuer(with_credential), ())
            await until(lambda: world.fresh() == "Unreachable", "it is said")
            message = world.sync.keys_of("production").fresh.message
            assert words in message
            assert "watchword.dev/" in message
            assert "the-webhooks-own-key" not in message
            assert there.connections == 0

    with endpoint(tls, always(answer(jwks(A)))) as there:
        asyncio.run(scenario(there))


def test_loopback_is_not_asked_where_nobody_allowed_it(tls: ssl.SSLContext, authority: Authority) -> None:
    async def scenario(there: Endpoint) -> None:
        world = World()
        async with running(world):
            world.sync.set_issuer(issuer(source(there, authority)), ())
            await until(lambda: world.fresh() == "Unreachable", "it is said")
            assert "loopback" in world.sync.keys_of("production").fresh.message
            assert there.connections == 0

    with endpoint(tls, always(answer(jwks(A)))) as there:
        asyncio.run(scenario(there))


def test_after_a_restart_with_the_issuer_away_the_last_good_keys_stand(authority: Authority) -> None:
    async def scenario() -> None:
        before = World()
        before.sync.set_issuer(issuer({"inline": {"keys": [A.jwk]}}), ())
        world = World(LOOPBACK)
        away = {"discovery": {"jwksURL": "https://localhost:1/keys", "caBundle": authority.pem}}
        async with running(world):
            world.sync.set_issuer(issuer(away), before.held())
            await until(lambda: world.fresh() == "Unreachable", "it is said")
            assert world.trusted() == ["key-a"]

    asyncio.run(scenario())
