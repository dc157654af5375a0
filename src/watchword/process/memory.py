# SPDX-License-Identifier: Apache-2.0
"""Memory that was freed, given back to the system.

glibc keeps what was freed between two things that stay, and a container's limit counts it: after a flood, a
process would be as large as in it, and the next one would begin from there.
"""

import ctypes
from collections.abc import Callable
from functools import cache


def give_back_memory() -> None:
    """Let the allocator return free pages to the system, where it can (glibc's malloc_trim)."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        # musl and macOS have none, and need none as much.
        return None
