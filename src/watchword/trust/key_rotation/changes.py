# SPDX-License-Identifier: Apache-2.0
"""What a step of a rotation did to each key, as values that a person can act on.

Events are made of these, so a change is told once, with its cause and with what to do; a poll that changed
nothing tells nothing.
"""

import msgspec

from watchword.trust.api.v1alpha1 import Rotation
from watchword.trust.event_reasons import EventReason
from watchword.trust.key_rotation.held_keys import HeldKey


class KeyChange(msgspec.Struct, frozen=True):
    """One key's step.

    Attributes:
        event: what happened: the reason of the Event that tells it.
        kid: its kid.
        thumbprint: its thumbprint.
        detail: why, and what to do where something is to be done.
    """

    event: EventReason
    kid: str
    thumbprint: str
    detail: str


def changes_between(
    before: tuple[HeldKey, ...],
    after: tuple[HeldKey, ...],
    rules: Rotation,
    *,
    revoked: frozenset[str] = frozenset(),
    is_first_answer: bool = False,
) -> tuple[KeyChange, ...]:
    """One change for each key that came, went, or is in another state; what stands first, then what went.

    Args:
        before: what was held.
        after: what is held now.
        rules: the rules that the step went by.
        revoked: thumbprints that are trusted under no policy.
        is_first_answer: whether these are the first keys ever taken from this issuer.
    """
    was = {(key.kid, key.thumbprint): key for key in before}
    stands = {(key.kid, key.thumbprint) for key in after}
    names = {key.kid for key in after if key.is_trusted}
    found: list[KeyChange] = []
    for key in after:
        earlier = was.get((key.kid, key.thumbprint))
        if earlier is None or earlier.state != key.state or not earlier.jwk:
            event, detail = _arrival(earlier, key, rules, revoked, is_first_answer)
            found.append(KeyChange(event, key.kid, key.thumbprint, detail))
    for identity, key in was.items():
        if identity not in stands and key.jwk:
            event, detail = _end(key, rules, revoked, is_replaced=key.kid in names)
            found.append(KeyChange(event, key.kid, key.thumbprint, detail))
    return tuple(found)


def _arrival(
    earlier: HeldKey | None,
    key: HeldKey,
    rules: Rotation,
    revoked: frozenset[str],
    is_first_answer: bool,
) -> tuple[EventReason, str]:
    match key.state:
        case "Active":
            return EventReason.KEY_TRUSTED, _why_trusted(earlier, key, rules, is_first_answer)
        case "Retiring":
            detail = "it is no longer served; its tokens are refused in {} s, unless it is served again"
            return EventReason.KEY_RETIRING, detail.format(rules.retire_after_seconds)
        case "Pending" if key.thumbprint in revoked:
            was_trusted = earlier is not None and earlier.is_trusted
            detail = "it is revoked, and served all the same; take it out of the cluster's API server"
            return (EventReason.KEY_DISTRUSTED if was_trusted else EventReason.KEY_PENDING), detail
        case "Pending" if earlier is not None and earlier.is_trusted:
            detail = (
                f"it was trusted, and policy {rules.policy} asks for its approval; its tokens are refused"
            )
            return EventReason.KEY_DISTRUSTED, detail
        case "Pending":
            detail = f"policy {rules.policy} waits for a person; compare it with the cluster, then approve it"
            return EventReason.KEY_PENDING, detail


def _why_trusted(earlier: HeldKey | None, key: HeldKey, rules: Rotation, is_first_answer: bool) -> str:
    if earlier is not None and earlier.state == "Retiring":
        return "it is served again"
    if key.thumbprint in rules.approved:
        return "it is served, and approved"
    if rules.policy == "Follow":
        return "it is served, and policy Follow takes whatever is served"
    if is_first_answer:
        return "it is among the first keys that this issuer served"
    return "it is served next to a key that is trusted already"


def _end(
    key: HeldKey, rules: Rotation, revoked: frozenset[str], *, is_replaced: bool
) -> tuple[EventReason, str]:
    if key.thumbprint in revoked:
        return EventReason.KEY_DISTRUSTED, "it was revoked; its tokens are refused"
    if not key.is_trusted:
        return EventReason.KEY_WITHDRAWN, "it is no longer served, and was never trusted"
    if rules.policy in ("Pin", "Approve") and key.thumbprint not in rules.approved:
        return (
            EventReason.KEY_DISTRUSTED,
            f"it is not served, and policy {rules.policy} keeps approved keys only",
        )
    why = "another key has taken its kid" if is_replaced else "its time is over"
    return EventReason.KEY_RETIRED, f"it is no longer served, and {why}"
