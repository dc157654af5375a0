# SPDX-License-Identifier: Apache-2.0
"""When a desk's signing keys are made, sign, retire and go. Pure: keys and a time in, the next steps out.

No gap: a key is in the bundles ten minutes before it signs, which is longer than a kubelet takes to bring a
mounted bundle up to date; and it stays in them until the last token that it can have signed has ended. One
bundle that cannot be written stops no rotation: its gates refuse the new key's tokens, and say so.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from watchword.trust.api.v1alpha1.status import DeskKeyStatus
from watchword.trust.desks import DeskKeys
from watchword.trust.timestamps import rfc3339

LEAD_SECONDS: Final = 600.0
# The longest life that a TokenDesk can allow, the largest skew that a service can, and as much again for a
# desk that is late.
RETIRE_SECONDS: Final = 3600.0 + 300.0 + 300.0


class HeldKey(msgspec.Struct, frozen=True):
    """A signing key as its Secret says; the private part is in none of these.

    Attributes:
        kid: its id, `wd-` and the thumbprint.
        thumbprint: RFC 7638.
        jwk: the public key.
        made_at: seconds since the epoch.
        signs_from: from when on it may sign.
        revoked_at: when it was revoked; its private part is gone since. None: it was not.
    """

    kid: str
    thumbprint: str
    jwk: Mapping[str, Any]
    made_at: float
    signs_from: float
    revoked_at: float | None = None


class Steps(msgspec.Struct, frozen=True):
    """What is to be done now.

    Attributes:
        make: from when on a new key signs; None: none is to be made.
        revoke: keys that were revoked and whose private part is still there.
        drop: keys of which no token can live any more.
        look_again_at: when the next step may be due, at the latest.
    """

    make: float | None
    revoke: tuple[HeldKey, ...]
    drop: tuple[HeldKey, ...]
    look_again_at: float


def next_steps(
    held: Iterable[HeldKey],
    rotate_seconds: float,
    now: float,
    *,
    revoked: frozenset[str] = frozenset(),
    of_other_stores: frozenset[str] = frozenset(),
) -> Steps:
    """What is to be done about a desk's keys.

    Args:
        held: all of them.
        rotate_seconds: for how long a key signs.
        now: seconds since the epoch.
        revoked: thumbprints of keys that the desk's admins took back.
        of_other_stores: kids of keys that signed for a store that is not the desk's any more: it does not
            know what it issued by them, nor what was revoked of it.
    """
    keys = list(held)
    taken_back = [
        each
        for each in keys
        if each.revoked_at is None and (each.thumbprint in revoked or each.kid in of_other_stores)
    ]
    live = [each for each in keys if each.revoked_at is None and each not in taken_back]
    signing = signing_key(live, now)
    pending = [each for each in live if each.signs_from > now]
    times = [each.signs_from for each in pending]
    drop = []
    for each in keys:
        end = _end_of(each, live, now)
        if end is not None and end <= now:
            drop.append(each)
        elif end is not None:
            times.append(end)
    make: float | None = None
    if signing is None and not pending:
        # Nothing signs: waiting would help no one. The desk uses it once the bundles have it.
        make = now
    elif signing is not None and not pending:
        due = signing.signs_from + rotate_seconds - LEAD_SECONDS
        if due <= now:
            make = now + LEAD_SECONDS
        else:
            times.append(due)
    return Steps(make, tuple(taken_back), tuple(drop), min(times, default=now + LEAD_SECONDS))


def signing_key(live: Iterable[HeldKey], now: float) -> HeldKey | None:
    """The newest key whose time has come, of those that are not revoked."""
    ready = [each for each in live if each.revoked_at is None and each.signs_from <= now]
    return max(ready, key=lambda each: (each.signs_from, each.kid), default=None)


def public_keys(held: Iterable[HeldKey], revoked: frozenset[str] = frozenset()) -> DeskKeys:
    """What bundles say of these keys: those that were taken back stay known, so that it can be said."""
    ordered = sorted(held, key=lambda each: each.kid)
    trusted = [each for each in ordered if each.revoked_at is None and each.thumbprint not in revoked]
    return DeskKeys(
        tuple(dict(each.jwk) for each in trusted),
        tuple(dict(each.jwk) for each in ordered if each not in trusted),
    )


def key_statuses(held: Iterable[HeldKey], now: float) -> tuple[DeskKeyStatus, ...]:
    """What a TokenDesk's status says of its keys, newest first."""
    keys = list(held)
    signing = signing_key(keys, now)
    found = []
    for each in sorted(keys, key=lambda key: (-key.signs_from, key.kid)):
        if each.revoked_at is not None:
            found.append(_status(each, "Revoked", each.revoked_at))
        elif each is signing:
            found.append(_status(each, "Signing", each.signs_from))
        elif each.signs_from > now:
            found.append(_status(each, "Published", each.made_at))
        else:
            found.append(_status(each, "Retiring", _superseded_at(each, keys, now) or each.signs_from))
    return tuple(found)


def _status(key: HeldKey, state: Any, since: float) -> DeskKeyStatus:
    return DeskKeyStatus(kid=key.kid, thumbprint=key.thumbprint, state=state, since=rfc3339(since))


def _superseded_at(key: HeldKey, live: Iterable[HeldKey], now: float) -> float | None:
    """When a later key took over; None: none did yet."""
    later = [
        each.signs_from
        for each in live
        if each.revoked_at is None and key.signs_from < each.signs_from <= now
    ]
    return min(later, default=None)


def _end_of(key: HeldKey, live: list[HeldKey], now: float) -> float | None:
    """From when on no token by this key can be alive; None: it may still sign."""
    since = key.revoked_at if key.revoked_at is not None else _superseded_at(key, live, now)
    return None if since is None else since + RETIRE_SECONDS
