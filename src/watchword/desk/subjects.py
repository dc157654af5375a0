# SPDX-License-Identifier: Apache-2.0
"""Who asks: a projected ServiceAccount token for the desk, judged by the very checks that gates run.

It is judged twice. First by what any of the desk's services would accept, before a word is said about a
target: a stranger learns of no service. Then by the target's own rules, of which a proven workload learns
what concerns its own token, and that this target is nothing for it, for whichever reason.
"""

from typing import Final

import msgspec

from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, refuse, refuse_subject_token
from watchword.identity import (
    CHECKS,
    EncodingError,
    Identity,
    Policy,
    Refusal,
    VerifiedClaims,
    parse_json_object,
)
from watchword.identity.attempt import Attempt
from watchword.identity.compact import UnverifiedToken, parse_compact
from watchword.identity.desk_claims import DESK_KID_PREFIX, DESK_TOKEN_TYPE, workload_subject

_KEY, _CLAIMS, _KUBERNETES, _REVOCATION = 5, 7, 12, 14
_BY_NUMBER: Final = {check.number: check.run for check in CHECKS}
_FIRST: Final = tuple(check.run for check in CHECKS if check.number <= _KUBERNETES)
_OF_CLIENT: Final = tuple(check.run for check in CHECKS if check.number <= _REVOCATION)
_AFTER_CLAIMS: Final = tuple(check.run for check in CHECKS if check.number > _CLAIMS)


class ProvenToken(msgspec.Struct, frozen=True):
    """A token whose signature, audience and times hold. Its repr shows whose it is, and nothing of it.

    Attributes:
        token: the parts of the token.
        claims: what it says.
        issuer: the name of the ClusterTrustedIssuer.
        key_thumbprint: of the key that signed it.
        subject: `workload:<issuer>:<namespace>:<name>`.
    """

    token: UnverifiedToken
    claims: VerifiedClaims
    issuer: str
    key_thumbprint: str
    subject: str

    def __repr__(self) -> str:
        return f"ProvenToken(subject={self.subject!r})"


def prove(token: str, policy: Policy, now: float, *, is_client: bool = False) -> ProvenToken | DeskRefusal:
    """Check a token by what any service of the desk would accept.

    Args:
        token: the compact JWS.
        policy: the keys of all issuers that the desk's services rely on, the desk's audiences, and no
            workloads.
        now: seconds since the epoch.
        is_client: no service will judge it: it must be bound to a pod, and nothing of it be revoked.

    Returns:
        The proven token, or the first refusal, with the code of the gates' check that failed.
    """
    unverified = parse_compact(token.encode("utf-8", "replace"))
    if isinstance(unverified, Refusal):
        return refuse_subject_token(unverified)
    if _is_desk_token(unverified):
        return refuse(DeskReason.DESK_TOKEN_AS_SUBJECT)
    attempt = Attempt(unverified, now)
    for run in _OF_CLIENT if is_client else _FIRST:
        refusal = run(attempt, policy)
        if refusal is not None:
            return refuse_subject_token(refusal)
    claims, pinned = attempt.claims, attempt.pinned
    subject = workload_subject(pinned.issuer.name, claims.subject or "")
    if len(claims.audience) != 1:
        return refuse(DeskReason.SEVERAL_AUDIENCES, subject=subject)
    if _is_bound_to_a_key(unverified.payload):
        return refuse(DeskReason.CONFIRMATION_NOT_SUPPORTED, subject=subject)
    return ProvenToken(unverified, claims, pinned.issuer.name, pinned.key.thumbprint, subject)


def identify(proven: ProvenToken, policy: Policy, now: float) -> Identity | DeskRefusal:
    """Check a proven token by the rules of the service that it asks about, but for its signature.

    Args:
        proven: from `prove`.
        policy: of the target, with the desk's audiences in place of its own.
        now: seconds since the epoch.

    Returns:
        The identity with its grants; `target_unavailable` where the service does not trust this workload, or
        relies on no such key; or what is wrong with the workload's own token or trust.
    """
    subject = proven.subject
    if (proven.issuer, proven.claims.subject or "") not in policy.workloads:
        return refuse(
            DeskReason.TARGET_UNAVAILABLE, internal="the service does not trust it", subject=subject
        )
    attempt = Attempt(proven.token, now)
    refusal = _BY_NUMBER[_KEY](attempt, policy)
    if refusal is None:
        # Of several keys of one kid, the one that signed: proven already, by its thumbprint.
        attempt.candidates = tuple(
            each for each in attempt.candidates if each.key.thumbprint == proven.key_thumbprint
        )
    if refusal is not None or not attempt.candidates:
        internal = "the service relies on no such key"
        return refuse(DeskReason.TARGET_UNAVAILABLE, internal=internal, subject=subject)
    attempt.claims = proven.claims
    for run in _AFTER_CLAIMS:
        refusal = run(attempt, policy)
        if refusal is not None:
            return refuse_subject_token(refusal, subject)
    return _identity(attempt, policy)


def _identity(attempt: Attempt, policy: Policy) -> Identity:
    claims, workload, pod = attempt.claims, attempt.workload, attempt.claims.pod
    # The checks made sure of both times. No clock skew here: a new token ends when this one says it does.
    issued_at, expires_at = claims.issued_at or 0.0, claims.expires_at or 0.0
    return Identity(
        issuer=attempt.pinned.issuer.name,
        subject=claims.subject or "",
        workload=workload.name,
        grants=workload.grants,
        token_id=claims.token_id or "",
        key_thumbprint=attempt.pinned.key.thumbprint,
        pod=pod.name if pod is not None else "",
        valid_from=max(issued_at, claims.not_before or issued_at) - policy.clock_skew_seconds,
        valid_until=expires_at if workload.expires_at is None else min(expires_at, workload.expires_at),
    )


def _is_desk_token(token: UnverifiedToken) -> bool:
    """Whether a token says that it is a desk's: of this desk or of any other one."""
    kind, kid = token.header.get("typ"), token.header.get("kid")
    # RFC 7515, section 4.1.9: media types are compared without case, `application/` may be left out.
    says_so = isinstance(kind, str) and kind.lower().removeprefix("application/") == DESK_TOKEN_TYPE
    return says_so or (isinstance(kid, str) and kid.startswith(DESK_KID_PREFIX))


def _is_bound_to_a_key(payload: bytes) -> bool:
    """Whether the signed bytes hold `cnf` (RFC 7800); a name may be written with escapes."""
    if b"cnf" not in payload and b"\\u" not in payload:
        return False
    try:
        return "cnf" in parse_json_object(payload)
    except EncodingError:
        return True
