# SPDX-License-Identifier: Apache-2.0
"""The checks of the table as they run for a desk token, where they differ from a cluster's.

A desk token is one more statement about the same workload, so from check 11 on the very same checks run on
its origin: the ServiceAccount token that it was issued for. What ends that one ends this one.
"""

from watchword.identity.attempt import Attempt
from watchword.identity.claims import KubernetesClaims, ObjectReference, VerifiedClaims, quoted
from watchword.identity.desk_claims import (
    AGENT_SUBJECT,
    DESK_TOKEN_TYPE,
    DeskClaims,
    DeskOrigin,
    read_desk_claims,
    workload_subject,
)
from watchword.identity.desk_remedies import EXCHANGE_AGAIN, REGISTER
from watchword.identity.policy import Desk, Policy, Workload
from watchword.identity.reasons import Reason, Refusal
from watchword.identity.subject import parse_subject


def desk_key(attempt: Attempt, policy: Policy) -> Refusal | None:
    """RFC 9068, section 4: the type belongs to the key, and this key to a desk."""
    kid = attempt.token.header.get("kid")
    if not isinstance(kid, str) or not kid:
        return Refusal(Reason.MISSING_KEY_ID)
    desk = policy.desk
    named = desk.keys.get(kid) if desk is not None else None
    if named is None:
        if desk is None or kid in policy.keys:
            return not_a_desk_key(policy)
        return Refusal(Reason.UNKNOWN_KEY, "", EXCHANGE_AGAIN)
    if named[0].key.algorithm != attempt.token.header["alg"]:
        return Refusal(Reason.UNSUPPORTED_ALGORITHM, "alg does not fit the desk's key that kid names.")
    attempt.candidates = named
    return None


def not_a_desk_key(policy: Policy) -> Refusal:
    """The answer to a token that says to be a desk's, where the key says otherwise or there is no desk."""
    if policy.desk is None:
        detail = (
            f"typ is {DESK_TOKEN_TYPE}: it is an access token, as a token desk issues them, and this service "
            "names no TokenDesk."
        )
        hint = (
            "Send the pod's own projected token. To accept the tokens of a desk, the service's owner sets "
            f"spec.tokenDeskRef of the ProtectedService {policy.service}."
        )
        return Refusal(Reason.UNSUPPORTED_HEADER, detail, hint)
    detail = f"typ {DESK_TOKEN_TYPE} is a desk token's, and the key that kid names is a cluster's."
    return Refusal(Reason.UNSUPPORTED_HEADER, detail)


def key_of_desk() -> Refusal:
    """The answer to a token that a desk's key signed, and that does not say to be a desk's."""
    detail = f"The key that kid names is a desk's, and typ is not {DESK_TOKEN_TYPE}."
    return Refusal(Reason.UNSUPPORTED_HEADER, detail, "Send the access token as the desk issued it.")


def desk_claims(attempt: Attempt, _: Policy) -> Refusal | None:
    """RFC 9068, section 2.2: the signed bytes are parsed now, strictly."""
    claims = read_desk_claims(attempt.token.payload)
    if isinstance(claims, Refusal):
        return claims
    attempt.desk, attempt.claims = claims, own_claims(claims)
    return None


def own_claims(claims: DeskClaims) -> VerifiedClaims:
    """What a desk token says itself of what every token says."""
    return VerifiedClaims(
        audience=(claims.audience,),
        expires_at=claims.expires_at,
        issued_at=claims.issued_at,
        issuer=claims.issuer,
        token_id=claims.token_id,
        subject=claims.subject,
    )


def desk_issuer(attempt: Attempt, _: Policy) -> Refusal | None:
    """RFC 9068, section 4: `iss` is the desk's, byte for byte; a key that was taken back ends its tokens."""
    pinned, issuer = attempt.candidates[0], attempt.claims.issuer
    if issuer not in pinned.issuer.urls:
        detail = f"The token says iss {quoted(issuer or '')}, which is not the URL of the desk of its key."
        return Refusal(Reason.WRONG_ISSUER, detail, EXCHANGE_AGAIN)
    attempt.pinned = pinned
    if pinned.is_revoked:
        return Refusal(Reason.REVOKED, "The desk's key that signed it was revoked.", EXCHANGE_AGAIN)
    return None


def desk_audience(attempt: Attempt, policy: Policy) -> Refusal | None:
    """RFC 9068, section 4, and the kind before it: a token of another kind is never told to try again."""
    claims, desk = _proven(attempt, policy)
    if claims.kind != "workload" and not _is_agents(claims, desk):
        taken = "those of workloads" if desk.agents is None else "those of workloads and agents"
        detail = f"The token is of the kind {claims.kind}; this service takes {taken}."
        hint = (
            f"The service's owner lets agents in by spec.agents of the ProtectedService {policy.service}."
            if claims.kind == "agent"
            else ""
        )
        return Refusal(Reason.WRONG_TOKEN_KIND, detail, hint)
    if claims.audience not in desk.audiences:
        wanted = " or ".join(f"`{audience}`" for audience in sorted(desk.audiences))
        detail = f"The desk token's audience is {quoted(claims.audience)}; this service is {wanted}."
        return Refusal(Reason.WRONG_AUDIENCE, detail, f"Ask the desk for a token with audience {wanted}.")
    return None


def desk_subject(attempt: Attempt, policy: Policy) -> Refusal | None:
    """Whose token it was issued for; what follows is asked of that one."""
    claims, desk = _proven(attempt, policy)
    if _is_agents(claims, desk):
        # What the token says itself is all that there is: no other token stands behind it.
        if AGENT_SUBJECT.fullmatch(claims.subject) is None:
            return Refusal(Reason.INCONSISTENT_CLAIMS, "sub is not the registration of an agent.", REGISTER)
        return None
    origin = _origin(claims)
    subject = parse_subject(origin.subject)
    if subject is None:
        return Refusal(Reason.NOT_A_SERVICE_ACCOUNT, "The token's origin is not a ServiceAccount.")
    attempt.subject = subject
    attempt.claims = VerifiedClaims(
        issued_at=origin.iat,
        token_id=origin.token_id,
        kubernetes=KubernetesClaims(
            namespace=subject.namespace,
            pod=ObjectReference(origin.pod, origin.pod_uid) if origin.pod_uid else None,
            service_account=ObjectReference(subject.name, origin.service_account_uid),
        ),
        subject=origin.subject,
    )
    return None


def desk_agreement(attempt: Attempt, policy: Policy) -> Refusal | None:
    """`sub` and `client_id` say the same workload as the origin does."""
    claims, desk = _proven(attempt, policy)
    if _is_agents(claims, desk):
        if claims.client_id != claims.subject:
            detail = "client_id does not name the agent that sub names."
            return Refusal(Reason.INCONSISTENT_CLAIMS, detail, REGISTER)
        return None
    origin = _origin(claims)
    expected = workload_subject(origin.issuer, origin.subject)
    if claims.subject != expected or claims.client_id != expected:
        detail = "sub and client_id do not name the workload that the token's origin names."
        return Refusal(Reason.INCONSISTENT_CLAIMS, detail, EXCHANGE_AGAIN)
    return None


def desk_origin_key(attempt: Attempt, policy: Policy) -> Refusal | None:
    """The key that signed the origin is still its issuer's: a key that left takes all with it."""
    claims, desk = _proven(attempt, policy)
    if _is_agents(claims, desk):
        return None
    origin = _origin(claims)
    pinned = desk.origin_keys.get((origin.issuer, origin.key))
    if pinned is None:
        detail = (
            "The token that was exchanged is signed with a key that is not pinned for the issuer "
            f"{quoted(origin.issuer)} now."
        )
        return Refusal(Reason.ORIGIN_KEY_UNKNOWN, detail)
    attempt.pinned = pinned
    if pinned.is_revoked:
        detail = f"The key that signed the token's origin was revoked by the issuer {pinned.issuer.name}."
        return Refusal(Reason.REVOKED, detail, "Get a token that the cluster signs with another key first.")
    return None


def is_of_agent(attempt: Attempt, policy: Policy) -> bool:
    """Whether a desk token, whose kind was judged, speaks for an agent."""
    claims, desk = _proven(attempt, policy)
    return _is_agents(claims, desk)


def agent_trust(attempt: Attempt, policy: Policy) -> Refusal | None:
    """An agent is trusted with the service's ceiling, which the token's own grants are measured against."""
    claims, desk = _proven(attempt, policy)
    if desk.agents is None or claims.purpose is not None:
        detail = "A token of an agent has no purpose, and this one names one."
        return Refusal(Reason.WRONG_PURPOSE, detail, REGISTER)
    attempt.workload = Workload(name=claims.subject, grants=(desk.agents,))
    return None


def desk_purpose(attempt: Attempt, policy: Policy) -> Refusal | None:
    """The workload may still have tokens for this purpose."""
    claims, desk = _proven(attempt, policy)
    purpose = claims.purpose
    if purpose is not None and purpose not in desk.purposes.get(attempt.workload.name, ()):
        detail = f"The calling workload may have no token for the purpose {purpose} any more."
        name = attempt.workload.name
        hint = (
            f"The service's owner adds {purpose} to spec.purposes of the TrustedWorkload {name}; or ask the "
            "desk for a token without it."
        )
        return Refusal(Reason.WRONG_PURPOSE, detail, hint)
    return None


def _proven(attempt: Attempt, policy: Policy) -> tuple[DeskClaims, Desk]:
    assert attempt.desk is not None  # noqa: S101 - check 7 set it
    assert policy.desk is not None  # noqa: S101 - check 5 found a key of it
    return attempt.desk, policy.desk


def _origin(claims: DeskClaims) -> DeskOrigin:
    assert claims.origin is not None  # noqa: S101 - only a workload's token passes check 9, and it has one
    return claims.origin


def _is_agents(claims: DeskClaims, desk: Desk) -> bool:
    return claims.kind == "agent" and desk.agents is not None
