# SPDX-License-Identifier: Apache-2.0
"""A token exchange (RFC 8693), decided: a workload's own token in, the claims of a narrower one out.

Pure: a form, the desk's state and a time. The order is the promise: the form, then who asks, then the target,
then what is asked for; nothing about targets or grants is said to a caller whose token does not hold.
"""

from typing import Final

import msgspec

from watchword.desk.forms import Form
from watchword.desk.grant_request import GrantRequest, read_grant_request, read_purpose
from watchword.desk.lifetimes import lifetime_of
from watchword.desk.narrowing import narrow
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.desk.state import DeskState, Target
from watchword.desk.subjects import ProvenToken, identify
from watchword.trust.desk_tokens import DeskClaims, origin_of, workload_claims

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_TYPE: Final = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name, not a secret


class ExchangeRequest(msgspec.Struct, frozen=True):
    """What a form asks for. Its repr shows the target only.

    Attributes:
        subject_token: the compact JWS.
        audience: as the caller wrote it.
        grant: what the token is to allow.
        purpose: what it is for; the empty string: nothing in particular.
        client_id: what the caller calls itself; None: nothing.
        issued_type: the type that the answer says (RFC 8693, section 2.2.1).
    """

    subject_token: str
    audience: str
    grant: GrantRequest
    purpose: str
    client_id: str | None
    issued_type: str

    def __repr__(self) -> str:
        return f"ExchangeRequest(audience={self.audience!r})"


class Exchange(msgspec.Struct, frozen=True):
    """A decided exchange.

    Attributes:
        claims: of the token that is to be signed.
        target: the service that it is for.
        workload: `namespace/name` of the TrustedWorkload that it is narrower than.
        issued_type: the type that the answer says.
    """

    claims: DeskClaims
    target: Target
    workload: str
    issued_type: str


def read_exchange(form: Form) -> ExchangeRequest | DeskRefusal:
    """Read the form of a token exchange. Never raises for bad input."""
    for name in ("actor_token", "actor_token_type"):
        if form.one(name) is not None:
            return refuse(DeskReason.ACTOR_NOT_SUPPORTED)
    subject_token = form.required("subject_token")
    if isinstance(subject_token, DeskRefusal):
        return subject_token
    subject_type = form.required("subject_token_type")
    if isinstance(subject_type, DeskRefusal):
        return subject_type
    if subject_type != JWT_TYPE:
        return refuse(DeskReason.UNSUPPORTED_SUBJECT_TYPE)
    requested = form.one("requested_token_type") or ACCESS_TOKEN_TYPE
    if requested not in (ACCESS_TOKEN_TYPE, JWT_TYPE):
        return refuse(DeskReason.UNSUPPORTED_REQUESTED_TYPE)
    if form.all("resource"):
        return refuse(DeskReason.RESOURCE_NOT_SUPPORTED)
    audiences = form.all("audience")
    if not audiences:
        return refuse(DeskReason.MISSING_PARAMETER, "The parameter audience is missing or empty.")
    if len(audiences) > 1:
        return refuse(DeskReason.SEVERAL_TARGETS)
    grant = read_grant_request(form)
    if isinstance(grant, DeskRefusal):
        return grant
    purpose = read_purpose(form)
    if isinstance(purpose, DeskRefusal):
        return purpose
    return ExchangeRequest(subject_token, audiences[0], grant, purpose, form.one("client_id"), requested)


def decide_exchange(
    request: ExchangeRequest, proven: ProvenToken, state: DeskState, now: float, token_id: str
) -> Exchange | DeskRefusal:
    """Decide whether a workload gets the token that it asks for.

    Args:
        request: from `read_exchange`.
        proven: its subject token, from `prove` with the state's `anyone`.
        state: what the desk runs.
        now: seconds since the epoch.
        token_id: the `jti` that the token would have.

    Returns:
        The claims that are to be signed, or why not.
    """
    if request.client_id in state.clients.by_name:
        # Any other name proves nothing and changes nothing: clients of the RFCs send one of their own.
        detail = "client_id names a client of the desk, which has to prove that it is it."
        return refuse(DeskReason.INVALID_CLIENT, detail, subject=proven.subject)
    target = state.target_of(request.audience)
    if target is None:
        internal = "no such service names this desk"
        return refuse(DeskReason.TARGET_UNAVAILABLE, internal=internal, subject=proven.subject)
    identity = identify(proven, target.subjects, now)
    if isinstance(identity, DeskRefusal):
        return identity
    grants = narrow(identity.grants, request.grant)
    if isinstance(grants, DeskRefusal):
        return msgspec.structs.replace(grants, subject=proven.subject)
    if request.purpose and request.purpose not in target.purposes.get(identity.workload, frozenset()):
        return refuse(DeskReason.PURPOSE_NOT_ALLOWED, subject=proven.subject)
    lifetime = lifetime_of(
        now,
        subject_ends=identity.valid_until,
        lifetime_seconds=state.lifetime_seconds,
        max_lifetime_seconds=state.max_lifetime_seconds,
    )
    if lifetime is None:
        return refuse(DeskReason.TOKEN_ENDS_TOO_SOON, subject=proven.subject)
    claims = workload_claims(
        issuer=state.issuer,
        audience=target.audience,
        origin=origin_of(identity, proven.claims),
        grants=grants,
        token_id=token_id,
        issued_at=lifetime.issued_at,
        expires_at=lifetime.expires_at,
        purpose=request.purpose or None,
    )
    return Exchange(claims, target, identity.workload, request.issued_type)
