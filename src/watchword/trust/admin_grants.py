# SPDX-License-Identifier: Apache-2.0
"""Which admin flags count: those that were set while the admission policy was in force. Pure.

An object does not say by which policy it was admitted, and its managed fields can be written by anyone. So
the operator marks each admin client, in its status, with the generation that it had when a policy was first
seen. A later generation was written under that policy, as long as the policy itself is unchanged; what was
there before counts only where it counted already.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from watchword.trust.admin_policy import guard_identity
from watchword.trust.api.v1alpha1 import ADMIN_TYPES, DeskClient
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.api.v1alpha1.status import AdminGrantStatus

# API servers learn of a policy by a watch: only what was written so long after it, in seconds, was judged by
# it for certain.
SETTLE_SECONDS: Final = 5.0


class Guard(msgspec.Struct, frozen=True):
    """The admission policy on admin clients, as it is now.

    Attributes:
        problem: why no flag counts, as one sentence; empty: it is in force.
        identity: which policy it is, and how often it was changed; empty with a problem.
        whole_since: seconds since the epoch from when all writes were judged by this very policy, where that
            is known from the policy alone; infinity: it was changed since it was made.
    """

    problem: str = ""
    identity: str = ""
    whole_since: float = float("inf")


def guard_in_force(policy: Mapping[str, Any], binding: Mapping[str, Any]) -> Guard:
    """The guard of a policy and a binding that have no problem (`admin_policy.guard_problem`)."""
    made = [parse_time(str(each["metadata"].get("creationTimestamp", ""))) for each in (policy, binding)]
    is_as_made = all(each["metadata"].get("generation") == 1 for each in (policy, binding))
    since = max((at for at in made if at is not None), default=float("inf"))
    whole = since + SETTLE_SECONDS if is_as_made and None not in made else float("inf")
    return Guard("", guard_identity(policy, binding), whole)


def is_of_admin_type(client: DeskClient) -> bool:
    """Whether a client could be an admin at all: an automation, or a person."""
    return client.spec.type in ADMIN_TYPES


def is_flagged(client: DeskClient) -> bool:
    """Whether an object says that its client is an admin; not whether that counts."""
    return is_of_admin_type(client) and client.spec.admin_service_account is True


def account_of(client: DeskClient) -> tuple[str, str, str] | None:
    """The desk, issuer, and ServiceAccount user or person that a client authenticates by; None: by neither.

    A person's issuer is a URL and a cluster's is a name, so that neither is ever taken for the other. Which
    client id a person signs in by, and which subject is pinned, tells no one from another one.
    """
    desk, by = f"{client.metadata.namespace}/{client.spec.desk_ref.name}", client.spec.authentication
    if by.person is not None:
        return desk, by.person.issuer, f"person:{by.person.address}"
    if by.service_account is None:
        return None
    account = by.service_account
    return desk, account.issuer_ref.name, f"system:serviceaccount:{account.namespace}:{account.name}"


def accounts_of_several(clients: Iterable[DeskClient]) -> frozenset[tuple[str, str, str]]:
    """The accounts that more than one client of a desk authenticates by: which one it is, no one knows."""
    counted = Counter(account for each in clients if (account := account_of(each)) is not None)
    return frozenset(account for account, count in counted.items() if count > 1)


def first_mark(
    mark: AdminGrantStatus | None,
    generation: int,
    created_at: float | None,
    guard: Guard,
    *,
    is_flagged: bool,
    is_recorded: bool,
) -> AdminGrantStatus:
    """The mark of a client that has none of this policy.

    Args:
        mark: of an earlier policy; None: there is none.
        generation: of the object, read from the API server itself.
        created_at: when the object was made, by the API server's clock; None: it does not say.
        guard: in force.
        is_flagged: whether that generation has the flag.
        is_recorded: whether all clients of the time when this policy was first seen have their marks.
    """
    is_carried = mark is not None and mark.generation == generation and mark.counts
    is_newer = is_recorded or (created_at is not None and created_at > guard.whole_since)
    return AdminGrantStatus(guard.identity, generation, is_flagged and (is_carried or is_newer))


def next_mark(mark: AdminGrantStatus, generation: int, *, is_flagged: bool) -> AdminGrantStatus:
    """The mark that follows one of the policy in force: another generation was written under it."""
    return mark if mark.generation == generation else AdminGrantStatus(mark.policy, generation, is_flagged)


def counts(mark: AdminGrantStatus | None, generation: int) -> bool:
    """Whether the operator confirmed the flag of exactly this generation."""
    return mark is not None and mark.counts and mark.generation == generation
