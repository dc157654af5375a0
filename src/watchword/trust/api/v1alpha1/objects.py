# SPDX-License-Identifier: Apache-2.0
"""The resources as objects: metadata next to a spec, and where each was read.

Only the metadata that decides something is kept: an object as the API server stores it may carry a megabyte
of annotations and managed fields.
"""

import msgspec

from watchword.trust.api.v1alpha1.agent_provider import AgentProviderSpec
from watchword.trust.api.v1alpha1.desk import DeskClientSpec, DeskSpec
from watchword.trust.api.v1alpha1.fields import Name
from watchword.trust.api.v1alpha1.issuer import IssuerSpec
from watchword.trust.api.v1alpha1.service import ServiceSpec
from watchword.trust.api.v1alpha1.workload import WorkloadSpec


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of an object's metadata that decides something here."""

    name: Name
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    creation_timestamp: str | None = None
    generation: int = 0


class ClusterTrustedIssuer(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster whose tokens may be believed. Cluster-scoped: only cluster admins add trust in a cluster."""

    metadata: Metadata
    spec: IssuerSpec
    source: str = ""


class ProtectedService(msgspec.Struct, frozen=True, kw_only=True):
    """A service behind a gate."""

    metadata: Metadata
    spec: ServiceSpec
    source: str = ""


class TrustedWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """One more workload that a service trusts. It is in the namespace of the service: its owner decides."""

    metadata: Metadata
    spec: WorkloadSpec
    source: str = ""


class TokenDesk(msgspec.Struct, frozen=True, kw_only=True):
    """An authorization server whose tokens the services that name it accept."""

    metadata: Metadata
    spec: DeskSpec
    source: str = ""


class DeskClient(msgspec.Struct, frozen=True, kw_only=True):
    """Who may use a desk other than as a workload. It counts only next to its TokenDesk."""

    metadata: Metadata
    spec: DeskClientSpec
    source: str = ""


class AgentProvider(msgspec.Struct, frozen=True, kw_only=True):
    """Whose assertions a desk takes for agents. It counts only next to its TokenDesk."""

    metadata: Metadata
    spec: AgentProviderSpec
    source: str = ""


Resource = ClusterTrustedIssuer | ProtectedService | TrustedWorkload | TokenDesk | DeskClient | AgentProvider


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one compilation looks at.

    Attributes:
        issuers: the ClusterTrustedIssuers.
        services: the ProtectedServices.
        workloads: the TrustedWorkloads.
        desks: the TokenDesks.
        clients: the DeskClients.
        providers: the AgentProviders.
        config_maps: entries of ConfigMaps by (namespace, name).
        namespaces: labels of Namespaces by name.
        binary_entries: the names of entries in `binaryData` of ConfigMaps, which are not read.
    """

    issuers: tuple[ClusterTrustedIssuer, ...] = ()
    services: tuple[ProtectedService, ...] = ()
    workloads: tuple[TrustedWorkload, ...] = ()
    desks: tuple[TokenDesk, ...] = ()
    clients: tuple[DeskClient, ...] = ()
    providers: tuple[AgentProvider, ...] = ()
    config_maps: dict[tuple[str, str], dict[str, str]] = {}
    namespaces: dict[str, dict[str, str]] = {}
    binary_entries: dict[tuple[str, str], frozenset[str]] = {}
