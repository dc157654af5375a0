# SPDX-License-Identifier: Apache-2.0
"""Where a person's sign-in at a desk is kept: one file of mode 0600 for each admin URL, and nothing else.

A file that others can read, or that another user made, is not used and not repaired: what is in it may be
known, or may not be what was put there.
"""

import hashlib
import os
import secrets
import stat
import time
from pathlib import Path
from typing import Final

import msgspec

from watchword.cli.failures import UnusableInput, os_reason

_MAX_BYTES: Final = 32 * 1024


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
    token_id: str
    subject: str
    expires_at: int

    def __repr__(self) -> str:
        return f"Session(url={self.url!r}, subject={self.subject!r})"

    @property
    def has_ended(self) -> bool:
        """Whether the desk would refuse it by now."""
        return time.time() >= self.expires_at

    @property
    def ends(self) -> str:
        """When it ends, in the local time of this machine."""
        return time.strftime("%H:%M:%S", time.localtime(self.expires_at))


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
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnusableInput(f"{path} cannot be read: {os_reason(error)}.", _remedy(path)) from None
    found = os.fstat(descriptor)
    is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
    if not is_ours or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(descriptor)
        detail = "is not a file of yours that no one else can read (mode 0600)"
        raise UnusableInput(f"{path} {detail}.", _remedy(path))
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(_MAX_BYTES)
    try:
        session = msgspec.json.decode(data, type=Session)
    except msgspec.MsgspecError:
        raise UnusableInput(f"{path} holds no sign-in.", _remedy(path)) from None
    if session.url != url:
        raise UnusableInput(f"{path} is of another admin URL.", _remedy(path))
    return session


def save(session: Session) -> None:
    """Keep a sign-in in place of an earlier one, whole or not at all. Raises UnusableInput."""
    path = path_of(session.url)
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
            file.write(msgspec.json.encode(session))
        new.replace(path)
    except OSError as error:
        raise UnusableInput(
            f"The sign-in cannot be kept in {path.parent}: {os_reason(error)}.",
            "Make the folder writable for you alone, or set XDG_STATE_HOME.",
        ) from None
    finally:
        new.unlink(missing_ok=True)


def delete(url: str) -> None:
    """Forget the sign-in at an admin URL. Raises UnusableInput."""
    path = path_of(url)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UnusableInput(f"{path} cannot be deleted: {os_reason(error)}.", "Delete it yourself.") from None


def _remedy(path: Path) -> str:
    return f"Delete {path}, and sign in again: watchword desk sign-in."
