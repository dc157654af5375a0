# SPDX-License-Identifier: Apache-2.0
"""The three resources as objects: metadata beside a spec, and where each was read.

Only the metadata that decides something is kept: an object as the API server stores it may carry a megabyte
of annotations and managed fields.
"""

import msgspec

from watchword.trust.specs.fields import Name
from watchword.trust.specs.issuer import IssuerSpec
from watchword.trust.specs.service import ServiceSpec
from watchword.trust.specs.workload import WorkloadSpec


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
    """One more workload that a service trusts. It stands beside the service: its owner decides."""

    metadata: Metadata
    spec: WorkloadSpec
    source: str = ""


Resource = ClusterTrustedIssuer | ProtectedService | TrustedWorkload


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one compilation looks at.

    Attributes:
        issuers: the ClusterTrustedIssuers.
        services: the ProtectedServices.
        workloads: the TrustedWorkloads.
        config_maps: entries of ConfigMaps by (namespace, name).
        namespaces: labels of Namespaces by name.
    """

    issuers: tuple[ClusterTrustedIssuer, ...] = ()
    services: tuple[ProtectedService, ...] = ()
    workloads: tuple[TrustedWorkload, ...] = ()
    config_maps: dict[tuple[str, str], dict[str, str]] = {}
    namespaces: dict[str, dict[str, str]] = {}
