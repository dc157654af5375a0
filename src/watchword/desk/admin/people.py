# SPDX-License-Identifier: Apache-2.0
"""People sign in to the admin API: an ID token of their provider in, a token of an admin client out.

A person is a DeskClient as an automation is, so all that guards a flag guards hers, and the provider is in
the guarded object itself. The order is the promise: the ticket of this desk, then whether a person of that
provider could be an admin at all, and only then is the provider asked for its keys.
"""

import hashlib
from typing import Any, Final

import msgspec

from watchword.desk.admin.credentials import AdminToken, mint_admin_token
from watchword.desk.admin.parameters import read_body
from watchword.desk.admin.standing import AdminGrants, read_standing
from watchword.desk.admin.tickets import new_ticket, nonce_of, read_ticket
from watchword.desk.agents.oidc_http import ProviderError
from watchword.desk.agents.provider_fetches import ProviderFetches
from watchword.desk.audit_events import RequestFacts
from watchword.desk.id_tokens import SignedIn, read_id_token
from watchword.desk.minting import new_token_id
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, not_ready, refuse
from watchword.desk.state import DeskState
from watchword.desk.store import UseAssertion
from watchword.identity import EncodingError, Key, Refusal, parse_json_object
from watchword.identity.compact import UnverifiedToken, parse_compact
from watchword.process.logs import LOGGER
from watchword.trust.admin_grants import is_flagged
from watchword.trust.api.v1alpha1 import ClientPerson, DeskClient
from watchword.trust.desk_tokens import CLIENT_PREFIX

# How old an ID token may be, and the longest life of a person's token, in seconds.
MAX_AGE_SECONDS: Final = 300
LONGEST_SECONDS: Final = 900
_SKEW_SECONDS: Final = 60
# In front of what the audit log calls a person who is no client.
PERSON_PREFIX: Final = "person:"
# No DeskClient can be called so: what is used once here is no client's assertion.
_SIGN_INS: Final = "(sign-in)"


class SignInBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person's command line posts. Its repr shows nothing.

    Attributes:
        id_token: from the provider.
        ticket: from this desk; the ID token's nonce is its digest.
    """

    id_token: str
    ticket: str

    def __repr__(self) -> str:
        return "SignInBody()"


class Accepted(msgspec.Struct, frozen=True):
    """A sign-in that holds, to be written: first that the ticket is used, then the token."""

    once: UseAssertion
    token: AdminToken


class People:
    """Signs people in at one desk's admin API. Belongs to one event loop."""

    def __init__(
        self,
        grants: AdminGrants,
        providers: ProviderFetches | None = None,
    ) -> None:
        """Ask `grants` who is an admin now, and providers for their keys."""
        self._grants, self._providers = grants, providers or ProviderFetches()

    def begin(self, state: DeskState, facts: RequestFacts) -> dict[str, Any] | DeskRefusal:
        """The providers at which someone could sign in, and a ticket; names no person."""
        if state.signing is None:
            return not_ready()
        pairs = sorted({(each.issuer, each.client_id) for each in _people(state).values()})
        ticket = new_ticket(state, state.signing, new_token_id(facts.at), facts.at)
        providers = [{"issuer": issuer, "client_id": client_id} for issuer, client_id in pairs]
        return {"issuer": state.issuer, "providers": providers, "ticket": ticket}

    async def finish(
        self, body: bytes, content_types: list[bytes], state: DeskState, facts: RequestFacts
    ) -> Accepted | DeskRefusal:
        """Judge a sign-in; nothing is written yet."""
        given = read_body(body, content_types, SignInBody)
        if isinstance(given, DeskRefusal):
            return given
        if state.signing is None:
            return not_ready()
        ticket = read_ticket(given.ticket, state, facts.at)
        if ticket is None:
            return refuse(DeskReason.SIGN_IN_NOT_BEGUN)
        proven = await self._proven(given, state, facts.at)
        if isinstance(proven, DeskRefusal):
            return proven
        issuer, client_id, person = proven
        found = _client_of(state, issuer, client_id, person)
        if isinstance(found, DeskRefusal):
            return found
        name, subject = found.metadata.name, CLIENT_PREFIX + found.metadata.name
        standing = await read_standing(self._grants, name)
        if isinstance(standing, DeskRefusal):
            return standing
        if standing.problem:
            return refuse(DeskReason.NOT_AN_ADMIN_PERSON, internal=standing.problem, subject=subject)
        client = state.clients.by_name.get(name)
        if client is None:
            return refuse(DeskReason.NOT_AN_ADMIN_PERSON, internal="it cannot be used", subject=subject)
        made = mint_admin_token(
            client,
            standing,
            state,
            signing=state.signing,
            facts=facts,
            token_id=new_token_id(facts.at),
            credential_ends=facts.at + LONGEST_SECONDS,
            provider=issuer,
        )
        if isinstance(made, DeskRefusal):
            return made
        return Accepted(UseAssertion(_SIGN_INS, ticket.jti, ticket.exp + _SKEW_SECONDS), made)

    async def _proven(
        self, given: SignInBody, state: DeskState, now: float
    ) -> tuple[str, str, SignedIn] | DeskRefusal:
        """The provider, the client id, and who signed in there."""
        token = parse_compact(given.id_token.encode("utf-8", "replace"))
        if isinstance(token, Refusal):
            return _refused("the ID token is no JWT")
        said = _unproven(token)
        if said is None or said not in {(each.issuer, each.client_id) for each in _people(state).values()}:
            return _refused("no AdminPerson signs in at the issuer by the client that the ID token names")
        issuer, client_id = said
        keys = await self._keys(issuer, token.header.get("kid"))
        if isinstance(keys, DeskRefusal):
            return keys
        found = read_id_token(
            token,
            keys,
            issuer=issuer,
            client_id=client_id,
            nonce=nonce_of(given.ticket),
            now=now,
            max_age_seconds=MAX_AGE_SECONDS,
        )
        return _refused(found) if isinstance(found, str) else (issuer, client_id, found)

    async def _keys(self, issuer: str, kid: object) -> tuple[Key, ...] | DeskRefusal:
        try:
            return await self._providers.keys(issuer, kid)
        except ProviderError as error:
            extra = {"issuer": issuer, "detail": str(error)}
            LOGGER.error("a provider of admins cannot be asked", extra=extra)
            return _unavailable(str(error))


def _people(state: DeskState) -> dict[str, ClientPerson]:
    """The people whose objects say that they are admins, by the DeskClient's name."""
    return {
        each.metadata.name: each.spec.authentication.person
        for each in state.client_objects
        if each.spec.authentication.person is not None and is_flagged(each)
    }


def _unproven(token: UnverifiedToken) -> tuple[str, str] | None:
    """The issuer and the one audience that an ID token names, to choose whose keys must have signed it."""
    try:
        said = parse_json_object(token.payload)
    except EncodingError:
        return None
    issuer, audience = said.get("iss"), said.get("aud")
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    return (issuer, audience) if isinstance(issuer, str) and isinstance(audience, str) else None


def _client_of(state: DeskState, issuer: str, client_id: str, person: SignedIn) -> DeskClient | DeskRefusal:
    """The one AdminPerson that a proven person is."""
    named = [
        each
        for each in state.client_objects
        if (by := each.spec.authentication.person) is not None
        and (by.issuer, by.address) == (issuer, person.address)
    ]
    pseudonym = _pseudonym(issuer, person)

    def is_none(internal: str) -> DeskRefusal:
        return refuse(DeskReason.NOT_AN_ADMIN_PERSON, internal=internal, subject=pseudonym)

    if not named:
        return is_none("no AdminPerson has the address there")
    if len(named) > 1:
        names = ", ".join(each.metadata.name for each in named[:4])
        return is_none(f"several DeskClients name the person, and none of them counts: {names}")
    [client] = named
    by, subject = client.spec.authentication.person, CLIENT_PREFIX + client.metadata.name
    if by is None or by.client_id != client_id:
        return is_none(f"the person signed in by another client id than that of {subject}")
    if by.subject is not None and by.subject != person.subject:
        # Who has the address now is not known to be that client.
        return is_none(f"the provider's sub is not the one that is pinned for {subject}")
    if not is_flagged(client):
        internal = "adminServiceAccount of the DeskClient is not true"
        return refuse(DeskReason.NOT_AN_ADMIN_PERSON, internal=internal, subject=subject)
    return client


def _pseudonym(issuer: str, person: SignedIn) -> str:
    """What the audit log calls a person who is no client: the same for each attempt, and no address."""
    digest = hashlib.sha256(f"{issuer}\n{person.subject}".encode("utf-8", "replace")).hexdigest()
    return f"{PERSON_PREFIX}{digest[:32]}"


def _refused(internal: str) -> DeskRefusal:
    return refuse(DeskReason.SIGN_IN_REFUSED, internal=internal)


def _unavailable(internal: str) -> DeskRefusal:
    return refuse(DeskReason.SIGN_IN_PROVIDER_UNAVAILABLE, internal=internal, retry_after=30)
