# SPDX-License-Identifier: Apache-2.0
"""One client of the API server for many short questions, and another one once its authority's file changed.

A TLS handshake for each call of an admin costs more than the three reads that it is for. A client that is
replaced is closed when the last question that it was asked has its answer.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext

from watchword.kube.connection import Connection
from watchword.kube.requests import ApiClient


class _Held:
    def __init__(self, client: ApiClient, context: SSLContext | None) -> None:
        self.client, self.context, self.users = client, context, 0


class KeptClient:
    """Hands out one client. Belongs to one event loop."""

    def __init__(self, connection: Connection) -> None:
        """Reach an API server by a connection."""
        self._connection = connection
        self._held: _Held | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[ApiClient]:
        """The client, for a block.

        Raises:
            WatchError: the authority's file cannot be read.
        """
        context = self._connection.ssl_context()
        held = self._held
        if held is None or held.context is not context:
            await self.close()
            # Another question may have come meanwhile, and opened one.
            held = self._held
            if held is None or held.context is not context:
                held = self._held = _Held(await ApiClient(self._connection).__aenter__(), context)
        held.users += 1
        try:
            yield held.client
        finally:
            held.users -= 1
            if held is not self._held and held.users == 0:
                await held.client.close()

    async def close(self) -> None:
        """Let the client go: at once, or when it is used no more."""
        held, self._held = self._held, None
        if held is not None and held.users == 0:
            await held.client.close()
