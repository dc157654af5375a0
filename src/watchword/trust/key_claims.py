# SPDX-License-Identifier: Apache-2.0
"""Whose key it is, where several issuers hold the same one and say the same `iss`.

Keys are public, so any cluster can serve another's. The mistake to prevent is an answer that puts another
cluster out: only the one key is ever in dispute, and no age of an object decides anything.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from watchword.identity import MAX_KEYS_OF_KID

# An issuer's next key is public before that issuer's own answer is read here, so a cluster that copies it can
# seem to hold it first, by one interval between two answers. A claim that is an hour older than the other
# does not come of that; a younger one is new to both, and waits for a person.
NEW_SECONDS: Final = 3600.0


class Claim(msgspec.Struct, frozen=True):
    """One key that one issuer holds, or took back.

    Attributes:
        issuer: the ClusterTrustedIssuer's name.
        urls: the `iss` values that it speaks for.
        kid: the key's name.
        thumbprint: the key.
        is_approved: a person wrote it down: inline, or in `spec.rotation.approved`.
        held_since: when this issuer was first trusted with it, in unix seconds; None: that is not known.
        is_revoked: a person took it back. The claim gives its issuer nothing, and keeps the key from a copy.
        is_kept: its issuer cannot use it now. The claim gives it nothing either, and keeps its place.
    """

    issuer: str
    urls: frozenset[str]
    kid: str
    thumbprint: str
    is_approved: bool = False
    held_since: float | None = None
    is_revoked: bool = False
    is_kept: bool = False


class Dispute(msgspec.Struct, frozen=True):
    """A key that is left out of one issuer.

    Attributes:
        claim: whose key is left out.
        other: the issuer that has it, or that wants it too; empty where too many keys have its kid.
        is_lost: the other one has it; else neither does.
    """

    claim: Claim
    other: str
    is_lost: bool


def disputes(claims: Iterable[Claim]) -> list[Dispute]:
    """The claims that do not stand, each once, in the order of the claims.

    Of two with one `iss`, what a person approved or revoked comes first, then who held it first; where that
    does not decide, neither stands. Of more than four different keys of one kid, the first key of each issuer
    comes before any issuer's second one.
    """
    given = list(claims)
    by_key: dict[str, list[Claim]] = {}
    for claim in given:
        by_key.setdefault(claim.thumbprint, []).append(claim)
    found: dict[int, Dispute] = {}
    for place, claim in enumerate(given):
        conflicting = [
            each
            for each in by_key[claim.thumbprint]
            if each.issuer != claim.issuer and not claim.urls.isdisjoint(each.urls)
        ]
        unbeaten = [each for each in conflicting if not _comes_before(claim, each)]
        if unbeaten and _gives(claim):
            winner = next((each for each in unbeaten if _comes_before(each, claim)), None)
            found[place] = Dispute(claim, (winner or unbeaten[0]).issuer, is_lost=winner is not None)
    standing = [claim for place, claim in enumerate(given) if place not in found and _gives(claim)]
    crowded = _crowded(standing)
    for place, claim in enumerate(given):
        if place not in found and _gives(claim) and claim.thumbprint in crowded.get(claim.kid, ()):
            found[place] = Dispute(claim, "", is_lost=False)
    return [found[place] for place in sorted(found)]


def _gives(claim: Claim) -> bool:
    """Whether a claim that stands gives its issuer the key."""
    return not (claim.is_revoked or claim.is_kept)


def rank(claim: Claim) -> tuple[bool, float, str]:
    """What sorts claims of different `iss` for readers that can hold one of them: the firmest first."""
    since = float("inf") if claim.held_since is None else claim.held_since
    return not claim.is_approved, since, claim.issuer


def _comes_before(one: Claim, other: Claim) -> bool:
    firm = (one.is_approved or one.is_revoked, other.is_approved or other.is_revoked)
    if firm[0] != firm[1]:
        return firm[0]
    if one.held_since is None:
        return False
    if other.held_since is None:
        # Who only ever revoked a key puts no one out who was approved and held it.
        return other.is_revoked and not one.is_revoked
    lead = other.held_since - one.held_since
    return lead > 0 if firm[0] else lead >= NEW_SECONDS


def _crowded(claims: list[Claim]) -> dict[str, frozenset[str]]:
    """The keys of each kid that are beyond the bound: no issuer fills it with keys of its own."""
    by_holder: dict[tuple[str, str], list[Claim]] = {}
    for claim in claims:
        by_holder.setdefault((claim.kid, claim.issuer), []).append(claim)
    ranks: dict[str, dict[str, tuple[int, bool, float, str]]] = {}
    for (kid, _), own in by_holder.items():
        known = ranks.setdefault(kid, {})
        for turn, claim in enumerate(sorted(own, key=lambda each: (rank(each), each.thumbprint))):
            place = (turn, *rank(claim))
            known[claim.thumbprint] = min(place, known.get(claim.thumbprint, place))
    return {
        kid: frozenset(sorted(keys, key=lambda key: (keys[key], key))[MAX_KEYS_OF_KID:])
        for kid, keys in ranks.items()
        if len(keys) > MAX_KEYS_OF_KID
    }
