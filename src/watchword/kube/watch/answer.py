# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 answers out of bytes, pure: head first, then the body's pieces as they come, each within bounds.

An answer can be endless at every place: a header, a line, a body. Whatever a caller does not bound here, a
server (or who speaks in its place) could use to fill this process's memory.
"""

from typing import Final

import httptools

from watchword.kube.watch.problems import ProblemKind, WatchError

MAX_HEAD_BYTES: Final = 32 * 1024
# One line of a watch, or one page of a list. An object has at most about 1.5 MiB in etcd; written as a JSON
# text in a JSON text it can take several times that.
MAX_LINE_BYTES: Final = 8 * 1024 * 1024
MAX_PAGE_BYTES: Final = 64 * 1024 * 1024
_REMEDY: Final = "check that the URL is that of a Kubernetes API server, and what stands between"


class AnswerParser:
    """One answer to a GET. Feed it what arrives; take what is there.

    Attributes:
        status: the HTTP status; 0 until the head is whole.
        is_complete: the body has ended.
    """

    def __init__(self) -> None:
        self.status = 0
        self.is_complete = False
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._overhead_bytes = 0
        self._has_head = False
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take what arrived.

        Raises:
            WatchError: it is no HTTP answer, or its head is too large.
        """
        if self.is_complete:
            # Line ends may stand between two answers (RFC 9112 section 2.2).
            if not data.strip(b"\r\n"):
                return
            raise _malformed("bytes after the end of an answer")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise _malformed("a switch to another protocol") from None
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, WatchError):
                raise cause from None
            raise _malformed("what is no HTTP/1.1 answer") from None
        # What came and was no body: a head, or chunk sizes and trailers, which httptools gathers unseen.
        self._overhead_bytes = 0 if self._pieces else self._overhead_bytes + len(data)
        self._bound_overhead()

    def body(self) -> list[bytes]:
        """The pieces of the body since the last time."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def header(self, name: bytes) -> bytes:
        """A header's value by its lower-case name; empty when it is not there."""
        return self._headers.get(name, b"")

    # What httptools calls. It turns what they raise into an error of its own, with theirs as its context.

    def on_message_begin(self) -> None:
        """Another answer begins."""
        if self._has_head:
            raise _malformed("two answers to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which was not asked for."""
        if not self._has_head:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The head is whole."""
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            # An interim answer, such as 103: the real one follows.
            self._headers.clear()
            return
        if self._headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise _malformed("an encoding that was not asked for")
        self.status, self._has_head = status, True

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """The answer has ended."""
        self.is_complete = self._has_head

    def _bound_overhead(self) -> None:
        if self._overhead_bytes > MAX_HEAD_BYTES:
            detail = f"the API server's answer has more than {MAX_HEAD_BYTES} bytes around its body"
            raise WatchError(ProblemKind.TOO_LARGE, detail, _REMEDY)


class LineSplitter:
    """Whole lines out of pieces of any size."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        """Refuse a line of more than this many bytes."""
        self._rest = bytearray()
        self._max_bytes = max_bytes

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that end in this piece, without their ends and without empty ones.

        Raises:
            WatchError: a line is too long.
        """
        first, newline, after = piece.partition(b"\n")
        if len(self._rest) + len(first) > self._max_bytes:
            raise self._too_long()
        self._rest += first
        if not newline:
            return []
        *middle, last = after.split(b"\n")
        lines = [bytes(self._rest), *middle]
        if max(map(len, (*middle, last)), default=0) > self._max_bytes:
            raise self._too_long()
        self._rest = bytearray(last)
        return [line for line in lines if line.strip()]

    def _too_long(self) -> WatchError:
        detail = f"the API server's watch has a line of more than {self._max_bytes} bytes"
        return WatchError(ProblemKind.TOO_LARGE, detail, "find and remove the object that is so large")


def _malformed(what: str) -> WatchError:
    return WatchError(ProblemKind.MALFORMED, f"the API server's answer holds {what}", _REMEDY)
