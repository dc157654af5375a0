# SPDX-License-Identifier: Apache-2.0
"""Reconciles one service: compiles it from the cache, publishes its bundle, applies its other objects, and
returns what came of it.

Trust comes first: the bundle before the rest. What cannot be written leaves what is there, and becomes a
condition; what fails for now is tried again.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from watchword.kube.names import NamespacedName, ObjectKey
from watchword.kube.requests import ConflictError, ObjectClient, RefusedError, UnavailableError
from watchword.operator.cache import Cache
from watchword.operator.controllers.bundle import Held, Publisher, publish_what_fits
from watchword.operator.metrics import OperatorMetrics
from watchword.operator.owned_objects import (
    NameTakenError,
    OwnedObjects,
    OwnedObjectWriter,
    owned_policy,
    policy_name,
    role,
    role_binding,
)
from watchword.operator.pods import PodIndex
from watchword.operator.published_gap import PublishedGap, gap_between
from watchword.operator.status import JudgedIssuers, ServiceResult, is_of_this_cluster
from watchword.operator.write_refusals import remedy_of
from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer, Peer, ProtectedService, TrustedWorkload
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.api.v1alpha1.status import BundleStatus, ServiceStatus
from watchword.trust.audience import DEFAULT_RESERVED, AudienceRules, urls_of_issuers
from watchword.trust.conditions import ISSUER, SERVICE, WORKLOAD, ConditionValue, Verdict
from watchword.trust.desks import Desks, with_desks
from watchword.trust.issuers import Issuers
from watchword.trust.overlapping_selectors import (
    matches,
    opens_app_port_of,
    opens_gate_port_of,
    problem_of_overlap,
    selects_all_of,
)
from watchword.trust.partial_bundle import (
    Standing,
    standing_bundle,
    with_own_audiences,
    with_present_desk,
    with_present_report_only,
)
from watchword.trust.report_only import as_applied
from watchword.trust.service import ServiceCompilation, compile_service, has_ended, problem_of_orphan

# A preview that is longer is not shown: the field has that bound.
_MAX_PREVIEW: Final = 262_144
# Services compiled in a thread when they have more workloads than this: one must not stop the others.
_LARGE: Final = 1_000

# Published with the head of what was compiled, whether or not all workloads found room.
_CURRENT: Final = (Verdict.PUBLISHED, Verdict.TOO_LARGE)


class _Published(msgspec.Struct, frozen=True):
    """What came of publishing: the condition, what is published, what gates do otherwise, who has no room."""

    condition: ConditionValue
    status: BundleStatus | None
    gap: PublishedGap = PublishedGap()
    waiting: frozenset[str] = frozenset()


class UnfinishedError(Exception):
    """What a service asks for could not be done; its conditions say why."""


class AudienceSettings(msgspec.Struct, frozen=True):
    """What is set about audiences.

    Attributes:
        former_cluster_ids: UIDs that the `kube-system` Namespace had: tokens for those are still accepted.
        reserved: audiences of others, which no service may take tokens for.
    """

    former_cluster_ids: tuple[str, ...] = ()
    reserved: tuple[str, ...] = DEFAULT_RESERVED


class JudgedDesks(Protocol):
    """The desks, judged (`watchword.operator.controllers.desk.DeskController`)."""

    desks: Desks


class ServiceReconciliation(msgspec.Struct, frozen=True):
    """What a reconcile came to, for the caller to act on.

    Attributes:
        result: what the statuses of the service and its workloads are made from; None: there is nothing new
            to be said, see `error`.
        hand_edits: what another client had done to objects of the service and was put right, to be told as
            Events.
        look_again_seconds: until a workload of it expires, or report only begins or ends; None: time alone
            changes nothing.
        error: why it has to be reconciled again, later each time; None: it need not.
    """

    result: ServiceResult | None
    hand_edits: tuple[str, ...] = ()
    look_again_seconds: float | None = None
    error: Exception | None = None


class ServiceController:
    """Reconciles services, one call each; calls for different services may overlap.

    Attributes:
        server_audiences: the audiences of the API server itself, as far as it said.
    """

    def __init__(
        self,
        cache: Cache,
        client: ObjectClient,
        *,
        issuers: JudgedIssuers,
        desks: JudgedDesks,
        pods: PodIndex,
        owned: OwnedObjects,
        metrics: OperatorMetrics,
        audiences: AudienceSettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read from a cache; write through a client.

        Args:
            cache: the resources.
            client: writes objects.
            issuers: the issuers, judged.
            desks: the desks, judged.
            pods: the pods that run here.
            owned: the operator's own objects.
            metrics: counts what came of it.
            audiences: what is set about audiences.
            clock: gives seconds since the epoch.
        """
        self._cache, self._issuers, self._desks, self._pods = cache, issuers, desks, pods
        self._publisher = Publisher(client, owned, clock)
        self._objects = OwnedObjectWriter(client, owned)
        self._metrics, self._clock = metrics, clock
        self._unread_at_start: frozenset[ObjectKey] = frozenset()
        self.server_audiences: frozenset[str] = frozenset()
        self._audience_settings = audiences or AudienceSettings()
        self._audience_rules: tuple[tuple[str, Issuers, frozenset[str]], AudienceRules] | None = None
        self._service_audience_rules: tuple[AudienceRules, Desks, AudienceRules] | None = None

    def remember_unread(self) -> None:
        """Note what is there at the start and newer than this operator: what it said before is not known."""
        self._unread_at_start = frozenset(
            entry.key
            for kind in (ISSUER, SERVICE, WORKLOAD)
            for entry in self._cache.entries(kind)
            if entry.is_unread
        )

    async def reconcile(self, name: NamespacedName, since: float) -> ServiceReconciliation:
        """Bring one service to what the resources say.

        Args:
            name: the service.
            since: when this was first asked for, by the loop's clock.

        Raises:
            NotLeadingError: this process leads no more.
        """
        hand_edits: list[str] = []
        try:
            result, wait = await self._reconciled(name, since, hand_edits)
        except (ConflictError, RefusedError, UnavailableError) as error:
            return ServiceReconciliation(None, tuple(hand_edits), error=error)
        # No event tells when a quota, a right or a name is free: it is tried again.
        unfinished = None if result.unfinished is None else UnfinishedError(result.unfinished.message)
        return ServiceReconciliation(result, tuple(hand_edits), wait, unfinished)

    @property
    def audience_rules(self) -> AudienceRules:
        """The rules by which desks are judged, made again only when what they are made of changed."""
        of = (self._cache.cluster_id, self._issuers.issuers, self.server_audiences)
        if self._audience_rules is None or any(
            a is not b for a, b in zip(self._audience_rules[0], of, strict=True)
        ):
            rules = AudienceRules(
                cluster_id=of[0],
                former_cluster_ids=self._audience_settings.former_cluster_ids,
                reserved=self._audience_settings.reserved,
                urls=urls_of_issuers(of[1].known.values()) | of[2],
            )
            self._audience_rules = (of, rules)
        return self._audience_rules[1]

    @property
    def service_audience_rules(self) -> AudienceRules:
        """The rules for audiences of services: the desks' URLs belong to others too. Made again as seldom."""
        of = (self.audience_rules, self._desks.desks)
        made = self._service_audience_rules
        if made is None or made[0] is not of[0] or made[1] is not of[1]:
            made = (*of, with_desks(*of))
            self._service_audience_rules = made
        return made[2]

    async def _reconciled(
        self, name: NamespacedName, since: float, hand_edits: list[str]
    ) -> tuple[ServiceResult, float | None]:
        entries = self._cache.workloads_of(name)
        workloads = [each.resource for each in entries if isinstance(each.resource, TrustedWorkload)]
        service = self._cache.service(name)
        if service is None and self._is_frozen(name):
            # What it says is not known: what it said stays, and its workloads can still be put out.
            self._count("frozen")
            remainder = self._remainder_of(name)
            if remainder is None:
                result = ServiceResult(None, {}, {}, self._issuers.issuers, Verdict.FROZEN.with_message())
                return result, None
            compiled = await self._compiled(remainder, workloads)
            frozen = await self._publish_frozen(name, remainder, compiled, as_published=True)
            return self._result(remainder, compiled, frozen, None), None
        if service is None:
            self._count("no_service")
            problems = {each.metadata.name: problem_of_orphan(each) for each in workloads}
            return ServiceResult(None, {}, problems, self._issuers.issuers), None
        compiled = await self._compiled(service, workloads)
        if self._is_frozen(name):
            self._count("frozen")
            frozen = await self._publish_frozen(name, service, compiled, as_published=False)
            return self._result(service, compiled, frozen, None), None
        published = await self._publish(name, service, compiled, since, hand_edits)
        policy, preview = await self._apply_policy(name, service, compiled, hand_edits)
        is_published = published.condition.verdict is Verdict.PUBLISHED
        self._count("published" if is_published else "not_published")
        result = self._result(service, compiled, published, policy)
        return msgspec.structs.replace(result, preview=preview), self._next_change(compiled)

    async def _compiled(
        self, service: ProtectedService, workloads: list[TrustedWorkload]
    ) -> ServiceCompilation:
        namespace = service.metadata.namespace
        labels, issuers = self._cache.labels_of(namespace), self._issuers.issuers
        live, now, audiences = self._cache.live_uids(workloads), self._clock(), self.service_audience_rules
        desks = self._desks.desks

        def compile_it() -> ServiceCompilation:
            return compile_service(
                service,
                workloads,
                issuers,
                labels=labels,
                live_uids=live,
                now=now,
                audiences=audiences,
                desks=desks,
            )

        return await asyncio.to_thread(compile_it) if len(workloads) > _LARGE else compile_it()

    def _is_frozen(self, name: NamespacedName) -> bool:
        """Whether what decides here was there at the start, and still cannot be understood."""
        known = (self._cache.entry(*key) for key in self._unread_at_start)
        unread = [entry for entry in known if entry is not None and entry.is_unread]
        self._unread_at_start = frozenset(entry.key for entry in unread)
        return self._said(name) is not None and any(
            entry.key[0] == ISSUER or entry.service == name for entry in unread
        )

    def _remainder_of(self, name: NamespacedName) -> ProtectedService | None:
        entry = self._cache.entry(SERVICE, *name)
        remainder = entry.remainder if entry is not None else None
        return remainder if isinstance(remainder, ProtectedService) else None

    async def _publish_frozen(
        self,
        name: NamespacedName,
        service: ProtectedService,
        compiled: ServiceCompilation,
        *,
        as_published: bool,
    ) -> _Published:
        """Publish what is understood, and of the rest what was published, less what was taken back."""
        said, frozen = self._said(name), Verdict.FROZEN.with_message()
        held = await self._publisher.held(service)
        published = held.own
        if published is None:
            # Nothing is known of what gates run on: then nothing takes its place.
            return _Published(frozen, said, self._gap_of(held, compiled))
        entries = self._cache.workloads_of(name)
        workloads = [each.resource or each.remainder for each in entries]
        kept = Standing(
            understood={
                each.key[2]: each.resource for each in entries if isinstance(each.resource, TrustedWorkload)
            },
            remainders={
                each.key[2]: each.remainder
                for each in entries
                if each.is_unread and isinstance(each.remainder, TrustedWorkload)
            },
            issuers={
                each.key[2]: each.remainder
                for each in self._cache.entries(ISSUER)
                if each.is_unread and isinstance(each.remainder, ClusterTrustedIssuer)
            },
            live_uids=self._cache.live_uids(each for each in workloads if isinstance(each, TrustedWorkload)),
        )
        bundle = standing_bundle(published, compiled.bundle, kept, as_published=as_published)
        bundle = with_own_audiences(bundle, self.service_audience_rules, service)
        bundle = with_present_desk(bundle, compiled.bundle, published, kept)
        bundle = with_present_report_only(bundle, compiled.bundle, published)
        if bundle.digest == published.digest:
            return _Published(frozen, said, self._gap_of(held, compiled))
        try:
            fitted = await publish_what_fits(self._publisher, service, bundle, said, held)
            said = said if fitted.publication is None else fitted.publication.bundle
        except (NameTakenError, RefusedError, UnavailableError) as problem:
            gap = await self._gap(service, compiled, problem)
            return _Published(_not_published(problem, gap), said, gap)
        return _Published(frozen, said, self._gap_of(fitted.held, compiled))

    def _said(self, name: NamespacedName) -> BundleStatus | None:
        entry = self._cache.entry(SERVICE, *name)
        return entry.status.bundle if entry and isinstance(entry.status, ServiceStatus) else None

    async def _publish(
        self,
        name: NamespacedName,
        service: ProtectedService,
        compiled: ServiceCompilation,
        since: float,
        hand_edits: list[str],
    ) -> _Published:
        """Publish the bundle, and let gates read it."""
        bundle, waiting = self._said(name), frozenset[str]()
        try:
            fitted = await publish_what_fits(self._publisher, service, compiled.bundle, bundle)
            publication, waiting = fitted.publication, fitted.waiting
            if publication is not None:
                bundle = publication.bundle
            if publication is not None and publication.is_new:
                self._metrics.edit_to_bundle.observe(asyncio.get_running_loop().time() - since)
            if publication is not None and publication.edit_undone:
                hand_edits.append(publication.edit_undone)
            for body in (role(service), role_binding(service)):
                if undone := await self._objects.apply(service, body):
                    hand_edits.append(undone)
        except (NameTakenError, RefusedError, UnavailableError) as problem:
            gap = await self._gap(service, compiled, problem)
            return _Published(_not_published(problem, gap), bundle, gap, waiting)
        if fitted.problem:
            gap = self._gap_of(fitted.held, compiled)
            condition = Verdict.TOO_LARGE.with_message(f"{fitted.problem}. {gap.summary()}")
            return _Published(condition, bundle, gap, waiting)
        return _Published(Verdict.PUBLISHED.with_message(), bundle)

    async def _gap(
        self, service: ProtectedService, compiled: ServiceCompilation, problem: Exception
    ) -> PublishedGap:
        """What gates do otherwise than the resources say after a write failed, by what is really held now.

        Raises:
            UnavailableError: `problem`, or the read, where nothing can be read either.
        """
        try:
            return self._gap_of(await self._publisher.held(service), compiled)
        except RefusedError:
            return PublishedGap(is_known=False)
        except UnavailableError as away:
            raise (problem if isinstance(problem, UnavailableError) else away) from None

    def _gap_of(self, held: Held, compiled: ServiceCompilation) -> PublishedGap:
        if held.is_there and held.bundle is None:
            # Gates keep the last good one rather than what they cannot read.
            return PublishedGap(is_known=False)
        return gap_between(held.bundle, compiled.bundle, self._clock())

    async def _apply_policy(
        self,
        name: NamespacedName,
        service: ProtectedService,
        compiled: ServiceCompilation,
        hand_edits: list[str],
    ) -> tuple[ConditionValue, str | None]:
        applied = as_applied(service, compiled.report_only)
        mode, policy = applied.spec.network_policy.mode, compiled.policy
        try:
            if mode != "Enforce" or policy is None:
                metadata = {"namespace": name.namespace, "name": policy_name(name.name)}
                await self._objects.remove(
                    service,
                    {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata},
                )
                if mode == "Off":
                    return Verdict.OFF.with_message(), None
                return _previewed(msgspec.json.encode(policy).decode())
            if undone := await self._objects.apply(service, owned_policy(service, policy)):
                hand_edits.append(undone)
        except NameTakenError as taken:
            return Verdict.POLICY_NAME_TAKEN.with_message(taken.detail, taken.remedy), None
        except RefusedError as refused:
            detail = f"the API server says: {refused.message}"
            return Verdict.POLICY_REFUSED.with_message(detail, remedy_of(refused)), None
        except UnavailableError as away:
            return Verdict.POLICY_REFUSED.with_message(f"the API server did not carry it out: {away}"), None
        return self._overlap_of(service) or Verdict.ENFORCED.with_message(), None

    def _overlap_of(self, service: ProtectedService) -> ConditionValue | None:
        """Whether another service's policy opens the app's port, or the gate's, on pods that both select."""
        found: ConditionValue | None = None
        namespace = service.metadata.namespace
        for entry in sorted(self._cache.services_in(namespace), key=lambda each: each.key):
            other = entry.resource
            if not isinstance(other, ProtectedService) or other.metadata.name == service.metadata.name:
                continue
            opens_app, opens_gate = opens_app_port_of(other, service), opens_gate_port_of(other, service)
            if not (opens_app or opens_gate) or not self._share_pods(service, other):
                continue
            if opens_app:
                problem = problem_of_overlap(service, other)
                return Verdict.SELECTORS_OVERLAP.with_message(problem.detail, problem.remedy)
            name, port = other.metadata.name, service.spec.port
            detail = (
                f"the NetworkPolicy of {name}, which selects the same pods, opens port {port} to every source"
            )
            found = found or Verdict.GATE_PORT_OPENED.with_message(detail)
        return found

    def _share_pods(self, one: ProtectedService, other: ProtectedService) -> bool:
        if selects_all_of(one, other) or selects_all_of(other, one):
            return True
        return any(
            matches(one, labels) and matches(other, labels)
            for group in self._pods.in_namespace(one.metadata.namespace)
            for labels in [dict(group.labels)]
        )

    def _next_change(self, compiled: ServiceCompilation) -> float | None:
        """Seconds until the first workload expires, or report only begins or ends; None: none will."""
        now = self._clock()
        ends = [parse_time(each.spec.expires) for each in compiled.workloads if each.spec.expires is not None]
        coming = [end - now for end in ends if end is not None and end > now]
        if compiled.report_only is not None and compiled.report_only.changes_in_seconds is not None:
            coming.append(compiled.report_only.changes_in_seconds)
        return min(coming, default=None)

    def _result(
        self,
        service: ProtectedService,
        compiled: ServiceCompilation,
        published: _Published,
        policy: ConditionValue | None,
    ) -> ServiceResult:
        peers: dict[str, Peer] = {}
        issuers, now = self._issuers.issuers, self._clock()
        for workload in compiled.workloads:
            peers.update((repr(peer), peer) for peer in workload.spec.from_ if not workload.spec.suspend)
        peers.update((repr(peer), peer) for peer in service.spec.network_policy.allow_from)
        return ServiceResult(
            service=as_applied(service, compiled.report_only),
            trusted={each.metadata.name: each for each in compiled.workloads},
            problems={each.name: each for each in compiled.problems},
            issuers=issuers,
            audience=compiled.audience if published.condition.verdict in _CURRENT else "",
            reserved=compiled.audience_problems,
            desk_problem=compiled.desk_problem,
            report_only=compiled.report_only,
            published=published.condition,
            policy=policy,
            bundle=published.status,
            waiting=published.waiting,
            gap=published.gap,
            peers=tuple(peers.values()),
            accounts_here=frozenset(
                (each.spec.service_account.namespace, each.spec.service_account.name)
                for each in compiled.workloads
                if is_of_this_cluster(each, issuers)
            ),
            gone=frozenset(row.name for row in compiled.bundle.workloads if row.live_uid == ""),
            ended=frozenset(each.metadata.name for each in compiled.workloads if has_ended(each, now)),
        )

    def _count(self, result: str) -> None:
        self._metrics.reconciles.labels(result).inc()


def _not_published(problem: Exception, gap: PublishedGap) -> ConditionValue:
    """The condition of a bundle, or of what lets gates read it, that could not be written."""
    if isinstance(problem, NameTakenError):
        return Verdict.BUNDLE_NAME_TAKEN.with_message(f"{problem.detail}. {gap.summary()}", problem.remedy)
    if isinstance(problem, RefusedError):
        detail = f"the API server says: {problem.message}. {gap.summary()}"
        return Verdict.WRITE_REFUSED.with_message(detail, remedy_of(problem))
    return Verdict.WRITE_REFUSED.with_message(
        f"the API server did not carry out the write: {problem}. {gap.summary()}",
        "see what it answered; an admission webhook that does not answer is the most frequent cause",
    )


def _previewed(text: str) -> tuple[ConditionValue, str | None]:
    if len(text) <= _MAX_PREVIEW:
        return Verdict.PREVIEWED.with_message(), text
    detail = f"the policy has {len(text)} characters, too many for status; `watchword compile` shows it"
    return Verdict.PREVIEWED.with_message(detail), None
