# SPDX-License-Identifier: Apache-2.0
"""POST /agent/event/notify: a provider says that what it asserted of a subject holds no more.

A security event token (RFC 8417), pushed (RFC 8935). It ends the whole delegation, in the very transaction
that uses it up: an event whose effect was lost could not be sent again. One that came before is answered as
it was then, and does nothing.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from watchword.desk.agents import events, storage
from watchword.desk.agents.core import DAY_SECONDS, AgentCore, policy_of
from watchword.desk.agents.policy import AgentPolicy
from watchword.desk.agents.provider_tokens import (
    MAX_ID,
    MAX_SUBJECT,
    SKEW_SECONDS,
    Unverified,
    is_identifier,
    read_provider_token,
)
from watchword.desk.agents.providers import IdentityProvider
from watchword.desk.agents.reasons import AgentReason
from watchword.desk.agents.records import EndOrigin
from watchword.desk.audit_events import RequestFacts
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.desk.responses import Answer
from watchword.desk.state import DeskState

EVENT_TYPE: Final = "secevent+jwt"
EVENT_MEDIA_TYPE: Final = "application/secevent+jwt"
REVOKED: Final = "https://schemas.workos.com/events/agent/auth/identity/assertion/revoked"
# How old an event may be, in seconds: a sender may try for hours.
MAX_AGE_SECONDS: Final = DAY_SECONDS
_MAX_EVENTS: Final = 16
_UNSET: Final = msgspec.UNSET


class _SubjectId(msgspec.Struct, frozen=True):
    """RFC 9493, section 3.2.2."""

    format: str
    iss: str
    sub: str


class _Event(msgspec.Struct, frozen=True):
    aud: str | list[str]
    jti: str
    iat: int | float
    events: dict[str, dict[str, Any]]
    exp: int | float | msgspec.UnsetType = _UNSET
    sub: str | msgspec.UnsetType = _UNSET


class Ended(msgspec.Struct, frozen=True):
    """A verified event. Its repr shows its provider only.

    Attributes:
        provider: who signed it.
        token_id: its `jti`.
        issued_at: its `iat`, in seconds since the epoch.
        origin: whose delegation it ends, as the store has it; empty: it says nothing that ends one.
    """

    provider: IdentityProvider
    token_id: str
    issued_at: float
    origin: str = ""

    def __repr__(self) -> str:
        return f"Ended({self.provider!r})"


def read_event(token: str, policy: AgentPolicy, now: float) -> Ended | DeskRefusal:
    """Read a security event, once all of it holds. Never raises for bad input.

    Args:
        token: the compact JWS.
        policy: the desk's; a suspended provider counts here: what it ends must not come back with it.
        now: seconds since the epoch.
    """
    found = read_provider_token(token, EVENT_TYPE, policy)
    if isinstance(found, Unverified) and found.told:
        return refuse(AgentReason.MALFORMED_EVENT, found.told, remedy=found.remedy)
    if isinstance(found, Unverified):
        return refuse(AgentReason.UNVERIFIED_EVENT, internal=found.why)
    provider = found.provider
    try:
        said = msgspec.convert(found.claims, _Event)
    except msgspec.ValidationError:
        return refuse(AgentReason.MALFORMED_EVENT)
    audiences = said.aud if isinstance(said.aud, list) else [said.aud]
    if audiences != [provider.audience]:
        return refuse(AgentReason.WRONG_EVENT_AUDIENCE)
    if not is_identifier(said.jti, MAX_ID) or not 1 <= len(said.events) <= _MAX_EVENTS:
        return refuse(AgentReason.MALFORMED_EVENT)
    has_ended = not isinstance(said.exp, msgspec.UnsetType) and said.exp + SKEW_SECONDS <= now
    if has_ended or not now - MAX_AGE_SECONDS <= said.iat <= now + SKEW_SECONDS:
        return refuse(AgentReason.EVENT_NOT_IN_TIME)
    ended = Ended(provider, said.jti, float(said.iat))
    if REVOKED not in said.events:
        # RFC 8417, section 2.2: an event that means nothing here is ignored.
        return ended
    subject = _subject(found.claims, said, provider)
    if subject is None:
        return refuse(AgentReason.MALFORMED_EVENT, "The event names no subject of its own issuer, or two.")
    return msgspec.structs.replace(ended, origin=provider.origin_of(subject))


async def take_event(
    core: AgentCore, body: bytes, content_types: Sequence[bytes], state: DeskState, facts: RequestFacts
) -> Answer | DeskRefusal:
    """Answer POST /agent/event/notify: 202 once what it ends is ended, no matter who it is about."""
    if [each.decode("latin-1").strip().lower() for each in content_types] != [EVENT_MEDIA_TYPE]:
        return refuse(AgentReason.WRONG_EVENT_TYPE)
    said = read_event(body.decode("utf-8", "replace").strip(), policy_of(state), facts.at)
    if isinstance(said, DeskRefusal):
        return said
    if not said.origin:
        return Answer(202)
    rows = await core.look(storage.LIVE_OF_ORIGIN, said.origin)
    if isinstance(rows, DeskRefusal):
        return rows
    agents = sorted(str(row[0]) for row in rows)
    ended = await core.step(
        EndOrigin(
            issuer=said.provider.issuer,
            token_id=said.token_id,
            expires_at=int(said.issued_at) + MAX_AGE_SECONDS + SKEW_SECONDS + 1,
            origin=said.origin,
            now=int(facts.at),
            event=events.provider_event(facts, said.provider.name, said.token_id, agents),
        )
    )
    if isinstance(ended, DeskRefusal):
        return ended
    core.on_revoked()
    return Answer(202)


def _subject(claims: dict[str, Any], said: _Event, provider: IdentityProvider) -> str | None:
    """The one subject of the event; None: there is none, it is another issuer's, or two differ."""
    named: set[str] = set()
    if not isinstance(said.sub, msgspec.UnsetType):
        named.add(said.sub)
    if "sub_id" in claims:
        try:
            identifier = msgspec.convert(claims["sub_id"], _SubjectId)
        except msgspec.ValidationError:
            return None
        if identifier.format != "iss_sub" or identifier.iss != provider.issuer:
            return None
        named.add(identifier.sub)
    if len(named) != 1:
        return None
    [subject] = named
    return subject if is_identifier(subject, MAX_SUBJECT) else None
