# SPDX-License-Identifier: Apache-2.0
"""The work of one term of leadership: what is seen goes into memory, what that changes is reconciled, and
what came of it is said.

Nothing is decided before everything was read once: half a cluster looks like one that dropped its callers.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import kopf

from watchword.operator import handlers
from watchword.operator.agenda import Agenda
from watchword.operator.apply import NotLeading, Refused, Unavailable, Writer
from watchword.operator.connection import Connection
from watchword.operator.driftwatch import affected
from watchword.operator.election import Leadership
from watchword.operator.entries import Key
from watchword.operator.feed import Feed
from watchword.operator.following import Following
from watchword.operator.keyfigures import KeyFigures
from watchword.operator.keys.fetch import AddressRules
from watchword.operator.keys.sync import KeySync
from watchword.operator.keysources import KeySources
from watchword.operator.metrics import OperatorMetrics
from watchword.operator.names import Name
from watchword.operator.outcomes import differing
from watchword.operator.reconcile import Reconciler
from watchword.operator.recorder import Recorder
from watchword.operator.settings import OperatorSettings
from watchword.operator.statuswriter import StatusWriter
from watchword.operator.transport import KubernetesTransport
from watchword.operator.world import World
from watchword.process.logs import LOGGER
from watchword.trust.conditions import ISSUER, SERVICE, WORKLOAD, Verdict
from watchword.trust.eventreasons import EventReason

# An object is there in a version of which kopf did not tell for so long, nor of anything else of its kind:
# its watch may be deaf, and the object is read beside it.
_ASK_SECONDS: Final = 1.0
_ASKED_AT_ONCE: Final = 16
# So long, for all that was asked: everything is made anew.
_DEAF_SECONDS: Final = 60.0
# How long the first answers of issuers without any known key are waited for.
_FIRST_KEYS_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.05
# An expiry is looked at again at least so often: the wall clock may be set while a timer runs.
_NAP_SECONDS: Final = 60.0


class Unfinished(Exception):
    """What a service asks for could not be done; its conditions say why."""


class Operator:
    """One term's work; `registry` and `run` once each, on one loop."""

    def __init__(
        self,
        settings: OperatorSettings,
        connection: Connection,
        leadership: Leadership,
        metrics: OperatorMetrics,
    ) -> None:
        """Work through a connection while leading."""
        sources = KeySources(connection)
        self._metrics, self._is_warm = metrics, False
        self._keys = KeySync(
            on_change=self._keys_changed,
            read_secret=sources.secret,
            fetch_own_cluster=sources.own_keys,
            addresses=AddressRules(allowed=settings.allowed_key_networks),
        )
        self._world = World.new(self._keys)
        self._writer = Writer(KubernetesTransport(connection.api_client()), leadership, metrics)
        self._recorder = Recorder(self._writer)
        self._reconciler = Reconciler(self._world, self._writer, metrics)
        self._reconciler.on_undone, self._reconciler.on_expiry = self._tell_undone, self._wake_at
        self._status_writer = StatusWriter(self._world, self._writer, self._recorder)
        self._agenda = Agenda(
            issuers=self._judge,
            services=self._reconcile,
            statuses=self._write_status,
            pods=self._look_at_pods,
        )
        self._feed = Feed(self._world, self._agenda, self._keys, self._recorder)
        self._following = Following(
            connection.endpoint(), self._feed, window_seconds=settings.watch_window_seconds
        )
        self._timers: dict[Name, asyncio.TimerHandle] = {}

    def registry(self) -> kopf.OperatorRegistry:
        """The handlers that kopf calls, on the loop that `run` runs on."""
        return handlers.registry(self._feed.take)

    def is_warm(self) -> bool:
        """Whether everything was read once and every bundle is right; from any thread."""
        return self._is_warm

    def watch_ages(self) -> Mapping[str, float]:
        """Seconds since the last word of each watch that is not kopf's; from any thread."""
        return self._following.ages()

    async def run(self) -> None:
        """Work until cancelled; returns only when no write is in flight any more."""
        self._observe()
        try:
            async with asyncio.TaskGroup() as group:
                for each in (self._following, self._keys, self._recorder):
                    group.create_task(each.run())
                for queue in self._agenda.runs():
                    group.create_task(queue)
                group.create_task(self._warm_up())
                group.create_task(self._listen_for_silence())
        finally:
            self._metrics.key_ages.source = self._metrics.keys_pending.source = dict
            for timer in self._timers.values():
                timer.cancel()
            await self._writer.close()

    async def _warm_up(self) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await _until(lambda: self._following.is_synced() and self._feed.untold.oldest_seconds() is None)
        read = loop.time()
        names = {entry.key[2] for entry in self._world.store.entries(ISSUER)}
        self._follow(names)
        latest = read + _FIRST_KEYS_SECONDS
        await _until(lambda: loop.time() >= latest or not self._awaits_first_keys(names))
        self._world.board.judge(names)
        self._reconciler.remember_unread()
        for name in self._world.store.services():
            self._agenda.services.add(name)
        self._agenda.open()
        await _until(self._agenda.services.is_idle)
        self._is_warm = True
        LOGGER.info(
            "warm",
            extra={
                "services": self._world.store.count(SERVICE),
                "workloads": self._world.store.count(WORKLOAD),
                "issuers": len(names),
                "read_seconds": round(read - begun, 3),
                "seconds": round(loop.time() - begun, 3),
            },
        )
        self._agenda.judged(entry.key[2] for entry in self._world.store.entries(ISSUER))
        self._agenda.open_statuses()

    def _awaits_first_keys(self, names: set[str]) -> bool:
        """Whether an issuer that no key is known of was not asked yet: soon it may be as good as any."""
        known = [self._keys.keys_of(name) for name in names if self._world.store.issuer(name) is not None]
        return any(keys.jwks is None and keys.fresh.verdict is Verdict.NEVER_FETCHED for keys in known)

    async def _listen_for_silence(self) -> None:
        while True:
            await asyncio.sleep(_ASK_SECONDS / 2)
            owed = self._feed.untold.oldest_seconds() if self._following.is_synced() else None
            if owed is not None and owed > _DEAF_SECONDS:
                raise RuntimeError(f"a watch has not told of an object for {owed:.0f} s; all are made anew")
            if owed is not None and owed > _ASK_SECONDS and self._is_warm:
                await self._ask_for_untold()

    async def _ask_for_untold(self) -> None:
        for each in self._feed.untold.silent_about(_ASK_SECONDS)[:_ASKED_AT_ONCE]:
            try:
                document = await self._writer.find(each.kind, each.namespace, each.name)
            except (Refused, Unavailable) as problem:
                LOGGER.info("a quiet watch could not be checked", extra={"why": str(problem)})
                return
            if document is not None:
                place = "/".join((each.kind, each.namespace, each.name))
                LOGGER.warning("a watch had not told of an object, which was read", extra={"object": place})
                self._feed.take_read(each.kind, document)

    def _keys_changed(self, name: str) -> None:
        self._agenda.other_keys(name)

    def _follow(self, names: set[str]) -> None:
        for name in names:
            self._world.board.follow(name)
        self._following.follow_config_maps(self._keys.wanted_config_maps())

    async def _judge(self, edited: set[str], with_other_keys: set[str]) -> None:
        self._follow(edited)
        names = edited | with_other_keys
        before = {problem.name for problem in self._world.board.issuers.problems}
        for service in self._world.board.judge(names):
            self._agenda.services.add(service)
        # Also those that a conflict began or ended with.
        self._agenda.judged(names | before | {each.name for each in self._world.board.issuers.problems})
        for name in names:
            self._tell_key_changes(name)

    async def _reconcile(self, name: Name, since: float) -> None:
        before = self._world.outcomes.get(name)
        try:
            outcome = await self._reconciler.reconcile(name, since)
        except NotLeading:
            return
        except Exception:
            self._metrics.reconciles.labels("failed").inc()
            raise
        if (
            outcome.service is None
            and not outcome.problems
            and self._world.store.entry(SERVICE, *name) is None
        ):
            self._world.outcomes.pop(name, None)
        else:
            self._world.outcomes[name] = outcome
        self._agenda.reconciled(name, differing(before, outcome))
        self._agenda.statuses.add((SERVICE, *name))
        if outcome.unfinished is not None:
            # Nobody tells when a quota, a right or a name is free: it is tried again, later each time.
            raise Unfinished(outcome.unfinished.message)

    async def _write_status(self, key: Key) -> None:
        entry = self._world.store.entry(*key)
        service = entry.service if entry is not None else None
        if service is not None and self._agenda.services.waits(service):
            # What it would say is out of date already; the reconcile that waits comes back to it.
            if key[0] == WORKLOAD:
                self._agenda.touch(service, key[2])
            return
        try:
            await self._status_writer.write(key)
        except NotLeading:
            return

    async def _look_at_pods(self, namespaces: set[str]) -> None:
        for key in affected(self._world, namespaces):
            self._agenda.statuses.add(key)
        for namespace in namespaces:
            beside = self._world.store.services_in(namespace)
            # Whether they select the same pods may have changed.
            for entry in beside if len(beside) > 1 else ():
                self._agenda.services.add((namespace, entry.key[2]))

    def _tell_undone(self, name: Name, what: str) -> None:
        entry, reason = self._world.store.entry(SERVICE, *name), EventReason.HAND_EDIT_UNDONE
        if entry is not None:
            message = f"{what} by somebody else, and was put back. Remedy: {reason.remedy}"
            self._recorder.tell(entry.key, entry.uid, reason.type, reason.reason, message)

    def _tell_key_changes(self, name: str) -> None:
        entry = self._world.store.entry(ISSUER, "", name)
        for change in self._world.board.take_changes(name) if entry is not None else ():
            reason = change.event
            message = f"Key {change.kid} (thumbprint {change.thumbprint}): {change.detail}."
            if entry is not None:
                self._recorder.tell(entry.key, entry.uid, reason.type, reason.reason, message)

    def _wake_at(self, name: Name, seconds: float) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        # A moment later, so that the clock has surely passed it.
        wait = min(seconds + 0.01, _NAP_SECONDS)
        self._timers[name] = asyncio.get_running_loop().call_later(wait, self._agenda.services.add, name)

    def _observe(self) -> None:
        metrics, store = self._metrics, self._world.store
        metrics.issuers.set_function(lambda: float(store.count(ISSUER)))
        metrics.services.set_function(lambda: float(store.count(SERVICE)))
        metrics.workloads.set_function(lambda: float(store.count(WORKLOAD)))
        figures = KeyFigures(store, self._keys)
        metrics.key_ages.source, metrics.keys_pending.source = figures.ages, figures.pending


async def _until(holds: Callable[[], bool]) -> None:
    # What is waited for has many places that may bring it about, and happens once a term.
    while not holds():  # noqa: ASYNC110 - an event would have to be set in each of them
        await asyncio.sleep(_LOOK_SECONDS)
