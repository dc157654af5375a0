# SPDX-License-Identifier: Apache-2.0
"""What answers on the gate's port, decided on the raw request target.

`/authz` and its proxy variants come first and touch no framework; Starlette serves the rest. What is passed
on to an app never gets here (`gate/proxy/protocol.py`). Nothing here is exempt from the checks: probes and
metrics live on another port.
"""

import asyncio
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from watchword.gate.audit import Said
from watchword.gate.authz_request import AuthzRequest, is_authz_request, read_authz_request
from watchword.gate.engine import Engine
from watchword.gate.protocol import raw_target
from watchword.gate.responses import Allowed, Answer, problem
from watchword.gate.tracing.trace_context import read_trace_parent
from watchword.gate.usage.api import METHODS, UsageApi
from watchword.gate.usage.responses import body_too_large
from watchword.identity import Reason, Refusal
from watchword.usage import MAX_BODY_BYTES

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
    ) -> None:
        """Answer with an engine's decisions; without usage, its endpoints are not there."""
        self._engine, self._usage, self._body_seconds = engine, usage, body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope; WebSockets are closed, lifespan is none of ours."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            return
        target = raw_target(scope)
        authz_request = read_authz_request(
            scope["method"],
            target,
            scope["headers"],
            scope.get("client"),
            self._engine.token_header,
            traces=self._engine.tracer is not None,
        )
        if authz_request is not None:
            answer = (
                self._engine.decide(authz_request)
                if isinstance(authz_request, AuthzRequest)
                else authz_request
            )
            await _send(send, scope, answer)
            return
        await self._starlette(scope, receive, send, target)

    def passes_on(self, target: bytes) -> bool:
        """Whether a request at a raw target is for an app behind the gate, and not for the gate itself."""
        if is_authz_request(target):
            return False
        usage = self._usage
        return usage is None or not (usage.finds(target) or usage.names_account_oddly(target))

    async def _starlette(self, scope: Scope, receive: Receive, send: Send, target: bytes) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._answer(request, target)
        except ClientDisconnect:
            # No one is there to be answered, and nothing was stored of a body that never was whole.
            return
        response = Response(answer.body if request.method != "HEAD" else b"", answer.status)
        response.raw_headers = list(answer.headers)
        await response(scope, receive, send)

    async def _answer(self, request: Request, target: bytes) -> Answer:
        headers = request.scope["headers"]
        parent = read_trace_parent(headers) if self._engine.tracer is not None else None
        told = Said(request.scope.get("client"), request.method, target, parent)
        found = self._usage.finds(target) if self._usage is not None else None
        if self._usage is None or found is None:
            if self._engine.active is None:
                return self._engine.refuse(None, Refusal(Reason.NOT_READY), told=told)
            if self._usage is not None and self._usage.names_account_oddly(target):
                return self._usage.refuse_odd_account(headers, told)
            return problem(
                404, "There is nothing at this path.", "This gate serves /authz and the usage read model."
            )
        wanted = METHODS[found.kind]
        if request.method != wanted:
            allow = [(b"allow", wanted.encode())]
            return problem(405, "The method is not allowed here.", f"Use {wanted}.", allow)
        if wanted == "GET":
            return await self._usage.read(found, headers, target, told)
        try:
            return await self._usage.write(headers, lambda: _body(request, self._body_seconds), told)
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
