# SPDX-License-Identifier: Apache-2.0
"""Where a token may go: an origin is scheme, host and port (RFC 6454, section 4).

A token opens one service. A client that sends it wherever a URL points hands it to the first host that a
redirect or a typing mistake names; an origin is what such a mistake is compared with.
"""

from typing import Final, NamedTuple

import httpx

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Scheme, host in lower case, and port (0 where the scheme has no default one)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """As in a URL, the port always written."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @classmethod
    def of(cls, url: httpx.URL) -> "Origin":
        """The origin that a request to this URL goes to."""
        port = _DEFAULT_PORTS.get(url.scheme, 0) if url.port is None else url.port
        return cls(url.scheme, url.host, port)

    @classmethod
    def parse(cls, text: str) -> "Origin":
        """Read `https://host` or `https://host:port`.

        Raises:
            ValueError: it is no http or https origin, or holds more than one (a path, a query, a user).
        """
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL:
            url = httpx.URL()
        if (
            url.scheme not in _DEFAULT_PORTS
            or not url.host
            or "*" in url.host
            or not (url.port is None or 0 < url.port < 65_536)
            or url.path != "/"
            or url.query
            or url.fragment
            or url.userinfo
        ):
            raise ValueError(
                f"An origin is http(s)://host or http(s)://host:port and nothing more, not {text!r}."
            )
        return cls.of(url)
