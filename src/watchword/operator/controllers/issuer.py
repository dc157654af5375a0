# SPDX-License-Identifier: Apache-2.0
"""Reconciles issuers: has their keys kept, judges and settles them; every service is compiled against them.

Loading keys is what costs, and conflicts are between all issuers: so the first is remembered for each issuer,
and the second done once for all services.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from watchword.kube.names import NamespacedName
from watchword.operator.cache import Cache
from watchword.operator.status import Keys
from watchword.operator.workqueue import IssuerEdits
from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer
from watchword.trust.audience import urls_of_issuers
from watchword.trust.conditions import ISSUER, ConditionValue
from watchword.trust.conflicts import problem_of
from watchword.trust.issuers import (
    Issuers,
    JudgedIssuer,
    allows,
    judge_issuer,
    kept_claims,
    settle_issuers,
)
from watchword.trust.key_claims import Claim
from watchword.trust.key_rotation.changes import KeyChange
from watchword.trust.key_rotation.held_keys import HeldKey, held_from_status
from watchword.trust.problems import Problem, ProblemReason


class KeySource(Protocol):
    """Keeps the keys of issuers (`watchword.operator.keys.sync.KeySync`)."""

    def set_issuer(self, issuer: ClusterTrustedIssuer, held: tuple[HeldKey, ...]) -> None:
        """Keep the keys of an issuer, as its object says now."""

    def drop_issuer(self, name: str) -> None:
        """Keep the keys of an issuer no more."""

    def keys_of(self, name: str) -> Keys:
        """What is known of an issuer's keys."""

    def take_changes(self, name: str) -> tuple[KeyChange, ...]:
        """What happened since this was last asked; each is given once."""


class _Judged(NamedTuple):
    resource: ClusterTrustedIssuer
    jwks: bytes | None
    fresh: ConditionValue
    held: tuple[HeldKey, ...]
    keys: Keys
    result: JudgedIssuer


class IssuerReconciliation(NamedTuple):
    """What a reconcile of issuers came to.

    Attributes:
        services: to reconcile, since it may change them.
        statuses: names of issuers whose status may have to be written.
        changes: what happened to keys, each with its issuer's name, to be told as an Event.
    """

    services: frozenset[NamespacedName]
    statuses: frozenset[str]
    changes: tuple[tuple[str, KeyChange], ...]


class IssuerController:
    """Reconciles the issuers in a cache with their keys.

    Attributes:
        issuers: all of them, settled.
    """

    def __init__(self, cache: Cache, keys: KeySource) -> None:
        """Judge what a cache holds by the keys that a source knows."""
        self._cache, self._keys = cache, keys
        self._judged: dict[str, _Judged] = {}
        # Of those that are not understood: their keys go to no other issuer meanwhile.
        self._kept: dict[str, tuple[Claim, ...]] = {}
        self.issuers = Issuers()

    def keep_keys(self, names: Iterable[str]) -> None:
        """Have the keys of issuers kept as their objects say, or no more."""
        for name in names:
            entry, resource = self._cache.entry(ISSUER, "", name), self._cache.issuer(name)
            if entry is None or resource is None:
                self._keys.drop_issuer(name)
            else:
                self._keys.set_issuer(resource, held_from_status(entry.held))

    def reconcile(self, edits: IssuerEdits) -> IssuerReconciliation:
        """Judge issuers that were edited, or whose keys have changed.

        Args:
            edits: their names; of those that were edited, the keys are kept as the objects say now.
        """
        self.keep_keys(edits.edited)
        names = edits.edited | edits.with_other_keys
        before = {problem.name for problem in self.issuers.problems}
        services = self.judge(names)
        # Also those that a conflict began or ended with.
        statuses = names | before | {each.name for each in self.issuers.problems}
        changes = [
            (name, change)
            for name in names
            if self._cache.entry(ISSUER, "", name) is not None
            for change in self._keys.take_changes(name)
        ]
        return IssuerReconciliation(services, frozenset(statuses), tuple(changes))

    def judge(self, names: Iterable[str]) -> frozenset[NamespacedName]:
        """Judge issuers again, and settle all. Returns the services that this may change."""
        for name in names:
            resource = self._cache.issuer(name)
            self._kept.pop(name, None)
            if resource is None:
                entry = self._cache.entry(ISSUER, "", name)
                if entry is not None and isinstance(entry.remainder, ClusterTrustedIssuer):
                    self._kept[name] = kept_claims(entry.remainder, held_from_status(entry.held))
                self._judged.pop(name, None)
                continue
            keys, known = self._keys.keys_of(name), self._judged.get(name)
            inputs = (resource, keys.jwks, keys.fresh, keys.held)
            if known is None or known[: len(inputs)] != inputs:
                document = keys.jwks if keys.jwks is not None else _unavailable(resource, keys.fresh)
                self._judged[name] = _Judged(*inputs, keys, judge_issuer(resource, document, keys.held))
            else:
                self._judged[name] = known._replace(keys=keys)
        judged = [each.result for each in self._judged.values()]
        kept = [claim for claims in self._kept.values() for claim in claims]
        before, self.issuers = self.issuers, settle_issuers(judged, kept)
        return self._touched(before, self.issuers)

    def keys_of(self, name: str, uid: str) -> Keys | None:
        """What was known of an issuer's keys when it was judged; None: this very object was not yet.

        Its predecessor's keys must never be said of it: its keys begin with what its status names.
        """
        judged = self._judged.get(name)
        return None if judged is None or judged.resource.metadata.uid != uid else judged.keys

    def problems_of(self, name: str) -> tuple[Problem, ...]:
        """What is wrong with an issuer or some of its keys, conflicts included."""
        return tuple(problem for problem in self.issuers.problems if problem.name == name)

    def _touched(self, before: Issuers, after: Issuers) -> frozenset[NamespacedName]:
        touched: set[NamespacedName] = set()
        for name in before.known.keys() | after.known.keys():
            old, new = before.known.get(name), after.known.get(name)
            old_entry, new_entry = before.entry_of(name), after.entry_of(name)
            if old is not None and new is not None and old.spec == new.spec and old_entry == new_entry:
                continue
            touched |= self._cache.services_naming(name)
            # Its URLs are no service's audience.
            for url in urls_of_issuers([each for each in (old, new) if each is not None]):
                touched |= self._cache.services_declaring(url)
            # What stands of these may be accepting them, though they declare them no more.
            touched |= self._cache.services_not_understood()
            for version in (old, new):
                if version is not None and (old_entry or new_entry):
                    touched |= self._services_allowed_by(version)
        return frozenset(touched)

    def _services_allowed_by(self, issuer: ClusterTrustedIssuer) -> set[NamespacedName]:
        return {
            name for name in self._cache.services() if allows(issuer, name[0], self._cache.labels_of(name[0]))
        }


def _unavailable(resource: ClusterTrustedIssuer, fresh: ConditionValue) -> Problem:
    source = resource.spec.keys
    field = "configMap" if source.config_map else "discovery" if source.discovery else "cluster"
    verdict = fresh.verdict
    return problem_of(
        resource,
        f"spec.keys.{field}",
        ProblemReason.KEYS_UNAVAILABLE,
        f"no key is trusted yet ({verdict.reason}): {fresh.message}",
        verdict.remedy or "see the condition KeysFresh",
    )
