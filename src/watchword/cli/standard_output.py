# SPDX-License-Identifier: Apache-2.0
"""Standard output that cannot be written to: said as an error, or kept quiet about where its reader left."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from watchword.cli.failures import UnusableInput, os_reason

# As of a program that the signal ended (128 and SIGPIPE): no answer of a command, and no failure of it.
READER_LEFT: Final = 141


@contextmanager
def checked_output() -> Iterator[None]:
    """Run a command, and have all that it wrote to standard output there when the block ends.

    Where the reader left (`watchword … | head`), the process ends quietly with READER_LEFT.

    Raises:
        UnusableInput: standard output is closed, full or cannot be written to.
    """
    if sys.stdout is None:
        # What is written would be lost without a word.
        raise UnusableInput("Standard output is closed.", "Send it to a file, or to /dev/null.")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _let_go()
        raise SystemExit(READER_LEFT) from None
    except OSError as error:
        if error.filename is not None:
            raise
        _let_go()
        raise UnusableInput(
            f"Standard output cannot be written: {os_reason(error)}.",
            "Send it to a file on a disk that has room, and run this again.",
        ) from None


def _let_go() -> None:
    """Have what is left unwritten go nowhere: Python would try once more when it ends, and complain."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
