# SPDX-License-Identifier: Apache-2.0
"""A strict HTTP/1.1 response parser for a client whose server is not to be believed in everything.

It differs from the request parser in what a head says about the end of a message (RFC 9112, section 6.3): the
answer to HEAD has no body whatever its head says, and one without a length ends with its connection. The
mistake to prevent is a body whose rest is taken for the answer to the next request on the connection.
"""

import re
from typing import Any, Final

from watchword.process.http_parser import BadRequestError, Fields, MessageParser, Receiver, has_token

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")
_BEGINNING: Final = b"HTTP/1."
_WITHOUT_BODY: Final = frozenset({204, 304})
_FIRST_FINAL: Final = 200
# An app answers with few heads again and again: the same bytes mean the same, and are read once.
_MAX_KEPT_BYTES: Final = 1024
_MAX_KEPT: Final = 128


class ResponseHead:
    """What a response's head says, whatever was asked.

    Attributes:
        status: 100 to 999.
        http_minor: 1 for HTTP/1.1, 0 for HTTP/1.0.
        headers: names in lower case, values without the white space around them.
        length: its Content-Length; None: there is none.
        is_chunked: its body comes in chunks.
        keeps_alive: another response may follow on the connection.
        plain_length: its length, where it is final, keeps its connection and ends with that length, unless it
            answers HEAD; else -1.
        derived: what a reader has made of it, kept with it.
    """

    __slots__ = (
        "derived",
        "headers",
        "http_minor",
        "is_chunked",
        "keeps_alive",
        "length",
        "plain_length",
        "status",
    )

    def __init__(self, status: int, http_minor: int, headers: Fields) -> None:
        """Say what follows from no header."""
        self.status, self.http_minor, self.headers = status, http_minor, headers
        self.length: int | None = None
        self.plain_length = -1
        self.is_chunked, self.keeps_alive = False, http_minor == 1
        self.derived: Any = None


class ResponseHeads:
    """The heads that were read last, by their bytes. For one thread."""

    def __init__(self) -> None:
        self._known: dict[bytes, ResponseHead] = {}

    def get(self, head: bytes) -> ResponseHead | None:
        """What these bytes say, if it is known."""
        return self._known.get(head)

    def keep(self, head: bytes, said: ResponseHead) -> None:
        """Remember what these bytes say, as long as there is room."""
        if len(head) > _MAX_KEPT_BYTES:
            return
        if len(self._known) >= _MAX_KEPT:
            self._known.clear()
        self._known[head] = said


class ResponseParser(MessageParser):
    """Reads the responses of one connection; behind a final one it stands until `begin`.

    Attributes:
        head: of the present response.
        ends_with_connection: its body goes on until the connection ends.
    """

    head = ResponseHead(0, 1, [])
    ends_with_connection = False
    _is_head_request = False

    def __init__(
        self,
        receiver: Receiver,
        heads: ResponseHeads,
        *,
        max_head_bytes: int,
        max_headers: int,
        max_trailer_bytes: int,
        max_trailers: int,
    ) -> None:
        """Tell a receiver; bounds in bytes and numbers. `heads` are shared by all connections to one app."""
        super().__init__(
            receiver,
            max_head_bytes=max_head_bytes,
            max_headers=max_headers,
            max_message_bytes=float("inf"),
            max_trailer_bytes=max_trailer_bytes,
            max_trailers=max_trailers,
        )
        self._heads = heads

    def begin(self, *, is_head_request: bool) -> None:
        """Read the response to the next request."""
        self._is_head_request, self.is_paused = is_head_request, False

    def read_whole(self, data: bytes) -> int:
        """Read a final response with a known head, if that is all of this data.

        Returns:
            Where its body begins; `head` and `has_body` are set as for a receiver's `on_head`, and the parser
            stands behind it. 0: it is something else, for `feed_data`, and nothing was done.
        """
        if self.held or self.is_paused or self._is_head_request or not self.is_in_head or self._is_stopped:
            return 0
        end = data.find(b"\r\n\r\n") + 2
        head = self._heads.get(data[:end])
        if head is None or head.plain_length < 0 or len(data) != end + 2 + head.plain_length:
            return 0
        self.head, self.has_body = head, head.plain_length > 0
        self.keeps_alive = self.is_paused = True
        return end + 2

    def end_of_stream(self) -> bool:
        """The connection ended; whether the response that was read is whole now."""
        if not self.ends_with_connection or self.is_in_head:
            return False
        self.ends_with_connection = False
        self._end()
        return True

    def _head(self, data: bytes | bytearray, at: int) -> int:
        end = data.find(b"\r\n\r\n", max(at, at + self._searched - 3))
        if end < 0 or end - at > self._max_head_bytes:
            begun = data[at : at + len(_BEGINNING)]
            if not _BEGINNING.startswith(begun):
                raise BadRequestError("it does not begin with HTTP/1.")
            if (end if end >= 0 else len(data)) - at > self._max_head_bytes:
                raise BadRequestError(f"the head has more than {self._max_head_bytes} bytes", 431)
            self._look_for_bare_line_feed(data, at, at)
            return -1
        self._searched = 0
        raw = bytes(data[at : end + 2])
        head = self._heads.get(raw)
        if head is None:
            head = self._read_head(raw)
            self._heads.keep(raw, head)
        self.head, self._overhead = head, 0
        self._expect_body(head)
        receiver = self._receiver
        receiver.on_head()
        if not self.has_body and head.status >= _FIRST_FINAL:
            self._end()
        return end + 4

    def _read_head(self, raw: bytes) -> ResponseHead:
        line_end = raw.find(b"\r\n")
        line = _STATUS_LINE.fullmatch(raw, 0, line_end)
        if line is None:
            raise BadRequestError("the first line is not HTTP/1.1 or HTTP/1.0 and a status of three digits")
        headers = self._fields(raw, line_end + 2, self._max_headers)
        head = ResponseHead(int(line[2]), 1 if line[1] == b"1" else 0, headers)
        lengths, coding, length = 0, None, None
        for name, value in headers:
            if name == b"content-length":
                lengths, length = lengths + 1, value
            elif name == b"connection":
                head.keeps_alive = head.keeps_alive and not has_token(value, b"close")
            elif name == b"transfer-encoding":
                if coding is not None:
                    raise BadRequestError("there are two Transfer-Encoding headers")
                coding = value
        self.http_minor = head.http_minor
        if length is not None:
            head.length = self._length(length, lengths)
        if coding is not None:
            self._check_coding(coding, lengths)
            head.is_chunked = True
        is_final = head.status >= _FIRST_FINAL and head.status not in _WITHOUT_BODY
        if head.length is not None and is_final and head.keeps_alive:
            head.plain_length = head.length
        return head

    def _expect_body(self, head: ResponseHead) -> None:
        self.has_body = self.ends_with_connection = False
        self.is_in_head, self._step = True, self._head
        status = head.status
        # What ends the connection is the final response's word.
        self.keeps_alive = head.keeps_alive or status < _FIRST_FINAL
        if self._is_head_request or status in _WITHOUT_BODY or status < _FIRST_FINAL:
            return
        if head.is_chunked:
            self._step = self._chunk_line
        elif head.length is None:
            self.ends_with_connection, self.keeps_alive, self._step = True, False, self._rest
        elif head.length:
            self._left, self._step = head.length, self._length_body
        else:
            return
        self.has_body, self.is_in_head = True, False

    def _rest(self, data: bytes | bytearray, at: int) -> int:
        self._receiver.on_body(bytes(data[at:]) if at else bytes(data))
        return len(data)

    def _end(self) -> None:
        # Whatever follows was not asked for.
        self.is_paused = True
        super()._end()
