# SPDX-License-Identifier: Apache-2.0
"""Watches everything that decides something; puts it into the cache, and what it touches into the queues.

One watch for each kind brings both what objects say and that they are gone, also those that vanished while
the watch was cut: it lists again and tells the difference. A watch can die without an error: a middlebox
forgets the connection, and no byte ever comes again. An object that was deleted meanwhile stays trusted until
that is noticed; so the age of what was received last is kept for each watch, and one that stays silent ends
the leadership: reading everything again is the only way to know what was missed.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec

from watchword.kube.names import NamespacedName
from watchword.kube.watch import Endpoint, Part, PartialObject, Removed, Resource, Troubled, Upserted, Watch
from watchword.kube.watch.messages import FullMeta, version_number
from watchword.operator.cache import Cache, Effects, ReceivedObject
from watchword.operator.desk_objects import DeskConfigMap, DeskObjects, ReceivedDeskObject, SigningSecret
from watchword.operator.owned_objects import (
    MANAGED_SELECTOR,
    OWNED_KINDS,
    OwnedKind,
    OwnedObjects,
    Seen,
    seen_from,
    service_of,
)
from watchword.operator.pods import GroupPool, PodIndex
from watchword.operator.workqueue import WorkQueues
from watchword.process.logs import LOGGER
from watchword.trust.api.v1alpha1 import API_GROUP
from watchword.trust.conditions import CLIENT, DESK, ISSUER, PROVIDER, SERVICE, WORKLOAD
from watchword.trust.desk_objects import DESK_LABEL
from watchword.trust.gate_coverage import PodContainer, has_gate
from watchword.trust.policy_coverage import PodGroup

_RBAC: Final = "rbac.authorization.k8s.io"
_OUR_KINDS: Final = {
    ISSUER: Resource(group=API_GROUP, version="v1alpha1", plural="clustertrustedissuers"),
    SERVICE: Resource(group=API_GROUP, version="v1alpha1", plural="protectedservices"),
    WORKLOAD: Resource(group=API_GROUP, version="v1alpha1", plural="trustedworkloads"),
}
_DESK_KINDS: Final = {
    DESK: Resource(group=API_GROUP, version="v1alpha1", plural="tokendesks"),
    CLIENT: Resource(group=API_GROUP, version="v1alpha1", plural="deskclients"),
    PROVIDER: Resource(group=API_GROUP, version="v1alpha1", plural="agentproviders"),
}
_NAMESPACES: Final = Resource(plural="namespaces", metadata_only=True)
_ACCOUNTS: Final = Resource(plural="serviceaccounts", metadata_only=True)
_OWNED: Final[Mapping[OwnedKind, Resource]] = {
    "ConfigMap": Resource(plural="configmaps", label_selector=MANAGED_SELECTOR, metadata_only=True),
    "Role": Resource(group=_RBAC, plural="roles", label_selector=MANAGED_SELECTOR),
    "RoleBinding": Resource(group=_RBAC, plural="rolebindings", label_selector=MANAGED_SELECTOR),
    "NetworkPolicy": Resource(
        group="networking.k8s.io", plural="networkpolicies", label_selector=MANAGED_SELECTOR
    ),
}
# What has ended calls no one.
PODS: Final = Resource(plural="pods", field_selector="status.phase!=Succeeded,status.phase!=Failed")
# A page of a list that has more is asked for again with half as many objects.
_MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
# A watch that never received anything is given up sooner than one that did.
FIRST_SECONDS: Final = 60.0
_BEAT_SECONDS: Final = 1.0


class StoreRestoredError(Exception):
    """The API server's store is older than what it told before: nothing that was read from it counts."""


class SilentWatchError(Exception):
    """A watch received nothing for too long."""


def silence_seconds(window_seconds: float) -> float:
    """After how long a watch that receives nothing is given up: long after it should have begun again."""
    return 2.0 * window_seconds + 30


class KeyConfigMaps(Protocol):
    """Takes what ConfigMaps with issuers' keys hold (`watchword.operator.keys.sync.KeySync`)."""

    def set_config_map(self, namespace: str, name: str, data: Mapping[str, str | None] | None) -> None:
        """A ConfigMap holds this, None for entries in `binaryData`; None: there is none."""


class Pod(msgspec.Struct, frozen=True, gc=False):
    """A pod, as policies see it."""

    uid: str
    group: PodGroup


class _Namespace(msgspec.Struct, frozen=True):
    name: str
    uid: str
    version: int
    labels: dict[str, str]


class _Identity(msgspec.Struct, frozen=True, gc=False):
    """What tells that an object is gone, or another one of its name."""

    name: NamespacedName
    uid: str


class _Owned(msgspec.Struct, frozen=True):
    kind: OwnedKind
    name: NamespacedName
    seen: Seen


class Informers:
    """All watches of a leader. What they bring is taken on the loop, at once."""

    def __init__(
        self,
        endpoint: Endpoint,
        cache: Cache,
        queues: WorkQueues,
        *,
        pods: PodIndex,
        owned: OwnedObjects,
        keys: KeyConfigMaps,
        desks: DeskObjects,
        window_seconds: float,
    ) -> None:
        """Watch an API server.

        Args:
            endpoint: the API server.
            cache: takes our kinds, Namespaces and ServiceAccounts.
            queues: take the keys of what has to be done.
            pods: takes the pods.
            owned: takes the operator's own objects.
            keys: takes the ConfigMaps that `watch_config_maps` names.
            desks: takes the operator's own objects for desks; without a namespace, nothing of desks is
                watched.
            window_seconds: how long one watch request lasts before it is made again.
        """
        self._endpoint, self._cache, self._queues = endpoint, cache, queues
        self._pods, self._owned, self._keys, self._window = pods, owned, keys, window_seconds
        self._desks = desks
        self._watches: dict[str, Watch[Any]] = {}
        self._config_maps: dict[NamespacedName, asyncio.Task[None]] = {}
        self._begun_at = time.monotonic()

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            SilentWatchError, StoreRestoredError: everything has to be read again; in an ExceptionGroup.
        """
        self._begun_at = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                kinds = {**_OUR_KINDS, **(_DESK_KINDS if self._desks.namespace else {})}
                for kind, resource in kinds.items():
                    watch = self._watch(resource.plural, resource, ReceivedObject, self._receiver(kind))
                    group.create_task(_run(watch, _ignore, self._remover(kind)))
                watch = self._watch("namespaces", _NAMESPACES, PartialObject, _namespace)
                group.create_task(_run(watch, self._namespace_changed, self._namespace_gone))
                for owned in OWNED_KINDS:
                    resource = _OWNED[owned]
                    watch = self._watch(resource.plural, resource, _OwnedObject, _owned(owned))
                    group.create_task(_run(watch, self._owned_changed, self._owned_gone))
                if self._desks.namespace:
                    watch = self._desk_secrets()
                    group.create_task(_run(watch, self._secret_changed, self._secret_gone))
                    watch = self._desk_config_maps()
                    group.create_task(_run(watch, self._desk_config_map_changed, self._desk_config_map_gone))
                watch = self._watch("serviceaccounts", _ACCOUNTS, PartialObject, _account)
                group.create_task(_run(watch, self._account_changed, self._account_gone))
                # Too many to be listed again whenever a connection breaks; no decision depends on them.
                watch = self._watch("pods", PODS, PodObject, pod_keeper(), is_relisted_after_failure=False)
                group.create_task(_run(watch, self._pod_changed, self._pod_gone))
                group.create_task(self._check_liveness(list(self._watches.items())))
        finally:
            self.watch_config_maps(())

    def is_synced(self) -> bool:
        """Whether everything was read once."""
        return bool(self._watches) and all(watch.is_synced for watch in self._watches.values())

    def ages(self) -> dict[str, float]:
        """Seconds since each watch received something, or since all were begun; from any thread.

        A watch of a single ConfigMap is left out until it received something: it begins later than the
        others, and may be of an object that cannot be read, which ends nothing.
        """
        now = time.monotonic()
        received = {name: watch.received_at for name, watch in list(self._watches.items())}
        return {
            name: now - (self._begun_at if at is None else at)
            for name, at in received.items()
            if at is not None or "/" not in name
        }

    def watch_config_maps(
        self, wanted: Iterable[NamespacedName], unread: Collection[NamespacedName] = ()
    ) -> None:
        """Watch these ConfigMaps with issuers' keys, and no others any more.

        Args:
            wanted: namespaces and names.
            unread: those that have to be read again, by a watch that begins now.
        """
        names = set(wanted)
        for name in self._config_maps.keys() - (names - set(unread)):
            self._config_maps.pop(name).cancel()
            self._watches.pop(f"configmaps/{name}", None)
        for name in names - self._config_maps.keys():
            watching = self._watch_config_map(name)
            self._config_maps[name] = asyncio.get_running_loop().create_task(watching)

    def take(self, kind: str, received: ReceivedObject) -> None:
        """Put an object of our kinds into the cache, and add what that touches to the queues."""
        effects = self._cache.take_received(kind, received)
        if effects.services and kind == WORKLOAD:
            entry = self._cache.entry(kind, received.metadata.namespace, received.metadata.name)
            if entry is not None and entry.service is not None:
                self._queues.touch(entry.service, received.metadata.name)
        self._queues.add(effects)

    # Our own kinds, Namespaces and ServiceAccounts.

    def _receiver(self, kind: str) -> Callable[[ReceivedObject], _Identity]:
        """Puts each version into the cache as it is read; the watch keeps only which object it was."""

        def receive(item: ReceivedObject) -> _Identity:
            self.take(kind, item)
            metadata = item.metadata
            return _Identity(NamespacedName(metadata.namespace, metadata.name), metadata.uid)

        return receive

    def _remover(self, kind: str) -> Callable[[_Identity], None]:
        def remove(gone: _Identity) -> None:
            self._queues.add(self._cache.remove(kind, gone.name.namespace, gone.name.name, gone.uid))

        return remove

    def _namespace_changed(self, namespace: _Namespace) -> None:
        effects = self._cache.take_namespace(
            namespace.name, namespace.uid, namespace.labels, namespace.version
        )
        self._namespace_effects(namespace.name, effects)

    def _namespace_gone(self, namespace: _Namespace) -> None:
        self._queues.add(self._cache.remove("Namespace", "", namespace.name, namespace.uid))

    def _namespace_effects(self, name: str, effects: Effects) -> None:
        if effects:
            self._pods.forget_answers()
            self._queues.pods_changed(name)
        self._queues.add(effects)

    def _account_changed(self, account: _Identity) -> None:
        self._queues.add(self._cache.take_account(account.name, account.uid))

    def _account_gone(self, account: _Identity) -> None:
        self._queues.add(self._cache.remove_account(account.name, account.uid))

    # The operator's own objects, pods, and ConfigMaps with keys.

    def _owned_changed(self, owned: _Owned) -> None:
        if self._owned.observe(owned.kind, owned.name, owned.seen):
            self._restore(owned)

    def _owned_gone(self, owned: _Owned) -> None:
        if self._owned.vanish(owned.kind, owned.name, owned.seen.uid):
            self._restore(owned)

    def _restore(self, owned: _Owned) -> None:
        """Have the service of an object reconciled that another client wrote or deleted."""
        name = NamespacedName(owned.name.namespace, service_of(owned.kind, owned.name.name))
        if self._cache.service(name) is not None:
            self._queues.services.add(name)

    def _pod_changed(self, pod: Pod) -> None:
        self._pods_changed(self._pods.take(pod.uid, pod.group))
        self._count_gates(pod)

    def _pod_gone(self, pod: Pod) -> None:
        self._pods_changed(self._pods.remove(pod.uid))
        self._count_gates(pod)

    def _count_gates(self, pod: Pod) -> None:
        """Have services say again how many of their pods have no gate; else only a group's first is news."""
        if not pod.group.has_gate:
            for entry in self._cache.services_in(pod.group.namespace):
                self._queues.statuses.add(entry.key)

    def _pods_changed(self, namespace: str | None) -> None:
        if namespace is not None:
            self._queues.pods_changed(namespace)

    # The operator's own objects for desks.

    def _desk_secrets(self) -> Watch[Any]:
        namespace = self._desks.namespace
        resource = Resource(plural="secrets", namespace=namespace, label_selector=DESK_LABEL)
        return self._watch("desk-secrets", resource, ReceivedDeskObject, self._desks.secret_from)

    def _desk_config_maps(self) -> Watch[Any]:
        resource = Resource(plural="configmaps", label_selector=DESK_LABEL)
        return self._watch("desk-configmaps", resource, ReceivedDeskObject, self._desks.config_map_from)

    def _secret_changed(self, secret: SigningSecret) -> None:
        if self._desks.secrets.observe(secret):
            self._queues.desks_changed()

    def _secret_gone(self, secret: SigningSecret) -> None:
        if self._desks.secrets.remove(secret.name, secret.uid):
            self._queues.desks_changed()

    def _desk_config_map_changed(self, config_map: DeskConfigMap) -> None:
        if config_map.is_kept and self._desks.config_maps.observe(config_map):
            self._queues.desks_changed()

    def _desk_config_map_gone(self, config_map: DeskConfigMap) -> None:
        if self._desks.config_maps.remove(config_map.name, config_map.uid):
            self._queues.desks_changed()

    async def _watch_config_map(self, name: NamespacedName) -> None:
        resource = Resource.one("configmaps", *name)
        watch = self._watch(f"configmaps/{name}", resource, _ConfigMap, lambda item: item)

        def changed(item: _ConfigMap) -> None:
            entries: dict[str, str | None] = dict.fromkeys(item.binary_data or ())
            self._keys.set_config_map(*name, entries | (item.data or {}))

        def gone(_: _ConfigMap) -> None:
            self._keys.set_config_map(*name, None)

        def synced() -> None:
            if not watch.known:
                self._keys.set_config_map(*name, None)

        await _run(watch, changed, gone, synced)

    async def _check_liveness(self, watches: list[tuple[str, Watch[Any]]]) -> None:
        """Raise when one of these watches should have received something by now."""
        longest = silence_seconds(self._window)
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            now = time.monotonic()
            for name, watch in watches:
                at = watch.received_at
                age, limit = (now - self._begun_at, FIRST_SECONDS) if at is None else (now - at, longest)
                if age > limit:
                    why = f": {watch.problem.detail}" if watch.problem is not None else ""
                    raise SilentWatchError(f"the watch of {name} has received nothing for {age:.0f} s{why}")

    def _watch(
        self,
        name: str,
        resource: Resource,
        kind: type[Any],
        keep: Callable[[Any], Any],
        *,
        is_relisted_after_failure: bool = True,
    ) -> Watch[Any]:
        watch: Watch[Any] = Watch(
            self._endpoint,
            resource,
            kind,
            keep,
            window_seconds=self._window,
            is_relisted_after_failure=is_relisted_after_failure,
            max_page_bytes=_MAX_PAGE_BYTES,
        )
        self._watches[name] = watch
        return watch


async def _run(
    watch: Watch[Any],
    changed: Callable[[Any], None],
    gone: Callable[[Any], None],
    synced: Callable[[], None] = lambda: None,
) -> None:
    """Pass on what a watch tells."""
    async with contextlib.aclosing(watch.events()) as events:
        async for event in events:
            if isinstance(event, Upserted):
                changed(event.object)
            elif isinstance(event, Removed):
                gone(event.object)
            elif isinstance(event, Troubled):
                problem = event.problem
                extra = {"resource": str(watch.resource), "why": problem.detail, "remedy": problem.remedy}
                LOGGER.warning("watch failed, trying again", extra=extra)
            elif watch.rewinds:
                raise StoreRestoredError(f"the list of {watch.resource} is older than what was told before")
            else:
                synced()


def _ignore(_: object) -> None:
    """What was told is in the cache already."""


class _OwnedObject(Part, frozen=True):
    """One of the operator's own objects; what is set depends on its kind."""

    metadata: "_OwnedMeta"
    rules: Any = None
    role_ref: Any = msgspec.field(default=None, name="roleRef")
    subjects: Any = None
    spec: Any = None


class _OwnedMeta(FullMeta, frozen=True, rename="camel"):
    owner_references: list[dict[str, Any]] | None = None


class _PodSpec(Part, frozen=True, rename="camel"):
    service_account_name: str = "default"
    host_network: bool = False
    containers: list[PodContainer] | None = None
    init_containers: list[PodContainer] | None = None


class PodObject(Part, frozen=True):
    """As much of a pod as is read."""

    metadata: FullMeta
    spec: _PodSpec


class _ConfigMap(Part, frozen=True):
    metadata: FullMeta
    data: dict[str, str] | None = None
    # Of these the names alone, so that a remedy can say where an entry is.
    binary_data: dict[str, msgspec.Raw] | None = msgspec.field(default=None, name="binaryData")


def _namespace(item: PartialObject) -> _Namespace:
    metadata = item.metadata
    version = version_number(metadata.resource_version)
    return _Namespace(metadata.name, metadata.uid, version, metadata.labels or {})


def _owned(kind: OwnedKind) -> Callable[[_OwnedObject], _Owned]:
    def keep(item: _OwnedObject) -> _Owned:
        metadata = item.metadata
        name = NamespacedName(metadata.namespace, metadata.name)
        return _Owned(kind, name, seen_from(kind, msgspec.to_builtins(item)))

    return keep


def _account(item: PartialObject) -> _Identity:
    return _Identity(NamespacedName(item.metadata.namespace, item.metadata.name), item.metadata.uid)


def pod_keeper() -> Callable[[PodObject], Pod]:
    """What is kept of pods: one group for all that are alike, since there are 50,000 of them."""
    pool = GroupPool()

    def keep(item: PodObject) -> Pod:
        metadata = item.metadata
        labels = tuple(sorted((metadata.labels or {}).items()))
        spec = item.spec
        is_gated = has_gate([*(spec.init_containers or ()), *(spec.containers or ())])
        group = PodGroup(
            metadata.namespace, spec.service_account_name, labels, spec.host_network, has_gate=is_gated
        )
        return Pod(metadata.uid, pool.shared(group))

    return keep
