# SPDX-License-Identifier: Apache-2.0
"""An https URL, taken apart once and strictly, so that no two readers can see two hosts in it.

What cannot be read in one way only is refused: white space, controls, a backslash, a user name. Two targets
are of one origin when scheme, host and port are equal (RFC 6454, section 4); a credential never leaves it.
"""

import re
from typing import Final
from urllib.parse import urljoin, urlsplit

import msgspec

from watchword.operator.keys.errors import FetchError

MAX_URL_LENGTH: Final = 2048
# RFC 3986, section 2: what may stand in a URL at all.
_PLAIN: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?|[0-9a-f:.]+")
_PORTS: Final = {"https": 443, "http": 80}


class Target(msgspec.Struct, frozen=True):
    """Where a document is.

    Attributes:
        scheme: `https`, or `http` where that was allowed.
        host: a name or an address in lower case, without brackets.
        port: 1 to 65535.
        path: path and query, as they are sent.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """Host and port, for the Host header and for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_target(url: str, *, schemes: frozenset[str] = frozenset({"https"})) -> Target:
    """Take a URL apart.

    Args:
        url: as a person or a server wrote it.
        schemes: those that are allowed.

    Raises:
        FetchError: it is not a plain URL of such a scheme.
    """
    remedy = "use a plain https URL such as https://oidc.example.com/keys"
    if len(url) > MAX_URL_LENGTH or not _PLAIN.fullmatch(url):
        raise FetchError("the URL is too long, or has characters that no URL has", remedy)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise FetchError("the URL cannot be read", remedy) from None
    if parts.scheme not in schemes:
        raise FetchError("the URL is not an https URL; keys are fetched over HTTPS only", remedy)
    host = (parts.hostname or "").lower()
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise FetchError("the URL has a user name or a fragment", remedy)
    if not _HOST.fullmatch(host) or len(host) > 253 or port == 0:
        raise FetchError("the URL names no host", remedy)
    path = parts.path or "/"
    return Target(
        parts.scheme, host, port or _PORTS[parts.scheme], f"{path}?{parts.query}" if parts.query else path
    )


def follow(target: Target, location: str) -> Target:
    """Where a redirect leads (RFC 9110, section 10.2.2), on the same origin.

    Raises:
        FetchError: it leads elsewhere, or nowhere.
    """
    try:
        joined = urljoin(str(target), location[: MAX_URL_LENGTH + 1])
        there = parse_target(joined, schemes=frozenset(_PORTS))
    except (ValueError, FetchError):
        detail = f"{target.authority} redirects to what is no URL"
        raise FetchError(detail, "say the URL of the JWKS itself (jwksURL)", is_answer=True) from None
    if there.origin != target.origin:
        detail = f"{target.authority} redirects to another host, {there.scheme}://{there.authority}"
        remedy = "say that URL itself (jwksURL), if that host is meant to decide whom you trust"
        raise FetchError(detail, remedy, is_answer=True)
    return there
