# SPDX-License-Identifier: Apache-2.0
"""The statuses of a TokenDesk and of a DeskClient, from what the last reconcile of all desks found. Pure."""

import msgspec

from watchword.kube.names import ObjectKey
from watchword.operator.cache import Entry
from watchword.trust.api.v1alpha1 import DeskClient
from watchword.trust.api.v1alpha1.status import DeskClientStatus, DeskKeyStatus, DeskStatus
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
    """

    problem: Problem | None = None
    trouble: ConditionValue | None = None
    audience: str = ""
    keys: tuple[DeskKeyStatus, ...] = ()
    is_signing: bool = False
    services: int = 0


class ClientResult(msgspec.Struct, frozen=True):
    """What the last reconcile found of a DeskClient.

    Attributes:
        has_desk: whether the desk that it names counts, and is in its namespace.
        services: the services of its desk that it names and that name it.
    """

    has_desk: bool = False
    services: tuple[str, ...] = ()


DeskResults = dict[ObjectKey, DeskResult | ClientResult]


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
    counts = result.problem is None and entry.resource is not None
    values = [_desk_readiness(entry, result)]
    if counts:
        is_settled = all(each.state in ("Signing", "Revoked") for each in result.keys)
        values.append((Verdict.SETTLED if is_settled else Verdict.KEY_ROTATING).with_message())
    return DeskStatus(
        observed_generation=entry.generation,
        conditions=conditions(values, entry.status.conditions, entry.generation, now),
        audience=result.audience or None if counts else None,
        keys=result.keys if counts else (),
        services=result.services if counts else None,
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
    if client.spec.type != "ResourceServer":
        return Verdict.CLIENT_NOT_SERVED.with_message()
    if not result.services:
        return Verdict.CLIENT_NOT_NAMED.with_message()
    # Its readers are told no more than they wrote there themselves.
    return Verdict.CLIENT_ACCEPTED.with_message(f"It may ask about tokens for {', '.join(result.services)}")


def _not_understood(entry: Entry) -> ConditionValue:
    return Verdict.DESK_NOT_UNDERSTOOD.with_message(listed(entry.problems) or "no part of it can be read")
