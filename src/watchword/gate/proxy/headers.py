# SPDX-License-Identifier: Apache-2.0
"""Which headers go on, in both directions.

Per-connection headers end here (RFC 9110, section 7.6.1), and so does whatever would let a caller or an
app speak as the gate, or carry a second method, path, origin or identity past the one that was decided:
`watchword.trust.request_headers` lists them, and every spelling that an app could fold into one is dropped.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from watchword.gate.authority import AUTHORITY
from watchword.trust.request_headers import fold, is_dropped

Headers = list[tuple[bytes, bytes]]

_PER_CONNECTION: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# `Connection` may name any header to be dropped, but not those that say what the message is.
_NEVER_NAMED: Final = frozenset({b"host", b"content-length", b"content-type"})
_OURS: Final = b"x-watchword-"
_WITHOUT_LENGTH: Final = frozenset({*range(100, 200), 204, 304})
# What is found out about a name is kept for so many, of names up to so many bytes: a caller invents others.
_REMEMBERED_NAMES: Final = 1024
_MAX_REMEMBERED_BYTES: Final = 64
_NONE: Final[frozenset[bytes]] = frozenset()


class UnfitHeaderError(ValueError):
    """A header that cannot be passed on as it came."""


def is_ours(name: bytes) -> bool:
    """Whether an app could take this header's name for one of the gate's (CVE-2025-64484)."""
    return fold(name).startswith(_OURS)


def to_app(
    given: Iterable[tuple[bytes, bytes]],
    identity: Iterable[tuple[bytes, bytes]],
    client: str,
    scheme: str,
    passed: frozenset[bytes] = frozenset(),
    *,
    token: bytes = b"",
    replaced: frozenset[bytes] = _NONE,
) -> Headers:
    """The headers that the app gets.

    Args:
        given: the request's headers, names in lower case.
        identity: the headers of the decision.
        client: the address that the connection came from; empty when unknown.
        scheme: `http` or `https`, as the caller spoke.
        passed: names in lower case that the service lets through (`spec.proxy.passHeaders`).
        token: the caller's; no header that holds it goes on. Nothing: none is looked for.
        replaced: names in lower case of what the gate sends itself instead.

    Raises:
        UnfitHeaderError: a value that is not UTF-8, two Host headers, a Host that is neither empty nor a host
            and a port (RFC 9112, section 3.2), or a token in a header of the message.
    """
    given = list(given)
    dropped = _named_in_connection(given)
    if replaced:
        dropped |= replaced
    kept: Headers = []
    hosts = []
    for pair in given:
        name, value = pair
        if name == b"host":
            hosts.append(value)
        is_short = len(name) <= _MAX_REMEMBERED_BYTES
        is_kept_back = _is_dropped(name, passed) if is_short else is_dropped(name, passed)
        if is_kept_back or name in dropped:
            continue
        if token and token in value:
            if name in _NEVER_NAMED:
                raise UnfitHeaderError("a header that says what the message is holds the token")
            continue
        if not value.isascii() and not _is_utf8(value):
            raise UnfitHeaderError("a header's value is not UTF-8")
        kept.append(pair)
    if len(hosts) > 1:
        raise UnfitHeaderError("there are two Host headers")
    if hosts and hosts[0] and AUTHORITY.fullmatch(hosts[0]) is None:
        raise UnfitHeaderError("its Host is not a host and a port, and an app could read a path out of it")
    kept += [pair for pair in identity if is_ours(pair[0])]
    if client:
        kept.append((b"x-forwarded-for", client.encode()))
    kept.append((b"x-forwarded-proto", scheme.encode()))
    if hosts:
        kept.append((b"x-forwarded-host", hosts[0]))
    return kept


def to_caller(answered: Iterable[tuple[bytes, bytes]], status: int) -> Headers:
    """The headers that the caller gets: an app cannot answer in the gate's name."""
    given = [(name.lower(), value) for name, value in answered]
    dropped = _named_in_connection(given)
    if status in _WITHOUT_LENGTH:
        # These have no body, whatever length is said (RFC 9110, section 8.6).
        dropped = dropped | {b"content-length"}
    return [pair for pair in given if not (pair[0] in dropped or _stays_here(pair[0]))]


def has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request says that it has a body (RFC 9112, section 6)."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
        for name, value in headers
    )


def _named_in_connection(given: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    values = [value for name, value in given if name == b"connection"]
    if not values:
        return _NONE
    named = {token.strip().lower() for value in values for token in value.split(b",")}
    return frozenset(named) - _NEVER_NAMED


@lru_cache(_REMEMBERED_NAMES)
def _is_dropped(name: bytes, passed: frozenset[bytes]) -> bool:
    return is_dropped(name, passed)


def _stays_here(name: bytes) -> bool:
    """Whether a header of an answer is about this connection, or the gate's own to say."""
    return _is_of_gate(name) if len(name) <= _MAX_REMEMBERED_BYTES else is_ours(name)


@lru_cache(_REMEMBERED_NAMES)
def _is_of_gate(name: bytes) -> bool:
    return name in _PER_CONNECTION or is_ours(name)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
