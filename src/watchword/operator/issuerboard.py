# SPDX-License-Identifier: Apache-2.0
"""All issuers, judged and settled: what every service is compiled against.

Loading keys is what costs, and conflicts are between all issuers: so the first is remembered for each issuer,
and the second done once for all services.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from watchword.operator.names import Name
from watchword.operator.store import Store
from watchword.trust.conditions import ISSUER, ConditionValue
from watchword.trust.heldkeys import HeldKey, held_from_status
from watchword.trust.issuers import Issuers, JudgedIssuer, allows, judge_issuer, settle_issuers
from watchword.trust.keychanges import KeyChange
from watchword.trust.problems import Problem, ProblemReason
from watchword.trust.rivals import problem_of
from watchword.trust.specs import ClusterTrustedIssuer


class Keys(Protocol):
    """What is known of one issuer's keys (`watchword.operator.keys.facts.IssuerKeys`)."""

    @property
    def jwks(self) -> bytes | None:
        """What is trusted."""

    @property
    def held(self) -> tuple[HeldKey, ...]:
        """Every key."""

    @property
    def fresh(self) -> ConditionValue:
        """KeysFresh."""

    @property
    def settled(self) -> ConditionValue:
        """RotationSettled."""

    @property
    def fetched_at(self) -> float | None:
        """Unix seconds of the last good answer."""


class KeyFollower(Protocol):
    """Who follows the keys of issuers (`watchword.operator.keys.sync.KeySync`)."""

    def set_issuer(self, issuer: ClusterTrustedIssuer, held: tuple[HeldKey, ...]) -> None:
        """Follow an issuer, or follow it as it was edited."""

    def drop_issuer(self, name: str) -> None:
        """Follow an issuer no more."""

    def keys_of(self, name: str) -> Keys:
        """What is known of an issuer's keys."""

    def take_changes(self, name: str) -> tuple[KeyChange, ...]:
        """What happened since this was last asked."""


class _Judged(NamedTuple):
    resource: ClusterTrustedIssuer
    jwks: bytes | None
    fresh: ConditionValue
    keys: Keys
    result: JudgedIssuer


class IssuerBoard:
    """The issuers of the store with the keys of a follower.

    Attributes:
        issuers: all of them, settled.
    """

    def __init__(self, store: Store, keys: KeyFollower) -> None:
        """Judge what a store holds by the keys that a follower knows."""
        self._store, self._keys = store, keys
        self._judged: dict[str, _Judged] = {}
        self.issuers = Issuers()

    def follow(self, name: str) -> None:
        """Have the keys of an issuer followed as its object says, or no more."""
        entry, resource = self._store.entry(ISSUER, "", name), self._store.issuer(name)
        if entry is None or resource is None:
            self._keys.drop_issuer(name)
        else:
            self._keys.set_issuer(resource, held_from_status(entry.held))

    def judge(self, names: Iterable[str]) -> frozenset[Name]:
        """Judge issuers anew, and settle all. Returns the services that this may change."""
        for name in names:
            resource = self._store.issuer(name)
            if resource is None:
                self._judged.pop(name, None)
                continue
            keys, known = self._keys.keys_of(name), self._judged.get(name)
            inputs = (resource, keys.jwks, keys.fresh)
            if known is None or known[:3] != inputs:
                document = keys.jwks if keys.jwks is not None else _unavailable(resource, keys.fresh)
                self._judged[name] = _Judged(*inputs, keys, judge_issuer(resource, document))
            else:
                self._judged[name] = known._replace(keys=keys)
        before, self.issuers = self.issuers, settle_issuers(each.result for each in self._judged.values())
        return self._touched(before, self.issuers)

    def keys_of(self, name: str) -> Keys | None:
        """What was known of an issuer's keys when it was judged; None: it was not."""
        judged = self._judged.get(name)
        return None if judged is None else judged.keys

    def take_changes(self, name: str) -> tuple[KeyChange, ...]:
        """What happened to an issuer's keys since this was last asked."""
        return self._keys.take_changes(name)

    def problems_of(self, name: str) -> tuple[Problem, ...]:
        """What is wrong with an issuer or some of its keys, conflicts included."""
        return tuple(problem for problem in self.issuers.problems if problem.name == name)

    def _touched(self, before: Issuers, after: Issuers) -> frozenset[Name]:
        touched: set[Name] = set()
        for name in before.known.keys() | after.known.keys():
            old, new = before.known.get(name), after.known.get(name)
            old_ready, new_ready = before.ready.get(name), after.ready.get(name)
            old_entry = old_ready.entry if old_ready else None
            new_entry = new_ready.entry if new_ready else None
            if old is not None and new is not None and old.spec == new.spec and old_entry == new_entry:
                continue
            touched |= self._store.services_naming(name)
            for version in (old, new):
                if version is not None and (old_entry or new_entry):
                    touched |= self._services_allowed_by(version)
        return frozenset(touched)

    def _services_allowed_by(self, issuer: ClusterTrustedIssuer) -> set[Name]:
        return {
            name for name in self._store.services() if allows(issuer, name[0], self._store.labels_of(name[0]))
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
