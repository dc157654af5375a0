# SPDX-License-Identifier: Apache-2.0
"""A client that we did not write: Authlib gets an admin token by client credentials, and calls with it."""

from __future__ import annotations

from authlib.integrations.httpx_client import OAuth2Client, OAuthError
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from cryptography.hazmat.primitives import serialization
from joserfc.jwk import ECKey

from testing.running_desk import ISSUER, Source, admin_object, running_desk
from testing.tokens import Signer
from tests.desk.admin.world import objects

KEY = Signer("nightly-1", "ES256")


def authlib_client(audience: str) -> OAuth2Client:
    private = KEY.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    client = OAuth2Client(
        "nightly", ECKey.import_key(private), token_endpoint_auth_method="private_key_jwt", trust_env=False
    )
    client.register_client_auth_method(PrivateKeyJWT(audience, alg="ES256", headers={"kid": "nightly-1"}))
    return client


def test_authlib_gets_a_token_that_opens_the_admin_api() -> None:
    source = Source()
    source.objects = objects(admin_object("nightly", authentication={"jwks": {"keys": [KEY.jwk]}}))
    with running_desk(source, admin_listen="127.0.0.1:0") as desk:
        endpoint = f"{desk.url}/oauth2/token"
        with authlib_client(ISSUER) as client:
            token = client.fetch_token(endpoint, grant_type="client_credentials")
            assert token["token_type"] == "Bearer"
            answer = client.get(f"{desk.admin_url}/admin/v1/clients")
            assert answer.status_code == 200
            assert "nightly" in [each["name"] for each in answer.json()["clients"]]
        # An assertion for the token endpoint's URL is one that another server could have asked for.
        with authlib_client(endpoint) as client:
            try:
                client.fetch_token(endpoint, grant_type="client_credentials")
            except OAuthError as refused:
                said = refused.error
            else:
                said = "a token"
        assert said == "invalid_client"
