# SPDX-License-Identifier: Apache-2.0
"""The resources as types: the one source of their fields, bounds and documentation.

The CRDs, the reference page and the parser of manifests are all made from these. Unknown fields are refused
by name, because a typo that is silently dropped (`audience` for `audiences`) is how a rule comes to be
missing. What one field alone cannot say is in `watchword.trust.api.v1alpha1.rules`.
"""

from typing import Final

from watchword.trust.api.v1alpha1.agents import (
    AgentCeiling,
    AgentDomain,
    AgentMail,
    AgentPerson,
    AgentsSpec,
    ClaimedAgents,
    UnclaimedAgents,
)
from watchword.trust.api.v1alpha1.desk import (
    MAX_DESK_REVOKED,
    MAX_RESOURCE_SERVERS,
    ClientAuthentication,
    ClientSecret,
    ClientServiceAccount,
    DeskClientSpec,
    DeskName,
    DeskSigning,
    DeskSpec,
    DeskTokens,
    Purpose,
    ServiceReference,
)
from watchword.trust.api.v1alpha1.fields import (
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
from watchword.trust.api.v1alpha1.issuer import (
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
from watchword.trust.api.v1alpha1.objects import (
    ClusterTrustedIssuer,
    DeskClient,
    Metadata,
    ProtectedService,
    Resource,
    Resources,
    TokenDesk,
    TrustedWorkload,
)
from watchword.trust.api.v1alpha1.service import (
    MAX_AUDIENCES,
    MAX_ROUTES,
    Limits,
    NetworkPolicyRules,
    ProxyRules,
    Route,
    ServiceSpec,
    TokenBounds,
    TokenRules,
)
from watchword.trust.api.v1alpha1.usage import DimensionSpec, MeterSpec, UsageRules
from watchword.trust.api.v1alpha1.workload import MAX_GRANTS, GrantSpec, ServiceAccountName, WorkloadSpec

API_GROUP: Final = "watchword.dev"
API_VERSION: Final = f"{API_GROUP}/v1alpha1"

__all__ = [
    "API_GROUP",
    "API_VERSION",
    "DAY_SECONDS",
    "MAX_AUDIENCES",
    "MAX_DESK_REVOKED",
    "MAX_GRANTS",
    "MAX_RESOURCE_SERVERS",
    "MAX_REVOKED",
    "MAX_ROUTES",
    "AgentCeiling",
    "AgentDomain",
    "AgentMail",
    "AgentPerson",
    "AgentsSpec",
    "Algorithm",
    "ClaimedAgents",
    "ClientAuthentication",
    "ClientSecret",
    "ClientServiceAccount",
    "ClusterKeys",
    "ClusterTrustedIssuer",
    "ConfigMapKeys",
    "DeskClient",
    "DeskClientSpec",
    "DeskName",
    "DeskSigning",
    "DeskSpec",
    "DeskTokens",
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
    "ProxyRules",
    "Purpose",
    "Resource",
    "Resources",
    "Revocation",
    "Rotation",
    "Route",
    "Scope",
    "SecretKey",
    "ServiceAccountName",
    "ServiceName",
    "ServiceReference",
    "ServiceSpec",
    "TokenBounds",
    "TokenDesk",
    "TokenRules",
    "TrustedWorkload",
    "UnclaimedAgents",
    "Url",
    "UsageRules",
    "WorkloadSpec",
]
