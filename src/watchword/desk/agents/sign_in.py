# SPDX-License-Identifier: Apache-2.0
"""Sign-in of a person at the OpenID provider of a domain (OpenID Connect Core 1.0, section 3.1; RFC 7636).

A public client with PKCE: there is no secret to keep. What was begun is in a cookie of that one browser, so
that nothing is stored for people who never come back, and an answer that another browser asked for is
refused.
"""

import base64
import hashlib
import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlencode

import msgspec

from watchword.desk import id_tokens
from watchword.desk.agents.oidc_http import ProviderError
from watchword.desk.agents.policy import Provider
from watchword.desk.agents.provider_fetches import ProviderFetches
from watchword.desk.agents.reasons import AgentReason
from watchword.desk.forms import Form
from watchword.desk.id_tokens import SignedIn
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.desk.responses import Answer
from watchword.identity import Key, Refusal
from watchword.identity.compact import UnverifiedToken, parse_compact

CALLBACK: Final = "/claim/callback"
COOKIE: Final = "__Host-watchword-sign-in"
_COOKIE_SECONDS: Final = 600


class Started(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sign-in that was begun, as its browser holds it. All of it is that browser's own.

    Attributes:
        attempt: the token of the agent's link.
        issuer: the provider's issuer identifier.
        state: what the provider sends back.
        nonce: what its ID token must say.
        verifier: the secret of RFC 7636.
    """

    attempt: str
    issuer: str
    state: str
    nonce: str
    verifier: str

    def __repr__(self) -> str:
        return f"Started(issuer={self.issuer!r})"


class SignIn:
    """Signs people in at the providers of their domains."""

    def __init__(self, providers: ProviderFetches) -> None:
        """Ask these providers."""
        self._providers = providers

    async def origin_of(self, provider: Provider) -> str | DeskRefusal:
        """The origin that the sign-in leads to, which the page's policy has to name."""
        try:
            return (await self._providers.endpoints(provider.issuer)).origin
        except ProviderError as error:
            return _unavailable(error)

    async def begin(self, provider: Provider, attempt: str, issuer: str) -> Answer | DeskRefusal:
        """Lead a browser to the provider; `issuer` is the desk's own."""
        try:
            endpoints = await self._providers.endpoints(provider.issuer)
        except ProviderError as error:
            return _unavailable(error)
        started = Started(attempt, provider.issuer, *(secrets.token_urlsafe(32) for _ in range(3)))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(started.verifier.encode()).digest())
        query = urlencode(
            {
                "response_type": "code",
                "client_id": provider.client_id,
                "redirect_uri": f"{issuer}{CALLBACK}",
                "scope": "openid email",
                "state": started.state,
                "nonce": started.nonce,
                "code_challenge": challenge.rstrip(b"=").decode(),
                "code_challenge_method": "S256",
            }
        )
        joint = "&" if "?" in endpoints.authorization else "?"
        value = base64.urlsafe_b64encode(msgspec.json.encode(started)).decode().rstrip("=")
        cookie = f"{COOKIE}={value}; Path=/; Max-Age={_COOKIE_SECONDS}; Secure; HttpOnly; SameSite=Lax"
        headers = (
            (b"location", f"{endpoints.authorization}{joint}{query}".encode()),
            (b"set-cookie", cookie.encode()),
            (b"referrer-policy", b"no-referrer"),
        )
        return Answer(303, headers=headers)

    def started(self, query: Form, cookies: str) -> Started | DeskRefusal:
        """What this browser began, if the provider's answer belongs to it."""
        try:
            morsel = SimpleCookie(cookies).get(COOKIE)
            value = "" if morsel is None else morsel.value
            started = msgspec.json.decode(
                base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)), type=Started
            )
        except (CookieError, ValueError, msgspec.MsgspecError):
            return refuse(AgentReason.SIGN_IN_FAILED, internal="no sign-in was begun in this browser")
        given = query.one("state") or ""
        if not hmac.compare_digest(given.encode(), started.state.encode()) or query.one("code") is None:
            return refuse(AgentReason.SIGN_IN_FAILED, internal="the state is another one's, or no code came")
        # RFC 9207: where the provider says who it is, it is the one that was asked.
        if query.one("iss") not in (None, started.issuer):
            return refuse(AgentReason.SIGN_IN_FAILED, internal="another provider answered")
        return started

    async def finish(
        self, provider: Provider, started: Started, query: Form, issuer: str, now: float
    ) -> SignedIn | DeskRefusal:
        """Exchange the code and read who signed in."""
        form = {
            "grant_type": "authorization_code",
            "code": query.one("code") or "",
            "redirect_uri": f"{issuer}{CALLBACK}",
            "client_id": provider.client_id,
            "code_verifier": started.verifier,
        }
        try:
            token = await self._providers.exchange(provider.issuer, form, provider.client_secret)
            if token is None:
                return refuse(AgentReason.SIGN_IN_FAILED, internal="the provider refused the code")
            unverified = parse_compact(token.encode("utf-8", "replace"))
            if isinstance(unverified, Refusal):
                return refuse(AgentReason.SIGN_IN_FAILED, internal="the ID token is no JWT")
            keys = await self._providers.keys(provider.issuer, unverified.header.get("kid"))
        except ProviderError as error:
            return _unavailable(error)
        return read_id_token(unverified, keys, provider, started.nonce, now)


def read_id_token(
    token: UnverifiedToken, keys: tuple[Key, ...], provider: Provider, nonce: str, now: float
) -> SignedIn | DeskRefusal:
    """Who an ID token says signed in at the provider of a domain, or the refusal."""
    found = id_tokens.read_id_token(
        token, keys, issuer=provider.issuer, client_id=provider.client_id, nonce=nonce, now=now
    )
    return _failed(found) if isinstance(found, str) else found


def _failed(internal: str) -> DeskRefusal:
    return refuse(AgentReason.SIGN_IN_FAILED, internal=internal)


def _unavailable(error: ProviderError) -> DeskRefusal:
    return refuse(AgentReason.PROVIDER_UNAVAILABLE, internal=str(error), retry_after=30)
