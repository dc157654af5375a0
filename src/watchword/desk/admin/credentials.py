# SPDX-License-Identifier: Apache-2.0
"""Client credentials (RFC 6749, section 4.4), for admin clients alone: a token for the admin API only.

The token says its kind, and the store keeps for which version of the client's object it was issued; both must
hold on each call. A name that is also a user's, a workload's or another client's therefore opens nothing.
"""

from typing import Any, Final

import msgspec

from watchword.desk import audit_events
from watchword.desk.admin.standing import AdminStanding, have_one_spec, version_of
from watchword.desk.audit_events import RequestFacts
from watchword.desk.clients import Client
from watchword.desk.forms import Form
from watchword.desk.lifetimes import lifetime_of
from watchword.desk.minting import SigningKey
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, not_ready, refuse
from watchword.desk.state import DeskState
from watchword.desk.store import Issue
from watchword.trust.api.v1alpha1 import ADMIN_TYPES
from watchword.trust.desk_tokens import CLIENT_PREFIX, DeskClaims, admin_claims

CLIENT_CREDENTIALS: Final = "client_credentials"
# What the store has in place of a service: the token is for the desk itself.
NO_SERVICE: Final = ""
_GRANTS: Final = ("scope", "account", "project", "authorization_details", "purpose", "subject_token")


class AdminToken(msgspec.Struct, frozen=True):
    """A token that is to be written and handed out. Its repr shows no token."""

    token: str
    claims: DeskClaims
    operation: Issue

    def document(self, now: float) -> dict[str, Any]:
        """What its client is told (RFC 6749, section 5.1); `now` in seconds since the epoch."""
        lifetime = max(0, int(self.claims.expires_at - now))
        return {"access_token": self.token, "token_type": "Bearer", "expires_in": lifetime}

    def __repr__(self) -> str:
        return f"AdminToken(subject={self.claims.subject!r})"


def refuse_grants(form: Form) -> DeskRefusal | None:
    """The refusal of a form that asks for a grant; None: it asks for none."""
    asked = [name for name in _GRANTS if form.one(name) is not None]
    asked += [name for name in ("audience", "resource") if form.all(name)]
    if not asked:
        return None
    detail = f"The parameter {asked[0]} asks for a grant, and a token of client credentials has none."
    return refuse(DeskReason.ADMIN_TOKEN_HAS_NO_GRANTS, detail)


def mint_admin_token(
    client: Client,
    standing: AdminStanding,
    state: DeskState,
    *,
    signing: SigningKey,
    facts: RequestFacts,
    token_id: str,
    credential_ends: float,
    provider: str = "",
) -> AdminToken | DeskRefusal:
    """Make the token of an admin client, or say why there is none.

    Args:
        client: who proved to be it.
        standing: whether it is an admin, as read just now.
        state: what the desk runs.
        signing: its key.
        facts: of the request.
        token_id: the token's `jti`.
        credential_ends: when what the client proved itself by ends, in seconds since the epoch; the token
            does not outlive it. Infinity: it was good once and does not say more.
        provider: where a person signed in; empty: it is no person.
    """
    subject = CLIENT_PREFIX + client.name
    if client.type not in ADMIN_TYPES:
        detail = "A resource server has no grant of its own: it introspects, and workloads exchange."
        return refuse(DeskReason.CLIENT_NOT_ALLOWED, detail, subject=subject)
    if standing.problem:
        return refuse(DeskReason.NOT_AN_ADMIN_CLIENT, internal=standing.problem, subject=subject)
    known = [version_of(each) for each in state.client_objects if each.metadata.name == client.name]
    if not any(have_one_spec(standing.version, each) for each in known):
        # What it proved itself by is of an earlier version of the object: the new one may ask for another.
        internal = "the DeskClient was changed a moment ago"
        return not_ready(internal=internal, subject=subject)
    lifetime = lifetime_of(
        facts.at,
        subject_ends=credential_ends,
        lifetime_seconds=state.lifetime_seconds,
        max_lifetime_seconds=state.max_lifetime_seconds,
    )
    if lifetime is None:
        return refuse(DeskReason.TOKEN_ENDS_TOO_SOON, subject=subject)
    claims = admin_claims(
        issuer=state.issuer,
        audience=state.audience,
        client=client.name,
        token_id=token_id,
        issued_at=lifetime.issued_at,
        expires_at=lifetime.expires_at,
    )
    token = signing.sign(claims)
    if token is None:
        return refuse(DeskReason.TOKEN_WOULD_BE_TOO_LARGE, subject=subject)
    event = audit_events.admin_token_issued(facts, claims, standing.granted_by, signing.kid, provider)
    operation = Issue(
        token_id=token_id,
        subject=subject,
        service=NO_SERVICE,
        issued_at=claims.issued_at,
        expires_at=claims.expires_at,
        event=event,
        kind=claims.kind,
        version=standing.version,
    )
    return AdminToken(token, claims, operation)
