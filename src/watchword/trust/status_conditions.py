# SPDX-License-Identifier: Apache-2.0
"""Conditions of a status, from what was found. Pure."""

from collections.abc import Iterable
from typing import Final

from watchword.trust.api.v1alpha1.status import Condition
from watchword.trust.conditions import ConditionValue
from watchword.trust.timestamps import rfc3339

_MAX_MESSAGE: Final = 2048


def conditions(
    values: Iterable[ConditionValue], before: Iterable[Condition], generation: int, now: float
) -> tuple[Condition, ...]:
    """Conditions as the API conventions want them, with the times of those that stay as they were.

    Args:
        values: what was found.
        before: the conditions that the object has.
        generation: the object's generation that was looked at.
        now: seconds since the epoch.
    """
    earlier = {each.type: each for each in before}
    made = []
    for value in values:
        verdict, known = value.verdict, earlier.get(value.verdict.type)
        is_kept = known is not None and known.status == verdict.status
        made.append(
            Condition(
                type=verdict.type.value,
                status=verdict.status,
                reason=verdict.reason,
                message=value.message[:_MAX_MESSAGE],
                last_transition_time=known.last_transition_time if known and is_kept else rfc3339(now),
                observed_generation=generation,
            )
        )
    return tuple(made)
