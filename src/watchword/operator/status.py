# SPDX-License-Identifier: Apache-2.0
"""What the status of each object should be by its last reconcile, and its write where it differs.

The statuses are pure values. A time of transition is kept while a condition's status stays, so that the same
facts give the same status, and a restart writes nothing. Statuses are written after the reconcile that they
speak of, and never mix what two reconciles found.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from watchword.kube.names import NamespacedName, ObjectKey
from watchword.kube.requests import ConflictError, ObjectClient, RefusedError
from watchword.kube.watch.messages import version_of
from watchword.operator.cache import Cache, Entry, Status
from watchword.operator.desk_status import ClientResult, DeskResult, DeskResults, client_status, desk_status
from watchword.operator.provider_status import ProviderResult, provider_status
from watchword.operator.published_gap import PublishedGap
from watchword.operator.workqueue import Announcement
from watchword.trust.api.v1alpha1 import API_VERSION, Peer, ProtectedService, TrustedWorkload
from watchword.trust.api.v1alpha1.status import (
    BundleStatus,
    Condition,
    IssuerStatus,
    KeyStatus,
    ServiceStatus,
    WorkloadCounts,
    WorkloadStatus,
)
from watchword.trust.conditions import (
    CLIENT,
    DESK,
    ISSUER,
    PROVIDER,
    SERVICE,
    ConditionType,
    ConditionValue,
    Verdict,
)
from watchword.trust.gate_coverage import gate_coverage
from watchword.trust.issuers import Issuers
from watchword.trust.key_rotation.held_keys import HeldKey, held_to_status
from watchword.trust.policy_coverage import Pods, narrowness, reachability
from watchword.trust.problems import Problem, ProblemReason, listed
from watchword.trust.report_only import ReportOnlyRuling, State
from watchword.trust.status_conditions import conditions
from watchword.trust.timestamps import rfc3339

_OF_VERDICT: Final[Mapping[tuple[str, str], Verdict]] = {
    (verdict.type.value, verdict.reason): verdict for verdict in Verdict
}
_REPORT_ONLY: Final[Mapping[State, Verdict]] = {
    "on": Verdict.REPORTING,
    "ended": Verdict.REPORT_ONLY_ENDED,
    "not allowed": Verdict.REPORT_ONLY_NOT_ALLOWED,
    "too long": Verdict.REPORT_ONLY_TOO_LONG,
}
_MAY_PASS = (
    Verdict.BUNDLE_NAME_TAKEN,
    Verdict.WRITE_REFUSED,
    Verdict.POLICY_NAME_TAKEN,
    Verdict.POLICY_REFUSED,
)


class ServiceResult(msgspec.Struct, frozen=True):
    """What the last reconcile of a service came to.

    Attributes:
        service: as it was compiled; None: there is none that can be used.
        trusted: the workloads that are to be in its bundle, by name.
        problems: why others are not in it, by name.
        issuers: what it was compiled against.
        published: the condition BundlePublished.
        policy: the condition PolicyApplied.
        bundle: what is published.
        preview: the NetworkPolicy that is only shown, as JSON.
        peers: the peers of its NetworkPolicy, each once.
        accounts_here: the ServiceAccounts of this cluster that it trusts.
        gone: names of trusted workloads whose ServiceAccount of this cluster is not there.
        ended: names of trusted workloads that have expired.
        waiting: names of trusted workloads that the bundle has no room for.
        gap: what gates do otherwise than the resources say.
        audience: the service's own audience, which what was published accepts; empty: not known.
        reserved: what is wrong with the audiences that the service declares.
        desk_problem: why no desk's tokens are accepted although the service names one; else None.
        report_only: what `spec.reportOnlyUntil` comes to; None: there is none.
    """

    service: ProtectedService | None
    trusted: dict[str, TrustedWorkload]
    problems: dict[str, Problem]
    issuers: Issuers
    published: ConditionValue | None = None
    policy: ConditionValue | None = None
    bundle: BundleStatus | None = None
    preview: str | None = None
    peers: tuple[Peer, ...] = ()
    accounts_here: frozenset[tuple[str, str]] = frozenset()
    gone: frozenset[str] = frozenset()
    ended: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()
    gap: PublishedGap = PublishedGap()
    audience: str = ""
    reserved: tuple[Problem, ...] = ()
    desk_problem: Problem | None = None
    report_only: ReportOnlyRuling | None = None

    @property
    def unfinished(self) -> ConditionValue | None:
        """What prevents what the service asks for, and may pass by itself; None: nothing."""
        values = (value for value in (self.published, self.policy) if value is not None)
        return next((value for value in values if value.verdict in _MAY_PASS), None)

    def is_here(self, workload: TrustedWorkload) -> bool:
        """Whether a workload's issuer is this cluster."""
        return is_of_this_cluster(workload, self.issuers)


def is_of_this_cluster(workload: TrustedWorkload, issuers: Issuers) -> bool:
    """Whether a workload's issuer is the cluster that the operator runs in."""
    issuer = issuers.known.get(workload.spec.issuer_ref.name)
    return issuer is not None and issuer.spec.keys.cluster is not None


def differing(before: ServiceResult | None, after: ServiceResult) -> set[str]:
    """The names of workloads of which the two say something else."""
    if before is None:
        return {*after.trusted, *after.problems}
    names = {*before.trusted, *before.problems, *after.trusted, *after.problems}
    if before.service is not after.service or before.peers != after.peers:
        # Whether calls arrive depends on all peers.
        return names
    if before.gap.generation != after.gap.generation or before.gap.is_known != after.gap.is_known:
        # Their messages say which bundle gates run on.
        return names
    changed = {
        name
        for name in names
        if before.trusted.get(name) is not after.trusted.get(name)
        or before.problems.get(name) != after.problems.get(name)
    }
    was, is_now = before.gap, after.gap
    changed |= (was.absent ^ is_now.absent) | (was.outdated ^ is_now.outdated)
    changed |= (was.lingering ^ is_now.lingering) & names
    return (
        changed | (before.gone ^ after.gone) | (before.ended ^ after.ended) | (before.waiting ^ after.waiting)
    )


ServiceResults = dict[NamespacedName, ServiceResult]


def unpublished(results: ServiceResults) -> int:
    """How many services' bundles could not be published as the resources say; from any thread."""
    values = [each.published for each in list(results.values())]
    return sum(each is not None and each.verdict is not Verdict.PUBLISHED for each in values)


def withdrawals_unpublished(results: ServiceResults) -> int:
    """How many workloads are let in that the resources do not trust; from any thread."""
    return sum(len(each.gap.lingering) for each in list(results.values()))


class Keys(Protocol):
    """What is known of one issuer's keys (`watchword.operator.keys.held_issuer.IssuerKeys`)."""

    @property
    def jwks(self) -> bytes | None:
        """What is trusted."""

    @property
    def held(self) -> tuple[HeldKey, ...]:
        """Every key."""

    @property
    def fresh(self) -> ConditionValue:
        """KeysFresh."""

    @property
    def settled(self) -> ConditionValue:
        """RotationSettled."""

    @property
    def fetched_at(self) -> float | None:
        """Unix seconds of the last good answer."""


class JudgedIssuers(Protocol):
    """The issuers, judged (`watchword.operator.controllers.issuer.IssuerController`)."""

    issuers: Issuers

    def keys_of(self, name: str, uid: str) -> Keys | None:
        """What was known of an issuer's keys when it was judged; None: this very object was not yet."""

    def problems_of(self, name: str) -> tuple[Problem, ...]:
        """What is wrong with an issuer or some of its keys."""


class StatusWriter:
    """Writes the status of one object, one call each."""

    def __init__(
        self,
        cache: Cache,
        client: ObjectClient,
        *,
        issuers: JudgedIssuers,
        pods: Pods,
        results: ServiceResults,
        desks: DeskResults,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Judge by what is known; write through a client; `clock` gives seconds since the epoch."""
        self._cache, self._issuers, self._pods, self._results = cache, issuers, pods, results
        self._desks, self._client, self._clock = desks, client, clock

    async def write(self, key: ObjectKey) -> list[Announcement]:
        """Write one object's status, where it is not as it should be.

        Returns:
            The conditions that turned from good to bad by this, or back. Only a change that was written is
            news, so a restart tells nothing twice.

        Raises:
            RefusedError, UnavailableError, NotLeadingError: to be tried again.
        """
        entry = self._cache.entry(*key)
        if entry is None:
            return []
        wanted = self._wanted(entry)
        if wanted is None or wanted == entry.status:
            return []
        kind, namespace, name = key
        body = {
            "apiVersion": API_VERSION,
            "kind": kind,
            # The UID: what is said of one object must not be written to its successor.
            "metadata": {"name": name, "uid": entry.uid, **({"namespace": namespace} if namespace else {})},
            "status": msgspec.to_builtins(wanted),
        }
        before = entry.status
        try:
            metadata: dict[str, Any] = await self._client.apply(body, subresource="status")
        except ConflictError:
            return []
        except RefusedError as refused:
            if refused.status == 404:
                return []
            raise
        self._cache.wrote_status(key, entry.uid, version_of(metadata), wanted)
        known = {each.type: each for each in before.conditions}
        return [
            Announcement(entry.key, entry.uid, each.type, each.status, each.reason)
            for each in wanted.conditions
            if _is_news(known.get(each.type), each)
        ]

    def _wanted(self, entry: Entry) -> Status | None:
        kind, _, name = entry.key
        now = self._clock()
        if kind == ISSUER:
            keys = self._issuers.keys_of(name, entry.uid)
            if keys is None and entry.resource is not None:
                return None
            return issuer_status(entry, self._issuers.issuers, keys, self._issuers.problems_of(name), now)
        of_desks = self._desks.get(entry.key)
        if isinstance(of_desks, DeskResult):
            return desk_status(entry, of_desks, now)
        if isinstance(of_desks, ClientResult):
            return client_status(entry, of_desks, now)
        if isinstance(of_desks, ProviderResult):
            return None if of_desks.is_pending else provider_status(entry, of_desks, now)
        if kind in (DESK, CLIENT, PROVIDER):
            return None
        service = entry.service
        result = self._results.get(service) if service is not None else None
        if kind == SERVICE:
            if result is None:
                return None
            shared = self._cache.shares_audience(entry.key.namespaced)
            return service_status(entry, result, self._pods, now, shares_audience=shared)
        if service is not None and result is None:
            return None
        return workload_status(entry, result, self._pods, self._cache.labels_of, now)


def workload_status(
    entry: Entry,
    result: ServiceResult | None,
    pods: Pods,
    labels_of: Callable[[str], Mapping[str, str]],
    now: float,
) -> WorkloadStatus:
    """The status of a TrustedWorkload.

    Args:
        entry: the object.
        result: of its service; None: it names none that can be read.
        pods: the pods that run here.
        labels_of: gives a Namespace's labels.
        now: seconds since the epoch.
    """
    values = [_readiness(entry, result)]
    workload = result.trusted.get(entry.key[2]) if result else None
    if result is not None and result.service is not None and workload is not None:
        is_here = result.is_here(workload)
        reach = reachability(result.service, workload, result.peers, pods, labels_of, is_here=is_here)
        if values[0].verdict is Verdict.TRUSTED and reach.verdict.status == "False":
            # One answer to whether it works: being let in is nothing to calls that never arrive.
            values[0] = Verdict.CALLS_DROPPED.with_message(
                f"{Verdict.CALLS_DROPPED.meaning} {reach.verdict.meaning}", reach.verdict.remedy
            )
        values.append(reach)
        values.append(narrowness(result.service, workload, result.accounts_here, pods))
    return WorkloadStatus(
        observed_generation=entry.generation,
        conditions=conditions(values, entry.status.conditions, entry.generation, now),
    )


def service_status(
    entry: Entry, result: ServiceResult, pods: Pods, now: float, *, shares_audience: bool = False
) -> ServiceStatus:
    """The status of a ProtectedService.

    Args:
        entry: the object.
        result: of its last reconcile.
        pods: the pods that run here.
        now: seconds since the epoch.
        shares_audience: a service of another namespace declares an audience that this one declares.
    """
    before = entry.status if isinstance(entry.status, ServiceStatus) else ServiceStatus()
    values = [_unread(entry) or _service_readiness(result)]
    values += [value for value in (result.published, result.policy) if value is not None]
    if result.service is not None:
        values.append(_distinctness(result, shares_audience))
        values.append(gate_coverage(result.service, pods.counts.get(entry.key.namespace, {})))
        values += _desk_acceptance(result.service, result.desk_problem)
        values += _report_only(result.report_only)
    # In the bundle that gates read, and not in the one that was to be published.
    trusted = len(result.trusted.keys() - result.gap.absent)
    counts = WorkloadCounts(trusted=trusted, refused=len(result.problems))
    return ServiceStatus(
        observed_generation=entry.generation,
        conditions=conditions(values, entry.status.conditions, entry.generation, now),
        # What gates were told once stays true while nothing else is published.
        audience=result.audience or before.audience,
        bundle=result.bundle,
        workloads=counts if result.service is not None else None,
        network_policy_preview=result.preview,
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
            before,
            observed_generation=entry.generation,
            conditions=conditions(values, entry.status.conditions, entry.generation, now),
        )
    ready = _unread(entry) or _issuer_readiness(entry.key[2], issuers, keys, problems)
    held = msgspec.convert(held_to_status(keys.held), tuple[KeyStatus, ...])
    # A time for each poll would be a write for each poll.
    fetched = before.last_fetch_time
    if keys.fetched_at is not None and (held != before.keys or fetched is None):
        fetched = rfc3339(keys.fetched_at)
    return IssuerStatus(
        observed_generation=entry.generation,
        conditions=conditions(
            [ready, _freshness(entry, keys), _settlement(keys, problems)],
            entry.status.conditions,
            entry.generation,
            now,
        ),
        keys=held,
        last_fetch_time=fetched,
    )


def _settlement(keys: Keys, problems: tuple[Problem, ...]) -> ConditionValue:
    """RotationSettled: a key that another issuer holds too waits for a person as well."""
    contested = tuple(each for each in problems if each.reason is ProblemReason.KEY_CONFLICT)
    if not contested:
        return keys.settled
    return Verdict.KEYS_CONTESTED.with_message(listed(contested), contested[0].remedy)


def _freshness(entry: Entry, keys: Keys) -> ConditionValue:
    """KeysFresh: until this process has asked itself, what the one before it found is what counts."""
    before = next((each for each in entry.status.conditions if each.type == ConditionType.KEYS_FRESH), None)
    if keys.fresh.verdict is not Verdict.NEVER_FETCHED or not keys.held or before is None:
        return keys.fresh
    verdict = _OF_VERDICT.get((ConditionType.KEYS_FRESH.value, before.reason))
    return keys.fresh if verdict is None else ConditionValue(verdict, before.message)


def _readiness(entry: Entry, result: ServiceResult | None) -> ConditionValue:
    """Ready, of a workload: what the resources say of it, where the bundle that gates read says the same."""
    asked = _asked_for(entry, result)
    if result is None or entry.is_newer:
        return asked
    name, gap = entry.key[2], result.gap
    if asked.verdict is not Verdict.TRUSTED:
        if name not in gap.lingering and gap.is_known:
            return asked
        may = "still lets its calls in" if gap.is_known else "may still let its calls in"
        detail = f"It is not to be trusted ({asked.verdict.reason}), and this is not published. {gap.source}"
        return Verdict.STILL_LET_IN.with_message(f"{detail}, which {may}")
    if name in gap.absent:
        if name in result.waiting:
            return Verdict.NO_ROOM.with_message()
        return Verdict.NOT_IN_BUNDLE.with_message(f"{Verdict.NOT_IN_BUNDLE.meaning} {gap.source}")
    if name in gap.outdated or not gap.is_known:
        return Verdict.CHANGE_NOT_PUBLISHED.with_message(
            f"{gap.source}, which holds an earlier version of it: its calls are decided by that one"
            if gap.is_known
            else f"{gap.source}: whether it is in it, and in which version, is not known"
        )
    return asked


def _asked_for(entry: Entry, result: ServiceResult | None) -> ConditionValue:
    """Ready, as it is once what the resources say is published."""
    unread = _unread(entry)
    if unread is not None:
        return unread
    name = entry.key[2]
    problem = result.problems.get(name) if result else None
    if problem is not None:
        return _of_problem(problem)
    workload = result.trusted.get(name) if result else None
    if result is None or workload is None:
        return Verdict.SERVICE_NOT_FOUND.with_message()
    if workload.spec.suspend:
        return Verdict.SUSPENDED.with_message()
    if name in result.ended:
        return Verdict.EXPIRED.with_message(f"spec.expires ({workload.spec.expires}) has passed")
    if name in result.gone:
        account = workload.spec.service_account
        detail = f"the ServiceAccount {account.namespace}/{account.name} does not exist in this cluster"
        return Verdict.ACCOUNT_GONE.with_message(detail)
    return Verdict.TRUSTED.with_message()


def _service_readiness(result: ServiceResult) -> ConditionValue:
    if result.published is None or result.published.verdict is not Verdict.PUBLISHED:
        return Verdict.NOT_PUBLISHED.with_message()
    fine = (Verdict.ENFORCED, Verdict.GATE_PORT_OPENED, Verdict.PREVIEWED, Verdict.OFF)
    if result.policy is None or result.policy.verdict not in fine:
        return Verdict.POLICY_NOT_APPLIED.with_message()
    return Verdict.SERVING.with_message()


def _desk_acceptance(service: ProtectedService, problem: Problem | None) -> list[ConditionValue]:
    """DeskAccepted, of a service that names a desk."""
    if service.spec.token_desk_ref is None:
        return []
    if problem is None:
        return [Verdict.DESK_TOKENS_ACCEPTED.with_message()]
    is_there = problem.reason is ProblemReason.DESK_NOT_ALLOWED
    verdict = Verdict.DESK_NOT_ALLOWED if is_there else Verdict.DESK_NOT_FOUND
    return [verdict.with_message(f"{problem.field}: {problem.detail}", problem.remedy)]


def _report_only(ruling: ReportOnlyRuling | None) -> list[ConditionValue]:
    """ReportOnly, of a service that has a time for it."""
    if ruling is None:
        return []
    verdict, problem = _REPORT_ONLY[ruling.state], ruling.problem
    if problem is None:
        return [verdict.with_message()]
    return [verdict.with_message(f"{problem.field}: {problem.detail}", problem.remedy)]


def _distinctness(result: ServiceResult, shares_audience: bool) -> ConditionValue:
    if result.reserved:
        return Verdict.AUDIENCE_RESERVED.with_message(listed(result.reserved))
    return (Verdict.AUDIENCE_SHARED if shares_audience else Verdict.AUDIENCES_DISTINCT).with_message()


def _issuer_readiness(
    name: str, issuers: Issuers, keys: Keys, problems: tuple[Problem, ...]
) -> ConditionValue:
    if name in issuers.ready:
        # Keys that were left out next to good ones.
        return Verdict.KEYS_TRUSTED.with_message(listed(problems))
    decisive = [each for each in problems if each.reason is not ProblemReason.BAD_KEY]
    if not decisive:
        return Verdict.NO_USABLE_KEY.with_message(listed(problems))
    if decisive[0].reason is ProblemReason.KEYS_UNAVAILABLE and keys.held:
        return Verdict.AWAITING_APPROVAL.with_message()
    return _of_problem(decisive[0], listed(problems))


def _unread(entry: Entry) -> ConditionValue | None:
    """What is wrong with an object whose newest version is not the one that counts."""
    if not entry.problems:
        return None
    if entry.is_over_budget:
        return Verdict.NAMESPACE_BUDGET_EXCEEDED.with_message()
    verdict = Verdict.NEWER_THAN_OPERATOR if entry.is_newer else Verdict.INVALID_FIELD
    fields = listed(entry.problems)
    return verdict.with_message(f"{fields}. {verdict.meaning}" if entry.is_newer else fields)


def _of_problem(problem: Problem, detail: str = "") -> ConditionValue:
    verdict = _OF_VERDICT.get((ConditionType.READY.value, problem.reason.value), Verdict.INVALID_FIELD)
    return verdict.with_message(detail or f"{problem.field}: {problem.detail}", problem.remedy)


def _is_news(before: Condition | None, after: Condition) -> bool:
    verdict = _OF_VERDICT.get((after.type, after.reason))
    if verdict is None:
        return False
    if after.status == "False":
        return verdict.is_told and (before is None or before.reason != after.reason)
    # That all is well is news where it was told that it was not.
    earlier = _OF_VERDICT.get((before.type, before.reason)) if before is not None else None
    return (
        after.status == "True"
        and verdict.type is ConditionType.READY
        and earlier is not None
        and earlier.is_told
    )
