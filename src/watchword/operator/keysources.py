# SPDX-License-Identifier: Apache-2.0
"""What key sync needs of this cluster's own API server: its JWKS, and one entry of one Secret.

One request for one object by its name each: the operator may read no list of Secrets, and needs none.
"""

import base64
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec

from watchword.operator.connection import Connection
from watchword.trust.specs.issuer import SecretKey

_MAX_BYTES: Final = 1 << 20
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)


class KeySources:
    """Reads from the API server that the operator works for."""

    def __init__(self, connection: Connection) -> None:
        """Read through a connection."""
        self._connection = connection

    async def own_keys(self) -> bytes:
        """The JWKS of this cluster. Raises OSError or aiohttp.ClientError."""
        return await self._get("/openid/v1/jwks", "application/jwk-set+json, application/json")

    async def secret(self, key: SecretKey) -> str:
        """One entry of one Secret. Raises OSError, ValueError, KeyError or aiohttp.ClientError."""
        path = f"/api/v1/namespaces/{quote(key.namespace, safe='')}/secrets/{quote(key.name, safe='')}"
        document: dict[str, Any] = msgspec.json.decode(await self._get(path, "application/json"))
        return base64.b64decode(document["data"][key.key], validate=True).decode("ascii").strip()

    async def _get(self, path: str, accept: str) -> bytes:
        async with (
            self._connection.session() as session,
            session.get(
                f"{self._connection.server}{path}",
                headers={"Accept": accept},
                timeout=_TIMEOUT,
                allow_redirects=False,
            ) as answer,
        ):
            data = await answer.content.read(_MAX_BYTES + 1)
            if answer.status != 200 or len(data) > _MAX_BYTES:
                raise OSError(f"the API server answered {answer.status} with {len(data)} bytes")
            return data
