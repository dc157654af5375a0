# SPDX-License-Identifier: Apache-2.0
"""The fields of a TrustedWorkload: one ServiceAccount of one issuer, and what it may do.

Whole names only. A pattern in a ServiceAccount's name trusts what does not exist yet, and "every account" has
to be written out, as `*`, because no one means it by leaving something away.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from watchword.trust.api.v1alpha1.desk import Purposes
from watchword.trust.api.v1alpha1.fields import (
    SET,
    Holder,
    IssuerName,
    Name,
    NamespaceName,
    Peer,
    Scope,
    ServiceName,
    Spec,
)

MAX_GRANTS: Final = 32
# In all scopes, accounts and projects together: a thousand UUIDs. It bounds an object to some tens of
# kilobytes, whatever its lists allow one by one; the rules of admission and of the parser ask it.
MAX_GRANT_CHARACTERS: Final = 40_000
# In all labels and networks of spec.from together.
MAX_PEER_CHARACTERS: Final = 20_000
_ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-list-type": "atomic"}


class ServiceAccountName(Spec, frozen=True):
    """A ServiceAccount of the issuer's cluster."""

    namespace: Annotated[
        NamespaceName,
        Meta(description="Its namespace, in the issuer's cluster: one whole name, never a pattern."),
    ]
    name: Annotated[Name, Meta(description="Its name: one whole name, never a pattern.")]


class GrantSpec(Spec, frozen=True):
    """Scopes, and what they hold for."""

    scopes: Annotated[
        tuple[Scope, ...],
        Meta(
            min_length=1,
            max_length=64,
            extra_json_schema=SET,
            description="What may be done, each as `resource[:part]:action`.",
        ),
    ]
    accounts: Annotated[
        tuple[Holder, ...],
        Meta(
            min_length=1,
            max_length=1000,
            extra_json_schema=SET,
            description="Accounts that the scopes hold for, whole names; `*` alone is every account. Absent: "
            "only paths without an account.",
        ),
    ] = ()
    projects: Annotated[
        tuple[Holder, ...],
        Meta(
            min_length=1,
            max_length=1000,
            extra_json_schema=SET,
            description="Projects that the scopes hold for, whole names; `*` alone is every project. "
            "Present: only paths that name one of them, and nothing that is the whole account's, such as its "
            "usage. Absent: only paths without a project. For both, write two grants.",
        ),
    ] = ()


class WorkloadSpec(Spec, frozen=True):
    """A subject of one issuer that a service trusts, and what it may do."""

    service_ref: Annotated[
        ServiceName, Meta(description="The ProtectedService that trusts it, of this namespace.")
    ]
    issuer_ref: Annotated[
        IssuerName, Meta(description="The cluster that it runs in, as a ClusterTrustedIssuer.")
    ]
    service_account: Annotated[
        ServiceAccountName, Meta(description="The ServiceAccount that its tokens must be for.")
    ]
    grants: Annotated[
        tuple[GrantSpec, ...],
        Meta(
            max_length=MAX_GRANTS,
            extra_json_schema=_ATOMIC,
            description="What it may do. None by default: it is known to `/authz`, and every route refuses "
            "it.",
        ),
    ] = ()
    purposes: Annotated[
        Purposes,
        Meta(
            description="What it may name as the purpose of a token of the service's desk: such a token "
            "passes only on routes of that purpose. None by default: it gets tokens without a purpose only."
        ),
    ] = ()
    from_: Annotated[
        tuple[Peer, ...],
        Meta(
            max_length=64,
            extra_json_schema=_ATOMIC,
            description="Where its calls come from, for the NetworkPolicy of the service. None by default: "
            "under Enforce its calls do not arrive, unless a peer of someone else lets them in.",
        ),
    ] = msgspec.field(default=(), name="from")
    suspend: Annotated[
        bool,
        Meta(
            description="true: trust is switched off, the object stays; its calls are refused as "
            "`suspended`. Default: false."
        ),
    ] = False
    expires: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(
            description="The RFC 3339 time at which trust ends by itself, such as `2027-01-01T00:00:00Z`. "
            "Absent: it does not."
        ),
    ] = None
