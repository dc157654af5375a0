# SPDX-License-Identifier: Apache-2.0
"""Holds one issuer's keys: what it serves goes through the rotation, everything else leaves them alone.

No failure ends in fewer keys. A source that is away, lies or was edited away changes the condition and not
the trust; only a good answer, a person's edit or a deadline moves a key.
"""

from typing import Final

import msgspec

from watchword.identity import ALGORITHMS, KeyProblem, KeySet, load_jwks, load_key_objects
from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer
from watchword.trust.conditions import ConditionValue, Verdict
from watchword.trust.issuers import revoked_keys
from watchword.trust.key_rotation.changes import KeyChange, changes_between
from watchword.trust.key_rotation.conditions import settled_condition
from watchword.trust.key_rotation.held_keys import HeldKey, held_key, trusted_jwks
from watchword.trust.key_rotation.state_machine import rotate

# A change that was not asked about yet is kept; an issuer that rotates without end must not fill the memory.
_MAX_CHANGES: Final = 256
_NAMED: Final = 3


class IssuerKeys(msgspec.Struct, frozen=True):
    """An issuer's keys at one moment.

    Attributes:
        jwks: the JWKS of what is trusted (Active and Retiring), for the compiler; None where nothing is, and
            for inline keys, which the compiler reads in the object.
        held: every key that is known, for status.
        fresh: the condition KeysFresh.
        settled: the condition RotationSettled.
        fetched_at: unix seconds of the last good answer of this process; None: there was none yet.
    """

    jwks: bytes | None
    held: tuple[HeldKey, ...]
    fresh: ConditionValue
    settled: ConditionValue
    fetched_at: float | None = None


class HeldIssuer:
    """The keys of one issuer, and every way in which they may change."""

    def __init__(self, issuer: ClusterTrustedIssuer, held: tuple[HeldKey, ...], now: float) -> None:
        self.issuer, self.begun_at = issuer, now
        self._held = held
        self._fresh = Verdict.NEVER_FETCHED.with_message()
        self._fetched_at: float | None = None
        self._changes: list[KeyChange] = []
        self.next_at: float | None = None
        self.keys = self._publish(now)
        self.edit(issuer, now)

    def edit(self, issuer: ClusterTrustedIssuer, now: float) -> bool:
        """Take another version of the object; whether anything published has changed.

        An approval, a revocation or another policy holds from here on, without waiting for an answer.
        """
        self.issuer = issuer
        inline = issuer.spec.keys.inline
        if inline is not None:
            return self._write_down(load_key_objects(inline.get("keys")), now)
        if self._fresh.verdict is Verdict.STATIC:
            self._fresh = Verdict.NEVER_FETCHED.with_message()
        return self._step(None, now)

    def answer(self, data: bytes, now: float) -> bool:
        """Take what the source serves; whether anything published has changed.

        Args:
            data: a JWKS, as it came.
            now: unix seconds.
        """
        served = self._allowed(load_jwks(data))
        if served.keys:
            self._fresh, self._fetched_at = Verdict.FETCHED.with_message(_left_out(served)), now
        return self._step(served, now)

    def trouble(self, fresh: ConditionValue, now: float) -> bool:
        """Say that there was no good answer; every key stays. Whether anything published has changed."""
        self._fresh = fresh
        return self._step(None, now)

    def pass_time(self, now: float) -> bool:
        """Do what is due by time alone; whether anything published has changed."""
        return False if self.issuer.spec.keys.inline is not None else self._step(None, now)

    def take_changes(self) -> tuple[KeyChange, ...]:
        """What happened to keys since this was last asked."""
        changes, self._changes = tuple(self._changes), []
        return changes

    def _step(self, served: KeySet | None, now: float) -> bool:
        spec = self.issuer.spec
        outcome = rotate(spec.rotation, self._held, served, now, revoked=revoked_keys(spec))
        if outcome.refused is not None:
            # Lost is what was there: a set with no usable key, of an issuer with trusted ones.
            is_set = served is not None and not any(
                bad.field == "keys" and bad.index < 0 for bad in served.problems
            )
            had_keys = any(key.is_trusted for key in self._held)
            verdict = Verdict.ALL_KEYS_LOST if is_set and had_keys else Verdict.ANSWER_REFUSED
            self._fresh = verdict.with_message(outcome.refused.detail, outcome.refused.remedy)
        self._held, self.next_at = outcome.held, outcome.next_at
        self._note(outcome.changes)
        return self._has_changed(now)

    def _write_down(self, written: KeySet, now: float) -> bool:
        """Inline keys do not rotate: what is written is trusted, what is not is gone."""
        revoked = revoked_keys(self.issuer.spec)
        known = {(key.kid, key.thumbprint): key for key in self._held if key.state == "Active"}
        held = tuple(
            known.get((key.kid, key.thumbprint)) or held_key(key, "Active", now)
            for key in self._allowed(written).keys
            if key.thumbprint not in revoked
        )
        follow = msgspec.structs.replace(self.issuer.spec.rotation, policy="Follow")
        self._note(changes_between(self._held, held, follow, revoked=revoked))
        self._held, self._fresh, self.next_at = held, Verdict.STATIC.with_message(), None
        return self._has_changed(now)

    def _allowed(self, served: KeySet) -> KeySet:
        """Keys of an algorithm that the issuer does not allow are none: they must not count as an answer."""
        allowed = ALGORITHMS if self.issuer.spec.algorithms is None else set(self.issuer.spec.algorithms)
        keys = tuple(key for key in served.keys if key.algorithm in allowed)
        others = tuple(
            KeyProblem(-1, key.kid, "alg", f"{key.algorithm} is not allowed", "add it to spec.algorithms")
            for key in served.keys
            if key.algorithm not in allowed
        )
        return KeySet(keys, served.problems + others)

    def _note(self, changes: tuple[KeyChange, ...]) -> None:
        self._changes = [*self._changes, *changes][-_MAX_CHANGES:]

    def _has_changed(self, now: float) -> bool:
        before, self.keys = self.keys, self._publish(now)
        # The time of the last answer is for a metric: it alone is no reason to write anything.
        return msgspec.structs.replace(before, fetched_at=None) != msgspec.structs.replace(
            self.keys, fetched_at=None
        )

    def _publish(self, now: float) -> IssuerKeys:
        spec = self.issuer.spec
        return IssuerKeys(
            jwks=None if spec.keys.inline is not None else trusted_jwks(self._held),
            held=self._held,
            fresh=self._fresh,
            settled=settled_condition(
                spec.rotation,
                self._held,
                now,
                issuer=self.issuer.metadata.name,
                revoked=revoked_keys(spec),
            ),
            fetched_at=self._fetched_at,
        )


def _left_out(served: KeySet) -> str:
    """A bad key never voids the good ones next to it, and is named."""
    if not served.problems:
        return ""
    named = [
        f"{bad.kid or ('the set' if bad.index < 0 else f'keys[{bad.index}]')}: {bad.detail}"
        for bad in served.problems[:_NAMED]
    ]
    more = len(served.problems) - len(named)
    return f"read, and left out: {'; '.join(named)}{f'; and {more} more' if more else ''}"
