# SPDX-License-Identifier: Apache-2.0
"""One connection to the app: requests of one workload, one after the other, and never two at a time.

Bytes that arrive while nothing is asked, or behind an answer, were not asked for: the connection is closed
with them, since the next request would get them for its answer (response smuggling).
"""

import asyncio
import contextlib
import select
import socket
from typing import TYPE_CHECKING, Final

from watchword.process.http_parser import BadRequestError, MessageTooLargeError
from watchword.process.http_response_parser import ResponseParser

if TYPE_CHECKING:
    from watchword.gate.proxy.upstream import Upstream
    from watchword.gate.proxy.upstream_exchange import UpstreamExchange

# The head of an answer: a thousand headers, of which 200 may set a cookie each.
MAX_HEAD_BYTES: Final = 128 * 1024
MAX_HEADERS: Final = 1000
MAX_TRAILER_BYTES: Final = 16 * 1024
MAX_TRAILERS: Final = 64
# How much of a request waits for the app before its caller is not read any more.
_WRITE_HIGH, _WRITE_LOW = 32 * 1024, 8 * 1024
# What one read brings at most; the kernel doubles it for its own bookkeeping (socket(7)). With a caller that
# takes nothing, each answer would else be held with up to 256 KB here and more in the kernel.
_RECEIVE_BYTES: Final = 64 * 1024


class UpstreamConnection(asyncio.Protocol):
    """A connection to the app.

    Attributes:
        pool: names whose requests it serves.
        idle_since: when its last answer ended, on the loop's clock.
    """

    def __init__(self, upstream: "Upstream", pool: bytes) -> None:
        """Serve the requests of one pool."""
        self._upstream, self.pool = upstream, pool
        self._parser = ResponseParser(
            self,
            upstream.heads,
            max_head_bytes=MAX_HEAD_BYTES,
            max_headers=MAX_HEADERS,
            max_trailer_bytes=MAX_TRAILER_BYTES,
            max_trailers=MAX_TRAILERS,
        )
        # Stands until something is asked.
        self._parser.pause()
        self._transport: asyncio.Transport | None = None
        # Asks the kernel whether something came, or the end, that the loop has not had its turn to say.
        self._arrivals: select.poll | None = None
        self._exchange: UpstreamExchange | None = None
        self._was_used = self._has_answered = self._is_answered = False
        self._is_reading, self._is_in_turn = True, True
        self.idle_since = 0.0

    # What the loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvloop's is one
        """Bound what is held for it."""
        self._transport = transport
        transport.set_write_buffer_limits(_WRITE_HIGH, _WRITE_LOW)
        link = transport.get_extra_info("socket")
        if link is not None:
            self._arrivals = select.poll()
            self._arrivals.register(link.fileno(), select.POLLIN)
            with contextlib.suppress(OSError):
                link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer, or all of it."""
        exchange, parser = self._exchange, self._parser
        if exchange is None:
            self.close()
            return
        self._has_answered = True
        body_at = parser.read_whole(data)
        if not body_at:
            self._read(data)
            return
        # In one piece, with a head that came before: most answers of most apps.
        exchange.take_answer_head(parser)
        if body_at < len(data):
            exchange.take_answer_body(data[body_at:])
        self._is_answered = True
        exchange.finish()

    def eof_received(self) -> None:
        """End an answer that has no other end; the connection ends with it."""
        self._end_stream()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whose request it was."""
        self._transport = self._arrivals = None
        self._upstream.forget(self)
        if exc is None:
            self._end_stream()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            can_retry = self._was_used and not self._has_answered
            exchange.lose(why=type(exc).__name__ if exc else "EOFError", can_retry=can_retry)

    def pause_writing(self) -> None:
        """The app takes no more for now."""
        if self._exchange is not None:
            self._exchange.fill()

    def resume_writing(self) -> None:
        """The app takes more."""
        if self._exchange is not None:
            self._exchange.drain()

    # What the parser calls.

    def on_head(self) -> None:
        """Pass a head back."""
        if self._exchange is not None:
            self._exchange.take_answer_head(self._parser)

    def on_body(self, body: bytes) -> None:
        """Pass a part of a body back."""
        if self._exchange is not None:
            self._exchange.take_answer_body(body)

    def on_message_complete(self) -> None:
        """Note that the answer is whole."""
        self._is_answered = True

    # What the exchange calls.

    def begin(self, exchange: "UpstreamExchange", *, is_head: bool) -> None:
        """Serve a request."""
        self._exchange = exchange
        self._has_answered = self._is_answered = False
        self._parser.begin(is_head_request=is_head)

    def write(self, data: bytes) -> None:
        """Send a part of the request."""
        if self._transport is not None:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Read no more of the answer."""
        self._is_reading = False
        if self._transport is not None and self._is_in_turn:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if not self._is_reading:
            self._is_reading = True
            if self._transport is not None and self._is_in_turn:
                self._transport.resume_reading()

    def held_bytes(self) -> int:
        """How many bytes wait here."""
        unsent = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return unsent + len(self._parser.held)

    def close(self) -> None:
        """End at once."""
        self._exchange = None
        self._parser.stop()
        if self._transport is not None:
            self._transport.abort()

    # What the pool asks.

    def rest(self, now: float) -> bool:
        """Leave the request that was answered; False where anything is left of it."""
        self._exchange, self._was_used, self.idle_since = None, True, now
        transport, parser = self._transport, self._parser
        if (
            transport is None
            or transport.is_closing()
            or not self._is_answered
            or not parser.keeps_alive
            or parser.held
            or transport.get_write_buffer_size()
        ):
            return False
        if not self._is_reading:
            self.resume_reading()
        return True

    def is_open(self) -> bool:
        """Whether another request may be sent: the app has neither closed it nor said anything unasked."""
        if self._transport is None or self._transport.is_closing():
            return False
        return self._arrivals is None or not self._arrivals.poll(0)

    def _read(self, data: bytes | None) -> None:
        parser, exchange = self._parser, self._exchange
        try:
            if data is None:
                parser.resume()
            else:
                parser.feed_data(data)
        except (BadRequestError, MessageTooLargeError) as why:
            self._exchange = None
            if exchange is not None:
                exchange.fail("broken", type(why).__name__)
            self.close()
            return
        if exchange is None:
            return
        if self._is_answered:
            exchange.finish()
            return
        exchange.flush()
        if parser.has_had_its_turn and self._is_in_turn and self._transport is not None:
            # Many small chunks: others have their turn before the rest of them.
            self._is_in_turn = False
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._is_in_turn = True
        if self._exchange is None:
            return
        self._read(None)
        if self._is_in_turn and self._is_reading and self._transport is not None:
            self._transport.resume_reading()

    def _end_stream(self) -> None:
        exchange = self._exchange
        if exchange is not None and self._parser.end_of_stream():
            exchange.finish()
