# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next try: longer each time, and never in step with the others.

When an API server comes back, all clients that waited for it ask at once; the ones that wait equally long ask
at once again, and again.
"""

import random
from typing import Final

FIRST_SECONDS: Final = 0.25
MOST_SECONDS: Final = 5.0
# A server that asks for more than this is asked again nonetheless.
MOST_ASKED_SECONDS: Final = 120.0


class Backoff:
    """Waits that double up to a bound, each shortened by chance to between half and all of it."""

    def __init__(
        self, first: float = FIRST_SECONDS, most: float = MOST_SECONDS, chance: random.Random | None = None
    ) -> None:
        """Start at `first` seconds and go up to `most`."""
        # No secret hangs on it: it only keeps watchers out of step.
        self._first, self._most, self._chance = first, most, chance or random.Random()  # noqa: S311
        self._failures = 0

    def reset(self) -> None:
        """All is well again."""
        self._failures = 0

    def next(self, asked_seconds: float | None = None) -> float:
        """The seconds to wait after one more failure; not less than the server asked for."""
        longest = min(self._most, self._first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        asked = min(asked_seconds or 0.0, MOST_ASKED_SECONDS)
        if asked > longest:
            return asked * self._chance.uniform(1.0, 1.25)
        return max(asked, longest * self._chance.uniform(0.5, 1.0))
