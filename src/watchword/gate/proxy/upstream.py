# SPDX-License-Identifier: Apache-2.0
"""One allowed request, to the app and back, streamed both ways.

Nothing is held whole: each side reads only as fast as the other one takes. What goes wrong with the app is
said as the app's trouble and never as a refusal, and an answer that broke off ends as a broken connection,
since a caller must not take half of it for all.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
from multidict import CIMultiDict
from starlette.types import Receive, Scope, Send
from yarl import URL

from watchword.gate.answers import Answer
from watchword.gate.proxy.headers import UnfitHeader, has_body, to_app, to_caller
from watchword.gate.proxy.target import UpstreamAddress
from watchword.gate.proxy.trouble import note, trouble, unfit

CONNECT_SECONDS: Final = 5.0
# Shorter than the 5 s after which many apps close an idle connection: a request must not meet that moment.
REUSE_SECONDS: Final = 2.0
# How long one side may send nothing of a body that it began.
IDLE_SECONDS: Final = 60.0
_CHUNK_BYTES: Final = 64 * 1024
_MAX_HEAD_BYTES: Final = 64 * 1024
# What aiohttp would add by itself: the app gets the caller's headers and no others.
_NOT_ADDED: Final = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")


class _CallerGone(Exception):
    """The caller went away, or stopped to send, in the middle of its body."""


class Upstream:
    """The app behind the gate. Belongs to one event loop."""

    def __init__(self, address: UpstreamAddress, answer_seconds: float) -> None:
        """Send requests to an app that may take `answer_seconds` until its answer begins."""
        self._address, self._answer_seconds = address, answer_seconds
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._session is not None:
            await self._session.close()

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, target: bytes, identity: list[tuple[bytes, bytes]]
    ) -> Answer | None:
        """Pass a request on and its answer back.

        Args:
            scope: the request's ASGI scope.
            receive: gives its body.
            send: takes the answer.
            target: its raw target, as a route allowed it.
            identity: the headers of the decision.

        Returns:
            What to answer instead, when the app did not; None once an answer was begun.
        """
        client = scope["client"][0] if scope.get("client") else ""
        try:
            headers = to_app(scope["headers"], identity, client, scope["scheme"])
            url = self._url(target)
        except UnfitHeader as why:
            return unfit(str(why))
        body = _Body(receive) if has_body(scope["headers"]) else None
        started = False
        try:
            async with self._open().request(
                scope["method"],
                url,
                headers=CIMultiDict((name.decode(), value.decode()) for name, value in headers),
                data=None if body is None else body.chunks(),
                skip_auto_headers=_NOT_ADDED,
                allow_redirects=False,
            ) as answer:
                started = True
                async with _until_gone(receive, body, answer):
                    await _pass_back(answer, send)
        except _CallerGone:
            return None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error.__cause__, _CallerGone):
                return None
            return self._trouble(error, started=started)
        return None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=REUSE_SECONDS),
                # An app's cookies are its callers', not the gate's.
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_SECONDS, sock_read=self._answer_seconds
                ),
                max_line_size=_MAX_HEAD_BYTES,
                max_field_size=_MAX_HEAD_BYTES,
                read_bufsize=_CHUNK_BYTES,
                # A proxy from the environment would be another app.
                trust_env=False,
            )
        return self._session

    def _url(self, target: bytes) -> URL:
        try:
            text = target.decode("ascii")
            url = URL(f"http://{self._address.authority}{text}", encoded=True)
        except ValueError:
            raise UnfitHeader("the target cannot be passed on") from None
        # yarl leaves out a `?` with nothing after it; anything else would be another request.
        if not text.startswith("/") or url.raw_path_qs != text.removesuffix("?"):
            raise UnfitHeader("the target cannot be passed on as it came")
        return url

    def _trouble(self, error: Exception, *, started: bool) -> Answer | None:
        what, status, title, detail = _explained(error, self._address.authority, self._answer_seconds)
        note(what, type(error).__name__, is_begun=started)
        return None if started else trouble(what, status, title, detail)


def _explained(error: Exception, address: str, seconds: float) -> tuple[str, int, str, str]:
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        detail = f"Nothing answers at {address}. Check that the app listens there; this is no refusal."
        return "unreachable", 502, "The app behind the gate cannot be reached.", detail
    if isinstance(error, TimeoutError):
        detail = f"The app sent nothing for {seconds:.0f} seconds (--upstream-timeout-seconds)."
        return "timeout", 504, "The app behind the gate did not answer in time.", detail
    detail = "The app closed the connection, or answered with something that is not HTTP/1.1."
    return "broken", 502, "The app behind the gate did not answer.", detail


async def _pass_back(answer: aiohttp.ClientResponse, send: Send) -> None:
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": answer.status,
        # The server says when it answers; a second Date would be a malformed answer (RFC 9110, section 5.3).
        "headers": [pair for pair in to_caller(answer.raw_headers, answer.status) if pair[0] != b"date"],
    }
    await send(start)
    async for chunk in answer.content.iter_any():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class _Body:
    """The request's body. It can be read once: aiohttp asks anew only for a request without one."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_read = asyncio.Event()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Its bytes as they come."""
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    message = await self._receive()
            except TimeoutError:
                raise _CallerGone from None
            if message["type"] == "http.disconnect":
                raise _CallerGone
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                self.is_read.set()
                return


@contextlib.asynccontextmanager
async def _until_gone(
    receive: Receive, body: _Body | None, answer: aiohttp.ClientResponse
) -> AsyncIterator[None]:
    """End an answer that nobody is there for: an app may stream for hours to a caller who left."""

    async def watch() -> None:
        if body is not None:
            await body.is_read.wait()
        while (await receive())["type"] != "http.disconnect":
            pass
        answer.close()

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
