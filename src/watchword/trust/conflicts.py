# SPDX-License-Identifier: Apache-2.0
"""Objects that claim the same thing: the older one keeps it, and where none is older, neither has it.

Otherwise the order of a list would decide who someone is, or the newest object could take over what another
one holds.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

import msgspec

from watchword.trust.api.v1alpha1 import Resource
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.problems import Problem, ProblemReason

_R = TypeVar("_R", bound=Resource)


class Loser(msgspec.Struct, frozen=True):
    """An object that another one keeps out."""

    resource: Resource
    other: Resource


def losers(resources: Iterable[_R], claims_of: Callable[[_R], Iterable[Hashable]]) -> list[Loser]:
    """Who has to stand back where two objects claim the same thing.

    The oldest by creationTimestamp stands; where several are oldest, or have no time, none of them does.
    """
    claimants: dict[Hashable, list[_R]] = {}
    for resource in resources:
        # An object may say a thing twice (one key under two names); that is no rivalry.
        for claim in dict.fromkeys(claims_of(resource)):
            claimants.setdefault(claim, []).append(resource)
    found: dict[int, Loser] = {}
    for conflicting in claimants.values():
        if len(conflicting) < 2:
            continue
        # An object without a time was never stored in a cluster: nothing says that it was there first.
        times = [parse_time(each.metadata.creation_timestamp or "") for each in conflicting]
        known = [time for time in times if time is not None]
        oldest = min(known) if len(known) == len(times) else None
        standing = [
            each
            for each, time in zip(conflicting, times, strict=True)
            if oldest is not None and time == oldest
        ]
        winner = standing[0] if len(standing) == 1 else None
        for resource in conflicting:
            if resource is not winner:
                other = winner or next(each for each in conflicting if each is not resource)
                found.setdefault(id(resource), Loser(resource, other))
    return list(found.values())


def problem_of(resource: Resource, field: str, reason: ProblemReason, detail: str, remedy: str) -> Problem:
    """A problem of one object."""
    metadata = resource.metadata
    kind = type(resource).__name__
    return Problem(kind, metadata.namespace, metadata.name, field, reason, detail, remedy, resource.source)
