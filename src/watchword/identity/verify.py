# SPDX-License-Identifier: Apache-2.0
"""A token, a policy and a moment in; an identity or a refusal out.

`verify` is what every request pays for. `examine` runs the very same checks and keeps what each one said:
an explanation that came from a second implementation would sooner or later explain something else.
"""

from enum import Enum

import msgspec

from watchword.identity.checks import CHECKS, Attempt
from watchword.identity.claims import VerifiedClaims
from watchword.identity.compact import parse_compact
from watchword.identity.policy import Identity, Policy
from watchword.identity.reasons import Refusal

_RUNS = tuple(check.run for check in CHECKS)


def verify(token: bytes, policy: Policy, now: float) -> Identity | Refusal:
    """Decide who is calling (checks 3 to 15).

    Args:
        token: the Bearer token's bytes.
        policy: what the service asks of a token.
        now: seconds since the epoch.

    Returns:
        The identity, or the first refusal. Never raises for bad input.
    """
    unverified = parse_compact(token)
    if isinstance(unverified, Refusal):
        return unverified
    attempt = Attempt(unverified, now)
    for run in _RUNS:
        refusal = run(attempt, policy)
        if refusal is not None:
            return refusal
    return _identity(attempt, policy)


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
    """

    decision: Identity | Refusal
    checks: tuple[Examined, ...]
    claims: VerifiedClaims | None


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
        for check in CHECKS:
            refusal, failed = check.run(attempt, policy), check.number
            if refusal is not None:
                break
    claims: VerifiedClaims | None = getattr(attempt, "claims", None)
    if refusal is None and attempt is not None:
        passed = tuple(Examined(number, name, Outcome.PASSED) for number, name in table)
        return Examination(_identity(attempt, policy), passed, claims)
    assert refusal is not None  # noqa: S101 - for the type checker: without a refusal, the branch above returned
    lines = tuple(
        Examined(number, name, Outcome.PASSED)
        if number < failed
        else Examined(number, name, Outcome.FAILED, refusal)
        if number == failed
        else Examined(number, name, Outcome.NOT_REACHED)
        for number, name in table
    )
    return Examination(refusal, lines, claims)


def _identity(attempt: Attempt, policy: Policy) -> Identity:
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
