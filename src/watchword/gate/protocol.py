# SPDX-License-Identifier: Apache-2.0
"""uvicorn's own HTTP protocol, with bounds, which also hands on the request target exactly as it was sent.

ASGI's `path` is decoded and its `raw_path` has lost the fragment and, of an absolute-form target, the host.
Whoever decides by path must see what the caller wrote (CVE-2026-48710 is what rebuilding it leads to). And
neither parser nor uvicorn bounds a request's head: one endless header would take a gate's memory.
"""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import HTTPScope

TARGET = "watchword.target"
# Beside the read in which a head begins, which is at most 256 KiB. Common proxies stop at 8 to 60 KiB.
MAX_HEAD_BYTES: Final = 64 * 1024
# Envoy's default is 100, nginx has none; each costs a tuple.
MAX_HEADERS: Final = 128
# Head, body with its chunks' own bytes, and trailers. No endpoint reads a body of more than 1 MiB.
MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
# uvicorn's own time-out starts after the first answer; a caller who never asks would stay for good.
HEAD_SECONDS: Final = 30.0
# How long what was too much is read and thrown away: a caller who is cut off while sending sees no answer.
LINGER_SECONDS: Final = 5.0
_NO_HTTP: Final = "Invalid HTTP request received."
_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class TargetProtocol(HttpToolsProtocol):
    """Adds the raw target to each request's scope, and ends connections that go beyond the bounds."""

    max_message_bytes: float = MAX_MESSAGE_BYTES
    _is_in_head = True
    # The present message has a request cycle of uvicorn's, at work or in its queue.
    _is_under_way = False
    _is_over = False
    # Nothing is being read, at work or waited for. Only a protocol that answers by itself can know.
    _rests = False
    # Bytes since the read in which the present message began.
    _received = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Give the caller a while to say what it wants."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._hang_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave no timer behind."""
        self._meet_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to the present message, before and after it was read."""
        if self._is_over:
            return
        self._received += len(data)
        # From here to the next comment as uvicorn does it; two calls less for each read.
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.logger.warning(_NO_HTTP)
            self.send_400_response(_NO_HTTP)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
                return
            self._unsupported_upgrade_warning()
        # And now the bounds, which uvicorn does not have.
        if self.transport.is_closing():
            return
        if self._received > (MAX_HEAD_BYTES if self._is_in_head else self.max_message_bytes):
            self._end()
        elif self._deadline is None and not self._rests and self._is_idle():
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._hang_up)

    def on_message_begin(self) -> None:
        """Start to count anew."""
        self._is_in_head, self._is_under_way, self._received = True, False, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, and no trailer: uvicorn would add those to headers that were judged already."""
        if not self._is_in_head:
            return
        if len(self.headers) >= MAX_HEADERS:
            raise ValueError("too many headers")
        # As uvicorn does it; a call less for each header of each request.
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the target before uvicorn takes it apart (RFC 9112, section 3.2)."""
        self._is_in_head = False
        self._meet_deadline()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # ASGI allows members of one's own
        scope[TARGET] = self.url
        super().on_headers_complete()
        self._is_under_way = True

    def send_400_response(self, msg: str) -> None:
        """Say that what came is no HTTP, after the answers to what was: uvicorn would throw those away."""
        if self._is_idle() or (self._is_under_way and not self.pipeline):
            super().send_400_response(msg)
            return
        self._is_over = True
        self._meet_deadline()
        if self._is_under_way:
            # The broken message itself waits there, and will have no other answer.
            self.pipeline.popleft()
        cycle = RequestResponseCycle(
            # uvicorn looks for HEAD in it; of the broken request not even the method is known.
            scope=cast("HTTPScope", {"type": "http", "method": "GET"}),
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=_nothing_follows,
        )
        self.cycle = cycle
        self.pipeline.appendleft((cycle, partial(_say_no_http, msg.encode())))

    def _end(self) -> None:
        self._is_over = True
        self._meet_deadline()
        if not self._is_idle():
            # An earlier answer is on its way: it is finished, and is the last one.
            self.cycle.keep_alive = False
        elif self._is_in_head:
            self.transport.write(_HEAD_TOO_LARGE)
            if self.transport.can_write_eof():
                self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _is_idle(self) -> bool:
        # uvicorn declares a cycle where it means a cycle or None.
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    def _meet_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _hang_up(self) -> None:
        self._deadline = None
        if self._is_idle() and not self.transport.is_closing():
            self.transport.close()


def _nothing_follows() -> None:
    """The connection ends with this answer."""


async def _say_no_http(message: bytes, scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application with the answer that uvicorn gives to what it cannot read."""
    del scope, receive
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(message)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": message})


def raw_target(scope: Any) -> bytes:
    """The request target as sent; where another server runs the app, the best that ASGI has."""
    target = scope.get(TARGET)
    if isinstance(target, bytes):
        return target
    query: bytes = scope.get("query_string", b"")
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    return path + b"?" + query if query else path
