# SPDX-License-Identifier: Apache-2.0
"""Which protocol a connection speaks: by ALPN where there is TLS, else by its first bytes.

A client with prior knowledge of HTTP/2 begins with a preface that no HTTP/1.1 request begins with (RFC 9113,
sections 3.3 and 3.4). `Upgrade: h2c` is not answered: its first request came in HTTP/1.1, with all that can
be read in two ways there.
"""

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from watchword.gate.protocol import TargetProtocol

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# In the order in which a server prefers them.
ALPN: Final = ("h2", "http/1.1")


def has_agreed_on_http2(transport: asyncio.BaseTransport) -> bool:
    """Whether a TLS connection has agreed on HTTP/2 (RFC 7301)."""
    link = transport.get_extra_info("ssl_object")
    return link is not None and link.selected_alpn_protocol() == "h2"


class FirstBytes(asyncio.Protocol):
    """Stands before the protocol of a connection until it is known which one it speaks."""

    def __init__(self, http1: "TargetProtocol", transport: asyncio.Transport) -> None:
        """Hand a connection over to its HTTP/1.1 protocol, or have that one begin HTTP/2."""
        self._http1, self._transport, self._held = http1, transport, b""

    def data_received(self, data: bytes) -> None:
        """Look at the first bytes, as many as it takes."""
        data = self._held + data
        if not PREFACE.startswith(data[: len(PREFACE)]):
            self._transport.set_protocol(self._http1)
            self._http1.data_received(data)
        elif len(data) >= len(PREFACE):
            self._http1.speak_http2(data)
        else:
            self._held = data

    def eof_received(self) -> None:
        """The caller says nothing more."""
        self._http1.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended before it was known."""
        self._http1.connection_lost(exc)

    def pause_writing(self) -> None:
        """The caller takes no more for now."""
        self._http1.pause_writing()

    def resume_writing(self) -> None:
        """The caller takes more."""
        self._http1.resume_writing()
