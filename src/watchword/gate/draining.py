# SPDX-License-Identifier: Apache-2.0
"""A pod that is about to end sends its callers away, one answer at a time, while its app still answers.

A caller who keeps its connection stays with a pod for as long as that connection lives, whatever the Service
says by then: the first that it would learn of the end is a failed call. So once the gate was told (`watchword
drain`, SIGUSR1), each answer is the last one of its connection, and the next call finds a pod that stays.
"""

from collections.abc import MutableMapping
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

_CLOSE: Final = (b"connection", b"close")


class Draining:
    """Passes an application on; once it has begun, ends each connection with the answer that is under way.

    Attributes:
        has_begun: the pod is about to end.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application."""
        self._app = app
        self.has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_last(message: MutableMapping[str, Any]) -> None:
            # Asked when the answer begins: one that took long may have been overtaken by the end.
            if self.has_begun and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), _CLOSE]}
            await send(message)

        await self._app(scope, receive, send_last)
