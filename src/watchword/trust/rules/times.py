# SPDX-License-Identifier: Apache-2.0
"""Times in resources: RFC 3339 with a zone, or nothing.

A time without a zone is another moment on each machine that reads it, and trust would end at the wrong one.
"""

from datetime import datetime
from typing import Final

from watchword.trust.grammar import TIME, is_whole

TIME_REMEDY: Final = "use RFC 3339 with a zone, such as 2027-01-01T00:00:00Z"


def parse_time(text: str) -> float | None:
    """Seconds since the epoch of an RFC 3339 time with a zone, or None."""
    if not is_whole(TIME, text):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
