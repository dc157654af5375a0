# SPDX-License-Identifier: Apache-2.0
"""What the webhook knows of the cluster, kept by its watches, and one look more before it says no.

A service that was made in the same second may not be in the caches yet. A yes needs none of that; only a no
for want of something is worth asking the API server about, within a bound.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from watchword.injection import DeskFacts, ServiceFacts, World
from watchword.injection.facts import Trust
from watchword.injection.names import NAMESPACE_LABEL, NAMESPACE_VALUE
from watchword.kube.watch import Endpoint, ObjectMeta, Part, PartialObject, Removed, Resource, Upserted, Watch
from watchword.process.logs import LOGGER
from watchword.trust import API_GROUP

LOOK_SECONDS: Final = 3.0
# Any client in the cluster can send a pod that is refused: that must not become a flood at the API server.
_LOOKS_AT_ONCE: Final = 8
_VERSION: Final = "v1alpha1"


class _Selector(Part, frozen=True):
    match_labels: dict[str, str]


class _Usage(Part, frozen=True):
    meters: tuple[dict[str, Any], ...] = ()


class _Status(Part, frozen=True):
    audience: str = ""


class _Token(Part, frozen=True):
    max_lifetime_seconds: int = 3600


class _ServiceSpec(Part, frozen=True):
    selector: _Selector
    port: int
    upstream_port: int
    token: _Token = _Token()
    service_account_name: str = "default"
    usage: _Usage = _Usage()


class _Service(Part, frozen=True):
    metadata: ObjectMeta
    spec: _ServiceSpec
    status: _Status = _Status()


class _Named(Part, frozen=True):
    name: str
    namespace: str = ""


class _WorkloadSpec(Part, frozen=True):
    service_ref: _Named
    service_account: _Named


class _Workload(Part, frozen=True):
    metadata: ObjectMeta
    spec: _WorkloadSpec


class _DeskSpec(Part, frozen=True):
    issuer: str


class _Desk(Part, frozen=True):
    metadata: ObjectMeta
    spec: _DeskSpec
    status: _Status = _Status()


def _facts(service: _Service) -> ServiceFacts:
    spec = service.spec
    return ServiceFacts(
        namespace=service.metadata.namespace,
        name=service.metadata.name,
        match_labels=spec.selector.match_labels,
        port=spec.port,
        upstream_port=spec.upstream_port,
        published_audience=service.status.audience,
        max_lifetime_seconds=spec.token.max_lifetime_seconds,
        service_account_name=spec.service_account_name,
        counts_usage=bool(spec.usage.meters),
    )


def _desk_facts(desk: _Desk) -> DeskFacts:
    metadata = desk.metadata
    return DeskFacts(metadata.namespace, metadata.name, desk.spec.issuer, desk.status.audience)


def _trust(workload: _Workload) -> Trust:
    spec, account = workload.spec, workload.spec.service_account
    return workload.metadata.namespace, spec.service_ref.name, account.namespace, account.name


SERVICES: Final = Resource(group=API_GROUP, version=_VERSION, plural="protectedservices")
WORKLOADS: Final = Resource(group=API_GROUP, version=_VERSION, plural="trustedworkloads")
DESKS: Final = Resource(group=API_GROUP, version=_VERSION, plural="tokendesks")
NAMESPACES: Final = Resource(
    plural="namespaces", label_selector=f"{NAMESPACE_LABEL}={NAMESPACE_VALUE}", metadata_only=True
)
# Its UID is what the cluster is called in audiences; the object cannot be deleted.
CLUSTER: Final = Resource(plural="namespaces", field_selector="metadata.name=kube-system", metadata_only=True)


class Caches:
    """The cluster as its watches show it. Belongs to one event loop."""

    def __init__(
        self, endpoint: Endpoint, window_seconds: float = 120.0, *, desk_namespace: str = ""
    ) -> None:
        """Read from an API server.

        Args:
            endpoint: the API server.
            window_seconds: how long one watch request lasts.
            desk_namespace: the one namespace in which TokenDesks count, and are read; empty: there are none.
        """
        self._endpoint, self._window_seconds = endpoint, window_seconds
        self._services = self._watch(SERVICES, _Service, _facts)
        self._workloads = self._watch(WORKLOADS, _Workload, _trust)
        self._namespaces = self._watch(NAMESPACES, PartialObject, lambda each: each.metadata.name)
        self._cluster = self._watch(CLUSTER, PartialObject, lambda each: each.metadata.uid)
        # No other namespace's are read: a TokenDesk elsewhere speaks for no desk.
        self._desks_there = (
            msgspec.structs.replace(DESKS, namespace=desk_namespace) if desk_namespace else None
        )
        self._desks = None if self._desks_there is None else self._desk_watch(self._desks_there)
        # Made again only after something changed: 10,000 workloads are many for each pod.
        self._world: World | None = None
        self._looks = asyncio.Semaphore(_LOOKS_AT_ONCE)

    @property
    def watches(self) -> tuple[Watch[Any], ...]:
        """All of them, for readiness and metrics."""
        of_desks = () if self._desks is None else (self._desks,)
        return self._services, self._workloads, self._namespaces, self._cluster, *of_desks

    @property
    def is_warm(self) -> bool:
        """Whether everything was read once."""
        return all(each.is_synced for each in self.watches) and bool(self._cluster_id)

    @property
    def _cluster_id(self) -> str:
        return next(iter(self._cluster.known.values()), "")

    @property
    def world(self) -> World:
        """The cluster as it is known now."""
        if self._world is None:
            services: Iterable[ServiceFacts] = self._services.known.values()
            self._world = World(
                services={(each.namespace, each.name): each for each in services},
                enabled_namespaces=frozenset(self._namespaces.known.values()),
                trusted=frozenset(self._workloads.known.values()),
                cluster_id=self._cluster_id,
                desks=_by_place(self._desks),
            )
        return self._world

    async def run(self) -> None:
        """Keep what is known up to date, until cancelled."""
        await asyncio.gather(*(self._keep(each) for each in self.watches))

    async def look_again(self, namespaces: frozenset[str]) -> World:
        """What is known, with these namespaces' services, who takes part, and the desks, as they are now.

        Where the API server does not answer in time, what is known already.
        """
        looked = [
            self._watch(msgspec.structs.replace(SERVICES, namespace=each), _Service, _facts)
            for each in sorted(namespaces)
        ]
        participants = self._watch(NAMESPACES, PartialObject, lambda each: each.metadata.name)
        desks = None if self._desks_there is None else self._desk_watch(self._desks_there)
        others_too = (participants,) if desks is None else (participants, desks)
        try:
            async with asyncio.timeout(LOOK_SECONDS), self._looks:
                await asyncio.gather(*(_list_once(each) for each in (*looked, *others_too)))
        except TimeoutError:
            LOGGER.warning("a second look took too long; the caches decide")
            return self.world
        fresh = {(each.namespace, each.name): each for watch in looked for each in watch.known.values()}
        known = self.world
        others = {place: facts for place, facts in known.services.items() if place[0] not in namespaces}
        return World(
            services={**others, **fresh},
            enabled_namespaces=frozenset(participants.known.values()),
            trusted=known.trusted,
            cluster_id=known.cluster_id,
            desks=_by_place(desks),
        )

    def _desk_watch(self, resource: Resource) -> Watch[Any]:
        return self._watch(resource, _Desk, _desk_facts)

    def _watch(self, resource: Resource, kind: type[Any], keep: Any) -> Watch[Any]:
        return Watch(self._endpoint, resource, kind, keep, window_seconds=self._window_seconds)

    async def _keep(self, watch: Watch[Any]) -> None:
        async for event in watch.events():
            if isinstance(event, Upserted | Removed):
                self._world = None


def _by_place(desks: Watch[Any] | None) -> dict[tuple[str, str], DeskFacts]:
    found: Iterable[DeskFacts] = () if desks is None else desks.known.values()
    return {(each.namespace, each.name): each for each in found}


async def _list_once(watch: Watch[Any]) -> None:
    events = watch.events()
    try:
        async for _ in events:
            if watch.is_synced:
                return
    finally:
        await events.aclose()
