# SPDX-License-Identifier: Apache-2.0
"""What all endpoints for agents stand on: the store's looks and steps, the rates, the assertions.

Rates are taken before the store is touched, so that a storm of registrations costs a lookup in memory each
and no exchange waits behind it.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec

from watchword.desk.agents.assertions import ASSERTION_SECONDS, AssertionClaims, sign_assertion
from watchword.desk.agents.policy import AgentPolicy
from watchword.desk.agents.reasons import AgentReason
from watchword.desk.agents.records import AgentStep, Registration
from watchword.desk.audit_events import RequestFacts
from watchword.desk.minting import new_token_id
from watchword.desk.rate_limits import Buckets, address_key
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, not_ready, refuse
from watchword.desk.state import DeskState

# How long an attempt and its code live, in seconds.
ATTEMPT_SECONDS: Final = 600
DAY_SECONDS: Final = 86_400
HOUR_SECONDS: Final = 3600.0
# Tokens that one unclaimed agent may ask for: each lives for minutes, and an agent calls few services.
UNCLAIMED_PER_SECOND: Final = 0.2
UNCLAIMED_BURST: Final = 20


class AgentRates(Protocol):
    """How many registrations there may be."""

    @property
    def registrations_per_hour(self) -> float:
        """Of one address, and as many at once; 0: no limit."""

    @property
    def registrations_per_minute(self) -> float:
        """Of all addresses together, and of each provider of agents, and as many at once; 0: no limit."""

    @property
    def unclaimed_per_minute(self) -> float:
        """Tokens of all unclaimed agents together, and as many at once; 0: no limit."""


class AgentCore:
    """What the endpoints share. Belongs to one event loop."""

    def __init__(
        self,
        look: Callable[[str, Sequence[object]], Awaitable[list[tuple[Any, ...]] | DeskRefusal]],
        write: Callable[..., Awaitable[list[bool] | DeskRefusal]],
        *,
        monotonic: Callable[[], float],
        registrations_per_hour: float,
        registrations_per_minute: float,
        unclaimed_per_minute: float,
        callers: Buckets | None = None,
        on_revoked: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the desk's way to its store, its clock, and the rates.

        Args:
            look: asks the store.
            write: writes to it.
            monotonic: seconds on a clock that never goes back.
            registrations_per_hour: as `AgentRates` has it.
            registrations_per_minute: likewise.
            callers: the rates of proven callers; None: no limit.
            on_revoked: called once a delegation was ended, so that gates are told soon.
        """
        self._look, self._write, self._monotonic = look, write, monotonic
        self._callers, self.on_revoked = callers or Buckets(0.0, 1), on_revoked
        self._by_address = Buckets(registrations_per_hour / HOUR_SECONDS, max(1, int(registrations_per_hour)))
        self._all = Buckets(registrations_per_minute / 60.0, max(1, int(registrations_per_minute)))
        self._by_provider = Buckets(registrations_per_minute / 60.0, max(1, int(registrations_per_minute)))
        self._unclaimed = Buckets(UNCLAIMED_PER_SECOND if unclaimed_per_minute else 0.0, UNCLAIMED_BURST)
        self._all_unclaimed = Buckets(unclaimed_per_minute / 60.0, max(1, int(unclaimed_per_minute)))

    async def look(self, statement: str, *parameters: object) -> list[tuple[Any, ...]] | DeskRefusal:
        """The rows of a look of `storage`, or that the store is away."""
        return await self._look(statement, parameters)

    async def step(self, *steps: AgentStep) -> list[bool] | DeskRefusal:
        """Take steps in one durable transaction; whether each had an effect, or that the store is away."""
        return await self._write(*steps)

    def over_rate(self, peer: str, provider: str = "") -> DeskRefusal | None:
        """Count one registration of an address; the refusal where there are too many.

        Args:
            peer: the address.
            provider: the id of the provider of agents that vouches for it, which has a rate of its own: one
                that has many people asked keeps neither strangers nor another provider's people out.
        """
        now = self._monotonic()
        together = self._by_provider if provider else self._all
        wait = self._by_address.take(address_key(peer), now) or together.take(provider, now)
        return refuse(AgentReason.AGENT_RATE_LIMITED, retry_after=wait) if wait else None

    def over_unclaimed_rate(self, registration: str) -> DeskRefusal | None:
        """Count one request of an agent for which no one answers; the refusal where there are too many.

        Each is an entry in the audit log, and who wants many registers many agents.
        """
        now = self._monotonic()
        wait = self._unclaimed.take(registration, now) or self._all_unclaimed.take("", now)
        return refuse(AgentReason.AGENT_RATE_LIMITED, retry_after=wait) if wait else None

    def over_caller_rate(self, key: str) -> DeskRefusal | None:
        """Count one request of a caller that a signature proved; the refusal where there are too many."""
        wait = self._callers.take(key, self._monotonic())
        return (
            refuse(DeskReason.RATE_LIMITED, "The agent is over its rate.", retry_after=wait) if wait else None
        )

    def identity(
        self,
        state: DeskState,
        registration: Registration,
        facts: RequestFacts,
        scope: str | None = None,
        signed_by: str = "",
    ) -> dict[str, Any] | DeskRefusal:
        """A new assertion of a registration, as answers have it.

        Args:
            state: what the desk runs.
            registration: whose.
            facts: of the request.
            scope: what tokens for it may allow at most, with spaces; None: what the registration may.
            signed_by: the thumbprint of the provider's key that signed what it is given for; empty: none did.
        """
        if state.signing is None:
            return not_ready()
        now = int(facts.at)
        ends = min(now + ASSERTION_SECONDS, registration.expires_at)
        claims = AssertionClaims(
            iss=state.issuer,
            aud=state.issuer,
            sub=registration.subject,
            jti=new_token_id(facts.at),
            iat=now,
            exp=ends,
            epoch=registration.epoch,
            scope_limit=msgspec.UNSET if scope is None else scope,
            signed_by=signed_by or msgspec.UNSET,
        )
        return {"assertion": sign_assertion(state.signing, claims), "expires_at": timestamp(ends)}


def with_refresh(identity: dict[str, Any], token: str, ends: int) -> dict[str, Any]:
    """An assertion as answers have it, with the refresh token that follows it."""
    return identity | {"refresh_token": {"value": token, "expires_at": timestamp(ends)}}


def policy_of(state: DeskState) -> AgentPolicy:
    """The policy for agents of a state that has one; one that refuses everything where it has none."""
    return state.agents if state.agents is not None else AgentPolicy()


def timestamp(seconds: int) -> str:
    """Seconds since the epoch as `auth.md` writes a time: RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
