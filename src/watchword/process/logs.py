# SPDX-License-Identifier: Apache-2.0
"""JSON lines on standard error, of which no flood can make more than a disk bears.

A message, a library's own among them, is written a number of times in a while, and the rest of it counted:
a peer that can make us log must not be able to fill the node's disk.
"""

import logging
import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec

SUMMARY_SECONDS: Final = 10.0
# More than there are reasons: in one span each of them may be named.
MESSAGES_PER_SPAN: Final = 50
_MAX_MESSAGES: Final = 256
LOGGER: Final = logging.getLogger("watchword")
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, and whatever was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        document: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        document |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            # The type and the place, never the values: a traceback's text may quote a request.
            kind = record.exc_info[0]
            document["error"] = kind.__name__ if kind else ""
        return msgspec.json.encode(document, enc_hook=str).decode()


class FloodFilter(logging.Filter):
    """Lets a message through 50 times in 10 seconds; the next one that passes says how many did not."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Measure spans by a clock that never goes back (seconds)."""
        super().__init__()
        self._monotonic = monotonic
        self._spans: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written. Messages are told apart by their text before it is filled in."""
        key = (record.name, str(record.msg))
        if key not in self._spans and len(self._spans) >= _MAX_MESSAGES:
            key = ("", "")
        now = self._monotonic()
        start, count = self._spans.get(key, (now, 0))
        if now - start >= SUMMARY_SECONDS:
            if count > MESSAGES_PER_SPAN:
                record.unwritten = count - MESSAGES_PER_SPAN
            start, count = now, 0
        self._spans[key] = (start, count + 1)
        return count < MESSAGES_PER_SPAN


def set_up_logging(level: str) -> None:
    """Send the logs of Watchword and of its libraries to standard error as JSON lines.

    Args:
        level: debug, info, warning or error, in any case.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(FloodFilter())
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(level.upper())
