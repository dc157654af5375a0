# SPDX-License-Identifier: Apache-2.0
"""A token, a policy and a time in; an identity or a refusal out.

`verify` is what every request pays for. `examine` runs the very same checks and keeps what each one said:
an explanation that came from a second implementation would sooner or later explain something else.
"""

from collections.abc import Callable
from enum import Enum

import msgspec

from watchword.identity.attempt import Attempt
from watchword.identity.caller import Identity
from watchword.identity.checks import CHECKS
from watchword.identity.claims import VerifiedClaims
from watchword.identity.compact import UnverifiedToken, parse_compact
from watchword.identity.desk_checks import own_claims
from watchword.identity.desk_claims import DESK_TOKEN_TYPE, DeskClaims
from watchword.identity.policy import PinnedKey, Policy
from watchword.identity.reasons import Proven, Refusal

Run = Callable[[Attempt, Policy], Refusal | None]
_RUNS = tuple((check.number, check.run) for check in CHECKS)
_DESK_RUNS = tuple((check.number, check.run_for_desk or check.run) for check in CHECKS)
_SIGNATURE_CHECK, _AUDIENCE_CHECK = 6, 9
# Before it, a token may be anyone's; the workload's own state is all that it looks at.
_WORKLOAD_CHECK = 15
# A name of Kubernetes has at most 253 characters; an issuer may sign longer ones.
_MAX_PROVEN = 512


def verify(token: bytes, policy: Policy, now: float) -> Identity | Refusal:
    """Decide who is calling (checks 3 to 15).

    Args:
        token: the Bearer token's bytes.
        policy: what the service asks of a token.
        now: seconds since the epoch.

    Returns:
        The identity, or the first refusal, with what is proven of the caller once the signature held. Never
        raises for bad input.
    """
    unverified = parse_compact(token)
    if isinstance(unverified, Refusal):
        return unverified
    attempt = Attempt(unverified, now)
    for number, run in _RUNS if "typ" not in unverified.header else _runs(unverified):
        refusal = run(attempt, policy)
        if refusal is not None:
            # Inline: a flood of bad signatures pays for no call more.
            return _proven(refusal, number, attempt, policy) if number > _SIGNATURE_CHECK else refusal
    return _identity(attempt, policy)


def is_signed(token: bytes, policy: Policy) -> bool:
    """Whether a key that the policy knows signed a token, whatever it says (checks 3 to 6).

    Revoked keys count: their tokens are credentials of someone's all the same.

    Args:
        token: the token's bytes.
        policy: what holds the keys.
    """
    return _passes(token, policy, _SIGNATURE_CHECK)


def is_for_service(token: bytes, policy: Policy) -> bool:
    """Whether a key that the policy knows signed a token for the service (checks 3 to 9).

    Its times and its workload do not matter: it may be valid, or trusted, a moment later.

    Args:
        token: the token's bytes.
        policy: what holds the keys and the audiences.
    """
    return _passes(token, policy, _AUDIENCE_CHECK)


def _passes(token: bytes, policy: Policy, last: int) -> bool:
    """Whether a token passes the checks up to the last one, none of which looks at a time."""
    unverified = parse_compact(token)
    if isinstance(unverified, Refusal):
        return False
    attempt = Attempt(unverified, 0.0)
    runs = _RUNS if "typ" not in unverified.header else _runs(unverified)
    return all(run(attempt, policy) is None for number, run in runs if number <= last)


def _runs(token: UnverifiedToken) -> tuple[tuple[int, Run], ...]:
    """The checks that a token asks for by its type; whether it may is for the check of the key."""
    return _DESK_RUNS if token.header["typ"] == DESK_TOKEN_TYPE else _RUNS


class Outcome(Enum):
    """What became of one check."""

    PASSED = "pass"
    FAILED = "fail"
    NOT_REACHED = "not reached"


class Examined(msgspec.Struct, frozen=True):
    """One line of an explanation.

    Attributes:
        number: the check's place in the order.
        name: what must be true.
        outcome: whether it was.
        refusal: why not, where it failed.
    """

    number: int
    name: str
    outcome: Outcome
    refusal: Refusal | None = None


class Examination(msgspec.Struct, frozen=True):
    """A decision with its whole story.

    Attributes:
        decision: what `verify` would have said.
        checks: every check from 3 to 15, in order.
        claims: what the token says, once its signature held; else None.
        desk: what it says besides, where it is a desk's; else None.
    """

    decision: Identity | Refusal
    checks: tuple[Examined, ...]
    claims: VerifiedClaims | None
    desk: DeskClaims | None = None


SHAPE_CHECK = (3, "the token is a compact JWS")


def examine(token: bytes, policy: Policy, now: float) -> Examination:
    """Decide as `verify` does, and tell the outcome of each check.

    Args:
        token: the Bearer token's bytes.
        policy: what the service asks of a token.
        now: seconds since the epoch.
    """
    table = [SHAPE_CHECK, *((check.number, check.name) for check in CHECKS)]
    unverified = parse_compact(token)
    attempt: Attempt | None = None
    refusal: Refusal | None
    if isinstance(unverified, Refusal):
        refusal, failed = unverified, SHAPE_CHECK[0]
    else:
        attempt, refusal, failed = Attempt(unverified, now), None, 0
        for failed, run in _RUNS if "typ" not in unverified.header else _runs(unverified):
            refusal = run(attempt, policy)
            if refusal is not None:
                refusal = _proven(refusal, failed, attempt, policy) if failed > _SIGNATURE_CHECK else refusal
                break
    desk = attempt.desk if attempt is not None else None
    claims: VerifiedClaims | None = getattr(attempt, "claims", None) if desk is None else own_claims(desk)
    if refusal is None and attempt is not None:
        passed = tuple(Examined(number, name, Outcome.PASSED) for number, name in table)
        return Examination(_identity(attempt, policy), passed, claims, desk)
    assert refusal is not None  # noqa: S101 - for the type checker: without a refusal, the branch above returned
    lines = tuple(
        Examined(number, name, Outcome.PASSED)
        if number < failed
        else Examined(number, name, Outcome.FAILED, refusal)
        if number == failed
        else Examined(number, name, Outcome.NOT_REACHED)
        for number, name in table
    )
    return Examination(refusal, lines, claims, desk)


def _proven(refusal: Refusal, number: int, attempt: Attempt, policy: Policy) -> Refusal:
    """The refusal by a check behind the signature's, with who was refused."""
    claims: VerifiedClaims | None = getattr(attempt, "claims", None)
    pinned: PinnedKey | None = getattr(attempt, "pinned", None)
    holders = attempt.candidates if pinned is None else (pinned,)
    if all(each.is_revoked for each in holders):
        # The holder of a leaked key can sign any name with it.
        return refusal
    # Until the signed `iss` was looked at, several issuers may hold the key: which of them is not proven.
    issuer = holders[0].issuer.name if len(holders) == 1 else ""
    key = holders[0].key.thumbprint
    if claims is None:
        return msgspec.structs.replace(refusal, proven=Proven(issuer, key))
    subject, pod = claims.subject or "", claims.pod
    token_id = claims.token_id if attempt.desk is None else attempt.desk.token_id
    known = policy.workloads.get((issuer, subject)) if number >= _WORKLOAD_CHECK else None
    proven = Proven(
        issuer,
        key,
        subject[:_MAX_PROVEN],
        (token_id or "")[:_MAX_PROVEN],
        pod.name[:_MAX_PROVEN] if pod is not None else "",
        known.name if known is not None else "",
    )
    return Refusal(refusal.reason, refusal.detail, refusal.hint, proven)


def _identity(attempt: Attempt, policy: Policy) -> Identity:
    if attempt.desk is not None:
        return _identity_by_desk(attempt, attempt.desk, policy)
    claims, workload, pinned = attempt.claims, attempt.workload, attempt.pinned
    # Check 10 made sure of both times; a token that lacked one never gets here.
    issued_at, expires_at = claims.issued_at or 0.0, claims.expires_at or 0.0
    valid_from = max(issued_at, claims.not_before or issued_at) - policy.clock_skew_seconds
    valid_until = expires_at if workload.expires_at is None else min(expires_at, workload.expires_at)
    pod = claims.pod
    return Identity(
        issuer=pinned.issuer.name,
        subject=claims.subject or "",
        workload=workload.name,
        grants=workload.grants,
        token_id=claims.token_id or "",
        key_thumbprint=pinned.key.thumbprint,
        pod=pod.name if pod is not None else "",
        valid_from=valid_from,
        valid_until=valid_until,
    )


def _identity_by_desk(attempt: Attempt, desk: DeskClaims, policy: Policy) -> Identity:
    """The origin's workload, for as long as the desk token and the workload's trust last."""
    workload, pod, expires_at = attempt.workload, attempt.claims.pod, float(desk.expires_at)
    return Identity(
        issuer=attempt.pinned.issuer.name,
        subject=attempt.claims.subject or "",
        workload=workload.name,
        grants=workload.grants,
        token_id=desk.token_id,
        # Of the key that signed what was presented; the origin's own is in the claims.
        key_thumbprint=attempt.candidates[0].key.thumbprint,
        pod=pod.name if pod is not None else "",
        valid_from=float(desk.issued_at) - policy.clock_skew_seconds,
        valid_until=expires_at if workload.expires_at is None else min(expires_at, workload.expires_at),
        desk=desk,
    )
