# SPDX-License-Identifier: Apache-2.0
"""What is sent and asked: ten thousand accounts over a year, two meters, ids that come in no order."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta

from watchword.usage import Event, Meter
from watchword.usage.times import day_at, day_number

ACCOUNTS = 10_000
# Up to today: a store tells what is recent by its server's clock.
TODAY = day_at(time.time())
YEAR_DAYS = 365
FIRST_DAY = day_number(TODAY) - YEAR_DAYS + 1
MONTH = (TODAY - timedelta(days=29), TODAY + timedelta(days=1))
HITS = Meter("hits", "cache.hit", "count")
BYTES = Meter("bytes", "cache.hit", "sum", "/bytes")
METERS = [HITS, BYTES]
_DAY = 86_400_000_000


def batch(chance: random.Random, size: int) -> Sequence[Event]:
    """Events of one day for random accounts, one in fifty of them late, as the parser gives them.

    Accounts are as likely as each other: nearly each event is a row of amounts of its own, which is the worst
    that a batch can be.
    """
    from decimal import Decimal

    events = []
    for place in range(size):
        number = chance.randrange(1000)
        late = chance.randrange(20) if chance.random() < 0.02 else 0
        when = (day_number(TODAY) - late) * _DAY + chance.randrange(_DAY)
        name = str(uuid.UUID(int=chance.getrandbits(128)))
        account = f"account-{chance.randrange(ACCOUNTS)}"
        data = {"bytes": Decimal(number)}
        events.append(
            Event(place, name, "/ci", "cache.hit", account, when, True, data, f'{{"bytes":{number}}}')
        )
    return events
