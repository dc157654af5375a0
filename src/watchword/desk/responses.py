# SPDX-License-Identifier: Apache-2.0
"""An answer as a value, and sent: every one with the headers that RFC 6749, section 5, asks for."""

from typing import Any, Final

import msgspec
from starlette.types import Send

from watchword.desk.refusals import DeskRefusal, body_of

_JSON: Final = (b"content-type", b"application/json;charset=UTF-8")
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
    """

    status: int
    body: bytes = b""
    reason: str = "ok"
    is_public: bool = False
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __repr__(self) -> str:
        return f"Answer(status={self.status}, reason={self.reason!r})"


def json_answer(document: dict[str, Any], *, is_public: bool = False) -> Answer:
    """A document with the status 200."""
    return Answer(200, _encode(document), is_public=is_public)


def refusal_answer(refusal: DeskRefusal, request_id: str, allow: bytes = b"") -> Answer:
    """The answer for a refusal; `allow` is the Allow header of a 405."""
    headers: Headers = []
    if refusal.status == 401:
        # RFC 6749, section 5.2: a client that tried by the Authorization header is told by which scheme.
        headers.append((b"www-authenticate", b'Basic realm="watchword-desk"'))
    if refusal.retry_after:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    if allow:
        headers.append((b"allow", allow))
    return Answer(refusal.status, body_of(refusal, request_id), refusal.code, headers=tuple(headers))


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
        headers.append(_JSON)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head_only else answer.body})
