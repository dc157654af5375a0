# SPDX-License-Identifier: Apache-2.0
"""What answers on the gate's port, decided on the raw request target.

`/authz` and its proxy variants come first and touch no framework; Starlette serves the rest. Nothing here is
exempt from the checks: probes and metrics live on another port.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from watchword.gate.answers import Allowed, Answer, problem
from watchword.gate.engine import Engine
from watchword.gate.inquiry import Inquiry, read_inquiry
from watchword.gate.protocol import raw_target
from watchword.gate.usage_answers import body_too_large
from watchword.gate.usage_api import METHODS, UsageApi
from watchword.identity import Reason, Refusal
from watchword.usage import MAX_BODY_BYTES

if TYPE_CHECKING:
    # A gate without an upstream does not pay for an HTTP client.
    from watchword.gate.proxy.upstream import Upstream

# For a whole body, in seconds; a caller who sends slower holds a connection for nothing.
BODY_SECONDS: Final = 30.0


class _BodyTooLargeError(Exception):
    """The body went on beyond the limit."""


class GateApp:
    """The ASGI application of the gate's port."""

    def __init__(
        self,
        engine: Engine,
        usage: UsageApi | None,
        body_seconds: float = BODY_SECONDS,
        upstream: "Upstream | None" = None,
    ) -> None:
        """Answer with an engine's decisions; without usage or upstream, theirs are not there."""
        self._engine, self._usage, self._body_seconds = engine, usage, body_seconds
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope; WebSockets are closed, lifespan is none of ours."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            return
        target = raw_target(scope)
        inquiry = read_inquiry(scope["method"], target, scope["headers"])
        if inquiry is not None:
            answer = self._engine.settle(inquiry) if isinstance(inquiry, Inquiry) else inquiry
            await _send(send, scope, answer)
            return
        if self._upstream is not None and not (self._usage is not None and self._usage.finds(target)):
            await self._pass_on(self._upstream, scope, receive, send, target)
            return
        await self._starlette(scope, receive, send, target)

    async def _pass_on(
        self, upstream: "Upstream", scope: Scope, receive: Receive, send: Send, target: bytes
    ) -> None:
        answer: Answer | None = self._engine.decide(scope["headers"], scope["method"], target)
        if answer is not None and answer.status == 200:
            answer = await upstream.serve(scope, receive, send, target, answer.headers)
        if answer is not None:
            await _send(send, scope, answer)

    async def _starlette(self, scope: Scope, receive: Receive, send: Send, target: bytes) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._answer(request, target)
        except ClientDisconnect:
            # Nobody is there to be answered, and nothing was stored of a body that never was whole.
            return
        response = Response(answer.body if request.method != "HEAD" else b"", answer.status)
        response.raw_headers = list(answer.headers)
        await response(scope, receive, send)

    async def _answer(self, request: Request, target: bytes) -> Answer:
        headers = request.scope["headers"]
        found = self._usage.finds(target) if self._usage is not None else None
        if self._usage is None or found is None:
            if self._engine.active is None:
                return self._engine.refuse(None, Refusal(Reason.NOT_READY))
            return problem(
                404, "There is nothing at this path.", "This gate serves /authz and the usage read model."
            )
        wanted = METHODS[found.kind]
        if request.method != wanted:
            allow = [(b"allow", wanted.encode())]
            return problem(405, "The method is not allowed here.", f"Use {wanted}.", allow)
        if wanted == "GET":
            return await self._usage.read(found, headers, target)
        try:
            return await self._usage.write(headers, lambda: _body(request, self._body_seconds))
        except _BodyTooLargeError:
            return body_too_large()
        except TimeoutError:
            detail = f"The body did not arrive within {self._body_seconds:.0f} seconds."
            return problem(408, "The body came too slowly.", detail, reason="body_too_slow")


async def _body(request: Request, seconds: float) -> bytes:
    body = bytearray()
    async with asyncio.timeout(seconds):
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise _BodyTooLargeError
    return bytes(body)


async def _send(send: Send, scope: Scope, answer: Allowed | Answer) -> None:
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": answer.status,
        "headers": answer.headers,
    }
    await send(start)
    body = b"" if scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})
