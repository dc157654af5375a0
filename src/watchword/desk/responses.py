# SPDX-License-Identifier: Apache-2.0
"""An answer as a value, and sent: every one with the headers that RFC 6749, section 5, asks for."""

from typing import Any, Final

import msgspec
from starlette.types import Send

from watchword.desk.refusals import DeskRefusal, body_of, description, event_body_of

JSON_TYPE: Final = b"application/json;charset=UTF-8"
_NO_STORE: Final = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
_PUBLIC: Final = ((b"cache-control", b"public, max-age=300"),)
_NO_SNIFF: Final = (b"x-content-type-options", b"nosniff")
_encode: Final = msgspec.json.Encoder().encode

Headers = list[tuple[bytes, bytes]]


class Answer(msgspec.Struct, frozen=True):
    """What a caller gets. Its repr shows the status only: a body may hold a token.

    Attributes:
        status: the HTTP status.
        body: the bytes; empty: none.
        reason: for metrics: the stable code of a refusal, or `ok`.
        is_public: a document that anyone may cache.
        headers: further ones.
        media_type: the Content-Type of the body.
    """

    status: int
    body: bytes = b""
    reason: str = "ok"
    is_public: bool = False
    headers: tuple[tuple[bytes, bytes], ...] = ()
    media_type: bytes = JSON_TYPE

    def __repr__(self) -> str:
        return f"Answer(status={self.status}, reason={self.reason!r})"


def json_answer(document: dict[str, Any], *, is_public: bool = False) -> Answer:
    """A document with the status 200."""
    return Answer(200, _encode(document), is_public=is_public)


def refusal_answer(
    refusal: DeskRefusal,
    request_id: str,
    allow: bytes = b"",
    *,
    is_agents: bool = False,
    is_event: bool = False,
) -> Answer:
    """The answer for a refusal.

    Args:
        refusal: why not.
        request_id: names the request in the audit log.
        allow: the Allow header of a 405.
        is_agents: say it as `auth.md` does.
        is_event: say it as RFC 8935 does, to who sent a security event.
    """
    headers: Headers = []
    if refusal.status == 401 and is_agents:
        said = description(refusal.detail).replace("\\", "?")
        challenge = f'AgentAuth error="{refusal.error}", error_description="{said}"'
        if refusal.max_age:
            challenge += f', max_age="{refusal.max_age}"'
        headers.append((b"www-authenticate", challenge.encode()))
    elif refusal.status == 401:
        # RFC 6749, section 5.2: a client that tried by the Authorization header is told by which scheme.
        headers.append((b"www-authenticate", b'Basic realm="watchword-desk"'))
    if refusal.retry_after:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    if allow:
        headers.append((b"allow", allow))
    if is_event:
        body = event_body_of(refusal, request_id)
    else:
        body = body_of(refusal, request_id, with_message=is_agents)
    return Answer(refusal.status, body, refusal.code, headers=tuple(headers))


def refusal_with(answer: Answer, members: dict[str, Any]) -> Answer:
    """A refusal that says how to go on: the same answer, with further members in its document."""
    document: dict[str, Any] = msgspec.json.decode(answer.body)
    return msgspec.structs.replace(answer, body=_encode(document | members))


async def send_answer(send: Send, answer: Answer, request_id: str, *, head_only: bool = False) -> None:
    """Send an answer as ASGI messages."""
    headers: Headers = [
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-request-id", request_id.encode()),
        _NO_SNIFF,
        *(_PUBLIC if answer.is_public else _NO_STORE),
        *answer.headers,
    ]
    if answer.body:
        headers.append((b"content-type", answer.media_type))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head_only else answer.body})
