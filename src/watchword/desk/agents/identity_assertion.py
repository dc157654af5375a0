# SPDX-License-Identifier: Apache-2.0
"""POST /agent/identity with `identity_assertion`: an agent shows whom it acts for by its provider's word.

That word alone gives nothing: the person confirms once, on the claim page, and the registration that they
claimed is the link from then on, for the client and within the scopes that the page showed. An assertion is
used up before anything is looked up, whatever comes of it.
"""

from typing import Any, Final

import msgspec

from watchword.desk.agents import events, storage
from watchword.desk.agents.core import AgentCore, policy_of
from watchword.desk.agents.id_jag import ID_JAG_TOKEN_TYPE, IdJag, read_id_jag
from watchword.desk.agents.json_body import JsonBody
from watchword.desk.agents.minting import bounded, held_by, scope_text
from watchword.desk.agents.policy import AgentPolicy
from watchword.desk.agents.provider_tokens import SKEW_SECONDS
from watchword.desk.agents.reasons import AgentReason
from watchword.desk.agents.records import (
    AssertAgain,
    Person,
    Register,
    Registration,
    StartAttempt,
    UseToken,
)
from watchword.desk.agents.register import attempt_answer, claim_answer, new_attempt
from watchword.desk.agents.secrets import ATTEMPT, CLAIM, digest_of, new_registration_id, new_secret
from watchword.desk.audit_events import RequestFacts
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.desk.responses import Answer, refusal_answer, refusal_with
from watchword.desk.state import DeskState
from watchword.identity import MAX_TOKEN_BYTES, Grant

_KIND: Final = "identity_assertion"


async def assert_identity(
    core: AgentCore, body: JsonBody, state: DeskState, facts: RequestFacts
) -> dict[str, Any] | Answer | DeskRefusal:
    """Answer POST /agent/identity with this type.

    Returns:
        The registration with an assertion of the desk's own, where the person has confirmed this client
        before, with a claim to make under `pending` where the provider's assertion allows more than that; a
        401 `interaction_required` with a claim to make, where not; or why the assertion is refused.
    """
    kind, token = body.text("assertion_type"), body.text("assertion", MAX_TOKEN_BYTES)
    if isinstance(kind, DeskRefusal):
        return kind
    if isinstance(token, DeskRefusal):
        return token
    if kind != ID_JAG_TOKEN_TYPE:
        return refuse(AgentReason.UNSUPPORTED_ASSERTION_TYPE)
    policy, now = policy_of(state), int(facts.at)
    said = read_id_jag(token, policy, state.issuer, facts.at)
    if isinstance(said, DeskRefusal):
        return said
    if (refused := core.over_caller_rate(f"origin:{said.origin}")) is not None:
        return refused
    used = await core.step(
        UseToken(
            issuer=said.provider.issuer,
            token_id=said.token_id,
            expires_at=int(said.expires_at) + SKEW_SECONDS + 1,
            now=now,
        )
    )
    if isinstance(used, DeskRefusal):
        return used
    if not used[0]:
        return refuse(AgentReason.ASSERTION_REPLAYED)
    if said.scope is not None and not bounded(Grant(policy.claimed_scopes), said.scope).scopes:
        return refuse(AgentReason.SCOPE_ALLOWS_NOTHING)
    linked = await _linked(core, said, policy, facts.at)
    if isinstance(linked, DeskRefusal):
        return linked
    if linked is not None:
        return await _again(core, said, linked, state, facts)
    if not said.address:
        return refuse(AgentReason.MISSING_VERIFIED_EMAIL)
    pending = core.over_rate(facts.peer, said.provider.id) or await _ask_person(
        core, said, said.address, state, facts
    )
    if isinstance(pending, DeskRefusal):
        return pending
    refusal = refuse(AgentReason.INTERACTION_REQUIRED)
    return refusal_with(refusal_answer(refusal, facts.request_id, is_agents=True), pending)


async def _linked(
    core: AgentCore, said: IdJag, policy: AgentPolicy, now: float
) -> tuple[Registration, Person, Grant] | DeskRefusal | None:
    """The registration that a person claimed for this subject and client, with what it gives; None: none.

    Where the provider names another address by now, or the person's proof no longer counts, it is none.
    """
    rows = await core.look(storage.LINK_OF_CLIENT, said.origin, said.client_id)
    if isinstance(rows, DeskRefusal):
        return rows
    found = storage.registration_of(rows)
    if found is None or found.provider != said.provider.id or found.expires_at <= now:
        return None
    people = await core.look(storage.PERSON_BY_ID, found.person)
    if isinstance(people, DeskRefusal):
        return people
    person = storage.person_of(people)
    if person is None or said.address not in ("", person.address):
        return None
    held = held_by(found, person, policy)
    return None if isinstance(held, DeskRefusal) else (found, person, held)


async def _again(
    core: AgentCore,
    said: IdJag,
    linked: tuple[Registration, Person, Grant],
    state: DeskState,
    facts: RequestFacts,
) -> dict[str, Any] | DeskRefusal:
    found, person, held = linked
    ends = int(facts.at) + policy_of(state).claimed_seconds
    going_on = msgspec.structs.replace(found, expires_at=ends)
    identity = core.identity(state, going_on, facts, said.scope, said.signed_by)
    if isinstance(identity, DeskRefusal):
        return identity
    event = events.asserted(
        facts, found.id, provider=said.provider.name, client=said.client_id, person=person.id
    )
    kept = await core.step(
        AssertAgain(
            agent=found.id,
            epoch=found.epoch,
            expires_at=ends,
            client=said.client_id,
            scope=scope_text(held.scopes),
            now=int(facts.at),
            event=event,
        )
    )
    if isinstance(kept, DeskRefusal):
        return kept
    if not kept[0]:
        # Revoked while this was decided.
        return refuse(AgentReason.AGENT_ENDED, subject=found.subject)
    granted = bounded(held, said.scope)
    answer = {
        "id": found.id,
        "type": _KIND,
        "identity": identity,
        "scopes": list(granted.scopes),
        "accounts": list(granted.accounts),
    }
    asked = Grant(()) if said.scope is None else bounded(Grant(policy_of(state).claimed_scopes), said.scope)
    if set(asked.scopes) <= set(held.scopes) or core.over_rate(facts.peer, found.provider) is not None:
        return answer
    # More than the person confirmed: they are asked, and meanwhile it stays at that.
    pending = await _ask_person(core, said, person.address, state, facts)
    return answer if isinstance(pending, DeskRefusal) else answer | {"pending": pending}


async def _ask_person(
    core: AgentCore, said: IdJag, address: str, state: DeskState, facts: RequestFacts
) -> dict[str, Any] | DeskRefusal:
    """Register, and have the person asked; the claim to make, as answers have it.

    It is the same whether the address may claim agents or not.
    """
    policy, now = policy_of(state), int(facts.at)
    claim, token = new_secret(CLAIM), new_secret(ATTEMPT)
    made = Registration(
        id=new_registration_id(),
        kind=_KIND,
        made_at=now,
        expires_at=now + policy.unclaimed_seconds,
        provider=said.provider.id,
        origin=said.origin,
        scope="" if said.scope is None else said.scope,
        client=said.client_id,
        signed_by=said.signed_by,
    )
    attempt = new_attempt(made.id, address, token, facts)
    kept = await core.step(
        Register(
            registration=made,
            claim_digest=digest_of(claim),
            at_most=policy.max_unclaimed,
            now=now,
            event=events.registered(facts, made, provider=said.provider.name, client=said.client_id),
        ),
        StartAttempt(attempt=attempt, now=now, event=events.attempt_started(facts, made.id)),
    )
    if isinstance(kept, DeskRefusal):
        return kept
    if not all(kept):
        return refuse(AgentReason.REGISTRATIONS_FULL, retry_after=60)
    return {
        "id": made.id,
        "type": _KIND,
        "scopes": {"post_claim": list(bounded(Grant(policy.claimed_scopes), said.scope).scopes)},
        "claim": claim_answer(made, claim, state) | {"attempt": attempt_answer(attempt, token, state)},
    }
