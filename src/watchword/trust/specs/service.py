# SPDX-License-Identifier: Apache-2.0
"""The fields of a ProtectedService: what is protected, what is asked of its callers, what is counted.

The audience has no default and cannot be left out: a gate that took a token made for somebody else would let
any service that this caller ever called pose as it.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from watchword.trust.specs.fields import DAY_SECONDS, SET, LabelSelector, Name, Peer, Port, Scope, Spec
from watchword.trust.specs.usage import UsageRules

MAX_AUDIENCES: Final = 16
MAX_ROUTES: Final = 1000
# Order decides, or entries have no key: such a list has one owner, who sends it whole.
_ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-list-type": "atomic"}


class TokenRules(Spec, frozen=True):
    """What is asked of a token beyond who issued it."""

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


class Route(Spec, frozen=True):
    """Requests that need a scope. The first route that matches decides; no match is refused."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=512,
            description="The path of the app, whole segments, with captures such as `{account}` and "
            "`{project}`: what these two capture must be granted.",
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
        Scope,
        Meta(description="The scope that a workload must be granted, such as `account:usage:read`."),
    ]


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
            description="Enforce (the default): a NetworkPolicy lets the workloads' `from` peers, and nobody "
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


class ServiceSpec(Spec, frozen=True):
    """What is protected, and what is asked of its callers."""

    audiences: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...],
        Meta(
            min_length=1,
            max_length=MAX_AUDIENCES,
            extra_json_schema=SET,
            description="A token must be made for one of them; others are refused. Use a name that no other "
            "service has.",
        ),
    ]
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
    network_policy: Annotated[
        NetworkPolicyRules,
        Meta(description="Whether a NetworkPolicy is kept for the service. Default: it is, and enforced."),
    ] = NetworkPolicyRules()
    usage: Annotated[
        UsageRules, Meta(description="What the usage read model counts, and where it answers.")
    ] = UsageRules()
