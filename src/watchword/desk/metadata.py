# SPDX-License-Identifier: Apache-2.0
"""The desk's documents: authorization server (RFC 8414), protected resource (RFC 9728), keys (RFC 7517).

All URLs are made of the issuer in the TokenDesk and never of a request: a Host header is the caller's word.
What is not supported is left out, since arrays of nothing must not be there (RFC 8414, section 3.2).
"""

from typing import Any, Final

from watchword.desk.admin.credentials import CLIENT_CREDENTIALS
from watchword.desk.agents import minting
from watchword.desk.agents.documents import agent_metadata
from watchword.desk.clients import ASSERTION_TYPE
from watchword.desk.exchange import GRANT_TYPE
from watchword.desk.grant_request import DETAIL_TYPE
from watchword.desk.state import DeskState

TOKEN: Final = "/oauth2/token"  # noqa: S105 - a path, not a secret
INTROSPECT: Final = "/oauth2/introspect"
REVOKE: Final = "/oauth2/revoke"
SERVER_METADATA: Final = "/.well-known/oauth-authorization-server"
RESOURCE_METADATA: Final = "/.well-known/oauth-protected-resource"
JWKS: Final = "/.well-known/jwks.json"
_CLIENT_METHODS: Final = ("private_key_jwt", "client_secret_basic", "client_secret_post")
_SIGNING: Final = ("RS256", "ES256", "ES384", "ES512")


def server_metadata(state: DeskState) -> dict[str, Any]:
    """The document of /.well-known/oauth-authorization-server."""
    issuer = state.issuer
    # What is not served is not said.
    agents = {} if state.agents is None else {"agent_auth": agent_metadata(state)}
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}{TOKEN}",
        "jwks_uri": f"{issuer}{JWKS}",
        "introspection_endpoint": f"{issuer}{INTROSPECT}",
        "revocation_endpoint": f"{issuer}{REVOKE}",
        # There is no authorization endpoint. The default would be two grant types that need one.
        "grant_types_supported": [GRANT_TYPE, CLIENT_CREDENTIALS, *([minting.GRANT_TYPE] if agents else [])],
        # `none`: a workload that exchanges its token. Admin clients prove themselves by an assertion.
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": list(_SIGNING),
        "introspection_endpoint_auth_methods_supported": list(_CLIENT_METHODS),
        "introspection_endpoint_auth_signing_alg_values_supported": list(_SIGNING),
        "revocation_endpoint_auth_methods_supported": ["none", *_CLIENT_METHODS],
        "revocation_endpoint_auth_signing_alg_values_supported": list(_SIGNING),
        "authorization_details_types_supported": [DETAIL_TYPE],
        "client_assertion_types_supported": [ASSERTION_TYPE],
        "watchword_audience": state.audience,
        **agents,
    }


def resource_metadata(state: DeskState) -> dict[str, Any]:
    """The document of /.well-known/oauth-protected-resource: the desk as a resource of its own."""
    return {
        "resource": state.issuer,
        "resource_name": "Watchword token desk",
        "authorization_servers": [state.issuer],
        "bearer_methods_supported": ["header"],
    }


def key_set(state: DeskState) -> dict[str, Any]:
    """The document of /.well-known/jwks.json: public keys only."""
    return {"keys": list(state.public_keys)}
