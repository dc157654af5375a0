# SPDX-License-Identifier: Apache-2.0
"""A file that is there whole or not at all, and that takes no other one's place unless told to.

A bill made of half a file is a wrong bill that looks right. So what is written goes to a hidden file next to
the wanted one, and gets its name when it is complete and on disk.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn
from uuid import uuid4

from watchword.cli.failures import UnusableInput, os_reason


def refuse_existing(path: str, *, force: bool) -> None:
    """Refuse to write over a file, before any work is done. Raises UnusableInput."""
    if path == "-":
        return
    file = Path(path)
    if file.is_dir():
        raise UnusableInput(f"FILE: {path} is a folder.", "Name a file in it.")
    if file.exists() and not file.is_file():
        # A new file would take the place of the device or the pipe itself.
        raise UnusableInput(f"FILE: {path} is no regular file.", "Leave FILE out, and redirect to it with >.")
    if not force and os.path.lexists(file):
        raise _exists(path)


@contextmanager
def new_file(path: str, *, force: bool) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when the block ends well; `-` is standard output, as it is.

    An error, Ctrl-C and SIGTERM leave no file, and what was at `path` as it was. Raises UnusableInput when
    the file cannot be written or, without `force`, when there is one at `path` by now.
    """
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    refuse_existing(path, force=force)
    target = Path(path)
    hidden = target.with_name(f".{target.name[:40]}.{uuid4().hex}.part")
    with _terminable():
        try:
            with hidden.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _put(hidden, target, force=force)
        except OSError as error:
            raise UnusableInput(
                f"FILE: {path} cannot be written: {os_reason(error)}.",
                "Name a file in a folder that is there, may be written to and has room.",
            ) from None
        finally:
            with suppress(OSError):
                hidden.unlink()


def _put(hidden: Path, target: Path, *, force: bool) -> None:
    if force:
        hidden.replace(target)
    else:
        # Unlike a rename, a second name is refused where there is a file, however late that came.
        try:
            target.hardlink_to(hidden)
        except FileExistsError:
            raise _exists(str(target)) from None
        except OSError:
            # Some file systems have no second names (FAT, some network shares).
            if os.path.lexists(target):
                raise _exists(str(target)) from None
            hidden.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _exists(path: str) -> UnusableInput:
    return UnusableInput(
        f"FILE: {path} exists, and is not written over.", "Name another file, or add --force to replace it."
    )


@contextmanager
def _terminable() -> Iterator[None]:
    """Have SIGTERM end the block as an exception, so that it is cleaned up after."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
