# SPDX-License-Identifier: Apache-2.0
"""One connection to an API server: requests out, answers in, and never a wait without an end.

A peer that vanished silently leaves a socket that reads nothing for hours. Each wait here has a
deadline, and the kernel is told to ask the peer as well.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator
from typing import Final

from watchword.kube.watch.answer import MAX_PAGE_BYTES, AnswerParser
from watchword.kube.watch.endpoint import Access
from watchword.kube.watch.problems import ProblemKind, WatchError

CONNECT_SECONDS: Final = 10.0
# An API server ends a request of its own after 60 seconds; until then it may wait for its store.
ANSWER_SECONDS: Final = 30.0
_READ_BYTES: Final = 64 * 1024
_AGENT: Final = "watchword"


class Connection:
    """A connection that speaks HTTP/1.1; use `connect` to make one, and close it."""

    def __init__(self, access: Access, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._access, self._reader, self._writer = access, reader, writer
        self._answer = AnswerParser()

    async def get(self, target: str, accept: str) -> AnswerParser:
        """Ask, and wait for the head of the answer. The answer before must be complete.

        Raises:
            WatchError: no head within 30 seconds, or none that is HTTP.
        """
        address = self._access.address
        host = f"[{address.host}]" if ":" in address.host else address.host
        token = self._access.token()
        lines = [
            f"GET {address.prefix}{target} HTTP/1.1",
            f"Host: {host}:{address.port}",
            f"Accept: {accept}",
            f"User-Agent: {_AGENT}",
            *([f"Authorization: Bearer {token}"] if token else []),
        ]
        self._writer.write("\r\n".join([*lines, "", ""]).encode("ascii"))
        self._answer = AnswerParser()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while not self._answer.status:
                    await self._read()
        except TimeoutError:
            detail = f"the API server did not answer within {ANSWER_SECONDS:.0f} seconds"
            remedy = "see whether it and its etcd are well; it is asked again"
            raise WatchError(ProblemKind.UNREACHABLE, detail, remedy) from None
        return self._answer

    async def whole_body(self, max_bytes: int = MAX_PAGE_BYTES) -> bytes:
        """The rest of the answer.

        Raises:
            WatchError: it is too large, or did not come within 30 seconds more.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while True:
                    for piece in self._answer.body():
                        body += piece
                    if len(body) > max_bytes:
                        detail = f"the API server's answer has more than {max_bytes} bytes"
                        raise WatchError(ProblemKind.TOO_LARGE, detail, "find the objects that are so large")
                    if self._answer.is_complete:
                        return bytes(body)
                    await self._read()
        except TimeoutError:
            detail = f"the API server's answer was not whole within {ANSWER_SECONDS:.0f} seconds"
            raise WatchError(
                ProblemKind.UNREACHABLE, detail, "see how busy it is and the way to it"
            ) from None

    async def beginning(self) -> bytes:
        """The first of an answer that is read for what it says, not for what it holds; never raises."""
        body = bytearray()
        with contextlib.suppress(WatchError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                while True:
                    for piece in self._answer.body():
                        body += piece
                    if self._answer.is_complete or len(body) >= _READ_BYTES:
                        break
                    await self._read()
        return bytes(body[:_READ_BYTES])

    async def pieces(self, deadline: float) -> AsyncGenerator[bytes, None]:
        """The body's pieces as they come, up to its end.

        Args:
            deadline: by the event loop's clock, in seconds.

        Raises:
            TimeoutError: the deadline passed.
            WatchError: the connection was cut.
        """
        while True:
            for piece in self._answer.body():
                yield piece
            if self._answer.is_complete:
                return
            async with asyncio.timeout_at(deadline):
                await self._read()

    def close(self) -> None:
        """Drop the connection, at once."""
        self._writer.transport.abort()

    async def _read(self) -> None:
        try:
            data = await self._reader.read(_READ_BYTES)
        except OSError as error:
            raise _cut(_reason(error)) from None
        if not data:
            raise _cut("it was closed before its end")
        self._answer.feed(data)


async def connect(access: Access) -> Connection:
    """Connect to the API server.

    Raises:
        WatchError: it cannot be reached, or its certificate is not trusted.
    """
    address, context = access.address, access.tls()
    where = f"{address.host}:{address.port}"
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                address.host,
                address.port,
                ssl=context,
                server_hostname=address.host if context is not None else None,
                limit=_READ_BYTES,
            )
    except ssl.SSLCertVerificationError as error:
        detail = f"the certificate of the API server at {where} is not trusted: {error.verify_message}"
        remedy = "name the file with this cluster's authority, and a host that its certificate names"
        raise WatchError(ProblemKind.UNTRUSTED, detail, remedy) from None
    except ssl.SSLError as error:
        detail = f"no TLS with {where}: {error.reason or 'the handshake failed'}"
        raise WatchError(ProblemKind.UNTRUSTED, detail, "check the URL and the client certificate") from None
    except TimeoutError:
        raise _unreachable(where, f"no connection within {CONNECT_SECONDS:.0f} seconds") from None
    except OSError as error:
        raise _unreachable(where, _reason(error)) from None
    except ValueError:
        # What the codec of host names says of one that cannot be.
        raise _unreachable(where, "that is no name of a host") from None
    _keep_alive(writer)
    return Connection(access, reader, writer)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Have the kernel find a peer that is gone: after 15 seconds of silence, in three tries of 5 seconds."""
    link = writer.get_extra_info("socket")
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _reason(error: OSError) -> str:
    return str(error.strerror or type(error).__name__).lower()


def _cut(why: str) -> WatchError:
    return WatchError(
        ProblemKind.CUT, f"the connection to the API server broke: {why}", "it is made again; nothing to do"
    )


def _unreachable(where: str, why: str) -> WatchError:
    remedy = "see whether the API server runs, and whether a NetworkPolicy or a firewall is between"
    return WatchError(ProblemKind.UNREACHABLE, f"the API server at {where} cannot be reached: {why}", remedy)
