# SPDX-License-Identifier: Apache-2.0
"""The library's state of one connection, with what it lacks: less of what is over, errors by their own codes.

What the library takes for the end of a connection, and so of all its streams, is the end of one stream here
where the protocol says so.
"""

from collections.abc import Iterable
from functools import partial

import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs
from h2.stream import H2Stream, StreamInputs
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.struct import Header, HeaderTuple
from hyperframe.frame import Frame

from watchword.gate.http2.field_compression import CountingEncoder, RememberingDecoder, TablelessEncoder
from watchword.gate.http2.limits import MAX_CLOSED_STREAMS


class CompressionError(h2.exceptions.ProtocolError):
    """A block of fields that cannot be read, so that none behind it can (RFC 9113, section 4.3)."""

    error_code = h2.errors.ErrorCodes.COMPRESSION_ERROR


class _Decoder(RememberingDecoder):
    """Says which error it is; for the library, each is one of the protocol."""

    def decode(self, data: bytes, raw: bool = True) -> list[HeaderTuple]:
        try:
            return super().decode(data, raw)
        except OversizedHeaderListError:
            raise
        except HPACKError as why:
            raise CompressionError(str(why)) from why


class LibraryConnection(h2.connection.H2Connection):
    """The library's state, with less of what is over: a connection may live for a million requests."""

    MAX_CLOSED_STREAMS = MAX_CLOSED_STREAMS

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        most = self.decoder.max_header_list_size
        self.decoder = _Decoder()
        self.decoder.max_header_list_size = most
        self.encoder: CountingEncoder = TablelessEncoder() if config.client_side else CountingEncoder()

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> H2Stream:
        stream = super()._begin_new_stream(stream_id, allowed_ids)
        # For the library, a body of a wrong length is the end of the connection, and so of all other streams;
        # and it misses the one that ends with trailers. Both are looked for by us.
        stream._initialize_content_length = _leave_alone  # type: ignore[method-assign]
        if self.config.client_side:
            stream.receive_headers = partial(_receive_headers, stream)  # type: ignore[method-assign]
        return stream


def _leave_alone(headers: object) -> None:
    del headers


def _receive_headers(
    stream: H2Stream, headers: Iterable[Header], end_stream: bool, header_encoding: bool | str | None
) -> tuple[list[Frame], list[h2.events.Event]]:
    """Take a head that an app sent; one for a stream that was left is passed over.

    For the library, an early head (1xx) for such a stream is the end of the connection, and so of all other
    streams; it was under way when the reset came (RFC 9113, section 5.1).
    """
    if stream.closed:
        stream.state_machine.process_input(StreamInputs.RECV_HEADERS)
    return H2Stream.receive_headers(stream, headers, end_stream, header_encoding)
