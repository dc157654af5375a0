# SPDX-License-Identifier: Apache-2.0
"""What h11 makes of bytes: the requests of a stream, and the answers to them.

h11 shares no line with the gate's parser. It is lenient in a few places where the gate is strict, which is
fine: the gate may refuse what h11 takes, and must never pass on what h11 does not see.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import h11

MAX_HEAD_BYTES = 256 * 1024
Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Request:
    """One request as h11 sees it; `rest` is what follows one that may switch protocols."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytearray = field(default_factory=bytearray)
    is_whole: bool = False
    rest: bytes | None = None

    def values(self, name: bytes) -> list[bytes]:
        """The values of a header, by its name in lower case."""
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True)
class Answer:
    """One final answer."""

    status: int
    headers: Headers
    body: bytes
    is_whole: bool

    def value(self, name: bytes) -> bytes:
        """The header's first value, or nothing."""
        return next((value for key, value in self.headers if key == name), b"")


def requests(stream: bytes) -> list[Request]:
    """The requests of a caller's stream up to its end, or to the first byte that is no HTTP."""
    found: list[Request] = []
    while stream:
        # A server ignores one empty line before a request (RFC 9112, section 2.2); h11 does not.
        request, stream = _request(stream.removeprefix(b"\r\n"))
        if request is None:
            break
        found.append(request)
    return found


def _request(stream: bytes) -> tuple[Request | None, bytes]:
    """The first request of a stream, and what follows it where another one may."""
    connection = h11.Connection(h11.SERVER, MAX_HEAD_BYTES)
    connection.receive_data(stream)
    connection.receive_data(b"")
    found: Request | None = None
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return found, b""
        if isinstance(event, h11.Request):
            found = Request(event.method, event.target, list(event.headers))
        elif isinstance(event, h11.Data) and found is not None:
            found.body += event.data
        elif isinstance(event, h11.EndOfMessage) and found is not None:
            found.is_whole = True
            if connection.their_state is h11.MIGHT_SWITCH_PROTOCOL:
                found.rest = bytes(connection.trailing_data[0])
            # Nothing is switched, so the next request follows, unless this one is the last.
            is_refused = found.method == b"CONNECT"
            length = [] if is_refused else [(b"Content-Length", b"0")]
            connection.send(h11.Response(status_code=400 if is_refused else 200, headers=length))
            connection.send(h11.EndOfMessage())
            is_more = connection.our_state is h11.DONE and connection.their_state is h11.DONE
            return found, bytes(connection.trailing_data[0]) if is_more else b""
        else:
            return found, b""


def answers(data: bytes, methods: list[bytes], *, is_over: bool = True) -> tuple[list[Answer], bytes]:
    """The final answers in what came back, and the bytes behind a 101.

    Raises:
        h11.RemoteProtocolError: it is no HTTP.
    """
    found: list[Answer] = []
    while data:
        method = methods[len(found)] if len(found) < len(methods) else b"GET"
        connection = h11.Connection(h11.CLIENT, MAX_HEAD_BYTES)
        # Only what decides whether an answer has a body matters here.
        offers = [(b"Upgrade", b"any"), (b"Connection", b"Upgrade")]
        sent = b"HEAD" if method == b"HEAD" else b"GET"
        connection.send(h11.Request(method=sent, target="/", headers=[(b"Host", b"x"), *offers]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(data)
        if is_over:
            connection.receive_data(b"")
        head: h11.Response | h11.InformationalResponse | None = None
        body = bytearray()
        is_whole = is_promised = False
        while not is_whole:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError:
                if head is None and is_promised:
                    return found, data
                if head is None:
                    raise
                # A body that was broken off.
                break
            if isinstance(event, h11.InformationalResponse) and event.status_code == 100:
                is_promised = True
                continue
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                found.append(Answer(101, list(event.headers), b"", True))
                return found, bytes(connection.trailing_data[0])
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                is_whole = True
            elif event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                break
        if head is None:
            return found, data
        found.append(Answer(head.status_code, list(head.headers), bytes(body), is_whole))
        closes = b"close" in found[-1].value(b"connection").lower()
        # What follows an answer that is the last one is its body, where HEAD was asked for and not known.
        data = bytes(connection.trailing_data[0]) if is_whole and not closes else b""
    return found, b""
