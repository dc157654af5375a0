# SPDX-License-Identifier: Apache-2.0
"""The fields of a ClusterTrustedIssuer: which cluster, with which keys, and how they may change.

The keys decide, not the URL: two clusters may say the same `iss`. So where keys come from and what happens
when they change are the fields to read first; a default that followed any served set would trust anyone who
holds the endpoint.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from watchword.identity.jwk import PRIVATE_MEMBERS
from watchword.trust.api.v1alpha1.fields import (
    DAY_SECONDS,
    SET,
    Algorithm,
    LabelSelector,
    Name,
    NamespaceName,
    Spec,
    Url,
)

MAX_REVOKED: Final = 1000
_OPEN: Final[dict[str, Any]] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
# The members that make a key a secret one are named, so that a rule can refuse them; all others are kept as
# they are, since a bad key next to good ones is for the compiler to leave out.
_SECRET: Final = {"description": "Never: a key that holds it is refused."}
_SECRET_MEMBERS: Final[dict[str, Any]] = {
    **{name: {"type": "string", "maxLength": 8192} | _SECRET for name in PRIVATE_MEMBERS if name != "oth"},
    "oth": {"type": "array", "maxItems": 16, "items": _OPEN} | _SECRET,
}
# And those that say which key it is, so that one that YAML took for a boolean is missed as it is applied.
_PUBLIC_MEMBERS: Final[dict[str, Any]] = {
    name: {"type": "string", "maxLength": 8192, "description": text}
    for name, text in (
        ("kty", "The key's type: RSA or EC."),
        ("n", "The modulus of an RSA key. Quote the name in YAML, where a bare `n` is false."),
        ("e", "The exponent of an RSA key."),
        ("x", "The first coordinate of an EC key."),
        ("y", "The second coordinate of an EC key. Quote the name in YAML, where a bare `y` is true."),
    )
}
_KEYS: Final[dict[str, Any]] = {
    "type": "array",
    "maxItems": 64,
    "description": "The public keys, each a JWK with a `kid`. A key that is not fit is left out and named.",
    "items": _OPEN | {"properties": {**_PUBLIC_MEMBERS, **_SECRET_MEMBERS}},
}
JWKS: Final[dict[str, Any]] = {**_OPEN, "required": ["keys"], "properties": {"keys": _KEYS}}


class ConfigMapKeys(Spec, frozen=True):
    """A JWKS in a ConfigMap, followed as it is edited."""

    namespace: Annotated[NamespaceName, Meta(description="The ConfigMap's namespace.")]
    name: Annotated[
        Name, Meta(description="The ConfigMap's name. Anyone who edits it decides which keys are offered.")
    ]
    key: Annotated[
        Name, Meta(description="The entry that holds the JWKS (RFC 7517) as JSON text. Default: `jwks.json`.")
    ] = "jwks.json"


class SecretKey(Spec, frozen=True):
    """One entry of a Secret."""

    namespace: Annotated[
        NamespaceName, Meta(description="The Secret's namespace. The operator must be allowed to read it.")
    ]
    name: Annotated[Name, Meta(description="The Secret's name.")]
    key: Annotated[Name, Meta(description="The entry that holds the credential. Default: `token`.")] = "token"


class DiscoveryKeys(Spec, frozen=True):
    """A JWKS fetched over HTTPS, with limits on time and size, and never off the host."""

    jwks_url: Annotated[
        Url | None,
        Meta(
            description="Where the JWKS is, over HTTPS. Absent: found by OpenID discovery from the issuer's "
            "URL. Say it for clusters whose keys live elsewhere than `iss`."
        ),
    ] = msgspec.field(default=None, name="jwksURL")
    ca_bundle: Annotated[
        str,
        Meta(
            max_length=65536,
            description="PEM certificates of the authorities that may vouch for the host. Empty, the "
            "default: those of the system.",
        ),
    ] = ""
    interval_seconds: Annotated[
        int,
        Meta(
            ge=30,
            le=DAY_SECONDS,
            description="Seconds between fetches. Default: 300. A new key is known no sooner than the next "
            "fetch; clusters publish one an hour before it signs.",
        ),
    ] = 300
    credential_secret_ref: Annotated[
        SecretKey | None,
        Meta(
            description="A bearer token to fetch with, for endpoints that do not answer strangers. It is "
            "sent to the host of jwksURL (or of the issuer's URL) and to no other. Absent: none is sent."
        ),
    ] = None


class ClusterKeys(Spec, frozen=True):
    """The keys of the cluster that the operator runs in. It has no fields."""


class KeySource(Spec, frozen=True):
    """Where an issuer's keys come from: exactly one of these."""

    inline: Annotated[
        Annotated[dict[str, Any], Meta(extra_json_schema=JWKS)] | None,
        Meta(
            description="A JWKS (RFC 7517), written out: what is written is trusted, and only an edit "
            "changes it. `watchword pin` prints one.",
        ),
    ] = None
    config_map: Annotated[
        ConfigMapKeys | None, Meta(description="A JWKS in a ConfigMap of this cluster, watched.")
    ] = None
    discovery: Annotated[DiscoveryKeys | None, Meta(description="A JWKS fetched over HTTPS.")] = None
    cluster: Annotated[
        ClusterKeys | None,
        Meta(
            description="`{}`: the keys of the very cluster that the operator runs in. Its ServiceAccounts "
            "are also watched, so that one deleted or made again is refused at once."
        ),
    ] = None


class Rotation(Spec, frozen=True):
    """What happens when the issuer serves another set of keys. It does not apply to inline keys."""

    policy: Annotated[
        Literal["Pin", "Approve", "Continuity", "Follow"],
        Meta(
            description="Continuity (the default): a new key is trusted when it is served next to one that "
            "is trusted already. Approve: a new key waits until its thumbprint is in `approved`. Pin: only "
            "the keys in `approved` are ever trusted. Follow: whatever is served is trusted, by any "
            "holder of the endpoint."
        ),
    ] = "Continuity"
    approved: Annotated[
        tuple[Annotated[str, Meta(min_length=43, max_length=43)], ...],
        Meta(
            max_length=64,
            extra_json_schema=SET,
            description="RFC 7638 thumbprints of keys that a person has approved, as `watchword pin` and "
            "`watchword approve` write them. None by default.",
        ),
    ] = ()
    approve_within_seconds: Annotated[
        int,
        Meta(
            ge=60,
            le=30 * DAY_SECONDS,
            description="Seconds after which a key that still waits for approval is called overdue, by a "
            "condition, an Event and a metric. Default: 86400. It is never trusted by waiting.",
        ),
    ] = DAY_SECONDS
    retire_after_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=30 * DAY_SECONDS,
            description="Seconds for which a key is still trusted after it is no longer served. Default: "
            "86400, as long as the longest token lives. 0: not at all; tokens that it signed are refused at "
            "once.",
        ),
    ] = DAY_SECONDS


class Revocation(Spec, frozen=True):
    """One thing taken back: exactly one of these."""

    token_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=256)] | None,
        Meta(description="The one token with this `jti` is refused."),
    ] = None
    pod_uid: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)] | None,
        Meta(description="All tokens that are bound to the pod of this UID are refused."),
    ] = None
    service_account_uid: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)] | None,
        Meta(
            description="All tokens of the ServiceAccount of this UID are refused; one made again under its "
            "name has another UID."
        ),
    ] = None
    issued_before: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64)] | None,
        Meta(
            description="All tokens of this issuer that were issued before this RFC 3339 time are refused, "
            "no matter whose they are."
        ),
    ] = None
    key_thumbprint: Annotated[
        Annotated[str, Meta(min_length=43, max_length=43)] | None,
        Meta(
            description="All tokens signed with the key of this RFC 7638 thumbprint are refused, no matter "
            "who serves the key or approves it."
        ),
    ] = None


class IssuerSpec(Spec, frozen=True):
    """A cluster that signs ServiceAccount tokens."""

    issuer: Annotated[
        Url,
        Meta(
            description="The cluster's issuer, compared byte for byte with a token's `iss`. Clusters may "
            "share it: their keys tell them apart."
        ),
    ]
    keys: Annotated[KeySource, Meta(description="Where the public keys come from: exactly one source.")]
    additional_issuers: Annotated[
        tuple[Url, ...],
        Meta(
            max_length=8,
            extra_json_schema=SET,
            description="Other `iss` values of the same cluster, accepted too: a cluster that moves signs "
            "with one and still has tokens with another. None by default.",
        ),
    ] = ()
    algorithms: Annotated[
        Annotated[tuple[Algorithm, ...], Meta(min_length=1, max_length=4, extra_json_schema=SET)] | None,
        Meta(
            description="Signature algorithms to accept, to narrow what the keys' own types allow. Absent: "
            "RS256 for RSA keys, and for elliptic curves the one of the curve."
        ),
    ] = None
    rotation: Annotated[
        Rotation,
        Meta(
            description="What happens when another set of keys is served. Default: continuity, with a day's "
            "grace for keys that went."
        ),
    ] = Rotation()
    allowed_namespaces: Annotated[
        LabelSelector | None,
        Meta(
            description="Namespaces whose TrustedWorkloads may rely on this issuer, by the labels of the "
            "Namespace. Absent: all of them."
        ),
    ] = None
    revoked: Annotated[
        tuple[Revocation, ...],
        Meta(
            max_length=MAX_REVOKED,
            extra_json_schema={"x-kubernetes-list-type": "atomic"},
            description="Tokens taken back before they expire. Each entry can go again once the tokens that "
            "it meant have expired. None by default.",
        ),
    ] = ()
