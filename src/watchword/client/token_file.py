# SPDX-License-Identifier: Apache-2.0
"""A projected token, read again whenever the kubelet has rotated it.

The kubelet renews a token at 80 % of its life by swapping the symlink `..data` to a new directory. A caller
that reads the file once fails when that first token expires; one that reads on a timer fails in between. So
each use looks at the file (one `stat`) and reads it when it is not the one that was read last.
https://kubernetes.io/docs/concepts/storage/projected-volumes/#serviceaccounttoken
"""

import os
import re
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from watchword.client.errors import (
    TokenFileEmpty,
    TokenFileMalformed,
    TokenFileMissing,
    TokenFileTooLarge,
    TokenFileUnreadable,
    TokenUnavailable,
)

DEFAULT_TOKEN_FILE: Final = "/var/run/secrets/watchword.dev/token"  # noqa: S105 - a path, not a secret
TOKEN_FILE_VARIABLE: Final = "WATCHWORD_TOKEN_FILE"  # noqa: S105 - a name, not a secret
DEFAULT_DESK_TOKEN_FILE: Final = "/var/run/secrets/desk.watchword.dev/token"  # noqa: S105 - as above
DESK_TOKEN_FILE_VARIABLE: Final = "WATCHWORD_DESK_TOKEN_FILE"  # noqa: S105 - as above
DESK_VARIABLE: Final = "WATCHWORD_DESK"
# The longest token that a gate reads (docs/reference/reasons.md, check 3).
MAX_TOKEN_FILE_BYTES: Final = 8192

# The coarsest time stamp of a file system in use. A file written in place within one tick of being read keeps
# its time stamp, so a younger file's token is not relied on (git calls such an index entry racily clean).
_SETTLED_SECONDS: Final = 2.0
# RFC 6750, section 2.1: b64token. Anything else would have to be repaired before it could be sent.
_TOKEN: Final = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")
_LOOKS_LIKE_A_TOKEN: Final = re.compile(r"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\s*")

_MOUNT: Final = (
    "Mount a projected token there: a volume with projected.sources[].serviceAccountToken, whose audience is "
    "one of the called service's audiences (of a token to exchange: the desk's status.audience) and whose "
    "path is the file's name."
)
_INJECTION: Final = (
    "Where Watchword's injection does that for you, this pod was not injected: it lacks the label "
    "watchword.dev/call (of a token to exchange: watchword.dev/exchange), or was created before the label or "
    "the webhook was there; create it again."
)

_Version = tuple[int, int, int, int, int]


class TokenSource(Protocol):
    """Where the token for the next request comes from."""

    def token(self) -> str:
        """Give the token to send now: asked before every request, and once more after a 401.

        Raises:
            TokenUnavailable: there is none.
        """
        ...


class _Reading:
    """What was read last. A class without a repr of its own, so that none shows the token."""

    __slots__ = ("settled", "token", "version")

    def __init__(self, version: _Version, token: str, *, settled: bool) -> None:
        self.version = version
        self.token = token
        self.settled = settled


class TokenFile:
    """A token source over a file that someone else keeps fresh. Safe to share between threads and tasks.

    Args:
        path: the token's file, not the token. It need not exist yet.
        clock: the present time in seconds since the epoch, as the file system's time stamps count it.

    Raises:
        ValueError: the path is empty, holds a NUL byte, or is a token.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        text = os.fspath(path)
        if not text or "\0" in text:
            raise ValueError("The path of a token file is neither empty nor holds a NUL byte.")
        if _LOOKS_LIKE_A_TOKEN.fullmatch(text):
            # Not quoted: as a path it would end in every message about a missing file.
            raise ValueError("TokenFile takes the path of the token's file; it was given a token.")
        self.path = Path(text)
        self._clock = clock
        self._reading: _Reading | None = None

    @classmethod
    def default(
        cls, environ: Mapping[str, str] = os.environ, *, clock: Callable[[], float] = time.time
    ) -> "TokenFile":
        """The file named by WATCHWORD_TOKEN_FILE, else /var/run/secrets/watchword.dev/token.

        Raises:
            ValueError: the variable is set, but not to a path (see TokenFile); nor is the empty text one.
        """
        return cls(environ.get(TOKEN_FILE_VARIABLE, DEFAULT_TOKEN_FILE), clock=clock)

    @classmethod
    def of_desk(
        cls, environ: Mapping[str, str] = os.environ, *, clock: Callable[[], float] = time.time
    ) -> "TokenFile":
        """The file named by WATCHWORD_DESK_TOKEN_FILE, else /var/run/secrets/desk.watchword.dev/token.

        Raises:
            ValueError: the variable is set, but not to a path (see TokenFile); nor is the empty text one.
        """
        return cls(environ.get(DESK_TOKEN_FILE_VARIABLE, DEFAULT_DESK_TOKEN_FILE), clock=clock)

    def __repr__(self) -> str:
        """The path, never the token."""
        return f"TokenFile({str(self.path)!r})"

    def __reduce__(self) -> tuple[type["TokenFile"], tuple[Path]]:
        """Copy and pickle by path: a pickled token would outlive its rotation, and lie about in a queue."""
        return type(self), (self.path,)

    def token(self) -> str:
        """The token as the file holds it now, white space at its ends removed.

        Raises:
            TokenFileMissing: there is no such file.
            TokenFileUnreadable: it cannot be read, or is not a regular file.
            TokenFileEmpty: it holds white space at most.
            TokenFileTooLarge: it is longer than 8 KiB.
            TokenFileMalformed: what it holds is not one token (RFC 6750, section 2.1).
        """
        reading = self._reading
        try:
            if reading is not None and reading.settled and _version(os.stat(self.path)) == reading.version:
                return reading.token
            reading = self._read()
        except OSError as error:
            raise self._unavailable(error) from error
        self._reading = reading
        return reading.token

    def _read(self) -> _Reading:
        # Time and version are taken before the content, so that a write in between shows at the next use.
        now = self._clock()
        # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise self._problem(
                    TokenFileUnreadable,
                    "is not a regular file.",
                    "Give the path of the token's file itself: it is read again after each rotation.",
                )
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(MAX_TOKEN_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
        age = now - max(status.st_mtime, status.st_ctime)
        return _Reading(_version(status), self._parse(content), settled=age >= _SETTLED_SECONDS)

    def _parse(self, content: bytes) -> str:
        if len(content) > MAX_TOKEN_FILE_BYTES:
            raise self._problem(
                TokenFileTooLarge,
                f"is longer than {MAX_TOKEN_FILE_BYTES} bytes.",
                "A projected token has about 1 KiB: check that the path names the token and no other file.",
            )
        token = content.strip()
        if not token:
            raise self._problem(
                TokenFileEmpty,
                "is empty.",
                "Replace it by renaming a complete file over it, so that it is empty at no time. " + _MOUNT,
            )
        if len(token.split()) > 1:
            raise self._problem(
                TokenFileMalformed,
                "holds white space inside, so it is not one token.",
                "Keep one token in the file, on one line, with nothing around it.",
            )
        if not _TOKEN.fullmatch(token):
            raise self._problem(
                TokenFileMalformed,
                "holds characters that no token has.",
                "Keep the token alone in the file: no quotes, no JSON, no byte order mark.",
            )
        return token.decode("ascii")

    def _unavailable(self, error: OSError) -> TokenUnavailable:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            return self._problem(
                TokenFileUnreadable,
                f"cannot be read: {error.strerror or type(error).__name__}.",
                "A projected token is readable by the pod's runAsUser, or by its fsGroup where one is set.",
            )
        if not self.path.parent.is_dir():
            return self._problem(
                TokenFileMissing, "does not exist, and neither does its directory.", f"{_MOUNT} {_INJECTION}"
            )
        return self._problem(
            TokenFileMissing,
            "does not exist, though its directory does.",
            f"Is serviceAccountToken.path {self.path.name!r}? {_MOUNT} {_INJECTION}",
        )

    def _problem(self, kind: type[TokenUnavailable], problem: str, remedy: str) -> TokenUnavailable:
        return kind(self.path, f"The token file {self.path} {problem}", remedy)


def _version(status: os.stat_result) -> _Version:
    """What differs once the file was replaced or rewritten; the change time also sees a preserved mtime."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
