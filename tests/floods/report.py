# SPDX-License-Identifier: Apache-2.0
"""One flood from beginning to end, judged by memory and by the good caller; and the table of all of them."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass

from tests.floods.callers import Call, calling
from tests.floods.pump import Flood
from tests.memory import MIB, bound_of, forget_peak, memory_of

COLUMNS = (
    "process",
    "flood",
    "connections",
    "sent MB",
    "closed",
    "before MiB",
    "peak MiB",
    "bound MiB",
    "calls",
)


@dataclass(frozen=True, slots=True)
class Result:
    """What a flood did."""

    process: str
    flood: str
    connections: int
    sent: int
    closed: int
    before: int
    peak: int
    bound: int
    calls: int
    failures: Sequence[str]

    def row(self) -> tuple[str, ...]:
        """As the table has it."""
        sizes = (f"{self.before / MIB:.0f}", f"{self.peak / MIB:.0f}", f"{self.bound / MIB:.0f}")
        calls = f"{self.calls}" if not self.failures else f"{self.calls}, {len(self.failures)} failed"
        sent = f"{self.sent / 1e6:.1f}"
        return self.process, self.flood, str(self.connections), sent, str(self.closed), *sizes, calls


RESULTS: list[Result] = []


def endure(process: str, name: str, pid: int, call: Call, *floods: Flood, bound: int | None = None) -> Result:
    """Run floods one after the other, all staying connected, with a good caller meanwhile; checks both.

    Args:
        process: `gate`, `webhook` or `operator`, for its bound.
        name: of the flood, for the table.
        pid: whose memory is judged.
        call: what the good caller asks.
        floods: what is sent.
        bound: how many bytes it may take, where that is not its limit less a fifth.
    """
    gc.collect()
    forget_peak(pid)
    before = memory_of(pid).resident
    try:
        with calling(call) as caller:
            for flood in floods:
                flood.run()
        memory = memory_of(pid)
    finally:
        for flood in floods:
            flood.close()
    result = Result(
        process,
        name,
        sum(each.connections for each in floods),
        sum(each.sent for each in floods),
        sum(each.closed for each in floods),
        before,
        memory.peak,
        bound_of(process) if bound is None else bound,
        caller.calls,
        caller.failures,
    )
    RESULTS.append(result)
    assert result.peak <= result.bound, (
        f"{result.peak / MIB:.0f} MiB, of {result.bound / MIB:.0f}: {result.row()}"
    )
    assert not caller.failures, caller.failures[:5]
    return result


def table() -> str:
    """All results so far as a Markdown table."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(each.row() for each in RESULTS)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
