# SPDX-License-Identifier: Apache-2.0
"""What injection looks things up in: the services and desks, who is trusted, which namespaces take part.

Only what injection needs of them is kept, so that a ProtectedService with fields of a newer release is still
known to a webhook of an older one.
"""

from collections.abc import Iterable, Mapping

import msgspec

from watchword.trust import ProtectedService, TrustedWorkload
from watchword.trust.api.v1alpha1 import TokenDesk
from watchword.trust.derived_audience import derived_audience, desk_audience

Place = tuple[str, str]
Trust = tuple[str, str, str, str]


class ServiceFacts(msgspec.Struct, frozen=True):
    """A ProtectedService, as far as pods are concerned.

    Attributes:
        namespace: its namespace.
        name: its name.
        match_labels: of the pods that it selects.
        port: the gate's.
        upstream_port: the app's.
        published_audience: `status.audience`, what its gates are known to accept; None: read offline, where
            there is no status. It is compared with the derived audience and never minted.
        max_lifetime_seconds: the longest life of a token that it takes.
        service_account_name: the ServiceAccount that may read its bundle.
        counts_usage: whether it has meters: then each store of its own counts a retried event again.
    """

    namespace: str
    name: str
    match_labels: Mapping[str, str]
    port: int
    upstream_port: int
    published_audience: str | None = None
    max_lifetime_seconds: int = 3600
    service_account_name: str = "default"
    counts_usage: bool = False

    @classmethod
    def of(cls, service: ProtectedService) -> "ServiceFacts":
        """What matters of a whole resource."""
        spec = service.spec
        return cls(
            namespace=service.metadata.namespace,
            name=service.metadata.name,
            match_labels=spec.selector.match_labels,
            port=spec.port,
            upstream_port=spec.upstream_port,
            max_lifetime_seconds=spec.token.max_lifetime_seconds,
            service_account_name=spec.service_account_name,
            counts_usage=bool(spec.usage.meters),
        )


class DeskFacts(msgspec.Struct, frozen=True):
    """A TokenDesk, as far as pods are concerned.

    Attributes:
        namespace: its namespace.
        name: its name.
        issuer: its URL, where it answers.
        published_audience: `status.audience`, which it has where it counts; None: read offline, where there
            is no status. It is compared with the derived audience and never minted.
    """

    namespace: str
    name: str
    issuer: str
    published_audience: str | None = None

    @classmethod
    def of(cls, desk: TokenDesk) -> "DeskFacts":
        """What matters of a whole resource."""
        return cls(desk.metadata.namespace, desk.metadata.name, desk.spec.issuer)


def trust_of(workload: TrustedWorkload) -> Trust:
    """Whom a workload trusts for which service, as `World.trusted` has it."""
    spec = workload.spec
    account = spec.service_account
    return workload.metadata.namespace, spec.service_ref.name, account.namespace, account.name


class World(msgspec.Struct, frozen=True):
    """A moment of the cluster.

    Attributes:
        services: the ProtectedServices by namespace and name.
        enabled_namespaces: namespaces whose pods may be given a gate.
        trusted: (namespace, service, ServiceAccount's namespace, its name) of each TrustedWorkload.
        cluster_id: the UID of the `kube-system` Namespace; empty: not known, and no token can be minted.
        desks: the TokenDesks where they count, by namespace and name.
    """

    services: Mapping[Place, ServiceFacts]
    enabled_namespaces: frozenset[str] = frozenset()
    trusted: frozenset[Trust] = frozenset()
    cluster_id: str = ""
    desks: Mapping[Place, DeskFacts] = {}

    @classmethod
    def of(
        cls,
        services: Iterable[ProtectedService],
        workloads: Iterable[TrustedWorkload],
        enabled_namespaces: Iterable[str],
        cluster_id: str = "",
        desks: Iterable[TokenDesk] = (),
    ) -> "World":
        """What whole resources say."""
        facts = [ServiceFacts.of(each) for each in services]
        of_desks = [DeskFacts.of(each) for each in desks]
        return cls(
            services={(each.namespace, each.name): each for each in facts},
            enabled_namespaces=frozenset(enabled_namespaces),
            trusted=frozenset(map(trust_of, workloads)),
            cluster_id=cluster_id,
            desks={(each.namespace, each.name): each for each in of_desks},
        )

    def audience_of(self, place: Place) -> str:
        """The audience that tokens for a service are minted with: computed, whatever its object says.

        Raises:
            ValueError: the cluster is not known.
        """
        return derived_audience(self.cluster_id, *place)

    def desk_audience_of(self, place: Place) -> str:
        """The audience that tokens for a desk are minted with: computed, whatever its object says.

        Raises:
            ValueError: the cluster is not known.
        """
        return desk_audience(self.cluster_id, *place)

    def selecting(self, namespace: str, labels: Mapping[str, str]) -> list[ServiceFacts]:
        """The services of a namespace that select a pod with these labels, by name."""
        return [
            service
            for (where, _), service in sorted(self.services.items(), key=lambda each: each[0])
            if where == namespace
            and all(labels.get(key) == value for key, value in service.match_labels.items())
        ]
