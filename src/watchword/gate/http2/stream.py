# SPDX-License-Identifier: Apache-2.0
"""One request on an HTTP/2 connection, from its head to the end of its answer.

This is what all have alike, and all of one that the gate answers at once. What is still sent of a body whose
request was answered is thrown away, and the stream is reset behind the answer, as RFC 9113 has it (section
8.1): the caller need not send the rest.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from h2.exceptions import ProtocolError

from watchword.gate.http2.grpc_status import status_fields, trailers_only
from watchword.gate.http2.host import Fields, Outlet
from watchword.gate.http2.request_fields import Http2Request
from watchword.gate.responses import Answer

if TYPE_CHECKING:
    from watchword.gate.http2.connection import Http2Connection

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
CANCEL: Final = 0x8
_CONTINUE: Final = [(b":status", b"100")]
# A yes or a no of one of the first is none about a call.
_FIRST_REFUSAL: Final = 400


class Http2Stream:
    """A request and its answer.

    Attributes:
        stream_id: its number on the caller's connection.
        is_whole: the request has ended.
        is_over: nothing more is answered.
        speaks_grpc: its refusals are gRPC statuses, in an HTTP answer of 200. Only where the request is for
            the app: to a proxy that asks about its caller, 200 is a yes.
        body_bytes: how many bytes of the body came.
    """

    speaks_grpc = False

    def __init__(
        self, host: "Http2Connection", stream_id: int, request: Http2Request | None, *, is_whole: bool
    ) -> None:
        """Answer on a connection; without a request, what came was none."""
        self.host, self.stream_id, self.request = host, stream_id, request
        self.is_whole, self.is_over, self.body_bytes = is_whole, False, 0
        self._is_head_sent = False
        # What the stream is reset with once it was answered, if its request has not ended by then.
        self._reset_code = NO_ERROR
        self._sent_before, self._stuck_since = 0, 0.0
        self._outlet: Outlet = host.outlet(stream_id, self.on_sent, self._end_of_answer)

    # The caller's side.

    @property
    def length(self) -> int | None:
        """Of the request's body in bytes, where it says so."""
        return None if self.request is None else self.request.length

    def take_body(self, body: bytes, number: int) -> None:
        """Take a part of the body, for which `number` bytes of the window were used: throw it away."""
        del body
        self.host.acknowledge(self.stream_id, number)

    def take_end(self) -> None:
        """Note that the request is whole."""
        self.is_whole = True

    def drop_caller(self) -> None:
        """Answer no more: the caller has reset the stream, or is gone."""
        self.is_over = True
        self._outlet.close()

    def on_sent(self, number: int) -> None:
        """So many bytes of the answer went out."""

    def held_bytes(self) -> int:
        """How many bytes wait here."""
        return len(self._outlet.buffer)

    def is_stuck(self, now: float, seconds: float) -> bool:
        """Whether the caller takes nothing of what waits for so many seconds; asked now and then."""
        outlet = self._outlet
        if not outlet.buffer or outlet.sent != self._sent_before or not self._stuck_since:
            self._sent_before, self._stuck_since = outlet.sent, now if outlet.buffer else 0.0
            return False
        return now - self._stuck_since >= seconds

    def slow_down(self) -> None:
        """Take no more of what is answered until it was sent."""

    def go_on(self) -> None:
        """Take more of what is answered again."""

    # The answer.

    def answer(self, answer: Answer, *, reset_code: int = NO_ERROR) -> None:
        """Answer whole: as a gRPC status to a gRPC call, where it is no yes."""
        if self.is_over or self._is_head_sent:
            return
        self._reset_code = reset_code
        request = self.request
        if self.speaks_grpc and answer.status >= _FIRST_REFUSAL:
            self._send_head(trailers_only(answer), is_end=True)
            return
        body = b"" if request is not None and request.method == "HEAD" else answer.body
        fields = [(b":status", b"%d" % answer.status), *self.host.default_fields(), *answer.headers]
        # A stream that is to be reset with an error stays open for it.
        is_end = not body and reset_code == NO_ERROR
        self._send_head(fields, is_end=is_end)
        if is_end:
            return
        if reset_code == NO_ERROR:
            self._outlet.write(body)
            self._outlet.end()
        else:
            self._outlet.write(body)
            self.break_off(reset_code)

    def say_continue(self) -> None:
        """Let a caller that waits for it send its body."""
        self._send_early(_CONTINUE)

    def end_grpc(self, answer: Answer) -> None:
        """End a gRPC answer that was begun with a status that says why."""
        self._outlet.buffer.clear()
        self._outlet.end(status_fields(answer))

    def break_off(self, code: int = INTERNAL_ERROR) -> None:
        """Let the caller see that there is no more of an answer that was begun."""
        self.is_over = True
        self.host.reset(self.stream_id, code)
        self.host.finished(self)

    def _send_early(self, fields: Fields) -> None:
        """Send a head that is not the answer's (1xx), where that one was not sent."""
        if not self._is_head_sent and not self.is_over:
            with suppress(ProtocolError):
                self.host.send_fields(self.stream_id, fields, is_end=False)

    def _send_head(self, fields: Fields, *, is_end: bool) -> None:
        """Send the one head of the answer."""
        if self._is_head_sent or self.is_over:
            return
        self._is_head_sent = True
        try:
            self.host.send_fields(self.stream_id, fields, is_end=is_end)
        except ProtocolError:
            # The library knows the stream as over.
            is_end = True
        if is_end:
            self._outlet.close()
            self._end_of_answer()

    def _end_of_answer(self) -> None:
        """The answer's end went out."""
        self.is_over = True
        if not self.is_whole:
            self.host.reset(self.stream_id, self._reset_code)
        self.host.finished(self)
