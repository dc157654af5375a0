# SPDX-License-Identifier: Apache-2.0
"""A KeySync with sources that a test holds in its hand, and issuers from a good default."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from testing.tokens import Signer
from watchword.operator.keys.addresses import AddressRules
from watchword.operator.keys.credentials import CredentialSecret
from watchword.operator.keys.sync import KeySync
from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer
from watchword.trust.api.v1alpha1.issuer import SecretKey
from watchword.trust.key_rotation.held_keys import HeldKey

NOW = 1_800_000_000.0
NOWHERE = AddressRules()
A, B, C = (Signer(f"key-{name}", "ES256") for name in "abc")


def jwks(*signers: Signer) -> bytes:
    return json.dumps({"keys": [signer.jwk for signer in signers]}).encode()


def issuer(
    keys: dict[str, Any], name: str = "production", uid: str = "uid-1", **spec: Any
) -> ClusterTrustedIssuer:
    document = {
        "metadata": {"name": name, "uid": uid},
        "spec": {"issuer": "https://issuer.test", "keys": keys} | spec,
    }
    return msgspec.convert(document, ClusterTrustedIssuer)


class World:
    """A KeySync, and everything that it is told and asks for."""

    def __init__(self, addresses: AddressRules = NOWHERE) -> None:
        self.now = NOW
        self.told: list[str] = []
        self.own_cluster: Callable[[], bytes] = lambda: jwks(A)
        self.secrets: dict[tuple[str, str, str], CredentialSecret] = {}
        self.sync = KeySync(
            on_change=self.told.append,
            read_secret=self.read_secret,
            fetch_own_cluster=self.fetch_own_cluster,
            addresses=addresses,
            now=lambda: self.now,
        )

    async def fetch_own_cluster(self) -> bytes:
        return self.own_cluster()

    async def read_secret(self, reference: SecretKey) -> CredentialSecret:
        return self.secrets[reference.namespace, reference.name, reference.key]

    def states(self, name: str = "production") -> dict[str, str]:
        return {key.kid: key.state for key in self.sync.keys_of(name).held}

    def fresh(self, name: str = "production") -> str:
        return self.sync.keys_of(name).fresh.verdict.reason

    def settled(self, name: str = "production") -> str:
        return self.sync.keys_of(name).settled.verdict.reason

    def trusted(self, name: str = "production") -> list[str]:
        data = self.sync.keys_of(name).jwks
        return [] if data is None else sorted(key["kid"] for key in json.loads(data)["keys"])

    def held(self, name: str = "production") -> tuple[HeldKey, ...]:
        return self.sync.keys_of(name).held


@asynccontextmanager
async def running(world: World) -> AsyncIterator[World]:
    task = asyncio.create_task(world.sync.run())
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for an effect; the deadline is generous, and only there so that a failure ends."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - conditions are plain questions here
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:.0f} s: {what}") from None
