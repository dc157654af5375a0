# SPDX-License-Identifier: Apache-2.0
"""What fields of every kind are made of: bounded names, labels, ports and references.

A list or a text without a bound lets one hostile object cost the process its memory, and the API server its
budget for rules. So nothing here is unbounded, and each kind builds on these instead of on `str`.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

DAY_SECONDS: Final = 86_400
# A set may be owned by several appliers, each its own entries (Kubernetes, "Server-Side Apply").
SET: Final[dict[str, Any]] = {"x-kubernetes-list-type": "set"}

Name = Annotated[str, Meta(min_length=1, max_length=253)]
NamespaceName = Annotated[str, Meta(min_length=1, max_length=63)]
Url = Annotated[str, Meta(min_length=1, max_length=1024)]
LabelName = Annotated[str, Meta(min_length=1, max_length=317)]
Labels = Annotated[dict[LabelName, Annotated[str, Meta(max_length=63)]], Meta(max_length=16)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Algorithm = Literal["RS256", "ES256", "ES384", "ES512"]
Scope = Annotated[
    str,
    Meta(
        pattern="^[a-z][a-z0-9-]*(:[a-z][a-z0-9-]*){1,2}$",
        max_length=128,
        description="A scope, as `resource[:part]:action`, such as `account:usage:read`.",
    ),
]
Holder = Annotated[str, Meta(min_length=1, max_length=120)]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A part of a resource that a person writes."""


class LabelSelector(Spec, frozen=True):
    """Which objects, by their labels."""

    match_labels: Annotated[
        Labels,
        Meta(
            description="Labels that an object must have, all of them. No labels at all select every object."
        ),
    ]


class ServiceName(Spec, frozen=True):
    """A ProtectedService of the same namespace."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=63,
            description="The name of a ProtectedService in the namespace of this object. Trust never crosses "
            "namespaces: who may edit this one decides.",
        ),
    ]


class IssuerName(Spec, frozen=True):
    """A ClusterTrustedIssuer."""

    name: Annotated[
        Name,
        Meta(
            description="The name of a ClusterTrustedIssuer. The ServiceAccount is trusted as one of that "
            "cluster, and of no other that shares its URL."
        ),
    ]


class IpBlock(Spec, frozen=True):
    """Addresses, as NetworkPolicy knows them."""

    cidr: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            description="A network such as `10.20.0.0/16` or `2001:db8::/32`, without host bits. It is "
            "compared with the source address as it arrives: behind SNAT or a load balancer that is the "
            "node's or the balancer's.",
        ),
    ]
    except_: Annotated[
        tuple[Annotated[str, Meta(max_length=64)], ...],
        Meta(
            max_length=16,
            description="Networks within `cidr`, and smaller than it, that are not let in. None by default.",
        ),
    ] = msgspec.field(default=(), name="except")


class Peer(Spec, frozen=True):
    """A NetworkPolicy peer: an ipBlock, or selectors of namespaces and pods."""

    ip_block: Annotated[
        IpBlock | None,
        Meta(description="Callers by address: for those of other clusters. It stands alone in its peer."),
    ] = None
    namespace_selector: Annotated[
        LabelSelector | None,
        Meta(
            description="Namespaces of this cluster, by the labels of the Namespace; alone, all of their "
            "pods. Absent where podSelector is given: this object's own namespace."
        ),
    ] = None
    pod_selector: Annotated[
        LabelSelector | None,
        Meta(description="Pods by their labels, in the namespaces of namespaceSelector or in this one."),
    ] = None
