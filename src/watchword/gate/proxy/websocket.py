# SPDX-License-Identifier: Apache-2.0
"""WebSockets: decided like any request, then bytes both ways without a look at them.

The app's own answer decides whether the connection is switched (RFC 6455, section 4.2): only after its 101
do bytes pass that no one framed, so an upgrade that the app does not take cannot hide a second request.
"""

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import httptools
import msgspec
from uvicorn.config import Config
from uvicorn.server import ServerState

from watchword.gate.authz_request import AuthzRequest, find_credential
from watchword.gate.engine import Engine
from watchword.gate.long_connections import LongConnection
from watchword.gate.original_request import OriginalRequest
from watchword.gate.protocol import plain_peer
from watchword.gate.proxy.frames import POLICY_VIOLATION, FramePosition, close_frame
from watchword.gate.proxy.headers import Headers, UnfitHeaderError, has_body, is_ours, to_app, to_caller
from watchword.gate.proxy.target import UpstreamAddress, check_target
from watchword.gate.proxy.upstream import CONNECT_SECONDS
from watchword.gate.proxy.upstream_errors import note, too_many, trouble, unfit
from watchword.gate.proxy.withheld import passing
from watchword.gate.responses import Allowed, Answer, refused, would_refuse_header
from watchword.gate.tracing.spans import ServerSpan
from watchword.gate.tracing.trace_context import NO_HEADERS, TRACE_HEADERS, read_trace_parent
from watchword.identity import Refusal
from watchword.process.logs import LOGGER

# For the app's answer to the upgrade.
ANSWER_SECONDS: Final = 30.0
# For a caller to take the close frame that ends its WebSocket.
CLOSE_SECONDS: Final = 2.0
_MAX_HEAD_BYTES: Final = 64 * 1024
_UPGRADE: Final[Headers] = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
_SWITCHED: Final = 101
_INTERIM: Final = re.compile(rb"HTTP/1\.1 1(?!01)[0-9]{2}[ \r]")

TunnelFactory = Callable[[Config, ServerState, dict[str, Any], Callable[[], None]], asyncio.Protocol]


def tunnel_factory(engine: Engine, address: UpstreamAddress) -> TunnelFactory:
    """What the server calls for each upgrade to a WebSocket, in place of a WebSocket library."""

    def make(
        config: Config, server_state: ServerState, app_state: dict[str, Any], on_end: Callable[[], None]
    ) -> Tunnel:
        return Tunnel(engine, address, config, server_state, app_state, on_end=on_end)

    return make


class _Head:
    """A message's head, as httptools reports it."""

    def __init__(self) -> None:
        self.target, self.headers = b"", list[tuple[bytes, bytes]]()
        self.body, self.is_over = bytearray(), False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_over = True


class Tunnel(asyncio.Protocol):
    """One connection that asked to become a WebSocket."""

    def __init__(
        self,
        engine: Engine,
        address: UpstreamAddress,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        on_end: Callable[[], None],
    ) -> None:
        """Decide with an engine; connect to an app; call `on_end` once the connection is lost."""
        del config, app_state
        self._on_end = on_end
        self._engine, self._address, self._server_state = engine, address, server_state
        self._transport: asyncio.Transport | None = None
        self._app: asyncio.StreamWriter | None = None
        self._connection: LongConnection | None = None
        self._position = FramePosition()
        self._has_ended = False
        self._early = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._decision_id = ""
        # Headers of the gate's own for the caller, next to the app's.
        self._of_answer: Headers = []
        self._span: ServerSpan | None = None
        self._can_write = asyncio.Event()
        self._can_write.set()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Take the connection over from uvicorn's HTTP protocol."""
        self._transport = transport
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # it has what uvicorn calls: shutdown

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other side too."""
        del exc
        self._server_state.connections.discard(self)
        self._on_end()
        self._forget()
        self._end_span(0, "caller_gone")
        self._can_write.set()
        if self._task is not None:
            self._task.cancel()
            # Its coroutine holds this object: both would stay until a collection.
            self._task = None
        if self._app is not None:
            self._app.close()

    def data_received(self, data: bytes) -> None:
        """First the head, as uvicorn writes it again; then whatever the caller says."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._begin(data))
            self._server_state.tasks.add(self._task)
            self._task.add_done_callback(self._server_state.tasks.discard)
        elif self._has_ended:
            # What the caller says behind the gate's close frame goes nowhere.
            pass
        elif self._app is not None:
            self._app.write(data)
            self._slow_down()
        else:
            # RFC 6455 lets no client speak before the answer; one that does is not waited for.
            self._early += data
            if len(self._early) > _MAX_HEAD_BYTES:
                self._close()

    def eof_received(self) -> None:
        """A WebSocket has no half that stays open."""

    def pause_writing(self) -> None:
        """The caller takes no more for now."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """The caller takes more."""
        self._can_write.set()

    def shutdown(self) -> None:
        """The gate ends: no one can tell when a WebSocket would."""
        self._close()

    def end(self, refusal: Refusal) -> None:
        """Close the WebSocket with 1008, where a frame may stand; else, and for the app, break it off."""
        self._has_ended, self._connection = True, None
        app = self._app
        if app is None:
            self._answer(refused(refusal, self._decision_id))
        else:
            app.transport.abort()
            if self._position.is_between_frames:
                self._write(close_frame(POLICY_VIOLATION, refusal.reason.code))
                self._close()
                # A caller who takes nothing is not waited for.
                asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._abort)
            else:
                self._abort()
        if self._task is not None:
            self._task.cancel()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _forget(self) -> None:
        if self._connection is not None:
            self._engine.long_connections.discard(self._connection)
            self._connection = None

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _slow_down(self) -> None:
        assert self._app is not None  # noqa: S101 - for the type checker: called after the app was reached
        transport = self._app.transport
        if transport.get_write_buffer_size() > _MAX_HEAD_BYTES and self._transport is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().create_task(self._speed_up(self._app)).add_done_callback(_said)

    async def _speed_up(self, app: asyncio.StreamWriter) -> None:
        await app.drain()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    async def _begin(self, data: bytes) -> None:
        assert self._transport is not None  # noqa: S101 - for the type checker: data comes over a transport
        head = _Head()
        parser = httptools.HttpRequestParser(head)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            self._answer(unfit("its head cannot be read twice the same"))
            return
        method = parser.get_method().decode("ascii")
        given = self._transport.get_extra_info("peername")
        peer = plain_peer(given[:2] if given else None)
        original = OriginalRequest(method, head.target)
        scheme = "https" if self._transport.get_extra_info("sslcontext") else "http"
        span, tracer = None, self._engine.tracer
        if tracer is not None:
            span = self._span = tracer.begin(
                read_trace_parent(head.headers),
                method=method,
                scheme=scheme,
                version="1.1",
                peer=peer[0] if peer else "",
            )
        authz_request = AuthzRequest(
            find_credential(head.headers, self._engine.token_header),
            original,
            peer=peer,
            goes_to_app=True,
            parent=span,
        )
        decided = self._engine.decide(authz_request)
        if not isinstance(decided, Allowed):
            self._answer(decided)
            return
        self._decision_id = decided.decision_id
        if decided.would_refuse:
            self._of_answer = [would_refuse_header(decided)]
        self._connection = self._engine.long_connections.add(authz_request, decided, self)
        if self._connection is None:
            self._answer(too_many())
            return
        try:
            if method != "GET" or has_body(head.headers):
                raise UnfitHeaderError("an upgrade is a GET without a body (RFC 6455, section 4.1)")
            check_target(head.target)
            passes = passing(self._engine, head.headers, authz_request.credential, decided)
            headers = to_app(
                head.headers,
                decided.headers,
                peer[0] if peer else "",
                scheme,
                passes.passed,
                token=passes.token,
                replaced=NO_HEADERS if span is None else TRACE_HEADERS,
            )
        except UnfitHeaderError as why:
            self._answer(unfit(str(why)))
            return
        if span is not None:
            span.withhold(passes.token)
            headers += span.headers
        start = b"GET " + head.target + b" HTTP/1.1"
        lines = [start, *(name + b": " + value for name, value in headers + _UPGRADE), b"", b""]
        await self._connect(b"\r\n".join(lines))

    async def _connect(self, request: bytes) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(self._address.host, self._address.port)
        except (OSError, TimeoutError):
            detail = f"Nothing answers at {self._address.authority}; this is no refusal."
            self._answer(_trouble("unreachable", 502, detail))
            return
        try:
            writer.write(request)
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await _read_answer(reader)
            answer = msgspec.structs.replace(answer, headers=[*answer.headers, *self._of_answer])
            if answer.status != _SWITCHED:
                self._answer(answer)
                return
            self._write(_written(answer))
            self._end_span(answer.status)
            self._app = writer
            if self._early:
                writer.write(bytes(self._early))
            while chunk := await reader.read(_MAX_HEAD_BYTES):
                self._position.feed(chunk)
                self._write(chunk)
                await self._can_write.wait()
        except TimeoutError:
            self._answer(_trouble("timeout", 504, "The app did not answer the upgrade in time."))
        except (OSError, ValueError, EOFError) as error:
            if self._app is None:
                self._answer(_trouble("broken", 502, "The app's answer to the upgrade is not HTTP/1.1."))
            else:
                LOGGER.info("a tunnel ended", extra={"error_type": type(error).__name__})
        finally:
            writer.close()
            self._close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _end_span(self, status: int, error: str = "") -> None:
        """The span is that of the upgrade: a WebSocket may last for days."""
        span, self._span = self._span, None
        if span is not None and self._engine.tracer is not None:
            self._engine.tracer.end(span, status, error=error)

    def _answer(self, answer: Answer) -> None:
        self._end_span(answer.status)
        self._write(
            _written(Answer(answer.status, [*answer.headers, (b"connection", b"close")], answer.body))
        )
        self._close()


def _written(answer: Answer) -> bytes:
    start = b"HTTP/1.1 %d %s" % (answer.status, HTTPStatus(answer.status).phrase.encode())
    return b"\r\n".join([start, *(name + b": " + value for name, value in answer.headers), b"", answer.body])


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    """The app's final answer to the upgrade; of one that is not 101, the body as well.

    Raises:
        ValueError: not HTTP/1.1, or too large.
        EOFError: the app closed the connection.
    """
    raw = await _read_head(reader)
    while _INTERIM.match(raw):
        # Such as early hints: another answer follows.
        raw = await _read_head(reader)
    head = _Head()
    parser = httptools.HttpResponseParser(head)
    try:
        parser.feed_data(raw)
        status = parser.get_status_code()
        while status != _SWITCHED and not head.is_over:
            chunk = await reader.read(_MAX_HEAD_BYTES)
            if not chunk:
                break
            parser.feed_data(chunk)
            if len(head.body) > _MAX_HEAD_BYTES:
                raise ValueError("too large")
    except httptools.HttpParserUpgrade:
        status = parser.get_status_code()
    except httptools.HttpParserError:
        raise ValueError("not HTTP/1.1") from None
    if status == _SWITCHED:
        # Here `Connection` and `Upgrade` are the point; only the gate's names are not the app's to use.
        return Answer(status, [pair for pair in head.headers if not is_ours(pair[0])])
    kept = [pair for pair in to_caller(head.headers, status) if pair[0] != b"content-length"]
    return Answer(status, [*kept, (b"content-length", str(len(head.body)).encode())], bytes(head.body))


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise ValueError("too large") from None


def _trouble(what: str, status: int, detail: str) -> Answer:
    note(what)
    return trouble(what, status, "The app behind the gate did not take the upgrade.", detail)


def _said(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        LOGGER.info("a tunnel ended", extra={"error_type": type(error).__name__})
