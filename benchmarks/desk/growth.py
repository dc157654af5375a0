# SPDX-License-Identifier: Apache-2.0
"""What a token costs the store with ten thousand that live, and with a million."""

import sys
import time
from pathlib import Path

from benchmarks.desk.bare import seconds_each
from testing.running_desk import TARGET
from watchword.desk.audit_chain import AuditEvent
from watchword.desk.minting import new_token_id
from watchword.desk.sqlite import SQLiteDeskStore
from watchword.desk.store import Issue

LIVE = (10_000, 1_000_000)
_BATCH, _ROUNDS = 100, 20


def growth(folder: Path) -> list[tuple[int, float, float]]:
    """For each number of live tokens: CPU seconds of one written (in batches of 100), and of one found."""
    store = SQLiteDeskStore(str(folder / "grown.db"))
    found: list[tuple[int, float, float]] = []
    written, now = 0, time.time()
    end = int(now) + 900
    for size in LIVE:
        ids: list[str] = []
        while written < size:
            batch = [_issue(now + written / 1000, end) for _ in range(1000)]
            ids += [each.token_id for each in batch[::100]]
            store.write(batch)
            written += len(batch)
        rounds = []
        for _ in range(_ROUNDS):
            batch = [_issue(now + written / 1000, end) for _ in range(_BATCH)]
            begun = time.process_time()
            store.write(batch)
            rounds.append((time.process_time() - begun) / _BATCH)
            written += _BATCH
        # All over the table, and the same ones again: pages that are in memory, as those of live tokens are.
        some = ids[:: max(1, len(ids) // 100)]
        read = seconds_each(lambda some=some: [store.find(each) for each in some], 50) / len(some)  # type: ignore[misc]
        found.append((size, min(rounds), read))
    store.close()
    return found


def _issue(at: float, end: int) -> Issue:
    token_id = new_token_id(at)
    event = AuditEvent("token_issued", {"token_id": token_id, "subject": "workload:a:b:c"}, at)
    return Issue(token_id, "workload:a:b:c", TARGET, int(at), end, event)


if __name__ == "__main__":
    for each in growth(Path(sys.argv[1])):
        print(*each)
