# SPDX-License-Identifier: Apache-2.0
"""When a desk token ends: never after the token that it was made from, and never later than the desk allows.

A fresh lifetime for each exchange would let a chain of exchanges outlive the first token (CVE-2026-96460); so
the end is a minimum, rounded down, and nothing that a caller sends can move it.
"""

from typing import NamedTuple


class Lifetime(NamedTuple):
    """Whole seconds since the epoch."""

    issued_at: int
    expires_at: int


def lifetime_of(
    now: float, *, subject_ends: float, lifetime_seconds: int, max_lifetime_seconds: int
) -> Lifetime | None:
    """The `iat` and `exp` of a token that is made now.

    Args:
        now: seconds since the epoch.
        subject_ends: when the subject token, or the trust in its workload, ends; seconds since the epoch.
        lifetime_seconds: how long tokens of the desk live.
        max_lifetime_seconds: the longest that any may.

    Returns:
        The times; None where not a whole second is left.
    """
    issued_at = int(now)
    ends = min(float(issued_at + min(lifetime_seconds, max_lifetime_seconds)), subject_ends)
    expires_at = int(ends // 1)
    return Lifetime(issued_at, expires_at) if expires_at > now else None
