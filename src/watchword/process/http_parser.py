# SPDX-License-Identifier: Apache-2.0
"""A strict HTTP/1.1 parser: bytes in, messages out, one at a time and never further than asked.

What ends a request must not depend on who reads it (RFC 9112, section 11.2). So nothing is tolerated that
two parsers may take differently, an `Upgrade` never ends a message, and the parser stops behind a message
until it is told to go on: what waits there are bytes, not requests. The mistake to prevent is a body, a
trailer or a pipelined request that one side takes for something else.
"""

import re
from collections.abc import Callable
from typing import Final, Protocol

# Methods are case-sensitive, and clients and apps that fold them would act on another one than was decided.
_REQUEST_LINE: Final = re.compile(rb"([A-Z][A-Z_\-]{0,31}) ([!-~]+) HTTP/1\.([01])")
# By `translate`, which looks at a byte in a nanosecond: a token of a thousand bytes is in most heads.
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CONTROL: Final = bytes(each for each in (*range(32), 127) if each != 9)
_VALUE: Final = rb"[^\x00-\x08\x0a-\x1f\x7f]"
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})((?:;%b*)?)" % _VALUE)
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_WHITE: Final = b" \t"
_HOST, _LENGTH, _CODING, _CONNECTION = b"host", b"content-length", b"transfer-encoding", b"connection"
# What an app behind CGI or WSGI cannot tell from the header with a hyphen.
_TWINS: Final = frozenset({b"content_length", b"transfer_encoding"})
_FRAMING: Final = frozenset({_HOST, _LENGTH, _CODING, _CONNECTION, *_TWINS})
# A chunk's own line, extensions included. Nothing that we know sends more than a size.
_MAX_CHUNK_LINE: Final = 256
# How many bytes all chunks' lines may take beyond what chunks of a sensible size have (CVE-2023-39326).
_MAX_CHUNK_OVERHEAD: Final = 16 * 1024
_FREE_PER_CHUNK: Final = 16
# How much is parsed in one turn: a read may hold 40,000 chunks of a byte, and others wait meanwhile.
_STEPS_A_TURN: Final = 256

Fields = list[tuple[bytes, bytes]]


class BadRequestError(ValueError):
    """What came is no message that may be taken; the text says why, without a byte of what came.

    Attributes:
        status: 400, or 431 where a head or its trailers are too large.
    """

    def __init__(self, why: str, status: int = 400) -> None:
        """Say why."""
        super().__init__(why)
        self.status = status


class MessageTooLargeError(ValueError):
    """A message went on beyond its bound."""


class Receiver(Protocol):
    """Who is told of messages. May pause or stop the parser in each call."""

    def on_head(self) -> None:
        """A head is whole: the parser's attributes hold it."""

    def on_body(self, body: bytes) -> None:
        """A part of the body arrived."""

    def on_message_complete(self) -> None:
        """The message ended; its trailers, where it had any, were valid and are gone."""


class _NoOne:
    """Is told of the requests of a connection that is lost, of which there are none."""

    def on_head(self) -> None:
        """Nothing."""

    def on_body(self, body: bytes) -> None:
        """Nothing."""

    def on_message_complete(self) -> None:
        """Nothing."""


def _nothing(data: bytes | bytearray, at: int) -> int:
    """Take nothing."""
    del data, at
    return -1


_NO_ONE: Final[Receiver] = _NoOne()


class MessageParser:
    """Reads the messages of one connection: bodies, chunks and trailers; heads are a subclass's.

    Attributes:
        headers: names in lower case, values without the white space around them. Never those of trailers.
        http_minor: 1 for HTTP/1.1, 0 for HTTP/1.0.
        keeps_alive: whether another message may follow (RFC 9112, section 9.3).
        has_body: whether the present message's head announced one.
        is_chunked: whether that one comes in chunks.
        is_in_head: a head is read or waited for.
        held: bytes that wait, unread.
        is_paused: it stands behind a message, or it has had its turn.
        has_had_its_turn: others shall have theirs before it goes on: `resume` in the next turn of the loop.
    """

    def __init__(
        self,
        receiver: Receiver,
        *,
        max_head_bytes: int,
        max_headers: int,
        max_message_bytes: float,
        max_trailer_bytes: int,
        max_trailers: int,
    ) -> None:
        """Tell a receiver; bounds in bytes and numbers. A message is its head, body and trailers."""
        self._receiver = receiver
        self._max_head_bytes, self._max_headers = max_head_bytes, max_headers
        self._max_message_bytes = max_message_bytes
        self._max_trailer_bytes, self._max_trailers = max_trailer_bytes, max_trailers
        self.headers: Fields = []
        self.http_minor = 1
        self.keeps_alive, self.has_body, self.is_in_head = True, False, True
        self.is_chunked = False
        self._step: Callable[[bytes | bytearray, int], int] = self._head
        self.held = bytearray()
        self.is_paused = self._is_stopped = self._is_running = False
        self.has_had_its_turn = False
        # Where the search for a line's end goes on, in `_held`.
        self._searched = 0
        self._left, self._taken, self._overhead = 0, 0, 0

    @property
    def has_begun(self) -> bool:
        """Whether a part of a message, or of what follows it, has arrived and is not whole."""
        return bool(self.held) or not self.is_in_head

    def pause(self) -> None:
        """Read no further until `resume`."""
        self.is_paused = True

    def stop(self) -> bytes:
        """Read nothing any more, and return what was not read."""
        self._is_stopped = True
        rest = bytes(self.held)
        self.held.clear()
        return rest

    def release(self) -> None:
        """Stop for good, and hold neither the receiver nor what was read."""
        self.stop()
        self._receiver, self._step = _NO_ONE, _nothing
        self.headers = []

    def feed_data(self, data: bytes) -> None:
        """Read on, as far as may be; the rest is kept.

        Raises:
            BadRequestError: no request, or none that may be taken; nothing more is read.
            MessageTooLargeError: so it is.
        """
        if self._is_stopped:
            return
        if self.held or self.is_paused:
            self.held += data
            self._run(self.held)
        else:
            self._run(data)

    def resume(self) -> None:
        """Go on with what was kept; raises as `feed_data` does."""
        self.is_paused = self.has_had_its_turn = False
        if self.held and not self._is_stopped and not self._is_running:
            self._run(self.held)

    def _run(self, data: bytes | bytearray) -> None:
        at, steps, self._is_running = 0, 0, True
        try:
            while at < len(data) and not (self.is_paused or self._is_stopped):
                if steps == _STEPS_A_TURN:
                    self.is_paused = self.has_had_its_turn = True
                    break
                now = self._step(data, at)
                if now < 0:
                    break
                at, steps = now, steps + 1
        except BaseException:
            self.stop()
            raise
        finally:
            self._is_running = False
        if self._is_stopped:
            self.held.clear()
        elif data is self.held:
            del self.held[:at]
        elif at < len(data):
            self.held = bytearray(data[at:] if at else data)

    # Each step returns where it has come to, or -1 when it has to wait for more; then it took nothing.

    def _head(self, data: bytes | bytearray, at: int) -> int:
        raise NotImplementedError

    def _look_for_bare_line_feed(self, data: bytes | bytearray, at: int, start: int) -> None:
        searched = max(start, at + self._searched)
        if data.count(b"\n", searched) != data.count(b"\r\n", max(start, searched - 1)):
            raise BadRequestError("a line ends without CR")
        self._searched = len(data) - at

    def _fields(self, block: bytes, start: int, most: int) -> Fields:
        lines = block[start:-2].split(b"\r\n") if len(block) > start else []
        if len(lines) > most:
            raise BadRequestError(f"there are more than {most} headers")
        names, found = [], []
        for line in lines:
            name, colon, value = line.partition(b":")
            if not (name and colon):
                name = b"("
            names.append(name)
            found.append((name.lower(), value.strip(_WHITE)))
        # Nothing but the lines' own ends, and no name but of a token's characters.
        ends = 2 * len(lines) + (2 if start else 0)
        if len(block.translate(None, _CONTROL)) != len(block) - ends or b"".join(names).translate(
            None, _TOKEN
        ):
            raise BadRequestError("a header line is not NAME: VALUE and CRLF (RFC 9112, section 5)")
        return found

    def _frame_chunked(self, coding: bytes, lengths: int) -> None:
        self._check_coding(coding, lengths)
        self.has_body = self.is_chunked = True
        self._step = self._chunk_line

    def _check_coding(self, coding: bytes, lengths: int) -> None:
        if self.http_minor == 0:
            raise BadRequestError("Transfer-Encoding has no meaning in HTTP/1.0")
        if lengths:
            raise BadRequestError("there are both Transfer-Encoding and Content-Length")
        if coding.lower() != b"chunked":
            raise BadRequestError("Transfer-Encoding is not `chunked` alone")

    def _length(self, length: bytes, lengths: int) -> int:
        if lengths > 1 or _DIGITS.fullmatch(length) is None:
            raise BadRequestError("Content-Length is not one number")
        return int(length)

    def _frame_length(self, length: bytes, lengths: int) -> None:
        self._left = self._length(length, lengths)
        self.has_body, self._step = self._left > 0, self._length_body

    def _count(self, number: int) -> None:
        self._taken += number
        if self._taken > self._max_message_bytes:
            raise MessageTooLargeError

    def _length_body(self, data: bytes | bytearray, at: int) -> int:
        return self._body(data, at, is_chunk=False)

    def _chunk_body(self, data: bytes | bytearray, at: int) -> int:
        return self._body(data, at, is_chunk=True)

    def _body(self, data: bytes | bytearray, at: int, *, is_chunk: bool) -> int:
        number = min(self._left, len(data) - at)
        if number <= 0:
            return -1
        self._count(number)
        self._left -= number
        part = data if number == len(data) else data[at : at + number]
        self._receiver.on_body(bytes(part))
        if self._left == 0:
            if is_chunk:
                self._step = self._chunk_end
            else:
                self._end()
        return at + number

    def _line(self, data: bytes | bytearray, at: int, most: int, what: str) -> int:
        """Where the line ends; -1 when its end is not there."""
        end = data.find(b"\n", at + self._searched)
        if (end if end >= 0 else len(data)) - at > most:
            raise BadRequestError(f"{what} has more than {most} bytes", 431)
        if end < 0:
            self._searched = len(data) - at
            return -1
        if end == at or data[end - 1] != 0x0D:
            raise BadRequestError("a line ends without CR")
        self._searched = 0
        return end - 1

    def _chunk_line(self, data: bytes | bytearray, at: int) -> int:
        end = self._line(data, at, _MAX_CHUNK_LINE, "a chunk's line")
        if end < 0:
            return -1
        line = _CHUNK_LINE.fullmatch(data, at, end)
        if line is None:
            raise BadRequestError("a chunk's size is not a hexadecimal number")
        length = end + 2 - at
        self._count(length)
        self._left = int(line[1], 16)
        self._overhead = max(0, self._overhead + length - _FREE_PER_CHUNK - 2 * self._left)
        if self._overhead > _MAX_CHUNK_OVERHEAD:
            raise BadRequestError("its chunks are more framing than content")
        if self._left:
            self._step = self._chunk_body
        else:
            # The trailers' count begins.
            self._overhead, self._step = 0, self._trailers
        return end + 2

    def _chunk_end(self, data: bytes | bytearray, at: int) -> int:
        end = data[at : at + 2]
        if not b"\r\n".startswith(end):
            raise BadRequestError("a chunk goes on beyond its size")
        if len(end) < 2:
            return -1
        self._count(2)
        self._step = self._chunk_line
        return at + 2

    def _trailers(self, data: bytes | bytearray, at: int) -> int:
        if data.startswith(b"\r\n", at):
            block, end = b"", at
        else:
            found = data.find(b"\r\n\r\n", at + max(0, self._searched - 3))
            if (found if found >= 0 else len(data)) - at > self._max_trailer_bytes:
                raise BadRequestError(f"the trailers have more than {self._max_trailer_bytes} bytes", 431)
            if found < 0:
                self._look_for_bare_line_feed(data, at, at)
                return -1
            block, end = bytes(data[at : found + 2]), found + 2
        self._searched = 0
        self._count(end + 2 - at)
        try:
            fields = self._fields(block, 0, self._max_trailers)
        except BadRequestError:
            self._look_for_bare_line_feed(block, 0, 0)
            raise
        if any(name in _FRAMING for name, _ in fields):
            raise BadRequestError("a trailer says what only a head may say (RFC 9110, section 6.5.1)")
        self._end()
        return end + 2

    def _end(self) -> None:
        self.is_in_head, self._step = True, self._head
        if not self.keeps_alive:
            # What follows the last request of a connection is no request.
            self._is_stopped = True
        self._receiver.on_message_complete()


class RequestParser(MessageParser):
    """Reads the requests of one connection.

    Attributes:
        method: of the present request.
        target: its request target, as sent.
    """

    method = target = b""

    @property
    def announced_bytes(self) -> int:
        """How long the present body's head says that it is, before any of it was read; 0 for chunks."""
        return 0 if self.is_chunked or not self.has_body else self._left

    def _head(self, data: bytes | bytearray, at: int) -> int:
        start = at
        # One empty line before a request is skipped (RFC 9112, section 2.2).
        if data[at : at + 2] == b"\r\n":
            start = at + 2
        end = data.find(b"\r\n\r\n", start if self._searched < 4 else max(start, at + self._searched - 3))
        if end < 0 or end - start > self._max_head_bytes:
            self._look_early(data, at, start)
            if (end if end >= 0 else len(data)) - start > self._max_head_bytes:
                raise BadRequestError(f"the head has more than {self._max_head_bytes} bytes", 431)
            return -1
        self._searched = 0
        head = bytes(data[start : end + 2])
        try:
            self._take_head(head)
        except BadRequestError:
            # What would have been refused before the head was whole is refused for that reason.
            self._look_early(head, 0, 0)
            raise
        if self.has_body:
            self.is_in_head = False
            self._receiver.on_head()
        else:
            # As `_end` does it; most requests have no body.
            self._step, self._is_stopped = self._head, not self.keeps_alive
            self._receiver.on_head()
            self._receiver.on_message_complete()
        return end + 4

    def _take_head(self, head: bytes) -> None:
        line_end = head.find(b"\r\n")
        line = _REQUEST_LINE.fullmatch(head, 0, line_end)
        if line is None:
            raise BadRequestError("the first line is not METHOD, target and HTTP/1.1 or HTTP/1.0")
        self.headers = self._fields(head, line_end + 2, self._max_headers)
        self.method, self.target, minor = line.groups()
        self.http_minor = 1 if minor == b"1" else 0
        if self.method == b"CONNECT":
            raise BadRequestError("CONNECT is refused: nothing is tunnelled here")
        self._taken, self._overhead = len(head) + 2, 0
        self._frame()

    def _look_early(self, data: bytes | bytearray, at: int, start: int) -> None:
        """Refuse at once what can never become a head; the same bytes for the same reason, however cut."""
        first = data[start : start + 1]
        is_half_a_line_end = first == b"\r" and start == at and len(data) - at == 1
        if first and not (b"A" <= first <= b"Z") and not is_half_a_line_end:
            raise BadRequestError("it does not begin with a method")
        self._look_for_bare_line_feed(data, at, start)

    def _frame(self) -> None:
        """Find out how long the message is (RFC 9112, section 6.3); refuse what can be read in two ways."""
        hosts = lengths = 0
        coding = length = None
        keeps_alive = self.http_minor == 1
        for name, value in self.headers:
            if name not in _FRAMING:
                continue
            if name == _HOST:
                hosts += 1
            elif name == _CONNECTION:
                keeps_alive = keeps_alive and not has_token(value, b"close")
            elif name == _LENGTH:
                lengths, length = lengths + 1, value
            elif name in _TWINS:
                raise BadRequestError("a header's name is that of a framing header, with an underscore")
            elif coding is not None:
                raise BadRequestError("there are two Transfer-Encoding headers")
            else:
                coding = value
        if hosts > 1 or (hosts == 0 and self.http_minor == 1):
            raise BadRequestError("there is not one Host header (RFC 9112, section 3.2)")
        self.keeps_alive, self.has_body, self.is_chunked = keeps_alive, False, False
        if coding is not None:
            self._frame_chunked(coding, lengths)
        elif length is not None:
            self._frame_length(length, lengths)


def has_token(value: bytes, token: bytes) -> bool:
    """Whether a comma-separated header value has a token, given in lower case, among its elements."""
    return token in (each.strip(_WHITE) for each in value.lower().split(b","))
