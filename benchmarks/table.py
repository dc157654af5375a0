# SPDX-License-Identifier: Apache-2.0
"""Numbers as people compare them: a Markdown table, medians first."""

from collections.abc import Sequence


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
