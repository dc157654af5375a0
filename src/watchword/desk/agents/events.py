# SPDX-License-Identifier: Apache-2.0
"""What the audit log says of agents: which registration, what happened, by which request.

No secret, no code and no address is in it; a person is there by the pseudonym that the store keeps apart.
"""

from watchword.desk.agents.minting import AgentToken
from watchword.desk.agents.records import Registration
from watchword.desk.audit_chain import AuditEvent
from watchword.desk.audit_events import RequestFacts
from watchword.trust.desk_tokens import DeskClaims


def registered(facts: RequestFacts, registration: Registration, **provider: str) -> AuditEvent:
    """An agent registered; by a provider's assertion, with the names of the provider and of its client."""
    fields = {"kind": registration.kind, "expires_at": registration.expires_at, **provider}
    return _of(facts, "agent_registered", registration.id, **fields)


def asserted(facts: RequestFacts, agent: str, *, provider: str, client: str, person: str) -> AuditEvent:
    """A provider's assertion was taken for an agent that a person had claimed."""
    return _of(facts, "agent_asserted", agent, provider=provider, client=client, person=person)


def provider_event(facts: RequestFacts, provider: str, token_id: str, agents: list[str]) -> AuditEvent:
    """A provider said that its assertions for a subject are revoked.

    Args:
        facts: of the request.
        provider: the name of the AgentProvider.
        token_id: the event's `jti`.
        agents: the registrations that this ended.
    """
    subjects = [f"agent:{each}" for each in agents]
    fields = {**facts.fields(), "provider": provider, "event_id": token_id, "subjects": subjects}
    return AuditEvent("agent_provider_event", fields, facts.at)


def attempt_started(facts: RequestFacts, agent: str) -> AuditEvent:
    """Someone is to be asked whether the agent may act for them."""
    return _of(facts, "agent_claim_requested", agent)


def proof_opened(facts: RequestFacts, agent: str, way: str) -> AuditEvent:
    """A mail is on its way, or someone signed in: what may confirm the attempt is there."""
    return _of(facts, "agent_claim_proof", agent, way=way)


def confirmed(facts: RequestFacts, agent: str) -> AuditEvent:
    """The person confirmed, and was shown the code."""
    return _of(facts, "agent_claim_confirmed", agent)


def denied(facts: RequestFacts, agent: str) -> AuditEvent:
    """The person refused."""
    return _of(facts, "agent_claim_denied", agent)


def claimed(facts: RequestFacts, agent: str, person: str) -> AuditEvent:
    """The agent sent the code back: it acts for the person from now on."""
    return _of(facts, "agent_claimed", agent, person=person)


def refreshed(facts: RequestFacts, agent: str) -> AuditEvent:
    """The agent got another assertion by its refresh token."""
    return _of(facts, "agent_refreshed", agent)


def token_issued(facts: RequestFacts, token: AgentToken, person: str, kid: str) -> AuditEvent:
    """A token was issued to an agent."""
    claims: DeskClaims = token.claims
    fields = {
        **facts.fields(),
        "subject": claims.subject,
        "service": token.target.service,
        "bundle": token.target.ruleset.digest,
        "bundle_generation": token.target.ruleset.generation,
        "token_id": claims.token_id,
        "expires_at": claims.expires_at,
        "key": kid,
        "authorization_details": [
            {"actions": list(each.actions), "accounts": list(each.accounts)} for each in claims.details
        ],
    }
    if person:
        fields["person"] = person
    return AuditEvent("agent_token_issued", fields, facts.at)


def revoked(facts: RequestFacts, agent: str, why: str) -> AuditEvent:
    """A registration was ended with all that was issued for it.

    Args:
        facts: of the request.
        agent: the registration's id.
        why: `holder`, `refresh_token_reused`, `operator`, the `sub` of the admin who did it, or that of the
            agent that took its place.
    """
    return _of(facts, "agent_revoked", agent, by=why)


def person_forgotten(facts: RequestFacts) -> AuditEvent:
    """What was kept of a person was deleted. Of whom is not said: that is what was to be forgotten."""
    return AuditEvent("person_forgotten", facts.fields(), facts.at)


def _of(facts: RequestFacts, event: str, agent: str, **more: object) -> AuditEvent:
    return AuditEvent(event, {**facts.fields(), "subject": f"agent:{agent}", **more}, facts.at)
