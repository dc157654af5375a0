# SPDX-License-Identifier: Apache-2.0
"""One bound in time for a whole call, however many waits it is made of.

The timeouts of sockets are for each read: who sends a byte a second holds a reader for as long as it likes.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


class DeadlineError(Exception):
    """The call took longer than it may."""


def within(seconds: float, call: Callable[[], _T]) -> _T:
    """What a call returns or raises within so many seconds.

    It runs in a thread of its own. When its time is over it is left behind there, and keeps no process from
    ending.

    Raises:
        DeadlineError: it did neither in time.
    """
    found: list[_T] = []
    failed: list[BaseException] = []
    is_done = threading.Event()

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            failed.append(error)
        finally:
            is_done.set()

    threading.Thread(target=run, daemon=True).start()
    if not is_done.wait(seconds):
        raise DeadlineError
    if failed:
        raise failed[0]
    return found[0]
