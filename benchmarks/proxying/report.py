# SPDX-License-Identifier: Apache-2.0
"""The figures as tables for docs/performance-proxying.md, what each proxy checks first."""

import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.proxying.contestants import Contestant
from benchmarks.proxying.grpc_calls import GRPC
from benchmarks.proxying.measure import KINDS, Figures
from benchmarks.table import markdown

BEGIN, END = "<!-- proxying: begin -->", "<!-- proxying: end -->"
_OURS = "Watchword"


def tables(takes_part: Sequence[Contestant], figures: Mapping[str, Figures], rate: float) -> str:
    """What each checks, CPU, latency, memory, and what was asked of the API server; in Markdown."""
    proxies = [name for name, each in figures.items() if each.rates]
    kinds = [*KINDS, *([GRPC] if any(GRPC in each.rates for each in figures.values()) else [])]
    ratios = [(name, *(_ratio(figures, name, kind) for kind in kinds)) for name in proxies if name != _OURS]
    return "\n\n".join(
        [
            markdown(("", "what it does about a request"), [(each.name, each.checks) for each in takes_part]),
            "Requests per core-second of the proxy's own CPU, medians of the rounds:",
            markdown(("", *kinds), [(name, *_medians(figures[name].rates, kinds)) for name in proxies]),
            "Watchword's figure for each of theirs, round by round, then the median:",
            markdown(("Watchword next to", *kinds), ratios),
            f"Microseconds at {rate:,.0f} requests a second from known callers, medians of the rounds:",
            markdown(
                ("", "p50", "p99", "p99.9"), [(name, *_latency(each)) for name, each in figures.items()]
            ),
            "Resident MiB at most, and CPU of the API server for one request with a new token:",
            markdown(("", "MiB", "ms of the API server"), [_weight(name, figures[name]) for name in proxies]),
        ]
    )


def write_page(page: Path, text: str) -> None:
    """Put the tables between the page's markers."""
    before = page.read_text()
    pattern = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
    if not pattern.search(before):
        raise RuntimeError(f"{page} has no {BEGIN} and {END}")
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", before))


def _medians(rates: Mapping[str, Sequence[float]], kinds: Sequence[str]) -> list[str]:
    # Not each takes part in each kind.
    return [f"{statistics.median(rates[kind]):,.0f}" if kind in rates else "" for kind in kinds]


def _ratio(figures: Mapping[str, Figures], other: str, kind: str) -> str:
    if _OURS not in figures or kind not in figures[_OURS].rates or kind not in figures[other].rates:
        return ""
    pairs = zip(figures[_OURS].rates[kind], figures[other].rates[kind], strict=True)
    return f"{statistics.median(mine / theirs for mine, theirs in pairs):.2f}"


def _latency(figures: Figures) -> list[str]:
    columns = zip(*figures.latencies, strict=True)
    return [f"{statistics.median(column):,.0f}" for column in columns] or ["", "", ""]


def _weight(name: str, figures: Figures) -> tuple[str, str, str]:
    asked = statistics.median(figures.asked["new tokens"]) * 1000
    return (name, f"{max(figures.resident.values()):.0f}", f"{asked:.2f}")
