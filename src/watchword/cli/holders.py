# SPDX-License-Identifier: Apache-2.0
"""Find who may do something at a service, from the bundle that its gates run on, by the gates' own rule.

A workload may where some request that takes the scope is let in: with its own token, or, where the route is
for a purpose, with a token that the service's desk issues to it for that purpose.
"""

import itertools
from collections.abc import Iterator
from typing import Literal

import msgspec

from watchword.cli.requests_of_scope import RequestsOfScope
from watchword.identity import Grant, Identity, Refusal
from watchword.trust import EVERY, Bundle, authorize

State = Literal["", "suspended", "expired", "its ServiceAccount is gone"]


class Holder(msgspec.Struct, frozen=True):
    """A workload that holds a scope.

    Attributes:
        workload: `namespace/name` of the TrustedWorkload.
        issuer: the ClusterTrustedIssuer that it is of.
        subject: `system:serviceaccount:<namespace>:<name>`.
        grants: its grants that hold the scope.
        state: why its calls are refused all the same; empty: they are let in.
        covers: whether some request about the account and the project that were asked about is let in.
    """

    workload: str
    issuer: str
    subject: str
    grants: tuple[Grant, ...]
    state: State
    covers: bool

    @property
    def can(self) -> bool:
        """Whether its calls are let in."""
        return self.covers and not self.state


def holders_of(
    bundle: Bundle, scope: str, account: str | None, project: str | None, now: float
) -> list[Holder]:
    """Every workload that holds a scope, by name.

    Args:
        bundle: what the gates run on.
        scope: the scope.
        account: the account that a request is about; None: for anything at all.
        project: the project that a request is about; None: the account as a whole.
        now: seconds since the epoch; trust that has expired by then is said to.
    """
    found = []
    requests = RequestsOfScope(bundle, scope)
    purposes = {} if isinstance(bundle.desk, msgspec.UnsetType) else bundle.desk.purposes
    for row in bundle.workloads:
        grants = tuple(
            Grant(each.scopes, each.accounts, each.projects)
            for each in bundle.grants[row.grants]
            if scope in each.scopes
        )
        if not grants:
            continue
        name = f"{bundle.service.namespace}/{row.name}"
        issuer = bundle.issuers[row.issuer].name
        subject = f"system:serviceaccount:{row.namespace}:{row.service_account}"
        identity = Identity(issuer, subject, name, grants, "", "", "", 0, 0)
        subjects = _in_grants(grants, requests.any_name) if account is None else [(account, project)]
        own: frozenset[str | None] = frozenset((None, *purposes.get(row.name, ())))
        covers = any(
            not own.isdisjoint(requests.purposes_of(*each))
            and not isinstance(authorize(identity, scope, *each), Refusal)
            for each in subjects
        )
        state: State = ""
        if row.live_uid == "":
            state = "its ServiceAccount is gone"
        elif row.suspended:
            state = "suspended"
        elif row.expires_at is not None and row.expires_at <= now:
            state = "expired"
        found.append(Holder(name, issuer, subject, grants, state, covers))
    return sorted(found, key=lambda each: (not each.can, each.workload))


def _in_grants(grants: tuple[Grant, ...], any_name: str) -> Iterator[tuple[str | None, str | None]]:
    """What requests could be about that the grants hold for: no account, and each that a grant names."""
    yield None, None
    for grant in grants:
        accounts, projects = (
            [any_name if name == EVERY else name for name in names]
            for names in (grant.accounts, grant.projects)
        )
        yield from itertools.product(accounts, projects or (None,))
