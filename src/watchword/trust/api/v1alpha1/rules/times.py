# SPDX-License-Identifier: Apache-2.0
"""Times in resources: RFC 3339 with a zone, or nothing.

A time without a zone is another moment on each machine that reads it, and trust would end at the wrong one.
"""

from datetime import datetime
from typing import Final

from watchword.trust.api.v1alpha1.grammar import TIME, is_whole

# Of the year 9999 in UTC: a text of that year with a zone behind UTC names a time that the API server cannot
# hold.
_LAST_SECOND: Final = 253_402_300_799.0
TIME_REMEDY: Final = "use RFC 3339 with a zone, such as 2027-01-01T00:00:00Z"


def parse_time(text: str) -> float | None:
    """Seconds since the epoch of an RFC 3339 time with a zone, or None."""
    if not is_whole(TIME, text):
        return None
    try:
        moment = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return moment if moment <= _LAST_SECOND else None
