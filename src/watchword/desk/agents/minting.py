# SPDX-License-Identifier: Apache-2.0
"""May this agent have that token? Decided from its registration, the desk's policy and the service's ceiling.

Pure. The gate decides by the ceiling again; here the caller is told what is wrong while it can still ask for
something else.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from watchword.desk.agents.policy import AgentPolicy
from watchword.desk.agents.reasons import AgentReason
from watchword.desk.agents.records import Person, Registration
from watchword.desk.forms import Form
from watchword.desk.grant_request import GrantRequest, read_grant_request
from watchword.desk.lifetimes import lifetime_of
from watchword.desk.narrowing import narrow
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.desk.state import DeskState, Target
from watchword.identity import Grant
from watchword.trust.desk_tokens import DeskClaims, agent_claims
from watchword.trust.grants import common_grant

# No scope is called so: what allows nothing is kept as this.
NOTHING: Final = "-"
GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class AgentTokenRequest(msgspec.Struct, frozen=True):
    """What an agent asks for. Its repr shows the target only."""

    assertion: str
    audience: str
    grant: GrantRequest

    def __repr__(self) -> str:
        return f"AgentTokenRequest(audience={self.audience!r})"


class AgentToken(msgspec.Struct, frozen=True):
    """A decided token: the claims that are to be signed, and the service that they are for."""

    claims: DeskClaims
    target: Target


def read_agent_request(form: Form) -> AgentTokenRequest | DeskRefusal:
    """Read the form of a token request (RFC 7523, section 2.1). Never raises for bad input."""
    assertion = form.required("assertion")
    if isinstance(assertion, DeskRefusal):
        return assertion
    audiences = form.all("audience")
    if not audiences:
        detail = "The parameter audience is missing or empty: it names the service, as /auth.md lists them."
        return refuse(DeskReason.MISSING_PARAMETER, detail)
    if len(audiences) > 1:
        return refuse(DeskReason.SEVERAL_TARGETS)
    if form.one("purpose") is not None:
        return refuse(
            DeskReason.PURPOSE_NOT_ALLOWED, "An agent's token has no purpose.", remedy="Leave purpose out."
        )
    grant = read_grant_request(form)
    if isinstance(grant, DeskRefusal):
        return grant
    return AgentTokenRequest(assertion, audiences[0], grant)


def held_by(registration: Registration, person: Person | None, policy: AgentPolicy) -> Grant | DeskRefusal:
    """What an agent holds by now, before any service's ceiling.

    Args:
        registration: as the store knows it.
        person: who claimed it; None: no one.
        policy: the desk's.
    """
    subject = registration.accountable
    if registration.state == "unclaimed":
        if registration.kind != "anonymous" or policy.unclaimed is None:
            return refuse(AgentReason.NOT_CLAIMED)
        return policy.unclaimed
    if registration.state != "claimed":
        return refuse(AgentReason.AGENT_ENDED, subject=subject)
    accounts = None if person is None else policy.accounts_by(registration, person.address, person.issuer)
    if registration.provider and policy.provider_of(registration) is None:
        detail = "The agent's provider, or this client of it, is no longer let in."
        remedy = "The desk's operator decides by spec.suspended and spec.clientIDs of the AgentProvider."
        return refuse(AgentReason.PERSON_NOT_ALLOWED, detail, remedy=remedy, subject=subject)
    if accounts is None or not policy.claimed_scopes:
        return refuse(AgentReason.PERSON_NOT_ALLOWED, subject=subject)
    return bounded(Grant(policy.claimed_scopes, accounts), registration.scope or None)


def bounded(held: Grant, scope: str | None) -> Grant:
    """What an agent holds, with no more in it than a bound allows, such as its provider's word.

    Args:
        held: from `held_by`.
        scope: the bound, with spaces; None: there is none. The empty string allows nothing.
    """
    if scope is None:
        return held
    said = scope.split(" ")
    return Grant(tuple(each for each in held.scopes if each in said), held.accounts)


def scope_text(scopes: Iterable[str]) -> str:
    """Scopes as a registration has them: with spaces, and never empty, which would mean all."""
    return " ".join(scopes) or NOTHING


def decide_agent_token(
    request: AgentTokenRequest,
    registration: Registration,
    held: Grant,
    state: DeskState,
    *,
    limit: str | None,
    ends: float,
    now: float,
    token_id: str,
) -> AgentToken | DeskRefusal:
    """Decide whether an agent gets the token that it asks for.

    Args:
        request: from `read_agent_request`.
        registration: of the agent.
        held: from `held_by`.
        state: what the desk runs.
        limit: what the agent's provider said that it may do at most, with spaces; None: it did not say.
        ends: when the agent's assertion or its registration ends, in seconds since the epoch.
        now: seconds since the epoch.
        token_id: the `jti` that the token would have.
    """
    subject = registration.accountable
    target = state.target_of(request.audience)
    if target is None or target.agents is None:
        return refuse(AgentReason.AGENT_TARGET_UNAVAILABLE, subject=subject)
    refused = _refused_grant(bounded(held, limit), target.agents, request)
    if refused is not None:
        claimed = Grant(() if state.agents is None else state.agents.claimed_scopes, held.accounts)
        if registration.provider and _refused_grant(claimed, target.agents, request) is None:
            detail = "The ID-JAG's scope, or what the person confirmed, does not have all of it."
            remedy = (
                "Show a new ID-JAG whose scope has it, by POST /agent/identity. What the person has not "
                "confirmed yet, they are asked for: complete the claim that is pending."
            )
            error = request.grant.error
            return refuse(AgentReason.BEYOND_CEILING, detail, error=error, remedy=remedy, subject=subject)
        detail = refused.detail.replace("The workload itself", "An agent of this kind", 1)
        return refuse(AgentReason.BEYOND_CEILING, detail, error=request.grant.error, subject=subject)
    lifetime = lifetime_of(
        now,
        subject_ends=ends,
        lifetime_seconds=state.lifetime_seconds,
        max_lifetime_seconds=state.max_lifetime_seconds,
    )
    if lifetime is None:
        return refuse(AgentReason.INVALID_ASSERTION, subject=subject)
    claims = agent_claims(
        issuer=state.issuer,
        audience=target.audience,
        subject=registration.subject,
        grants=request.grant.grants,
        token_id=token_id,
        issued_at=lifetime.issued_at,
        expires_at=lifetime.expires_at,
    )
    return AgentToken(claims, target)


def _refused_grant(held: Grant, ceiling: Grant, request: AgentTokenRequest) -> DeskRefusal | None:
    common = common_grant(held, ceiling)
    refused = narrow(() if common is None else (common,), request.grant)
    return refused if isinstance(refused, DeskRefusal) else None
