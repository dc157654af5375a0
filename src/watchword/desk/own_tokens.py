# SPDX-License-Identifier: Apache-2.0
"""Tokens that come back to the desk: is this one of its own, and is it still good?

The first question needs the desk's keys only, and is all that a revocation asks. The second is answered by
the checks of the gates, run on the bundle that gates run, so that introspection can never say more than they
do.
"""

import msgspec

from watchword.desk.grant_request import GrantRequest
from watchword.desk.narrowing import narrow
from watchword.desk.own_signature import own_payload
from watchword.desk.refusals import DeskRefusal
from watchword.desk.state import DeskState, Target
from watchword.identity import EncodingError, Identity, Refusal, parse_json_object, verify
from watchword.identity.compact import parse_compact
from watchword.trust import held_grants
from watchword.trust.desk_tokens import (
    DESK_TOKEN_TYPE,
    GRANT_TYPE,
    MAX_DETAILS,
    DeskClaims,
    DeskGrant,
    encode_desk_claims,
    read_desk_claims,
    scope_of,
)


def read_own_token(token: str, state: DeskState) -> DeskClaims | None:
    """The claims of a token that this desk signed, whether it has ended or not; None: it is none.

    Args:
        token: what the caller sent.
        state: what the desk runs.
    """
    payload = own_payload(token, DESK_TOKEN_TYPE, state)
    claims = None if payload is None else read_desk_claims(payload)
    return claims if isinstance(claims, DeskClaims) and claims.issuer == state.issuer else None


def target_named_by(token: str, state: DeskState) -> Target | None:
    """The target whose rules are to judge a token: the one that it says to be for. Proves nothing.

    Args:
        token: what the caller sent.
        state: what the desk runs.
    """
    unverified = parse_compact(token.encode("utf-8", "replace"))
    if isinstance(unverified, Refusal) or unverified.header.get("kid") not in state.own_keys:
        return None
    try:
        audience = parse_json_object(unverified.payload).get("aud")
    except EncodingError:
        return None
    return state.by_audience.get(audience) if isinstance(audience, str) else None


class GoodToken(msgspec.Struct, frozen=True):
    """A token of the desk that a gate of its service would take. Its repr shows nothing of it.

    Attributes:
        claims: what it says.
        valid_until: when it ends, or the trust in its workload, in seconds since the epoch.
        answer: of an introspection, as JSON: no more than the workload still may; empty: it may nothing.
    """

    claims: DeskClaims
    valid_until: float
    answer: bytes

    def __repr__(self) -> str:
        return "GoodToken()"


def still_good(token: str, target: Target, issuer: str, now: float) -> GoodToken | None:
    """A desk token that a gate of its service would take now; None: it would not.

    What was revoked at the desk itself is not looked at here; the store knows it.

    Args:
        token: the compact JWS.
        target: the service that it is for.
        issuer: the desk's issuer URL.
        now: seconds since the epoch.
    """
    decision = verify(token.encode("utf-8", "replace"), target.ruleset.policy, now)
    if not isinstance(decision, Identity) or decision.desk is None or decision.desk.issuer != issuer:
        return None
    allowed = as_still_allowed(decision.desk, decision)
    return GoodToken(
        decision.desk,
        min(decision.desk.expires_at, decision.valid_until),
        b"" if allowed is None else introspection_of(allowed),
    )


def as_still_allowed(claims: DeskClaims, identity: Identity) -> DeskClaims | None:
    """The claims with no more in them than their workload allows by now; None: nothing is left.

    A gate decides by both, the token and the workload; a resource server that asks is told what both allow.
    """
    request = GrantRequest(claims.grants, is_short=False)
    if not isinstance(narrow(identity.grants, request), DeskRefusal):
        return claims
    details = tuple(
        DeskGrant(GRANT_TYPE, each.scopes, each.accounts, each.projects) for each in held_grants(identity)
    )[:MAX_DETAILS]
    return msgspec.structs.replace(claims, details=details, scope=scope_of(details)) if details else None


def introspection_of(claims: DeskClaims) -> bytes:
    """The answer of an introspection about an active token (RFC 7662, section 2.2), as JSON: its very claims.

    Made of the bytes that are signed, by the type that they are made with: a claim that only the token or
    only the answer had would be one that someone does not enforce.
    """
    return b'{"active":true,"token_type":"Bearer",' + encode_desk_claims(claims).removeprefix(b"{")
