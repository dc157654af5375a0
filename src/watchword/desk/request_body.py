# SPDX-License-Identifier: Apache-2.0
"""The body of a request to a port of the desk, whole and bounded."""

from collections.abc import Sequence

from starlette.types import Receive


class DisconnectedError(Exception):
    """The caller is gone before its request was whole."""


async def read_body(receive: Receive, headers: Sequence[tuple[bytes, bytes]], max_bytes: int) -> bytes | None:
    """The whole body; None where it has more than `max_bytes`, or says so.

    Raises:
        DisconnectedError: the caller is gone.
    """
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > max_bytes:
            return None
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        body += bytes(message.get("body", b""))
        if len(body) > max_bytes:
            return None
        if not message.get("more_body", False):
            return body
