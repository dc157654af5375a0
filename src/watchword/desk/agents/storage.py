# SPDX-License-Identifier: Apache-2.0
"""The steps and looks of `records` in SQL that SQLite and PostgreSQL read alike, one `?` a parameter.

Each step runs in the store's own transaction, which no other writer shares. Nothing here raises for what a
caller did: a statement that failed would take back the whole batch, and others' tokens with it.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from watchword.desk.agents.records import (
    AgentStep,
    AssertAgain,
    Attempt,
    Complete,
    Confirm,
    CountGuess,
    CountUse,
    Deny,
    EndLink,
    EndOrigin,
    ForgetPerson,
    IssueToAgent,
    OpenProof,
    Person,
    Register,
    Registration,
    RevokeAgent,
    Rotate,
    StartAttempt,
    UseToken,
)

Row = tuple[Any, ...]
_Shape = TypeVar("_Shape", Registration, Attempt, Person)


def _select(shape: type[msgspec.Struct], table: str) -> str:
    """A look at a table whose columns are called as the members of a struct."""
    return " ".join(("SELECT", ", ".join(shape.__struct_fields__), "FROM", table))


_REGISTRATION: Final = _select(Registration, "agent")
_ATTEMPT: Final = _select(Attempt, "agent_attempt")
_PERSON: Final = _select(Person, "agent_person")
BY_ID: Final = f"{_REGISTRATION} WHERE id = ?"
BY_CLAIM: Final = f"{_REGISTRATION} WHERE claim_digest = ?"
BY_REFRESH: Final = f"{_REGISTRATION} WHERE refresh_digest = ?"
# A refresh token that was used once and comes again: two hold it, of whom one is not the agent.
BY_USED_REFRESH: Final = f"{_REGISTRATION} WHERE used_digest = ?"
ATTEMPT_OF: Final = f"{_ATTEMPT} WHERE agent = ?"
ATTEMPT_BY_DIGEST: Final = f"{_ATTEMPT} WHERE digest = ?"
ATTEMPT_BY_SECRET: Final = f"{_ATTEMPT} WHERE secret_digest = ?"
ATTEMPTS_TO_ADDRESS: Final = f"{_ATTEMPT} WHERE address = ?"
PERSON_BY_ID: Final = f"{_PERSON} WHERE id = ?"
PEOPLE_BY_ADDRESS: Final = f"{_PERSON} WHERE address = ? ORDER BY id"
PERSON_BY_PROOF: Final = f"{_PERSON} WHERE address = ? AND issuer = ? AND subject = ?"
# The links of a provider's subject to a person are the registrations that the person claimed, one a client.
LINKS_OF_ORIGIN: Final = f"{_REGISTRATION} WHERE origin = ? AND origin <> '' AND state = 'claimed'"
# One that was made before clients were kept is the first one's that comes.
LINK_OF_CLIENT: Final = f"{LINKS_OF_ORIGIN} AND client IN (?, '') ORDER BY client DESC LIMIT 1"
LIVE_OF_ORIGIN: Final = f"{_REGISTRATION} WHERE origin = ? AND origin <> '' AND state <> 'revoked'"
AGENTS_OF_PERSON: Final = f"{_REGISTRATION} WHERE person = ? ORDER BY made_at"
# By the primary key: a page costs what it holds.
REGISTRATIONS_AFTER: Final = f"{_REGISTRATION} WHERE id > ? ORDER BY id LIMIT ?"
ALL_REGISTRATIONS: Final = f"{_REGISTRATION} ORDER BY made_at, id LIMIT ?"
# Indexed for agents only: what workloads hold is looked up by id. The bounds say so to the planner.
_REVOKE_TOKENS: Final = """INSERT INTO revocation (token_id, subject, service, issued_at, expires_at)
    SELECT token_id, subject, service, issued_at, expires_at FROM token
    WHERE subject = ? AND subject >= 'agent:' AND subject < 'agent;' AND expires_at > ?
    ON CONFLICT DO NOTHING"""
EXPIRE: Final = (
    """DELETE FROM agent_attempt WHERE digest IN
        (SELECT digest FROM agent_attempt WHERE expires_at < ? LIMIT ?)""",
    "DELETE FROM agent_use WHERE key IN (SELECT key FROM agent_use WHERE expires_at < ? LIMIT ?)",
    "DELETE FROM agent WHERE id IN (SELECT id FROM agent WHERE expires_at < ? LIMIT ?)",
)
# A person for whom no agent is left is kept no longer.
FORGET_PEOPLE: Final = """DELETE FROM agent_person WHERE NOT EXISTS
    (SELECT 1 FROM agent WHERE agent.person = agent_person.id)"""


class Rows(Protocol):
    """Statements of one open transaction."""

    def run(self, statement: str, parameters: Sequence[object]) -> int:
        """Run a statement; returns how many rows it changed."""
        ...

    def rows(self, statement: str, parameters: Sequence[object]) -> list[Row]:
        """Run a query."""
        ...


def take(rows: Rows, step: AgentStep) -> bool:
    """Take a step in the open transaction; whether it had an effect."""
    match step:
        case Register():
            return _register(rows, step)
        case StartAttempt():
            return _start(rows, step)
        case CountUse():
            return _count(rows, step)
        case CountGuess():
            guess = "UPDATE agent SET guesses = guesses + 1 WHERE id = ? AND guesses < ?"
            return rows.run(guess, (step.agent, step.at_most)) == 1
        case OpenProof() | Confirm() | Deny():
            return _take_of_attempt(rows, step)
        case Complete():
            return _complete(rows, step)
        case EndLink():
            return _may_complete(rows, step.by) is not None and _revoke(rows, step.agent, step.now)
        case Rotate():
            rotate = """UPDATE agent SET refresh_digest = ?, used_digest = refresh_digest, expires_at = ?
                WHERE id = ? AND refresh_digest = ? AND state = 'claimed' AND expires_at > ?"""
            return rows.run(rotate, (step.after, step.expires_at, step.agent, step.before, step.now)) == 1
        case IssueToAgent():
            return _issue(rows, step)
        case UseToken() | AssertAgain() | EndOrigin():
            return _take_of_provider(rows, step)
        case RevokeAgent():
            return _revoke(rows, step.agent, step.now)
        case ForgetPerson():
            return _forget(rows, step)


def _take_of_attempt(rows: Rows, step: OpenProof | Confirm | Deny) -> bool:
    match step:
        case OpenProof():
            proof = """UPDATE agent_attempt SET secret_digest = ?, proven_issuer = ?, proven_subject = ?
                WHERE digest = ? AND state = 'open' AND expires_at > ?"""
            values = (step.secret_digest, step.issuer, step.subject, step.attempt, step.now)
            return rows.run(proof, values) == 1
        case Confirm():
            bound = """UPDATE agent SET scope = ? WHERE id IN (SELECT agent FROM agent_attempt
                WHERE secret_digest = ? AND state = 'open' AND expires_at > ?)"""
            if step.scope:
                rows.run(bound, (step.scope, step.secret_digest, step.now))
            confirm = """UPDATE agent_attempt SET state = 'confirmed', code_digest = ?
                WHERE secret_digest = ? AND state = 'open' AND expires_at > ?"""
            return rows.run(confirm, (step.code_digest, step.secret_digest, step.now)) == 1
        case Deny():
            deny = """UPDATE agent_attempt SET state = 'denied'
                WHERE secret_digest = ? AND state = 'open' AND expires_at > ?"""
            return rows.run(deny, (step.secret_digest, step.now)) == 1


def _take_of_provider(rows: Rows, step: UseToken | AssertAgain | EndOrigin) -> bool:
    match step:
        case UseToken():
            return _use(rows, step)
        case AssertAgain():
            return _assert_again(rows, step)
        case EndOrigin():
            return _end(rows, step)


def registration_of(rows: list[Row]) -> Registration | None:
    """The registration that a look found."""
    return _first(Registration, rows)


def attempt_of(rows: list[Row]) -> Attempt | None:
    """The attempt that a look found."""
    return _first(Attempt, rows)


def person_of(rows: list[Row]) -> Person | None:
    """The person that a look found."""
    return _first(Person, rows)


def _first(shape: type[_Shape], rows: list[Row]) -> _Shape | None:
    return shape(**dict(zip(shape.__struct_fields__, rows[0], strict=True))) if rows else None


def _register(rows: Rows, step: Register) -> bool:
    made = step.registration
    if made.origin:
        # One person's agent that asks again and again must not fill the places of all others.
        for row in rows.rows(LIVE_OF_ORIGIN, (made.origin,)):
            waits = registration_of([row])
            if waits is not None and waits.state == "unclaimed" and waits.client == made.client:
                rows.run("DELETE FROM agent_attempt WHERE agent = ?", (row[0],))
                rows.run("DELETE FROM agent WHERE id = ?", (row[0],))
    # For each provider by itself: one that has many people asked leaves the others their places.
    waiting = """SELECT count(*) FROM agent
        WHERE state = 'unclaimed' AND kind = ? AND provider = ? AND expires_at > ?"""
    [(count,)] = rows.rows(waiting, (made.kind, made.provider, step.now))
    if count >= step.at_most:
        return False
    insert = """INSERT INTO agent (id, kind, state, epoch, person, guesses, made_at, expires_at, claim_digest,
            provider, origin, scope, client, signed_by)
        VALUES (?, ?, 'unclaimed', 0, '', 0, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
    of_provider = (made.provider, made.origin, made.scope, made.client, made.signed_by)
    values = (made.id, made.kind, made.made_at, made.expires_at, step.claim_digest, *of_provider)
    return rows.run(insert, values) == 1


def _start(rows: Rows, step: StartAttempt) -> bool:
    attempt = step.attempt
    found = registration_of(rows.rows(BY_ID, (attempt.agent,)))
    if found is None or found.state != "unclaimed" or found.expires_at <= step.now:
        return False
    rows.run("DELETE FROM agent_attempt WHERE agent = ?", (attempt.agent,))
    insert = """INSERT INTO agent_attempt
        (digest, agent, address, state, code_digest, proven_issuer, proven_subject, expires_at)
        VALUES (?, ?, ?, 'open', '', '', '', ?) ON CONFLICT DO NOTHING"""
    return rows.run(insert, (attempt.digest, attempt.agent, attempt.address, attempt.expires_at)) == 1


def _count(rows: Rows, step: CountUse) -> bool:
    found = rows.rows("SELECT uses, expires_at FROM agent_use WHERE key = ?", (step.key,))
    if not found:
        insert = "INSERT INTO agent_use (key, uses, expires_at) VALUES (?, 1, ?)"
        return rows.run(insert, (step.key, step.until)) == 1
    [(uses, until)] = found
    if until <= step.now:
        restart = "UPDATE agent_use SET uses = 1, expires_at = ? WHERE key = ?"
        return rows.run(restart, (step.until, step.key)) == 1
    if uses >= step.at_most:
        return False
    return rows.run("UPDATE agent_use SET uses = uses + 1 WHERE key = ?", (step.key,)) == 1


def replaced_links(rows: list[Row], found: Registration, person: str) -> list[Registration]:
    """Which of the links of a subject end once a registration is claimed: its client's, and other people's.

    Args:
        rows: from `LINKS_OF_ORIGIN`.
        found: what is to be claimed.
        person: the id of who claims it.
    """
    links = [each for row in rows if (each := registration_of([row])) is not None]
    return [each for each in links if each.client == found.client or each.person != person]


def _may_complete(rows: Rows, step: Complete) -> Registration | None:
    """The registration, if the completion's own conditions hold."""
    attempt = attempt_of(rows.rows(ATTEMPT_BY_DIGEST, (step.attempt,)))
    found = registration_of(rows.rows(BY_ID, (step.agent,)))
    if attempt is None or found is None or attempt.agent != step.agent:
        return None
    is_live = attempt.state == "confirmed" and attempt.expires_at > step.now
    if not is_live or attempt.code_digest != step.code_digest or found.state != "unclaimed":
        return None
    return None if found.expires_at <= step.now else found


def _complete(rows: Rows, step: Complete) -> bool:
    found = _may_complete(rows, step)
    if found is None:
        return False
    if found.origin and replaced_links(rows.rows(LINKS_OF_ORIGIN, (found.origin,)), found, step.person.id):
        # Linked since it was looked at: what ends has its entry, so that the caller asks again.
        return False
    if not _keep_person(rows, step.person):
        return False
    rows.run(_REVOKE_TOKENS, (found.subject, step.now))
    rows.run("DELETE FROM agent_attempt WHERE agent = ?", (step.agent,))
    claim = """UPDATE agent SET state = 'claimed', epoch = epoch + 1, person = ?, refresh_digest = ?,
        expires_at = ?, scope = ? WHERE id = ? AND state = 'unclaimed'"""
    scope = step.scope or found.scope
    values = (step.person.id, step.refresh_digest or None, step.expires_at, scope, step.agent)
    return rows.run(claim, values) == 1


def _assert_again(rows: Rows, step: AssertAgain) -> bool:
    found = registration_of(rows.rows(BY_ID, (step.agent,)))
    if found is None or not found.origin:
        return False
    link = registration_of(rows.rows(LINK_OF_CLIENT, (found.origin, step.client)))
    if link is None or link.id != found.id:
        return False
    again = """UPDATE agent SET expires_at = ?, client = ?, scope = ?
        WHERE id = ? AND epoch = ? AND state = 'claimed' AND expires_at > ?"""
    values = (step.expires_at, step.client, found.scope or step.scope)
    return rows.run(again, (*values, step.agent, step.epoch, step.now)) == 1


def _keep_person(rows: Rows, person: Person) -> bool:
    """Keep a person; false where another one was made of the address since it was looked up."""
    insert = (
        "INSERT INTO agent_person (id, address, issuer, subject) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
    )
    rows.run(insert, (person.id, person.address, person.issuer, person.subject))
    return person_of(rows.rows(PERSON_BY_ID, (person.id,))) == person


def _issue(rows: Rows, step: IssueToAgent) -> bool:
    found = registration_of(rows.rows(BY_ID, (step.agent,)))
    if found is None or found.epoch != step.epoch or found.state == "revoked" or found.expires_at <= step.now:
        return False
    insert = """INSERT INTO token (token_id, subject, service, issued_at, expires_at, kind)
        VALUES (?, ?, ?, ?, ?, 'agent') ON CONFLICT DO NOTHING"""
    values = (step.token_id, step.subject, step.service, step.issued_at, step.expires_at)
    return rows.run(insert, values) == 1


def _use(rows: Rows, step: UseToken | EndOrigin) -> bool:
    # A DeskClient's name has no colon, so that no client's assertion is another one's token here.
    kind = "event" if isinstance(step, EndOrigin) else "token"
    insert = (
        "INSERT INTO assertion (client, assertion_id, expires_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    )
    return rows.run(insert, (f"{kind}:{step.issuer}", step.token_id, step.expires_at)) == 1


def _end(rows: Rows, step: EndOrigin) -> bool:
    if not _use(rows, step):
        return False
    for row in rows.rows(LIVE_OF_ORIGIN, (step.origin,)):
        _revoke(rows, str(row[0]), step.now)
    return True


def _revoke(rows: Rows, agent: str, now: int) -> bool:
    end = """UPDATE agent SET state = 'revoked', epoch = epoch + 1, refresh_digest = NULL
        WHERE id = ? AND state <> 'revoked'"""
    if rows.run(end, (agent,)) != 1:
        return False
    rows.run("DELETE FROM agent_attempt WHERE agent = ?", (agent,))
    rows.run(_REVOKE_TOKENS, (f"agent:{agent}", now))
    return True


def _forget(rows: Rows, step: ForgetPerson) -> bool:
    for attempt in rows.rows(ATTEMPTS_TO_ADDRESS, (step.address,)):
        found = registration_of(rows.rows(BY_ID, (attempt[1],)))
        if found is not None and found.origin:
            rows.run("DELETE FROM agent WHERE id = ?", (found.id,))
    attempts = rows.run("DELETE FROM agent_attempt WHERE address = ?", (step.address,))
    people = rows.rows(PEOPLE_BY_ADDRESS, (step.address,))
    for person in people:
        for row in rows.rows(AGENTS_OF_PERSON, (person[0],)):
            _revoke(rows, str(row[0]), step.now)
        rows.run("UPDATE agent SET person = '', origin = '' WHERE person = ?", (person[0],))
    rows.run("DELETE FROM agent_person WHERE address = ?", (step.address,))
    return attempts > 0 or bool(people)
