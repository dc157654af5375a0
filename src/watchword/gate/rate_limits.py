# SPDX-License-Identifier: Apache-2.0
"""One token bucket for each workload (check 17): a steady rate, and a burst on top.

Keyed by the workload, never by the token or the address: a caller cannot get a second bucket by asking twice.
"""

import math
from typing import Final

from watchword.identity import Reason, Refusal
from watchword.trust import Limits

# Agents that are remembered at once: unlike workloads, anyone may register one more.
MAX_AGENTS: Final = 4096
_AGENT: Final = "agent:"


class RateLimiter:
    """The buckets of one gate. As many as there are workloads, and a bounded number for agents.

    Time is passed in.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}
        # At least as many as have a bucket.
        self._agents = 0

    def keep_only(self, workloads: frozenset[str]) -> None:
        """Forget the buckets of workloads that are no longer trusted."""
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if name in workloads}

    def take(self, workload: str, limits: Limits | None, now: float) -> tuple[Refusal, int] | None:
        """Count one request.

        Args:
            workload: `namespace/name`, or `agent:<registration>`.
            limits: the service's limits; None: unlimited.
            now: seconds on a clock that never goes back.

        Returns:
            None when it may pass; else `rate_limited` and the whole seconds to wait.
        """
        if limits is None:
            return None
        if workload.startswith(_AGENT) and workload not in self._buckets:
            self._make_room()
        level, then = self._buckets.get(workload, (float(limits.burst), now))
        level = min(float(limits.burst), level + (now - then) * limits.requests_per_second)
        if level >= 1.0:
            self._buckets[workload] = (level - 1.0, now)
            return None
        self._buckets[workload] = (level, now)
        wait = max(1, math.ceil((1.0 - level) / limits.requests_per_second))
        number = limits.requests_per_second
        rate = f"{number} request{'' if number == 1 else 's'} per second with bursts of {limits.burst}"
        who = "agent" if workload.startswith(_AGENT) else "workload"
        detail = f"The {who} {workload} is over its rate of {rate}."
        hint = (
            f"Wait {wait} s, as Retry-After says, and spread the calls. If the rate is too low, the "
            "service's owner raises spec.limits of the ProtectedService; it holds for each workload on its "
            "own, at each pod."
        )
        return Refusal(Reason.RATE_LIMITED, detail, hint), wait

    def _make_room(self) -> None:
        """Forget the agents that came first, once there are too many."""
        self._agents += 1
        if self._agents > MAX_AGENTS:
            agents = [name for name in self._buckets if name.startswith(_AGENT)]
            for name in agents[: max(1, len(agents) // 2)]:
                del self._buckets[name]
            self._agents = len(agents) - len(agents) // 2 + 1
