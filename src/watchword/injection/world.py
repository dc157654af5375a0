# SPDX-License-Identifier: Apache-2.0
"""What injection looks things up in: the services, who is trusted, and which namespaces take part."""

from collections.abc import Mapping

import msgspec

from watchword.trust import ProtectedService

Place = tuple[str, str]


class World(msgspec.Struct, frozen=True):
    """A moment of the cluster.

    Attributes:
        services: the ProtectedServices by namespace and name.
        enabled_namespaces: namespaces whose pods may be given a gate.
        trusted: (namespace, service, ServiceAccount's namespace, its name) of each TrustedWorkload.
    """

    services: Mapping[Place, ProtectedService]
    enabled_namespaces: frozenset[str] = frozenset()
    trusted: frozenset[tuple[str, str, str, str]] = frozenset()

    def selecting(self, namespace: str, labels: Mapping[str, str]) -> list[ProtectedService]:
        """The services of a namespace that select a pod with these labels, by name."""
        return [
            service
            for (where, _), service in sorted(self.services.items())
            if where == namespace
            and all(labels.get(key) == value for key, value in service.spec.selector.match_labels.items())
        ]
