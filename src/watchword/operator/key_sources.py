# SPDX-License-Identifier: Apache-2.0
"""What is asked of this cluster's own API server: its JWKS, its audiences, and one entry of one Secret.

One request for one object by its name each: the operator may read no list of Secrets, and needs none.
"""

import base64
import binascii
from typing import Any, Final
from urllib.parse import quote

import msgspec

from watchword.kube.requests import ApiClient
from watchword.operator.keys.credentials import HOST_ANNOTATION, ISSUER_LABEL, CredentialSecret
from watchword.trust.api.v1alpha1.issuer import SecretKey

_MAX_BYTES: Final = 1 << 20
# Of a document or a token of the API server, which are far shorter than this.
_MAX_URLS: Final = 64


class KeySources:
    """Reads from the API server that the operator works for."""

    def __init__(self, client: ApiClient) -> None:
        """Read by a client."""
        self._client = client

    async def own_keys(self) -> bytes:
        """The JWKS of this cluster. Raises OSError or UnavailableError."""
        return await self._get("/openid/v1/jwks", "application/jwk-set+json, application/json")

    async def own_audiences(self) -> frozenset[str]:
        """The audiences that this API server takes. Raises OSError, ValueError or UnavailableError."""
        document = await self._get("/.well-known/openid-configuration", "application/json")
        return server_audiences(document, await self._client.connection.authorization())

    async def secret(self, key: SecretKey) -> CredentialSecret:
        """One entry of one Secret, and what it is for.

        Raises:
            OSError, ValueError, KeyError, UnavailableError: it cannot be read.
        """
        path = f"/api/v1/namespaces/{quote(key.namespace, safe='')}/secrets/{quote(key.name, safe='')}"
        document: dict[str, Any] = msgspec.json.decode(await self._get(path, "application/json"))
        metadata = document["metadata"]
        return CredentialSecret(
            (metadata.get("labels") or {}).get(ISSUER_LABEL, ""),
            (metadata.get("annotations") or {}).get(HOST_ANNOTATION, ""),
            base64.b64decode(document["data"][key.key], validate=True).decode("ascii").strip(),
        )

    async def _get(self, path: str, accept: str) -> bytes:
        answer = await self._client.request("GET", path, accept=accept, max_bytes=_MAX_BYTES)
        if answer.status != 200:
            raise OSError(f"the API server answered {answer.status}")
        return answer.body


def server_audiences(discovery: bytes, bearer: str | None) -> frozenset[str]:
    """What an API server takes as its own audiences.

    Args:
        discovery: its answer to `/.well-known/openid-configuration`: by default it takes its issuer URL.
        bearer: the Authorization header that it takes from this process. A projected token without an
            audience of its own has all of the API server's; nothing is trusted for it, so it is not verified.

    Raises:
        ValueError: the answer is not a discovery document.
    """
    try:
        issuer = msgspec.json.decode(discovery)["issuer"]
    except (msgspec.MsgspecError, KeyError, TypeError, UnicodeDecodeError):
        raise ValueError("the answer has no issuer") from None
    found = [issuer, *_audiences_of(bearer)]
    return frozenset(each for each in found[:_MAX_URLS] if isinstance(each, str) and each)


def _audiences_of(bearer: str | None) -> list[Any]:
    parts = (bearer or "").rpartition(" ")[2].split(".")
    if len(parts) != 3:
        return []
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        return []
    audiences = claims.get("aud") if isinstance(claims, dict) else None
    return audiences if isinstance(audiences, list) else [audiences]
