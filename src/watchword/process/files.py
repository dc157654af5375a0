# SPDX-License-Identifier: Apache-2.0
"""Whether a file is still the one that was read, without reading it."""

import os


def state_of(path: str | os.PathLike[str]) -> object:
    """What changes with a file: its time, inode and size; the error's number where there is none."""
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_ino, found.st_size
