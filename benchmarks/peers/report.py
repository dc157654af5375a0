# SPDX-License-Identifier: Apache-2.0
"""The figures as a table for docs/performance.md, and as a chart beside it."""

import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers.measure import Figures
from benchmarks.peers.tokens import KINDS
from benchmarks.table import markdown

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
CHART = "performance-peers.svg"
_COLORS = {"warm": "#1b9e77", "mixed": "#7570b3", "cold": "#d95f02", "hostile": "#666666"}


def tables(figures: Mapping[str, Figures], rates: Mapping[str, float], rounds: int) -> str:
    """Three tables in Markdown: speed, latency, and weight."""
    speed = [(name, *(_shown(each.rates.get(kind)) for kind in KINDS)) for name, each in figures.items()]
    against = {"warm": "Envoy jwt_authn, cache", "mixed": "Envoy jwt_authn, cache"}
    ratios = [f"{kind} {_ratio(figures, kind, against.get(kind, 'Envoy jwt_authn')):.1f}x" for kind in KINDS]
    latency = [
        (name, *(_latencies(each.latencies.get(kind, [])) for kind in KINDS))
        for name, each in figures.items()
    ]
    weight = [
        (
            name,
            f"{each.seconds_to_first_answer:.2f}",
            f"{each.resident_at_start:.0f}",
            f"{max(each.resident.values()):.0f}",
        )
        for name, each in figures.items()
    ]
    shown = ", ".join(f"{kind} {rates[kind]:,.0f}" for kind in KINDS)
    return "\n\n".join(
        [
            f"Requests per core-second of CPU, medians of {rounds} rounds:",
            markdown(("", *KINDS), speed),
            "Watchword beside Envoy (warm and mixed with its cache, cold and hostile without), medians of the"
            f" rounds' ratios: {', '.join(ratios)}.",
            "Microseconds at a fixed rate, the same for all: p50 / p99 / p99.9, medians of the rounds. The rate"
            f" is half of what Envoy did at best ({shown} requests a second); who cannot keep it up has no"
            " entry.",
            markdown(("", *KINDS), latency),
            "Seconds from start to the first yes, and resident MiB at the start and at most:",
            markdown(("", "seconds", "MiB at start", "MiB at most"), weight),
            f"![Requests per core-second]({CHART})",
        ]
    )


def write_docs(page: Path, text: str, chart: str) -> None:
    """Put the tables between the page's markers, and the chart beside the page."""
    before = page.read_text()
    pattern = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
    if not pattern.search(before):
        raise RuntimeError(f"{page} has no {BEGIN} and {END}")
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", before))
    page.with_name(CHART).write_text(chart)


def chart(figures: Mapping[str, Figures]) -> str:
    """A bar for each contestant and kind, as SVG."""
    medians = {
        name: {kind: statistics.median(each.rates[kind]) for kind in KINDS if each.rates.get(kind)}
        for name, each in figures.items()
    }
    most = max(value for each in medians.values() for value in each.values())
    row, gap, left, width = 18, 16, 190, 760
    height = 60 + len(medians) * (len(KINDS) * row + gap)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        ' font-family="sans-serif" font-size="12">',
        "<title>Requests per core-second of CPU, by kind of load</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for place, kind in enumerate(KINDS):
        x = left + place * 90
        parts.append(f'<rect x="{x}" y="16" width="12" height="12" fill="{_COLORS[kind]}"/>')
        parts.append(f'<text x="{x + 18}" y="26" fill="#222222">{kind}</text>')
    y = 44
    for name, values in medians.items():
        middle = y + len(KINDS) * row / 2 + 4
        parts.append(f'<text x="{left - 10}" y="{middle:.0f}" text-anchor="end" fill="#222222">{name}</text>')
        for kind in KINDS:
            if kind in values:
                size = values[kind] / most * (width - left - 80)
                parts.append(
                    f'<rect x="{left}" y="{y + 2}" width="{size:.1f}" height="{row - 4}" fill="{_COLORS[kind]}"/>'
                )
                parts.append(
                    f'<text x="{left + size + 6:.1f}" y="{y + row - 5}" fill="#222222">{values[kind]:,.0f}</text>'
                )
            y += row
        y += gap
    return "\n".join([*parts, "</svg>"]) + "\n"


def _shown(values: Sequence[float] | None) -> str:
    return f"{statistics.median(values):,.0f}" if values else ""


def _ratio(figures: Mapping[str, Figures], kind: str, other: str) -> float:
    pairs = zip(figures["Watchword"].rates[kind], figures[other].rates[kind], strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs)


def _latencies(rounds: Sequence[tuple[int, int, int]]) -> str:
    if not rounds:
        return ""
    return " / ".join(f"{statistics.median(column):,.0f}" for column in zip(*rounds, strict=True))
