# SPDX-License-Identifier: Apache-2.0
"""Desk tokens: their claims built, and read again by the very type that they were built with.

One function makes the claims of a token and of what introspection answers about it, and the gate reads them
by the same type: a claim that only one of them knew would be one that is not enforced.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from watchword.identity import Grant, Identity, VerifiedClaims
from watchword.identity.desk_claims import (
    AGENT_SUBJECT,
    DESK_KID_PREFIX,
    DESK_TOKEN_TYPE,
    GRANT_TYPE,
    MAX_DETAILS,
    DeskClaims,
    DeskGrant,
    DeskKind,
    DeskMember,
    DeskOrigin,
    encode_desk_claims,
    read_desk_claims,
    scope_of,
    workload_subject,
)

DESK_ALGORITHM: Final = "ES256"
# In front of a DeskClient's name in `sub`: no workload's subject begins so, whatever a client is called.
CLIENT_PREFIX: Final = "client:"

__all__ = [
    "CLIENT_PREFIX",
    "DESK_ALGORITHM",
    "DESK_KID_PREFIX",
    "DESK_TOKEN_TYPE",
    "GRANT_TYPE",
    "MAX_DETAILS",
    "DeskClaims",
    "DeskGrant",
    "DeskKind",
    "DeskMember",
    "DeskOrigin",
    "admin_claims",
    "agent_claims",
    "desk_kid",
    "desk_token_header",
    "encode_desk_claims",
    "origin_of",
    "read_desk_claims",
    "scope_of",
    "workload_claims",
    "workload_subject",
]


def desk_kid(thumbprint: str) -> str:
    """The `kid` of a desk's key: what no issuer may serve, and then the key's RFC 7638 thumbprint."""
    return DESK_KID_PREFIX + thumbprint


def desk_token_header(kid: str) -> bytes:
    """The JOSE header of a desk token (RFC 9068, section 2.1), as JSON."""
    return msgspec.json.encode({"alg": DESK_ALGORITHM, "typ": DESK_TOKEN_TYPE, "kid": kid})


def origin_of(identity: Identity, claims: VerifiedClaims) -> DeskOrigin:
    """The origin of a desk token, from the verified token that it is to be issued for.

    Args:
        identity: who holds that token, as `watchword.identity.verify` found.
        claims: what it says.
    """
    account, pod = claims.service_account, claims.pod
    return DeskOrigin(
        issuer=identity.issuer,
        subject=identity.subject,
        service_account_uid=account.uid if account is not None else "",
        pod=pod.name if pod is not None else "",
        pod_uid=pod.uid if pod is not None else "",
        token_id=identity.token_id,
        iat=claims.issued_at or 0,
        key=identity.key_thumbprint,
    )


def workload_claims(
    *,
    issuer: str,
    audience: str,
    origin: DeskOrigin,
    grants: Iterable[Grant],
    token_id: str,
    issued_at: int,
    expires_at: int,
    purpose: str | None = None,
) -> DeskClaims:
    """The claims of a workload's desk token. What may be granted was decided before.

    Args:
        issuer: the desk's issuer URL.
        audience: the service's derived audience.
        origin: the workload's own token.
        grants: what the token allows.
        token_id: its `jti`, unique over all of the desk's tokens.
        issued_at: in whole seconds since the epoch.
        expires_at: in whole seconds since the epoch; never beyond the end of the workload's own token.
        purpose: the purpose that it is for; None: none.

    Raises:
        ValueError: the origin is no ServiceAccount's, or a grant has no scope, or there are too many.
    """
    subject = workload_subject(origin.issuer, origin.subject)
    if not subject:
        raise ValueError("the origin's subject is not a ServiceAccount's")
    details = _details(grants)
    return DeskClaims(
        issuer=issuer,
        subject=subject,
        audience=audience,
        client_id=subject,
        scope=scope_of(details),
        token_id=token_id,
        issued_at=issued_at,
        expires_at=expires_at,
        details=details,
        purpose=purpose,
        watchword=DeskMember("workload", origin),
    )


def admin_claims(
    *, issuer: str, audience: str, client: str, token_id: str, issued_at: int, expires_at: int
) -> DeskClaims:
    """The claims of an admin client's token: for the desk itself, and with no grant of any service.

    Args:
        issuer: the desk's issuer URL.
        audience: the desk's own derived audience, which no service can have.
        client: the DeskClient's name.
        token_id: its `jti`.
        issued_at: in whole seconds since the epoch.
        expires_at: in whole seconds since the epoch.
    """
    subject = CLIENT_PREFIX + client
    return DeskClaims(
        issuer=issuer,
        subject=subject,
        audience=audience,
        client_id=subject,
        scope="",
        token_id=token_id,
        issued_at=issued_at,
        expires_at=expires_at,
        details=(),
        watchword=DeskMember("admin"),
    )


def agent_claims(
    *,
    issuer: str,
    audience: str,
    subject: str,
    grants: Iterable[Grant],
    token_id: str,
    issued_at: int,
    expires_at: int,
) -> DeskClaims:
    """The claims of an agent's desk token: no other token stands behind it, so it has no origin.

    Args:
        issuer: the desk's issuer URL.
        audience: the service's derived audience.
        subject: `agent:<registration>`.
        grants: what the token allows; the service's ceiling must allow it as well.
        token_id: its `jti`, unique over all of the desk's tokens.
        issued_at: in whole seconds since the epoch.
        expires_at: in whole seconds since the epoch.

    Raises:
        ValueError: the subject is no agent's, or a grant has no scope, or there are too many.
    """
    if AGENT_SUBJECT.fullmatch(subject) is None:
        raise ValueError("the subject is not an agent's")
    details = _details(grants)
    return DeskClaims(
        issuer=issuer,
        subject=subject,
        audience=audience,
        client_id=subject,
        scope=scope_of(details),
        token_id=token_id,
        issued_at=issued_at,
        expires_at=expires_at,
        details=details,
        watchword=DeskMember("agent"),
    )


def _details(grants: Iterable[Grant]) -> tuple[DeskGrant, ...]:
    details = tuple(
        DeskGrant(GRANT_TYPE, tuple(each.scopes), tuple(each.accounts), tuple(each.projects))
        for each in grants
    )
    if len(details) > MAX_DETAILS or not all(each.actions for each in details):
        raise ValueError(f"a token has at most {MAX_DETAILS} grants, and each has a scope")
    return details
