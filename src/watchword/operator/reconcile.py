# SPDX-License-Identifier: Apache-2.0
"""One service: compiled from what is in memory, published, its other objects kept, and what came of it said.

Trust comes first: the bundle before the rest. What cannot be written leaves what is there, and becomes a
condition; what fails for now is tried again.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from watchword.operator.apply import Refused, Writer
from watchword.operator.ensure import Ensurer
from watchword.operator.entries import Key
from watchword.operator.fitting import publish_what_fits
from watchword.operator.metrics import OperatorMetrics
from watchword.operator.names import Name, policy_name
from watchword.operator.objects import owned_policy, role, role_binding
from watchword.operator.outcomes import Outcome, is_of_this_cluster
from watchword.operator.publish import NameTaken, Publisher
from watchword.operator.world import World
from watchword.trust.conditions import ISSUER, SERVICE, WORKLOAD, ConditionValue, Verdict
from watchword.trust.narrowing import Standing, standing_bundle
from watchword.trust.overlap import (
    matches,
    opens_app_port_of,
    opens_gate_port_of,
    problem_of_overlap,
    selects_all_of,
)
from watchword.trust.rules import parse_time
from watchword.trust.service import ServiceCompilation, compile_service, has_ended, problem_of_orphan
from watchword.trust.specs import ClusterTrustedIssuer, Peer, ProtectedService, TrustedWorkload
from watchword.trust.specs.status import BundleStatus, ServiceStatus

# A preview that is longer is not shown: the field has that bound.
_MAX_PREVIEW: Final = 262_144
# Services compiled beside the loop when they have more workloads than this: one must not stop the others.
_LARGE: Final = 1_000


class Reconciler:
    """Reconciles services, one call each; calls for different services may overlap.

    Attributes:
        on_undone: called with a service's name and what somebody else had done to one of its objects.
        on_expiry: called with a service's name and the seconds until a workload of it expires.
    """

    def __init__(
        self,
        world: World,
        writer: Writer,
        metrics: OperatorMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read from a world; write through a writer; `clock` gives seconds since the epoch."""
        self._store, self._board, self._pods = world.store, world.board, world.pods
        self._publisher = Publisher(writer, world.managed, clock)
        self._ensurer = Ensurer(writer, world.managed)
        self._metrics, self._clock = metrics, clock
        self._unread_at_start: frozenset[Key] = frozenset()
        self.on_undone: Callable[[Name, str], None] = lambda *_: None
        self.on_expiry: Callable[[Name, float], None] = lambda *_: None

    def remember_unread(self) -> None:
        """Note what is there now, at the start, and newer than this operator: what it said is not known."""
        self._unread_at_start = frozenset(
            entry.key
            for kind in (ISSUER, SERVICE, WORKLOAD)
            for entry in self._store.entries(kind)
            if entry.is_unread
        )

    async def reconcile(self, name: Name, since: float) -> Outcome:
        """Bring one service to what the resources say.

        Args:
            name: the service.
            since: when this was first asked for, by the loop's clock.

        Raises:
            Conflict, Unavailable, NotLeading: to be tried again.
        """
        entries = self._store.workloads_of(name)
        workloads = [each.resource for each in entries if isinstance(each.resource, TrustedWorkload)]
        service = self._store.service(name)
        if service is None and self._is_frozen(name):
            # What it says is not known: what it said stands, and its workloads can still be put out.
            self._count("frozen")
            remainder = self._remainder_of(name)
            if remainder is not None:
                await self._publish_standing(
                    name, remainder, await self._compiled(remainder, workloads), as_published=True
                )
            return Outcome(None, {}, {}, self._board.issuers, Verdict.FROZEN.with_message())
        if service is None:
            self._count("no_service")
            problems = {each.metadata.name: problem_of_orphan(each) for each in workloads}
            return Outcome(None, {}, problems, self._board.issuers)
        compiled = await self._compiled(service, workloads)
        if self._is_frozen(name):
            self._count("frozen")
            bundle = await self._publish_standing(name, service, compiled, as_published=False)
            return self._outcome(service, compiled, Verdict.FROZEN.with_message(), None, bundle)
        published, bundle, waiting = await self._publish(name, service, compiled, since)
        policy, preview = await self._keep_policy(name, service, compiled)
        self._wait_for_expiry(name, compiled.workloads)
        self._count("published" if published.verdict is Verdict.PUBLISHED else "not_published")
        outcome = self._outcome(service, compiled, published, policy, bundle)
        return msgspec.structs.replace(outcome, preview=preview, waiting=waiting)

    async def _compiled(
        self, service: ProtectedService, workloads: list[TrustedWorkload]
    ) -> ServiceCompilation:
        namespace = service.metadata.namespace
        labels, issuers = self._store.labels_of(namespace), self._board.issuers
        live, now = self._store.live_uids(workloads), self._clock()

        def compile_it() -> ServiceCompilation:
            return compile_service(service, workloads, issuers, labels=labels, live_uids=live, now=now)

        return await asyncio.to_thread(compile_it) if len(workloads) > _LARGE else compile_it()

    def _is_frozen(self, name: Name) -> bool:
        """Whether what decides here was there at the start, and still cannot be understood."""
        known = (self._store.entry(*key) for key in self._unread_at_start)
        unread = [entry for entry in known if entry is not None and entry.is_unread]
        self._unread_at_start = frozenset(entry.key for entry in unread)
        return self._said(name) is not None and any(
            entry.key[0] == ISSUER or entry.service == name for entry in unread
        )

    def _remainder_of(self, name: Name) -> ProtectedService | None:
        entry = self._store.entry(SERVICE, *name)
        remainder = entry.remainder if entry is not None else None
        return remainder if isinstance(remainder, ProtectedService) else None

    async def _publish_standing(
        self, name: Name, service: ProtectedService, compiled: ServiceCompilation, *, as_published: bool
    ) -> BundleStatus | None:
        """Publish what is understood, and of the rest what was published, less what was taken back."""
        published = await self._publisher.published(service)
        said = self._said(name)
        if published is None:
            # Nothing is known of what gates run on: then nothing takes its place.
            return said
        entries = self._store.workloads_of(name)
        workloads = [each.resource or each.remainder for each in entries]
        standing = Standing(
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
                for each in self._store.entries(ISSUER)
                if each.is_unread and isinstance(each.remainder, ClusterTrustedIssuer)
            },
            live_uids=self._store.live_uids(each for each in workloads if isinstance(each, TrustedWorkload)),
        )
        bundle = standing_bundle(published, compiled.bundle, standing, as_published=as_published)
        if bundle.digest == published.digest:
            return said
        publication = (await publish_what_fits(self._publisher, service, bundle, said)).publication
        return said if publication is None else publication.bundle

    def _said(self, name: Name) -> BundleStatus | None:
        entry = self._store.entry(SERVICE, *name)
        return entry.status.bundle if entry and isinstance(entry.status, ServiceStatus) else None

    async def _publish(
        self, name: Name, service: ProtectedService, compiled: ServiceCompilation, since: float
    ) -> tuple[ConditionValue, BundleStatus | None, frozenset[str]]:
        """The condition BundlePublished, what is published, and who waits for room in it."""
        said, waiting = self._said(name), frozenset[str]()
        try:
            fitted = await publish_what_fits(self._publisher, service, compiled.bundle, said)
            publication, waiting = fitted.publication, fitted.waiting
            if publication is not None and publication.is_new:
                self._metrics.edit_to_bundle.observe(asyncio.get_running_loop().time() - since)
            if publication is not None and publication.edit_undone:
                self.on_undone(name, publication.edit_undone)
            for body in (role(service), role_binding(service)):
                if undone := await self._ensurer.ensure(service, body):
                    self.on_undone(name, undone)
        except NameTaken as taken:
            detail = f"a {taken.kind} {taken.name} is there that is not Watchword's"
            return Verdict.BUNDLE_NAME_TAKEN.with_message(detail), said, waiting
        except Refused as refused:
            detail = f"the API server says: {refused.message}"
            return Verdict.WRITE_REFUSED.with_message(detail), said, waiting
        bundle = said if publication is None else publication.bundle
        if fitted.problem:
            return Verdict.TOO_LARGE.with_message(fitted.problem), bundle, waiting
        return Verdict.PUBLISHED.with_message(), bundle, waiting

    async def _keep_policy(
        self, name: Name, service: ProtectedService, compiled: ServiceCompilation
    ) -> tuple[ConditionValue, str | None]:
        mode, policy = service.spec.network_policy.mode, compiled.policy
        try:
            if mode != "Enforce" or policy is None:
                metadata = {"namespace": name[0], "name": policy_name(name[1])}
                await self._ensurer.remove(
                    {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata}
                )
                if mode == "Off":
                    return Verdict.OFF.with_message(), None
                return _previewed(msgspec.json.encode(policy).decode())
            if undone := await self._ensurer.ensure(service, owned_policy(service, policy)):
                self.on_undone(name, undone)
        except NameTaken as taken:
            detail = f"a NetworkPolicy {taken.name} is there that is not Watchword's"
            return Verdict.POLICY_NAME_TAKEN.with_message(detail), None
        except Refused as refused:
            return Verdict.POLICY_REFUSED.with_message(f"the API server says: {refused.message}"), None
        return self._overlap_of(service) or Verdict.ENFORCED.with_message(), None

    def _overlap_of(self, service: ProtectedService) -> ConditionValue | None:
        """Whether another service's policy opens the app's port, or the gate's, on pods that both select."""
        found: ConditionValue | None = None
        namespace = service.metadata.namespace
        for entry in sorted(self._store.services_in(namespace), key=lambda each: each.key):
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
                f"the NetworkPolicy of {name}, which selects the same pods, lets everybody in to port {port}"
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

    def _wait_for_expiry(self, name: Name, workloads: Iterable[TrustedWorkload]) -> None:
        now = self._clock()
        ends = [parse_time(each.spec.expires) for each in workloads if each.spec.expires is not None]
        coming = [end - now for end in ends if end is not None and end > now]
        if coming:
            self.on_expiry(name, min(coming))

    def _outcome(
        self,
        service: ProtectedService,
        compiled: ServiceCompilation,
        published: ConditionValue,
        policy: ConditionValue | None,
        bundle: BundleStatus | None,
    ) -> Outcome:
        peers: dict[str, Peer] = {}
        issuers, now = self._board.issuers, self._clock()
        for workload in compiled.workloads:
            peers.update((repr(peer), peer) for peer in workload.spec.from_ if not workload.spec.suspend)
        peers.update((repr(peer), peer) for peer in service.spec.network_policy.allow_from)
        return Outcome(
            service=service,
            trusted={each.metadata.name: each for each in compiled.workloads},
            problems={each.name: each for each in compiled.problems},
            issuers=issuers,
            published=published,
            policy=policy,
            bundle=bundle,
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


def _previewed(text: str) -> tuple[ConditionValue, str | None]:
    if len(text) <= _MAX_PREVIEW:
        return Verdict.PREVIEWED.with_message(), text
    detail = f"the policy has {len(text)} characters, too many for status; `watchword compile` shows it"
    return Verdict.PREVIEWED.with_message(detail), None
