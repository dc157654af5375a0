# SPDX-License-Identifier: Apache-2.0
"""What one attack is: data, so that the same case can be thrown at the checks, at the gate, and at a table.

A case without its exact reason would pass when the gate refuses for a wrong one; so the reason is part of it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Case(Generic[T]):
    """One hostile input.

    Attributes:
        attack: the class, as `ATTACKS` in table.py names it.
        name: what is hostile about it, in a few words; with the class, unlike every other.
        reason: the stable code of the refusal that must come, and no other.
        build: makes the input.
    """

    attack: str
    name: str
    reason: str
    build: Callable[[], T]

    def __str__(self) -> str:
        return f"{self.attack} {self.name}"


def ids(cases: Sequence[Case[T]]) -> list[str]:
    """Test names of cases."""
    return [str(case) for case in cases]


def cases(attack: str, reason: str, inputs: Iterable[tuple[str, Callable[[], T]]]) -> list[Case[T]]:
    """Cases of one class that share their reason."""
    return [Case(attack, name, reason, build) for name, build in inputs]
