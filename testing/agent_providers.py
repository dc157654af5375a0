# SPDX-License-Identifier: Apache-2.0
"""Providers of agents as their desk sees them: a key, an AgentProvider, ID-JAGs and events, each from a good
default and one change.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from testing.agents import AgentDesk, agent_desk
from testing.manifests import agent_provider
from testing.running_desk import ISSUER, Object
from testing.tokens import Signer, b64, compact, signer

PROVIDER = "https://agents.example.net"
OTHER_PROVIDER = "https://other-agents.example.org"
CLIENT = "helper-app"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
REVOKED = "https://schemas.workos.com/events/agent/auth/identity/assertion/revoked"
JAG_TYPE, EVENT_TYPE = "oauth-id-jag+jwt", "secevent+jwt"


def key(name: str = "provider-1", algorithm: str = "ES256") -> Signer:
    """A provider's key, made once per test run."""
    return signer(name, algorithm)


def provider_object(name: str = "helper", *keys: Signer, **spec: Any) -> Object:
    """An AgentProvider with these keys."""
    return agent_provider(name, keys=[each.jwk for each in keys or (key(),)], **spec)


def other_object(**spec: Any) -> Object:
    """Another AgentProvider, with a key of its own under the same kid."""
    impostor = Signer(key().kid, "ES256")
    default = {"issuer": OTHER_PROVIDER, "displayName": "Other", "emailDomains": ["example.org"]}
    return provider_object("other", impostor, **(default | spec))


def signed(
    document: Mapping[str, Any] | bytes,
    kind: str,
    by: Signer | None = None,
    header: Mapping[str, Any] | None = None,
) -> str:
    """A compact JWS by a provider; `...` removes a member of the header."""
    by = by or key()
    members = {"alg": by.algorithm, "kid": by.kid, "typ": kind} | dict(header or {})
    head = compact({name: value for name, value in members.items() if value is not ...})
    payload = document if isinstance(document, bytes) else compact(document)
    return by.sign(head, payload).decode()


def jag_claims(**changes: Any) -> Object:
    """What a provider says of alice, now; `...` removes a claim."""
    now = int(time.time())
    document: Object = {
        "iss": PROVIDER,
        "sub": "user-1",
        "aud": ISSUER,
        "client_id": CLIENT,
        "jti": str(uuid.uuid4()),
        "iat": now - 5,
        "exp": now + 300,
        "auth_time": now - 60,
        "email": "alice@example.com",
        "email_verified": True,
    } | changes
    return {name: value for name, value in document.items() if value is not ...}


def id_jag(by: Signer | None = None, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
    """An ID-JAG of the provider."""
    return signed(jag_claims(**changes), JAG_TYPE, by, header)


def event_claims(**changes: Any) -> Object:
    """What a provider says when it takes back what it said of `user-1`; `...` removes a claim."""
    document: Object = {
        "iss": PROVIDER,
        "sub": "user-1",
        "aud": ISSUER,
        "jti": str(uuid.uuid4()),
        "iat": int(time.time()) - 5,
        "events": {REVOKED: {}},
    } | changes
    return {name: value for name, value in document.items() if value is not ...}


def event(by: Signer | None = None, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
    """A security event token of the provider."""
    return signed(event_claims(**changes), EVENT_TYPE, by, header)


def by_hand(header: Mapping[str, Any], payload: Mapping[str, Any], signature: bytes) -> str:
    """A compact JWS with any signature."""
    return f"{b64(compact(header))}.{b64(compact(payload))}.{b64(signature)}"


def flipped(token: str) -> str:
    """The token with one bit of its signature changed."""
    head, body, signature = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    raw[0] ^= 1
    return f"{head}.{body}.{b64(bytes(raw))}"


class ProviderDesk:
    """A desk that knows a provider, and what an agent of that provider does."""

    def __init__(self, desk: AgentDesk) -> None:
        self.agents, self.running, self.http = desk, desk.running, desk.http

    def show(self, assertion: str, **changes: Any) -> httpx.Response:
        """Show an ID-JAG to the desk."""
        body = {"type": "identity_assertion", "assertion_type": ID_JAG, "assertion": assertion} | changes
        return self.agents.post("/agent/identity", {k: v for k, v in body.items() if v is not None})

    def notify(self, token: str, content_type: str = "application/secevent+jwt") -> httpx.Response:
        """Push a security event."""
        headers = {"content-type": content_type}
        return self.http.post("/agent/event/notify", content=token.encode(), headers=headers)

    def asked(self, **changes: Any) -> Object:
        """The registration of an ID-JAG that a person has to confirm."""
        answer = self.show(id_jag(**changes))
        assert answer.status_code == 401, answer.text
        found: Object = answer.json()
        assert found["error"] == "interaction_required", answer.text
        return found

    def confirmed(self, made: Object) -> Object:
        """The person confirms by mail, and the agent completes."""
        code = self.agents.code_of(made["claim"]["attempt"]["verification_uri"])
        return self.agents.good(self.agents.complete(made, code))

    def linked(self, **changes: Any) -> Object:
        """A registration that the person confirmed: the answer of its completion."""
        made = self.asked(**changes)
        return self.confirmed(made) | {"claim": made["claim"]}

    def minted(self, identity: Object, **changes: Any) -> str:
        """An access token for the assertion of an answer."""
        answer = self.agents.good(self.agents.token(identity["identity"]["assertion"], **changes))
        token: str = answer["access_token"]
        return token


@contextmanager
def provider_desk(*providers: Object, **settings: Any) -> Iterator[ProviderDesk]:
    """A desk that knows these providers, by default one, until the end of the block."""
    with agent_desk(providers=providers or (provider_object(),), **settings) as running:
        yield ProviderDesk(running)
