# SPDX-License-Identifier: Apache-2.0
"""Decisions answered where the last byte of the request was read, without a task, a scope or a framework.

It takes only what it can keep every promise for: a whole request to `/authz` or below, in HTTP/1.1, without a
body, without a header that comes twice, on a connection that stays open and on which nothing is in flight.
Everything else goes to uvicorn's request cycle and the application, which give the same bytes.
"""

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from watchword.gate.answers import ALLOWED_LINES, Allowed, Answer, lines_of
from watchword.gate.draining import Draining
from watchword.gate.engine import Engine
from watchword.gate.inquiry import PATH, Inquiry, Presented, present_value, read_inquiry
from watchword.gate.protocol import MAX_HEADERS, MAX_MESSAGE_BYTES, TargetProtocol
from watchword.gate.shapes import MAX_SHAPED_BYTES, Shape, Shapes

# In one go; a caller who pipelines more of them waits in uvicorn's queue, behind the other callers.
MAX_ANSWERS_A_READ: Final = 16
# The targets of which nobody needs to ask whether a URL parser would take them.
_PLAIN: Final = frozenset({PATH, *(PATH + each for each in (b"/nginx", b"/traefik", b"/caddy"))})
# Whoever sends one of these may want what only uvicorn does.
_TELLING: Final = frozenset({b"connection", b"content-length", b"transfer-encoding", b"expect"})
_NOTHING: Final = b""

Question = tuple[Inquiry | Answer, bool]


class ShortcutProtocol(TargetProtocol):
    """uvicorn's HTTP protocol for the gate's port.

    Beside uvicorn's own state it knows whether the connection rests: between two messages, the last one
    answered here. Only a connection that rests takes the shortest way: a read that is, byte for byte, the
    request that this connection sent before, or one that differs from a known one in its token alone, is not
    parsed again.
    """

    # The request that is being read, once its head was found fit; and what the last whole read was.
    _question: Question | None = None
    _kept_read: bytes | None = None
    _kept: Question
    _answers = 0
    _has_said_yes = False
    _rested_at = 0.0
    _rest_timer: asyncio.TimerHandle | None = None
    # The first lines of a yes, which change with the date: once a second.
    _defaults: object = None
    _default_lines = _yes = _NOTHING

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        engine: Engine,
        draining: Draining,
        shapes: Shapes,
        max_message_bytes: float = MAX_MESSAGE_BYTES,
    ) -> None:
        """Answer with an engine's decisions, until draining begins: that is done by the application."""
        super().__init__(config, server_state, app_state, _loop)
        self._engine, self._draining, self._shapes = engine, draining, shapes
        self.max_message_bytes = max_message_bytes

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave no timer behind."""
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Answer at once what was asked before; have everything else parsed."""
        rests = self._rests and len(data) <= MAX_SHAPED_BYTES
        if rests and self._is_open():
            if data == self._kept_read:
                self._answer(*self._kept)
                return
            recognized = self._shapes.recognize(data)
            if recognized is not None and self._settle_token(data, *recognized):
                return
        self._answers = 0
        super().data_received(data)
        # The parser's state between two messages is always the same, so the same bytes mean the same again.
        if rests and self._rests and self._answers == 1:
            self._kept_read = data
            asked, is_head = self._kept
            if self._has_said_yes and isinstance(asked, Inquiry) and isinstance(asked.credential, Presented):
                self._shapes.learn(data, asked.credential.value, Shape(asked.asked, is_head))

    def _settle_token(self, data: bytes, shape: Shape, value: bytes) -> bool:
        inquiry = Inquiry(Presented(value, sha256(value).digest()), shape.asked)
        settled = self._engine.settle_token(inquiry)
        if settled is None:
            return False
        self._kept_read, self._kept = data, (inquiry, shape.is_head)
        self._say(settled, shape.is_head)
        return True

    def on_message_begin(self) -> None:
        """Start anew; what uvicorn makes for a request is made when it turns out to be for uvicorn."""
        self._is_in_head, self._is_under_way, self._received = True, False, 0
        self._rests, self._question = False, None
        self.url, self.headers = _NOTHING, []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what it means is looked at when all are there."""
        if self._is_in_head and len(self.headers) < MAX_HEADERS:
            self.headers.append((name.lower(), value))
        elif self._is_in_head:
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        """Find out which way the request goes."""
        question = self._fit_question() if self.url.startswith(PATH) else None
        if question is not None:
            self._question, self._is_in_head = question, False
            if self._deadline is not None:
                self._meet_deadline()
            return
        url, headers = self.url, self.headers
        HttpToolsProtocol.on_message_begin(self)
        self.url = url
        # The list that the scope holds, by then.
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Answer, if it is ours to answer."""
        question = self._question
        if question is None:
            super().on_message_complete()
            return
        self._kept, self._kept_read, self._question = question, None, None
        self._answer(*question)

    def _fit_question(self) -> Question | None:
        cycle: Any = self.cycle
        parser, url, headers = self.parser, self.url, self.headers
        fields = dict(headers)
        if (
            not (cycle is None or cycle.response_complete)
            or not self._is_open()
            or self._answers >= MAX_ANSWERS_A_READ
            or self.access_log
            or self.limit_concurrency is not None
            or not parser.should_keep_alive()
            or parser.should_upgrade()
            or len(fields) != len(headers)
            or not (_TELLING.isdisjoint(fields) or self._is_plain_all_the_same(fields))
        ):
            return None
        method = parser.get_method()
        if url == PATH:
            return Inquiry(present_value(fields.get(b"authorization"))), method == b"HEAD"
        if url not in _PLAIN and not _is_plain(url):
            return None
        inquiry = read_inquiry(method.decode("ascii"), url, headers)
        return None if inquiry is None else (inquiry, method == b"HEAD")

    def _is_plain_all_the_same(self, fields: Mapping[bytes, bytes]) -> bool:
        # Without a Connection header, only HTTP/1.1 keeps a connection.
        return (
            self.parser.get_http_version() == "1.1"
            and fields.get(b"expect", _NOTHING).lower() != b"100-continue"
            and b"transfer-encoding" not in fields
            and fields.get(b"content-length", b"0") == b"0"
        )

    def _answer(self, asked: Inquiry | Answer, is_head: bool) -> None:
        self._say(self._engine.settle(asked) if isinstance(asked, Inquiry) else asked, is_head)

    def _say(self, settled: Allowed | Answer, is_head: bool) -> None:
        state = self.server_state
        if state.default_headers is not self._defaults:
            self._defaults, self._default_lines = state.default_headers, lines_of(state.default_headers)
            self._yes = b"%b%b%b" % (STATUS_LINE[200], self._default_lines, ALLOWED_LINES)
        if isinstance(settled, Allowed):
            own = f"x-watchword-decision-id: {settled.decision_id}\r\n\r\n".encode()
            self.transport.write(b"".join((self._yes, settled.identity, settled.granted, own)))
            self._has_said_yes = True
        else:
            lines = settled.lines or lines_of(settled.headers)
            body = _NOTHING if is_head else settled.body
            whole = (STATUS_LINE[settled.status], self._default_lines, lines, b"\r\n", body)
            self.transport.write(b"".join(whole))
            self._has_said_yes = False
        state.total_requests += 1
        self._answers += 1
        self._rests = True
        self._rested_at = self.loop.time()
        if self._rest_timer is None:
            self._rest_timer = self.loop.call_later(self.timeout_keep_alive, self._end_rest)

    def _is_open(self) -> bool:
        is_ending = self._is_over or self._draining.has_begun or self.transport.is_closing()
        return not (is_ending or self.flow.write_paused)

    def _end_rest(self) -> None:
        # One timer for many answers: it looks at the time of the last one, instead of being set by each.
        self._rest_timer = None
        if not self._rests or self.transport.is_closing():
            return
        left = self._rested_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._rest_timer = self.loop.call_later(left, self._end_rest)
        else:
            self.transport.close()


def _is_plain(url: bytes) -> bool:
    try:
        return httptools.parse_url(url).path.isascii()
    except httptools.HttpParserInvalidURLError:
        return False
