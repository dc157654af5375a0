# SPDX-License-Identifier: Apache-2.0
"""The watches beside kopf's: whatever needs a selector, or must tell what vanished while nobody looked.

kopf tells neither that an object is gone which vanished while its watch was cut, nor when its first list is
over. So the bare existence of our kinds is followed here too: it decides when everything was read once, and
no deletion is ever missed.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from watchword.apiwatch import Endpoint, Part, PartialObject, Removed, Resource, Troubled, Upserted, Watch
from watchword.apiwatch.messages import FullMeta, ObjectMeta, version_number
from watchword.operator.managed import MANAGED_KINDS, ManagedKind, Seen, seen_from
from watchword.operator.names import MANAGED_SELECTOR, Name
from watchword.operator.pods import GroupPool
from watchword.process.logs import LOGGER
from watchword.trust.conditions import ISSUER, SERVICE, WORKLOAD
from watchword.trust.drift import PodGroup
from watchword.trust.specs import API_GROUP

_RBAC: Final = "rbac.authorization.k8s.io"
_OURS: Final = {
    ISSUER: Resource(group=API_GROUP, version="v1alpha1", plural="clustertrustedissuers", metadata_only=True),
    SERVICE: Resource(group=API_GROUP, version="v1alpha1", plural="protectedservices", metadata_only=True),
    WORKLOAD: Resource(group=API_GROUP, version="v1alpha1", plural="trustedworkloads", metadata_only=True),
    "Namespace": Resource(plural="namespaces", metadata_only=True),
}
_MANAGED: Final[Mapping[ManagedKind, Resource]] = {
    "ConfigMap": Resource(plural="configmaps", label_selector=MANAGED_SELECTOR, metadata_only=True),
    "Role": Resource(group=_RBAC, plural="roles", label_selector=MANAGED_SELECTOR),
    "RoleBinding": Resource(group=_RBAC, plural="rolebindings", label_selector=MANAGED_SELECTOR),
    "NetworkPolicy": Resource(
        group="networking.k8s.io", plural="networkpolicies", label_selector=MANAGED_SELECTOR
    ),
}
# What has ended calls nobody.
PODS: Final = Resource(plural="pods", field_selector="status.phase!=Succeeded,status.phase!=Failed")


class StoreRestored(Exception):
    """The API server's store is older than what it told before: nothing that was read from it counts."""


class Existence(msgspec.Struct, frozen=True):
    """That an object is there, and in which version, and no more.

    Attributes:
        version: what grows whenever the object says something else: its generation; a Namespace has none, and
            its resourceVersion is taken.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    version: int


class ManagedObject(msgspec.Struct, frozen=True):
    """An object that bears our label."""

    kind: ManagedKind
    place: Name
    seen: Seen


class Account(msgspec.Struct, frozen=True):
    """A ServiceAccount of this cluster."""

    namespace: str
    name: str
    uid: str


class Pod(msgspec.Struct, frozen=True, gc=False):
    """A pod, as policies see it."""

    uid: str
    group: PodGroup


class Sink:
    """Who is told. Each method is called on the loop, and returns at once."""

    def exists(self, existence: Existence) -> None:
        """An object of our kinds, or a Namespace, is there."""

    def vanished(self, existence: Existence) -> None:
        """It is gone."""

    def managed_seen(self, managed: ManagedObject) -> None:
        """An object with our label is there, or was changed."""

    def managed_gone(self, managed: ManagedObject) -> None:
        """It is gone, or lost our label."""

    def account_seen(self, account: Account) -> None:
        """A ServiceAccount is there; with another UID: it was made anew."""

    def account_gone(self, account: Account) -> None:
        """It is gone."""

    def pod_seen(self, pod: Pod) -> None:
        """A pod is there, or its labels were changed."""

    def pod_gone(self, pod: Pod) -> None:
        """It is gone, or has ended."""

    def config_map_seen(self, namespace: str, name: str, data: Mapping[str, str] | None) -> None:
        """A ConfigMap that an issuer names is so; None: there is none."""


class Following:
    """All of these watches."""

    def __init__(self, endpoint: Endpoint, sink: Sink, *, window_seconds: float) -> None:
        """Follow for a sink."""
        self._endpoint, self._sink, self._window = endpoint, sink, window_seconds
        self._watches: dict[str, Watch[Any]] = {}
        self._config_maps: dict[Name, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Follow until cancelled."""
        sink = self._sink
        try:
            async with asyncio.TaskGroup() as group:
                for kind, resource in _OURS.items():
                    watch = self._watch(f"{resource.plural}/metadata", resource, _Spoken, _existence(kind))
                    group.create_task(_tell(watch, sink.exists, sink.vanished))
                for managed in MANAGED_KINDS:
                    resource = _MANAGED[managed]
                    watch = self._watch(resource.plural, resource, _Whole, _managed(managed))
                    group.create_task(_tell(watch, sink.managed_seen, sink.managed_gone))
                accounts = Resource(plural="serviceaccounts", metadata_only=True)
                watch = self._watch("serviceaccounts", accounts, PartialObject, _account)
                group.create_task(_tell(watch, sink.account_seen, sink.account_gone))
                # Too many to be read anew whenever a connection breaks; no decision hangs on them.
                watch = self._watch("pods", PODS, PodObject, pod_keeper(), is_relisted_after_failure=False)
                group.create_task(_tell(watch, sink.pod_seen, sink.pod_gone))
        finally:
            self.follow_config_maps(())

    def is_synced(self) -> bool:
        """Whether everything was read once."""
        return bool(self._watches) and all(watch.is_synced for watch in self._watches.values())

    def ages(self) -> dict[str, float]:
        """Seconds since the last word of each watch; from any thread."""
        now = time.monotonic()
        heard = {name: watch.heard_at for name, watch in list(self._watches.items())}
        return {name: now - at for name, at in heard.items() if at is not None}

    def follow_config_maps(self, wanted: Iterable[Name]) -> None:
        """Follow these ConfigMaps, and no others any more."""
        names = set(wanted)
        for name in self._config_maps.keys() - names:
            self._config_maps.pop(name).cancel()
            self._watches.pop(_of_config_map(name), None)
        for name in names - self._config_maps.keys():
            self._config_maps[name] = asyncio.get_running_loop().create_task(self._follow_config_map(name))

    async def _follow_config_map(self, name: Name) -> None:
        resource = Resource.one("configmaps", *name)
        watch = self._watch(_of_config_map(name), resource, _ConfigMap, lambda item: item)

        def seen(item: _ConfigMap) -> None:
            self._sink.config_map_seen(*name, item.data or {})

        def gone(_: _ConfigMap) -> None:
            self._sink.config_map_seen(*name, None)

        def synced() -> None:
            if not watch.known:
                self._sink.config_map_seen(*name, None)

        await _tell(watch, seen, gone, synced)

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
        )
        self._watches[name] = watch
        return watch


async def _tell(
    watch: Watch[Any],
    seen: Callable[[Any], None],
    gone: Callable[[Any], None],
    synced: Callable[[], None] = lambda: None,
) -> None:
    async with contextlib.aclosing(watch.events()) as events:
        async for event in events:
            if isinstance(event, Upserted):
                seen(event.object)
            elif isinstance(event, Removed):
                gone(event.object)
            elif isinstance(event, Troubled):
                problem = event.problem
                extra = {"resource": str(watch.resource), "why": problem.detail, "remedy": problem.remedy}
                LOGGER.warning("a watch has no word", extra=extra)
            elif watch.rewinds:
                raise StoreRestored(f"the list of {watch.resource} is older than what was told before")
            else:
                synced()


class _Whole(Part, frozen=True):
    """An object of ours, of which the rest is whatever its kind has."""

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


class PodObject(Part, frozen=True):
    """As much of a pod as is read."""

    metadata: FullMeta
    spec: _PodSpec


class _ConfigMap(Part, frozen=True):
    metadata: FullMeta
    data: dict[str, str] | None = None


class _SpokenMeta(ObjectMeta, frozen=True):
    generation: int = 0


class _Spoken(Part, frozen=True):
    metadata: _SpokenMeta


def _existence(kind: str) -> Callable[[_Spoken], Existence]:
    def keep(item: _Spoken) -> Existence:
        metadata = item.metadata
        version = metadata.generation or version_number(metadata.resource_version)
        return Existence(kind, metadata.namespace, metadata.name, metadata.uid, version)

    return keep


def _managed(kind: ManagedKind) -> Callable[[_Whole], ManagedObject]:
    def keep(item: _Whole) -> ManagedObject:
        metadata = item.metadata
        seen = seen_from(kind, msgspec.to_builtins(item))
        return ManagedObject(kind, (metadata.namespace, metadata.name), seen)

    return keep


def _account(item: PartialObject) -> Account:
    return Account(item.metadata.namespace, item.metadata.name, item.metadata.uid)


def pod_keeper() -> Callable[[PodObject], Pod]:
    """What is kept of pods: one group for all that are alike, since there are 50,000 of them."""
    pool = GroupPool()

    def keep(item: PodObject) -> Pod:
        metadata = item.metadata
        labels = tuple(sorted((metadata.labels or {}).items()))
        group = PodGroup(metadata.namespace, item.spec.service_account_name, labels, item.spec.host_network)
        return Pod(metadata.uid, pool.shared(group))

    return keep


def _of_config_map(name: Name) -> str:
    return f"configmaps/{name[0]}/{name[1]}"
