# SPDX-License-Identifier: Apache-2.0
"""From what the watches tell to what is to be done: into memory, and what it touches onto the agenda.

Two watches tell of each of our objects, kopf's of what it says and another of whether it is there. Either may
be ahead of the other; only the later word counts.
"""

from collections.abc import Mapping
from typing import Any

from watchword.operator.agenda import Agenda
from watchword.operator.following import Account, Existence, ManagedObject, Pod, Sink
from watchword.operator.keys.sync import KeySync
from watchword.operator.managed import version_of
from watchword.operator.names import service_of
from watchword.operator.recorder import Recorder
from watchword.operator.store import Account as AccountName
from watchword.operator.untold import Untold
from watchword.operator.world import World
from watchword.trust.conditions import WORKLOAD
from watchword.trust.eventreasons import EventReason
from watchword.trust.specs import TrustedWorkload


class Feed(Sink):
    """Feeds one world.

    Attributes:
        untold: what kopf has still to tell.
    """

    def __init__(self, world: World, agenda: Agenda, keys: KeySync, recorder: Recorder) -> None:
        """Feed a world; put what follows onto an agenda."""
        self._world, self._agenda, self._keys, self._recorder = world, agenda, keys, recorder
        self.untold = Untold(world.store)
        self._last_uids: dict[AccountName, str] = {}

    def take(self, kind: str, is_gone: bool, document: Mapping[str, Any]) -> None:
        """Take an event of kopf's."""
        self.untold.heard(kind)
        self.take_read(kind, document, is_gone=is_gone)

    def take_read(self, kind: str, document: Mapping[str, Any], *, is_gone: bool = False) -> None:
        """Take an object as it is, whoever brought it."""
        metadata = document.get("metadata") or {}
        name, uid = str(metadata.get("name") or ""), str(metadata.get("uid") or "")
        namespace = str(metadata.get("namespace") or "")
        if is_gone:
            self._forget(kind, namespace, name, uid)
        elif kind == "Namespace":
            effects = self._world.store.take_namespace(
                name, uid, metadata.get("labels") or {}, version_of(metadata)
            )
            if effects:
                self._world.pods.forget_answers()
                self._agenda.pods_changed(name)
            self._agenda.add(effects)
        else:
            effects = self._world.store.take(kind, document)
            if effects.services:
                self._touch(kind, namespace, name)
            self._agenda.add(effects)

    def exists(self, existence: Existence) -> None:
        """An object is there; kopf may have told of it already, or has to."""
        self.untold.exists(existence)

    def vanished(self, existence: Existence) -> None:
        """An object is gone."""
        self._forget(existence.kind, existence.namespace, existence.name, existence.uid)

    def managed_seen(self, managed: ManagedObject) -> None:
        """An object of ours is there; if somebody else wrote it, look after it."""
        if self._world.managed.observe(managed.kind, managed.place, managed.seen):
            self._look_after(managed)

    def managed_gone(self, managed: ManagedObject) -> None:
        """An object of ours is gone; if its service is not, look after it."""
        if self._world.managed.vanish(managed.kind, managed.place, managed.seen.uid):
            self._look_after(managed)

    def account_seen(self, account: Account) -> None:
        """A ServiceAccount is there."""
        name = (account.namespace, account.name)
        former = self._world.store.account_uid(name) or self._last_uids.pop(name, "")
        effects = self._world.store.take_account(name, account.uid)
        if former not in ("", account.uid):
            self._tell_of_replacement(name)
        self._agenda.add(effects)

    def account_gone(self, account: Account) -> None:
        """A ServiceAccount is gone."""
        name = (account.namespace, account.name)
        if self._world.store.account_uid(name) != account.uid:
            return
        effects = self._world.store.take_account(name, "")
        if effects:
            self._last_uids[name] = account.uid
        self._agenda.add(effects)

    def pod_seen(self, pod: Pod) -> None:
        """A pod is there."""
        self._pods_changed(self._world.pods.take(pod.uid, pod.group))

    def pod_gone(self, pod: Pod) -> None:
        """A pod is gone."""
        self._pods_changed(self._world.pods.remove(pod.uid))

    def config_map_seen(self, namespace: str, name: str, data: Mapping[str, str] | None) -> None:
        """A ConfigMap with an issuer's keys."""
        self._keys.set_config_map(namespace, name, data)

    def _forget(self, kind: str, namespace: str, name: str, uid: str) -> None:
        self.untold.vanished(kind, namespace, name, uid)
        self._agenda.add(self._world.store.remove(kind, namespace, name, uid))

    def _touch(self, kind: str, namespace: str, name: str) -> None:
        entry = self._world.store.entry(kind, namespace, name)
        if kind == WORKLOAD and entry is not None and entry.service is not None:
            self._agenda.touch(entry.service, name)

    def _look_after(self, managed: ManagedObject) -> None:
        name = (managed.place[0], service_of(managed.kind, managed.place[1]))
        if self._world.store.service(name) is not None:
            self._agenda.services.add(name)

    def _pods_changed(self, namespace: str | None) -> None:
        if namespace is not None:
            self._agenda.pods_changed(namespace)

    def _tell_of_replacement(self, account: AccountName) -> None:
        reason = EventReason.ACCOUNT_REPLACED
        for entry in self._world.store.workloads_for(account):
            workload, outcome = entry.resource, self._world.outcomes.get(entry.service or ("", ""))
            if outcome is None or not isinstance(workload, TrustedWorkload) or not outcome.is_here(workload):
                continue
            detail = f"The ServiceAccount {account[0]}/{account[1]} was deleted and made anew"
            message = f"{detail}: tokens of the old one are refused from now on. Remedy: {reason.remedy}"
            self._recorder.tell(entry.key, entry.uid, reason.type, reason.reason, message)
