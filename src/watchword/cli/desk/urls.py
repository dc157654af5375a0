# SPDX-License-Identifier: Apache-2.0
"""URLs of desks and of their providers: what may be asked, and what stays on this machine."""

from typing import Final
from urllib.parse import SplitResult, urlsplit

from watchword.cli.failures import UnusableInput
from watchword.cli.options import is_loopback
from watchword.cli.plain_text import plain

_SCHEMES: Final = frozenset({"http", "https"})


def checked_url(flag: str, url: str) -> str:
    """A URL with a scheme, a host and at most a path, without a slash at its end.

    Raises:
        UnusableInput: it is none. A URL that may hold a password is not repeated.
    """
    if "@" in url:
        raise UnusableInput(
            f"{flag} holds a user name or a password.", "Leave out what is before the @: a token is sent."
        )
    parts = _split(url)
    if parts is None or parts.scheme not in _SCHEMES or not parts.hostname:
        raise UnusableInput(
            f"{flag} {plain(url)} is no URL.", "Begin it with https:// or http://, and a host."
        )
    if "?" in url or "#" in url:
        raise UnusableInput(
            f"{flag} {plain(url)} has more than a path.", "End it with the host, the port, or the path."
        )
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path}".rstrip("/")


def is_private(url: str) -> bool:
    """Whether no one on the way reads what is sent there: it goes over TLS, or stays on this machine."""
    parts = _split(url)
    return parts is not None and (
        (parts.scheme == "https" and bool(parts.hostname)) or (parts.scheme == "http" and is_here(url))
    )


def is_here(url: str) -> bool:
    """Whether the host of a URL is this machine, by a name or an address that means nothing else."""
    parts = _split(url)
    return parts is not None and is_loopback(parts.hostname or "")


def _split(url: str) -> SplitResult | None:
    if not url.isascii() or not url.isprintable() or any(each in url for each in " \"'<>\\`{}|^"):
        return None
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port > 0 else None
    except ValueError:
        return None
