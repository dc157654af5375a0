# SPDX-License-Identifier: Apache-2.0
"""The fields of a ProtectedService: what is protected, what is asked of its callers, what is counted.

Each service has an audience that is derived from its place (`watchword.trust.audience`); what is declared
here is accepted besides, for callers who project their own token.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from watchword.trust.api.v1alpha1.agents import AgentCeiling
from watchword.trust.api.v1alpha1.desk import MAX_RESOURCE_SERVERS, DeskName, Purpose
from watchword.trust.api.v1alpha1.fields import DAY_SECONDS, SET, LabelSelector, Name, Peer, Port, Scope, Spec
from watchword.trust.api.v1alpha1.usage import UsageRules
from watchword.trust.query_binding import MAX_BOUND_PARAMETERS
from watchword.trust.request_headers import MAX_PASS_HEADER_LENGTH, MAX_PASS_HEADERS

MAX_AUDIENCES: Final = 16
MAX_ROUTES: Final = 1000
# Order decides, or entries have no key: such a list has one owner, who sends it whole.
_ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-list-type": "atomic"}


class TokenBounds(Spec, frozen=True):
    """What is asked of a token itself beyond who issued it."""

    max_lifetime_seconds: Annotated[
        int,
        Meta(
            ge=60,
            le=DAY_SECONDS,
            description="The longest `exp - iat` of a token, in seconds; a longer one is refused. Default: "
            "3600, what a projected token has unless asked otherwise; at most 86400.",
        ),
    ] = 3600
    clock_skew_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=300,
            description="How far the callers' clocks may be from the gate's, in seconds. Default: 60, what "
            "kube-apiserver itself allows. A token lives that much longer here.",
        ),
    ] = 60
    binding: Annotated[
        Literal["Pod", "Any"],
        Meta(
            description="Pod (the default): only tokens that are bound to a pod, as projected ones are. Any: "
            "also those that `kubectl create token` makes."
        ),
    ] = "Pod"


class TokenRules(TokenBounds, frozen=True):
    """What is asked of a token beyond who issued it, and where it is sent."""

    header: Annotated[
        Literal["Authorization", "X-Watchword-Token"],
        Meta(
            description="Which request header the token is in. Authorization (the default): as a Bearer "
            "credential, and the header does not go on to the app. X-Watchword-Token: the token alone; the "
            "request's own Authorization is the app's then, and goes on to it."
        ),
    ] = "Authorization"


class Route(Spec, frozen=True, omit_defaults=True):
    """Requests that need a scope, or nothing. The first route that matches decides; no match is refused."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=512,
            description="The path of the app, whole segments, with captures such as `{account}` and "
            "`{project}`: what these two capture must be granted. A last segment `{path...}` takes one or "
            "more segments, and nothing that an earlier route's path fits, whatever the method, case or "
            "slash at the end.",
        ),
    ]
    methods: Annotated[
        tuple[Annotated[str, Meta(pattern="^[A-Z]{1,16}$")], ...],
        Meta(
            min_length=1,
            max_length=16,
            extra_json_schema=SET,
            description="HTTP methods in capitals. GET does not imply HEAD.",
        ),
    ]
    scope: Annotated[
        Scope | None,
        Meta(
            description="The scope that a workload must be granted, such as `account:usage:read`. Each route "
            "has one, unless it is public."
        ),
    ] = None
    public: Annotated[
        bool,
        Meta(
            description="Let every request in that fits, without a token and without an identity. Not on "
            "`/{path...}`, and not with a scope or query. Default: false."
        ),
    ] = False
    query: Annotated[
        dict[
            Annotated[str, Meta(min_length=1, max_length=64)],
            Literal["account", "account?", "project", "project?"],
        ],
        Meta(
            max_length=MAX_BOUND_PARAMETERS,
            description="Query parameters by name that say which account or project a request is about, as a "
            "capture would; with `?` it may be missing. One that comes twice, or that two parsers could read "
            "differently, is refused with `ambiguous_query`. The app should read X-Watchword-Account and "
            "-Project instead of the query.",
        ),
    ] = {}  # noqa: RUF012 - msgspec copies it
    purpose: Annotated[
        Purpose | None,
        Meta(
            description="Only tokens of the service's desk that were issued for this purpose pass, and they "
            "pass nowhere else. Absent: tokens without a purpose."
        ),
    ] = None


class Limits(Spec, frozen=True):
    """How fast one workload may call."""

    requests_per_second: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Requests per second that one workload may make at one gate, in the long run; more "
            "are answered 429.",
        ),
    ]
    burst: Annotated[
        int,
        Meta(
            ge=1, le=1_000_000, description="Requests that it may make at once; at least requestsPerSecond."
        ),
    ]


class NetworkPolicyRules(Spec, frozen=True):
    """Whether a NetworkPolicy is kept for the service."""

    mode: Annotated[
        Literal["Enforce", "Preview", "Off"],
        Meta(
            description="Enforce (the default): a NetworkPolicy lets the workloads' `from` peers, and no one "
            "else, reach `port`; it closes `upstreamPort` to the network; other ports stay as they were. "
            "Preview: it is written to status only. Off: none is kept."
        ),
    ] = "Enforce"
    allow_from: Annotated[
        tuple[Peer, ...],
        Meta(
            max_length=64,
            extra_json_schema=_ATOMIC,
            description="Peers let in besides those of workloads, such as an ingress controller. None by "
            "default.",
        ),
    ] = ()


class ProxyRules(Spec, frozen=True):
    """What a gate with `--upstream` does beyond deciding."""

    pass_headers: Annotated[
        tuple[
            Annotated[
                str,
                Meta(
                    min_length=1,
                    max_length=MAX_PASS_HEADER_LENGTH,
                    pattern="^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$",
                ),
            ],
            ...,
        ],
        Meta(
            max_length=MAX_PASS_HEADERS,
            extra_json_schema=SET,
            description="Request headers that the gate passes on to the app although it drops them by "
            "default, such as `X-HTTP-Method-Override`: the caller's own word, which no check looked at. No "
            "identity, credential, connection or framing header. None by default.",
        ),
    ] = ()


class ServiceSpec(Spec, frozen=True, kw_only=True):
    """What is protected, and what is asked of its callers."""

    audiences: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...],
        Meta(
            min_length=1,
            max_length=MAX_AUDIENCES,
            extra_json_schema=SET,
            description="Audiences that are accepted besides the service's own, which stands in "
            "status.audience and is all that injection mints; for callers who project their own token. A "
            "token for anything else is refused. They may not begin with `watchword.dev/`; those of issuers, "
            "of the API server and of clouds are left out, with the reason AudienceReserved.",
        ),
    ] = ()
    selector: Annotated[
        LabelSelector,
        Meta(
            description="The service's pods, those with the gate, by their labels. The NetworkPolicy is "
            "theirs."
        ),
    ]
    port: Annotated[Port, Meta(description="The gate's TCP port on those pods.")]
    upstream_port: Annotated[
        Port,
        Meta(description="The app's own TCP port on those pods: reached through the gate only."),
    ]
    service_account_name: Annotated[
        Name,
        Meta(
            description="The ServiceAccount of those pods, in this namespace: it is allowed to read the "
            "service's bundle, and that one object only. Default: `default`."
        ),
    ] = "default"
    token: Annotated[
        TokenRules, Meta(description="What is asked of a token beyond who issued it and for whom.")
    ] = TokenRules()
    routes: Annotated[
        tuple[Route, ...],
        Meta(
            max_length=MAX_ROUTES,
            extra_json_schema=_ATOMIC,
            description="Which scope a request to the app needs. The first that matches decides; a request "
            "that none matches is refused. None by default: every request is, but for the gate's own "
            "endpoints.",
        ),
    ] = ()
    limits: Annotated[
        Limits | None, Meta(description="How fast each workload may call, each on its own. Absent: no limit.")
    ] = None
    token_desk_ref: Annotated[
        DeskName | None,
        Meta(
            description="A TokenDesk whose tokens the gates accept besides. A desk speaks for all workloads "
            "of the services that name it, within what their TrustedWorkloads grant. Absent: none."
        ),
    ] = None
    resource_servers: Annotated[
        tuple[Name, ...],
        Meta(
            max_length=MAX_RESOURCE_SERVERS,
            extra_json_schema=SET,
            description="DeskClients of that desk that may ask it about tokens for this service. None by "
            "default.",
        ),
    ] = ()
    agents: Annotated[
        AgentCeiling | None,
        Meta(
            description="What agents that registered at the desk may do here at most, no matter who claimed "
            "them. Gates refuse whatever is beyond it. Absent: no agent passes."
        ),
    ] = None
    network_policy: Annotated[
        NetworkPolicyRules,
        Meta(description="Whether a NetworkPolicy is kept for the service. Default: it is, and enforced."),
    ] = NetworkPolicyRules()
    proxy: Annotated[ProxyRules, Meta(description="What a gate with `--upstream` does beyond deciding.")] = (
        ProxyRules()
    )
    usage: Annotated[
        UsageRules, Meta(description="What the usage read model counts, and where it answers.")
    ] = UsageRules()
    report_only_until: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(
            description="The RFC 3339 time until which gates with `--upstream` only report: a request that "
            "they would refuse passes to the app without an identity, and is counted and audited. At most 30 "
            "days ahead, and only in a namespace that an admin labelled `watchword.dev/report-only: "
            "allowed`. From then on gates enforce by themselves. Absent: they enforce."
        ),
    ] = None
