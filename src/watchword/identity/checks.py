# SPDX-License-Identifier: Apache-2.0
"""The ordered checks 4 to 15, as one tuple that reads like the table in the docs.

Each is a few lines: it looks at one attempt and a policy, and returns nothing or a refusal. The order is
the promise: nothing a token says is used before its signature holds, and the first refusal is the answer.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from watchword.identity import remedies
from watchword.identity.attempt import Attempt
from watchword.identity.claims import read_claims
from watchword.identity.desk_checks import (
    agent_trust,
    desk_agreement,
    desk_audience,
    desk_claims,
    desk_issuer,
    desk_key,
    desk_origin_key,
    desk_purpose,
    desk_subject,
    is_of_agent,
    key_of_desk,
    not_a_desk_key,
)
from watchword.identity.desk_claims import DESK_TOKEN_TYPE
from watchword.identity.desk_remedies import for_desk
from watchword.identity.jwk import ALGORITHMS
from watchword.identity.policy import Policy
from watchword.identity.reasons import Reason, Refusal
from watchword.identity.signature import signature_holds
from watchword.identity.subject import parse_subject

# The first seven can change what is verified, or with which key (RFC 7515, section 4.1; RFC 7797; RFC 7516).
REFUSED_HEADERS: Final = frozenset(
    {"crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "x5t", "x5t#S256", "enc"}
)

_BAD_SIGNATURE: Final = Refusal(Reason.BAD_SIGNATURE)


class Check(NamedTuple):
    """One line of the table.

    Attributes:
        number: its place in the order.
        name: what must be true, in a few words.
        reasons: the refusals that it can give.
        run: the check itself.
        run_for_desk: the same line for a token of a desk; None: the very same check.
    """

    number: int
    name: str
    reasons: tuple[Reason, ...]
    run: Callable[[Attempt, Policy], Refusal | None]
    run_for_desk: Callable[[Attempt, Policy], Refusal | None] | None = None


def _header(attempt: Attempt, policy: Policy) -> Refusal | None:
    """RFC 8725, sections 3.1 and 3.10: an allowed algorithm, and no parameter that brings its own key."""
    header = attempt.token.header
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        return remedies.unsupported_algorithm(algorithm)
    if not REFUSED_HEADERS.isdisjoint(header):
        name = min(REFUSED_HEADERS.intersection(header))
        return Refusal(Reason.UNSUPPORTED_HEADER, f"The header parameter {name} is never honored.")
    if "typ" in header and header["typ"] != "JWT":
        if header["typ"] == DESK_TOKEN_TYPE:
            # Whether the key is a desk's is for the next check: it is the key that says so.
            return not_a_desk_key(policy) if policy.desk is None else None
        return remedies.unsupported_type(header["typ"])
    return None


def _key(attempt: Attempt, policy: Policy) -> Refusal | None:
    """RFC 8725, section 3.1: the algorithm belongs to the key, and the key to an issuer."""
    kid = attempt.token.header.get("kid")
    if not isinstance(kid, str) or not kid:
        return Refusal(Reason.MISSING_KEY_ID)
    named = policy.keys.get(kid)
    if named is None:
        if policy.desk is not None and kid in policy.desk.keys:
            return key_of_desk()
        return Refusal(Reason.UNKNOWN_KEY)
    algorithm = attempt.token.header["alg"]
    only = named[0]
    if only is named[-1]:
        # As nearly always: no call more for a token that is not known yet.
        fits, is_allowed = only.key.algorithm == algorithm, algorithm in only.issuer.algorithms
        attempt.candidates = named
    else:
        fitting = [each for each in named if each.key.algorithm == algorithm]
        attempt.candidates = tuple(each for each in fitting if algorithm in each.issuer.algorithms)
        fits, is_allowed = bool(fitting), bool(attempt.candidates)
    if not fits:
        return remedies.algorithm_of_another_key(named)
    if not is_allowed:
        return remedies.algorithm_not_allowed()
    return None


def _signature(attempt: Attempt, _: Policy) -> Refusal | None:
    """RFC 7515, section 5.2: by one of the keys of this kid, of which there are few."""
    token, candidates, tried = attempt.token, attempt.candidates, ""
    if candidates[0] is candidates[-1]:
        # As nearly always: a flood of bad signatures pays for no loop.
        is_good = signature_holds(candidates[0].key, token.signed, token.signature)
        return None if is_good else _BAD_SIGNATURE
    for each in candidates:
        thumbprint = each.key.thumbprint
        if thumbprint == tried:
            continue
        tried = thumbprint
        if signature_holds(each.key, token.signed, token.signature):
            attempt.candidates = tuple(one for one in candidates if one.key.thumbprint == thumbprint)
            return None
    return _BAD_SIGNATURE


def _claims(attempt: Attempt, _: Policy) -> Refusal | None:
    """RFC 7519, section 4: the signed bytes are parsed now, and only these bytes."""
    claims = read_claims(attempt.token.payload)
    if isinstance(claims, Refusal):
        return claims
    attempt.claims = claims
    return None


def _issuer(attempt: Attempt, _: Policy) -> Refusal | None:
    """RFC 8725, section 3.8: an issuer of the key must be who the token says issued it, byte for byte."""
    issuer = attempt.claims.issuer
    for each in attempt.candidates:
        # Those that are revoked come last: one issuer's revocation puts no other one out.
        if issuer in each.issuer.urls:
            attempt.pinned = each
            return remedies.revoked_key(each.issuer) if each.is_revoked else None
    return remedies.wrong_issuer(attempt.claims, attempt.candidates)


def _audience(attempt: Attempt, policy: Policy) -> Refusal | None:
    """RFC 7519, section 4.1.3; RFC 8725, section 3.9."""
    if not policy.audiences.isdisjoint(attempt.claims.audience):
        return None
    return remedies.wrong_audience(attempt.claims, policy)


def _times(attempt: Attempt, policy: Policy) -> Refusal | None:
    """RFC 7519, sections 4.1.4 to 4.1.6; RFC 8725bis: bounded lifetime."""
    claims, now, skew = attempt.claims, attempt.now, policy.clock_skew_seconds
    issued_at, expires_at = claims.issued_at, claims.expires_at
    if issued_at is None or expires_at is None:
        return remedies.missing_time(claims)
    if issued_at > now + skew:
        return remedies.ahead(Reason.ISSUED_IN_FUTURE, "iat", issued_at, now, skew)
    not_before = claims.not_before
    if not_before is not None and not_before > now + skew:
        return remedies.ahead(Reason.NOT_YET_VALID, "nbf", not_before, now, skew)
    if expires_at + skew <= now:
        return remedies.expired(claims, now)
    lifetime = expires_at - issued_at
    if lifetime <= 0:
        return remedies.never_valid()
    if lifetime > policy.max_lifetime_seconds:
        return remedies.lifetime_too_long(lifetime, claims, policy)
    return None


def _subject(attempt: Attempt, _: Policy) -> Refusal | None:
    """Kubernetes, "Authenticating": system:serviceaccount:<namespace>:<name>."""
    subject = parse_subject(attempt.claims.subject or "")
    if subject is None:
        return remedies.not_a_service_account(attempt.claims)
    attempt.subject = subject
    return None


def _kubernetes_claims(attempt: Attempt, _: Policy) -> Refusal | None:
    """Kubernetes v1.36, pkg/serviceaccount/claims.go: the same names, a second time."""
    said, subject = attempt.claims.kubernetes, attempt.subject
    account = said.service_account if said is not None else None
    if (
        said is None
        or account is None
        or said.namespace != subject.namespace
        or account.name != subject.name
        or not account.uid
    ):
        return remedies.inconsistent_claims(attempt.claims, subject)
    return None


def _binding(attempt: Attempt, policy: Policy) -> Refusal | None:
    """KEP-1205: a token bound to a pod ends with it, as far as the issuing cluster is concerned."""
    if policy.binding != "Pod":
        return None
    said = attempt.claims.kubernetes
    pod = said.pod if said is not None else None
    if pod is None or not pod.name or not pod.uid:
        return remedies.not_bound(attempt.claims, policy)
    return None


def _revocation(attempt: Attempt, policy: Policy) -> Refusal | None:
    """What the issuer's owner took back; for this cluster's workloads, whether the account lives."""
    claims, issuer = attempt.claims, attempt.pinned.issuer
    said = claims.kubernetes
    account, pod = (said.service_account, said.pod) if said is not None else (None, None)
    account_uid = account.uid if account is not None else ""
    revoked = issuer.revocations
    if (
        claims.token_id in revoked.token_ids
        or (pod is not None and pod.uid in revoked.pod_uids)
        or account_uid in revoked.service_account_uids
        or (revoked.issued_before is not None and (claims.issued_at or 0.0) < revoked.issued_before)
    ):
        return remedies.revoked(claims, issuer, attempt.now)
    workload = policy.workloads.get((issuer.name, claims.subject or ""))
    if workload is not None and workload.live_uid is not None and workload.live_uid != account_uid:
        return remedies.stale_identity(workload, attempt.subject)
    return None


def _binding_of_origin(attempt: Attempt, policy: Policy) -> Refusal | None:
    """The workload's own token is bound to its pod; an agent has none."""
    return None if is_of_agent(attempt, policy) else _binding(attempt, policy)


def _revocation_of_origin(attempt: Attempt, policy: Policy) -> Refusal | None:
    """Whatever takes back the workload's own token, or the key that signed it, takes back the desk's."""
    if is_of_agent(attempt, policy):
        return None
    return desk_origin_key(attempt, policy) or _revocation(attempt, policy)


def _trust_of_origin(attempt: Attempt, policy: Policy) -> Refusal | None:
    if is_of_agent(attempt, policy):
        return agent_trust(attempt, policy)
    return _trust(attempt, policy) or desk_purpose(attempt, policy)


def _trust(attempt: Attempt, policy: Policy) -> Refusal | None:
    """The subject of *that* issuer: the same namespace and name in another cluster is another workload."""
    issuer_name, subject = attempt.pinned.issuer.name, attempt.claims.subject or ""
    workload = policy.workloads.get((issuer_name, subject))
    if workload is None:
        return remedies.unknown_workload(issuer_name, attempt.subject, policy)
    if workload.suspended:
        return remedies.suspended(workload)
    if workload.expires_at is not None and workload.expires_at <= attempt.now:
        return remedies.trust_expired(workload)
    attempt.workload = workload
    return None


CHECKS: Final[tuple[Check, ...]] = (
    Check(
        4,
        "the header asks for nothing unusual",
        (Reason.UNSUPPORTED_ALGORITHM, Reason.UNSUPPORTED_HEADER),
        _header,
        for_desk(_header),
    ),
    Check(
        5,
        "the key is pinned",
        (
            Reason.MISSING_KEY_ID,
            Reason.UNKNOWN_KEY,
            Reason.UNSUPPORTED_ALGORITHM,
            Reason.UNSUPPORTED_HEADER,
        ),
        _key,
        for_desk(desk_key),
    ),
    Check(6, "the signature holds", (Reason.BAD_SIGNATURE,), _signature, for_desk(_signature)),
    Check(7, "the claims are well-formed", (Reason.MALFORMED_CLAIMS,), _claims, for_desk(desk_claims)),
    Check(8, "the issuer is the key's", (Reason.WRONG_ISSUER, Reason.REVOKED), _issuer, desk_issuer),
    Check(
        9,
        "the audience is this service",
        (Reason.WRONG_AUDIENCE, Reason.WRONG_TOKEN_KIND),
        _audience,
        desk_audience,
    ),
    Check(
        10,
        "the times are right",
        (
            Reason.MISSING_TIME,
            Reason.ISSUED_IN_FUTURE,
            Reason.NOT_YET_VALID,
            Reason.EXPIRED,
            Reason.LIFETIME_TOO_LONG,
        ),
        _times,
        for_desk(_times),
    ),
    Check(
        11,
        "the subject is a ServiceAccount",
        (Reason.NOT_A_SERVICE_ACCOUNT,),
        _subject,
        for_desk(desk_subject),
    ),
    Check(
        12, "the Kubernetes claims agree", (Reason.INCONSISTENT_CLAIMS,), _kubernetes_claims, desk_agreement
    ),
    Check(13, "the token is bound to a pod", (Reason.NOT_BOUND,), _binding, for_desk(_binding_of_origin)),
    Check(
        14,
        "nothing was revoked",
        (Reason.REVOKED, Reason.STALE_IDENTITY, Reason.ORIGIN_KEY_UNKNOWN),
        _revocation,
        for_desk(_revocation_of_origin),
    ),
    Check(
        15,
        "the workload is trusted",
        (Reason.UNKNOWN_WORKLOAD, Reason.SUSPENDED, Reason.TRUST_EXPIRED, Reason.WRONG_PURPOSE),
        _trust,
        _trust_of_origin,
    ),
)
