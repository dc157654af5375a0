# SPDX-License-Identifier: Apache-2.0
"""Where the app is, and which request targets can be passed on to it.

A target that is written otherwise than it was read could name another path than the one that a route
allowed; so what cannot be passed on byte for byte is not passed on.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from watchword.gate.proxy.headers import UnfitHeaderError

REMEDY = (
    "use http://HOST:PORT of the app, or h2c://HOST:PORT where it speaks HTTP/2 alone, such as a gRPC server"
)


class UpstreamError(ValueError):
    """A URL that no app is behind; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """The app's address.

    Attributes:
        host: a name or an address, without brackets.
        port: 1 to 65535.
        speaks_http2: the app speaks HTTP/2 with prior knowledge, and nothing else.
    """

    host: str
    port: int
    speaks_http2: bool = False

    @property
    def authority(self) -> str:
        """HOST:PORT as a URL has it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_upstream(text: str) -> UpstreamAddress:
    """Read `http://HOST:PORT` or `h2c://HOST:PORT`.

    Plain HTTP only: the app stands in the same pod, and its port is bound to loopback.

    Raises:
        UpstreamError: another scheme, no port, or something next to host and port.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UpstreamError(f"{text!a} is not a URL; {REMEDY}") from None
    if parts.scheme not in ("http", "h2c"):
        raise UpstreamError(f"{text!a} is not an http:// or h2c:// URL; {REMEDY}")
    if not host or not port:
        raise UpstreamError(f"{text!a} does not name a host and a port; {REMEDY}")
    if parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise UpstreamError(f"{text!a} has more than a host and a port; {REMEDY}")
    return UpstreamAddress(host, port, speaks_http2=parts.scheme == "h2c")


def check_target(target: bytes) -> None:
    """Check that a request target can be passed on byte for byte, by a request or by an upgrade.

    Raises:
        UnfitHeaderError: it has a fragment, which an app may cut off or take for a part of the path
            (RFC 9112, section 3.2).
    """
    if b"#" in target:
        raise UnfitHeaderError("the target has a fragment, which no request has")
