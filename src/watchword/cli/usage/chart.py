# SPDX-License-Identifier: Apache-2.0
"""A series as a chart of characters. Pure: numbers in, lines out."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
HEIGHT: Final = 8


def chart(
    values: Sequence[Decimal],
    days: Sequence[date],
    *,
    by_month: bool = False,
    height: int = HEIGHT,
    room: int = 120,
) -> list[str]:
    """Draw columns over their days or months, with an axis; negative amounts are drawn as nothing.

    Args:
        values: one amount a column.
        days: the first day of each column.
        by_month: name months below the columns, not days.
        height: lines of the tallest column.
        room: characters of a line; where there are too few, columns stand close, or it is said that they are.
    """
    top = max([*values, Decimal(0)])
    labels = {height: short(top), (height + 1) // 2: short(top / 2)}
    margin = max(len(label) for label in labels.values())
    forms = ((6, 5), (4, 3)) if by_month else ((2, 1), (1, 1))
    fitting = [form for form in forms if margin + 2 + form[0] * len(values) <= room]
    if not fitting:
        return ["(too narrow here for a chart)"]
    wide, thick = fitting[0]
    lines = []
    for level in range(height, 0, -1):
        cells = "".join((_column(value, top, level, height) * thick).ljust(wide) for value in values)
        lines.append(f"{labels.get(level, ''):>{margin}} ┤{cells}".rstrip())
    lines.append(f"{'0':>{margin}} ┼{'─' * wide * len(values)}")
    lines.append(" " * (margin + 2) + _below(days, wide, by_month=by_month))
    return lines


def short(number: Decimal) -> str:
    """Write a number in a few characters: 1234567 as 1.2M."""
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            scaled = number / size
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.1f}".removesuffix(".0") + unit
    if number == int(number) or number >= 100:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 1 else f"{number:.2g}"


def _column(value: Decimal, top: Decimal, level: int, height: int) -> str:
    if value <= 0 or not top:
        return " "
    # What is there is seen, however small next to the tallest one.
    eighths = max(1, int(value * height * 8 / top + Decimal("0.5")))
    filled = min(8, max(0, eighths - (level - 1) * 8))
    return _EIGHTHS[filled]


def _below(days: Sequence[date], wide: int, *, by_month: bool) -> str:
    if by_month:
        name = "%b%y" if wide > 5 else "%b"
        return "".join(day.strftime(name).ljust(wide) for day in days).rstrip()
    line = [" "] * (wide * len(days) + 2)
    for place, day in enumerate(days):
        if day.day == 1 or day.day % 5 == 0:
            for at, character in enumerate(str(day.day)):
                line[place * wide + at] = character
    return "".join(line).rstrip()
