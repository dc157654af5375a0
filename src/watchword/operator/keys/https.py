# SPDX-License-Identifier: Apache-2.0
"""One small document over HTTPS, from an address that was checked, by a deadline that nothing outlives.

A name is resolved once, what it resolved to is judged, and exactly that is connected to, with the certificate
checked for the name: whoever holds the name's DNS cannot lead the second look-up elsewhere. A proxy from the
environment is never used: it would dial for us, unchecked.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Final

from watchword.operator.keys.addresses import AddressRules
from watchword.operator.keys.answer import Answer, AnswerReader
from watchword.operator.keys.failures import FetchFailed
from watchword.operator.keys.target import Target, follow

# From the look-up of the name to the last byte, redirects included: a trickle meets it like a silence.
DEADLINE_SECONDS: Final = 15.0
CONNECT_SECONDS: Final = 5.0
MAX_REDIRECTS: Final = 3
_MAX_ADDRESSES: Final = 4
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_READ_BYTES: Final = 64 * 1024

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
        with contextlib.suppress(RuntimeError):  # the loop ended meanwhile: nobody waits any more
            loop.call_soon_threadsafe(settle, found)

    # A look-up blocks and can outlast our deadline: in a thread of its own it holds up nobody else's work,
    # and as a daemon not the end of the process either.
    threading.Thread(target=look_up, name="key-lookup", daemon=True).start()
    return await answer


@lru_cache(maxsize=256)
def tls_context(ca_bundle: str) -> ssl.SSLContext:
    """Verification of a server by these authorities.

    Args:
        ca_bundle: PEM certificates; empty: the system's authorities.

    Raises:
        FetchFailed: there is no usable certificate in it.
    """
    try:
        context = ssl.create_default_context(cadata=ca_bundle or None)
    except (OSError, ValueError, TypeError):  # TypeError: not ASCII
        raise FetchFailed("the CA bundle holds no usable certificate", "give PEM certificates") from None
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
        FetchFailed: there is no answer that could be taken.
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
        raise FetchFailed(detail, "see whether it is well, and what is between") from None
    detail = f"{target.authority} redirects more than {MAX_REDIRECTS} times"
    raise FetchFailed(detail, "say the URL of the JWKS itself (jwksURL)", is_answer=True)


async def _checked(target: Target, addresses: AddressRules, resolver: Resolve) -> list[str]:
    try:
        found = await resolver(target.host, target.port)
    except (OSError, UnicodeError):
        raise FetchFailed(f"the name {target.host} has no address", "check the URL and the DNS") from None
    # In order, so that what is said does not change with the order of an answer.
    for address in sorted(found):
        # One bad address refuses all: which of them is taken must not depend on the order of an answer.
        if (kind := addresses.refusal(address)) is not None:
            detail = f"{target.host} is at {address}, {kind}, where keys are not fetched from"
            remedy = "name a host on a network; --allow-key-address of the operator allows more"
            raise FetchFailed(detail, remedy)
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
        raise FetchFailed(detail, "see whether it is well, and what is between") from None
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
            raise FetchFailed(
                detail, "give the authority's certificate as caBundle, or mend the host"
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
    raise FetchFailed(detail, "check the URL, and that it is reachable from here")


def _reason(error: OSError) -> str:
    return str(error.strerror or type(error).__name__).lower()
