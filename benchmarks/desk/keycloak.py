# SPDX-License-Identifier: Apache-2.0
"""Keycloak set up for the same work: standard token exchange (v2) for one audience, and introspection of it.

Its tokens are signed with ES256, as the desk's are. A client exchanges a token that was issued to it; the
resource server authenticates with a secret.
"""

from typing import Any, Final

from benchmarks.desk.load import post
from testing.keycloak import Keycloak
from testing.running_desk import ACCESS_TOKEN, EXCHANGE

TOKEN: Final = "/protocol/openid-connect/token"  # noqa: S105 - a path, not a secret
INTROSPECT: Final = f"{TOKEN}/introspect"
_CALLER, _TARGET = ("caller", "caller-secret"), ("target", "target-secret")
_MAPPER: Final = {
    "name": "may call the target",
    "protocol": "openid-connect",
    "protocolMapper": "oidc-audience-mapper",
    "config": {"included.client.audience": _TARGET[0], "access.token.claim": "true"},
}


def realm() -> dict[str, Any]:
    """The realm as Keycloak imports it."""
    common = {"publicClient": False, "serviceAccountsEnabled": True, "standardFlowEnabled": False}
    caller = common | {
        "clientId": _CALLER[0],
        "secret": _CALLER[1],
        "attributes": {"standard.token.exchange.enabled": "true"},
        "protocolMappers": [_MAPPER],
    }
    target = common | {"clientId": _TARGET[0], "secret": _TARGET[1]}
    return {
        "realm": "desk",
        "enabled": True,
        "sslRequired": "none",
        "accessTokenLifespan": 7200,
        "defaultSignatureAlgorithm": "ES256",
        "clients": [caller, target],
    }


def exchange_requests(keycloak: Keycloak, number: int) -> list[bytes]:
    """Exchange requests of so many subject tokens."""
    return [post(_path(keycloak, TOKEN), _exchange(keycloak)) for _ in range(number)]


def introspection_requests(keycloak: Keycloak, number: int) -> list[bytes]:
    """Introspection requests of so many exchanged tokens by the service that they are for."""
    client = {"client_id": _TARGET[0], "client_secret": _TARGET[1]}
    tokens = [keycloak.post(TOKEN, _exchange(keycloak), _CALLER)["access_token"] for _ in range(number)]
    said = keycloak.post(INTROSPECT, {"token": tokens[0]}, _TARGET)
    if not said["active"]:
        raise RuntimeError(f"Keycloak says of its own token: {said}")
    return [post(_path(keycloak, INTROSPECT), client | {"token": each}) for each in tokens]


def _exchange(keycloak: Keycloak) -> dict[str, str]:
    own = keycloak.post(TOKEN, {"grant_type": "client_credentials"}, _CALLER)["access_token"]
    return {
        "grant_type": EXCHANGE,
        "subject_token": own,
        "subject_token_type": ACCESS_TOKEN,
        "audience": _TARGET[0],
        "client_id": _CALLER[0],
        "client_secret": _CALLER[1],
    }


def _path(keycloak: Keycloak, path: str) -> str:
    return "/" + keycloak.url.split("/", 3)[3] + path
