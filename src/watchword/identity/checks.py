# SPDX-License-Identifier: Apache-2.0
"""The ordered checks 4 to 15, as one tuple that reads like the table in the docs.

Each is a few lines: it looks at one attempt and a policy, and returns nothing or a refusal. The order is
the promise: nothing a token says is used before its signature holds, and the first refusal is the answer.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from watchword.identity.claims import VerifiedClaims, quoted, read_claims
from watchword.identity.compact import UnverifiedToken
from watchword.identity.jwk import ALGORITHMS
from watchword.identity.policy import PinnedKey, Policy, Workload
from watchword.identity.reasons import Reason, Refusal
from watchword.identity.signature import signature_holds
from watchword.identity.subject import Subject, parse_subject

# The first seven can change what is verified, or with which key (RFC 7515, section 4.1; RFC 7797; RFC 7516).
REFUSED_HEADERS: Final = frozenset(
    {"crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "x5t", "x5t#S256", "enc"}
)


class Attempt:
    """One token on its way through the checks. Each attribute is set by the check that proves it."""

    __slots__ = ("claims", "now", "pinned", "subject", "token", "workload")

    def __init__(self, token: UnverifiedToken, now: float) -> None:
        self.token = token
        self.now = now
        self.pinned: PinnedKey
        self.claims: VerifiedClaims
        self.subject: Subject
        self.workload: Workload


class Check(NamedTuple):
    """One line of the table.

    Attributes:
        number: its place in the order.
        name: what must be true, in a few words.
        reasons: the refusals that it can give.
        run: the check itself.
    """

    number: int
    name: str
    reasons: tuple[Reason, ...]
    run: Callable[[Attempt, Policy], Refusal | None]


def _header(attempt: Attempt, _: Policy) -> Refusal | None:
    """RFC 8725, sections 3.1 and 3.10: an allowed algorithm, and no parameter that brings its own key."""
    header = attempt.token.header
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        return Refusal(Reason.UNSUPPORTED_ALGORITHM, "alg is not one of RS256, ES256, ES384, ES512.")
    if not REFUSED_HEADERS.isdisjoint(header):
        name = min(REFUSED_HEADERS.intersection(header))
        return Refusal(Reason.UNSUPPORTED_HEADER, f"The header parameter {name} is never honored.")
    if "typ" in header and header["typ"] != "JWT":
        return Refusal(Reason.UNSUPPORTED_HEADER, "typ is neither absent nor JWT.")
    return None


def _key(attempt: Attempt, policy: Policy) -> Refusal | None:
    """RFC 8725, section 3.1: the algorithm belongs to the key, and the key to an issuer."""
    kid = attempt.token.header.get("kid")
    if not isinstance(kid, str) or not kid:
        return Refusal(Reason.MISSING_KEY_ID)
    pinned = policy.keys.get(kid)
    if pinned is None:
        return Refusal(Reason.UNKNOWN_KEY)
    if attempt.token.header["alg"] != pinned.key.algorithm:
        return Refusal(Reason.UNSUPPORTED_ALGORITHM, "alg does not fit the pinned key that kid names.")
    if pinned.key.algorithm not in pinned.issuer.algorithms:
        return Refusal(Reason.UNSUPPORTED_ALGORITHM, "The issuer of this key does not allow its algorithm.")
    attempt.pinned = pinned
    return None


def _signature(attempt: Attempt, _: Policy) -> Refusal | None:
    """RFC 7515, section 5.2."""
    token = attempt.token
    if signature_holds(attempt.pinned.key, token.signed, token.signature):
        return None
    return Refusal(Reason.BAD_SIGNATURE)


def _claims(attempt: Attempt, _: Policy) -> Refusal | None:
    """RFC 7519, section 4: the signed bytes are parsed now, and only these bytes."""
    claims = read_claims(attempt.token.payload)
    if isinstance(claims, Refusal):
        return claims
    attempt.claims = claims
    return None


def _issuer(attempt: Attempt, _: Policy) -> Refusal | None:
    """RFC 8725, section 3.8: the key's issuer must be who the token says issued it, byte for byte."""
    issuer = attempt.claims.issuer
    if issuer in attempt.pinned.issuer.urls:
        return None
    said = "The token has no iss" if issuer is None else f"The token says iss {quoted(issuer)}"
    return Refusal(Reason.WRONG_ISSUER, f"{said}, which is not the URL of the issuer that holds its key.")


def _audience(attempt: Attempt, policy: Policy) -> Refusal | None:
    """RFC 7519, section 4.1.3; RFC 8725, section 3.9."""
    claims = attempt.claims
    if not policy.audiences.isdisjoint(claims.audience):
        return None
    wanted = " or ".join(f"`{audience}`" for audience in sorted(policy.audiences))
    if claims.issuer in claims.audience:
        # The API server's own audience is its issuer URL: this is the token that every pod has by default.
        hint = f"The pod sends its default token; mount one with audience {wanted}."
    else:
        hint = f"Mount a projected token whose serviceAccountToken.audience is {wanted}."
    said = ", ".join(quoted(audience) for audience in claims.audience[:4]) or "none"
    return Refusal(Reason.WRONG_AUDIENCE, f"The token's audience is {said}; this service is {wanted}.", hint)


def _times(attempt: Attempt, policy: Policy) -> Refusal | None:
    """RFC 7519, sections 4.1.4 to 4.1.6; RFC 8725bis: bounded lifetime."""
    claims, now, skew = attempt.claims, attempt.now, policy.clock_skew_seconds
    issued_at, expires_at = claims.issued_at, claims.expires_at
    if issued_at is None or expires_at is None:
        return Refusal(Reason.MISSING_TIME, f"The token has no {'iat' if issued_at is None else 'exp'}.")
    if issued_at > now + skew:
        return Refusal(
            Reason.ISSUED_IN_FUTURE, f"iat is {issued_at - now:.0f} s ahead; {skew} s are allowed."
        )
    if claims.not_before is not None and claims.not_before > now + skew:
        return Refusal(
            Reason.NOT_YET_VALID, f"nbf is {claims.not_before - now:.0f} s ahead; {skew} s are allowed."
        )
    if expires_at + skew <= now:
        return Refusal(Reason.EXPIRED, f"exp was {now - expires_at:.0f} s ago.")
    lifetime = expires_at - issued_at
    if lifetime > policy.max_lifetime_seconds:
        allowed = policy.max_lifetime_seconds
        return Refusal(
            Reason.LIFETIME_TOO_LONG, f"The token lives for {lifetime:.0f} s; {allowed} s are allowed."
        )
    return None


def _subject(attempt: Attempt, _: Policy) -> Refusal | None:
    """Kubernetes, "Authenticating": system:serviceaccount:<namespace>:<name>."""
    subject = parse_subject(attempt.claims.subject or "")
    if subject is None:
        return Refusal(Reason.NOT_A_SERVICE_ACCOUNT)
    attempt.subject = subject
    return None


def _kubernetes_claims(attempt: Attempt, _: Policy) -> Refusal | None:
    """Kubernetes v1.36, pkg/serviceaccount/claims.go: the same names, a second time."""
    said, subject = attempt.claims.kubernetes, attempt.subject
    account = said.service_account if said is not None else None
    if said is None or account is None or said.namespace is None:
        return Refusal(Reason.INCONSISTENT_CLAIMS, "The kubernetes.io claims are missing.")
    if said.namespace != subject.namespace or account.name != subject.name or not account.uid:
        return Refusal(Reason.INCONSISTENT_CLAIMS)
    return None


def _binding(attempt: Attempt, policy: Policy) -> Refusal | None:
    """KEP-1205: a token bound to a pod ends with it, as far as the issuing cluster is concerned."""
    if policy.binding != "Pod":
        return None
    said = attempt.claims.kubernetes
    pod = said.pod if said is not None else None
    if pod is None or not pod.name or not pod.uid:
        return Refusal(Reason.NOT_BOUND)
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
        return Refusal(Reason.REVOKED)
    workload = policy.workloads.get((issuer.name, claims.subject or ""))
    if workload is not None and workload.live_uid is not None and workload.live_uid != account_uid:
        return Refusal(Reason.STALE_IDENTITY)
    return None


def _trust(attempt: Attempt, policy: Policy) -> Refusal | None:
    """The subject of *that* issuer: the same namespace and name in another cluster is another workload."""
    issuer_name, subject = attempt.pinned.issuer.name, attempt.claims.subject or ""
    workload = policy.workloads.get((issuer_name, subject))
    if workload is None:
        return Refusal(
            Reason.UNKNOWN_WORKLOAD, f"{subject} of issuer {issuer_name} is not trusted by this service."
        )
    if workload.suspended:
        return Refusal(Reason.SUSPENDED)
    if workload.expires_at is not None and workload.expires_at <= attempt.now:
        return Refusal(Reason.TRUST_EXPIRED)
    attempt.workload = workload
    return None


CHECKS: Final[tuple[Check, ...]] = (
    Check(
        4,
        "the header asks for nothing unusual",
        (Reason.UNSUPPORTED_ALGORITHM, Reason.UNSUPPORTED_HEADER),
        _header,
    ),
    Check(
        5,
        "the key is pinned",
        (Reason.MISSING_KEY_ID, Reason.UNKNOWN_KEY, Reason.UNSUPPORTED_ALGORITHM),
        _key,
    ),
    Check(6, "the signature holds", (Reason.BAD_SIGNATURE,), _signature),
    Check(7, "the claims are well-formed", (Reason.MALFORMED_CLAIMS,), _claims),
    Check(8, "the issuer is the key's", (Reason.WRONG_ISSUER,), _issuer),
    Check(9, "the audience is this service", (Reason.WRONG_AUDIENCE,), _audience),
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
    ),
    Check(11, "the subject is a ServiceAccount", (Reason.NOT_A_SERVICE_ACCOUNT,), _subject),
    Check(12, "the Kubernetes claims agree", (Reason.INCONSISTENT_CLAIMS,), _kubernetes_claims),
    Check(13, "the token is bound to a pod", (Reason.NOT_BOUND,), _binding),
    Check(14, "nothing was revoked", (Reason.REVOKED, Reason.STALE_IDENTITY), _revocation),
    Check(
        15,
        "the workload is trusted",
        (Reason.UNKNOWN_WORKLOAD, Reason.SUSPENDED, Reason.TRUST_EXPIRED),
        _trust,
    ),
)
