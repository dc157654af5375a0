# SPDX-License-Identifier: Apache-2.0
"""uvicorn's HTTP protocol with a strict parser, bounds, and one request at a time.

The parser stands behind each request until its answer is complete. So what is pipelined are bytes that wait,
an upgrade cannot overtake an answer, and an answer that came before the body was read never makes a request
of what is left of it. The mistake to prevent is a server that reads on because the network has more.
"""

import array
import asyncio
import fcntl
import termios
import urllib.parse
from functools import partial
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from watchword.process.bounds import UNREAD_SECONDS, Bounds, Budget
from watchword.process.http_exchange import BoundedCycle, BoundedFlow, Exchange
from watchword.process.http_parser import BadRequestError, MessageTooLargeError, RequestParser, has_token
from watchword.process.tls_reads import READ_BYTES, waiting_bytes

# Where a request's scope has its target as it was sent: ASGI's `path` is decoded, and its `raw_path` has lost
# the fragment and, of an absolute-form target, the host (CVE-2026-48710 is what rebuilding it leads to).
TARGET: Final = "watchword.target"
# How long what was too much is read and thrown away: a caller who is cut off while sending sees no answer.
LINGER_SECONDS: Final = 5.0
# How much of a body is read and thrown away once its request was answered.
MAX_DISCARDED_BYTES: Final = 8 * 1024 * 1024
# How much TLS reads at a time within what a connection is counted with from the start.
_TLS_READ_BYTES: Final = 16 * 1024
_NO_HTTP: Final = "Invalid HTTP request received."
_WEBSOCKET: Final = b"websocket"


class BoundedProtocol(HttpToolsProtocol):
    """One connection of a server that has bounds."""

    flow: BoundedFlow
    # uvicorn declares a cycle of its own class where it means that or None.
    cycle: Exchange | None  # type: ignore[assignment]
    counted_bytes, is_counted_as_head = 0, False
    # What TLS holds for good of the largest read, next to what a connection is counted with.
    _is_tls, _tls_bytes = False, 0
    # Nothing is read any more, or it is read and thrown away until the caller has seen why.
    _is_over = False
    # Between two messages, the last one answered without a cycle. Only a protocol that does so can know.
    _rests = False
    _has_asked = False
    # The request's message, and not only its head, is whole.
    _is_whole = True
    # It has a request's exchange, at work or answered.
    _has_cycle = False
    _wants_tunnel = False
    # The server ends: so does the connection, once what it had asked by then was answered.
    _ends = False
    _discarded = 0
    _asked_at = 0.0
    _deadline: asyncio.TimerHandle | None = None
    # Bytes that wait to be taken, since when none was, and how often all were: what is stuck.
    _unsent, _unsent_since, _drained = 0, 0.0, 0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        budget: Budget | None = None,
    ) -> None:
        """Serve one connection within a budget that all of its server share."""
        super().__init__(config, server_state, app_state, _loop)
        self.budget = budget if budget is not None else Budget(Bounds())
        self.bounds = self.budget.bounds
        # A handshake may come first, and be all: until it is done, the connection has no parser.
        self.parser: RequestParser = None  # type: ignore[assignment]  # in place of httptools'

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Give the caller a while to say what it wants, if there is room for it."""
        super().connection_made(transport)
        self.flow, bounds = BoundedFlow(transport), self.bounds
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        if self._is_tls:
            # How much is read while nothing more is taken.
            transport.set_read_buffer_limits(READ_BYTES)  # type: ignore[attr-defined]  # TLS transports have it
        self.parser = RequestParser(
            self,
            max_head_bytes=bounds.head_bytes,
            max_headers=bounds.headers,
            max_message_bytes=bounds.message_bytes,
            max_trailer_bytes=bounds.trailer_bytes,
            max_trailers=bounds.trailers,
        )
        if not self.budget.admit(self):
            self._is_over = True
            transport.write(self._refusal(503, "The server has as many connections as it can serve."))
            self._close_at_once()
            return
        self._deadline = self.loop.call_later(self.bounds.head_seconds, self._hang_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave no timer and no count behind."""
        self._meet_deadline()
        self.budget.forget(self)
        self._unset_keepalive_if_required()
        self._is_over = True
        parser = self.parser
        parser.stop()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.drop_caller()
        # uvicorn would tell its own kind of it.
        self.cycle = None
        super().connection_lost(exc)
        # uvicorn leaves None there. A parser that stopped needs no questions before it is asked.
        self.parser = parser
        # Nothing holds this object now: until a collection, all would stay, with TLS 0.3 MB of it.
        parser.release()

    def data_received(self, data: bytes) -> None:
        """Read on, as far as the present request goes."""
        if self._is_over:
            return
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._read(data)

    def shutdown(self) -> None:
        """End the connection once what was asked on it by now is answered."""
        self._ends = True
        if not self._is_over:
            self._see_to_the_end()

    def pause_writing(self) -> None:
        """The caller takes no more for now."""
        super().pause_writing()
        self.budget.update(self)

    def resume_writing(self) -> None:
        """The caller takes more: go on with what waits."""
        self._drained += 1
        super().resume_writing()
        if self.cycle is not None:
            self.cycle.go_on()
        if not self._is_over:
            self._go_on()

    # What the parser calls.

    def on_head(self) -> None:
        """Start to answer a request."""
        self._begin(self.parser)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body for the application, or throw it away behind an answer."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._discarded += len(body)
            if self._discarded > MAX_DISCARDED_BYTES:
                raise MessageTooLargeError
            return
        cycle.take_body(body)

    def on_message_complete(self) -> None:
        """Let the application know that this is all, and read no further before it has answered."""
        self._is_whole = True
        if self._wants_tunnel:
            return
        self._meet_deadline()
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._start_keep_alive()
            return
        self.parser.pause()
        cycle.take_end()

    # What uvicorn's cycle calls.

    def on_response_complete(self) -> None:
        """Go on with the next request, or see to the rest of this one's body."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if isinstance(self.cycle, BoundedCycle) and self.cycle.is_last:
            self._unset_keepalive_if_required()
            self._end_after_answer()
            return
        if self._is_over:
            return
        if self._is_whole:
            self._go_on()
        else:
            self._unset_keepalive_if_required()
            self._discard_body()

    # What the budget calls.

    def held_bytes(self) -> int:
        """How many bytes wait here, read or to be written."""
        body = 0 if self.cycle is None else self.cycle.held_bytes()
        waiting = waiting_bytes(self.transport, is_tls=self._is_tls)
        return len(self.parser.held) + body + self._tls_bytes + waiting

    def is_stuck(self, now: float) -> bool:
        """Whether the caller has taken nothing for too long of what waits to be taken."""
        unsent, before = self.transport.get_write_buffer_size(), self._unsent
        if unsent:
            # A slow reader shows here first: a kernel asks for more when a third of its own buffer is free.
            unsent += _in_kernel(self.transport)
        self._unsent = unsent
        if unsent == 0 or before == 0 or unsent < before or self._drained:
            self._unsent_since, self._drained = now, 0
            return False
        return now - self._unsent_since >= self.bounds.write_seconds

    def surplus_bytes(self, untaken_since: float) -> int:
        """How many bytes it holds beyond its present request: pipelined, or written and not taken since."""
        pipelined = len(self.parser.held) if self._is_whole and self.parser.is_paused else 0
        unsent = self.transport.get_write_buffer_size()
        return pipelined + (unsent if unsent and self._taken_at() <= untaken_since else 0)

    def is_in_head(self) -> bool:
        """Whether it is in the middle of a head, or before its first one."""
        return not self._has_asked or (self.parser.has_begun and self.is_waiting())

    def asked_at(self) -> float:
        """When it asked for something last, on the loop's clock."""
        return self._asked_at

    def is_spent(self) -> bool:
        """Whether its request was answered before its body was read, so that nothing is lost with it."""
        return not self._is_whole and self._has_cycle and self._is_idle()

    def is_waiting(self) -> bool:
        """Whether no request is under way, nor an answer that its caller takes."""
        return self._is_between() and not self._is_taken()

    def slow_down(self) -> None:
        """Read no more until what is there was taken; between two requests, there is nothing."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.slow_down()

    def make_room(self) -> None:
        """End at once, and say so where nothing else was said."""
        self._is_over = True
        self._meet_deadline()
        has_begun = self.parser.has_begun
        self.parser.stop()
        is_between = self._is_between() and not self.transport.get_write_buffer_size()
        if is_between and not has_begun:
            # Nothing was asked: an answer would be taken for that to the next request.
            self._close_at_once()
            return
        if is_between:
            self.transport.write(self._refusal(503, "The server holds as much as it can hold."))
            if not self.transport.get_write_buffer_size():
                self._close_at_once()
                return
        self.transport.abort()

    def _close_at_once(self) -> None:
        """Close, and with TLS wait for no farewell: for 30 seconds, its buffers would be held uncounted."""
        self.transport.close()
        if self._is_tls:
            # What was written goes out first.
            self.loop.call_soon(self.transport.abort)

    # Reading.

    def _read(self, data: bytes | None = None) -> None:
        """Take what arrived; without it, go on with what waits."""
        if self._is_tls and data is not None:
            self._tls_bytes = max(self._tls_bytes, len(data) - _TLS_READ_BYTES)
        try:
            if data is None:
                self.parser.resume()
            else:
                self.parser.feed_data(data)
        except BadRequestError as why:
            self._refuse(why)
        except MessageTooLargeError:
            self._end()
        self._after_read()

    def _go_on(self) -> None:
        if not self.parser.is_paused or self.flow.write_paused or not self._is_between():
            return
        if len(self.parser.held):
            self._unset_keepalive_if_required()
        self._read()

    def _start_keep_alive(self) -> None:
        """Wait for the next request for as long as a connection is kept."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _discard_body(self) -> None:
        """Read the body to its end behind an answer that came first: no byte of it is a request."""
        self.budget.update(self)
        self._discarded = 0
        self._set_deadline(self.bounds.head_seconds)

    def _end_after_answer(self) -> None:
        """End the connection with an answer that was its last; the rest of a body is still read."""
        if self._is_whole:
            self.transport.close()
        else:
            self._is_over = True
            self._meet_deadline()
            self.parser.stop()
            self._linger()

    def _take_turn(self) -> None:
        # Whatever resumed the parser meanwhile has seen to the rest.
        if self.parser.has_had_its_turn and not self._is_over:
            self._read()

    def _after_read(self) -> None:
        parser = self.parser
        if self._wants_tunnel:
            self._hand_over()
            return
        if self._is_over or self.transport.is_closing():
            return
        if parser.has_had_its_turn:
            self.loop.call_soon(self._take_turn)
        is_held = parser.is_paused and len(parser.held) > self.bounds.pipelined_bytes
        if is_held != self.flow.is_held:
            self.flow.is_held = is_held
            if is_held:
                self.flow.pause_reading()
            else:
                self.flow.resume_reading()
        if self._ends:
            self._see_to_the_end()
        elif self._deadline is None and parser.has_begun and self._is_between():
            self._set_deadline(self.bounds.head_seconds)
        self.budget.update(self)

    def _see_to_the_end(self) -> None:
        if not self._is_between():
            # What is pipelined already is answered too.
            if not self.parser.held and self.cycle is not None:
                self.cycle.keep_alive = False
        elif not self.parser.is_paused:
            self.transport.close()

    def _begin(self, parser: RequestParser) -> None:
        self._has_asked, self._is_whole, self._has_cycle = True, False, False
        self._asked_at = self.loop.time()
        if self.is_counted_as_head:
            self.budget.asked(self)
        self._meet_deadline()
        self.url, self.headers = parser.target, parser.headers
        method = parser.method.decode("ascii")
        if self.ws_protocol_class is not None and self._may_tunnel(method):
            self._wants_tunnel = True
            parser.pause()
            return
        self._has_cycle = True
        if self.begin_exchange(method):
            return
        self._has_cycle = False
        try:
            parsed = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            # Its own message has the target in it, and that may have a secret.
            raise BadRequestError("the request target is not one (RFC 9112, section 3.2)") from None
        raw_path = parsed.path
        path = raw_path.decode("ascii")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1" if parser.http_minor else "1.0",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "method": method,
            "path": self.root_path + (urllib.parse.unquote(path) if "%" in path else path),
            "raw_path": self.root_path.encode("ascii") + raw_path,
            "query_string": parsed.query or b"",
            TARGET: self.url,
        }
        self.scope = cast("Any", scope)
        cycle = BoundedCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=parser.has_body and parser.http_minor == 1 and expects_continue(self.headers),
            # A body that is too large is not read to its end.
            keep_alive=parser.keeps_alive and parser.announced_bytes <= self.bounds.message_bytes,
            on_response=self.on_response_complete,
        )
        self.cycle, self._has_cycle = cycle, True
        if parser.has_body and self.bounds.body_seconds < float("inf"):
            self._set_deadline(self.bounds.body_seconds)
        self._start_asgi_task(cycle, self.app)

    def begin_exchange(self, method: str) -> bool:
        """Begin what answers the present request without the application; False: the application does."""
        del method
        return False

    # Upgrades. Every one but a WebSocket's is ignored, as RFC 9110 lets a server do (section 7.8).

    def may_tunnel(self, target: bytes) -> bool:
        """Whether a WebSocket may be opened at this request target."""
        del target
        return False

    def _may_tunnel(self, method: str) -> bool:
        parser = self.parser
        if method != "GET" or parser.has_body or not parser.keeps_alive or not self._is_idle():
            return False
        upgrades = [value.lower() for name, value in self.headers if name == b"upgrade"]
        if upgrades != [_WEBSOCKET] or not any(
            name == b"connection" and has_token(value, b"upgrade") for name, value in self.headers
        ):
            return False
        return self.may_tunnel(self.url)

    def _hand_over(self) -> None:
        """Give the connection to the tunnel, with whatever came behind the head."""
        early = self.parser.stop()
        self._is_over = True
        self.budget.forget(self)
        self.connections.discard(self)
        lines = [b"GET ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            lines += [name, b": ", value, b"\r\n"]
        lines.append(b"\r\n")
        self.budget.tunnels.add(self.transport)
        tunnel: Any = self.ws_protocol_class(  # type: ignore[misc, call-arg]  # uvicorn's, with its end
            config=self.config,
            server_state=self.server_state,
            app_state=self.app_state,
            on_end=partial(self.budget.tunnels.discard, self.transport),
        )
        tunnel.connection_made(self.transport)
        tunnel.data_received(b"".join(lines))
        self.transport.set_protocol(tunnel)
        if early:
            tunnel.data_received(early)
        self.parser.release()
        self.cycle = None

    # Ends.

    def _refuse(self, why: BadRequestError) -> None:
        """Say that what came is no request, where that can still be said, and read nothing more."""
        detail = f"{_NO_HTTP} {why}"
        self.logger.warning(_NO_HTTP, extra={"why": str(why)})
        self._is_over, self._rests = True, False
        self._meet_deadline()
        if not self._is_idle():
            # The body of a request that is being answered: the application must not take half of it for all.
            is_begun = self.cycle is not None and self.cycle.response_started
            if self.cycle is not None:
                self.cycle.drop_caller()
            if is_begun:
                self.transport.close()
                return
        elif not self._is_whole and self._has_cycle:
            # It was answered already; a second answer would be taken for the next request's.
            self.transport.close()
            return
        self.transport.write(self._refusal(why.status, detail))
        self._linger()

    def _end(self) -> None:
        """Read nothing more of a message that is too large; an answer that is on its way is the last one."""
        self._is_over, self._rests = True, False
        self._meet_deadline()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()

    def _linger(self) -> None:
        self.flow.is_held = False
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)
        # It is the first to make room from now on.
        self.budget.update(self)

    def _refusal(self, status: int, detail: str) -> bytes:
        lines = [STATUS_LINE[status]]
        for name, value in self.server_state.default_headers:
            lines += [name, b": ", value, b"\r\n"]
        if status == 503:
            lines.append(b"retry-after: 1\r\n")
        body = detail.encode("ascii", "replace")
        lines.append(b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % len(body))
        lines += [b"connection: close\r\n\r\n", body]
        return b"".join(lines)

    def _is_between(self) -> bool:
        """Whether it is between two messages, the last one answered whole."""
        return self._is_whole and self._is_idle()

    def _is_taken(self) -> bool:
        """Whether something waits to be taken of what was written, and its caller does take it."""
        waits = self.transport.get_write_buffer_size() > 0
        return waits and self.loop.time() - self._taken_at() < UNREAD_SECONDS

    def _taken_at(self) -> float:
        """When something was taken last of what waits; now where no one has looked since it waits."""
        return self._unsent_since if self._unsent and not self._drained else self.loop.time()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _set_deadline(self, seconds: float) -> None:
        self._meet_deadline()
        self._deadline = self.loop.call_later(seconds, self._hang_up)

    def _meet_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _hang_up(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._is_idle():
            self.transport.close()
        elif not self._is_whole:
            self._refuse(
                BadRequestError(f"its body took more than {self.bounds.body_seconds:.0f} seconds", 408)
            )


def _in_kernel(transport: asyncio.BaseTransport) -> int:
    """How many bytes the kernel has that the other side has not confirmed; 0 where it does not say."""
    link, answer = transport.get_extra_info("socket"), array.array("i", [0])
    try:
        fcntl.ioctl(link.fileno(), termios.TIOCOUTQ, answer)
    except (OSError, AttributeError, ValueError):
        return 0
    return answer[0]


def expects_continue(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a request's headers ask for `100 Continue` before its body (RFC 9110, section 10.1.1)."""
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)
