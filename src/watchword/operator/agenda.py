# SPDX-License-Identifier: Apache-2.0
"""What is to be done next, by kind of work: issuers, services, statuses; each once for many events.

Statuses follow the reconcile that they speak of: whatever names a workload first waits for its service.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Final

from watchword.operator.debounce import DebouncedQueue
from watchword.operator.entries import Key
from watchword.operator.names import Name
from watchword.operator.store import Effects
from watchword.trust.conditions import ISSUER, WORKLOAD

# An edit is a burst of events: wait until it was quiet for so long, and no longer than that in all.
QUIET_SECONDS: Final = 0.05
LONGEST_SECONDS: Final = 0.25
# Pods come and go by the hundred, and what they show is no matter of seconds.
_PODS_QUIET_SECONDS: Final = 2.0
_PODS_LONGEST_SECONDS: Final = 10.0
# Writes mostly wait for the disk of etcd, which takes many together.
_SERVICES_AT_ONCE: Final = 12
_STATUSES_AT_ONCE: Final = 8
_ALL: Final = "all"


class Agenda:
    """The queues of a term.

    Attributes:
        services: services to reconcile.
        statuses: objects whose status may have to be written.
    """

    def __init__(
        self,
        *,
        issuers: Callable[[set[str], set[str]], Awaitable[None]],
        services: Callable[[Name, float], Awaitable[None]],
        statuses: Callable[[Key], Awaitable[None]],
        pods: Callable[[set[str]], Awaitable[None]],
    ) -> None:
        """Have work done: `issuers(edited, with other keys)`, `services(name, since)`, `statuses(key)`,
        `pods(namespaces in which they changed)`."""
        self._edited: set[str] = set()
        self._with_other_keys: set[str] = set()
        self._namespaces: set[str] = set()
        self._touched: dict[Name, set[str]] = {}

        async def do_issuers(_: str, __: float) -> None:
            edited, others = self._edited, self._with_other_keys
            self._edited, self._with_other_keys = set(), set()
            await issuers(edited, others)

        async def do_pods(_: str, __: float) -> None:
            namespaces, self._namespaces = self._namespaces, set()
            await pods(namespaces)

        async def do_statuses(key: Key, _: float) -> None:
            await statuses(key)

        quick = {"quiet_seconds": QUIET_SECONDS, "longest_seconds": LONGEST_SECONDS}
        self._issuers: DebouncedQueue[str] = DebouncedQueue(do_issuers, **quick, concurrency=1)
        self.services: DebouncedQueue[Name] = DebouncedQueue(services, **quick, concurrency=_SERVICES_AT_ONCE)
        self.statuses: DebouncedQueue[Key] = DebouncedQueue(
            do_statuses, **quick, concurrency=_STATUSES_AT_ONCE
        )
        self._pods: DebouncedQueue[str] = DebouncedQueue(
            do_pods,
            quiet_seconds=_PODS_QUIET_SECONDS,
            longest_seconds=_PODS_LONGEST_SECONDS,
            concurrency=1,
        )

    def add(self, effects: Effects) -> None:
        """Take what a change made necessary."""
        for name in effects.services:
            self.services.add(name)
        for key in effects.statuses:
            self.statuses.add(key)
        if effects.issuers:
            self._edited |= effects.issuers
            self._issuers.add(_ALL)

    def other_keys(self, issuer: str) -> None:
        """An issuer's keys, or what is known of them, have changed."""
        self._with_other_keys.add(issuer)
        self._issuers.add(_ALL)

    def pods_changed(self, namespace: str) -> None:
        """Pods of a namespace have come or gone."""
        self._namespaces.add(namespace)
        self._pods.add(_ALL)

    def touch(self, service: Name, workload: str) -> None:
        """A workload was edited: its status is due once its service was reconciled."""
        self._touched.setdefault(service, set()).add(workload)

    def reconciled(self, service: Name, workloads: Iterable[str]) -> None:
        """A service was reconciled, which changed what is to be said of these workloads."""
        for name in {*workloads, *self._touched.pop(service, ())}:
            self.statuses.add((WORKLOAD, service[0], name))

    def judged(self, issuers: Iterable[str]) -> None:
        """Issuers were judged: their statuses are due."""
        for name in issuers:
            self.statuses.add((ISSUER, "", name))

    def open(self) -> None:
        """Begin with issuers and services; statuses wait until `open_statuses`."""
        self._issuers.open()
        self.services.open()
        self._pods.open()

    def open_statuses(self) -> None:
        """Begin with statuses too."""
        self.statuses.open()

    def runs(self) -> tuple[Coroutine[None, None, None], ...]:
        """What has to run for it: one coroutine for each queue."""
        return self._issuers.run(), self.services.run(), self.statuses.run(), self._pods.run()
