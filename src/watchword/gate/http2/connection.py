# SPDX-License-Identifier: Apache-2.0
"""A caller's HTTP/2 connection: each stream is decided by itself, within bounds that all of its server share.

A proxy may send many callers' requests on one connection, so what is wrong with one stream ends that stream
and no other; only what breaks the protocol itself, or costs without asking for anything, ends the connection.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import h2.events
from h2.settings import SettingCodes, Settings

from watchword.gate.authz_request import AuthzRequest, find_credential, read_authz_request
from watchword.gate.http2.app_stream import AppStream
from watchword.gate.http2.forwarded_stream import ForwardedStream
from watchword.gate.http2.frames import RST_STREAM, Frame, FrameMeter
from watchword.gate.http2.host import Http2Host, configuration
from watchword.gate.http2.limits import (
    CONNECTION_WINDOW,
    HTTP2_BYTES,
    MAX_FIELD_BYTES,
    MAX_STREAMS,
    RESET_COST,
    STREAM_BYTES,
    STREAM_WINDOW,
)
from watchword.gate.http2.proxied_stream import PassedStream, ProxiedStream
from watchword.gate.http2.request_fields import (
    Http2Request,
    MalformedRequestError,
    check_trailers,
    read_request,
)
from watchword.gate.http2.stream import CANCEL, NO_ERROR, PROTOCOL_ERROR, Http2Stream
from watchword.gate.http2.upstream import AnyUpstream, Http2Upstream
from watchword.gate.original_request import OriginalRequest
from watchword.gate.responses import Answer, problem
from watchword.process.bounds import UNREAD_SECONDS, Budget
from watchword.process.logs import LOGGER
from watchword.process.tls_reads import waiting_bytes
from watchword.trust import form_flaw

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn.server import ServerState

    from watchword.gate.audit import Peer
    from watchword.gate.draining import Draining
    from watchword.gate.engine import Engine
    from watchword.gate.protocol import PassesOn

_REFUSED_STREAM: Final = 0x7
# How long a connection is still read after it was told that nothing more is to be begun, in seconds.
_LEAVE_SECONDS: Final = 1.0
# How often it is looked whether what was slowed down may go on, in seconds.
_LOOK_SECONDS: Final = 0.1


class _Announced(Settings):
    """Settings of which the library enforces the number of streams loosely: a surplus one is reset by us.

    For the library, one too many is the end of the connection, and so of all other streams.
    """

    @property  # type: ignore[misc]  # it is never set
    def max_concurrent_streams(self) -> int:
        """How many streams the library lets be open."""
        return 2 * MAX_STREAMS


class Service(NamedTuple):
    """What a gate's connections have in common.

    Attributes:
        engine: what decides.
        app: answers what the gate does not pass on.
        draining: whether each answer is the last one of its connection.
        passes_on: of a target: whether the request is for the app behind the gate.
        upstream: that app, where there is one.
        budget: what all connections hold.
        state: uvicorn's, of the server.
        keep_alive_seconds: how long a connection may rest without a stream.
    """

    engine: "Engine"
    app: "ASGIApp"
    draining: "Draining"
    passes_on: "PassesOn"
    upstream: AnyUpstream | None
    budget: Budget
    state: "ServerState"
    keep_alive_seconds: float


class Http2Connection(Http2Host):
    """One connection to a gate's port.

    Attributes:
        engine: what decides.
        upstream: the app behind the gate, where there is one.
        peer: the other end; None where it is not known.
        server: our end.
        scheme: `http` or `https`.
        client_address: the address that the connection came from; empty when unknown.
    """

    counted_bytes, is_counted_as_head = 0, False

    def __init__(
        self, service: Service, peer: "Peer | None", server: tuple[str, int | None] | None, scheme: str
    ) -> None:
        """Serve one connection."""
        super().__init__(configuration(client_side=False, validates=False))
        self.engine, self.upstream, self._service = service.engine, service.upstream, service
        self.peer, self.server, self.scheme = peer, server, scheme
        self.client_address = peer[0] if peer is not None else ""
        self._loop = asyncio.get_running_loop()
        self._meter = FrameMeter(self._loop.time)
        self._streams: dict[int, Http2Stream] = {}
        self._has_asked = self._is_leaving = self._has_left = self._is_slowed = False
        self._asked_at = 0.0
        self._last_stream_id = 0
        # One of them at most: for the first request, for a block of fields, between requests, for leaving.
        self._timer: asyncio.TimerHandle | None = None
        self._is_timed_for_block = False
        self._look_timer: asyncio.TimerHandle | None = None
        # Bytes that wait to be taken, since when none was, and how many were sent by then.
        self._unsent, self._unsent_since, self._sent, self._sent_before = 0, 0.0, 0, 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvloop's is one
        """Say what is served, if there is room for it."""
        super().connection_made(transport)
        budget, state = self._service.budget, self._service.state
        if not budget.admit(self):
            self.is_over = True
            transport.abort()
            return
        state.connections.add(self)  # type: ignore[arg-type]  # it has what uvicorn calls: shutdown
        bounds = budget.bounds
        self._set_timer(bounds.head_seconds)
        self.connection.local_settings = _Announced(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_FIELD_BYTES,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
            },
        )
        self.connection.decoder.max_header_list_size = MAX_FIELD_BYTES
        self.connection.initiate_connection()
        self.connection.increment_flow_control_window(CONNECTION_WINDOW - 65_535)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        if self.is_over:
            return
        super().data_received(data)
        if not self.is_over:
            self._see_to_block()
        self.count()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave nothing behind."""
        super().connection_lost(exc)
        self._meet_timer()
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        self._service.budget.forget(self)
        self._service.state.connections.discard(self)
        for stream in list(self._streams.values()):
            stream.drop_caller()
        self._streams.clear()

    def eof_received(self) -> None:
        """The caller sends nothing more, and takes nothing more: the connection ends."""

    def resume_writing(self) -> None:
        """The caller takes more."""
        self._sent += 1
        super().resume_writing()

    def shutdown(self) -> None:
        """End the connection once what was asked on it by now is answered; uvicorn calls it."""
        if not self.is_over:
            self._leave()

    # What the frames say.

    def on_frame(self, frame: Frame) -> None:
        """Charge for what only costs."""
        self._meter.charge(frame)

    def on_event(self, event: h2.events.Event) -> None:
        """Act on what the library found."""
        if isinstance(event, h2.events.RequestReceived):
            self._begin(event.stream_id, event.headers, is_whole=event.stream_ended is not None)
        elif isinstance(event, h2.events.DataReceived):
            self._take_body(event.stream_id, event.data, event.flow_controlled_length)
        elif isinstance(event, h2.events.StreamEnded):
            self._end_request(event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self._check_trailers(event.stream_id, event.headers)
        elif isinstance(event, h2.events.StreamReset):
            self._drop(event.stream_id)
        elif isinstance(event, h2.events.WindowUpdated):
            self.pump(event.stream_id)
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.pump_all()

    def on_goaway(self, last_stream_id: int, code: int) -> None:
        """The caller begins nothing more: end with what is under way."""
        del last_stream_id
        if code == NO_ERROR and self._streams:
            self._is_leaving = True
        elif self._streams:
            self._close()
        else:
            # To close at once, with frames on their way that no one reads, would be a reset.
            self._leave()

    def on_fault(self, why: str) -> None:
        """Say why the connection ended."""
        LOGGER.warning("HTTP/2 connection ended", extra={"why": why})

    def _begin(self, stream_id: int, fields: Any, *, is_whole: bool) -> None:
        self._last_stream_id = stream_id
        if len(self._streams) >= MAX_STREAMS or self._has_left:
            # A caller who has not seen our settings yet may not know better; one who has pays for it.
            self._meter.spend(RESET_COST, RST_STREAM)
            self.reset(stream_id, _REFUSED_STREAM)
            return
        self._meet_timer()
        self._has_asked, self._asked_at = True, self._loop.time()
        self._service.budget.asked(self)
        try:
            request = read_request(fields)
            if is_whole and request.length:
                raise MalformedRequestError("`content-length` announces a body that there is not")
        except MalformedRequestError as why:
            self._refuse(stream_id, why, is_whole=is_whole)
            return
        target, headers = request.target, request.headers
        question = None
        if target.startswith(b"/authz"):
            question = read_authz_request(
                request.method,
                target,
                headers,
                self.peer,
                self.engine.token_header,
                traces=self.engine.tracer is not None,
            )
        if question is not None:
            decided = self.engine.decide(question) if isinstance(question, AuthzRequest) else question
            self._answer(stream_id, request, Answer(decided.status, decided.headers, decided.body), is_whole)
        elif self.upstream is not None and self._service.passes_on(target):
            self._pass_on(stream_id, request, self.upstream, is_whole=is_whole)
        else:
            own = AppStream(self, stream_id, request, is_whole=is_whole)
            self._streams[stream_id] = own
            task = own.begin(self._service.app)
            task.add_done_callback(self._service.state.tasks.discard)
            self._service.state.tasks.add(task)

    def _pass_on(
        self, stream_id: int, request: Http2Request, upstream: AnyUpstream, *, is_whole: bool
    ) -> None:
        engine = self.engine
        stream: PassedStream
        if isinstance(upstream, Http2Upstream):
            stream = ForwardedStream(self, stream_id, request, upstream, is_whole=is_whole)
        else:
            stream = ProxiedStream(self, stream_id, request, upstream, is_whole=is_whole)
        self._streams[stream_id] = stream
        # A body that is longer than nothing, announced as nothing, ends its stream (`_take_body`).
        authz_request = AuthzRequest(
            find_credential(request.headers, engine.token_header),
            OriginalRequest(
                request.method,
                request.target,
                form_flaw(request.headers, has_body=not is_whole and request.length != 0),
            ),
            peer=self.peer,
            goes_to_app=True,
            parent=stream.trace(),
        )
        stream.begin(authz_request, engine.decide(authz_request))

    def _answer(self, stream_id: int, request: Http2Request | None, answer: Answer, is_whole: bool) -> None:
        stream = Http2Stream(self, stream_id, request, is_whole=is_whole)
        self._streams[stream_id] = stream
        stream.answer(answer)

    def _refuse(self, stream_id: int, why: MalformedRequestError, *, is_whole: bool) -> None:
        LOGGER.warning("malformed HTTP/2 request", extra={"why": str(why)})
        stream = self._streams[stream_id] = Http2Stream(self, stream_id, None, is_whole=is_whole)
        detail = f"It is malformed (RFC 9113, section 8.1.1): {why}."
        stream.answer(
            problem(400, "This is no request.", detail, reason="malformed_request"), reset_code=PROTOCOL_ERROR
        )

    def _take_body(self, stream_id: int, body: bytes, number: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.body_bytes += len(body)
            length = stream.length
            if length is None or stream.body_bytes <= length:
                stream.take_body(body, number)
                return
            self._break_off_malformed(stream_id, "the body is longer than `content-length` says")
        self.acknowledge(stream_id, number)

    def _end_request(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or stream.is_whole:
            return
        if stream.length is not None and stream.body_bytes < stream.length:
            # In HTTP/1.1, what is missing would be taken from the next request to the app.
            self._break_off_malformed(stream_id, "the body is shorter than `content-length` says")
            return
        stream.take_end()

    def _check_trailers(self, stream_id: int, fields: Any) -> None:
        try:
            check_trailers(fields)
        except MalformedRequestError as why:
            self._break_off_malformed(stream_id, str(why))

    def _break_off_malformed(self, stream_id: int, why: str) -> None:
        LOGGER.warning("malformed HTTP/2 request", extra={"why": why})
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.drop_caller()
        self.reset(stream_id, PROTOCOL_ERROR)
        if stream is not None:
            self.finished(stream)

    def _drop(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.drop_caller()
        self.finished(stream)
        # What was decided and begun for nothing: CVE-2023-44487.
        self._meter.spend(RESET_COST, RST_STREAM)

    # What streams use.

    def now(self) -> float:
        """The loop's clock, in seconds."""
        return self._loop.time()

    def default_fields(self) -> list[tuple[bytes, bytes]]:
        """What each answer has: the date."""
        return self._service.state.default_headers

    def note_sent(self) -> None:
        """A frame of an answer went out."""
        self._meter.earn()
        self._sent += 1

    def finished(self, stream: Http2Stream) -> None:
        """Forget a stream that is over."""
        if self._streams.pop(stream.stream_id, None) is None:
            return
        self._service.state.total_requests += 1
        if self.is_over:
            return
        if self._service.draining.has_begun and not self._is_leaving:
            self._leave()
        if self._streams:
            return
        if self._is_leaving:
            self._set_timer(_LEAVE_SECONDS)
        else:
            self._set_timer(self._service.keep_alive_seconds)

    def count(self) -> None:
        """Let the budget know what is held."""
        if not self.is_over:
            self._service.budget.update(self)

    # What the budget calls.

    def held_bytes(self) -> int:
        """How many bytes wait here, and what the state of connection and streams takes."""
        transport, streams = self._transport, self._streams.values()
        waiting = 0 if transport is None else waiting_bytes(transport, is_tls=self.scheme == "https")
        return (
            HTTP2_BYTES
            + len(self._reader)
            + waiting
            + STREAM_BYTES * len(streams)
            + sum(each.held_bytes() for each in streams)
        )

    def is_stuck(self, now: float) -> bool:
        """Whether the caller takes nothing of what waits for too long; a stream of which it does ends."""
        seconds = self._service.budget.bounds.write_seconds
        for stream in list(self._streams.values()):
            if stream.is_stuck(now, seconds):
                stream.break_off(CANCEL)
        unsent, sent = self.unsent_bytes(), self._sent
        if unsent == 0 or self._unsent == 0 or sent != self._sent_before:
            self._unsent, self._sent_before, self._unsent_since = unsent, sent, now
            return False
        return now - self._unsent_since >= seconds

    def surplus_bytes(self, untaken_since: float) -> int:
        """How many bytes of answers wait that nothing was taken of since."""
        unsent = self.unsent_bytes()
        taken_at = self._unsent_since if self._unsent and self._sent == self._sent_before else self.now()
        return unsent if unsent and taken_at <= untaken_since else 0

    def is_in_head(self) -> bool:
        """Whether it is in the middle of a head, or before its first one."""
        return not self._has_asked or (self._reader.is_in_block and not self._streams)

    def asked_at(self) -> float:
        """When it asked for something last, on the loop's clock."""
        return self._asked_at

    def is_spent(self) -> bool:
        """No: what is left of an answered request's body is not read."""
        return False

    def is_waiting(self) -> bool:
        """Whether no request is under way, nor an answer that its caller takes."""
        return not self._streams and not self._is_taken()

    def _is_taken(self) -> bool:
        return self.unsent_bytes() > 0 and self.now() - self._unsent_since < UNREAD_SECONDS

    def slow_down(self) -> None:
        """Take no more of callers and of the app until what is held was taken."""
        if self._is_slowed or self._transport is None:
            return
        self._is_slowed = True
        self._transport.pause_reading()
        for stream in self._streams.values():
            stream.slow_down()
        self._look_timer = self._loop.call_later(_LOOK_SECONDS, self._look)

    def may_read(self) -> bool:
        """Whether what is held leaves room for more."""
        return not self._is_slowed

    def make_room(self) -> None:
        """End at once."""
        self.is_over = True
        if self._transport is not None:
            self._transport.abort()

    def _look(self) -> None:
        self._look_timer = None
        budget = self._service.budget
        if self._transport is None:
            return
        if self.unsent_bytes() and budget.held_bytes > budget.bounds.buffered_bytes:
            self._look_timer = self._loop.call_later(_LOOK_SECONDS, self._look)
            return
        self._is_slowed = False
        self.read_on()
        for stream in list(self._streams.values()):
            stream.go_on()

    # Time, and ends.

    def _see_to_block(self) -> None:
        """Give a block of fields that has begun, and is not whole, no longer than an HTTP/1.1 head has."""
        if self._reader.is_in_block:
            if self._timer is None or not (self._is_timed_for_block or not self._has_asked):
                self._set_timer(self._service.budget.bounds.head_seconds)
                self._is_timed_for_block = True
        elif self._is_timed_for_block:
            self._meet_timer()
            if not self._streams:
                self._set_timer(self._service.keep_alive_seconds)

    def _set_timer(self, seconds: float) -> None:
        self._meet_timer()
        self._timer = self._loop.call_later(seconds, self._end_of_time)

    def _meet_timer(self) -> None:
        self._is_timed_for_block = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_of_time(self) -> None:
        is_for_block, self._is_timed_for_block, self._timer = self._is_timed_for_block, False, None
        if is_for_block or not self._has_asked or self._is_leaving:
            self._close()
        elif not self._streams:
            self._leave()

    def _leave(self) -> None:
        """Have the caller begin nothing more here, and end when all is answered."""
        if self._is_leaving:
            return
        self._is_leaving = True
        self.send_goaway()
        if not self._streams:
            self._set_timer(_LEAVE_SECONDS)

    def _close(self) -> None:
        """End now, behind a GOAWAY that names the last stream that was taken."""
        if self.is_over:
            return
        self._has_left = True
        self.send_goaway(self._last_stream_id)
        self.is_over = True
        if self._transport is not None:
            self._transport.close()
