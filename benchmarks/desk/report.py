# SPDX-License-Identifier: Apache-2.0
"""The figures as tables for docs/performance.md."""

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.desk.measure import ANSWER, EXCHANGE, EXCHANGE_FRESH, INTROSPECT, Figures
from benchmarks.table import markdown

BEGIN, END = "<!-- desk: begin -->", "<!-- desk: end -->"


def tables(figures: Figures, grown: Sequence[tuple[int, float, float]]) -> str:
    """What each costs, as ratios, and how it grows."""
    sign, read = statistics.median(figures.sign), statistics.median(figures.read)
    answer = figures.cost("bare", ANSWER)
    bares = [
        ("RS256 verified and ES256 signed", _microseconds(sign)),
        ("a row read by its key", _microseconds(read)),
        ("an answer of uvicorn, on asyncio", _microseconds(answer)),
    ]
    rows = []
    for work in (EXCHANGE, EXCHANGE_FRESH, INTROSPECT):
        cost = figures.cost("the desk", work)
        of_work = (read if work == INTROSPECT else sign) + answer
        rows.append(
            (
                work,
                _microseconds(cost),
                f"{cost / of_work:.2f}",
                "" if work == INTROSPECT else f"{cost / sign:.2f}",
                _against_keycloak(figures, work, cost),
                f"{statistics.median(figures.rates['the desk', work]):,.0f}",
                f"{statistics.median(figures.p99['the desk', work]) / 1000:.0f}",
            )
        )
    (small, write_small, find_small), (large, write_large, find_large) = grown
    growth = f"to write {write_large / write_small:.2f}, to find {find_large / find_small:.2f}"
    resident = ", ".join(f"{name} {mebibytes:.0f}" for name, mebibytes in figures.resident.items())
    head = (
        "the desk",
        "µs of CPU",
        "to bare work and answer",
        "to verify and sign alone",
        "Keycloak's cost to it",
        "a second",
        "p99 ms",
    )
    return "\n\n".join(
        [
            f"Bare work, medians of {len(figures.sign)} rounds:",
            markdown(("", "µs of CPU"), bares),
            "The desk, 32 callers, every exchange durable with its audit entry before its answer:",
            markdown(head, rows),
            f"MiB after it: {resident}.",
            f"From {small:,} to {large:,} live tokens: {growth}.",
        ]
    )


def write_docs(page: Path, text: str) -> None:
    """Put the tables between the page's markers."""
    before = page.read_text()
    pattern = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
    if not pattern.search(before):
        raise RuntimeError(f"{page} has no {BEGIN} and {END}")
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", before))


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f}"


def _against_keycloak(figures: Figures, work: str, cost: float) -> str:
    theirs = figures.costs.get(("Keycloak", EXCHANGE if work == EXCHANGE_FRESH else work))
    return f"{statistics.median(theirs) / cost:.1f}x" if theirs else ""
