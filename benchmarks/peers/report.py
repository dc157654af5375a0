# SPDX-License-Identifier: Apache-2.0
"""The figures as a table for docs/performance.md, and as a chart next to it."""

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

_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
    ' font-family="sans-serif" font-size="12">'
)
_BAR = '<rect x="{x}" y="{y}" width="{width:.1f}" height="{height}" fill="{fill}"/>'
_TEXT = '<text x="{x:.1f}" y="{y:.0f}" fill="#222222"{more}>{text}</text>'


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
    compared = ", ".join(ratios)
    caption = (
        f"Microseconds at half of what Envoy did at best ({shown} requests a second): p50 / p99 / p99.9,"
        " medians of the rounds. Who cannot keep the rate up has no entry."
    )
    return "\n\n".join(
        [
            f"Requests per core-second of CPU, medians of {rounds} rounds:",
            markdown(("", *KINDS), speed),
            f"Watchword next to Envoy (warm and mixed with its cache, cold and hostile without): {compared}.",
            caption,
            markdown(("", *KINDS), latency),
            "Seconds from start to the first yes, and resident MiB at the start and at most:",
            markdown(("", "seconds", "MiB at start", "MiB at most"), weight),
            f"![Requests per core-second]({CHART})",
        ]
    )


def write_docs(page: Path, text: str, chart: str) -> None:
    """Put the tables between the page's markers, and the chart next to the page."""
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
        _SVG.format(width=width, height=height),
        "<title>Requests per core-second of CPU, by kind of load</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for place, kind in enumerate(KINDS):
        x = left + place * 90
        parts.append(_BAR.format(x=x, y=16, width=12, height=12, fill=_COLORS[kind]))
        parts.append(_TEXT.format(x=x + 18, y=26, more="", text=kind))
    y = 44
    for name, values in medians.items():
        middle = y + len(KINDS) * row / 2 + 4
        parts.append(_TEXT.format(x=left - 10, y=middle, more=' text-anchor="end"', text=name))
        for kind in KINDS:
            size = values.get(kind, 0.0) / most * (width - left - 80)
            parts.append(_BAR.format(x=left, y=y + 2, width=size, height=row - 4, fill=_COLORS[kind]))
            shown = f"{values[kind]:,.0f}" if kind in values else ""
            parts.append(_TEXT.format(x=left + size + 6, y=y + row - 5, more="", text=shown))
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
