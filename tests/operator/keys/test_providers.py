# SPDX-License-Identifier: Apache-2.0
"""Keys of providers by discovery: how long they last, from which addresses, and what no object inherits."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from testing.keys.authority import Authority
from testing.keys.endpoint import Behaviour, Endpoint, Visit, always, answer, endpoint
from testing.manifests import agent_provider, parsed
from testing.tokens import Signer
from watchword.identity import public_jwk
from watchword.kube.names import ObjectKey
from watchword.operator.keys.addresses import AddressRules
from watchword.operator.keys.http import tls_context
from watchword.operator.keys.providers import ProviderKeys, ProviderKeySync, WantedProvider
from watchword.trust.api.v1alpha1 import AgentProvider
from watchword.trust.api.v1alpha1.status import ProviderKeysStatus
from watchword.trust.conditions import PROVIDER, Verdict
from watchword.trust.timestamps import rfc3339

KEY = ObjectKey(PROVIDER, "watchword-desk", "helper")
LOOPBACK = AddressRules((ip_network("127.0.0.0/8"),), is_public_only=True)
FIRST, SECOND = Signer("first", "ES256"), Signer("second", "ES256")


class World:
    """A provider's endpoint, and a clock that a test sets."""

    def __init__(self, there: Endpoint, behaviours: dict[str, Behaviour]) -> None:
        self.there, self.behaviours, self.clock = there, behaviours, time.time()
        self.changes = 0

    def serve(self, *keys: Signer) -> None:
        jwks = json.dumps({"keys": [each.jwk for each in keys]}).encode()
        self.behaviours["keys"] = always(answer(jwks))
        document = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"}
        self.behaviours[".well-known/openid-configuration"] = always(
            answer(json.dumps(document).encode(), kind="application/json")
        )

    @property
    def issuer(self) -> str:
        return self.there.url("")

    def wanted(self, stored: ProviderKeysStatus | None = None, **metadata: Any) -> WantedProvider:
        document = agent_provider(issuer=self.issuer)
        document["spec"]["keys"] = {"discovery": {}}
        document["metadata"] |= metadata
        [provider] = parsed(document).resources.providers
        assert isinstance(provider, AgentProvider)
        return WantedProvider(KEY, provider, stored)

    def stored(self, age: float, issuer: str | None = None) -> ProviderKeysStatus:
        return ProviderKeysStatus(
            issuer=issuer or self.issuer,
            fetched_at=rfc3339(self.clock - age),
            jwks=(public_jwk(FIRST.key),),
        )

    def sync(self, addresses: AddressRules = LOOPBACK) -> ProviderKeySync:
        def changed() -> None:
            self.changes += 1

        return ProviderKeySync(
            on_change=changed, addresses=addresses, interval_seconds=0.02, now=lambda: self.clock
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    authority, behaviours = Authority(), dict[str, Behaviour]()
    (tmp_path / "authority.pem").write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    tls_context.cache_clear()

    def by_path(visit: Visit) -> None:
        behaviours.get(visit.path.strip("/"), always(answer(b"", "404 Not Found")))(visit)

    with endpoint(authority.server(tmp_path), by_path) as there:
        yield World(there, behaviours)
    tls_context.cache_clear()


async def until(sync: ProviderKeySync, verdict: Verdict, kids: list[str] | None) -> ProviderKeys:
    async with asyncio.timeout(30):
        while True:
            found = sync.found().get(KEY)
            keys = None if found is None or found.keys is None else [each["kid"] for each in found.keys.jwks]
            if found is not None and found.fresh.verdict is verdict and keys == kids:
                return found
            await asyncio.sleep(0.01)


def test_keys_that_are_served_no_more_count_no_more(world: World) -> None:
    async def work() -> None:
        sync = world.sync()
        running = asyncio.create_task(sync.run())
        world.serve(FIRST, SECOND)
        sync.set_providers([world.wanted()])
        assert sync.found() == {KEY: None}
        await until(sync, Verdict.FETCHED, ["first", "second"])
        world.serve(SECOND)
        await until(sync, Verdict.FETCHED, ["second"])
        world.serve()
        await until(sync, Verdict.FETCHED, [])
        assert world.changes == 3
        sync.set_providers([])
        assert sync.found() == {}
        running.cancel()

    asyncio.run(work())


def test_the_last_keys_go_on_for_a_day_and_no_longer(world: World) -> None:
    async def work() -> None:
        sync = world.sync()
        running = asyncio.create_task(sync.run())
        sync.set_providers([world.wanted(world.stored(86_000))])
        found = await until(sync, Verdict.PROVIDER_ANSWER_REFUSED, ["first"])
        assert "still count" in found.fresh.message
        world.clock += 500
        found = await until(sync, Verdict.PROVIDER_ANSWER_REFUSED, None)
        assert "no keys count" in found.fresh.message
        world.serve(SECOND)
        await until(sync, Verdict.FETCHED, ["second"])
        running.cancel()

    asyncio.run(work())


@pytest.mark.parametrize("what", ["too old", "another issuer's", "of the future"])
def test_stored_keys_that_are_not_its_own_are_none(world: World, what: str) -> None:
    stored = {
        "too old": world.stored(86_401),
        "another issuer's": world.stored(0, "https://other.example"),
        "of the future": world.stored(-10_000),
    }[what]

    async def work() -> None:
        sync = world.sync()
        running = asyncio.create_task(sync.run())
        sync.set_providers([world.wanted(stored)])
        await until(sync, Verdict.PROVIDER_ANSWER_REFUSED, None)
        running.cancel()

    asyncio.run(work())


def test_an_object_that_is_made_again_inherits_nothing(world: World) -> None:
    async def work() -> None:
        sync = world.sync()
        running = asyncio.create_task(sync.run())
        world.serve(FIRST)
        sync.set_providers([world.wanted(uid="one")])
        await until(sync, Verdict.FETCHED, ["first"])
        world.behaviours.clear()
        sync.set_providers([world.wanted(uid="two")])
        assert sync.found() == {KEY: None}
        await until(sync, Verdict.PROVIDER_ANSWER_REFUSED, None)
        running.cancel()

    asyncio.run(work())


def test_no_key_comes_from_an_address_that_is_not_public(world: World) -> None:
    async def work() -> None:
        sync = world.sync(AddressRules(is_public_only=True))
        running = asyncio.create_task(sync.run())
        world.serve(FIRST)
        sync.set_providers([world.wanted(world.stored(10))])
        found = await until(sync, Verdict.PROVIDER_UNREACHABLE, ["first"])
        assert "a loopback address" in found.fresh.message
        assert world.there.connections == 0
        running.cancel()

    asyncio.run(work())


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "fc00::1", "::ffff:10.0.0.1",
     "64:ff9b::10.0.0.1", "2002:a00:1::1", "169.254.169.254", "127.0.0.1", "198.18.0.1", "192.0.2.1",
     "2001:db8::1", "0.0.0.0", "fe80::1"],
)  # fmt: skip
def test_private_addresses_in_any_form_are_refused_where_only_public_ones_are_asked(address: str) -> None:
    assert AddressRules(is_public_only=True).refusal(address) is not None
    for public in ("8.8.8.8", "2606:4700::1111"):
        assert AddressRules(is_public_only=True).refusal(public) is None
