# SPDX-License-Identifier: Apache-2.0
"""A request of an HTTP/2 stream that is passed on to an app that speaks HTTP/1.1, streamed both ways.

The caller may send only what the app has taken: a part of the body is acknowledged when it was written on,
and the app is read only as far as the caller's window goes.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from watchword.gate.authz_request import AuthzRequest
from watchword.gate.http2.grpc_status import status_fields
from watchword.gate.http2.limits import HIGH_WATER
from watchword.gate.http2.request_fields import Http2Request
from watchword.gate.http2.stream import INTERNAL_ERROR, Http2Stream
from watchword.gate.long_connections import LongConnection
from watchword.gate.proxy.headers import UnfitHeaderError, is_ours, to_app, to_caller
from watchword.gate.proxy.target import check_target
from watchword.gate.proxy.upstream_errors import note, too_many, too_slow, unfit
from watchword.gate.proxy.withheld import passing, sign_in
from watchword.gate.responses import Allowed, Answer, refused, would_refuse_header
from watchword.gate.tracing.trace_context import NO_HEADERS, TRACE_HEADERS, read_trace_parent
from watchword.identity import Refusal
from watchword.process.http_parser import BadRequestError
from watchword.process.http_response_parser import ResponseParser

if TYPE_CHECKING:
    from watchword.gate.http2.connection import Http2Connection
    from watchword.gate.proxy.upstream import Upstream
    from watchword.gate.proxy.upstream_connection import UpstreamConnection
    from watchword.gate.tracing.spans import ServerSpan

_LAST_CHUNK: Final = b"0\r\n\r\n"
_SAFE: Final = frozenset({"GET", "HEAD"})
_EXPECTED_TO_HAVE_BODIES: Final = frozenset({"POST", "PUT", "PATCH"})
_SWITCHING, _CONTINUING, _FIRST_FINAL = 101, 100, 200


class PassedStream(Http2Stream):
    """A request that is for the app, once it is decided: what both kinds of apps have alike.

    Attributes:
        pool: names the connections to the app that may serve it: those of one workload.
        asked: the request.
    """

    pool = b""
    _decision_id = ""
    # Fields of the gate's own for the caller, next to the app's.
    _of_answer: Sequence[tuple[bytes, bytes]] = ()
    # What is traced of it, while the gate traces; and how it ended.
    _span: "ServerSpan | None" = None
    _status, _error, _grpc_status = 0, "", b""
    _long_connection: LongConnection | None = None

    def __init__(
        self, host: "Http2Connection", stream_id: int, request: Http2Request, *, is_whole: bool
    ) -> None:
        """Pass a request on that came on a connection."""
        super().__init__(host, stream_id, request, is_whole=is_whole)
        self.asked, self.speaks_grpc = request, request.is_grpc

    def trace(self) -> "ServerSpan | None":
        """Begin the request's span, which its decision is part of; None while nothing is traced."""
        tracer, request, host = self.host.engine.tracer, self.asked, self.host
        if tracer is not None:
            self._span = tracer.begin(
                read_trace_parent(request.headers),
                method=request.method,
                scheme=host.scheme,
                version="2",
                peer=host.client_address,
                is_grpc=request.is_grpc,
            )
        return self._span

    def begin(self, authz_request: AuthzRequest, decided: Allowed | Answer) -> None:
        """Pass on what was let in, or answer it.

        Args:
            authz_request: its credential, and what it asks for.
            decided: what was decided in this very turn of the loop.
        """
        if not isinstance(decided, Allowed):
            self.answer(decided)
            return
        long_connections = self.host.engine.long_connections
        self._decision_id = decided.decision_id
        if decided.would_refuse:
            self._of_answer = [would_refuse_header(decided)]
        self._long_connection = long_connections.add(authz_request, decided, self)
        if self._long_connection is None:
            self.answer(too_many())
            return
        own = [pair for pair in decided.headers if is_ours(pair[0])]
        request, span = self.asked, self._span
        try:
            check_target(request.target)
            passes = passing(self.host.engine, request.headers, authz_request.credential, decided)
            self.pool = passes.pool
            # The gate's own come last, behind which nothing of the caller's is.
            headers = to_app(
                request.headers,
                (),
                self.host.client_address,
                self.host.scheme,
                passes.passed,
                token=passes.token,
                replaced=NO_HEADERS if span is None else TRACE_HEADERS,
            )
        except UnfitHeaderError as why:
            self._leave()
            self.answer(unfit(str(why)))
            return
        if request.expects_continue:
            self.say_continue()
        if span is not None:
            span.withhold(passes.token)
            own = [*span.headers, *own]
        self._pass_on([*headers, *own])

    def end(self, refusal: Refusal) -> None:
        """Pass nothing on any more, in neither direction: the trust has ended."""
        self._long_connection, self._error = None, refusal.reason.code
        self._say(refused(refusal, self._decision_id))

    def drop_caller(self) -> None:
        """Leave the app: no one is there for its answer."""
        super().drop_caller()
        self._leave()
        self._error = self._error or "caller_gone"
        self._end_span()

    def _say(self, answer: Answer) -> None:
        """Answer in place of the app; where its answer was begun, let the caller see that it broke off."""
        self._leave()
        if self.is_over:
            return
        if not self._is_head_sent:
            self.answer(answer)
        elif self.speaks_grpc:
            self.end_grpc(answer)
        else:
            self.break_off()

    def end_grpc(self, answer: Answer) -> None:
        """End a gRPC answer that was begun with a status that says why."""
        self._note_grpc_status(status_fields(answer))
        super().end_grpc(answer)

    def _send_head(self, fields: list[tuple[bytes, bytes]], *, is_end: bool) -> None:
        if self._span is not None:
            self._status = int(fields[0][1])
            if is_end:
                self._note_grpc_status(fields)
        super()._send_head(fields, is_end=is_end)

    def _note_grpc_status(self, fields: list[tuple[bytes, bytes]]) -> None:
        if self._span is not None and self.speaks_grpc:
            self._grpc_status = next((value for name, value in fields if name == b"grpc-status"), b"")

    def _end_span(self) -> None:
        span, self._span = self._span, None
        tracer = self.host.engine.tracer
        if span is not None and tracer is not None:
            tracer.end(span, self._status, error=self._error, grpc_status=self._grpc_status)

    def _end_of_answer(self) -> None:
        self._leave()
        self._end_span()
        super()._end_of_answer()

    def break_off(self, code: int = INTERNAL_ERROR) -> None:
        """Let the caller see that there is no more of an answer that was begun."""
        self._leave()
        self._error = self._error or "broken"
        self._end_span()
        super().break_off(code)

    def _pass_on(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the request to the app, with these headers."""
        raise NotImplementedError

    def _leave(self) -> None:
        """Have nothing to do with the app any more."""
        if self._long_connection is not None:
            self.host.engine.long_connections.discard(self._long_connection)
            self._long_connection = None


class ProxiedStream(PassedStream):
    """A request that is passed on in HTTP/1.1."""

    _head = b""
    _connection: "UpstreamConnection | None" = None
    _is_chunked = _is_app_full = _is_reading_paused = _is_slowed = _was_retried = False
    # The app's answer is whole, and the end of it may still wait for the caller.
    _is_answered = _has_left = False
    # A head that waits for the first byte of its body, so that one without a body ends with it.
    _answer_fields: list[tuple[bytes, bytes]] | None = None
    _unacknowledged = 0
    _given_at = _since = 0.0

    def __init__(
        self,
        host: "Http2Connection",
        stream_id: int,
        request: Http2Request,
        upstream: "Upstream",
        *,
        is_whole: bool,
    ) -> None:
        """Pass a request on to an app."""
        super().__init__(host, stream_id, request, is_whole=is_whole)
        self._upstream, self._waiting = upstream, bytearray()
        self._has_body = not is_whole

    def _pass_on(self, headers: list[tuple[bytes, bytes]]) -> None:
        request, upstream = self.asked, self._upstream
        lines = [b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.target)]
        lines += [b"%b: %b\r\n" % pair for pair in headers]
        if request.length is None and self._has_body:
            self._is_chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        elif request.length is None and request.method in _EXPECTED_TO_HAVE_BODIES:
            lines.append(b"content-length: 0\r\n")
        self._head = b"".join((*lines, b"\r\n"))
        if value := sign_in(headers):
            # Streams of many users may share the caller's connection.
            self.pool += sha256(value).digest()
        self._given_at = self._since = self.host.now()
        upstream.active[self] = None
        connection = upstream.take(self.pool, self._since, may_repeat=self._may_repeat())
        if connection is None:
            upstream.connect(self)
        else:
            self.attach(connection)

    def _may_repeat(self) -> bool:
        # What takes a connection that rested for long is what is sent again when that was too long.
        return self.asked.method in _SAFE and not self._has_body

    # The caller's side.

    def take_body(self, body: bytes, number: int) -> None:
        """Pass a part of the body on."""
        if self._has_left or not self._head:
            super().take_body(body, number)
            return
        self._given_at = self.host.now()
        part = b"%x\r\n%b\r\n" % (len(body), body) if self._is_chunked and body else body
        self._unacknowledged += number
        if self._connection is None:
            self._waiting += part
            return
        self._connection.write(part)
        self._acknowledge()

    def take_end(self) -> None:
        """Pass on that the request is whole."""
        super().take_end()
        self._since = self.host.now()
        if self._is_chunked and not self._has_left:
            if self._connection is None:
                self._waiting += _LAST_CHUNK
            else:
                self._connection.write(_LAST_CHUNK)

    def on_sent(self, number: int) -> None:
        """Read on from the app when the caller has taken enough."""
        del number
        if self._is_reading_paused and len(self._outlet.buffer) < HIGH_WATER // 2 and not self._is_slowed:
            self._is_reading_paused = False
            if self._connection is not None:
                self._connection.resume_reading()

    def held_bytes(self) -> int:
        """How many bytes wait here, for the app or of its answer."""
        connection = self._connection
        return (
            super().held_bytes()
            + len(self._waiting)
            + (connection.held_bytes() if connection is not None else 0)
        )

    def slow_down(self) -> None:
        """Read no more of either side until what is held was taken."""
        self._is_slowed = self._is_reading_paused = True
        if self._connection is not None:
            self._connection.pause_reading()

    def go_on(self) -> None:
        """Read on from the app."""
        self._is_slowed = False
        self._acknowledge()
        self.on_sent(0)

    def _acknowledge(self) -> None:
        if not self._is_app_full and not self._is_slowed and self._connection is not None:
            number, self._unacknowledged = self._unacknowledged, 0
            self.host.acknowledge(self.stream_id, number)

    # The app's side: what an upstream connection calls.

    def attach(self, connection: "UpstreamConnection") -> None:
        """Send what waits by a connection that nothing is under way on."""
        if self._has_left:
            connection.close()
            return
        self._connection, self._since = connection, self.host.now()
        connection.begin(self, is_head=self.asked.method == "HEAD")
        connection.write(self._head + self._waiting)
        self._waiting.clear()
        if self._is_slowed:
            connection.pause_reading()
        self._acknowledge()

    def fill(self) -> None:
        """Let the caller send no more: the app takes no more for now."""
        self._is_app_full, self._since = True, self.host.now()

    def drain(self) -> None:
        """Let the caller go on: the app takes more again."""
        self._is_app_full = False
        self._since = self._given_at = self.host.now()
        self._acknowledge()

    def take_answer_head(self, parser: ResponseParser) -> None:
        """Begin the answer, or pass on that it will take a while.

        Raises:
            BadRequestError: it is none to this request.
        """
        head = parser.head
        status = head.status
        fields = [(b":status", b"%d" % status)]
        fields += [pair for pair in to_caller(head.headers, status) if pair[0] != b"date"]
        if status >= _FIRST_FINAL:
            self._answer_fields = [*fields, *self._of_answer, *self.host.default_fields()]
        elif status == _SWITCHING:
            raise BadRequestError("it switches protocols, which was not asked for")
        elif status != _CONTINUING:
            self._send_early(fields)

    def take_answer_body(self, body: bytes) -> None:
        """Pass a part of the answer back."""
        self._send_answer_head()
        self._outlet.write(body)

    def flush(self) -> None:
        """Note that something of the answer came; read no more of it while the caller takes nothing."""
        self._since = self.host.now()
        self._send_answer_head()
        if len(self._outlet.buffer) > HIGH_WATER and not self._is_reading_paused:
            self._is_reading_paused = True
            if self._connection is not None:
                self._connection.pause_reading()
        self.host.count()

    def finish(self) -> None:
        """End the answer that is whole."""
        if self._has_left or self.is_over:
            return
        self._is_answered = True
        self._leave()
        fields, self._answer_fields = self._answer_fields, None
        if fields is not None:
            self._send_head(fields, is_end=True)
        else:
            self._outlet.end()

    def _send_answer_head(self) -> None:
        fields, self._answer_fields = self._answer_fields, None
        if fields is not None:
            self._send_head(fields, is_end=False)

    def lose(self, *, why: str, can_retry: bool = False) -> None:
        """Go on without the connection to the app, whose trouble this is.

        Args:
            why: the kind of error, for the log.
            can_retry: it was used before, and not a byte of an answer came.
        """
        if self._has_left:
            return
        self._connection = None
        if can_retry and self._may_repeat() and not self._was_retried:
            self._was_retried = True
            self._upstream.connect(self)
            return
        self.fail("broken", why)

    def fail(self, what: str, error_type: str = "") -> None:
        """Tell the caller of the app's trouble; where its answer was begun, break it off."""
        if self._has_left:
            return
        # A head that was not sent yet is answered by another one.
        self._answer_fields = None
        self._error = what
        note(what, error_type, is_begun=self._is_head_sent)
        self._say(self._upstream.explain(what))

    def look(self, now: float) -> None:
        """End what takes too long; in seconds of the loop's clock."""
        if self._connection is None:
            # It has a time-out of its own for being made.
            return
        if self._is_slowed or self._outlet.buffer or self.host.is_write_paused:
            # The caller's own time-out is another one.
            self._since = self._given_at = now
        elif self.is_whole or self._is_app_full:
            if now - self._since >= self._upstream.answer_seconds:
                self.fail("timeout")
        elif now - self._given_at >= self._upstream.upload_seconds:
            self._error = "timeout"
            self._say(too_slow(self._upstream.upload_seconds))

    def _leave(self) -> None:
        """Keep the app's connection only if nothing is left on it."""
        super()._leave()
        if self._has_left or not self._head:
            return
        self._has_left = True
        self._waiting.clear()
        self._upstream.active.pop(self, None)
        number, self._unacknowledged = self._unacknowledged, 0
        self.host.acknowledge(self.stream_id, number)
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._is_answered and self.is_whole:
            self._upstream.release(connection, self.host.now())
        else:
            connection.close()
