# SPDX-License-Identifier: Apache-2.0
"""The person's side of a claim: GET /claim, and the forms behind it.

The link that an agent gets proves nothing: who opens it can only have a mail sent to the address that the
agent named, or sign in. What confirms is a second secret, which no answer to an agent ever holds: it is in
that mail, or on the page after the sign-in. A GET changes nothing, since scanners and previews open links.
"""

from typing import Final

from watchword.desk.agents import events, pages, storage
from watchword.desk.agents.core import DAY_SECONDS, AgentCore, policy_of, timestamp
from watchword.desk.agents.mail import Mailer
from watchword.desk.agents.minting import NOTHING, bounded, scope_text
from watchword.desk.agents.policy import AgentPolicy, domain_of
from watchword.desk.agents.reasons import AgentReason
from watchword.desk.agents.records import Attempt, Confirm, CountUse, Deny, OpenProof, Registration
from watchword.desk.agents.secrets import (
    ATTEMPT,
    MAILED,
    digest_of,
    digest_of_address,
    digest_of_code,
    looks_like,
    new_code,
    new_secret,
)
from watchword.desk.agents.sign_in import SignIn
from watchword.desk.audit_events import RequestFacts
from watchword.desk.forms import Form
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.desk.responses import Answer
from watchword.desk.state import DeskState
from watchword.identity import Grant

# Mails to one address in a day, no matter who asks.
MAILS_OF_ADDRESS: Final = 10


class Confirmation:
    """The pages of one desk."""

    def __init__(self, core: AgentCore, mailer: Mailer, sign_in: SignIn) -> None:
        """Take the store, what sends mails, and what signs people in."""
        self._core, self._mailer, self._sign_in = core, mailer, sign_in

    async def show(self, query: Form, state: DeskState, facts: RequestFacts) -> Answer | DeskRefusal:
        """GET /claim: the page of an agent's link, or of a mail's."""
        secret, token = query.one("secret"), query.one("attempt")
        if secret is not None and token is None:
            found = await self._by_secret(secret, state, facts)
            if isinstance(found, DeskRefusal):
                return found
            return await self._decision(secret, *found, state)
        asked = await self._by_token(token, state, facts)
        if isinstance(asked, DeskRefusal):
            return asked
        attempt, by = asked
        domain = domain_of(attempt.address)
        provider = policy_of(state).domains.get(domain)
        forms_to = ""
        if provider is not None:
            found_origin = await self._sign_in.origin_of(provider)
            if isinstance(found_origin, DeskRefusal):
                return found_origin
            forms_to = found_origin
        return pages.proof_page(attempt, token or "", signs_in=provider is not None, forms_to=forms_to, by=by)

    async def mail(self, form: Form, state: DeskState, facts: RequestFacts) -> Answer | DeskRefusal:
        """POST /claim/mail: have the second secret mailed, if there is someone who may confirm by it."""
        asked = await self._by_token(form.one("attempt"), state, facts)
        if isinstance(asked, DeskRefusal):
            return asked
        attempt, policy, now = asked[0], policy_of(state), int(facts.at)
        if policy.proof_for(attempt.address) == "sign_in":
            return refuse(AgentReason.SIGN_IN_FAILED, "The people of this domain sign in; no mail is sent.")
        # The same steps whether the address is known or not: neither the answer nor its time tells.
        is_known = policy.proof_for(attempt.address) == "mail"
        secret = new_secret(MAILED)
        counted = await self._core.step(
            CountUse(
                key=f"mails {digest_of_address(attempt.address)}" if is_known else "mails to no one",
                at_most=MAILS_OF_ADDRESS,
                until=now + DAY_SECONDS,
                now=now,
            )
        )
        if isinstance(counted, DeskRefusal):
            return counted
        is_sent = is_known and counted[0]
        opened = await self._core.step(
            OpenProof(
                attempt=attempt.digest,
                secret_digest=digest_of(secret),
                now=now,
                event=events.proof_opened(facts, attempt.agent, "mail" if is_sent else "none"),
            )
        )
        if isinstance(opened, DeskRefusal):
            return opened
        if is_known and not is_sent:
            self._mailer.hold_back(f"{MAILS_OF_ADDRESS} mails went to the address within a day")
        elif is_sent and opened[0]:
            self._mailer.send(policy, attempt.address, f"{state.issuer}/claim?secret={secret}")
        return pages.mailed_page()

    async def begin_sign_in(self, form: Form, state: DeskState, facts: RequestFacts) -> Answer | DeskRefusal:
        """POST /claim/sign-in: lead to the provider of the address's domain."""
        token = form.one("attempt")
        asked = await self._by_token(token, state, facts)
        if isinstance(asked, DeskRefusal):
            return asked
        provider = policy_of(state).domains.get(domain_of(asked[0].address))
        if provider is None:
            return refuse(AgentReason.SIGN_IN_FAILED, "No provider is named for the domain.")
        return await self._sign_in.begin(provider, token or "", state.issuer)

    async def signed_in(
        self, query: Form, cookies: str, state: DeskState, facts: RequestFacts
    ) -> Answer | DeskRefusal:
        """GET /claim/callback: the provider says who signed in. The attempt itself is not changed by it."""
        started = self._sign_in.started(query, cookies)
        if isinstance(started, DeskRefusal):
            return started
        asked = await self._by_token(started.attempt, state, facts)
        if isinstance(asked, DeskRefusal):
            return asked
        attempt = asked[0]
        provider = policy_of(state).domains.get(domain_of(attempt.address))
        if provider is None or provider.issuer != started.issuer:
            return refuse(AgentReason.SIGN_IN_FAILED, "The provider of the domain has changed meanwhile.")
        who = await self._sign_in.finish(provider, started, query, state.issuer, facts.at)
        if isinstance(who, DeskRefusal):
            return who
        if who.address != attempt.address:
            return refuse(AgentReason.WRONG_PERSON)
        secret = new_secret(MAILED)
        opened = await self._core.step(
            OpenProof(
                attempt=attempt.digest,
                secret_digest=digest_of(secret),
                issuer=provider.issuer,
                subject=who.subject,
                now=int(facts.at),
                event=events.proof_opened(facts, attempt.agent, "sign_in"),
            )
        )
        if isinstance(opened, DeskRefusal):
            return opened
        found = await self._by_secret(secret, state, facts)
        if isinstance(found, DeskRefusal):
            return found
        return await self._decision(secret, *found, state)

    async def decide(self, form: Form, state: DeskState, facts: RequestFacts) -> Answer | DeskRefusal:
        """POST /claim/confirm: the person allows it and sees the code, or refuses."""
        secret, decision, now = form.one("secret"), form.one("decision"), int(facts.at)
        found = await self._by_secret(secret, state, facts)
        if isinstance(found, DeskRefusal):
            return found
        (attempt, registration, granted), digest = found, digest_of(secret or "")
        if decision == "refuse":
            denied = await self._core.step(
                Deny(secret_digest=digest, now=now, event=events.denied(facts, attempt.agent))
            )
            if isinstance(denied, DeskRefusal):
                return denied
            # Another answer to the same question may have come first; then this one changed nothing.
            return pages.refused_page() if denied[0] else refuse(AgentReason.ALREADY_CONFIRMED)
        if decision != "allow":
            return refuse(AgentReason.LINK_ENDED, "The form says neither allow nor refuse.")
        code = new_code()
        step = Confirm(
            secret_digest=digest,
            code_digest=digest_of_code(attempt.digest, code),
            scope=_shown(form, granted) if registration.provider else "",
            now=now,
            event=events.confirmed(facts, attempt.agent),
        )
        confirmed = await self._core.step(step)
        if isinstance(confirmed, DeskRefusal):
            return confirmed
        return pages.code_page(code) if confirmed[0] else refuse(AgentReason.ALREADY_CONFIRMED)

    async def _by_token(
        self, token: str | None, state: DeskState, facts: RequestFacts
    ) -> tuple[Attempt, str] | DeskRefusal:
        """The open attempt of a link, and what the provider is called that the agent came by; or empty."""
        if token is None or not looks_like(ATTEMPT, token):
            return refuse(AgentReason.LINK_ENDED)
        attempt = await self._open(storage.ATTEMPT_BY_DIGEST, token, facts)
        if isinstance(attempt, DeskRefusal):
            return attempt
        found = await self._core.look(storage.BY_ID, attempt.agent)
        if isinstance(found, DeskRefusal):
            return found
        registration = storage.registration_of(found)
        by = None if registration is None else _shown_provider(registration, state)
        return refuse(AgentReason.LINK_ENDED) if by is None else (attempt, by)

    async def _by_secret(
        self, secret: str | None, state: DeskState, facts: RequestFacts
    ) -> tuple[Attempt, Registration, Grant] | DeskRefusal:
        """The open attempt that a secret may confirm, with the agent, and what it is to get."""
        if secret is None or not looks_like(MAILED, secret):
            return refuse(AgentReason.LINK_ENDED)
        attempt = await self._open(storage.ATTEMPT_BY_SECRET, secret, facts)
        if isinstance(attempt, DeskRefusal):
            return attempt
        found = await self._core.look(storage.BY_ID, attempt.agent)
        if isinstance(found, DeskRefusal):
            return found
        registration = storage.registration_of(found)
        if registration is None or registration.state != "unclaimed":
            return refuse(AgentReason.LINK_ENDED)
        granted = _granted(policy_of(state), attempt, registration)
        if granted is None:
            return refuse(AgentReason.LINK_ENDED, internal="the proof no longer counts")
        return attempt, registration, granted

    async def _decision(
        self, secret: str, attempt: Attempt, registration: Registration, grant: Grant, state: DeskState
    ) -> Answer | DeskRefusal:
        """The page that asks, with what the same client may do already for the same person."""
        before: tuple[str, ...] = ()
        if registration.origin:
            rows = await self._core.look(storage.LINK_OF_CLIENT, registration.origin, registration.client)
            if isinstance(rows, DeskRefusal):
                return rows
            link = storage.registration_of(rows)
            if link is not None and link.scope not in ("", NOTHING):
                people = await self._core.look(storage.PERSON_BY_ID, link.person)
                if isinstance(people, DeskRefusal):
                    return people
                person = storage.person_of(people)
                proof = attempt.address, attempt.proven_issuer, attempt.proven_subject
                if person is not None and (person.address, person.issuer, person.subject) == proof:
                    before = bounded(Grant(policy_of(state).claimed_scopes), link.scope).scopes
        since, by = timestamp(registration.made_at), _shown_provider(registration, state) or ""
        return pages.decision_page(secret, attempt, registration, since, grant, by=by, before=before)

    async def _open(self, statement: str, secret: str, facts: RequestFacts) -> Attempt | DeskRefusal:
        """The attempt that a look finds by a secret's digest, if it is still to be answered."""
        rows = await self._core.look(statement, digest_of(secret))
        if isinstance(rows, DeskRefusal):
            return rows
        attempt = storage.attempt_of(rows)
        if attempt is None or attempt.expires_at <= facts.at:
            return refuse(AgentReason.LINK_ENDED)
        return attempt if attempt.state == "open" else refuse(AgentReason.ALREADY_CONFIRMED)


def _granted(policy: AgentPolicy, attempt: Attempt, registration: Registration) -> Grant | None:
    accounts = policy.accounts_by(registration, attempt.address, attempt.proven_issuer)
    if accounts is None or not policy.claimed_scopes:
        return None
    return bounded(Grant(policy.claimed_scopes, accounts), registration.scope or None)


def _shown_provider(registration: Registration, state: DeskState) -> str | None:
    """What people see of the provider that an agent came by; empty: it came by itself; None: it is gone."""
    if not registration.provider:
        return ""
    found = policy_of(state).provider_of(registration)
    return None if found is None else found.display_name


def _shown(form: Form, granted: Grant) -> str:
    """The scopes that the page showed, of those that are still granted: what the person agrees to."""
    shown = form.one("scopes")
    return scope_text((granted if shown is None else bounded(granted, shown)).scopes)
