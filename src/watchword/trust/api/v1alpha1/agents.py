# SPDX-License-Identifier: Apache-2.0
"""The fields about agents: what a service lets them do at most, and whom a desk lets speak for whom.

An agent is no pod, and anyone may register one. So both sides have to say so, nothing is on by default, and
every list is of whole names.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from watchword.trust.api.v1alpha1.fields import DAY_SECONDS, SET, Holder, Name, Port, Scope, Spec, Url

MAX_PEOPLE: Final = 256
MAX_DOMAINS: Final = 64
_BY_ADDRESS: Final[dict[str, Any]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["address"],
}
_BY_DOMAIN: Final[dict[str, Any]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["domain"],
}
AgentScopes = Annotated[
    tuple[Scope, ...],
    Meta(min_length=1, max_length=32, extra_json_schema=SET, description="What may be done at most."),
]
_Accounts = Annotated[tuple[Holder, ...], Meta(min_length=1, max_length=64, extra_json_schema=SET)]


class AgentCeiling(Spec, frozen=True):
    """What agents may do at a service at most."""

    scopes: AgentScopes
    accounts: Annotated[
        _Accounts,
        Meta(
            description="Accounts that the scopes hold for, whole names; `*` alone is every account that the "
            "desk gives an agent. Absent: only paths without an account. Paths with a project are never an "
            "agent's."
        ),
    ] = ()


class UnclaimedAgents(Spec, frozen=True):
    """Agents for which no one answers."""

    scopes: AgentScopes
    accounts: Annotated[
        _Accounts,
        Meta(
            description="Accounts that anyone may use, whole names, such as one for trials. Absent: only "
            "paths without an account."
        ),
    ] = ()
    lifetime_seconds: Annotated[
        int,
        Meta(
            ge=300,
            le=30 * DAY_SECONDS,
            description="When a registration that no one claimed ends, in seconds. Default: 86400.",
        ),
    ] = DAY_SECONDS
    max_registrations: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="How many registrations may wait to be claimed at once, of each kind and of each "
            "AgentProvider. Beyond it new ones are refused until some end. Default: 1000.",
        ),
    ] = 1000


class ClaimedAgents(Spec, frozen=True):
    """Agents that a person claimed; their accounts are those of the person."""

    scopes: AgentScopes
    lifetime_seconds: Annotated[
        int,
        Meta(
            ge=3600,
            le=366 * DAY_SECONDS,
            description="How long an agent that is not used stays claimed, in seconds: the life of its "
            "refresh token. Default: 2592000, thirty days.",
        ),
    ] = 30 * DAY_SECONDS


class AgentPerson(Spec, frozen=True):
    """A person who proves an address by its mailbox."""

    address: Annotated[
        str,
        Meta(
            min_length=3,
            max_length=254,
            description="The whole address. Before the `@` it is compared byte for byte, behind it as a "
            "domain in lower case. Not one of a domain in `domains`.",
        ),
    ]
    accounts: Annotated[
        _Accounts,
        Meta(description="The accounts that agents of this person may use, whole names. Absent: none."),
    ] = ()


class AgentSecret(Spec, frozen=True):
    """A Secret next to the desk."""

    name: Annotated[Name, Meta(description="The Secret's name.")]


class AgentDomain(Spec, frozen=True):
    """A domain whose people sign in at one OpenID provider, and in no other way."""

    domain: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=253,
            description="The whole domain in lower case, as A-labels (RFC 5890). Subdomains are others.",
        ),
    ]
    issuer: Annotated[
        Url,
        Meta(
            description="The one OpenID provider (OpenID Connect Discovery 1.0) that speaks for the domain. "
            "It must say `email_verified`."
        ),
    ]
    client_id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=256,
            description="The desk's client id there: a client with PKCE (RFC 7636), whose redirect URI is "
            "`<issuer of the desk>/claim/callback`.",
        ),
    ]
    secret_ref: Annotated[
        AgentSecret | None,
        Meta(
            description="A Secret next to the desk whose entry `client-secret` the desk authenticates with "
            "there (client_secret_basic). Absent: a public client."
        ),
    ] = None
    accounts: Annotated[
        _Accounts,
        Meta(description="The accounts that agents of the domain's people may use. Absent: none."),
    ] = ()


class AgentMail(Spec, frozen=True, kw_only=True):
    """The server that mails are sent through (RFC 5321)."""

    host: Annotated[str, Meta(min_length=1, max_length=253, description="Its name or address.")]
    port: Annotated[Port, Meta(description="Its TCP port. Default: 587.")] = 587
    security: Annotated[
        Literal["StartTLS", "TLS", "None"],
        Meta(
            description="StartTLS (the default) and TLS: nothing is sent unless the server's certificate is "
            "good. None: in plain text, to an address of this machine only."
        ),
    ] = "StartTLS"
    from_: Annotated[str, Meta(min_length=3, max_length=254, description="The sender's address.")] = (
        msgspec.field(name="from")
    )
    secret_ref: Annotated[
        AgentSecret | None,
        Meta(description="A Secret with `username` and `password`, to sign in with. Absent: no sign-in."),
    ] = None


class AgentsSpec(Spec, frozen=True):
    """Which agents may register themselves at a desk, and for whom they may act."""

    unclaimed: Annotated[
        UnclaimedAgents | None,
        Meta(description="What agents may do before anyone claims them. Absent: they may not do anything."),
    ] = None
    claimed: Annotated[
        ClaimedAgents | None,
        Meta(description="What agents may do once a person claimed them. Absent: none can be claimed."),
    ] = None
    people: Annotated[
        tuple[AgentPerson, ...],
        Meta(
            max_length=MAX_PEOPLE,
            extra_json_schema=_BY_ADDRESS,
            description="Addresses that may claim an agent by a mail. None by default.",
        ),
    ] = ()
    domains: Annotated[
        tuple[AgentDomain, ...],
        Meta(
            max_length=MAX_DOMAINS,
            extra_json_schema=_BY_DOMAIN,
            description="Domains whose people may claim an agent by signing in. None by default.",
        ),
    ] = ()
    mail: Annotated[
        AgentMail | None, Meta(description="How mails to `people` are sent. Absent: none can be.")
    ] = None
