# SPDX-License-Identifier: Apache-2.0
"""How one API server is reached: the same server, authority and credential for every request and watch.

TLS is always verified: a server that can pose as the API server decides whom all services trust.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import aiohttp

from watchword import __version__
from watchword.kube.watch import Endpoint
from watchword.kube.watch.endpoint import Access

# A program that a kubeconfig names is asked again for a token after this.
_TOKEN_SECONDS: Final = 30.0


class Connection:
    """One API server and the right to speak to it.

    Attributes:
        server: its URL, without a path.
        namespace: where this process belongs, by the pod's mount or the kubeconfig's context; None: not said.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        namespace: str | None = None,
        read_bearer: Callable[[], str | None] | None = None,
        agent: str = "watchword-operator",
    ) -> None:
        """Reach an API server.

        Args:
            endpoint: its URL, authority and credential.
            namespace: where this process belongs.
            read_bearer: gives the Authorization header's value where it is not the endpoint's token; it may
                ask a program, and is called in a thread.
            agent: what this process is called in the API server's logs and in managedFields.
        """
        self.server: str = endpoint.url.rstrip("/")
        self.namespace = namespace
        self._endpoint, self._access = endpoint, Access(endpoint)
        self._agent, self._read_bearer = f"{agent}/{__version__}", read_bearer
        self._bearer: str | None = None
        self._bearer_read = float("-inf")

    def session(self) -> aiohttp.ClientSession:
        """A session that verifies the server and authorizes each request; close it.

        Raises:
            WatchError: a file of the endpoint cannot be read.
        """
        context = self._access.tls()
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context if context is not None else False),
            headers={"User-Agent": self._agent},
            middlewares=(self._authorize,),
        )

    def ssl_context(self) -> ssl.SSLContext | None:
        """What verifies the server, with our certificate where there is one; None: plain http.

        Raises:
            WatchError: a file of the endpoint cannot be read.
        """
        return self._access.tls()

    def endpoint(self) -> Endpoint:
        """The same for `watchword.kube.watch`; a token that is in no file stays as it is now."""
        if self._read_bearer is None:
            return self._endpoint
        bearer = self._read_bearer()
        return replace(self._endpoint, token=bearer.split(" ", 1)[-1].strip() if bearer else None)

    async def authorization(self) -> str | None:
        """The Authorization header's value; None where a client certificate does it.

        Raises:
            WatchError: the token's file cannot be read.
        """
        if self._read_bearer is None:
            token = self._access.token()
            return None if token is None else f"Bearer {token}"
        now = time.monotonic()
        if now - self._bearer_read >= _TOKEN_SECONDS:
            self._bearer = await asyncio.to_thread(self._read_bearer)
            self._bearer_read = now
        return self._bearer

    async def _authorize(
        self,
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        bearer = await self.authorization()
        if bearer is not None:
            request.headers["Authorization"] = bearer
        answer = await handler(request)
        if answer.status == 401:
            self._bearer_read = float("-inf")
        return answer


async def close_session(session: aiohttp.ClientSession) -> None:
    """Close a session and its connections at once.

    A peer that is gone answers no TLS shutdown: `session.close()` alone would leave its connections open.
    """
    if session.connector is not None:
        await session.connector.close(abort_ssl=True)
    await session.close()
    # The transports close their sockets in the next turn of the loop.
    await asyncio.sleep(0)
