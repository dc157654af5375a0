# SPDX-License-Identifier: Apache-2.0
"""POST /agent/identity/claim and .../complete: the agent's side of being claimed by a person.

The person confirms on a page of the desk, sees a code there and gives it to the agent. A code is counted
before it is looked at: what a caller learns is never ahead of what the store knows.
"""

import hmac
from typing import Any, Final

import msgspec

from watchword.desk.agents import events, storage
from watchword.desk.agents.core import DAY_SECONDS, AgentCore, policy_of, with_refresh
from watchword.desk.agents.json_body import JsonBody
from watchword.desk.agents.minting import NOTHING, bounded, scope_text
from watchword.desk.agents.policy import read_address
from watchword.desk.agents.reasons import AgentReason
from watchword.desk.agents.records import (
    Attempt,
    Complete,
    CountGuess,
    CountUse,
    EndLink,
    Person,
    Registration,
    StartAttempt,
)
from watchword.desk.agents.register import attempt_answer, holdings, new_attempt
from watchword.desk.agents.secrets import (
    ATTEMPT,
    CLAIM,
    REFRESH,
    digest_of,
    digest_of_address,
    digest_of_code,
    looks_like,
    new_person_id,
    new_secret,
)
from watchword.desk.audit_events import RequestFacts
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.desk.state import DeskState
from watchword.identity import Grant

# Codes that may be tried for one registration, whatever attempts it starts, and for one person in a day.
GUESSES: Final = 5
GUESSES_OF_ADDRESS: Final = 10
# Attempts that one registration may start.
ATTEMPTS: Final = 10


async def start_claim(
    core: AgentCore, body: JsonBody, state: DeskState, facts: RequestFacts
) -> dict[str, Any] | DeskRefusal:
    """Answer POST /agent/identity/claim: start an attempt, in place of the one before."""
    method = body.text("type")
    if isinstance(method, DeskRefusal):
        return method
    if method != "service_auth":
        detail, remedy = "A claim is made with type service_auth.", 'Send "type": "service_auth".'
        return refuse(AgentReason.UNKNOWN_TYPE, detail, remedy=remedy)
    if not policy_of(state).claimed_scopes:
        return refuse(AgentReason.SERVICE_AUTH_DISABLED)
    address = read_address(body.members.get("login_hint"))
    if address is None:
        return refuse(AgentReason.INVALID_LOGIN_HINT)
    found = await _unclaimed(core, body, facts)
    if isinstance(found, DeskRefusal):
        return found
    if found.provider:
        return refuse(AgentReason.CLAIM_BY_ASSERTION, subject=found.accountable)
    now, token = int(facts.at), new_secret(ATTEMPT)
    attempt = new_attempt(found.id, address, token, facts)
    counted = await core.step(
        CountUse(key=f"attempts {found.id}", at_most=ATTEMPTS, until=found.expires_at, now=now)
    )
    if isinstance(counted, DeskRefusal):
        return counted
    if not counted[0]:
        detail = f"The registration has started {ATTEMPTS} attempts, and may start no more."
        return refuse(AgentReason.TOO_MANY_ATTEMPTS, detail, remedy="Register again.")
    kept = await core.step(
        StartAttempt(attempt=attempt, now=now, event=events.attempt_started(facts, found.id))
    )
    if isinstance(kept, DeskRefusal):
        return kept
    if not kept[0]:
        return refuse(AgentReason.ALREADY_CLAIMED, subject=found.accountable)
    return {"id": found.id, "type": found.kind, "attempt": attempt_answer(attempt, token, state)}


async def complete_claim(
    core: AgentCore, body: JsonBody, state: DeskState, facts: RequestFacts
) -> dict[str, Any] | DeskRefusal:
    """Answer POST /agent/identity/claim/complete: exactly once."""
    code = body.text("user_code")
    if isinstance(code, DeskRefusal):
        return code
    found = await _unclaimed(core, body, facts)
    if isinstance(found, DeskRefusal):
        return found
    attempt = await _confirmed(core, found, facts)
    if isinstance(attempt, DeskRefusal):
        return attempt
    wrong = await _wrong_code(core, found, attempt, code, facts)
    if wrong is not None:
        return wrong
    policy, now = policy_of(state), int(facts.at)
    accounts = policy.accounts_by(found, attempt.address, attempt.proven_issuer)
    if accounts is None or not policy.claimed_scopes:
        # Taken off the list, moved to a provider, or come by one that is no longer trusted.
        return refuse(
            AgentReason.CLAIM_DENIED,
            "Agents of the person who confirmed are not, or no longer, let in.",
            remedy="The desk's operator decides by spec.agents of the TokenDesk whose agents may act.",
            internal="the proof no longer counts",
        )
    person = await _person(core, attempt)
    if isinstance(person, DeskRefusal):
        return person
    # Who comes by a provider comes back by it: so it can end what it said at any time.
    refresh, ends = "" if found.provider else new_secret(REFRESH), now + policy.claimed_seconds
    claimed = msgspec.structs.replace(found, epoch=found.epoch + 1, expires_at=ends)
    identity = core.identity(state, claimed, facts, found.scope or None, found.signed_by)
    if isinstance(identity, DeskRefusal):
        return identity
    ended = await _replaced(core, found, person)
    if isinstance(ended, DeskRefusal):
        return ended
    step = Complete(
        agent=found.id,
        attempt=attempt.digest,
        code_digest=attempt.code_digest,
        person=person,
        refresh_digest=digest_of(refresh) if refresh else "",
        expires_at=ends,
        scope=_scope_with(found, ended, person),
        now=now,
        event=events.claimed(facts, found.id, person.id),
    )
    ends_links = [
        EndLink(agent=each.id, by=step, now=now, event=events.revoked(facts, each.id, f"agent:{found.id}"))
        for each in ended
    ]
    kept = await core.step(*ends_links, step)
    if isinstance(kept, DeskRefusal):
        return kept
    if ended:
        core.on_revoked()
    if not kept[-1]:
        return refuse(AgentReason.ALREADY_CLAIMED, subject=found.accountable)
    return {
        "id": found.id,
        "status": "claimed",
        "identity": with_refresh(identity, refresh, ends) if refresh else identity,
        **holdings(bounded(Grant(policy.claimed_scopes, accounts), found.scope or None)),
    }


async def _unclaimed(core: AgentCore, body: JsonBody, facts: RequestFacts) -> Registration | DeskRefusal:
    token = body.text("claim_token")
    if isinstance(token, DeskRefusal):
        return token
    if not looks_like(CLAIM, token):
        return refuse(AgentReason.INVALID_CLAIM_TOKEN)
    rows = await core.look(storage.BY_CLAIM, digest_of(token))
    if isinstance(rows, DeskRefusal):
        return rows
    found = storage.registration_of(rows)
    if found is None:
        return refuse(AgentReason.INVALID_CLAIM_TOKEN)
    if found.state == "revoked":
        return refuse(AgentReason.CLAIM_REVOKED)
    if found.state == "claimed":
        return refuse(AgentReason.ALREADY_CLAIMED, subject=found.accountable)
    if found.expires_at <= facts.at:
        return refuse(AgentReason.CLAIM_EXPIRED)
    return found


async def _confirmed(core: AgentCore, found: Registration, facts: RequestFacts) -> Attempt | DeskRefusal:
    rows = await core.look(storage.ATTEMPT_OF, found.id)
    if isinstance(rows, DeskRefusal):
        return rows
    attempt = storage.attempt_of(rows)
    if attempt is not None and attempt.state == "denied":
        return refuse(AgentReason.CLAIM_DENIED)
    if attempt is not None and attempt.expires_at <= facts.at:
        return refuse(AgentReason.USER_CODE_EXPIRED)
    if attempt is None or attempt.state != "confirmed":
        return refuse(AgentReason.CLAIM_NOT_CONFIRMED)
    return attempt


async def _wrong_code(
    core: AgentCore, found: Registration, attempt: Attempt, code: str, facts: RequestFacts
) -> DeskRefusal | None:
    """Count a guess, durably, and only then look at it; None: it is right.

    A code is only there once the person confirmed: no stranger uses up the day's guesses of someone else.
    """
    now = int(facts.at)
    # In this order: what is refused for its own count uses up nothing of the person's day.
    for step in (
        CountGuess(agent=found.id, at_most=GUESSES),
        CountUse(
            key=f"guesses {digest_of_address(attempt.address)}",
            at_most=GUESSES_OF_ADDRESS,
            until=now + DAY_SECONDS,
            now=now,
        ),
    ):
        counted = await core.step(step)
        if isinstance(counted, DeskRefusal):
            return counted
        if not counted[0]:
            return refuse(AgentReason.TOO_MANY_ATTEMPTS)
    if not hmac.compare_digest(digest_of_code(attempt.digest, code), attempt.code_digest):
        # By itself in the audit log: there are no more of these than guesses.
        return refuse(AgentReason.INVALID_USER_CODE, subject=found.subject)
    return None


async def _person(core: AgentCore, attempt: Attempt) -> Person | DeskRefusal:
    proof = (attempt.address, attempt.proven_issuer, attempt.proven_subject)
    rows = await core.look(storage.PERSON_BY_PROOF, *proof)
    if isinstance(rows, DeskRefusal):
        return rows
    return storage.person_of(rows) or Person(new_person_id(), *proof)


async def _replaced(core: AgentCore, found: Registration, person: Person) -> list[Registration] | DeskRefusal:
    """The links that end once this person's claim is complete."""
    if not found.origin:
        return []
    rows = await core.look(storage.LINKS_OF_ORIGIN, found.origin)
    return rows if isinstance(rows, DeskRefusal) else storage.replaced_links(rows, found, person.id)


def _scope_with(found: Registration, ended: list[Registration], person: Person) -> str:
    """What the person confirmed now, and for the same client before; empty: what it may do is not bound."""
    before = [each.scope for each in ended if (each.person, each.client) == (person.id, found.client)]
    if not found.scope or "" in before:
        return found.scope
    scopes = dict.fromkeys(each for text in (*before, found.scope) for each in text.split(" "))
    return scope_text(each for each in scopes if each != NOTHING)
