# SPDX-License-Identifier: Apache-2.0
"""Each agent has a rate of its own at a gate, and a crowd takes neither memory nor anyone's rate."""

from __future__ import annotations

from watchword.gate.rate_limits import MAX_AGENTS, RateLimiter
from watchword.trust.api.v1alpha1 import Limits

LIMITS = Limits(requests_per_second=1, burst=1)


def agent(number: int) -> str:
    return f"agent:reg_{number:032x}"


def test_agents_have_rates_of_their_own() -> None:
    limiter = RateLimiter()
    assert limiter.take(agent(1), LIMITS, 0.0) is None
    assert limiter.take(agent(2), LIMITS, 0.0) is None
    refused = limiter.take(agent(1), LIMITS, 0.0)
    assert refused is not None
    assert f"The agent {agent(1)} is over its rate" in refused[0].detail


def test_a_crowd_of_agents_is_bounded_and_no_workload_is_forgotten_for_it() -> None:
    limiter = RateLimiter()
    assert limiter.take("tuist/atlas", LIMITS, 0.0) is None
    for number in range(3 * MAX_AGENTS):
        assert limiter.take(agent(number), LIMITS, 0.0) is None
        assert len(limiter._buckets) <= MAX_AGENTS + 2
    assert limiter.take("tuist/atlas", LIMITS, 0.0) is not None
    limiter.keep_only(frozenset({"tuist/atlas"}))
    assert len(limiter._buckets) == 1
    for number in range(3 * MAX_AGENTS):
        assert limiter.take(agent(number), LIMITS, 0.0) is None
    assert len(limiter._buckets) <= MAX_AGENTS + 2
