# SPDX-License-Identifier: Apache-2.0
"""One small document over HTTPS, from an address that was checked, by a deadline that nothing outlives.

A name is resolved once, what it resolved to is judged, and exactly that is connected to, with the certificate
checked for the name: who holds the name's DNS cannot lead the second look-up elsewhere. A proxy from the
environment is never used: it would dial for us, unchecked. An endpoint can be endless at every place, so an
answer has bounds, and nothing is unpacked: an encoding that was not asked for is refused.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Final

import httptools
import msgspec

from watchword.identity.jwks import MAX_JWKS_BYTES
from watchword.kube.proxies import with_proxy_remedy
from watchword.operator.keys.addresses import AddressRules
from watchword.operator.keys.errors import FetchError
from watchword.operator.keys.url import Target, follow

# From the look-up of the name to the last byte, redirects included: a trickle meets it like a silence.
DEADLINE_SECONDS: Final = 15.0
CONNECT_SECONDS: Final = 5.0
MAX_REDIRECTS: Final = 3
_MAX_ADDRESSES: Final = 4
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_READ_BYTES: Final = 64 * 1024
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
            FetchError: it is too much, or no HTTP.
        """
        self._received += len(data)
        if self._received > MAX_ANSWER_BYTES:
            raise _too_large()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise _malformed() from None
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, FetchError):
                raise error.__context__ from None
            raise _malformed() from None

    def answer(self) -> Answer:
        """The answer; also where the connection's end is the body's end (RFC 9112, section 6.3).

        Raises:
            FetchError: the connection ended in the middle.
        """
        is_delimited = "content-length" in self._headers or "transfer-encoding" in self._headers
        if not self.is_complete and (self._status == 0 or is_delimited):
            raise FetchError("the connection was closed in the middle of the answer", "see why it was closed")
        return Answer(self._status, self._headers, bytes(self._body))

    # What httptools calls. It turns what they raise into an error of its own, with theirs as its context.

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which was not asked for."""
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
            raise FetchError(detail, "serve the JWKS as plain JSON", is_answer=True)
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


def _too_large() -> FetchError:
    return FetchError(f"the answer has more than {MAX_JWKS_BYTES} bytes", _REMEDY, is_answer=True)


def _malformed() -> FetchError:
    return FetchError("the answer is no HTTP/1.1", _REMEDY, is_answer=True)


Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as this machine's resolver gives them.

    Raises:
        OSError: there are none.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def settle(found: list[str] | Exception) -> None:
        if answer.done():
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def look_up() -> None:
        found: list[str] | Exception
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(address[0]) for *_, address in rows))
        except (OSError, UnicodeError) as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop ended meanwhile: no one waits any more
            loop.call_soon_threadsafe(settle, found)

    # A look-up blocks and can outlast our deadline: in a thread of its own it delays no other work,
    # and as a daemon not the end of the process either.
    threading.Thread(target=look_up, name="key-lookup", daemon=True).start()
    return await answer


@lru_cache(maxsize=256)
def tls_context(ca_bundle: str) -> ssl.SSLContext:
    """Verification of a server by these authorities.

    Args:
        ca_bundle: PEM certificates; empty: the system's authorities.

    Raises:
        FetchError: there is no usable certificate in it.
    """
    try:
        context = ssl.create_default_context(cadata=ca_bundle or None)
    except (OSError, ValueError, TypeError):  # TypeError: not ASCII
        raise FetchError("the CA bundle holds no usable certificate", "give PEM certificates") from None
    # Python 3.13 turns this on, and clusters' own authorities often lack what it asks for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    return context


async def get(
    target: Target,
    *,
    ca_bundle: str,
    addresses: AddressRules,
    headers: Mapping[str, str],
    resolver: Resolve = resolve,
) -> Answer:
    """Ask for a document; redirects are followed on its own origin, and nowhere else.

    Args:
        target: where it is.
        ca_bundle: PEM certificates of the authorities to trust; empty: the system's.
        addresses: what may be connected to.
        headers: to send besides Host; a credential among them reaches this origin only.
        resolver: from host and port to addresses.

    Raises:
        FetchError: there is no answer that could be taken.
    """
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            dial = await _checked(target, addresses, resolver)
            for _ in range(MAX_REDIRECTS + 1):
                answer = await _exchange(target, dial, ca_bundle, headers)
                if answer.status not in _REDIRECTS:
                    return answer
                target = follow(target, answer.headers.get("location", ""))
    except TimeoutError:
        detail = f"{target.authority} gave no whole answer within {DEADLINE_SECONDS:.0f} s"
        remedy = with_proxy_remedy("see whether it is well, and what is between", target.host)
        raise FetchError(detail, remedy) from None
    detail = f"{target.authority} redirects more than {MAX_REDIRECTS} times"
    raise FetchError(detail, "say the URL of the JWKS itself (jwksURL)", is_answer=True)


async def _checked(target: Target, addresses: AddressRules, resolver: Resolve) -> list[str]:
    try:
        found = await resolver(target.host, target.port)
    except (OSError, UnicodeError):
        remedy = with_proxy_remedy("check the URL and the DNS", target.host)
        raise FetchError(f"the name {target.host} has no address", remedy) from None
    # In order, so that what is said does not change with the order of an answer.
    for address in sorted(found):
        # One bad address refuses all: which of them is taken must not depend on the order of an answer.
        if (kind := addresses.refusal(address)) is not None:
            detail = f"{target.host} is at {address}, {kind}, where keys are not fetched from"
            remedy = "name a host on a network; --allow-key-address of the operator allows more"
            raise FetchError(detail, remedy)
    return found[:_MAX_ADDRESSES]


async def _exchange(target: Target, dial: list[str], ca_bundle: str, headers: Mapping[str, str]) -> Answer:
    reader, writer = await _connect(target, dial, ca_bundle)
    try:
        lines = [f"GET {target.path} HTTP/1.1", f"Host: {target.authority}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("ascii"))
        answer = AnswerReader()
        while not answer.is_complete:
            data = await reader.read(_READ_BYTES)
            if not data:
                break
            answer.feed(data)
        return answer.answer()
    except OSError as error:
        detail = f"the connection to {target.authority} broke: {_reason(error)}"
        raise FetchError(detail, "see whether it is well, and what is between") from None
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _connect(
    target: Target, dial: list[str], ca_bundle: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = tls_context(ca_bundle) if target.scheme == "https" else None
    why = "it has no address"
    for address in dial:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(
                    address,
                    target.port,
                    ssl=context,
                    server_hostname=target.host if context is not None else None,
                    limit=_READ_BYTES,
                )
        except ssl.SSLCertVerificationError as error:
            detail = f"the certificate of {target.authority} is not trusted: {error.verify_message}"
            raise FetchError(
                detail, "give the authority's certificate as caBundle, or fix the host"
            ) from None
        except ssl.SSLError as error:
            why = f"no TLS ({error.reason or 'the handshake failed'})"
        except TimeoutError:
            why = f"no connection within {CONNECT_SECONDS:.0f} s"
        except OSError as error:
            why = _reason(error)
        except (ValueError, UnicodeError):
            why = "that is no name of a host"
    detail = f"{target.authority} cannot be reached: {why}"
    raise FetchError(
        detail, with_proxy_remedy("check the URL, and that it is reachable from here", target.host)
    )


def _reason(error: OSError) -> str:
    return str(error.strerror or type(error).__name__).lower()
