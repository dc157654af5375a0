# SPDX-License-Identifier: Apache-2.0
"""How long no one leads: from the end of one operator to the standby at work, and to an edit's effect.

At each end a workload is trusted in the same moment: what a person waits for is the gate that lets it in, not
a Lease that changes hands.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.table import markdown
from testing.controlplane import find_binaries, start_cluster, start_etcd
from testing.faults.standing import Standing, standing
from testing.operator_process import Replica

AWAY_SECONDS = 15.0
_MOST_OUTAGES = 5


def main() -> None:
    """Measure as often as the flags say, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failover", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="of each kind of end; outages at most 5")
    given = parser.parse_args()
    print(measure(given.times))


def run() -> str:
    """The table of a few, for `python -m benchmarks`."""
    return measure(3)


def measure(times: int) -> str:
    """Two replicas whose leader is killed, or stopped, and replaced; then an API server that is away."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder, programs = Path(scratch), find_binaries()
        store = stack.enter_context(start_etcd(folder / "etcd", binaries=programs))
        cluster = stack.enter_context(start_cluster(folder / "cluster", etcd=store, binaries=programs))
        place = stack.enter_context(standing(cluster, folder))
        names = (f"replica-{number}" for number in itertools.count())
        crew = [place.operator(next(names)) for _ in range(2)]
        rows = []
        for what, end in (("kill -9", Replica.kill), ("SIGTERM", Replica.terminate)):
            leads, counts = [], []
            for _ in range(times):
                leader, standby = _roles(crew)
                name, token = place.account()
                begun = time.monotonic()
                end(leader)
                place.trust(name)
                leads.append(_seconds(begun, standby.is_leading))
                counts.append(_seconds(begun, lambda token=token: place.is_in(token)))
                leader.process.wait()
                crew = [standby, place.operator(next(names))]
            rows.append(_row(f"{what} of the leader", "the standby leads and is warm", leads))
            rows.append(_row(f"{what} of the leader", "an edit made then counts", counts))
        counts = [_outage(place, crew) for _ in range(min(times, _MOST_OUTAGES))]
        away = f"API server killed, and back after {AWAY_SECONDS:.0f} s"
        rows.append(_row(away, "an edit made at its return counts", counts))
    return markdown(("what happens", "until", "times", "median", "slowest"), rows)


def _row(what: str, until: str, seconds: list[float]) -> tuple[str, ...]:
    median, slowest = statistics.median(seconds), max(seconds)
    return what, until, str(len(seconds)), f"{median:.2f} s", f"{slowest:.2f} s"


def _outage(place: Standing, crew: list[Replica]) -> float:
    _roles(crew)
    place.cluster.program.kill()
    time.sleep(AWAY_SECONDS)
    place.cluster.program.start()
    begun = time.monotonic()
    _, token = place.newcomer()
    return _seconds(begun, lambda: place.is_in(token))


def _seconds(begun: float, holds: Callable[[], bool]) -> float:
    while not holds():
        assert time.monotonic() - begun < 120, "no one took over"
        time.sleep(0.01)
    return time.monotonic() - begun


def _roles(replicas: list[Replica]) -> tuple[Replica, Replica]:
    """The leader and the standby, once the one works and the other stands."""
    while True:
        leaders = [each for each in replicas if each.is_leading()]
        standing_by = [each for each in replicas if each not in leaders and each.ready()["ready"]]
        if len(leaders) == len(standing_by) == 1:
            return leaders[0], standing_by[0]
        time.sleep(0.05)


if __name__ == "__main__":
    main()
