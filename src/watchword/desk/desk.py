# SPDX-License-Identifier: Apache-2.0
"""What the desk does with a form: exchange, introspect, revoke. Each answer is durable before it is given.

The state is taken once for each request. A refusal is noted or counted, never waited for: no stranger can
make issuing wait for the log.
"""

import asyncio
import hmac
import time
from collections.abc import Callable, Sequence
from typing import Any

from watchword.desk import audit_events
from watchword.desk.admin.authentication import bearer_claims
from watchword.desk.admin.credentials import (
    CLIENT_CREDENTIALS,
    NO_SERVICE,
    mint_admin_token,
    refuse_grants,
)
from watchword.desk.admin.standing import AdminGrants, AdminStanding, read_standing
from watchword.desk.agents import minting as agent_minting
from watchword.desk.agents.assertions import read_assertion
from watchword.desk.agents.confirmation import Confirmation
from watchword.desk.agents.core import AgentCore
from watchword.desk.agents.endpoints import AgentEndpoints
from watchword.desk.agents.mail import Mailer
from watchword.desk.agents.provider_fetches import ProviderFetches
from watchword.desk.agents.sign_in import SignIn
from watchword.desk.agents.tokens import agent_token, revoke_delegation, why_agent_holds_nothing
from watchword.desk.audit_chain import AuditEvent
from watchword.desk.audit_events import RequestFacts, StrangerTally
from watchword.desk.clients import (
    ASSERTION_TYPE,
    Authenticated,
    Client,
    authenticate,
    credential_ends,
    presents_client,
)
from watchword.desk.exchange import GRANT_TYPE, Exchange, decide_exchange, read_exchange
from watchword.desk.forms import Form
from watchword.desk.memory import Remembered
from watchword.desk.metrics import DeskMetrics
from watchword.desk.minting import new_token_id
from watchword.desk.own_tokens import (
    GoodToken,
    read_own_token,
    still_good,
    target_named_by,
)
from watchword.desk.rate_limits import Buckets
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import RETRY_SECONDS, DeskRefusal, not_ready, refuse
from watchword.desk.responses import Answer, json_answer
from watchword.desk.state import DeskState
from watchword.desk.store import (
    DeskStore,
    DeskStoreError,
    Issue,
    KnownToken,
    Note,
    Operation,
    Revoke,
    UseAssertion,
)
from watchword.desk.subjects import ProvenToken, prove
from watchword.desk.writer import Writer
from watchword.identity.desk_claims import DeskClaims
from watchword.process.logs import LOGGER
from watchword.trust.desk_revocations import may_pass

# Notes that may wait to be written: what comes beyond is counted with the strangers' refusals.
MAX_NOTES: int = 512
# Looked up where there is no token to look up, so that both take their time.
_NO_TOKEN = "0" * 32
_INACTIVE = {"active": False}


class Desk:
    """One desk. Belongs to one event loop.

    Attributes:
        state: what it runs; None until there is a configuration.
        is_changed: set when something was revoked that gates must be told of.
    """

    def __init__(
        self,
        store: DeskStore,
        writer: Writer,
        metrics: DeskMetrics,
        *,
        subjects_per_second: float = 50.0,
        subjects_burst: int = 100,
        registrations_per_hour: float = 5.0,
        registrations_per_minute: float = 60.0,
        unclaimed_per_minute: float = 300.0,
        admins: AdminGrants | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the store and what writes to it, what counts, and the rates.

        Args:
            store: what remembers.
            writer: what writes to it.
            metrics: what counts.
            subjects_per_second: requests of one proven caller in the long run; 0: no limit.
            subjects_burst: requests of one proven caller at once.
            registrations_per_hour: agents that one address may register; 0: no limit.
            registrations_per_minute: agents that all addresses together may register; 0: no limit.
            unclaimed_per_minute: tokens that all unclaimed agents together may ask for; 0: no limit.
            admins: reads whether a client is an admin; None: none is.
            clock: seconds since the epoch.
            monotonic: seconds on a clock that never goes back.
        """
        self._admins = admins
        self._store, self._writer, self.metrics = store, writer, metrics
        self.clock, self.monotonic = clock, monotonic
        self._callers = Buckets(subjects_per_second, subjects_burst)
        self.state: DeskState | None = None
        self._remembered = _Memory(None)
        self.is_changed = asyncio.Event()
        self.strangers = StrangerTally()
        self._notes: set[asyncio.Task[None]] = set()
        self._agents = AgentCore(
            self._look,
            self._write,
            monotonic=monotonic,
            registrations_per_hour=registrations_per_hour,
            registrations_per_minute=registrations_per_minute,
            unclaimed_per_minute=unclaimed_per_minute,
            callers=self._callers,
            on_revoked=self.is_changed.set,
        )
        self.mailer = Mailer(metrics.agent_mails)
        confirmation = Confirmation(self._agents, self.mailer, SignIn(ProviderFetches()))
        self.agent_endpoints = AgentEndpoints(self._agents, confirmation)

    async def exchange(
        self, form: Form, authorization: Sequence[bytes], facts: RequestFacts
    ) -> Answer | DeskRefusal:
        """POST /oauth2/token."""
        grant_type = form.required("grant_type")
        if isinstance(grant_type, DeskRefusal):
            return grant_type
        if grant_type == CLIENT_CREDENTIALS:
            return await self._client_credentials(form, authorization, facts)
        if (
            grant_type == agent_minting.GRANT_TYPE
            and self.state is not None
            and self.state.agents is not None
        ):
            return await self._agent_token(form, authorization, self.state, facts)
        if grant_type != GRANT_TYPE:
            return refuse(DeskReason.UNSUPPORTED_GRANT_TYPE)
        state = self.state
        if state is None or state.signing is None:
            return not_ready()
        request = read_exchange(form)
        if isinstance(request, DeskRefusal):
            return request
        if presents_client(form, authorization) and not _is_its_own_assertion(form, authorization):
            return await self._client_that_may_not(form, authorization, state)
        token_id = new_token_id(facts.at)
        proven = self._proven(request.subject_token, state, facts.at)
        if isinstance(proven, DeskRefusal):
            return proven
        decided = decide_exchange(request, proven, state, facts.at, token_id)
        subject = decided.subject if isinstance(decided, DeskRefusal) else decided.claims.subject
        if subject and (wait := self._callers.take(subject, self.monotonic())):
            # Not noted: a caller that is over its rate would write the log as fast as it likes.
            return refuse(DeskReason.RATE_LIMITED, "The workload is over its rate.", retry_after=wait)
        if isinstance(decided, DeskRefusal):
            return decided
        return await self._issue(decided, state, facts)

    async def introspect(
        self, form: Form, authorization: Sequence[bytes], facts: RequestFacts
    ) -> Answer | DeskRefusal:
        """POST /oauth2/introspect."""
        state = self.state
        if state is None:
            return not_ready()
        client = await self._client(form, authorization, state)
        if isinstance(client, DeskRefusal):
            return client
        if client.type != "ResourceServer":
            return refuse(DeskReason.CLIENT_NOT_ALLOWED, subject=f"client:{client.name}")
        if wait := self._callers.take(f"client:{client.name}", self.monotonic()):
            return refuse(DeskReason.RATE_LIMITED, "The client is over its rate.", retry_after=wait)
        token = form.required("token")
        if isinstance(token, DeskRefusal):
            return token
        found = self._good(token, state, facts.at)
        # Looked up in any case: the time of the answer says nothing of why a token is inactive.
        known = await self._find(_NO_TOKEN if found is None else found.claims.token_id)
        if isinstance(known, DeskRefusal):
            return known
        why = (
            "it is no token of this desk, has ended, or no gate would take it"
            if found is None
            else _why_unknown_to(state, client, found, known, facts.at)
        )
        if found is not None and not why and found.claims.kind == "agent":
            asked = await why_agent_holds_nothing(self._agents, found.claims.subject, state)
            if isinstance(asked, DeskRefusal):
                return asked
            why = asked
        if found is not None and not why:
            self.metrics.count(self.metrics.introspections, "active")
            return Answer(200, found.answer)
        self.metrics.count(self.metrics.introspections, "inactive")
        extra = {"client": client.name, "detail": why, "request_id": facts.request_id}
        LOGGER.info("a token was said to be inactive", extra=extra)
        return json_answer(_INACTIVE)

    async def revoke(
        self, form: Form, authorization: Sequence[bytes], facts: RequestFacts
    ) -> Answer | DeskRefusal:
        """POST /oauth2/revoke. A 2xx means that it is durable; unknown tokens are answered alike."""
        state = self.state
        if state is None:
            return not_ready()
        by = "holder"
        if presents_client(form, authorization):
            proven = self._workload(form, authorization, state, facts.at)
            if proven is None:
                client = await self._client(form, authorization, state)
                if isinstance(client, DeskRefusal):
                    return client
                by = f"client:{client.name}"
            else:
                by = proven
        token = form.required("token")
        if isinstance(token, DeskRefusal):
            return token
        if state.agents is not None and by == "holder":
            ended = await revoke_delegation(self._agents, token, state, facts)
            if ended is not None:
                self.is_changed.set()
                return ended
        claims = read_own_token(token, state)
        if claims is None or not may_pass(claims.expires_at, facts.at):
            return Answer(200)
        if by not in ("holder", claims.subject):
            self._note(audit_events.revocation_ignored(facts, claims, by))
            return Answer(200)
        return await self._revoke_token(claims, by, state, facts)

    async def _revoke_token(
        self, claims: DeskClaims, by: str, state: DeskState, facts: RequestFacts
    ) -> Answer | DeskRefusal:
        target = state.by_audience.get(claims.audience)
        service = claims.audience if target is None else target.service
        if claims.kind == "admin":
            service = NO_SERVICE
        operation = Revoke(
            token_id=claims.token_id,
            subject=claims.subject,
            service=service,
            issued_at=claims.issued_at,
            expires_at=claims.expires_at,
            event=audit_events.token_revoked(facts, claims, service, by),
        )
        effects = await self._write(operation)
        if isinstance(effects, DeskRefusal):
            return effects
        if effects[0]:
            self.metrics.count(self.metrics.revoked, service or "admin")
        self.is_changed.set()
        return Answer(200)

    def refuse_admin(self, authorization: Sequence[bytes]) -> DeskRefusal | None:
        """The refusal of a request that shows an admin's token where none is taken; None: it shows none."""
        state = self.state
        if state is None or not any(each[:7].lower() == b"bearer " for each in authorization):
            return None
        for each in authorization:
            claims = bearer_claims([each], state)
            if not isinstance(claims, DeskRefusal) and claims.kind == "admin":
                return refuse(DeskReason.WRONG_TOKEN_KIND, subject=claims.subject)
        return None

    def note_refusal(self, endpoint: str, refusal: DeskRefusal, facts: RequestFacts) -> None:
        """Have a refusal in the audit log, by itself where the caller is proven, and else counted.

        Which check a stranger failed is in the process's own log, which loses lines in a flood.
        """
        if refusal.subject and refusal.code != DeskReason.RATE_LIMITED.code and self._has_room():
            self._note(audit_events.refused(facts, endpoint, refusal))
        else:
            self.strangers.count(endpoint, refusal, facts.peer)
            if refusal.internal:
                extra = {"endpoint": endpoint, "reason": refusal.code, "request_id": facts.request_id}
                LOGGER.info("a caller was refused", extra=extra | {"detail": refusal.internal})

    async def note_changes(self, changes: Sequence[UseAssertion]) -> None:
        """Write what became of admin clients; what was noted before is not noted again."""
        if changes:
            await self._write(*changes)

    async def write_strangers(self) -> None:
        """Write what strangers were refused since the last time."""
        event = self.strangers.take(self.clock())
        if event is not None:
            await self._write(Note(event))

    async def finish_notes(self) -> None:
        """Wait for the notes that are on their way."""
        await asyncio.gather(*self._notes, return_exceptions=True)

    async def _issue(self, exchange: Exchange, state: DeskState, facts: RequestFacts) -> Answer | DeskRefusal:
        claims, signing = exchange.claims, state.signing
        if signing is None:
            return not_ready()
        token = signing.sign(claims)
        if token is None:
            return refuse(DeskReason.TOKEN_WOULD_BE_TOO_LARGE, subject=claims.subject)
        operation = Issue(
            token_id=claims.token_id,
            subject=claims.subject,
            service=exchange.target.service,
            issued_at=claims.issued_at,
            expires_at=claims.expires_at,
            event=audit_events.token_issued(facts, exchange, signing.kid),
        )
        effects = await self._write(operation)
        if isinstance(effects, DeskRefusal):
            return effects
        self.metrics.count(self.metrics.issued, exchange.target.service)
        return json_answer(
            {
                "access_token": token,
                "issued_token_type": exchange.issued_type,
                "token_type": "Bearer",
                "expires_in": max(0, int(claims.expires_at - self.clock())),
                "scope": claims.scope,
                "authorization_details": claims.details,
            }
        )

    async def _client_credentials(
        self, form: Form, authorization: Sequence[bytes], facts: RequestFacts
    ) -> Answer | DeskRefusal:
        """A token for the admin API, to an admin client alone."""
        state = self.state
        if state is None or state.signing is None:
            return not_ready()
        refused = refuse_grants(form)
        if refused is not None:
            return refused
        client = await self._client(form, authorization, state)
        if isinstance(client, DeskRefusal):
            return client
        if wait := self._callers.take(f"client:{client.name}", self.monotonic()):
            return refuse(DeskReason.RATE_LIMITED, "The client is over its rate.", retry_after=wait)
        standing = AdminStanding("the desk has no way to read it")
        if self._admins is not None:
            found = await read_standing(self._admins, client.name)
            if isinstance(found, DeskRefusal):
                return found
            standing = found
        made = mint_admin_token(
            client,
            standing,
            state,
            signing=state.signing,
            facts=facts,
            token_id=new_token_id(facts.at),
            credential_ends=credential_ends(form, client),
        )
        if isinstance(made, DeskRefusal):
            return made
        effects = await self._write(made.operation)
        if isinstance(effects, DeskRefusal):
            return effects
        self.metrics.count(self.metrics.issued, "admin")
        return json_answer(made.document(self.clock()))

    async def _agent_token(
        self, form: Form, authorization: Sequence[bytes], state: DeskState, facts: RequestFacts
    ) -> Answer | DeskRefusal:
        """A token for an agent, by its own identity assertion (RFC 7523)."""
        if presents_client(form, authorization):
            return await self._client_that_may_not(form, authorization, state)
        claims = read_assertion(form.one("assertion") or "", state)
        if claims is not None and (wait := self._callers.take(claims.sub, self.monotonic())):
            return refuse(DeskReason.RATE_LIMITED, "The agent is over its rate.", retry_after=wait)
        issued = await agent_token(self._agents, form, claims, state, facts)
        if isinstance(issued, DeskRefusal):
            return issued
        answer, service = issued
        self.metrics.count(self.metrics.issued, service)
        return answer

    async def _look(
        self, statement: str, parameters: Sequence[object]
    ) -> list[tuple[Any, ...]] | DeskRefusal:
        try:
            if self._store.answers_at_once:
                return self._store.look(statement, parameters)
            return await asyncio.to_thread(self._store.look, statement, parameters)
        except DeskStoreError as error:
            return self._failed(error)

    def _memory(self, state: DeskState) -> "_Memory":
        """What was proven under this very state."""
        if self._remembered.state is not state:
            self._remembered = _Memory(state)
        return self._remembered

    def _proven(self, token: str, state: DeskState, now: float) -> ProvenToken | DeskRefusal:
        """What is proven of a subject token. Its times are judged again for each target."""
        memory = self._memory(state).subjects
        known = memory.get(token, now)
        if known is not None:
            return known
        proven = prove(token, state.anyone, now)
        if isinstance(proven, ProvenToken):
            memory.put(token, proven, proven.claims.expires_at or 0.0)
        return proven

    def _good(self, token: str, state: DeskState, now: float) -> GoodToken | None:
        """What a token of the desk says, if gates would take it; None: they would not."""
        memory = self._memory(state).tokens
        known = memory.get(token, now)
        if known is not None:
            return known
        target = target_named_by(token, state)
        found = None if target is None else still_good(token, target, state.issuer, now)
        if found is not None:
            memory.put(token, found, found.valid_until)
        return found

    async def _client(
        self, form: Form, authorization: Sequence[bytes], state: DeskState
    ) -> Client | DeskRefusal:
        assertion = form.one("client_assertion")
        memory, now = self._memory(state).clients, self.clock()
        if assertion is not None and not authorization and form.one("client_secret") is None:
            known = memory.get(assertion, now)
            is_named = form.one("client_id") in (None, known.name if known is not None else None)
            if known is not None and is_named and form.one("client_assertion_type") == ASSERTION_TYPE:
                return known
        found = authenticate(form, authorization, state.clients, state.assertions, now=now)
        if isinstance(found, DeskRefusal):
            return found
        if assertion is not None and found.once is None and found.valid_until > now:
            memory.put(assertion, found.client, found.valid_until)
        return await self._once(found)

    async def _once(self, found: Authenticated) -> Client | DeskRefusal:
        if found.once is not None:
            effects = await self._write(found.once)
            if isinstance(effects, DeskRefusal):
                return effects
            if not effects[0]:
                return refuse(DeskReason.REPLAYED_ASSERTION, subject=f"client:{found.client.name}")
        return found.client

    async def _client_that_may_not(
        self, form: Form, authorization: Sequence[bytes], state: DeskState
    ) -> DeskRefusal:
        """Clients have no grant of their own: a resource server that could mint would be a workload."""
        client = await self._client(form, authorization, state)
        if isinstance(client, DeskRefusal):
            return client
        detail = "A client may not exchange tokens; the workload does, with its own token alone."
        return refuse(DeskReason.CLIENT_NOT_ALLOWED, detail, subject=f"client:{client.name}")

    def _workload(
        self, form: Form, authorization: Sequence[bytes], state: DeskState, now: float
    ) -> str | None:
        """The workload that a client assertion is the projected token of; None: it is none, or a client's."""
        assertion = form.one("client_assertion")
        if assertion is None or authorization or form.one("client_secret") is not None:
            return None
        proven = prove(assertion, state.anyone, now, is_client=True)
        if isinstance(proven, DeskRefusal):
            return None
        is_client = (proven.issuer, proven.claims.subject or "") in state.clients.by_account
        return None if is_client else proven.subject

    async def _find(self, token_id: str) -> KnownToken | DeskRefusal | None:
        try:
            if self._store.answers_at_once:
                return self._store.find(token_id)
            return await asyncio.to_thread(self._store.find, token_id)
        except DeskStoreError as error:
            return self._failed(error)

    async def _write(self, *operations: Operation) -> list[bool] | DeskRefusal:
        try:
            return await self._writer.write(*operations)
        except DeskStoreError as error:
            return self._failed(error)

    def _failed(self, error: DeskStoreError) -> DeskRefusal:
        self.metrics.store_failures.inc()
        LOGGER.error("the store failed", extra={"detail": error.detail, "remedy": error.remedy})
        return refuse(DeskReason.STORE_UNAVAILABLE, retry_after=RETRY_SECONDS)

    def _has_room(self) -> bool:
        return len(self._notes) < MAX_NOTES

    def _note(self, event: AuditEvent) -> None:
        async def write() -> None:
            try:
                await self._writer.write(Note(event))
            except DeskStoreError as error:
                self.metrics.store_failures.inc()
                extra = {"event": event.event, "why": error.detail, **event.fields}
                LOGGER.error("an audit entry was lost", extra=extra)

        task = asyncio.create_task(write())
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)


class _Memory:
    """What was proven under one state."""

    def __init__(self, state: DeskState | None) -> None:
        self.state = state
        self.subjects: Remembered[ProvenToken] = Remembered()
        self.clients: Remembered[Client] = Remembered()
        self.tokens: Remembered[GoodToken] = Remembered()


def _is_its_own_assertion(form: Form, authorization: Sequence[bytes]) -> bool:
    """Whether a workload authenticates by the very token that it exchanges, as some clients do."""
    assertion, subject = form.one("client_assertion"), form.one("subject_token")
    if authorization or form.one("client_secret") is not None or assertion is None or subject is None:
        return False
    return hmac.compare_digest(assertion.encode(), subject.encode())


def _why_unknown_to(
    state: DeskState, client: Client, found: GoodToken, known: KnownToken | None, now: float
) -> str:
    """Why a client is told that a token is inactive, for the desk's log alone; empty: it is told all of it.

    Both sides must say that it may: the service names the client, and the client the service.
    """
    claims = found.claims
    target = state.by_audience.get(claims.audience)
    if target is None or claims.expires_at <= now:
        return "it has ended, or is for no service of this desk"
    if client.name not in target.resource_servers:
        return f"spec.resourceServers of the ProtectedService {target.service} does not name the client"
    if target.service not in client.services:
        return f"spec.serviceRefs of the DeskClient does not name {target.service}"
    if known is None or known.service != target.service:
        return "the store does not know it"
    if known.is_revoked:
        return "it was revoked"
    return "" if found.answer else "its workload is granted nothing any more"
