# SPDX-License-Identifier: Apache-2.0
"""The condition RotationSettled: whether a key waits for someone, and what that person does.

A condition's text changes only when something has changed. A text with the time of the last poll in it would
be a write to the API server for each poll of each issuer.
"""

from collections.abc import Sequence
from typing import Final

from watchword.trust.api.v1alpha1 import Rotation
from watchword.trust.conditions import ConditionValue, Verdict
from watchword.trust.key_rotation.held_keys import HeldKey
from watchword.trust.key_rotation.state_machine import approval_deadline, retirement
from watchword.trust.timestamps import rfc3339

_NAMED: Final = 3


def settled_condition(
    rules: Rotation,
    held: Sequence[HeldKey],
    now: float,
    *,
    issuer: str,
    revoked: frozenset[str] = frozenset(),
) -> ConditionValue:
    """The value of `RotationSettled` of a ClusterTrustedIssuer.

    Args:
        rules: the issuer's `spec.rotation`.
        held: its keys.
        now: unix seconds.
        issuer: the object's name, for the command that fixes it.
        revoked: thumbprints that are trusted under no policy.
    """
    waiting = [(key, at) for key in held if (at := approval_deadline(rules, key, revoked)) is not None]
    overdue = [key for key, at in waiting if at <= now]
    retiring = [(key, at) for key in held if (at := retirement(rules, key)) is not None]
    approve = f"compare it with the cluster's own, then run `watchword approve {issuer}`"
    if overdue:
        text = (
            f"not approved within {rules.approve_within_seconds} s, its tokens are refused: {_list(overdue)}"
        )
        return Verdict.APPROVAL_OVERDUE.with_message(text, approve)
    if waiting:
        until = rfc3339(min(at for _, at in waiting))
        keys = _list([key for key, _ in waiting])
        text = f"served and not trusted, to be decided by {until}, its tokens are refused: {keys}"
        return Verdict.KEYS_PENDING.with_message(text, approve)
    if retiring:
        until = rfc3339(max(at for _, at in retiring))
        keys = _list([key for key, _ in retiring])
        return Verdict.KEYS_RETIRING.with_message(f"no longer served, trusted until {until} at most: {keys}")
    strangers = [key for key in held if key.state == "Pending" and key.jwk]
    if strangers:
        keys = _list(strangers)
        return Verdict.SETTLED.with_message(f"served and not trusted, as the object says: {keys}")
    return Verdict.SETTLED.with_message()


def _list(keys: Sequence[HeldKey]) -> str:
    named = ", ".join(f"key {thumbprint}" for thumbprint in sorted({key.thumbprint for key in keys})[:_NAMED])
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{named}{more}"
