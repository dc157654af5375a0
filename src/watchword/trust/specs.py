# SPDX-License-Identifier: Apache-2.0
"""The three resources as types: the one source of their fields, bounds and documentation.

Every list and string has a bound, so that a hostile object costs a refusal and not the process; unknown
fields are refused by name, because a typo that is silently dropped (`audience` for `audiences`) is how a rule
comes to be missing. What one field alone cannot say is in `rules.py`.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

API_GROUP = "watchword.dev"
API_VERSION = f"{API_GROUP}/v1alpha1"
MAX_AUDIENCES = 16
MAX_ROUTES = 1000
MAX_GRANTS = 64
MAX_REVOKED = 1000
DAY_SECONDS = 86_400

Name = Annotated[str, Meta(min_length=1, max_length=253)]
Url = Annotated[str, Meta(min_length=1, max_length=1024)]
Label = Annotated[str, Meta(max_length=317)]
Labels = Annotated[dict[Label, Annotated[str, Meta(max_length=63)]], Meta(max_length=64)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Algorithm = Literal["RS256", "ES256", "ES384", "ES512"]
Scope = Annotated[
    str,
    Meta(
        pattern="^[a-z][a-z0-9-]*(:[a-z][a-z0-9-]*){1,2}$",
        max_length=128,
        description="`resource[:part]:action`.",
    ),
]
Holder = Annotated[str, Meta(min_length=1, max_length=253)]


class _Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A part of a resource that a person writes."""


class LabelSelector(_Spec, frozen=True):
    """Which objects, by their labels."""

    match_labels: Annotated[Labels, Meta(description="Labels that an object must have, all of them.")]


class ObjectName(_Spec, frozen=True):
    """A reference by name: same namespace, or cluster-scoped."""

    name: Annotated[Name, Meta(description="The object's name.")]


class ConfigMapKeys(_Spec, frozen=True):
    """A JWKS in a ConfigMap."""

    namespace: Name
    name: Name
    key: Annotated[Name, Meta(description="The entry that holds the JWKS.")] = "jwks.json"


class SecretKey(_Spec, frozen=True):
    """One entry of a Secret."""

    namespace: Name
    name: Name
    key: Name = "token"


class DiscoveryKeys(_Spec, frozen=True):
    """A JWKS fetched over HTTPS."""

    jwks_url: Annotated[
        Url | None, Meta(description="Where the JWKS is; else found from the issuer's URL.")
    ] = msgspec.field(default=None, name="jwksURL")
    ca_bundle: Annotated[
        str, Meta(max_length=65536, description="PEM certificates to trust; else the system's.")
    ] = ""
    interval_seconds: Annotated[int, Meta(ge=30, le=DAY_SECONDS, description="Seconds between fetches.")] = (
        300
    )
    credential_secret_ref: SecretKey | None = None


class ClusterKeys(_Spec, frozen=True):
    """The keys of the cluster that the operator runs in. It has no fields."""


class KeySource(_Spec, frozen=True):
    """Where an issuer's keys come from: exactly one of these."""

    inline: Annotated[dict[str, Any] | None, Meta(description="A JWKS, written out.")] = None
    config_map: ConfigMapKeys | None = None
    discovery: DiscoveryKeys | None = None
    cluster: ClusterKeys | None = None


class Rotation(_Spec, frozen=True):
    """What happens when the issuer serves another set of keys."""

    policy: Annotated[
        Literal["Pin", "Approve", "Continuity", "Follow"],
        Meta(description="Continuity: a new key is taken when served beside one that is trusted already."),
    ] = "Continuity"
    approved: Annotated[
        tuple[Annotated[str, Meta(min_length=43, max_length=43)], ...],
        Meta(max_length=64, description="RFC 7638 thumbprints of approved keys."),
    ] = ()
    approve_within_seconds: Annotated[int, Meta(ge=60, le=30 * DAY_SECONDS)] = DAY_SECONDS
    retire_after_seconds: Annotated[int, Meta(ge=0, le=30 * DAY_SECONDS)] = DAY_SECONDS


class Revocation(_Spec, frozen=True):
    """One thing taken back: exactly one of these."""

    token_id: Annotated[str, Meta(max_length=256, description="A token's jti.")] | None = None
    pod_uid: Annotated[str, Meta(max_length=128, description="All tokens of this pod.")] | None = None
    service_account_uid: (
        Annotated[str, Meta(max_length=128, description="All tokens of this ServiceAccount.")] | None
    ) = None
    issued_before: (
        Annotated[str, Meta(max_length=64, description="All tokens issued before this RFC 3339 time.")] | None
    ) = None


class IssuerSpec(_Spec, frozen=True):
    """A cluster that signs ServiceAccount tokens."""

    issuer: Annotated[Url, Meta(description="Compared byte for byte with the token's iss.")]
    keys: Annotated[KeySource, Meta(description="Exactly one source of keys.")]
    additional_issuers: Annotated[
        tuple[Url, ...],
        Meta(max_length=8, description="Other iss values of the same cluster, while it moves."),
    ] = ()
    algorithms: (
        Annotated[
            tuple[Algorithm, ...],
            Meta(min_length=1, max_length=4, description="Narrows what the keys' own types allow."),
        ]
        | None
    ) = None
    rotation: Rotation = Rotation()
    allowed_namespaces: Annotated[
        LabelSelector | None, Meta(description="Namespaces that may rely on this issuer; absent: all.")
    ] = None
    revoked: Annotated[
        tuple[Revocation, ...],
        Meta(max_length=MAX_REVOKED, description="Tokens taken back before they expire."),
    ] = ()


class TokenRules(_Spec, frozen=True):
    """What is asked of a token beyond who issued it."""

    max_lifetime_seconds: Annotated[
        int, Meta(ge=60, le=DAY_SECONDS, description="Longest exp - iat, in seconds; at most 24 h.")
    ] = 3600
    clock_skew_seconds: Annotated[
        int,
        Meta(ge=0, le=300, description="How far clocks may be apart, in seconds; kube-apiserver allows 60."),
    ] = 60
    binding: Annotated[
        Literal["Pod", "Any"], Meta(description="Pod: only tokens that are bound to a pod.")
    ] = "Pod"


class Route(_Spec, frozen=True):
    """Requests that need a scope. The first route that matches decides; no match is refused."""

    path: Annotated[
        str,
        Meta(min_length=1, max_length=1024, description="A path with `{account}` and `{project}` segments."),
    ]
    methods: Annotated[
        tuple[Annotated[str, Meta(pattern="^[A-Z]{1,16}$")], ...],
        Meta(min_length=1, max_length=16, description="HTTP methods in capitals; GET does not imply HEAD."),
    ]
    scope: Scope


class Limits(_Spec, frozen=True):
    """How fast one workload may call."""

    requests_per_second: Annotated[int, Meta(ge=1, le=1_000_000)]
    burst: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Requests at once; at least requestsPerSecond.")
    ]


class IpBlock(_Spec, frozen=True):
    """Addresses, as NetworkPolicy knows them."""

    cidr: Annotated[str, Meta(min_length=1, max_length=64)]
    except_: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)] = msgspec.field(
        default=(), name="except"
    )


class Peer(_Spec, frozen=True):
    """A NetworkPolicy peer: an ipBlock, or selectors of namespaces and pods."""

    ip_block: IpBlock | None = None
    namespace_selector: LabelSelector | None = None
    pod_selector: LabelSelector | None = None


class NetworkPolicyRules(_Spec, frozen=True):
    """Whether a NetworkPolicy is kept for the service."""

    mode: Literal["Enforce", "Preview", "Off"] = "Enforce"
    allow_from: Annotated[
        tuple[Peer, ...], Meta(max_length=64, description="Peers let in besides workloads.")
    ] = ()


class MeterSpec(_Spec, frozen=True):
    """What is counted from usage events."""

    name: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$", max_length=63)]
    event_type: Annotated[
        str, Meta(min_length=1, max_length=253, description="The CloudEvents type counted.")
    ]
    aggregation: Literal["count", "sum", "max", "unique_count"]
    value: (
        Annotated[str, Meta(max_length=256, description="JSON pointer (RFC 6901) into the event's data.")]
        | None
    ) = None


class UsageRules(_Spec, frozen=True):
    """The usage read model of the service."""

    meters: Annotated[tuple[MeterSpec, ...], Meta(max_length=64)] = ()
    base_path: Annotated[str, Meta(min_length=2, max_length=256)] = "/api/internal"


class ServiceSpec(_Spec, frozen=True):
    """What is protected, and what is asked of its callers."""

    audiences: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...],
        Meta(min_length=1, max_length=MAX_AUDIENCES, description="A token must be for one of them."),
    ]
    selector: Annotated[LabelSelector, Meta(description="The service's pods.")]
    port: Annotated[Port, Meta(description="The gate's port on those pods.")]
    upstream_port: Annotated[Port, Meta(description="The app's own port: reached through the gate only.")]
    service_account_name: Annotated[
        Name, Meta(description="ServiceAccount of the service's pods: it may read this service's bundle.")
    ] = "default"
    token: TokenRules = TokenRules()
    routes: Annotated[tuple[Route, ...], Meta(max_length=MAX_ROUTES)] = ()
    limits: Limits | None = None
    network_policy: NetworkPolicyRules = NetworkPolicyRules()
    usage: UsageRules = UsageRules()


class ServiceAccountName(_Spec, frozen=True):
    """A ServiceAccount of the issuer's cluster."""

    namespace: Name
    name: Name


class GrantSpec(_Spec, frozen=True):
    """Scopes, and what they hold for."""

    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=64)]
    accounts: Annotated[
        tuple[Holder, ...], Meta(max_length=1000, description="Whole names; `*` is every account.")
    ] = ()
    projects: Annotated[
        tuple[Holder, ...], Meta(max_length=1000, description="Whole names; `*` is every project.")
    ] = ()


class WorkloadSpec(_Spec, frozen=True):
    """A subject of one issuer that a service trusts, and what it may do."""

    service_ref: Annotated[ObjectName, Meta(description="A ProtectedService of this namespace.")]
    issuer_ref: Annotated[ObjectName, Meta(description="A ClusterTrustedIssuer.")]
    service_account: ServiceAccountName
    grants: Annotated[tuple[GrantSpec, ...], Meta(max_length=MAX_GRANTS)] = ()
    from_: Annotated[
        tuple[Peer, ...], Meta(max_length=64, description="Where its calls come from, for the NetworkPolicy.")
    ] = msgspec.field(default=(), name="from")
    suspend: Annotated[bool, Meta(description="Trust is switched off while true.")] = False
    expires: Annotated[str, Meta(max_length=64, description="RFC 3339 time at which trust ends.")] | None = (
        None
    )


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
