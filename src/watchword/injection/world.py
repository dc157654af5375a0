# SPDX-License-Identifier: Apache-2.0
"""What injection looks things up in: the services, who is trusted, and which namespaces take part.

Only what injection needs of a service is kept, so that a ProtectedService with fields of a newer release is
still known to a webhook of an older one.
"""

from collections.abc import Iterable, Mapping

import msgspec

from watchword.trust import ProtectedService, TrustedWorkload

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
        audience: the one that tokens for it are asked with.
        max_lifetime_seconds: the longest life of a token that it takes.
        service_account_name: the ServiceAccount that may read its bundle.
    """

    namespace: str
    name: str
    match_labels: Mapping[str, str]
    port: int
    upstream_port: int
    audience: str
    max_lifetime_seconds: int = 3600
    service_account_name: str = "default"

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
            audience=spec.audiences[0],
            max_lifetime_seconds=spec.token.max_lifetime_seconds,
            service_account_name=spec.service_account_name,
        )


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
    """

    services: Mapping[Place, ServiceFacts]
    enabled_namespaces: frozenset[str] = frozenset()
    trusted: frozenset[Trust] = frozenset()

    @classmethod
    def of(
        cls,
        services: Iterable[ProtectedService],
        workloads: Iterable[TrustedWorkload],
        enabled_namespaces: Iterable[str],
    ) -> "World":
        """What whole resources say."""
        facts = [ServiceFacts.of(each) for each in services]
        return cls(
            services={(each.namespace, each.name): each for each in facts},
            enabled_namespaces=frozenset(enabled_namespaces),
            trusted=frozenset(map(trust_of, workloads)),
        )

    def selecting(self, namespace: str, labels: Mapping[str, str]) -> list[ServiceFacts]:
        """The services of a namespace that select a pod with these labels, by name."""
        return [
            service
            for (where, _), service in sorted(self.services.items(), key=lambda each: each[0])
            if where == namespace
            and all(labels.get(key) == value for key, value in service.match_labels.items())
        ]
