# SPDX-License-Identifier: Apache-2.0
"""Which headers go on, in both directions.

Per-connection headers end here (RFC 9110, section 7.6.1), and so does whatever would let a caller or an
app speak as the gate: every spelling of `X-Watchword-*`, the credential, and claims about a request's origin.
"""

from collections.abc import Iterable
from typing import Final

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
# The caller's word about its own origin. What is true is set anew.
_ORIGIN: Final = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
)
_OURS: Final = b"x-watchword-"


class UnfitHeader(ValueError):
    """A header that cannot be passed on as it came."""


def is_ours(name: bytes) -> bool:
    """Whether an app could take this header's name for one of the gate's (CVE-2025-64484)."""
    return name.lower().replace(b"_", b"-").startswith(_OURS)


def to_app(
    given: Iterable[tuple[bytes, bytes]], identity: Iterable[tuple[bytes, bytes]], client: str, scheme: str
) -> Headers:
    """The headers that the app gets.

    Args:
        given: the request's headers, names in lower case.
        identity: the headers of the decision.
        client: the address that the connection came from; empty when unknown.
        scheme: `http` or `https`, as the caller spoke.

    Raises:
        UnfitHeader: a value that is not UTF-8, or two Host headers.
    """
    given = list(given)
    hosts = [value for name, value in given if name == b"host"]
    if len(hosts) > 1:
        raise UnfitHeader("there are two Host headers")
    dropped = _PER_CONNECTION | _ORIGIN | _named_in_connection(given) | {b"authorization", b"expect"}
    kept: Headers = []
    for name, value in given:
        folded = name.replace(b"_", b"-")
        # An app behind CGI or WSGI reads `x_forwarded_for` as the header with hyphens.
        if name in dropped or folded in _ORIGIN or folded == b"authorization" or is_ours(name):
            continue
        if not _is_utf8(value):
            raise UnfitHeader("a header's value is not UTF-8")
        kept.append((name, value))
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
    dropped = _PER_CONNECTION | _named_in_connection(given)
    if status in {204, 304}:
        # These have no body, whatever length is said (RFC 9110, section 8.6).
        dropped = dropped | {b"content-length"}
    return [(name, value) for name, value in given if name not in dropped and not is_ours(name)]


def has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request says that it has a body (RFC 9112, section 6)."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
        for name, value in headers
    )


def _named_in_connection(given: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    named = {
        token.strip().lower() for name, value in given if name == b"connection" for token in value.split(b",")
    }
    return frozenset(named) - _NEVER_NAMED


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
