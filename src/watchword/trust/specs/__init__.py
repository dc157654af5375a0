# SPDX-License-Identifier: Apache-2.0
"""The three resources as types: the one source of their fields, bounds and documentation.

The CRDs, the reference page and the parser of manifests are all made from these. Unknown fields are refused
by name, because a typo that is silently dropped (`audience` for `audiences`) is how a rule comes to be
missing. What one field alone cannot say is in `watchword.trust.rules`.
"""

from typing import Final

from watchword.trust.specs.fields import (
    DAY_SECONDS,
    Algorithm,
    Holder,
    IpBlock,
    IssuerName,
    LabelSelector,
    Name,
    Peer,
    Port,
    Scope,
    ServiceName,
    Url,
)
from watchword.trust.specs.issuer import (
    MAX_REVOKED,
    ClusterKeys,
    ConfigMapKeys,
    DiscoveryKeys,
    IssuerSpec,
    KeySource,
    Revocation,
    Rotation,
    SecretKey,
)
from watchword.trust.specs.objects import (
    ClusterTrustedIssuer,
    Metadata,
    ProtectedService,
    Resource,
    Resources,
    TrustedWorkload,
)
from watchword.trust.specs.service import (
    MAX_AUDIENCES,
    MAX_ROUTES,
    Limits,
    NetworkPolicyRules,
    Route,
    ServiceSpec,
    TokenRules,
)
from watchword.trust.specs.usage import DimensionSpec, MeterSpec, UsageRules
from watchword.trust.specs.workload import MAX_GRANTS, GrantSpec, ServiceAccountName, WorkloadSpec

API_GROUP: Final = "watchword.dev"
API_VERSION: Final = f"{API_GROUP}/v1alpha1"

__all__ = [
    "API_GROUP",
    "API_VERSION",
    "DAY_SECONDS",
    "MAX_AUDIENCES",
    "MAX_GRANTS",
    "MAX_REVOKED",
    "MAX_ROUTES",
    "Algorithm",
    "ClusterKeys",
    "ClusterTrustedIssuer",
    "ConfigMapKeys",
    "DimensionSpec",
    "DiscoveryKeys",
    "GrantSpec",
    "Holder",
    "IpBlock",
    "IssuerName",
    "IssuerSpec",
    "KeySource",
    "LabelSelector",
    "Limits",
    "Metadata",
    "MeterSpec",
    "Name",
    "NetworkPolicyRules",
    "Peer",
    "Port",
    "ProtectedService",
    "Resource",
    "Resources",
    "Revocation",
    "Rotation",
    "Route",
    "Scope",
    "SecretKey",
    "ServiceAccountName",
    "ServiceName",
    "ServiceSpec",
    "TokenRules",
    "TrustedWorkload",
    "Url",
    "UsageRules",
    "WorkloadSpec",
]
