# SPDX-License-Identifier: Apache-2.0
"""Where the app is, and the one way to write a decided target for it.

A target that were written otherwise than it was read could name another path than the one that a route
allowed; so what cannot be passed on byte for byte is not passed on.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

REMEDY = "use http://HOST:PORT of the app, such as http://127.0.0.1:8080"


class UpstreamProblem(ValueError):
    """A URL that no app is behind; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """The app's address.

    Attributes:
        host: a name or an address, without brackets.
        port: 1 to 65535.
    """

    host: str
    port: int

    @property
    def authority(self) -> str:
        """HOST:PORT as a URL has it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_upstream(text: str) -> UpstreamAddress:
    """Read `http://HOST:PORT`.

    Plain HTTP only: the app stands in the same pod, and its port is bound to loopback.

    Raises:
        UpstreamProblem: another scheme, no port, or something beside host and port.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UpstreamProblem(f"{text!a} is not a URL; {REMEDY}") from None
    if parts.scheme != "http":
        raise UpstreamProblem(f"{text!a} is not an http:// URL; {REMEDY}")
    if not host or not port:
        raise UpstreamProblem(f"{text!a} does not name a host and a port; {REMEDY}")
    if parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise UpstreamProblem(f"{text!a} has more than a host and a port; {REMEDY}")
    return UpstreamAddress(host, port)
