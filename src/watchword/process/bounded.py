# SPDX-License-Identifier: Apache-2.0
"""What the budget of a server asks of a connection, whichever protocol that one speaks."""

from typing import Protocol


class Bounded(Protocol):
    """One connection, as its budget sees it.

    Attributes:
        counted_bytes: what the budget counts for it. The budget's own, as is the next one.
        is_counted_as_head: it is among those that make room first.
    """

    counted_bytes: int
    is_counted_as_head: bool

    def held_bytes(self) -> int:
        """How many bytes it holds by now, read or to be written, next to its own cost."""

    def is_stuck(self, now: float) -> bool:
        """Whether its caller has taken nothing for too long of what waits to be taken."""

    def surplus_bytes(self, untaken_since: float) -> int:
        """How many bytes it holds beyond its present request.

        They are what is pipelined behind it, and what is written, if nothing of that was taken since this
        moment on the loop's clock.
        """

    def is_in_head(self) -> bool:
        """Whether it is in the middle of a head, or before its first one."""

    def asked_at(self) -> float:
        """When it asked for something last, on the loop's clock."""

    def is_spent(self) -> bool:
        """Whether its request was answered, and only the rest of its body is still thrown away."""

    def is_waiting(self) -> bool:
        """Whether no request is under way, and no answer is being taken, so that it may be closed."""

    def slow_down(self) -> None:
        """Read no more until what was read of the present request is taken."""

    def make_room(self) -> None:
        """Close at once, and hold nothing from now on."""
