# SPDX-License-Identifier: Apache-2.0
"""JSON lines on standard error, and refusals added up so that a flood cannot fill a disk."""

import logging
import sys
import time
from collections import Counter
from typing import Final

import msgspec

from watchword.identity import Refusal

SUMMARY_SECONDS: Final = 10.0
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


def set_up_logging(level: str) -> None:
    """Send the logs of Watchword and of uvicorn to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(level)


class RefusalLog:
    """The first refusal of a reason is logged at once, the rest of the next seconds as one number."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, refusal: Refusal, decision_id: str) -> None:
        """Count a refusal; nothing of the request is logged."""
        code = refusal.reason.code
        if code not in self._counts:
            LOGGER.info("refused", extra={"reason": code, "decision_id": decision_id})
            self._counts[code] = 0
        else:
            self._counts[code] += 1

    def summarize(self) -> None:
        """Log what was added up since the last time, and start over."""
        counts, self._counts = self._counts, Counter()
        for code, count in sorted(counts.items()):
            if count:
                LOGGER.info(
                    "refused again", extra={"reason": code, "times": count, "seconds": SUMMARY_SECONDS}
                )
