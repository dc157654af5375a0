# SPDX-License-Identifier: Apache-2.0
"""Claims of a desk token whose signature held: an access token (RFC 9068) with the member `watchword`.

Only a desk writes them, so they are read without any leniency: a member that is not known could be a
restriction, and a claim that is there twice or says two things is refused. What `scope` says is said by
`authorization_details` (RFC 9396) again, and must agree with it.
"""

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from watchword.identity.encoding import EncodingError, parse_json_object
from watchword.identity.policy import Grant
from watchword.identity.reasons import Reason, Refusal
from watchword.identity.subject import parse_subject

# RFC 9068, section 2.1. Nothing but a desk token has it, and every desk token does.
DESK_TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 - the value of a header parameter
# The operator's own key ids; no issuer may serve such a key.
DESK_KID_PREFIX: Final = "wd-"
GRANT_TYPE: Final = "watchword_grant"
MAX_DETAILS: Final = 32
# An agent's registration at a desk; no ServiceAccount and no TrustedWorkload can have such a name.
AGENT_SUBJECT: Final = re.compile(r"agent:reg_[0-9a-f]{32}")
_MAX_TIME: Final = float(2**53)

DeskKind = Literal["workload", "client", "agent", "admin"]
_Names = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
_Text = Annotated[str, Meta(min_length=1, max_length=1024)]


class DeskGrant(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One entry of `authorization_details`. An absent list means what it means in a `Grant`; none is empty.

    Attributes:
        type: `watchword_grant`.
        actions: the scopes.
        accounts: the accounts that they hold for.
        projects: the projects that they hold for.
    """

    type: Literal["watchword_grant"]
    actions: _Names
    accounts: _Names = ()
    projects: _Names = ()


class DeskOrigin(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The verified token that a desk token was issued for; what is revoked of it ends the desk token too.

    Attributes:
        issuer: the name of the ClusterTrustedIssuer.
        subject: `system:serviceaccount:<namespace>:<name>`.
        service_account_uid: the ServiceAccount's UID.
        pod: the pod's name, or the empty string where the token is bound to none.
        pod_uid: the pod's UID, or the empty string.
        token_id: the token's `jti`, or the empty string.
        iat: when it was issued, in seconds since the epoch.
        key: the RFC 7638 thumbprint of the key that signed it.
    """

    issuer: _Text
    subject: _Text
    service_account_uid: _Text
    pod: str
    pod_uid: str
    token_id: str
    iat: int | float
    key: Annotated[str, Meta(min_length=43, max_length=43)]


class DeskMember(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """The private member `watchword`.

    Attributes:
        kind: what the token speaks for; only a `workload` has an origin.
        origin: the workload's own token.
    """

    kind: DeskKind
    origin: DeskOrigin | None = None


class DeskClaims(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What a desk token says, in the order in which a desk writes it.

    Attributes:
        issuer: `iss`: the desk's issuer URL.
        subject: `sub`, its kind in front, such as `workload:<issuer>:<namespace>:<name>`.
        audience: `aud`: the one service's derived audience.
        client_id: `client_id`; for a workload the same as `sub`.
        scope: `scope`: all actions of the details, in order, each once, with one space between.
        token_id: `jti`.
        issued_at: `iat`, seconds since the epoch.
        expires_at: `exp`, seconds since the epoch.
        details: `authorization_details`.
        purpose: `purpose`; None: none.
        watchword: the kind and the origin.
    """

    issuer: _Text = msgspec.field(name="iss")
    subject: _Text = msgspec.field(name="sub")
    audience: _Text = msgspec.field(name="aud")
    client_id: _Text
    scope: str
    token_id: _Text = msgspec.field(name="jti")
    issued_at: int = msgspec.field(name="iat")
    expires_at: int = msgspec.field(name="exp")
    details: Annotated[tuple[DeskGrant, ...], Meta(max_length=MAX_DETAILS)] = msgspec.field(
        name="authorization_details"
    )
    purpose: Annotated[str, Meta(pattern=r"\A[a-z0-9-]{1,64}\Z")] | None = None
    watchword: DeskMember

    @property
    def kind(self) -> DeskKind:
        """What the token speaks for."""
        return self.watchword.kind

    @property
    def origin(self) -> DeskOrigin | None:
        """The workload's own token that it was issued for."""
        return self.watchword.origin

    @property
    def grants(self) -> tuple[Grant, ...]:
        """What the token allows by itself; its workload must allow it as well."""
        return tuple(Grant(each.actions, each.accounts, each.projects) for each in self.details)


_decode: Final = msgspec.json.Decoder(DeskClaims).decode
_encode: Final = msgspec.json.Encoder().encode


def encode_desk_claims(claims: DeskClaims) -> bytes:
    """The payload of a desk token with these claims: the same bytes for the same claims."""
    return _encode(claims)


def read_desk_claims(payload: bytes) -> DeskClaims | Refusal:
    """Read the claims of a payload that a desk's key signed (check 7).

    Args:
        payload: the decoded second part of a verified token.

    Returns:
        The claims, or `malformed_claims`. Never raises for bad input.
    """
    claims = _read_as_written(payload)
    if claims is None:
        try:
            claims = msgspec.convert(parse_json_object(payload), DeskClaims)
        except EncodingError as problem:
            return Refusal(Reason.MALFORMED_CLAIMS, f"The payload is {problem}.")
        except (msgspec.ValidationError, OverflowError, RecursionError) as problem:
            return Refusal(Reason.MALFORMED_CLAIMS, f"A claim is not a desk token's: {problem}.")
    origin = claims.origin
    times = (claims.issued_at, claims.expires_at, origin.iat if origin is not None else 0)
    if not all(-_MAX_TIME < each < _MAX_TIME for each in times):
        return Refusal(Reason.MALFORMED_CLAIMS, "A time is none that a clock can show.")
    if claims.scope != scope_of(claims.details):
        return Refusal(Reason.MALFORMED_CLAIMS, "scope does not say what authorization_details says.")
    if (origin is not None) != (claims.kind == "workload"):
        return Refusal(Reason.MALFORMED_CLAIMS, "A token has an origin if it speaks for a workload.")
    return claims


def scope_of(details: tuple[DeskGrant, ...]) -> str:
    """The value of `scope`: all actions, sorted, each once (RFC 6749, section 3.3)."""
    return " ".join(sorted({action for each in details for action in each.actions}))


def workload_subject(issuer: str, subject: str) -> str:
    """The `sub` of a workload's desk token; the empty string where the origin's is no ServiceAccount.

    Args:
        issuer: the name of the ClusterTrustedIssuer.
        subject: `system:serviceaccount:<namespace>:<name>`.
    """
    account = parse_subject(subject)
    return "" if account is None else f"workload:{issuer}:{account.namespace}:{account.name}"


def _read_as_written(payload: bytes) -> DeskClaims | None:
    # Where re-encoding gives the very same bytes, no name was repeated and none is unknown.
    try:
        claims = _decode(payload)
        return claims if _encode(claims) == payload else None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
