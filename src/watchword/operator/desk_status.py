# SPDX-License-Identifier: Apache-2.0
"""The statuses of a TokenDesk and of a DeskClient, from what the last reconcile of all desks found. Pure."""

import msgspec

from watchword.kube.names import ObjectKey
from watchword.operator.cache import Entry
from watchword.operator.provider_status import ProviderResult
from watchword.trust.admin_grants import counts, is_flagged, is_of_admin_type
from watchword.trust.api.v1alpha1 import DeskClient
from watchword.trust.api.v1alpha1.status import (
    AdminGrantStatus,
    DeskClientStatus,
    DeskKeyStatus,
    DeskStatus,
)
from watchword.trust.conditions import ConditionValue, Verdict
from watchword.trust.problems import Problem, ProblemReason, listed
from watchword.trust.status_conditions import conditions


class DeskResult(msgspec.Struct, frozen=True):
    """What the last reconcile found of a TokenDesk.

    Attributes:
        problem: why it does not count; None: it does.
        trouble: what else is wrong with it; None: nothing.
        audience: its own audience; empty: not known.
        keys: its keys.
        is_signing: whether a key's time to sign has come.
        services: how many services name it, and may.
        admin_policy: the admission policy under which all of its admin clients were marked; empty: none.
    """

    problem: Problem | None = None
    trouble: ConditionValue | None = None
    audience: str = ""
    keys: tuple[DeskKeyStatus, ...] = ()
    is_signing: bool = False
    services: int = 0
    admin_policy: str = ""


class ClientResult(msgspec.Struct, frozen=True):
    """What the last reconcile found of a DeskClient.

    Attributes:
        has_desk: whether the desk that it names counts, and is in its namespace.
        services: the services of its desk that it names and that name it.
        is_account_taken: whether another client of the desk authenticates by its ServiceAccount.
        guard_problem: of an admin client: why no flag counts; empty: the admission policy is in force.
        grant: of an admin client: its mark; None: it has none yet.
    """

    has_desk: bool = False
    services: tuple[str, ...] = ()
    is_account_taken: bool = False
    guard_problem: str = ""
    grant: AdminGrantStatus | None = None


DeskResults = dict[ObjectKey, DeskResult | ClientResult | ProviderResult]


def keys_unwritten(results: DeskResults) -> int:
    """How many desks have a signing key that could not be written; from any thread."""
    troubles = [each.trouble for each in list(results.values()) if isinstance(each, DeskResult)]
    return sum(each is not None and each.verdict is Verdict.KEYS_NOT_WRITTEN for each in troubles)


def desk_status(entry: Entry, result: DeskResult, now: float) -> DeskStatus:
    """The status of a TokenDesk.

    Args:
        entry: the object.
        result: what the last reconcile found.
        now: seconds since the epoch.
    """
    is_counted = result.problem is None and entry.resource is not None
    values = [_desk_readiness(entry, result)]
    if is_counted:
        is_settled = all(each.state in ("Signing", "Revoked") for each in result.keys)
        values.append((Verdict.SETTLED if is_settled else Verdict.KEY_ROTATING).with_message())
    return DeskStatus(
        observed_generation=entry.generation,
        conditions=conditions(values, entry.status.conditions, entry.generation, now),
        audience=result.audience or None if is_counted else None,
        keys=result.keys if is_counted else (),
        services=result.services if is_counted else None,
        admin_policy=result.admin_policy or None if is_counted else None,
    )


def client_status(entry: Entry, result: ClientResult, now: float) -> DeskClientStatus:
    """The status of a DeskClient.

    Args:
        entry: the object.
        result: what the last reconcile found.
        now: seconds since the epoch.
    """
    values = [_client_readiness(entry, result)]
    return DeskClientStatus(
        observed_generation=entry.generation,
        conditions=conditions(values, entry.status.conditions, entry.generation, now),
        admin_grant=result.grant,
    )


def _desk_readiness(entry: Entry, result: DeskResult) -> ConditionValue:
    problem = result.problem
    if entry.problems:
        return _not_understood(entry)
    if problem is not None:
        is_elsewhere = problem.reason is ProblemReason.WRONG_NAMESPACE
        verdict = Verdict.WRONG_NAMESPACE if is_elsewhere else Verdict.ISSUER_TAKEN
        return verdict.with_message(f"{problem.field}: {problem.detail}", problem.remedy)
    if result.trouble is not None:
        return result.trouble
    if not result.is_signing:
        return Verdict.KEYS_NOT_WRITTEN.with_message("there is no key that may sign yet", "wait a moment")
    return Verdict.ISSUING.with_message()


def _client_readiness(entry: Entry, result: ClientResult) -> ConditionValue:
    client = entry.resource
    if entry.problems or not isinstance(client, DeskClient):
        return _not_understood(entry)
    if not result.has_desk:
        return Verdict.CLIENT_WITHOUT_DESK.with_message()
    if result.is_account_taken:
        return Verdict.CLIENT_ACCOUNT_TAKEN.with_message()
    if is_of_admin_type(client):
        return _admin_readiness(client, entry.generation, result)
    if not result.services:
        return Verdict.CLIENT_NOT_NAMED.with_message()
    # Its readers are told no more than they wrote there themselves.
    return Verdict.CLIENT_ACCEPTED.with_message(f"It may ask about tokens for {', '.join(result.services)}")


def _admin_readiness(client: DeskClient, generation: int, result: ClientResult) -> ConditionValue:
    if result.guard_problem:
        return Verdict.CLIENT_UNGUARDED.with_message(f"No admin flag counts: {result.guard_problem}")
    if not is_flagged(client):
        return Verdict.CLIENT_NOT_GRANTED.with_message()
    if counts(result.grant, generation):
        by = client.spec.granted_by
        return Verdict.CLIENT_IS_ADMIN.with_message(f"It may use the admin API of the desk, granted by {by}")
    if result.grant is None or result.grant.generation != generation:
        return Verdict.CLIENT_GRANT_PENDING.with_message()
    return Verdict.CLIENT_GRANT_UNCONFIRMED.with_message()


def _not_understood(entry: Entry) -> ConditionValue:
    return Verdict.DESK_NOT_UNDERSTOOD.with_message(listed(entry.problems) or "no part of it can be read")
