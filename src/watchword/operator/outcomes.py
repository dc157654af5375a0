# SPDX-License-Identifier: Apache-2.0
"""What the last reconcile of a service came to: what the statuses of it and its workloads are made from.

Statuses are written later and by others; they must never mix what two reconciles found.
"""

import msgspec

from watchword.operator.names import Name
from watchword.trust.conditions import ConditionValue, Verdict
from watchword.trust.issuers import Issuers
from watchword.trust.problems import Problem
from watchword.trust.specs import Peer, ProtectedService, TrustedWorkload
from watchword.trust.specs.status import BundleStatus

_MAY_PASS = (
    Verdict.BUNDLE_NAME_TAKEN,
    Verdict.WRITE_REFUSED,
    Verdict.POLICY_NAME_TAKEN,
    Verdict.POLICY_REFUSED,
)


class Outcome(msgspec.Struct, frozen=True):
    """One service after a reconcile.

    Attributes:
        service: as it was compiled; None: there is none that can be used.
        trusted: the workloads that are to be in its bundle, by name.
        problems: why others are not in it, by name.
        issuers: what it was compiled against.
        published: the condition BundlePublished.
        policy: the condition PolicyApplied.
        bundle: what is published.
        preview: the NetworkPolicy that is only shown, as JSON.
        peers: the peers of its NetworkPolicy, each once.
        accounts_here: the ServiceAccounts of this cluster that it trusts.
        gone: names of trusted workloads whose ServiceAccount of this cluster is not there.
        ended: names of trusted workloads that have expired.
        waiting: names of trusted workloads that the bundle has no room for.
    """

    service: ProtectedService | None
    trusted: dict[str, TrustedWorkload]
    problems: dict[str, Problem]
    issuers: Issuers
    published: ConditionValue | None = None
    policy: ConditionValue | None = None
    bundle: BundleStatus | None = None
    preview: str | None = None
    peers: tuple[Peer, ...] = ()
    accounts_here: frozenset[tuple[str, str]] = frozenset()
    gone: frozenset[str] = frozenset()
    ended: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()

    @property
    def unfinished(self) -> ConditionValue | None:
        """What stands in the way of what the service asks for, and may go away by itself; None: nothing."""
        values = (value for value in (self.published, self.policy) if value is not None)
        return next((value for value in values if value.verdict in _MAY_PASS), None)

    def is_here(self, workload: TrustedWorkload) -> bool:
        """Whether a workload's issuer is this cluster."""
        return is_of_this_cluster(workload, self.issuers)


def is_of_this_cluster(workload: TrustedWorkload, issuers: Issuers) -> bool:
    """Whether a workload's issuer is the cluster that the operator runs in."""
    issuer = issuers.known.get(workload.spec.issuer_ref.name)
    return issuer is not None and issuer.spec.keys.cluster is not None


def differing(before: Outcome | None, after: Outcome) -> set[str]:
    """The names of workloads of which the two say something else."""
    if before is None:
        return {*after.trusted, *after.problems}
    names = {*before.trusted, *before.problems, *after.trusted, *after.problems}
    if before.service is not after.service or before.peers != after.peers:
        # Whether calls arrive depends on all peers.
        return names
    changed = {
        name
        for name in names
        if before.trusted.get(name) is not after.trusted.get(name)
        or before.problems.get(name) != after.problems.get(name)
    }
    return (
        changed | (before.gone ^ after.gone) | (before.ended ^ after.ended) | (before.waiting ^ after.waiting)
    )


Outcomes = dict[Name, Outcome]
