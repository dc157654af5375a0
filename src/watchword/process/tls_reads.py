# SPDX-License-Identifier: Apache-2.0
"""What a TLS connection reads at a time: two records, whatever the network has.

Event loops read 256 KiB at once for TLS, and hold that three times on the way: in a buffer of the connection,
in OpenSSL's, and decrypted. A loop reads from all connections in one turn; one that was closed in it gives
its buffers back in the next one. So two hundred callers took 70 MiB in a turn, of which a server's budget saw
a part. And only where reads are short is a caller paused who sends more than it may.
"""

import asyncio
import sys
from asyncio.sslproto import SSLProtocol
from typing import Any, Final

# A record has at most 2^14 bytes, a head of 5 and what encryption adds (RFC 8446, section 5.2). With two at a
# time an upload takes no more of a processor than with 256 KiB; with one it takes half as much again.
READ_BYTES: Final = 2 * (16 * 1024 + 5 + 256)

# What waits below TLS, in the loop's own queue, where anything waits in TLS.
_QUEUE_BYTES: Final = 64 * 1024

# asyncio gives each TLS connection a zeroed buffer of 256 KiB; uvloop's takes pages when they are used.
SSLProtocol.max_size = 16 * 1024


def tls_protocol_of(loop: asyncio.AbstractEventLoop) -> type[Any]:
    """The class by which an event loop speaks TLS: uvloop's own on uvloop, else asyncio's."""
    # Not imported: programs that run on asyncio's loop have nothing to do with uvloop.
    compiled = sys.modules.get("uvloop.loop")
    if compiled is not None and isinstance(loop, compiled.Loop):
        own: type[Any] = compiled.SSLProtocol
        return own
    return SSLProtocol


def waiting_bytes(transport: asyncio.WriteTransport, *, is_tls: bool) -> int:
    """How many bytes a connection holds of what its peer has not taken, what waits below TLS included."""
    waiting = transport.get_write_buffer_size()
    return waiting + _QUEUE_BYTES if waiting and is_tls else waiting


class TlsReads(asyncio.BufferedProtocol):
    """Stands between a connection and its TLS protocol, and lends the loop a short buffer to read into."""

    def __init__(self, tls: Any) -> None:
        """Stand before a TLS protocol that is made and not connected yet."""
        self._tls = tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._tls.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """At most `READ_BYTES` of the TLS protocol's own buffer."""
        buffer: memoryview = self._tls.get_buffer(sizehint)
        return buffer[:READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes were read into it."""
        self._tls.buffer_updated(nbytes)

    def eof_received(self) -> bool | None:
        """The caller sends nothing more."""
        keeps_open: bool | None = self._tls.eof_received()
        return keeps_open

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended."""
        self._tls.connection_lost(exc)

    def pause_writing(self) -> None:
        """The caller takes no more for now."""
        self._tls.pause_writing()

    def resume_writing(self) -> None:
        """The caller takes more."""
        self._tls.resume_writing()
