# SPDX-License-Identifier: Apache-2.0
"""One HTTP answer out of bytes, within bounds: an endpoint can be endless at every place.

Nothing is unpacked: an encoding that was not asked for is refused, so that a kilobyte can never become a
gigabyte here.
"""

from typing import Final

import httptools
import msgspec

from watchword.identity.jwks import MAX_JWKS_BYTES
from watchword.operator.keys.failures import FetchFailed

# Everything that one answer may send: heads, chunk sizes and trailers included.
MAX_ANSWER_BYTES: Final = 2 * MAX_JWKS_BYTES
_REMEDY: Final = "check that the URL is that of a JWKS; one has a few KiB"


class Answer(msgspec.Struct, frozen=True):
    """A whole answer.

    Attributes:
        status: the HTTP status.
        headers: by lower-case name; where one was repeated, the last.
        body: its bytes.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class AnswerReader:
    """Feed it what arrives, until `is_complete`."""

    def __init__(self) -> None:
        self.is_complete = False
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._received = 0
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take what arrived.

        Raises:
            FetchFailed: it is too much, or no HTTP.
        """
        self._received += len(data)
        if self._received > MAX_ANSWER_BYTES:
            raise _too_large()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise _malformed() from None
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, FetchFailed):
                raise error.__context__ from None
            raise _malformed() from None

    def answer(self) -> Answer:
        """The answer; also where the connection's end is the body's end (RFC 9112, section 6.3).

        Raises:
            FetchFailed: the connection ended in the middle.
        """
        is_delimited = "content-length" in self._headers or "transfer-encoding" in self._headers
        if not self.is_complete and (self._status == 0 or is_delimited):
            raise FetchFailed(
                "the connection was closed in the middle of the answer", "see why it was closed"
            )
        return Answer(self._status, self._headers, bytes(self._body))

    # What httptools calls. It turns what they raise into an error of its own, with theirs as its context.

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody asked for."""
        if self._status == 0:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """A head is whole."""
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            # An interim answer, such as 103: the real one follows.
            self._headers.clear()
            return
        if self._headers.get("content-encoding", "identity").lower() != "identity":
            detail = "the answer is compressed, which was not asked for"
            raise FetchFailed(detail, "serve the JWKS as plain JSON", is_answer=True)
        self._status = status

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        if self.is_complete:
            raise _malformed()
        self._body += piece
        if len(self._body) > MAX_JWKS_BYTES:
            raise _too_large()

    def on_message_complete(self) -> None:
        """An answer has ended."""
        self.is_complete = self._status != 0


def _too_large() -> FetchFailed:
    return FetchFailed(f"the answer has more than {MAX_JWKS_BYTES} bytes", _REMEDY, is_answer=True)


def _malformed() -> FetchFailed:
    return FetchFailed("the answer is no HTTP/1.1", _REMEDY, is_answer=True)
