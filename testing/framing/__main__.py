# SPDX-License-Identifier: Apache-2.0
"""`python -m testing.framing --seconds 60`: request streams through a real gate, with h11 as the judge.

Exits with 1 when gate, app and h11 disagree; prints the seed, and `--replay SEED:NUMBER` shows one stream.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from testing.framing.run import Tally, fuzz, lab
from testing.framing.streams import make


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m testing.framing", description=__doc__)
    bound = parser.add_mutually_exclusive_group()
    bound.add_argument("--seconds", type=int, default=60, help="how long (default 60)")
    bound.add_argument("--streams", type=int, help="how many, however long it takes")
    parser.add_argument("--seed", type=int, help="of the whole run (default: a new one, printed)")
    parser.add_argument(
        "--faults", type=int, default=10, help="stop at so many streams that fail (default 10)"
    )
    parser.add_argument(
        "--python", help="the Python of another installation of the gate, such as an older one"
    )
    parser.add_argument("--replay", metavar="SEED:NUMBER", help="try one stream and show it")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="watchword-framing-") as folder,
        lab(Path(folder), arguments.python) as place,
    ):
        if arguments.replay:
            stream = make(arguments.replay, place.credentials)
            for part in stream.parts:
                print(part)
            outcome = place.try_stream(stream)
            for each in outcome.passed:
                print(
                    "reached the app:",
                    each.method,
                    each.target,
                    len(each.body),
                    "bytes, whole:",
                    each.is_whole,
                )
            print(*outcome.faults or ["they agree"], sep="\n")
            return 1 if outcome.faults else 0
        seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(2**32)
        print(f"framing: seed {seed}", flush=True)
        tally = fuzz(
            place, seed, _numbers(arguments.seconds, arguments.streams), max_faults=arguments.faults, say=_say
        )
    _report(tally)
    return 1 if tally.faults else 0


def _numbers(seconds: int, streams: int | None) -> Iterator[int]:
    if streams is not None:
        return iter(range(streams))
    ends = time.monotonic() + seconds
    return itertools.takewhile(lambda _: time.monotonic() < ends, itertools.count())


def _report(tally: Tally) -> None:
    print(
        f"framing: {tally.streams} streams, {tally.requests} requests in them, {tally.passed} reached"
        f" the app, {tally.refused} refused, {len(tally.faults)} disagreements"
    )


def _say(name: str, faults: list[str]) -> None:
    print(f"  --replay {name}", *(f"    {fault[:600]}" for fault in faults[:4]), sep="\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
