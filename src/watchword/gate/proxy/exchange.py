# SPDX-License-Identifier: Apache-2.0
"""One request that is passed on to the app, and its answer, streamed both ways.

Nothing is held whole: each side reads only as fast as the other one takes. What goes wrong with the app is
told as the app's trouble and never as a refusal, and an answer that broke off ends as a broken connection:
a caller must not take half of it for all. The mistake to prevent is a connection to the app on which anything
is left of one request when the next one begins.
"""

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from watchword.gate.authz_request import AuthzRequest
from watchword.gate.long_connections import LongConnection
from watchword.gate.proxy.headers import to_caller
from watchword.gate.proxy.upstream_errors import note, too_many, too_slow
from watchword.gate.responses import Allowed, Answer, lines_of, refused
from watchword.identity import Refusal
from watchword.process.http_parser import BadRequestError, RequestParser
from watchword.process.http_response_parser import ResponseHead, ResponseParser

if TYPE_CHECKING:
    from watchword.gate.proxy.protocol import ProxyingProtocol
    from watchword.gate.proxy.upstream import Upstream
    from watchword.gate.proxy.upstream_connection import UpstreamConnection
    from watchword.gate.tracing.spans import ServerSpan

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE: Final = b"connection: close\r\n"
_CLOSE_AND_END: Final = _CLOSE + b"\r\n"
_CHUNKED: Final = b"transfer-encoding: chunked\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
# Sent again on a new connection when a kept one turns out to be closed: nothing was done on their account.
_SAFE: Final = frozenset({"GET", "HEAD"})
_SWITCHING, _CONTINUING, _FIRST_FINAL = 101, 100, 200
# So much that waits for a caller is not counted at once: most often it is gone in the loop's next turn.
_UNCOUNTED_BYTES: Final = 4 * 1024
# To linger for no time: the end of the connection is a reset (socket(7)).
_RESET: Final = struct.pack("ii", 1, 0)


class ProxiedExchange:
    """One request from its head to the last byte of its answer.

    Attributes:
        response_started: a byte of the final answer was written.
        response_complete: all of it was.
        keep_alive: another request may follow on the caller's connection.
        pool: names the connections to the app that may serve it: those of one workload.
        span: what is traced of it; None where nothing is.
    """

    __slots__ = (
        "_answer",
        "_awaits_continue",
        "_caller",
        "_closes_to_end",
        "_connection",
        "_decision_id",
        "_error",
        "_given_at",
        "_head",
        "_is_app_full",
        "_is_chunked",
        "_is_held_up",
        "_is_last_chunk_due",
        "_is_over",
        "_is_whole",
        "_long_connection",
        "_method",
        "_minor",
        "_out",
        "_since",
        "_status",
        "_upstream",
        "_waiting",
        "_was_retried",
        "_would_refuse",
        "has_body",
        "keep_alive",
        "pool",
        "response_complete",
        "response_started",
        "span",
    )

    def __init__(
        self,
        caller: "ProxyingProtocol",
        upstream: "Upstream",
        method: str,
        parser: RequestParser | None = None,
        *,
        awaits_continue: bool = False,
    ) -> None:
        """Serve the request whose head a parser has just read.

        Without one, it is of HTTP/1.1, has no body, and its connection is kept.
        """
        self._caller, self._upstream, self._method = caller, upstream, method
        self.response_started = self.response_complete = False
        self.keep_alive, self.has_body, self._minor, self._is_chunked = True, False, 1, False
        if parser is not None:
            self.keep_alive, self.has_body = parser.keeps_alive, parser.has_body
            self._minor, self._is_chunked = parser.http_minor, parser.is_chunked
        self._awaits_continue = awaits_continue
        self.span: ServerSpan | None = None
        self._status, self._error = 0, ""
        self.pool = self._head = b""
        # What is answered in place of the app; what waits for a connection to it.
        self._answer: Answer | None = None
        self._waiting = bytearray()
        self._connection: UpstreamConnection | None = None
        self._long_connection: LongConnection | None = None
        self._decision_id, self._would_refuse = "", b""
        # Parts of the answer that are written in one go.
        self._out: list[bytes] = []
        self._is_last_chunk_due = self._closes_to_end = False
        self._is_whole = self._is_over = self._was_retried = False
        # The app takes no more, the answer waits for the caller or for memory.
        self._is_app_full = self._is_held_up = False
        # When the caller gave something of its body, and when the app did what it has to do next.
        self._given_at = self._since = caller.loop.time()

    # The caller's side.

    def begin(
        self, authz_request: AuthzRequest, decided: Allowed | Answer, lines: bytes, pool: bytes = b""
    ) -> None:
        """Pass a request on that was let in, or answer it; one without a body at its end.

        Args:
            authz_request: its credential, and what it asks for.
            decided: what was decided in this very turn of the loop, or that it cannot be passed on.
            lines: its first lines for the app, up to those that the decision adds.
            pool: names the connections to the app that may serve it; nothing: those of its workload.
        """
        if isinstance(decided, Allowed):
            self._decision_id, self._would_refuse = decided.decision_id, decided.would_refuse
            long_connections = self._caller.engine.long_connections
            self._long_connection = long_connections.add(authz_request, decided, self)
            if self._long_connection is None:
                self._answer = too_many()
            else:
                self._upstream.active[self] = None
                self.pool = pool or decided.identity
                own = f"x-watchword-decision-id: {decided.decision_id}\r\n\r\n".encode()
                self._head = b"".join((lines, decided.identity, decided.granted, own))
        else:
            self._answer = decided
        if self.has_body:
            self._send()

    def take_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        self._given_at = self._caller.loop.time()
        part = b"%x\r\n%b\r\n" % (len(body), body) if self._is_chunked else body
        connection = self._connection
        if connection is not None:
            connection.write(part)
            return
        self._waiting += part
        if len(self._waiting) > HIGH_WATER_LIMIT:
            self._hold_caller_up()

    def take_end(self) -> None:
        """Pass on that the request is whole."""
        self._is_whole = True
        self._since = self._caller.loop.time()
        if not self.has_body:
            self._send()
        elif self._is_chunked:
            if self._connection is not None:
                self._connection.write(_LAST_CHUNK)
            else:
                self._waiting += _LAST_CHUNK

    def drop_caller(self) -> None:
        """Leave the app: no one is there for its answer."""
        self._error = "caller_gone"
        self._leave()

    def held_bytes(self) -> int:
        """How many bytes wait here, for the app or of its answer."""
        connection = self._connection
        return len(self._waiting) + (connection.held_bytes() if connection is not None else 0)

    def slow_down(self) -> None:
        """Read no more of either side until what is held was taken."""
        self._is_held_up = True
        self._hold_caller_up()
        if self._connection is not None:
            self._connection.pause_reading()

    def go_on(self) -> None:
        """Read on from the app: the caller takes more again."""
        if self._connection is not None and not self._is_held_up:
            self._connection.resume_reading()

    def end(self, refusal: Refusal) -> None:
        """Pass nothing on any more, in neither direction: the trust has ended."""
        self._long_connection, self._error = None, refusal.reason.code
        if self.response_started:
            self._break_off()
        else:
            self._say(refused(refusal, self._decision_id))

    def _hold_caller_up(self) -> None:
        flow = self._caller.flow
        flow.is_full = True
        flow.pause_reading()

    def _let_caller_go_on(self) -> None:
        flow = self._caller.flow
        if flow.is_full:
            flow.is_full = False
            flow.resume_reading()
            self._given_at = self._caller.loop.time()

    # The app's side.

    def _send(self) -> None:
        if self._answer is not None:
            self._say(self._answer)
            return
        now, may_repeat = self._caller.loop.time(), self._may_repeat()
        connection = self._upstream.take(self.pool, now, may_repeat=may_repeat)
        if connection is None:
            self._upstream.connect(self)
        else:
            self.attach(connection)

    def _may_repeat(self) -> bool:
        # What takes a connection that rested for long is what is sent again when that was too long.
        return self._method in _SAFE and not self.has_body

    def attach(self, connection: "UpstreamConnection") -> None:
        """Send what waits by a connection that nothing is under way on."""
        if self._is_over:
            connection.close()
            return
        self._connection, self._since = connection, self._caller.loop.time()
        connection.begin(self, is_head=self._method == "HEAD")
        waiting = self._waiting
        if waiting:
            connection.write(self._head + waiting)
            waiting.clear()
        else:
            connection.write(self._head)
        if self._is_held_up:
            connection.pause_reading()
        elif self._caller.flow.is_full and not self._is_app_full:
            self._let_caller_go_on()
        if self._awaits_continue and not self._is_whole:
            self._awaits_continue = False
            self._caller.transport.write(_CONTINUE)

    def fill(self) -> None:
        """Hold the caller up: the app takes no more for now."""
        self._is_app_full = True
        self._since = self._caller.loop.time()
        self._hold_caller_up()

    def drain(self) -> None:
        """Let the caller go on: the app takes more again."""
        self._is_app_full = False
        self._since = self._caller.loop.time()
        if not self._is_held_up:
            self._let_caller_go_on()

    def take_answer_head(self, parser: ResponseParser) -> None:
        """Begin the answer, or pass on that it will take a while.

        Raises:
            BadRequestError: it is none to this request.
        """
        head, caller = parser.head, self._caller
        lines = head.derived
        if lines is None:
            lines = head.derived = _lines_to_caller(head)
        status = head.status
        if status < _FIRST_FINAL:
            if status == _SWITCHING:
                raise BadRequestError("it switches protocols, which was not asked for")
            # The caller gets its own `100 Continue` from the gate, and HTTP/1.0 knows none of the kind.
            if status != _CONTINUING and self._minor:
                self._out += (lines, b"\r\n")
            return
        self._status = status
        framing = b""
        if parser.has_body and head.length is None:
            if self._minor:
                self._is_last_chunk_due, framing = True, _CHUNKED
            else:
                self._closes_to_end = True
        if self._awaits_continue or caller.is_draining():
            # Whether the body comes all the same is the caller's choice (RFC 9110, section 10.1.1).
            self.keep_alive = False
        self.response_started = True
        end = b"\r\n" if self.keep_alive else _CLOSE_AND_END
        self._out += (lines, caller.default_lines(), self._would_refuse, framing, end)

    def take_answer_body(self, body: bytes) -> None:
        """Pass a part of the answer back, with `flush`."""
        if self._is_last_chunk_due:
            self._out += (b"%x\r\n" % len(body), body, b"\r\n")
        else:
            self._out.append(body)

    def flush(self) -> None:
        """Write what was taken of the answer; read no more of it while the caller takes nothing."""
        self._since = self._caller.loop.time()
        if self._out and not self._is_over:
            self._write()

    def _write(self) -> None:
        out = self._out
        caller, self._out = self._caller, []
        transport = caller.transport
        transport.write(b"".join(out))
        if transport.get_write_buffer_size() > _UNCOUNTED_BYTES:
            caller.budget.update(caller)
            if caller.flow.write_paused and self._connection is not None:
                self._connection.pause_reading()

    def finish(self) -> None:
        """End the answer that is whole."""
        if self._is_over:
            return
        if self._is_last_chunk_due:
            self._out.append(_LAST_CHUNK)
        self._write()
        self._complete()

    def lose(self, *, why: str, can_retry: bool = False) -> None:
        """Go on without the connection to the app, whose trouble this is.

        Args:
            why: the kind of error, for the log.
            can_retry: it was used before, and not a byte of an answer came.
        """
        if self._is_over:
            return
        self._connection = None
        if can_retry and self._may_repeat() and not self._was_retried:
            self._was_retried = True
            self._upstream.connect(self)
            return
        self.fail("broken", why)

    def fail(self, what: str, error_type: str = "") -> None:
        """Tell the caller of the app's trouble; where its answer was begun, break it off."""
        if self._is_over:
            return
        self._error = what
        note(what, error_type, is_begun=self.response_started)
        if self.response_started:
            self.flush()
            self._break_off()
        else:
            self._say(self._upstream.explain(what))

    # Time, and ends.

    def look(self, now: float) -> None:
        """End what takes too long, and go on with what waited for memory. In seconds of the loop's clock."""
        if self._is_held_up and self.held_bytes() + self._caller.transport.get_write_buffer_size() == 0:
            self._is_held_up = False
            self._let_caller_go_on()
            self.go_on()
        connection = self._connection
        if connection is None:
            # It has a time-out of its own for being made.
            return
        flow = self._caller.flow
        if self._is_held_up or flow.write_paused:
            # The caller's own time-out is another one.
            self._since = self._given_at = now
        elif self._is_whole or self._is_app_full:
            if now - self._since >= self._upstream.answer_seconds:
                self.fail("timeout")
        elif now - self._given_at >= self._upstream.upload_seconds:
            self._time_out_upload()

    def _time_out_upload(self) -> None:
        self._error = "timeout"
        if self.response_started:
            self._break_off()
            return
        self.keep_alive = False
        self._say(too_slow(self._upstream.upload_seconds))

    def _say(self, answer: Answer) -> None:
        """Answer in place of the app."""
        caller = self._caller
        self._status = answer.status
        self._leave()
        if self._awaits_continue or caller.is_draining():
            self.keep_alive = False
        lines = answer.lines or lines_of(answer.headers)
        closing = b"" if self.keep_alive else _CLOSE
        body = b"" if self._method == "HEAD" else answer.body
        start = STATUS_LINE[answer.status]
        self.response_started = True
        caller.transport.write(b"".join((start, caller.default_lines(), lines, closing, b"\r\n", body)))
        self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self._leave()
        self._caller.on_exchange_complete(self)

    def _break_off(self) -> None:
        self._leave()
        transport = self._caller.transport
        if not self._closes_to_end:
            transport.close()
            return
        # Without a length, an orderly end of the connection would be the end of a whole answer.
        link = transport.get_extra_info("socket")
        if link is not None:
            with contextlib.suppress(OSError):
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()

    def _leave(self) -> None:
        """Have nothing to do with the app any more; its connection is kept only if nothing is left on it."""
        if self._is_over:
            return
        self._is_over = True
        if self.span is not None:
            self._end_span(self.span)
        self._waiting.clear()
        self._upstream.active.pop(self, None)
        if self._long_connection is not None:
            self._caller.engine.long_connections.discard(self._long_connection)
            self._long_connection = None
        connection, self._connection = self._connection, None
        if connection is not None:
            if self.response_complete and self._is_whole:
                self._upstream.release(connection, self._caller.loop.time())
            else:
                connection.close()

    def _end_span(self, span: "ServerSpan") -> None:
        tracer = self._caller.engine.tracer
        if tracer is not None:
            tracer.end(span, self._status, error=self._error)


def _lines_to_caller(head: ResponseHead) -> bytes:
    """The first lines of an answer for the caller: all but its date and its framing."""
    line = STATUS_LINE.get(head.status) or b"HTTP/1.1 %d \r\n" % head.status
    headers = to_caller(head.headers, head.status)
    # The gate says when it answers; a second Date would be malformed (RFC 9110, section 5.3).
    return b"".join((line, *(b"%b: %b\r\n" % pair for pair in headers if pair[0] != b"date")))
