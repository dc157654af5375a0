# SPDX-License-Identifier: Apache-2.0
"""A process that writes batches to a store and says on stdout which ones it was told are stored.

`python -m tests.usage.writer DSN FIRST LAST SHUFFLE_SEED`: batches FIRST to LAST, in order
unless the seed is above 0. A line `BATCH STORED` is written only after `ingest` returned:
what a caller would take for a 2xx.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from testing.usage_samples import METERS, envelope, events
from watchword.usage import Event, MetersChangedError, StoreUnavailableError, open_store
from watchword.usage.clickhouse import recent_keys
from watchword.usage.postgresql import cache
from watchword.usage.sqlite import arrivals, remembered

BATCH = 40
ACCOUNTS = ("acme", "umbrella", "acme/eu")
FIRST_DAY = datetime(2026, 10, 1, tzinfo=UTC)


def batch(number: int) -> Sequence[Event]:
    """The events of one batch: always the same for the same number."""
    return events(
        *(
            envelope(
                id=f"{number}-{place}",
                subject=ACCOUNTS[place % len(ACCOUNTS)],
                time=(FIRST_DAY + timedelta(days=(number + place) % 50)).isoformat(),
                data={"bytes": place + 0.5, "user": f"u{place % 7}"},
            )
            for place in range(BATCH)
        )
    )


def remember_soon() -> None:
    """Have stores remember keys from the second batch on, and not after thousands of events."""
    cache.ASKED_BEFORE = remembered.ASKED_BEFORE = 1  # type: ignore[misc]
    recent_keys.ASKED_BEFORE = recent_keys.LATE_ASKED_BEFORE = 1  # type: ignore[misc]
    recent_keys.BLOCKS_BETWEEN_READS = 2  # type: ignore[misc]
    arrivals.EVENTS_A_PART = 100  # type: ignore[misc]


def main() -> None:
    remember_soon()
    dsn, first, last, seed = sys.argv[1], *(int(argument) for argument in sys.argv[2:])
    numbers = list(range(first, last))
    if seed:
        random.Random(seed).shuffle(numbers)
    store = open_store(dsn)
    for number in numbers:
        while True:
            try:
                outcomes = store.ingest(batch(number), METERS)
            except (StoreUnavailableError, MetersChangedError):
                continue  # as a caller would: the answer was not a 2xx, so the same batch goes again
            break
        print(number, sum(outcome.status == "stored" for outcome in outcomes), flush=True)
    store.close()


if __name__ == "__main__":
    main()
