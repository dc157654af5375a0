# SPDX-License-Identifier: Apache-2.0
"""When to ask again: at the interval, sooner after a failure, and never at the same moment as everybody else.

A thousand issuers that all come back on the minute are a thousand fetches in one second, and one that answers
429 is made worse by being asked again at once. The random numbers spread load; nothing secret is in them.
"""

import random
from typing import Final

FIRST_RETRY_SECONDS: Final = 2.0
# However long a server asks us to wait: a header must not switch the following off.
MAX_WAIT_SECONDS: Final = 3600.0
# After a restart the keys of the status stand, so nothing is urgent: the fetches of all issuers are spread.
SPREAD_SECONDS: Final = 10.0


def next_poll(interval_seconds: float) -> float:
    """Seconds until the next fetch after a good answer: never sooner than the interval."""
    return interval_seconds * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load


def next_try(failures: int, interval_seconds: float, asked_to_wait: float | None = None) -> float:
    """Seconds until the next fetch after a failure.

    Args:
        failures: how many there were in a row, from 1.
        interval_seconds: the issuer's interval; a retry is never later than that, unless the server asks.
        asked_to_wait: what Retry-After says, in seconds (RFC 9110, section 10.2.3), or None.
    """
    grown = min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 20), interval_seconds)
    wait = grown * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load
    if asked_to_wait is not None:
        spread = random.uniform(1.0, 1.1)  # noqa: S311 - spreads load
        wait = max(wait, min(asked_to_wait, MAX_WAIT_SECONDS) * spread)
    return wait


def first_fetch(is_urgent: bool) -> float:
    """Seconds until an issuer's first fetch: at once where no key of it is known."""
    return 0.0 if is_urgent else random.uniform(0.0, SPREAD_SECONDS)  # noqa: S311 - spreads load
