# SPDX-License-Identifier: Apache-2.0
"""A client that we did not write: Authlib exchanges, introspects, revokes, and reads the metadata."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import pytest
from authlib.integrations.httpx_client import OAuth2Client, OAuthError
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from testing.running_desk import (
    EXCHANGE,
    ISSUER,
    JWT,
    TARGET,
    TARGET_AUDIENCE,
    RunningDesk,
    Source,
    client_object,
    default_objects,
    running_desk,
    service_object,
    subject_token,
)
from testing.tokens import Signer

OWN_KEY = Signer("own-1", "ES256")
SECRET = "correct horse battery staple"


@pytest.fixture(scope="module")
def desk() -> Iterator[RunningDesk]:
    """A desk with a client by its own key, and one by a secret."""
    source = Source()
    secret = {"secretRef": {"name": "by-secret", "key": "sha256"}}
    source.objects = [
        *(each for each in default_objects() if each["kind"] != "ProtectedService"),
        service_object(resourceServers=["cache", "by-key", "by-secret"]),
        client_object("by-key", authentication={"jwks": {"keys": [OWN_KEY.jwk]}}),
        client_object("by-secret", authentication=secret),
    ]
    source.secrets = {("by-secret", "sha256"): hashlib.sha256(SECRET.encode()).hexdigest()}
    with running_desk(source) as running:
        yield running


def exchanged(desk: RunningDesk, **parameters: str) -> dict[str, str]:
    """What Authlib gets for a token exchange as a public client."""
    with OAuth2Client(token_endpoint_auth_method="none", trust_env=False) as client:
        answer: dict[str, str] = client.fetch_token(
            f"{desk.url}/oauth2/token",
            grant_type=EXCHANGE,
            subject_token=subject_token(),
            subject_token_type=JWT,
            audience=TARGET,
            **({"scope": "cache:read", "account": "acme", "project": "ios"} | parameters),
        )
    return answer


def by_secret(method: str) -> OAuth2Client:
    return OAuth2Client("by-secret", SECRET, token_endpoint_auth_method=method, trust_env=False)


def by_key() -> OAuth2Client:
    private = OWN_KEY.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    client = OAuth2Client(
        "by-key", ECKey.import_key(private), token_endpoint_auth_method="private_key_jwt", trust_env=False
    )
    # RFC 10070: the audience of an assertion is the issuer, not the endpoint that the library has by default.
    client.register_client_auth_method(PrivateKeyJWT(ISSUER, alg="ES256", headers={"kid": "own-1"}))
    return client


def test_a_token_is_exchanged_and_its_form_is_rfc_9068(desk: RunningDesk) -> None:
    answer = exchanged(desk)

    assert answer["token_type"] == "Bearer"
    assert answer["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    assert answer["scope"] == "cache:read"
    assert 0 < int(answer["expires_in"]) <= 600
    assert "refresh_token" not in answer

    keys = KeySet.import_key_set(desk.http.get("/.well-known/jwks.json").json())
    token = jwt.decode(answer["access_token"], keys, algorithms=["ES256"])
    assert token.header["typ"] == "at+jwt"
    required = {name: {"essential": True} for name in ("exp", "sub", "client_id", "iat", "jti")}
    jwt.JWTClaimsRegistry(
        now=int(time.time()),
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": TARGET_AUDIENCE},
        **required,
    ).validate(token.claims)


def test_a_refusal_is_an_oauth_error(desk: RunningDesk) -> None:
    with pytest.raises(OAuthError) as refused:
        exchanged(desk, project="web")
    assert refused.value.error == "invalid_scope"
    with pytest.raises(OAuthError) as refused:
        exchanged(desk, requested_token_type="urn:ietf:params:oauth:token-type:refresh_token")
    assert refused.value.error == "invalid_request"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "private_key_jwt"])
def test_a_token_is_introspected_in_each_way(desk: RunningDesk, method: str) -> None:
    token = exchanged(desk)["access_token"]
    chosen = by_key() if method == "private_key_jwt" else by_secret(method)

    with chosen as client:
        answer = client.introspect_token(
            f"{desk.url}/oauth2/introspect", token=token, token_type_hint="access_token"
        )

    assert answer.json()["active"] is True, answer.text
    assert answer.json()["aud"] == TARGET_AUDIENCE


def test_a_token_is_revoked(desk: RunningDesk) -> None:
    token = exchanged(desk)["access_token"]

    with OAuth2Client(token_endpoint_auth_method="none", trust_env=False) as holder:
        answer = holder.revoke_token(f"{desk.url}/oauth2/revoke", token=token)

    assert answer.status_code == 200
    with by_secret("client_secret_basic") as client:
        after = client.introspect_token(f"{desk.url}/oauth2/introspect", token=token)
    assert after.json() == {"active": False}


def test_the_metadata_is_valid(desk: RunningDesk) -> None:
    document = desk.http.get("/.well-known/oauth-authorization-server").json()
    metadata = AuthorizationServerMetadata(document)
    # RFC 8414 requires response_types_supported, and that arrays of nothing are left out: there is no
    # authorization endpoint, so there is nothing to list.
    names = [each for each in AuthorizationServerMetadata.REGISTRY_KEYS if each != "response_types_supported"]
    for name in names:
        check = getattr(metadata, f"validate_{name}", None)
        if check is not None and name != "authorization_endpoint":
            check()
    assert document["issuer"] == ISSUER
    assert "authorization_endpoint" not in document
