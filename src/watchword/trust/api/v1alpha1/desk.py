# SPDX-License-Identifier: Apache-2.0
"""The fields of a TokenDesk and of a DeskClient: who issues narrower tokens, and who else may ask about them.

A desk adds no trust: what its tokens allow is decided by the TrustedWorkloads of the services that name it.
So there is no grant here, and a client is nothing until a service names it as well.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from watchword.trust.api.v1alpha1.agents import AgentsSpec
from watchword.trust.api.v1alpha1.fields import (
    DAY_SECONDS,
    SET,
    IssuerName,
    LabelSelector,
    Name,
    NamespaceName,
    Spec,
    Url,
)
from watchword.trust.api.v1alpha1.issuer import JWKS

MAX_DESK_REVOKED: Final = 64
MAX_SERVICE_REFS: Final = 64
MAX_RESOURCE_SERVERS: Final = 16
# The types that may use the admin API, where their flag counts.
ADMIN_TYPES: Final = frozenset({"AdminServiceAccount", "AdminPerson"})
# A service's own name is also the value of a label.
_SHORT: Final = 63
# The API server drops a null as if the field had been left out, unless the field is nullable; a rule in CEL
# takes it for one that was left out even then. What judges it is the list of values, which has no null.
_NEVER_NULL: Final[dict[str, Any]] = {"nullable": True, "enum": [True, False]}
_BY_NAME: Final[dict[str, Any]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["namespace", "name"],
}

Purpose = Annotated[
    str,
    Meta(
        pattern="^[a-z0-9-]{1,64}$",
        max_length=64,
        description="A word of lower-case letters, digits and `-`, such as `cache-read`.",
    ),
]
Purposes = Annotated[tuple[Purpose, ...], Meta(min_length=1, max_length=32, extra_json_schema=SET)]


class DeskName(Spec, frozen=True):
    """A TokenDesk."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=_SHORT,
            description="The name of a TokenDesk in the namespace that the platform's admins set aside for "
            "desks.",
        ),
    ]


class DeskTokens(Spec, frozen=True):
    """How long a desk's tokens live."""

    lifetime_seconds: Annotated[
        int,
        Meta(
            ge=60,
            le=3600,
            description="How long a token lives, in seconds; never longer than maxLifetimeSeconds, nor than "
            "the token that it was exchanged for. Default: 600.",
        ),
    ] = 600
    max_lifetime_seconds: Annotated[
        int,
        Meta(
            ge=60,
            le=3600,
            description="The bound of lifetimeSeconds, in seconds; callers ask for none. Default: 900.",
        ),
    ] = 900


class DeskSigning(Spec, frozen=True):
    """The keys that a desk signs with; the operator makes them, and keeps them in Secrets next to it."""

    algorithm: Annotated[Literal["ES256"], Meta(description="The signature algorithm (RFC 7518): ES256.")] = (
        "ES256"
    )
    rotate_seconds: Annotated[
        int,
        Meta(
            ge=3600,
            le=366 * DAY_SECONDS,
            description="For how long a key signs before the next one takes over, in seconds. Default: "
            "2592000, thirty days. A new key is in every bundle before it signs.",
        ),
    ] = 30 * DAY_SECONDS
    revoked: Annotated[
        tuple[Annotated[str, Meta(min_length=43, max_length=43)], ...],
        Meta(
            max_length=MAX_DESK_REVOKED,
            extra_json_schema=SET,
            description="RFC 7638 thumbprints of keys that are taken back: they sign nothing more, and every "
            "token that they signed is refused. None by default.",
        ),
    ] = ()


class DeskSpec(Spec, frozen=True):
    """An authorization server for workloads."""

    issuer: Annotated[
        Url,
        Meta(
            description="The desk's issuer identifier (RFC 8414): the origin at which it is reached, such as "
            "`https://desk.example.com`, without a path or a slash at its end. Tokens say it as `iss`, and "
            "no ClusterTrustedIssuer may have it."
        ),
    ]
    allowed_namespaces: Annotated[
        LabelSelector | None,
        Meta(
            description="Namespaces whose ProtectedServices may name this desk, by the labels of the "
            "Namespace. Absent: none."
        ),
    ] = None
    tokens: Annotated[DeskTokens, Meta(description="How long the desk's tokens live.")] = DeskTokens()
    signing: Annotated[DeskSigning, Meta(description="The keys that the desk signs with.")] = DeskSigning()
    agents: Annotated[
        AgentsSpec | None,
        Meta(
            description="Agents that register themselves, such as AI agents that act for people. What they "
            "may do at a service is bounded again by its own `spec.agents`. Absent: none may register."
        ),
    ] = None


class ServiceReference(Spec, frozen=True):
    """A ProtectedService of any namespace."""

    namespace: Annotated[NamespaceName, Meta(description="Its namespace.")]
    name: Annotated[str, Meta(min_length=1, max_length=_SHORT, description="Its name.")]


class ClientServiceAccount(Spec, frozen=True):
    """A ServiceAccount whose projected token is the client's credential."""

    issuer_ref: Annotated[IssuerName, Meta(description="The cluster that it is in.")]
    namespace: Annotated[
        NamespaceName, Meta(description="Its namespace, in the issuer's cluster: one whole name.")
    ]
    name: Annotated[
        Name, Meta(description="Its name: one whole name, and never `default`, which every pod may have.")
    ]


class ClientSecret(Spec, frozen=True):
    """One entry of a Secret in the client's own namespace."""

    name: Annotated[Name, Meta(description="The Secret's name.")]
    key: Annotated[
        Name,
        Meta(
            description="The entry that holds the SHA-256 of the secret in hexadecimal, or two of them on a "
            "line each while it is replaced. Default: `sha256`."
        ),
    ] = "sha256"


class ClientPerson(Spec, frozen=True):
    """A person who signs in at an OpenID provider."""

    issuer: Annotated[
        Url,
        Meta(
            description="The OpenID provider (OpenID Connect Discovery 1.0), as its tokens say `iss`. It "
            "must say `email_verified`."
        ),
    ]
    client_id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=256,
            description="The client id of `watchword desk sign-in` there: a public client with PKCE (RFC "
            "7636) whose redirect URI is `http://127.0.0.1/callback`, at any port (RFC 8252).",
        ),
    ]
    address: Annotated[
        str,
        Meta(
            min_length=3,
            max_length=254,
            description="The person's whole address. Before the `@` it is compared byte for byte, behind it "
            "as a domain in lower case.",
        ),
    ]
    subject: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255)] | None,
        Meta(
            description="What the provider calls the person (`sub`): only exactly that one counts. Without "
            "it, anyone to whom the provider gives the address later is this admin."
        ),
    ] = None


class ClientAuthentication(Spec, frozen=True):
    """How a client proves who it is: exactly one of these."""

    service_account: Annotated[
        ClientServiceAccount | None,
        Meta(
            description="By its own projected token, as client assertion (RFC 7523): its only audience is "
            "the desk. The first choice: there is nothing to store."
        ),
    ] = None
    jwks: Annotated[
        Annotated[dict[str, Any], Meta(extra_json_schema=JWKS)] | None,
        Meta(description="By a client assertion that one of these public keys signed (RFC 7517, RFC 7523)."),
    ] = None
    secret_ref: Annotated[
        ClientSecret | None,
        Meta(description="By a shared secret, of which only the digest is stored. Never for admin clients."),
    ] = None
    person: Annotated[
        ClientPerson | None,
        Meta(description="By signing in with a browser. Of an AdminPerson, and of no other type."),
    ] = None


class DeskClientSpec(Spec, frozen=True):
    """Who may use a desk other than as a workload that exchanges its token."""

    desk_ref: Annotated[DeskName, Meta(description="The TokenDesk, in the namespace of this object.")]
    type: Annotated[
        Literal["ResourceServer", "AdminServiceAccount", "AdminPerson"],
        Meta(
            description="ResourceServer: it may ask about the tokens of the services that it and they name. "
            "AdminServiceAccount: it may use the desk's admin API, where `adminServiceAccount` says so too. "
            "AdminPerson: the same for a person, who signs in (`watchword desk sign-in`)."
        ),
    ]
    authentication: Annotated[
        ClientAuthentication, Meta(description="How it proves who it is: exactly one way.")
    ]
    service_refs: Annotated[
        tuple[ServiceReference, ...],
        Meta(
            max_length=MAX_SERVICE_REFS,
            extra_json_schema=_BY_NAME,
            description="The services about whose tokens a ResourceServer may ask. Each counts only where "
            "that ProtectedService names this client in `spec.resourceServers`. None by default.",
        ),
    ] = ()
    admin_service_account: Annotated[
        bool | None,
        Meta(
            extra_json_schema=_NEVER_NULL,
            description="true: an AdminServiceAccount or AdminPerson may use the admin API. It takes the "
            "verb `grant-admin` on deskclients to set it, and once set it is withdrawn by `false`, never by "
            "leaving it out.",
        ),
    ] = None
    granted_by: Annotated[
        Annotated[str, Meta(min_length=1, max_length=253)] | None,
        Meta(description="The user who set adminServiceAccount; required with it."),
    ] = None
