# SPDX-License-Identifier: Apache-2.0
"""A request of an HTTP/2 stream that is passed on to an app that speaks HTTP/2 itself, such as a gRPC server.

Each side may send only what the other one has taken: a byte is acknowledged when it went out. Trailers,
resets and statuses go through; what is about one connection does not.
"""

from typing import TYPE_CHECKING, Final

from watchword.gate.http2.answer_fields import (
    MalformedAnswerError,
    body_length,
    check_answer_trailers,
    read_status,
)
from watchword.gate.http2.host import Outlet
from watchword.gate.http2.limits import KEPT_BODY_BYTES
from watchword.gate.http2.proxied_stream import PassedStream
from watchword.gate.http2.request_fields import Http2Request
from watchword.gate.http2.stream import CANCEL, INTERNAL_ERROR, NO_ERROR
from watchword.gate.proxy.headers import to_caller
from watchword.gate.proxy.upstream_errors import note, too_slow

if TYPE_CHECKING:
    from watchword.gate.http2.connection import Http2Connection
    from watchword.gate.http2.upstream import AppConnection, Http2Upstream

Fields = list[tuple[bytes, bytes]]

_REFUSED_STREAM: Final = 0x7
_FIRST_FINAL: Final = 200
_SHORT: Final = "its body is shorter than `content-length` says"


class ForwardedStream(PassedStream):
    """A request that is passed on in HTTP/2.

    Attributes:
        has_begun: a frame of an answer came, so the request is not sent again.
    """

    has_begun = False
    _app: "AppConnection | None" = None
    _app_outlet: Outlet | None = None
    _is_slowed = _was_retried = _is_answered = False
    # What the caller and the app sent, and may not send again yet; and of it, what went out.
    _held_of_caller = _held_of_app = 0
    _owed_to_caller = _owed_to_app = 0
    # How much of what goes out had gone out by a connection that is lost.
    _sent_again = 0
    _since = _given_at = 0.0
    # How much of the answer's body is still to come, where that is known.
    _left: int | None = None

    def __init__(
        self,
        host: "Http2Connection",
        stream_id: int,
        request: Http2Request,
        upstream: "Http2Upstream",
        *,
        is_whole: bool,
    ) -> None:
        """Pass a request on to an app."""
        super().__init__(host, stream_id, request, is_whole=is_whole)
        self._app_of_gate, self._waiting = upstream, bytearray()
        # All of the body that came so far, while it is small and no answer has begun.
        self._kept: bytearray | None = bytearray()
        # None until it is passed on, and once it is over.
        self._upstream: Http2Upstream | None = None
        self._fields: Fields = []

    def _pass_on(self, headers: Fields) -> None:
        upstream = self._upstream = self._app_of_gate
        request = self.asked
        self._fields = [
            (b":method", request.method.encode()),
            (b":scheme", b"http"),
            (b":authority", request.headers[0][1]),
            (b":path", request.target),
            *(pair for pair in headers if pair[0] != b"host"),
        ]
        if request.accepts_trailers:
            self._fields.append((b"te", b"trailers"))
        self._since = self._given_at = self.host.now()
        upstream.active[self] = None
        upstream.open(self)

    # The caller's side.

    def take_body(self, body: bytes, number: int) -> None:
        """Pass a part of the body on."""
        if self._upstream is None:
            super().take_body(body, number)
            return
        self._given_at = self.host.now()
        # Padding is for no one.
        self.host.acknowledge(self.stream_id, number - len(body))
        self._held_of_caller += len(body)
        if self._kept is not None:
            self._kept += body
            if len(self._kept) > KEPT_BODY_BYTES:
                self._kept = None
        outlet = self._app_outlet
        if self._is_answered or (outlet is not None and outlet.is_done):
            self._acknowledge(len(body))
        elif outlet is None:
            self._waiting += body
        else:
            outlet.write(body)

    def take_end(self) -> None:
        """Pass on that the request is whole."""
        super().take_end()
        self._since = self.host.now()
        if self._app_outlet is not None and not self._app_outlet.is_done:
            self._app_outlet.end()

    def on_sent(self, number: int) -> None:
        """Let the app send as much as the caller took."""
        if self._is_slowed:
            self._owed_to_app += number
        elif self._app is not None and self._app_outlet is not None:
            self._held_of_app -= number
            self._app.acknowledge(self._app_outlet.stream_id, number)

    def _acknowledge(self, number: int) -> None:
        """Let the caller send as much as the app took."""
        self._since = self.host.now()
        if self._is_slowed:
            self._owed_to_caller += number
        else:
            self._held_of_caller -= number
            self.host.acknowledge(self.stream_id, number)

    def held_bytes(self) -> int:
        """How many bytes wait here, for the app or of its answer."""
        unsent = len(self._app_outlet.buffer) if self._app_outlet is not None else 0
        kept = len(self._kept) if self._kept is not None else 0
        return super().held_bytes() + len(self._waiting) + unsent + kept

    def slow_down(self) -> None:
        """Let neither side send more until what is held was taken."""
        self._is_slowed = True

    def go_on(self) -> None:
        """Let both sides send what they may by now."""
        self._is_slowed = False
        number, self._owed_to_app = self._owed_to_app, 0
        self.on_sent(number)
        number, self._owed_to_caller = self._owed_to_caller, 0
        self._acknowledge(number)

    # The app's side.

    def attach(self, app: "AppConnection") -> None:
        """Send the request by a connection that has room for it."""
        if self._upstream is None or self.is_over:
            return
        self._app, self._since = app, self.host.now()
        self._app_outlet = outlet = app.begin(self, self._fields, is_end=self.is_whole and not self._waiting)
        if outlet.is_done:
            return
        waiting = bytes(self._waiting)
        self._waiting.clear()
        if waiting:
            outlet.write(waiting)
        if self.is_whole:
            outlet.end()

    def on_app_sent(self, number: int) -> None:
        """Let the caller send as much as the app took, of what went out for the first time."""
        again = min(number, self._sent_again)
        self._sent_again -= again
        self._acknowledge(number - again)

    def take_answer_head(self, fields: Fields, *, is_end: bool) -> None:
        """Begin the answer, or pass on that it will take a while."""
        self._since, self._kept = self.host.now(), None
        try:
            status = read_status(fields)
            if status >= _FIRST_FINAL:
                self._left = body_length(fields, status, is_head=self.asked.method == "HEAD")
            if is_end and self._left:
                raise MalformedAnswerError(_SHORT)
        except MalformedAnswerError as why:
            self.fail("broken", str(why))
            return
        head = [(b":status", b"%d" % status)]
        head += [pair for pair in to_caller(fields[1:], status) if pair[0] != b"date"]
        if status < _FIRST_FINAL:
            self._send_early(head)
            return
        if is_end:
            self._is_answered = True
        self._send_head([*head, *self._of_answer, *self.host.default_fields()], is_end=is_end)

    def take_answer_body(self, body: bytes, number: int) -> None:
        """Pass a part of the answer back."""
        self._since = self.host.now()
        if self._app is not None and self._app_outlet is not None:
            self._app.acknowledge(self._app_outlet.stream_id, number - len(body))
        self._held_of_app += len(body)
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0:
                self.fail("broken", "it has a body that is longer than it may be")
                return
        self._outlet.write(body)
        self.host.count()

    def take_answer_end(self, trailers: Fields | None) -> None:
        """End the answer, with its trailers."""
        if self._is_answered:
            return
        try:
            if self._left:
                raise MalformedAnswerError(_SHORT)
            if trailers is not None:
                check_answer_trailers(trailers)
        except MalformedAnswerError as why:
            self.fail("broken", str(why))
            return
        self._is_answered = True
        if trailers is not None:
            self._note_grpc_status(trailers)
        self._outlet.end(None if trailers is None else to_caller(trailers, _FIRST_FINAL))

    def take_reset(self, code: int) -> None:
        """Pass on that the app has broken off, or will not begin."""
        if self._is_answered and code == NO_ERROR:
            return
        if code == _REFUSED_STREAM:
            self.lose(why="REFUSED_STREAM", can_retry=True)
        elif self._is_head_sent or self.asked.is_grpc:
            note("broken", f"RST_STREAM {code}", is_begun=self._is_head_sent)
            # Some clients take an answer that NO_ERROR has cut off for a whole one.
            self.break_off(code if code != NO_ERROR else INTERNAL_ERROR)
        else:
            self.fail("broken", f"RST_STREAM {code}")

    def lose(self, *, why: str, can_retry: bool = False) -> None:
        """Go on without the connection to the app, whose trouble this is.

        Args:
            why: the kind of error, for the log.
            can_retry: the app says that it has not begun with the request, or it was a read on a connection
                used before. What has answered was not sent in vain, whatever the app says.
        """
        upstream, outlet = self._upstream, self._app_outlet
        if upstream is None or self.is_over:
            return
        self._app = self._app_outlet = None
        if self._is_answered:
            # All that is missing is that the caller takes the rest.
            return
        is_all_there = self._kept is not None or outlet is None or not outlet.sent
        if can_retry and is_all_there and not (self.has_begun or self._was_retried):
            self._was_retried = True
            if outlet is not None:
                self._sent_again = outlet.sent
                self._waiting = bytearray(outlet.buffer if self._kept is None else self._kept)
            upstream.open(self)
            return
        self.fail("broken", why)

    def fail(self, what: str, error_type: str = "") -> None:
        """Tell the caller of the app's trouble; where its answer was begun, break it off."""
        upstream = self._upstream
        if upstream is None or self.is_over:
            return
        self._error = what
        note(what, error_type, is_begun=self._is_head_sent)
        self._say(upstream.explain(what))

    def look(self, now: float) -> None:
        """End what takes too long. A gRPC call has a deadline of its own, and may be silent until then."""
        upstream = self._upstream
        if upstream is None or self._app is None or self.asked.is_grpc:
            return
        if self._is_slowed or self._outlet.buffer or self.host.is_write_paused:
            self._since = self._given_at = now
        elif self.is_whole or (self._app_outlet is not None and self._app_outlet.buffer):
            if now - self._since >= upstream.answer_seconds:
                self.fail("timeout")
        elif now - self._given_at >= upstream.upload_seconds:
            self._error = "timeout"
            self._say(too_slow(upstream.upload_seconds))

    def _leave(self) -> None:
        """Have nothing to do with the app any more."""
        super()._leave()
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            return
        self._waiting.clear()
        self._kept = None
        upstream.active.pop(self, None)
        app, outlet = self._app, self._app_outlet
        self._app = None
        # What is thrown away was taken too, or the connection's window would shrink with each such stream.
        self.host.acknowledge(self.stream_id, self._held_of_caller)
        self._held_of_caller = 0
        if app is not None and outlet is not None:
            app.acknowledge(outlet.stream_id, self._held_of_app)
            self._held_of_app = 0
            app.leave(outlet, NO_ERROR if self._is_answered else CANCEL)
