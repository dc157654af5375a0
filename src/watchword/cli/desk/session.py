# SPDX-License-Identifier: Apache-2.0
"""Where a person's sign-in at a desk is kept: one file of mode 0600 for each admin URL, and nothing else.

A file that others can read, or that another user made, is not used and not repaired: what is in it may be
known, or may not be what was put there.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec

from watchword.cli.desk.answers import ID_PATTERN, SUBJECT_PATTERN
from watchword.cli.failures import UnusableInput, os_reason

_MAX_BYTES: Final = 32 * 1024
# The last second that has a date on every platform.
_LAST_TIME: Final = 253_402_300_799


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sign-in. Its repr shows no token.

    Attributes:
        url: the admin API that it is for.
        access_token: the admin token.
        token_id: its `jti`.
        subject: `client:<name of the AdminPerson>`.
        expires_at: when it ends, in seconds since the epoch.
    """

    url: str
    access_token: str
    token_id: Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]
    subject: Annotated[str, msgspec.Meta(pattern=SUBJECT_PATTERN)]
    expires_at: Annotated[int, msgspec.Meta(ge=0, le=_LAST_TIME)]

    def __repr__(self) -> str:
        return f"Session(url={self.url!r}, subject={self.subject!r})"

    @property
    def has_ended(self) -> bool:
        """Whether the desk would refuse it by now."""
        return time.time() >= self.expires_at

    @property
    def ends(self) -> str:
        """When it ends, in the local time of this machine, with the date where that is another day."""
        ends, now = time.localtime(self.expires_at), time.localtime()
        is_today = ends[:3] == now[:3]
        return time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S", ends)


def path_of(url: str) -> Path:
    """The file for an admin URL (XDG Base Directory Specification: a relative XDG_STATE_HOME is ignored)."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    state = given if given.is_absolute() else Path.home() / ".local" / "state"
    name = hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()[:32]
    return state / "watchword" / "desk" / f"{name}.json"


def load(url: str) -> Session | None:
    """The sign-in at an admin URL, ended or not; None: there is none.

    Raises:
        UnusableInput: there is a file that must not be used.
    """
    path = path_of(url)
    try:
        with _opened(path.parent, url) as folder:
            return _read(path, folder, url)
    except FileNotFoundError:
        return None


def prepare(url: str) -> None:
    """See that nothing is in the way of keeping a sign-in, before there is one. Raises UnusableInput."""
    with contextlib.suppress(FileNotFoundError), _opened(path_of(url).parent, url):
        pass


def save(session: Session) -> Session | None:
    """Keep a sign-in, whole or not at all; returns the earlier one in whose place it is.

    Of two that are kept at once, one replaces the other and is told so: no token is lost sight of.

    Raises:
        UnusableInput: it cannot be kept.
    """
    path = path_of(session.url)
    new = f".{path.name}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened(path.parent, session.url) as folder, _locked(folder):
            try:
                with os.fdopen(os.open(new, flags, 0o600, dir_fd=folder), "wb") as file:
                    file.write(msgspec.json.encode(session))
                earlier = None
                # What must not be used gives way, and its token is not used either.
                with contextlib.suppress(UnusableInput, FileNotFoundError):
                    earlier = _read(path, folder, session.url)
                os.replace(new, path.name, src_dir_fd=folder, dst_dir_fd=folder)
                return earlier
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(new, dir_fd=folder)
    except OSError as error:
        raise _not_kept(path.parent, error) from None


def delete(url: str) -> None:
    """Forget the sign-in at an admin URL. Raises UnusableInput."""
    path = path_of(url)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UnusableInput(f"{path} cannot be deleted: {os_reason(error)}.", "Delete it yourself.") from None


@contextlib.contextmanager
def _opened(folder: Path, url: str) -> Iterator[int]:
    """The folder of sign-ins, open; FileNotFoundError where there is none.

    Raises:
        UnusableInput: it is no folder, or others may put files into it.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        remedy = "Move what is in its way aside, or set XDG_STATE_HOME to another folder"
        raise UnusableInput(
            f"{folder} cannot be used: {os_reason(error)}.", f"{remedy}; then {_again(url)}."
        ) from None
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
            raise UnusableInput(
                f"{folder} is not a folder of yours that no one else can write to.",
                f"See who could, then run: chmod 700 {folder}; and {_again(url)}.",
            )
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: int) -> Iterator[None]:
    # A file system without locks is done without them: two sign-ins at once are rare.
    with contextlib.suppress(OSError):
        fcntl.flock(folder, fcntl.LOCK_EX)
    yield


def _read(path: Path, folder: int, url: str) -> Session:
    """The sign-in in a file of the folder; FileNotFoundError where there is none. Raises UnusableInput."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path.name, flags, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnusableInput(f"{path} cannot be read: {os_reason(error)}.", _remedy(path, url)) from None
    found = os.fstat(descriptor)
    is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
    if not is_ours or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(descriptor)
        detail = "is not a file of yours that no one else can read (mode 0600)"
        raise UnusableInput(f"{path} {detail}.", _remedy(path, url))
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(_MAX_BYTES)
    try:
        session = msgspec.json.decode(data, type=Session)
    except msgspec.MsgspecError:
        raise UnusableInput(f"{path} holds no sign-in.", _remedy(path, url)) from None
    if session.url != url:
        raise UnusableInput(f"{path} is of another admin URL.", _remedy(path, url))
    return session


def _not_kept(folder: Path, error: OSError) -> UnusableInput:
    return UnusableInput(
        f"A sign-in cannot be kept in {folder}: {os_reason(error)}.",
        "Make it a folder that you can write to, and no one else; or set XDG_STATE_HOME to another one.",
    )


def _remedy(path: Path, url: str) -> str:
    return f"Delete {path}, and {_again(url)}."


def _again(url: str) -> str:
    return f"sign in again: watchword desk sign-in --admin-url {url}"
