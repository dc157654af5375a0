# SPDX-License-Identifier: Apache-2.0
"""Does a leader's work: wires informers, queues and controllers, and acts on what reconciles return.

Nothing is decided before everything was read once: half a cluster looks like one that dropped its callers.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import kopf

from watchword.kube.connection import Connection
from watchword.kube.names import NamespacedName, ObjectKey
from watchword.kube.requests import ApiClient, NotLeadingError, ObjectClient, UnavailableError, WriteGuard
from watchword.kube.watch import Backoff
from watchword.operator.cache import Cache, received_from
from watchword.operator.controllers.desk import DeskController
from watchword.operator.controllers.issuer import IssuerController
from watchword.operator.controllers.service import AudienceSettings, ServiceController
from watchword.operator.desk_objects import DeskObjects
from watchword.operator.desk_status import DeskResults, keys_unwritten
from watchword.operator.event_recorder import EventRecorder
from watchword.operator.informers import Informers
from watchword.operator.key_sources import KeySources
from watchword.operator.keys.fetch import AddressRules
from watchword.operator.keys.providers import ProviderKeySync
from watchword.operator.keys.sync import KeySync
from watchword.operator.kopf_nudges import namespace_registry
from watchword.operator.metrics import KeyFigures, OperatorMetrics
from watchword.operator.owned_objects import FIELD_MANAGER, PLURALS, OwnedObjects
from watchword.operator.pods import PodIndex, workloads_seeing
from watchword.operator.settings import OperatorSettings
from watchword.operator.status import (
    ServiceResult,
    ServiceResults,
    StatusWriter,
    differing,
    unpublished,
    withdrawals_unpublished,
)
from watchword.operator.workqueue import Announcement, WorkQueues
from watchword.process.logs import LOGGER
from watchword.trust.api.v1alpha1 import API_VERSION, TrustedWorkload
from watchword.trust.conditions import CLIENT, DESK, ISSUER, PROVIDER, SERVICE, WORKLOAD, Verdict
from watchword.trust.event_reasons import EventReason, EventType

# How long the first answers of issuers without any known key are waited for.
_FIRST_KEYS_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.05
# An expiry is looked at again at least so often: the wall clock may be set while a timer runs.
_NAP_SECONDS: Final = 60.0
# A moment after an expiry, so that the clock has surely passed it.
_AFTER_EXPIRY_SECONDS: Final = 0.01
# A condition is told as an Event if it stays for so long: objects that belong together come one by one.
_SETTLE_SECONDS: Final = 1.0
# Before the API server's audiences are asked for again, and at most.
_SERVER_SECONDS: Final = 5.0
_MAX_SERVER_SECONDS: Final = 300.0


class Manager:
    """The work of one leadership; `registry` and `run` once each, on one loop."""

    def __init__(
        self,
        settings: OperatorSettings,
        connection: Connection,
        guard: WriteGuard,
        metrics: OperatorMetrics,
    ) -> None:
        """Work by a connection; write while a guard permits it."""
        self._metrics, self._is_warm = metrics, False
        self._client = ApiClient(connection)
        self._objects = ObjectClient(
            self._client, guard, metrics.api_requests, field_manager=FIELD_MANAGER, plurals=PLURALS
        )
        self._cache = Cache(settings.namespace_budget)
        self._pods = PodIndex(self._cache.labels_of)
        self._results: ServiceResults = {}
        self._desk_results: DeskResults = {}
        self._queues = WorkQueues()
        self._sources = KeySources(self._client)
        self._keys = KeySync(
            on_change=self._queues.keys_changed,
            read_secret=self._sources.secret,
            fetch_own_cluster=self._sources.own_keys,
            addresses=AddressRules(allowed=settings.allowed_key_networks),
        )
        self._provider_keys = ProviderKeySync(
            on_change=self._desks_changed,
            addresses=AddressRules(allowed=settings.allowed_key_networks, is_public_only=True),
        )
        owned, self._desk_objects = OwnedObjects(), DeskObjects(settings.desk_namespace)
        self._informers = Informers(
            connection.endpoint(),
            self._cache,
            self._queues,
            pods=self._pods,
            owned=owned,
            keys=self._keys,
            desks=self._desk_objects,
            window_seconds=settings.watch_window_seconds,
        )
        self._issuers = IssuerController(self._cache, self._keys)
        self._desks = DeskController(
            self._cache,
            self._objects,
            self._desk_objects,
            results=self._results,
            provider_keys=self._provider_keys,
        )
        self._services = ServiceController(
            self._cache,
            self._objects,
            issuers=self._issuers,
            desks=self._desks,
            pods=self._pods,
            owned=owned,
            metrics=metrics,
            audiences=AudienceSettings(settings.former_cluster_ids, settings.reserved_audiences),
        )
        self._statuses = StatusWriter(
            self._cache,
            self._objects,
            issuers=self._issuers,
            pods=self._pods,
            results=self._results,
            desks=self._desk_results,
        )
        self._events = EventRecorder(self._objects)
        self._server_asked = asyncio.Event()

    def registry(self) -> kopf.OperatorRegistry:
        """The handlers that kopf calls, on the loop that `run` runs on; they add keys and no more."""
        return namespace_registry(self._nudge)

    def is_warm(self) -> bool:
        """Whether everything was read once and every bundle is right; from any thread."""
        return self._is_warm

    def watch_ages(self) -> Mapping[str, float]:
        """Seconds since each watch received something; from any thread."""
        return self._informers.ages()

    async def run(self) -> None:
        """Work until cancelled; returns only when no write is in flight any more."""
        self._observe()
        queues = self._queues
        try:
            async with self._client, asyncio.TaskGroup() as group:
                for each in (self._informers, self._keys, self._provider_keys, self._events):
                    group.create_task(each.run())
                for worker in (
                    queues.issuers.run(self._reconcile_issuers),
                    queues.judgements.run(self._judge_desks),
                    queues.desks.run(self._reconcile_desks),
                    queues.services.run(self._reconcile_service),
                    queues.statuses.run(self._write_status),
                    queues.namespaces.run(self._look_at_pods),
                    queues.reads.run(self._read_within_budget),
                    queues.accounts.run(self._tell_of_replaced_account),
                    queues.announcements.run(self._announce),
                ):
                    group.create_task(worker)
                group.create_task(self._ask_server_audiences())
                group.create_task(self._warm_up())
        finally:
            self._metrics.key_ages.source = self._metrics.keys_pending.source = dict
            self._metrics.bundle_generations.source = dict

    async def _warm_up(self) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await _until(self._informers.is_synced)
        # Without it no audience can be derived, and an API server makes it before anything else.
        await _until(lambda: bool(self._cache.cluster_id))
        await self._server_asked.wait()
        read = loop.time()
        names = {entry.key.name for entry in self._cache.entries(ISSUER)}
        self._issuers.keep_keys(names)
        self._watch_config_maps()
        latest = read + _FIRST_KEYS_SECONDS
        await _until(lambda: loop.time() >= latest or not self._awaits_first_keys(names))
        self._issuers.judge(names)
        self._desks.judge(self._services.audience_rules)
        self._services.remember_unread()
        for name in self._cache.services():
            self._queues.services.add(name)
        self._queues.open()
        await _until(self._queues.services.is_idle)
        self._is_warm = True
        LOGGER.info(
            "warm",
            extra={
                "services": self._cache.count(SERVICE),
                "workloads": self._cache.count(WORKLOAD),
                "issuers": len(names),
                "read_seconds": round(read - begun, 3),
                "seconds": round(loop.time() - begun, 3),
            },
        )
        self._queues.judged(entry.key.name for entry in self._cache.entries(ISSUER))
        self._desks_changed()
        # The objects of desks as well: a new key's time begins when bundles can hold it.
        self._queues.open_rest()

    async def _ask_server_audiences(self) -> None:
        """Learn which audiences the API server takes, so that no service takes the same."""
        backoff = Backoff(_SERVER_SECONDS, _MAX_SERVER_SECONDS)
        while True:
            try:
                self._services.server_audiences = await self._sources.own_audiences()
            except (OSError, ValueError, UnavailableError) as error:
                wait = backoff.next()
                extra = {
                    "error_type": type(error).__name__,
                    "detail": str(error)[:300],
                    "retry_seconds": round(wait, 1),
                }
                LOGGER.warning("the API server's own audiences are not known yet", extra=extra)
                # Its own names are reserved all the same: waiting for ever would stop all else.
                self._server_asked.set()
                await asyncio.sleep(wait)
                continue
            if self._server_asked.is_set():
                for url in self._services.server_audiences:
                    for name in self._cache.services_declaring(url):
                        self._queues.services.add(name)
                self._desks_changed()
            self._server_asked.set()
            return

    def _awaits_first_keys(self, names: set[str]) -> bool:
        """Whether an issuer that no key is known of was not asked yet: soon it may be as good as any."""
        known = [self._keys.keys_of(name) for name in names if self._cache.issuer(name) is not None]
        return any(keys.jwks is None and keys.fresh.verdict is Verdict.NEVER_FETCHED for keys in known)

    def _watch_config_maps(self) -> None:
        wanted = self._keys.wanted_config_maps()
        self._informers.watch_config_maps(wanted, self._keys.take_unread_config_maps())

    def _nudge(self, namespace: str, labels: Mapping[str, str]) -> None:
        """Have the services of a Namespace reconciled if its labels are not those that are known.

        The informers do the same. Of a Namespace, nothing else decides anything.
        """
        if labels == self._cache.labels_of(namespace):
            return
        for entry in self._cache.services_in(namespace):
            self._queues.services.add(entry.key.namespaced)

    # What the queues' workers do.

    async def _reconcile_issuers(self, _: str, __: float) -> None:
        done = self._issuers.reconcile(self._queues.take_issuers())
        self._watch_config_maps()
        for service in done.services:
            self._queues.services.add(service)
        self._queues.judged(done.statuses)
        for name, change in done.changes:
            message = f"Key {change.kid} (thumbprint {change.thumbprint}): {change.detail}."
            self._tell(ObjectKey(ISSUER, "", name), change.event, message)
        # An issuer may have, or give back, the URL of a desk.
        self._desks_changed()

    def _desks_changed(self) -> None:
        if self._desk_objects.namespace:
            self._queues.desks_changed()

    async def _judge_desks(self, _: str, __: float) -> None:
        """Have services compiled again, at once: what was taken back waits for no write."""
        for service in self._desks.judge(self._services.audience_rules):
            self._queues.services.add(service)

    async def _reconcile_desks(self, _: str, __: float) -> None:
        try:
            done = await self._desks.reconcile(self._services.audience_rules)
        except NotLeadingError:
            return
        for service in done.services:
            self._queues.services.add(service)
        for event in done.events:
            reason = event.reason
            remedy = f" Remedy: {reason.remedy}" if reason.remedy else ""
            self._tell(event.desk, reason, f"Key {event.kid}: {reason.meaning}{remedy}")
        self._desk_results.clear()
        self._desk_results.update(done.results)
        for key in done.results:
            self._queues.statuses.add(key)
        if done.look_again_seconds is not None:
            self._queues.look_at_desks_after(
                min(done.look_again_seconds + _AFTER_EXPIRY_SECONDS, _NAP_SECONDS)
            )
        if done.error is not None:
            raise done.error

    async def _reconcile_service(self, name: NamespacedName, since: float) -> None:
        try:
            done = await self._services.reconcile(name, since)
        except NotLeadingError:
            return
        except Exception:
            self._metrics.reconciles.labels("failed").inc()
            raise
        for what in done.hand_edits:
            reason = EventReason.HAND_EDIT_UNDONE
            message = f"{what} by someone else, and was put back. Remedy: {reason.remedy}"
            self._tell(ObjectKey(SERVICE, *name), reason, message)
        if done.look_again_seconds is not None:
            wait = min(done.look_again_seconds + _AFTER_EXPIRY_SECONDS, _NAP_SECONDS)
            self._queues.services.add_after(name, wait)
        if done.result is None:
            self._metrics.reconciles.labels("failed").inc()
        else:
            self._take_result(name, done.result)
        if done.error is not None:
            raise done.error

    def _take_result(self, name: NamespacedName, result: ServiceResult) -> None:
        before = self._results.get(name)
        is_gone = result.service is None and self._cache.entry(SERVICE, *name) is None
        if is_gone and not result.problems:
            self._results.pop(name, None)
        else:
            self._results[name] = result
        if self._desk_objects.namespace and self._desks.concerns(name):
            self._queues.desks_changed()
        self._queues.reconciled(name, differing(before, result))
        self._queues.statuses.add(ObjectKey(SERVICE, *name))

    async def _write_status(self, key: ObjectKey, _: float) -> None:
        entry = self._cache.entry(*key)
        if key.kind in (DESK, CLIENT, PROVIDER) and self._queues.are_desks_waiting():
            # The reconcile that waits comes back to it.
            return
        service = entry.service if entry is not None else None
        if service is not None and self._queues.services.is_waiting(service):
            # What it would say is out of date already; the reconcile that waits comes back to it.
            if key.kind == WORKLOAD:
                self._queues.touch(service, key.name)
            return
        try:
            news = await self._statuses.write(key)
        except NotLeadingError:
            return
        for each in news:
            self._queues.announcements.add_after(each, _SETTLE_SECONDS)

    async def _look_at_pods(self, _: str, __: float) -> None:
        namespaces = self._queues.take_namespaces()
        for key in workloads_seeing(self._results, self._cache.labels_of, namespaces):
            self._queues.statuses.add(key)
        for namespace in namespaces:
            services = self._cache.services_in(namespace)
            for entry in services:
                self._queues.statuses.add(entry.key)
            # Whether they select the same pods may have changed.
            for entry in services if len(services) > 1 else ():
                self._queues.services.add(entry.key.namespaced)

    async def _read_within_budget(self, key: ObjectKey, _: float) -> None:
        """Read a TrustedWorkload that is within its namespace's budget again; its spec was not kept."""
        document = await self._objects.find(API_VERSION, *key)
        if document is not None:
            self._informers.take(key.kind, received_from(document))

    async def _tell_of_replaced_account(self, account: NamespacedName, _: float) -> None:
        reason = EventReason.ACCOUNT_REPLACED
        for entry in self._cache.workloads_for(account):
            workload = entry.resource
            result = self._results.get(entry.service) if entry.service is not None else None
            if result is None or not isinstance(workload, TrustedWorkload) or not result.is_here(workload):
                continue
            detail = f"The ServiceAccount {account} was deleted and made again"
            message = f"{detail}: tokens of the old one are refused from now on. Remedy: {reason.remedy}"
            self._tell(entry.key, reason, message)

    async def _announce(self, news: Announcement, _: float) -> None:
        """Tell of a condition as an Event, if it is still so."""
        entry = self._cache.entry(*news.key)
        if entry is None or entry.uid != news.uid:
            return
        said = next((each for each in entry.status.conditions if each.type == news.type), None)
        if said is not None and (said.status, said.reason) == (news.status, news.reason):
            type_: EventType = "Warning" if news.status == "False" else "Normal"
            self._events.tell(news.key, news.uid, type_, news.reason, said.message)

    def _tell(self, key: ObjectKey, reason: EventReason, message: str) -> None:
        entry = self._cache.entry(*key)
        if entry is not None:
            self._events.tell(key, entry.uid, reason.type, reason.reason, message)

    def _observe(self) -> None:
        metrics, cache, results = self._metrics, self._cache, self._results
        metrics.issuers.set_function(lambda: float(cache.count(ISSUER)))
        metrics.services.set_function(lambda: float(cache.count(SERVICE)))
        metrics.workloads.set_function(lambda: float(cache.count(WORKLOAD)))
        metrics.workloads_over_budget.set_function(lambda: float(cache.over_budget()))
        metrics.bundles_unpublished.set_function(lambda: float(unpublished(results)))
        desks = self._desk_results
        metrics.desk_keys_unwritten.set_function(lambda: float(keys_unwritten(desks)))
        metrics.withdrawals_unpublished.set_function(lambda: float(withdrawals_unpublished(results)))
        figures = KeyFigures(cache, self._keys)
        metrics.key_ages.source, metrics.keys_pending.source = figures.ages, figures.pending
        metrics.bundle_generations.source = figures.generations


async def _until(holds: Callable[[], bool]) -> None:
    # What is waited for has many places that may bring it about, and happens once a leadership.
    while not holds():  # noqa: ASYNC110 - an event would have to be set in each of them
        await asyncio.sleep(_LOOK_SECONDS)
