# SPDX-License-Identifier: Apache-2.0
"""What the status of each object should be, as a value. Pure: written elsewhere, and only where it differs.

A time of transition is kept while a condition's status stays, so that the same facts give the same status,
and a restart writes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from watchword.operator.entries import Entry
from watchword.operator.issuerboard import Keys
from watchword.operator.outcomes import Outcome
from watchword.trust.conditions import ConditionType, ConditionValue, Verdict
from watchword.trust.drift import Pods, narrowness, reachability
from watchword.trust.heldkeys import held_to_status
from watchword.trust.issuers import Issuers
from watchword.trust.problems import Problem, ProblemReason
from watchword.trust.specs.status import (
    Condition,
    IssuerStatus,
    KeyStatus,
    ServiceStatus,
    WorkloadCounts,
    WorkloadStatus,
)

_OF_REASON: Final[Mapping[str, Verdict]] = {
    verdict.reason: verdict for verdict in Verdict if verdict.type is ConditionType.READY
}
_FRESH_OF_REASON: Final[Mapping[str, Verdict]] = {
    verdict.reason: verdict for verdict in Verdict if verdict.type is ConditionType.KEYS_FRESH
}
# Problems shown of one object: the first ones are enough to begin with.
_SHOWN: Final = 3
_MAX_MESSAGE: Final = 2048


def workload_status(
    entry: Entry,
    outcome: Outcome | None,
    pods: Pods,
    labels_of: Callable[[str], Mapping[str, str]],
    now: float,
) -> WorkloadStatus:
    """The status of a TrustedWorkload.

    Args:
        entry: the object.
        outcome: of its service; None: it names none that can be read.
        pods: the pods that run here.
        labels_of: gives a Namespace's labels.
        now: seconds since the epoch.
    """
    values = [_readiness(entry, outcome)]
    workload = outcome.trusted.get(entry.key[2]) if outcome else None
    if outcome is not None and outcome.service is not None and workload is not None:
        is_here = outcome.is_here(workload)
        values.append(
            reachability(outcome.service, workload, outcome.peers, pods, labels_of, is_here=is_here)
        )
        values.append(narrowness(outcome.service, workload, outcome.accounts_here, pods))
    return WorkloadStatus(observed_generation=entry.generation, conditions=conditions(values, entry, now))


def service_status(entry: Entry, outcome: Outcome, now: float) -> ServiceStatus:
    """The status of a ProtectedService."""
    values = [_unread(entry) or _service_readiness(outcome)]
    values += [value for value in (outcome.published, outcome.policy) if value is not None]
    counts = WorkloadCounts(trusted=len(outcome.trusted), refused=len(outcome.problems))
    return ServiceStatus(
        observed_generation=entry.generation,
        conditions=conditions(values, entry, now),
        bundle=outcome.bundle,
        workloads=counts if outcome.service is not None else None,
        network_policy_preview=outcome.preview,
    )


def issuer_status(
    entry: Entry, issuers: Issuers, keys: Keys | None, problems: tuple[Problem, ...], now: float
) -> IssuerStatus:
    """The status of a ClusterTrustedIssuer.

    Args:
        entry: the object.
        issuers: all issuers, settled.
        keys: what is known of its keys; None: the object cannot be read.
        problems: what is wrong with it or with some of its keys.
        now: seconds since the epoch.
    """
    before = entry.status if isinstance(entry.status, IssuerStatus) else IssuerStatus()
    if keys is None:
        # Its keys are what a later version of the object will be judged by.
        values = [_unread(entry) or Verdict.KEYS_UNAVAILABLE.with_message()]
        return msgspec.structs.replace(
            before, observed_generation=entry.generation, conditions=conditions(values, entry, now)
        )
    ready = _unread(entry) or _issuer_readiness(entry.key[2], issuers, keys, problems)
    held = msgspec.convert(held_to_status(keys.held), tuple[KeyStatus, ...])
    # A time for each poll would be a write for each poll.
    fetched = before.last_fetch_time
    if keys.fetched_at is not None and (held != before.keys or fetched is None):
        fetched = _moment(keys.fetched_at)
    return IssuerStatus(
        observed_generation=entry.generation,
        conditions=conditions([ready, _freshness(entry, keys), keys.settled], entry, now),
        keys=held,
        last_fetch_time=fetched,
    )


def _freshness(entry: Entry, keys: Keys) -> ConditionValue:
    """KeysFresh: until this process has asked itself, what the one before it found is the last word."""
    before = next((each for each in entry.status.conditions if each.type == ConditionType.KEYS_FRESH), None)
    if keys.fresh.verdict is not Verdict.NEVER_FETCHED or not keys.held or before is None:
        return keys.fresh
    verdict = _FRESH_OF_REASON.get(before.reason)
    return keys.fresh if verdict is None else ConditionValue(verdict, before.message)


def conditions(values: Iterable[ConditionValue], entry: Entry, now: float) -> tuple[Condition, ...]:
    """Conditions as the API conventions want them, with the times of those that stay as they were."""
    before = {each.type: each for each in entry.status.conditions}
    made = []
    for value in values:
        verdict, known = value.verdict, before.get(value.verdict.type)
        is_kept = known is not None and known.status == verdict.status
        made.append(
            Condition(
                type=verdict.type.value,
                status=verdict.status,
                reason=verdict.reason,
                message=value.message[:_MAX_MESSAGE],
                last_transition_time=known.last_transition_time if known and is_kept else _moment(now),
                observed_generation=entry.generation,
            )
        )
    return tuple(made)


def _readiness(entry: Entry, outcome: Outcome | None) -> ConditionValue:
    unread = _unread(entry)
    if unread is not None:
        return unread
    name = entry.key[2]
    problem = outcome.problems.get(name) if outcome else None
    if problem is not None:
        return _of_problem(problem)
    workload = outcome.trusted.get(name) if outcome else None
    if outcome is None or workload is None:
        return Verdict.SERVICE_NOT_FOUND.with_message()
    if workload.spec.suspend:
        return Verdict.SUSPENDED.with_message()
    if name in outcome.ended:
        return Verdict.EXPIRED.with_message(f"spec.expires ({workload.spec.expires}) has passed")
    if name in outcome.gone:
        account = workload.spec.service_account
        detail = f"the ServiceAccount {account.namespace}/{account.name} does not exist in this cluster"
        return Verdict.ACCOUNT_GONE.with_message(detail)
    if name in outcome.waiting:
        return Verdict.NO_ROOM.with_message()
    return Verdict.TRUSTED.with_message()


def _service_readiness(outcome: Outcome) -> ConditionValue:
    if outcome.published is None or outcome.published.verdict is not Verdict.PUBLISHED:
        return Verdict.NOT_PUBLISHED.with_message()
    fine = (Verdict.ENFORCED, Verdict.GATE_PORT_OPENED, Verdict.PREVIEWED, Verdict.OFF)
    if outcome.policy is None or outcome.policy.verdict not in fine:
        return Verdict.POLICY_NOT_APPLIED.with_message()
    return Verdict.SERVING.with_message()


def _issuer_readiness(
    name: str, issuers: Issuers, keys: Keys, problems: tuple[Problem, ...]
) -> ConditionValue:
    if name in issuers.ready:
        # Keys that were left out beside good ones.
        return Verdict.KEYS_TRUSTED.with_message(_listed(problems))
    decisive = [each for each in problems if each.reason is not ProblemReason.BAD_KEY]
    if not decisive:
        return Verdict.NO_USABLE_KEY.with_message(_listed(problems))
    if decisive[0].reason is ProblemReason.KEYS_UNAVAILABLE and keys.held:
        return Verdict.AWAITING_APPROVAL.with_message()
    return _of_problem(decisive[0], _listed(problems))


def _unread(entry: Entry) -> ConditionValue | None:
    """What is wrong with an object whose newest version is not the one that counts."""
    if not entry.problems:
        return None
    verdict = Verdict.NEWER_THAN_OPERATOR if entry.is_newer else Verdict.INVALID_FIELD
    fields = _listed(entry.problems)
    return verdict.with_message(f"{fields}. {verdict.meaning}" if entry.is_newer else fields)


def _of_problem(problem: Problem, detail: str = "") -> ConditionValue:
    verdict = _OF_REASON.get(problem.reason.value, Verdict.INVALID_FIELD)
    return verdict.with_message(detail or f"{problem.field}: {problem.detail}", problem.remedy)


def _listed(problems: tuple[Problem, ...]) -> str:
    shown = [f"{each.field}: {each.detail}" if each.field else each.detail for each in problems[:_SHOWN]]
    more = f"and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join([*shown, more] if more else shown)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
