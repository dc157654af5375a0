# SPDX-License-Identifier: Apache-2.0
"""POST /agent/identity: registering as `anonymous` or `service_auth`, and `refresh`."""

from typing import Any

import msgspec

from watchword.desk.agents import events, storage
from watchword.desk.agents.core import ATTEMPT_SECONDS, AgentCore, policy_of, timestamp, with_refresh
from watchword.desk.agents.json_body import JsonBody
from watchword.desk.agents.minting import held_by
from watchword.desk.agents.policy import AgentPolicy, read_address
from watchword.desk.agents.reasons import AgentReason
from watchword.desk.agents.records import (
    AgentKind,
    Attempt,
    Register,
    Registration,
    RevokeAgent,
    Rotate,
    StartAttempt,
)
from watchword.desk.agents.secrets import (
    ATTEMPT,
    CLAIM,
    REFRESH,
    digest_of,
    looks_like,
    new_registration_id,
    new_secret,
)
from watchword.desk.audit_events import RequestFacts
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.desk.state import DeskState
from watchword.identity import Grant

CLAIM_ENDPOINT = "/agent/identity/claim"
CLAIM_PAGE = "/claim"


def identity_types(policy: AgentPolicy) -> list[str]:
    """The types of registration that a desk serves."""
    types = ["anonymous"] if policy.unclaimed is not None else []
    return types + (["service_auth"] if policy.claimed_scopes else [])


def verification_uri(state: DeskState, attempt: str) -> str:
    """Where a person confirms: the issuer's page, with the attempt's token."""
    return f"{state.issuer}{CLAIM_PAGE}?attempt={attempt}"


async def register(
    core: AgentCore, body: JsonBody, state: DeskState, facts: RequestFacts
) -> dict[str, Any] | DeskRefusal:
    """Answer POST /agent/identity."""
    kind, policy = body.text("type"), policy_of(state)
    if isinstance(kind, DeskRefusal):
        return kind
    if kind == "refresh":
        return await _refresh(core, body, state, facts)
    if kind == "anonymous":
        if policy.unclaimed is None:
            return refuse(AgentReason.ANONYMOUS_DISABLED)
        return core.over_rate(facts.peer) or await _anonymous(core, state, facts)
    if kind == "service_auth":
        if not policy.claimed_scopes:
            return refuse(AgentReason.SERVICE_AUTH_DISABLED)
        address = read_address(body.members.get("login_hint"))
        if address is None:
            return refuse(AgentReason.INVALID_LOGIN_HINT)
        return core.over_rate(facts.peer) or await _service_auth(core, address, state, facts)
    return refuse(AgentReason.UNKNOWN_TYPE)


async def _anonymous(core: AgentCore, state: DeskState, facts: RequestFacts) -> dict[str, Any] | DeskRefusal:
    policy, claim = policy_of(state), new_secret(CLAIM)
    made = _new("anonymous", policy, facts)
    identity = core.identity(state, made, facts)
    if isinstance(identity, DeskRefusal):
        return identity
    kept = await core.step(_register_step(made, claim, policy, facts))
    if isinstance(kept, DeskRefusal):
        return kept
    if not kept[0]:
        return refuse(AgentReason.REGISTRATIONS_FULL, retry_after=60)
    unclaimed = Grant(()) if policy.unclaimed is None else policy.unclaimed
    return {
        "id": made.id,
        "type": made.kind,
        "identity": identity,
        "scopes": {"pre_claim": list(unclaimed.scopes), "post_claim": list(policy.claimed_scopes)},
        "accounts": {"pre_claim": list(unclaimed.accounts)},
        "claim": _claim_of(made, claim, state),
    }


async def _service_auth(
    core: AgentCore, address: str, state: DeskState, facts: RequestFacts
) -> dict[str, Any] | DeskRefusal:
    policy, claim, token = policy_of(state), new_secret(CLAIM), new_secret(ATTEMPT)
    made = _new("service_auth", policy, facts)
    attempt = new_attempt(made.id, address, token, facts)
    kept = await core.step(
        _register_step(made, claim, policy, facts),
        StartAttempt(attempt=attempt, now=int(facts.at), event=events.attempt_started(facts, made.id)),
    )
    if isinstance(kept, DeskRefusal):
        return kept
    if not all(kept):
        return refuse(AgentReason.REGISTRATIONS_FULL, retry_after=60)
    return {
        "id": made.id,
        "type": made.kind,
        "scopes": {"post_claim": list(policy.claimed_scopes)},
        "claim": _claim_of(made, claim, state) | {"attempt": attempt_answer(attempt, token, state)},
    }


async def _refresh(
    core: AgentCore, body: JsonBody, state: DeskState, facts: RequestFacts
) -> dict[str, Any] | DeskRefusal:
    token, policy, now = body.text("refresh_token"), policy_of(state), int(facts.at)
    if isinstance(token, DeskRefusal):
        return token
    if not looks_like(REFRESH, token):
        return refuse(AgentReason.INVALID_REFRESH_TOKEN)
    digest = digest_of(token)
    rows = await core.look(storage.BY_REFRESH, digest)
    if isinstance(rows, DeskRefusal):
        return rows
    found = storage.registration_of(rows)
    if found is None:
        return await _reused(core, digest, facts)
    if found.state != "claimed" or found.expires_at <= now:
        return refuse(AgentReason.INVALID_REFRESH_TOKEN, subject=found.accountable)
    people = await core.look(storage.PERSON_BY_ID, found.person)
    if isinstance(people, DeskRefusal):
        return people
    held = held_by(found, storage.person_of(people), policy)
    if isinstance(held, DeskRefusal):
        return held
    after, ends = new_secret(REFRESH), now + policy.claimed_seconds
    identity = core.identity(state, msgspec.structs.replace(found, expires_at=ends), facts)
    if isinstance(identity, DeskRefusal):
        return identity
    step = Rotate(
        agent=found.id,
        before=digest,
        after=digest_of(after),
        expires_at=ends,
        now=now,
        event=events.refreshed(facts, found.id),
    )
    kept = await core.step(step)
    if isinstance(kept, DeskRefusal):
        return kept
    if not kept[0]:
        return refuse(AgentReason.INVALID_REFRESH_TOKEN, subject=found.accountable)
    return {
        "id": found.id,
        "type": found.kind,
        "identity": with_refresh(identity, after, ends),
        **holdings(held),
    }


def holdings(held: Grant) -> dict[str, Any]:
    """What a claimed agent holds, as answers have it: no other document says which accounts these are."""
    return {"scopes": {"post_claim": list(held.scopes)}, "accounts": {"post_claim": list(held.accounts)}}


async def _reused(core: AgentCore, digest: str, facts: RequestFacts) -> DeskRefusal:
    """A refresh token that was used before ends the whole delegation: someone else holds one, too."""
    rows = await core.look(storage.BY_USED_REFRESH, digest)
    if isinstance(rows, DeskRefusal):
        return rows
    found = storage.registration_of(rows)
    if found is None:
        return refuse(AgentReason.INVALID_REFRESH_TOKEN)
    event = events.revoked(facts, found.id, "refresh_token_reused")
    ended = await core.step(RevokeAgent(agent=found.id, now=int(facts.at), event=event))
    if isinstance(ended, DeskRefusal):
        return ended
    detail = "The refresh token was used before, so the whole registration was revoked."
    return refuse(AgentReason.INVALID_REFRESH_TOKEN, detail, subject=found.accountable)


def new_attempt(agent: str, address: str, token: str, facts: RequestFacts) -> Attempt:
    """A new attempt of a registration for an address."""
    ends = int(facts.at) + ATTEMPT_SECONDS
    return Attempt(digest=digest_of(token), agent=agent, address=address, expires_at=ends)


def attempt_answer(attempt: Attempt, token: str, state: DeskState) -> dict[str, Any]:
    """An attempt as answers have it."""
    return {
        "verification_uri": verification_uri(state, token),
        "expires_at": timestamp(attempt.expires_at),
    }


def _new(kind: AgentKind, policy: AgentPolicy, facts: RequestFacts) -> Registration:
    now = int(facts.at)
    return Registration(
        id=new_registration_id(), kind=kind, made_at=now, expires_at=now + policy.unclaimed_seconds
    )


def _register_step(made: Registration, claim: str, policy: AgentPolicy, facts: RequestFacts) -> Register:
    return Register(
        registration=made,
        claim_digest=digest_of(claim),
        at_most=policy.max_unclaimed,
        now=int(facts.at),
        event=events.registered(facts, made),
    )


def _claim_of(made: Registration, claim: str, state: DeskState) -> dict[str, Any]:
    return {
        "token": claim,
        "expires_at": timestamp(made.expires_at),
        "url": f"{state.issuer}{CLAIM_ENDPOINT}",
    }
