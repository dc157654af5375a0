# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.usage`: run it, print the tables; with --write put them into the page."""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.table import markdown
from benchmarks.usage.engines import ENGINES, Engine
from benchmarks.usage.load import ACCOUNTS, METERS, MONTH, batch
from watchword.usage import BATCHED, UsageQuery, parse_events
from watchword.usage.times import day_number

PAGE = Path(__file__).parents[2] / "docs" / "performance-usage.md"
WARM_EVENTS = 60_000
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


class Result(msgspec.Struct):
    """One engine at one size."""

    engine: str
    events: int
    batch: int
    fill_seconds: float
    rate: float
    bare_rate: float
    p50: float
    p99: float
    bare_p50: float
    bare_p99: float
    smallest: int = 0
    beside: float = 0.0
    bare_beside: float = 0.0
    """Of the store with the fewest events, that was open next to this one: its size, and its rate and that of
    bare inserts there in the same turns (0 where this is that one).
    """


class Reference(NamedTuple):
    """A store with few events, open next to one with many."""

    engine: Engine
    size: int


def main() -> None:
    """Measure what the flags say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.usage", description=__doc__)
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument(
        "--events",
        nargs="+",
        type=int,
        default=[1_000_000],
        help="events in the store, e.g. 1000000 10000000",
    )
    parser.add_argument("--batch", nargs="+", type=int, default=[1000], help="events in one transaction")
    parser.add_argument("--batches", type=int, default=40, help="batches that are measured")
    parser.add_argument("--reads", type=int, default=400, help="reads that are measured")
    parser.add_argument(
        "--results",
        type=Path,
        help="a file of results to add to: what is in it is not measured again, so that a run can go on",
    )
    parser.add_argument("--again", action="store_true", help="measure what is in the file of results too")
    parser.add_argument(
        "--check", action="store_true", help="prove after the fill that the amounts are those of the events"
    )
    parser.add_argument("--write", action="store_true", help=f"put all results into {PAGE.name}")
    arguments = parser.parse_args()
    results: list[Result] = []
    if arguments.results and arguments.results.exists():
        results = msgspec.json.decode(arguments.results.read_bytes(), type=list[Result])
    for name in arguments.engines:
        reference: Reference | None = None
        for size in sorted(arguments.events):
            done = {r.batch for r in results if (r.engine, r.events) == (ENGINES[name].name, size)}
            if done.issuperset(arguments.batch) and not arguments.again:
                say(f"{name}, {size:,} events: in {arguments.results} already")
                continue
            if reference is None and size > min(arguments.events):
                # Minutes of a shared machine differ: what growth costs is seen in turns with a small store.
                reference = Reference(ENGINES[name](), min(arguments.events))
                say(f"{name}: filling another one with {reference.size:,} events, to compare with")
                reference.engine.fill(reference.size)
            found = measure(
                ENGINES[name](),
                size,
                arguments.batch,
                arguments.batches,
                arguments.reads,
                reference,
                is_checked=arguments.check,
            )
            results = [r for r in results if (r.engine, r.events) != (ENGINES[name].name, size)] + found
            print(table(found), flush=True)
            if arguments.results:
                arguments.results.write_bytes(msgspec.json.encode(results))
        if reference is not None:
            reference.engine.close()
    text = page(results)
    print(text)
    if arguments.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def measure(  # noqa: PLR0917 - what the flags say
    engine: Engine,
    size: int,
    batches: Sequence[int],
    count: int,
    reads: int,
    reference: Reference | None = None,
    *,
    is_checked: bool = False,
) -> list[Result]:
    """Fill an engine, then read and write, each next to the bare one, in turns."""
    try:
        say(f"{engine.name}: filling with {size:,} events")
        begin = time.perf_counter()
        engine.fill(size)
        filled = time.perf_counter() - begin
        if is_checked:
            say(f"{engine.name}: filled in {filled:.0f} s; counting all of them again")
            differences = engine.store.check(METERS)
            assert not differences, f"the fill is not what a store makes of its events: {differences[:3]}"
        say(f"{engine.name}: filled in {filled:.0f} s; {reads} reads")
        ours, bare = reading(engine, reads)
        found = []
        for events in batches:
            say(f"{engine.name}: batches of {events:,}")
            turns = max(8, count * 1000 // max(1000, events))
            # The small store takes no event twice, whatever stores it is next to.
            chance = random.Random(f"{size} {events}")
            rate, bare_rate, beside, bare_beside = writing(engine, events, turns, reference, chance)
            found.append(
                Result(
                    engine.name,
                    size,
                    events,
                    filled,
                    rate,
                    bare_rate,
                    *(quantile(each, q) for each in (ours, bare) for q in (0.5, 0.99)),
                    0 if reference is None else reference.size,
                    beside,
                    bare_beside,
                )
            )
        return found
    finally:
        engine.close()


def writing(
    engine: Engine, size: int, count: int, reference: Reference | None, chance: random.Random
) -> tuple[float, float, float, float]:
    """Events a second into the store and bare, and both of the reference (0 without), one batch of each in
    turns.
    """
    engines = [engine] if reference is None else [engine, reference.engine]
    times: list[list[float]] = [[] for _ in range(2 * len(engines))]
    # The first ones open connections, fill caches, and are what a store learns from.
    warm = max(2, -(-WARM_EVENTS // size))
    for number in range(count + warm):
        for place, each in enumerate(engines):
            mine, other = batch(chance, size), batch(chance, size)
            into_store = timed(lambda each=each, mine=mine: each.store.ingest(mine, METERS))
            into_bare = timed(lambda each=each, other=other: each.bare_insert(other))
            each.settle()
            if number >= warm:
                times[2 * place].append(into_store)
                times[2 * place + 1].append(into_bare)
    # Means, not medians: what a batch puts off (folding, checkpoints) is paid by a later one.
    ours, bare, *others = (size / statistics.fmean(each) for each in times)
    beside, bare_beside = others or (0.0, 0.0)
    return ours, bare, beside, bare_beside


def reading(engine: Engine, count: int) -> tuple[list[float], list[float]]:
    """Seconds of reads of one account's month, and of the bare selects of the same rows, in turns."""
    chance = random.Random(count)
    start, end = (day_number(day) for day in MONTH)
    ours: list[float] = []
    bare: list[float] = []
    for number in range(count + 10):
        account = f"account-{chance.randrange(ACCOUNTS)}"
        both = [
            (ours, lambda account=account: engine.store.read(UsageQuery(account, *MONTH))),
            (bare, lambda account=account: engine.bare_read(account, start, end)),
        ]
        # Who comes second finds the account's pages in memory.
        for times, read in both if number % 2 else both[::-1]:
            took = timed(read)
            if number >= 10:
                times.append(took)
    return ours, bare


def timed(work: Callable[[], object]) -> float:
    """Seconds that work takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of values is not above, in seconds."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table."""
    head = [
        "engine",
        "events there",
        "batch",
        "in, events/s",
        "bare",
        "ratio",
        "read p50",
        "p99",
        "bare p50",
        "p99",
        "ratio of p50",
    ]
    rows = [
        (
            r.engine,
            f"{r.events:,}",
            f"{r.batch:,}",
            f"{r.rate:,.0f}",
            f"{r.bare_rate:,.0f}",
            f"**{r.rate / r.bare_rate:.2f}**",
            f"{r.p50 * 1000:.2f} ms",
            f"{r.p99 * 1000:.2f} ms",
            f"{r.bare_p50 * 1000:.2f} ms",
            f"{r.bare_p99 * 1000:.2f} ms",
            f"**{r.p50 / r.bare_p50:.2f}**",
        )
        for r in sorted(results, key=lambda r: (r.engine, r.batch, r.events))
    ]
    return markdown(head, rows)


def page(results: Sequence[Result]) -> str:
    """All that goes between the markers."""
    growth = []
    first = {(r.engine, r.events): r for r in results}
    for (engine, events), later in sorted(first.items()):
        before = first.get((engine, events // 10))
        if before is not None:
            # Measured in different minutes of a shared machine: the bare read next to each tells them apart.
            ratio = (later.p50 / later.bare_p50) / (before.p50 / before.bare_p50)
            growth.append(
                (engine, f"{before.events:,} to {events:,}", f"{later.p50 / before.p50:.2f}", f"{ratio:.2f}")
            )
    flat = [
        (
            r.engine,
            f"{r.smallest:,} to {r.events:,}",
            f"{r.batch:,}",
            f"{r.beside:,.0f}",
            f"{r.rate:,.0f}",
            f"**{r.rate / r.beside:.2f}**",
            f"{r.bare_rate / r.bare_beside:.2f}" if r.bare_beside else "",
        )
        for r in sorted(results, key=lambda r: (r.engine, r.events, r.batch))
        if r.beside
    ]
    lines = [
        f"Python {platform.python_version()}; {ACCOUNTS:,} accounts over a year, two meters.",
        "",
        table(results),
    ]
    if flat:
        head = ["engine", "growth", "batch", "in with few events, events/s", "in with many", "ratio", "bare"]
        lines += ["", markdown(head, flat)]
    if growth:
        head = ["engine", "growth", "read p50, times", "next to the bare read, times"]
        lines += ["", markdown(head, growth)]
    lines += [
        "",
        f"Reading a body of 1000 events (`parse_events`, before any store): {_parsing():,.0f} events/s.",
    ]
    return "\n".join(lines)


def _parsing() -> float:
    one = (
        '{"specversion":"1.0","id":"%d","source":"/ci","type":"cache.hit","subject":"acme",'
        '"time":"2026-11-03T10:00:00Z","data":{"bytes":%d}}'
    )
    body = ("[" + ",".join(one % (n, n) for n in range(1000)) + "]").encode()
    headers = [(b"content-type", BATCHED.encode())]
    return 1000 / min(timed(lambda: parse_events(body, headers, 1_800_000_000.0)) for _ in range(10))


if __name__ == "__main__":
    main()
