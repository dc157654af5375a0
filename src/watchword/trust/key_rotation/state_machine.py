# SPDX-License-Identifier: Apache-2.0
"""What becomes of an issuer's keys when it serves another set: a pure state machine, one call a step.

Following a JWKS blindly gives the decision whom to believe to whatever answers at that URL. Here an
answer can add trust only as the issuer's policy says, can never take the last keys away by being empty, and
an answer of no one that we know waits for a person. A key is its kid together with its thumbprint.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from watchword.identity import Key, KeySet
from watchword.identity.jwks import MAX_KEYS
from watchword.trust.api.v1alpha1 import Rotation
from watchword.trust.key_rotation.changes import KeyChange, changes_between
from watchword.trust.key_rotation.held_keys import TRUSTED, HeldKey, KeyState, exact_time, held_key

_Identity = tuple[str, str]
_ORDER: Final[Mapping[KeyState, int]] = {"Active": 0, "Pending": 1, "Retiring": 2}


class KeyRefusal(msgspec.Struct, frozen=True):
    """Why an answer changed nothing.

    Attributes:
        detail: what is wrong with it.
        remedy: what would be right.
    """

    detail: str
    remedy: str


class RotationOutcome(msgspec.Struct, frozen=True):
    """What is held after a step.

    Attributes:
        held: every key: Active, Pending, Retiring; a kid of an Active key has no Retiring one.
        changes: what changed, in the order of `held`.
        refused: why the answer was not looked at; None when it was, or when there was none.
        next_at: unix seconds of the next change by time alone, or None.
    """

    held: tuple[HeldKey, ...]
    changes: tuple[KeyChange, ...] = ()
    refused: KeyRefusal | None = None
    next_at: float | None = None


def rotate(
    rules: Rotation,
    held: tuple[HeldKey, ...],
    served: KeySet | None,
    now: float,
    *,
    revoked: frozenset[str] = frozenset(),
) -> RotationOutcome:
    """One step: an answer, the passing of time, or an edit of the rules.

    Args:
        rules: the issuer's `spec.rotation`.
        held: what the last step left; empty for an issuer that was never seen.
        served: what the issuer serves now; None when it was not asked or gave no answer.
        now: unix seconds.
        revoked: thumbprints that are trusted under no policy.

    Returns:
        The keys held from now on. The same input gives the same output, and a second step with the same input
        and that output changes nothing, but for Continuity, which may take a key from the second answer.
    """
    refused = None
    if served is not None and not served.keys:
        refused, served = _refusal(served), None
    step = _Step(rules, held, served, now, revoked)
    after = step.after()
    return RotationOutcome(after, step.changes(after), refused, _next_at(rules, after, now, revoked))


def approval_deadline(rules: Rotation, key: HeldKey, revoked: frozenset[str] = frozenset()) -> float | None:
    """Unix seconds by which a Pending key wants a decision; None where none is due (Pin, revoked)."""
    if rules.policy not in ("Approve", "Continuity") or key.thumbprint in revoked:
        return None
    if key.state != "Pending" or not key.jwk:
        return None
    return key.since + rules.approve_within_seconds


def retirement(rules: Rotation, key: HeldKey) -> float | None:
    """Unix seconds at which a Retiring key is dropped, or None."""
    return key.since + rules.retire_after_seconds if key.state == "Retiring" else None


class _Step:
    """The facts of one step, by which each key is judged."""

    def __init__(
        self,
        rules: Rotation,
        held: tuple[HeldKey, ...],
        served: KeySet | None,
        now: float,
        revoked: frozenset[str],
    ) -> None:
        self.rules, self.now, self.revoked = rules, float(int(now)), revoked
        # What decides between two issuers of one key is finer than what a person reads.
        self.exactly_now = exact_time(now)
        # A clock that went back must not stretch a retirement: nothing has been so since later than now.
        self.before: dict[_Identity, HeldKey] = {
            _identity(key): msgspec.structs.replace(
                key,
                since=min(key.since, self.now),
                held_since=None if key.held_since is None else min(key.held_since, self.exactly_now),
            )
            for key in held
        }
        self.approved = frozenset(rules.approved) - revoked
        self.trusted = {key.thumbprint for key in held if key.is_trusted} - revoked
        self.served: dict[_Identity, Key | HeldKey] = (
            {(key.kid, key.thumbprint): key for key in served.keys}
            if served is not None
            # Without a new answer the last one stands: what was Active or Pending was served then.
            else {_identity(key): key for key in held if key.state != "Retiring" and key.jwk}
        )
        # Known by what it is served next to: a key that is Active, or one that a person vouched for.
        known = {key.thumbprint for key in held if key.state == "Active" and key.jwk} - revoked
        self.is_known_issuer = served is not None and any(
            thumbprint in known or thumbprint in self.approved for _, thumbprint in self.served
        )
        # The first keys are taken as they come only where no one said which are right.
        self.is_first_answer = served is not None and not held and not rules.approved

    def after(self) -> tuple[HeldKey, ...]:
        found: list[HeldKey] = []
        for key in self.served.values():
            # A revoked key that is still served stays in sight: a past is never a beginning again.
            may = key.thumbprint not in self.revoked and self._may_be_trusted(key.thumbprint)
            found.append(self._as(key, "Active" if may else "Pending"))
        for identity, key in self.before.items():
            if identity not in self.served and key.is_trusted and self._may_stay(key.thumbprint):
                retiring = self._as(key, "Retiring")
                if self.now < retiring.since + self.rules.retire_after_seconds:
                    found.append(retiring)
        return _bounded(self._one_key_a_kid(found))

    def _may_be_trusted(self, thumbprint: str) -> bool:
        match self.rules.policy:
            case "Follow":
                return True
            case "Continuity":
                return (
                    thumbprint in self.approved
                    or thumbprint in self.trusted
                    or self.is_known_issuer
                    or self.is_first_answer
                )
            case "Pin" | "Approve":
                return thumbprint in self.approved

    def _may_stay(self, thumbprint: str) -> bool:
        if thumbprint in self.revoked:
            return False
        return self.rules.policy in ("Continuity", "Follow") or thumbprint in self.approved

    def _as(self, key: Key | HeldKey, state: KeyState) -> HeldKey:
        before = self.before.get((key.kid, key.thumbprint))
        if before is not None and before.jwk:
            if before.state == state:
                return before
            held_since = before.held_since
            if held_since is None and state in TRUSTED:
                held_since = self.exactly_now
            return msgspec.structs.replace(before, state=state, since=self.now, held_since=held_since)
        if isinstance(key, Key):
            return held_key(key, state, self.exactly_now)
        return msgspec.structs.replace(key, state=state)

    def _one_key_a_kid(self, found: list[HeldKey]) -> list[HeldKey]:
        """A kid passes from a key that retires to one that is served; what is served together all stays."""
        trusted: dict[str, HeldKey] = {}
        kept: list[HeldKey] = []
        for key in sorted(found, key=lambda each: (_ORDER[each.state], -each.since, each.thumbprint)):
            if not key.is_trusted:
                kept.append(key)
            elif key.state == "Active" and self._takes_a_name(key):
                # Under Continuity no key takes over the name of a trusted one, unless a person says so.
                kept.append(self._as(key, "Pending"))
            elif key.state == "Active" or key.kid not in trusted:
                trusted[key.kid] = key
                kept.append(key)
        return kept

    def _takes_a_name(self, key: HeldKey) -> bool:
        if self.rules.policy != "Continuity" or key.thumbprint in self.approved:
            return False
        served = {thumbprint for _, thumbprint in self.served}
        return any(
            each.kid == key.kid
            and each.is_trusted
            and each.thumbprint not in served
            and self._still_trusted(each)
            for each in self.before.values()
        )

    def _still_trusted(self, key: HeldKey) -> bool:
        if key.thumbprint in self.revoked:
            return False
        retired_at = retirement(self.rules, key)
        if retired_at is None:
            return self.rules.retire_after_seconds > 0
        return self.now < retired_at

    def changes(self, after: tuple[HeldKey, ...]) -> tuple[KeyChange, ...]:
        """What a person is told of this step."""
        return changes_between(
            tuple(self.before.values()),
            after,
            self.rules,
            revoked=self.revoked,
            is_first_answer=self.is_first_answer,
        )


def _identity(key: HeldKey) -> _Identity:
    return key.kid, key.thumbprint


def _bounded(found: Iterable[HeldKey]) -> tuple[HeldKey, ...]:
    """At most as many trusted keys as a set may have: the longest retired go, never one that is served."""
    ordered = sorted(found, key=lambda key: (_ORDER[key.state], -key.since, key.kid, key.thumbprint))
    room = MAX_KEYS - sum(key.state == "Active" for key in ordered)
    retiring = [key for key in ordered if key.state == "Retiring"]
    dropped = {id(key) for key in retiring[max(room, 0) :]}
    return tuple(key for key in ordered if id(key) not in dropped)


def _refusal(served: KeySet) -> KeyRefusal:
    if not served.problems:
        return KeyRefusal("the set has no keys", "serve the issuer's public keys")
    first = served.problems[0]
    more = f" (and {len(served.problems) - 1} more)" if len(served.problems) > 1 else ""
    return KeyRefusal(f"no key of the set is usable: {first.detail}{more}", first.remedy)


def _next_at(rules: Rotation, held: tuple[HeldKey, ...], now: float, revoked: frozenset[str]) -> float | None:
    times = [approval_deadline(rules, key, revoked) for key in held]
    times += [retirement(rules, key) for key in held]
    return min((each for each in times if each is not None and each > now), default=None)
