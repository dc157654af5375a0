# SPDX-License-Identifier: Apache-2.0
"""Whatever a source does, keys that were trusted stay trusted, nobody new gets in, and it is said."""

import asyncio
from typing import Any

import pytest

from testing.keys.polling import NOW, A, B, World, issuer, jwks, running, until
from testing.tokens import Signer
from watchword.operator.keys import fetch_lanes
from watchword.operator.keys.fetch import KeyFetcher
from watchword.operator.keys.sync import KeySync
from watchword.trust.key_rotation.held_keys import held_from_status, held_to_status

CONFIG_MAP = {"configMap": {"namespace": "trust", "name": "keys"}}


def given(world: World, *signers: Signer) -> None:
    world.sync.set_config_map("trust", "keys", {"jwks.json": jwks(*signers).decode()})


def followed(**spec: Any) -> World:
    """An issuer by ConfigMap that served the key A."""
    world = World()
    world.sync.set_issuer(issuer(CONFIG_MAP, **spec), ())
    given(world, A)
    world.sync.take_changes("production")
    world.told.clear()
    return world


def test_inline_keys_are_trusted_as_they_are_written() -> None:
    world = World()
    world.sync.set_issuer(issuer({"inline": {"keys": [A.jwk]}}), ())
    assert (world.states(), world.fresh(), world.settled()) == ({"key-a": "Active"}, "Static", "Settled")
    world.sync.set_issuer(issuer({"inline": {"keys": [B.jwk]}}), ())
    assert world.states() == {"key-b": "Active"}
    reasons = [change.event.reason for change in world.sync.take_changes("production")]
    assert reasons == ["KeyTrusted", "KeyTrusted", "KeyRetired"]


def test_a_config_map_is_wanted_and_read() -> None:
    world = World()
    world.sync.set_issuer(issuer(CONFIG_MAP), ())
    assert world.sync.wanted_config_maps() == {("trust", "keys")}
    assert (world.fresh(), world.trusted()) == ("NeverFetched", [])
    given(world, A)
    assert (world.fresh(), world.trusted()) == ("Fetched", ["key-a"])
    assert world.told == ["production", "production"]


def test_what_was_read_before_an_issuer_named_it_is_not_counted() -> None:
    world = World()
    given(world, A)
    world.sync.set_issuer(issuer(CONFIG_MAP), ())
    assert world.trusted() == []
    assert world.sync.take_unread_config_maps() == {("trust", "keys")}
    given(world, A)
    assert world.trusted() == ["key-a"]


def test_an_issuer_that_was_made_again_waits_for_what_the_config_map_holds_now() -> None:
    world = followed()
    world.sync.drop_issuer("production")
    # The ConfigMap is changed meanwhile, and no watch is there to say so.
    world.sync.set_issuer(issuer(CONFIG_MAP, uid="another"), ())
    assert world.trusted() == []
    given(world, B)
    assert world.trusted() == ["key-b"]


def test_a_config_map_that_vanishes_or_lies_takes_no_key_away() -> None:
    world = followed()
    for data, reason in (
        (None, "Unreachable"),
        ({"other.json": "{}"}, "Unreachable"),
        ({"jwks.json": ""}, "AnswerRefused"),
        ({"jwks.json": '{"keys": []}'}, "AllKeysLost"),
        ({"jwks.json": "<html>"}, "AnswerRefused"),
    ):
        world.sync.set_config_map("trust", "keys", data)
        assert (world.fresh(), world.trusted()) == (reason, ["key-a"])
    given(world, A)
    assert (world.fresh(), world.trusted()) == ("Fetched", ["key-a"])
    assert not world.sync.take_changes("production")


def test_a_bad_key_beside_a_good_one_is_named_and_nothing_more() -> None:
    world = followed()
    odd = Signer("odd", "ES256")
    odd.jwk["d"] = "AAAA"
    given(world, A, odd)
    assert (world.fresh(), world.trusted()) == ("Fetched", ["key-a"])
    assert "odd" in world.sync.keys_of("production").fresh.message


def test_the_same_answer_again_is_no_news() -> None:
    world = followed()
    given(world, A)
    assert world.told == []


def test_an_approval_holds_without_another_answer() -> None:
    world = followed()
    given(world, B)
    assert (world.states(), world.settled()) == ({"key-a": "Retiring", "key-b": "Pending"}, "KeysPending")
    world.sync.set_issuer(issuer(CONFIG_MAP, rotation={"approved": [B.key.thumbprint]}), ())
    assert world.trusted() == ["key-a", "key-b"]


def test_an_algorithm_that_is_not_allowed_is_no_answer() -> None:
    world = followed(algorithms=["ES256"])
    given(world, Signer("rsa"))
    assert (world.fresh(), world.trusted()) == ("AllKeysLost", ["key-a"])


def test_keys_that_were_written_inline_anchor_what_is_followed_later() -> None:
    world = World()
    world.sync.set_issuer(issuer({"inline": {"keys": [A.jwk]}}), ())
    world.sync.set_issuer(issuer(CONFIG_MAP), ())
    given(world, B)
    assert world.states() == {"key-a": "Retiring", "key-b": "Pending"}


def test_after_a_restart_the_keys_of_the_status_stand() -> None:
    held = held_from_status(held_to_status(followed().held()))
    world = World()
    world.sync.set_issuer(issuer(CONFIG_MAP), held)
    assert (world.trusted(), world.fresh()) == (["key-a"], "NeverFetched")
    given(world, B)
    assert world.states() == {"key-a": "Retiring", "key-b": "Pending"}


def test_another_object_of_the_same_name_inherits_nothing() -> None:
    world = followed()
    world.sync.set_config_map("trust", "keys", None)
    world.sync.set_issuer(issuer(CONFIG_MAP, uid="uid-2"), ())
    assert world.trusted() == []


def test_a_status_given_later_is_not_looked_at() -> None:
    world = followed()
    stranger = World()
    stranger.sync.set_issuer(issuer({"inline": {"keys": [B.jwk]}}), ())
    world.sync.set_issuer(issuer(CONFIG_MAP), stranger.held())
    assert world.trusted() == ["key-a"]


def test_a_key_retires_by_time_alone() -> None:
    async def scenario() -> None:
        world = followed()
        given(world, A, B)
        given(world, A)
        assert world.trusted() == ["key-a", "key-b"]
        async with running(world):
            world.now = NOW + 86_401
            world.sync._polled["production"].wake.set()
            await until(lambda: world.trusted() == ["key-a"], "key-b is dropped")

    asyncio.run(scenario())


def test_the_own_cluster_is_asked_and_survived() -> None:
    async def scenario() -> None:
        world = World()

        def broken() -> bytes:
            raise RuntimeError("no API server")

        world.own_cluster = broken
        async with running(world):
            world.sync.set_issuer(issuer({"cluster": {}}), ())
            await until(lambda: world.fresh() == "Unreachable", "it is said")
            world.own_cluster = lambda: jwks(A)
            await until(lambda: world.trusted() == ["key-a"], "it recovers")
            assert world.fresh() == "Fetched"

    asyncio.run(scenario())


def test_a_listener_that_breaks_stops_nothing() -> None:
    async def scenario() -> None:
        world = World()

        def breaks(name: str) -> None:
            raise RuntimeError(name)

        world.sync._on_change = breaks
        async with running(world):
            world.sync.set_issuer(issuer({"cluster": {}}), ())
            await until(lambda: world.trusted() == ["key-a"], "it goes on")

    asyncio.run(scenario())


def test_an_issuer_that_is_dropped_is_asked_no_more() -> None:
    async def scenario() -> None:
        world = World()
        async with running(world):
            world.sync.set_issuer(issuer({"cluster": {}}), ())
            await until(lambda: world.trusted() == ["key-a"], "it is followed")
            world.sync.drop_issuer("production")
            assert len(world.sync._tasks) == 0
            assert world.sync.wanted_config_maps() == frozenset()

    asyncio.run(scenario())


def test_an_own_api_server_or_a_secret_that_hangs_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_lanes, "OWN_CLUSTER_SECONDS", 0.1)

    async def never(*_: object) -> Any:
        await asyncio.Event().wait()

    async def scenario() -> None:
        world = World()
        world.sync = KeySync(on_change=world.told.append, read_secret=never, fetch_own_cluster=never)
        reference = {"namespace": "trust", "name": "reader"}
        by_secret = {"discovery": {"jwksURL": "https://localhost/", "credentialSecretRef": reference}}
        async with running(world):
            world.sync.set_issuer(issuer({"cluster": {}}, name="own"), ())
            world.sync.set_issuer(issuer(by_secret, name="secret"), ())
            await until(lambda: world.fresh("own") == "Unreachable", "the API server's silence is said")
            await until(lambda: world.fresh("secret") == "Unreachable", "the Secret's silence is said")
            assert "trust/reader" in world.sync.keys_of("secret").fresh.message

    asyncio.run(scenario())


def test_a_defect_while_fetching_is_said_and_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        world = World()

        async def broken(self: KeyFetcher, credential: str | None = None) -> bytes:
            raise ZeroDivisionError

        monkeypatch.setattr(KeyFetcher, "fetch", broken)
        async with running(world):
            world.sync.set_issuer(issuer({"discovery": {"jwksURL": "https://localhost/"}}), ())
            await until(lambda: world.fresh() == "Unreachable", "it is said")
            assert "ZeroDivisionError" in world.sync.keys_of("production").fresh.message
            monkeypatch.undo()

    asyncio.run(scenario())


def test_an_entry_in_binary_data_is_said_to_be_there() -> None:
    world = followed()
    world.sync.set_config_map("trust", "keys", {"jwks.json": None})
    assert (world.fresh(), world.trusted()) == ("Unreachable", ["key-a"])
    message = world.sync.keys_of("production").fresh.message
    assert "is in binaryData" in message
    assert "create it" not in message
