# SPDX-License-Identifier: Apache-2.0
"""An agent's access tokens, and the end of a whole delegation."""

import msgspec

from watchword.desk.agents import events, storage
from watchword.desk.agents.assertions import AssertionClaims, read_assertion
from watchword.desk.agents.core import AgentCore, policy_of
from watchword.desk.agents.minting import decide_agent_token, held_by, read_agent_request
from watchword.desk.agents.policy import AgentPolicy
from watchword.desk.agents.reasons import AgentReason
from watchword.desk.agents.records import IssueToAgent, Person, Registration, RevokeAgent
from watchword.desk.agents.secrets import CLAIM, REFRESH, digest_of, looks_like
from watchword.desk.audit_events import RequestFacts
from watchword.desk.forms import Form
from watchword.desk.minting import new_token_id
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.desk.responses import Answer, json_answer
from watchword.desk.state import DeskState
from watchword.identity import Grant


async def agent_token(
    core: AgentCore,
    form: Form,
    claims: AssertionClaims | None,
    state: DeskState,
    facts: RequestFacts,
) -> tuple[Answer, str] | DeskRefusal:
    """Answer POST /oauth2/token with the grant type of RFC 7523; with the service that the token is for.

    `claims` are those of the form's assertion (`read_assertion`); None: it is none of this desk's.
    """
    request, signing = read_agent_request(form), state.signing
    if isinstance(request, DeskRefusal):
        return request
    if claims is None or claims.exp <= facts.at or signing is None:
        return refuse(AgentReason.INVALID_ASSERTION)
    rows = await core.look(storage.BY_ID, claims.registration)
    if isinstance(rows, DeskRefusal):
        return rows
    found = storage.registration_of(rows)
    if found is None or found.epoch != claims.epoch or found.expires_at <= facts.at:
        return refuse(AgentReason.AGENT_ENDED)
    if found.state == "unclaimed" and (over := core.over_unclaimed_rate(found.id)) is not None:
        return over
    held = await _held(core, found, claims, policy_of(state))
    if isinstance(held, DeskRefusal):
        return held
    decided = decide_agent_token(
        request,
        found,
        held,
        state,
        limit=None if isinstance(claims.scope_limit, msgspec.UnsetType) else claims.scope_limit,
        ends=float(min(claims.exp, found.expires_at)),
        now=facts.at,
        token_id=new_token_id(facts.at),
    )
    if isinstance(decided, DeskRefusal):
        return decided
    token, said = signing.sign(decided.claims), decided.claims
    if token is None:
        return refuse(DeskReason.TOKEN_WOULD_BE_TOO_LARGE, subject=found.accountable)
    issue = IssueToAgent(
        agent=found.id,
        epoch=found.epoch,
        token_id=said.token_id,
        subject=said.subject,
        service=decided.target.service,
        issued_at=said.issued_at,
        expires_at=said.expires_at,
        now=int(facts.at),
        event=events.token_issued(facts, decided, found.person, signing.kid),
    )
    kept = await core.step(issue)
    if isinstance(kept, DeskRefusal):
        return kept
    if not kept[0]:
        # Revoked or claimed while this was decided: what is issued must not outlive that.
        return refuse(AgentReason.AGENT_ENDED, subject=found.accountable)
    document = {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": max(0, int(said.expires_at - facts.at)),
        "scope": said.scope,
        "authorization_details": said.details,
    }
    return json_answer(document), decided.target.service


async def revoke_delegation(
    core: AgentCore, token: str, state: DeskState, facts: RequestFacts
) -> Answer | DeskRefusal | None:
    """End the delegation that a secret of an agent belongs to; None: the token is no such secret.

    An access token ends alone (RFC 7009); a refresh token, a claim token and an assertion end everything.
    """
    if looks_like(REFRESH, token):
        rows = await core.look(storage.BY_REFRESH, digest_of(token))
    elif looks_like(CLAIM, token):
        rows = await core.look(storage.BY_CLAIM, digest_of(token))
    else:
        claims = read_assertion(token, state)
        if claims is None:
            return None
        rows = [] if claims.exp <= facts.at else await core.look(storage.BY_ID, claims.registration)
        if not isinstance(rows, DeskRefusal):
            rows = [
                row for row in rows if (each := storage.registration_of([row])) and each.epoch == claims.epoch
            ]
    if isinstance(rows, DeskRefusal):
        return rows
    found = storage.registration_of(rows)
    # The holder of the claim token of before has no say in what a person has taken over.
    if found is None or (looks_like(CLAIM, token) and found.state != "unclaimed"):
        return Answer(200)
    step = RevokeAgent(agent=found.id, now=int(facts.at), event=events.revoked(facts, found.id, "holder"))
    ended = await core.step(step)
    return ended if isinstance(ended, DeskRefusal) else Answer(200)


async def why_agent_holds_nothing(core: AgentCore, subject: str, state: DeskState) -> str | DeskRefusal:
    """Why an agent would get no token by now, for the desk's log; empty: it would.

    Asked about tokens that are out: neither the person who was taken off the list nor the provider that was
    suspended revoked them.
    """
    rows = await core.look(storage.BY_ID, subject.removeprefix("agent:"))
    if isinstance(rows, DeskRefusal):
        return rows
    found = storage.registration_of(rows)
    if found is None:
        return "its registration has ended"
    person = await _person_of(core, found)
    if isinstance(person, DeskRefusal):
        return person
    held = held_by(found, person, policy_of(state))
    return held.detail if isinstance(held, DeskRefusal) else ""


async def _person_of(core: AgentCore, found: Registration) -> Person | DeskRefusal | None:
    if not found.person:
        return None
    rows = await core.look(storage.PERSON_BY_ID, found.person)
    return rows if isinstance(rows, DeskRefusal) else storage.person_of(rows)


async def _held(
    core: AgentCore, found: Registration, claims: AssertionClaims, policy: AgentPolicy
) -> Grant | DeskRefusal:
    """What an agent holds by now, if the provider still has the key that signed for its assertion."""
    person = await _person_of(core, found)
    if isinstance(person, DeskRefusal):
        return person
    held = held_by(found, person, policy)
    if not isinstance(held, DeskRefusal) and not isinstance(claims.signed_by, msgspec.UnsetType):
        provider = policy.provider_of(found)
        if provider is None or not provider.takes_key(claims.signed_by):
            return refuse(AgentReason.PROVIDER_KEY_WITHDRAWN, subject=found.accountable)
    return held
