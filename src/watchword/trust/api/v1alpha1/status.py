# SPDX-License-Identifier: Apache-2.0
"""What the operator says about each resource, under `status`: conditions first, and no list that grows.

Per-workload lists do not belong here (a service of 10,000 workloads would not fit), and the keys of an issuer
do: status is where the last good ones outlive the operator while the issuer is away.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

ConditionStatus = Literal["True", "False", "Unknown"]
KeyState = Literal["Active", "Pending", "Retiring"]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Generation = Annotated[int, Meta(ge=0, extra_json_schema={"format": "int64"})]
MAX_CONDITIONS: Final = 16
_BY_TYPE: Final[dict[str, Any]] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
# One key may come under two names, and one name may pass from key to key.
_BY_KEY: Final[dict[str, Any]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["kid", "thumbprint"],
}


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A part of a status, written by the operator."""


class Condition(Part, frozen=True):
    """One thing that holds, does not, or is not known (Kubernetes API conventions, "Typical status")."""

    type: Annotated[
        str, Meta(min_length=1, max_length=316, description="What is spoken of, such as `Ready`.")
    ]
    status: Annotated[ConditionStatus, Meta(description="Whether it holds.")]
    reason: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=1024,
            pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            description="Why, as a stable code; docs/reference/conditions.md lists them all.",
        ),
    ]
    message: Annotated[
        str, Meta(max_length=32768, description="What is the case, and what to do about it; for people.")
    ]
    last_transition_time: Annotated[Time, Meta(description="When `status` last changed.")]
    observed_generation: Annotated[
        Generation, Meta(description="The metadata.generation of the object that this was said of.")
    ] = 0


Conditions = Annotated[
    tuple[Condition, ...],
    Meta(
        max_length=MAX_CONDITIONS,
        extra_json_schema=_BY_TYPE,
        description="What holds, one entry for each type. `Ready` sums the others up.",
    ),
]
Observed = Annotated[
    Generation, Meta(description="The metadata.generation of the object that this status speaks of.")
]


class KeyStatus(Part, frozen=True):
    """One key of an issuer."""

    kid: Annotated[str, Meta(max_length=256, description="The key's id, as tokens name it.")]
    thumbprint: Annotated[
        str, Meta(min_length=43, max_length=43, description="The key's RFC 7638 thumbprint: its pin.")
    ]
    algorithm: Annotated[str, Meta(max_length=16, description="The algorithm that it signs with.")]
    state: Annotated[
        KeyState,
        Meta(
            description="Active: trusted. Pending: served, and not trusted. Retiring: no longer served, and "
            "trusted until retireAfterSeconds are over."
        ),
    ]
    since: Annotated[Time, Meta(description="When it came into this state.")]
    jwk: Annotated[dict[str, Any] | None, Meta(description="The public key itself, as a JWK (RFC 7517).")] = (
        None
    )
    held_since: Annotated[
        Time | None,
        Meta(
            description="When this issuer was first trusted with the key. Of two issuers with one `iss` that "
            "serve the same key, the one that held it first has it."
        ),
    ] = None


class IssuerStatus(Part, frozen=True):
    """What the operator says about a ClusterTrustedIssuer."""

    observed_generation: Observed = 0
    conditions: Conditions = ()
    keys: Annotated[
        tuple[KeyStatus, ...],
        Meta(
            max_length=128,
            extra_json_schema=_BY_KEY,
            description="The issuer's keys that are known, by name and thumbprint.",
        ),
    ] = ()
    last_fetch_time: Annotated[
        Time | None,
        Meta(
            description="When keys were last read that changed something here. It is not written by each "
            "read."
        ),
    ] = None


class BundleStatus(Part, frozen=True):
    """The bundle of a service, as it was last written."""

    config_map: Annotated[
        str, Meta(max_length=253, description="The ConfigMap that holds it, in the service's namespace.")
    ]
    generation: Annotated[
        Generation, Meta(description="The bundle's generation. It only grows; gates say which one they run.")
    ]
    digest: Annotated[str, Meta(max_length=128, description="The SHA-256 digest of its content.")]
    resource_version: Annotated[
        str,
        Meta(
            max_length=64,
            description="The ConfigMap's resourceVersion as it was written: another one means that someone "
            "else wrote it.",
        ),
    ] = ""


class WorkloadCounts(Part, frozen=True):
    """How many workloads a service has."""

    trusted: Annotated[
        int, Meta(ge=0, extra_json_schema={"format": "int32"}, description="Workloads in the bundle.")
    ]
    refused: Annotated[
        int,
        Meta(
            ge=0,
            extra_json_schema={"format": "int32"},
            description="TrustedWorkloads left out of it; each says why in its own conditions.",
        ),
    ]


class ServiceStatus(Part, frozen=True):
    """What the operator says about a ProtectedService."""

    observed_generation: Observed = 0
    conditions: Conditions = ()
    audience: Annotated[
        Annotated[str, Meta(max_length=256)] | None,
        Meta(
            description="The service's own audience, which no object can set: callers project a token for "
            "it, injection mints nothing else, and the gates that run this bundle accept it."
        ),
    ] = None
    bundle: Annotated[BundleStatus | None, Meta(description="The bundle that was last written.")] = None
    workloads: Annotated[
        WorkloadCounts | None, Meta(description="How many workloads are in it, and how many are left out.")
    ] = None
    network_policy_preview: Annotated[
        Annotated[str, Meta(max_length=262144)] | None,
        Meta(description="With `mode: Preview`, the NetworkPolicy that Enforce would apply, as JSON text."),
    ] = None


class WorkloadStatus(Part, frozen=True):
    """What the operator says about a TrustedWorkload."""

    observed_generation: Observed = 0
    conditions: Conditions = ()


class DeskKeyStatus(Part, frozen=True):
    """One key that a desk signs with, signed with, or will sign with."""

    kid: Annotated[str, Meta(max_length=256, description="The key's id, as tokens name it; `wd-` begins it.")]
    thumbprint: Annotated[str, Meta(min_length=43, max_length=43, description="Its RFC 7638 thumbprint.")]
    state: Annotated[
        Literal["Published", "Signing", "Retiring", "Revoked"],
        Meta(
            description="Published: in the bundles, and not signing yet. Signing: it signs. Retiring: it "
            "signs nothing more, and is accepted until its last token has ended. Revoked: it is refused."
        ),
    ]
    since: Annotated[Time, Meta(description="When it came into this state.")]


class DeskStatus(Part, frozen=True):
    """What the operator says about a TokenDesk."""

    observed_generation: Observed = 0
    conditions: Conditions = ()
    audience: Annotated[
        Annotated[str, Meta(max_length=256)] | None,
        Meta(
            description="The desk's own audience, which no object can set: tokens that are to be exchanged "
            "are made for it alone, or for the desk's issuer URL alone."
        ),
    ] = None
    keys: Annotated[
        tuple[DeskKeyStatus, ...],
        Meta(
            max_length=128,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["kid"]},
            description="The desk's signing keys, by their public names.",
        ),
    ] = ()
    services: Annotated[
        Annotated[int, Meta(ge=0, extra_json_schema={"format": "int32"})] | None,
        Meta(description="How many services name it, and may."),
    ] = None
    admin_policy: Annotated[
        Annotated[str, Meta(max_length=256)] | None,
        Meta(
            description="The admission policy on admin clients under which all of this desk's were marked: "
            "what is made after that was made under it."
        ),
    ] = None


class AdminGrantStatus(Part, frozen=True):
    """What the operator confirmed of the flag `adminServiceAccount`. Only the operator may write it."""

    policy: Annotated[
        str,
        Meta(max_length=256, description="The admission policy that was in force, by its UIDs and versions."),
    ]
    generation: Annotated[
        int, Meta(ge=0, extra_json_schema={"format": "int64"}, description="Of which metadata.generation.")
    ]
    counts: Annotated[
        bool,
        Meta(description="Whether that generation says adminServiceAccount: true, admitted by the policy."),
    ]


class DeskClientStatus(Part, frozen=True):
    """What the operator says about a DeskClient."""

    observed_generation: Observed = 0
    conditions: Conditions = ()
    admin_grant: Annotated[
        AdminGrantStatus | None,
        Meta(description="Of an AdminServiceAccount: whether its flag was set under the admission policy."),
    ] = None


class ProviderKeysStatus(Part, frozen=True):
    """The keys of a provider, as the operator found them. Only the operator may write them."""

    issuer: Annotated[
        str, Meta(max_length=1024, description="Whose they are; another `spec.issuer` has none of them.")
    ]
    fetched_at: Annotated[
        Time, Meta(description="When the provider served them last; written once in an hour at most.")
    ]
    jwks: Annotated[
        tuple[dict[str, Any], ...],
        Meta(max_length=64, description="The public keys, as JWKs (RFC 7517)."),
    ] = ()


class AgentProviderStatus(Part, frozen=True):
    """What the operator says about an AgentProvider."""

    observed_generation: Observed = 0
    conditions: Conditions = ()
    keys: Annotated[
        ProviderKeysStatus | None,
        Meta(description="With `keys.discovery`: the keys that count, for 24 hours after `fetchedAt`."),
    ] = None
