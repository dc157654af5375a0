# SPDX-License-Identifier: Apache-2.0
"""Who may see the pages: the one browser that opened the one-time link, and no other page's script in it.

The link is in a file that only its owner reads, as a page that leads there: a browser that is started with
the file's name has no secret among its arguments, where every user of the machine could read it.
"""

import contextlib
import errno
import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Final

COOKIE: Final = "watchword_console"
LINK_PREFIX: Final = "/open/"
_SECRET_BYTES: Final = 32
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={url}">
<title>Watchword console</title>
</head>
<body>
<p><a href="{url}">Open the console</a></p>
<p>The link works once. Keep it to yourself: it opens the console with your rights.</p>
</body>
</html>
"""


class Session:
    """One session, opened by one link.

    Attributes:
        host: the name that the console is served under.
    """

    def __init__(self) -> None:
        """Choose the host name and the link's secret at random."""
        # Cookies ignore ports: under a name of its own, no other page of this machine gets this one's.
        self.host = f"watchword-{secrets.token_hex(10)}.localhost"
        self._link: str | None = secrets.token_urlsafe(_SECRET_BYTES)
        self._link_digest = _digest(self._link)
        self._session_digest: bytes | None = None

    @property
    def was_opened(self) -> bool:
        """Whether the link was used."""
        return self._session_digest is not None

    def link(self, port: int) -> str:
        """The one-time link.

        Raises:
            ValueError: it was taken out before: it is written to one file, once.
        """
        if self._link is None:
            raise ValueError("the link was given out")
        link, self._link = self._link, None
        return f"http://{self.host}:{port}{LINK_PREFIX}{link}"

    def open(self, given: str) -> str | None:
        """Use the link: the value of the session's cookie; None: it is not the link, or was used."""
        if self._session_digest is not None or not hmac.compare_digest(_digest(given), self._link_digest):
            return None
        value = secrets.token_urlsafe(_SECRET_BYTES)
        self._session_digest = _digest(value)
        return value

    def holds(self, cookie_header: str) -> bool:
        """Whether a Cookie header has the session's cookie."""
        if self._session_digest is None:
            return False
        for each in cookie_header.split(";"):
            name, equals, value = each.strip().partition("=")
            if name == COOKIE and equals and hmac.compare_digest(_digest(value), self._session_digest):
                return True
        return False


def set_cookie(value: str) -> str:
    """The Set-Cookie header of a session. Not `Secure`: the page is on loopback, without TLS."""
    return f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict"


class LinkFile:
    """The file that leads to the link; of mode 0600, in a folder of mode 0700."""

    def __init__(self, url: str) -> None:
        """Write it.

        Raises:
            OSError: it cannot be written.
        """
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        # A relative one is invalid (XDG Base Directory Specification), and no `file:` URL could name it.
        is_there = Path(runtime).is_absolute() and Path(runtime).is_dir()
        parent = Path(runtime if is_there else tempfile.gettempdir())
        _refuse_folder_of_others(parent)
        # `mkdtemp` makes the folder with mode 0700, under a name that was not there.
        self._folder = Path(tempfile.mkdtemp(prefix="watchword-console-", dir=parent))
        self.path = self._folder / "open.html"
        with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(_PAGE.format(url=url))

    def remove(self) -> None:
        """Remove it; the link in it was used, or ends with the process."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
            self._folder.rmdir()


def _refuse_folder_of_others(folder: Path) -> None:
    """Refuse a folder in which another user could put a page of theirs in the place of ours.

    Raises:
        OSError: there is such a user; or the folder cannot be looked at.
    """
    found = folder.stat()
    is_open = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
    if is_open or found.st_uid not in {0, os.geteuid()}:
        raise PermissionError(errno.EPERM, f"{str(folder)!a} is a folder that another user may change")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
