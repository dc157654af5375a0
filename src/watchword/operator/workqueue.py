# SPDX-License-Identifier: Apache-2.0
"""What is to be done, by key: each key a moment after it was last added, so that a burst of events is one.

A key is never worked on twice at once; what is added meanwhile is done after. What fails is tried again,
later each time. Nothing starts before `open`: a half-read cluster must not be acted on. Keys may have
groups, of which each has a few places at most, and which take turns: one group's slow work does not delay
the others'.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

from watchword.kube.names import NamespacedName, ObjectKey
from watchword.kube.watch import Backoff
from watchword.operator.cache import Effects
from watchword.process.logs import LOGGER
from watchword.trust.conditions import ISSUER, WORKLOAD

_K = TypeVar("_K", bound=Hashable)
_FIRST_RETRY_SECONDS: Final = 0.5
# A quota that is raised or a right that is given is no event: no one should have to wait for long after it.
_LAST_RETRY_SECONDS: Final = 5.0
_MAX_MESSAGE: Final = 512
# An edit is a burst of events: wait until it was quiet for so long, and no longer than that in all.
QUIET_SECONDS: Final = 0.05
LONGEST_SECONDS: Final = 0.25
# Pods come and go by the hundred, and what they show is no matter of seconds.
_PODS_QUIET_SECONDS: Final = 2.0
_PODS_LONGEST_SECONDS: Final = 10.0
# Writes mostly wait for the disk of etcd, which takes many together.
_SERVICES_AT_ONCE: Final = 12
_STATUSES_AT_ONCE: Final = 8
# A status of an object of more than a megabyte takes the API server seconds to write. Eight of them at once,
# of one namespace, kept it from answering anything else: the Lease ran out and the leader stepped down.
_STATUSES_OF_ONE_NAMESPACE: Final = 2
_READS_AT_ONCE: Final = 2
_ALL: Final = "all"


def _one_group(_: Hashable) -> str:
    return ""


class WorkQueue(Generic[_K]):
    """Keys that wait for work."""

    def __init__(
        self,
        *,
        quiet_seconds: float = QUIET_SECONDS,
        longest_seconds: float = LONGEST_SECONDS,
        concurrency: int = 1,
        group: Callable[[_K], str] = _one_group,
        at_once_of_group: int | None = None,
    ) -> None:
        """Wait until a key was left alone for `quiet_seconds`, and at most `longest_seconds`.

        Args:
            quiet_seconds: as said.
            longest_seconds: as said.
            concurrency: how many keys are worked on at once.
            group: which group a key is of.
            at_once_of_group: how many of these may be of one group; None: all.
        """
        self._quiet, self._longest = quiet_seconds, longest_seconds
        self._concurrency, self._group = concurrency, group
        self._at_once_of_group = concurrency if at_once_of_group is None else at_once_of_group
        self._since: dict[_K, float] = {}
        self._timers: dict[_K, asyncio.TimerHandle] = {}
        self._later: dict[_K, asyncio.TimerHandle] = {}
        # By group, which are in the order of their turns.
        self._due: dict[str, dict[_K, None]] = {}
        self._busy_of_group: Counter[str] = Counter()
        self._busy: set[_K] = set()
        # Of keys whose work failed last.
        self._backoffs: dict[_K, Backoff] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._is_open = False

    def add(self, key: _K) -> None:
        """Have a key worked on."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        since = self._since.setdefault(key, now)
        if key in self._due.get(self._group(key), ()):
            return
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_at(min(since + self._longest, now + self._quiet), self._make_due, key)

    def add_after(self, key: _K, seconds: float) -> None:
        """Add a key later; of two times that were asked for, the last one counts."""
        timer = self._later.pop(key, None)
        if timer is not None:
            timer.cancel()
        self._later[key] = asyncio.get_running_loop().call_later(seconds, self._add_now, key)

    def is_waiting(self, key: _K) -> bool:
        """Whether a key was added and work on it has not begun."""
        return key in self._since

    def open(self) -> None:
        """Begin with the work."""
        self._is_open = True
        for _ in range(self._concurrency):
            self._wake()

    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is worked on; what failed and is tried later does not count."""
        return not (self._since or self._busy)

    def __len__(self) -> int:
        return len(self._since) + len(self._busy)

    async def run(self, work: Callable[[_K, float], Awaitable[None]]) -> None:
        """Work until cancelled.

        Args:
            work: does the work of a key; its second argument is the loop's time when the key was first added.
                What it raises is logged, and the key is added again, later each time.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._concurrency):
                    group.create_task(self._worker(work))
        finally:
            for timer in (*self._timers.values(), *self._later.values()):
                timer.cancel()

    async def _worker(self, work: Callable[[_K, float], Awaitable[None]]) -> None:
        while True:
            key = self._next()
            if key is None:
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter
                continue
            group = self._group(key)
            since = self._since.pop(key)
            self._busy.add(key)
            self._busy_of_group[group] += 1
            try:
                await work(key, since)
                self._backoffs.pop(key, None)
            except Exception as error:  # noqa: BLE001 - one service's trouble must not end the others' work
                self._retry(key, error)
            finally:
                self._busy.discard(key)
                self._busy_of_group[group] -= 1
                if not self._busy_of_group[group]:
                    del self._busy_of_group[group]

    def _next(self) -> _K | None:
        """Take the next key that is due and may be worked on now; its group's next turn comes last."""
        if not self._is_open:
            return None
        for group, keys in self._due.items():
            if self._busy_of_group[group] >= self._at_once_of_group:
                continue
            key = next((each for each in keys if each not in self._busy), None)
            if key is None:
                continue
            del keys[key], self._due[group]
            if keys:
                self._due[group] = keys
            return key
        return None

    def _make_due(self, key: _K) -> None:
        self._timers.pop(key, None)
        self._due.setdefault(self._group(key), {})[key] = None
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _retry(self, key: _K, error: Exception) -> None:
        wait = self._backoffs.setdefault(key, Backoff(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS)).next()
        why = f"{type(error).__name__}: {error}"[:_MAX_MESSAGE]
        extra = {"key": str(key), "why": why, "retry_seconds": round(wait, 1)}
        LOGGER.warning("work failed, trying again", extra=extra)
        later = self._later.get(key)
        # It may have been asked for sooner, for the moment when something expires.
        if later is None or later.when() > asyncio.get_running_loop().time() + wait:
            self.add_after(key, wait)

    def _add_now(self, key: _K) -> None:
        self._later.pop(key, None)
        self.add(key)


class IssuerEdits(NamedTuple):
    """Names of issuers that were edited, and of those whose keys, or what is known of them, have changed."""

    edited: set[str]
    with_other_keys: set[str]


class Announcement(NamedTuple):
    """A condition that was written to a status, and is told as an Event if it stays so for a moment."""

    key: ObjectKey
    uid: str
    type: str
    status: str
    reason: str


class WorkQueues:
    """All queues of a leader; each kind of work once for many events.

    Statuses follow the reconcile that they speak of: what names a workload first waits for its service.

    Attributes:
        issuers: one key for all issuers, which are judged together; see `take_issuers`.
        judgements: one key for all desks, which are judged together; it waits for no write.
        desks: one key for the objects of all desks, since they are few.
        services: services to reconcile.
        statuses: objects whose status may have to be written.
        namespaces: one key for all namespaces in which pods have changed; see `take_namespaces`.
        reads: TrustedWorkloads that are within their namespace's budget again, and have to be read.
        accounts: ServiceAccounts that were created again; each of their workloads gets an Event.
        announcements: conditions to tell as Events.
    """

    def __init__(self) -> None:
        self._edits = IssuerEdits(set(), set())
        self._namespaces: set[str] = set()
        self._touched: dict[NamespacedName, set[str]] = {}
        self.issuers: WorkQueue[str] = WorkQueue()
        self.judgements: WorkQueue[str] = WorkQueue()
        self.desks: WorkQueue[str] = WorkQueue()
        self.services: WorkQueue[NamespacedName] = WorkQueue(concurrency=_SERVICES_AT_ONCE)
        self.statuses: WorkQueue[ObjectKey] = WorkQueue(
            concurrency=_STATUSES_AT_ONCE,
            group=_namespace_of,
            at_once_of_group=_STATUSES_OF_ONE_NAMESPACE,
        )
        self.namespaces: WorkQueue[str] = WorkQueue(
            quiet_seconds=_PODS_QUIET_SECONDS, longest_seconds=_PODS_LONGEST_SECONDS
        )
        self.reads: WorkQueue[ObjectKey] = WorkQueue(concurrency=_READS_AT_ONCE)
        self.accounts: WorkQueue[NamespacedName] = WorkQueue()
        self.announcements: WorkQueue[Announcement] = WorkQueue()

    def add(self, effects: Effects) -> None:
        """Add what a change in the cache made necessary."""
        for name in effects.services:
            self.services.add(name)
        for key in effects.statuses:
            self.statuses.add(key)
        for key in effects.to_read:
            self.reads.add(key)
        for account in effects.replaced:
            self.accounts.add(account)
        if effects.issuers:
            self._edits.edited.update(effects.issuers)
            self.issuers.add(_ALL)
        if effects.desks:
            self.desks_changed()

    def keys_changed(self, issuer: str) -> None:
        """Add an issuer whose keys, or what is known of them, have changed."""
        self._edits.with_other_keys.add(issuer)
        self.issuers.add(_ALL)

    def desks_changed(self) -> None:
        """Add the desks, of which something, or what they are judged by, has changed."""
        self.judgements.add(_ALL)
        self.desks.add(_ALL)

    def look_at_desks_after(self, seconds: float) -> None:
        """Add the objects of the desks later."""
        self.desks.add_after(_ALL, seconds)

    def are_desks_waiting(self) -> bool:
        """Whether the objects of the desks were added and work on them has not begun."""
        return self.desks.is_waiting(_ALL)

    def pods_changed(self, namespace: str) -> None:
        """Add a namespace in which pods have come or gone."""
        self._namespaces.add(namespace)
        self.namespaces.add(_ALL)

    def take_issuers(self) -> IssuerEdits:
        """Return the issuers that were added since this was last called."""
        edits, self._edits = self._edits, IssuerEdits(set(), set())
        return edits

    def take_namespaces(self) -> set[str]:
        """Return the namespaces in which pods have changed since this was last called."""
        namespaces, self._namespaces = self._namespaces, set()
        return namespaces

    def touch(self, service: NamespacedName, workload: str) -> None:
        """Note that a workload was edited: its status is due once its service was reconciled."""
        self._touched.setdefault(service, set()).add(workload)

    def reconciled(self, service: NamespacedName, workloads: Iterable[str]) -> None:
        """Add the statuses of workloads of which a reconcile of their service changed what is to be said."""
        for name in {*workloads, *self._touched.pop(service, ())}:
            self.statuses.add(ObjectKey(WORKLOAD, service.namespace, name))

    def judged(self, issuers: Iterable[str]) -> None:
        """Add the statuses of issuers that were judged."""
        for name in issuers:
            self.statuses.add(ObjectKey(ISSUER, "", name))

    def open(self) -> None:
        """Begin to judge issuers and desks, and with services; all else waits until `open_rest`."""
        self.issuers.open()
        self.judgements.open()
        self.services.open()
        self.namespaces.open()

    def open_rest(self) -> None:
        """Begin with the objects of desks, statuses, reads and Events too."""
        self.desks.open()
        for queue in (self.statuses, self.reads, self.accounts, self.announcements):
            queue.open()


def _namespace_of(key: ObjectKey) -> str:
    return key.namespace
