# SPDX-License-Identifier: Apache-2.0
"""Requests that are still passed on after they were let in: WebSockets, streams, long answers and uploads.

A decision is about one moment. So each request in flight is decided again with every bundle, and ends at once
when the answer would be no by now; and it ends with its token, after a grace. The mistake to prevent is a
stream that goes on for days for a caller whose trust was withdrawn in its first minute.
"""

import asyncio
import math
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

from watchword.gate.authz_request import TOKEN_PLACE, AuthzRequest, Credential
from watchword.gate.logs import LOGGER
from watchword.gate.responses import NO_IDENTITY_LINES, Allowed
from watchword.identity import DeskClaims, Reason, Refusal, verify
from watchword.trust import RouteMatch, authorize

if TYPE_CHECKING:
    from watchword.gate.engine import Active, Engine

GRACE_SECONDS: Final = 300.0
# One timer for all, and only while there are any: no request sets one of its own.
SWEEP_SECONDS: Final = 1.0
# A server has fewer connections than that; it bounds what is remembered where one carries many requests.
MAX_CONNECTIONS: Final = 8192
# Of them without an identity, on public routes: a quarter of a server's connections, so that strangers who
# let their requests last leave room for callers.
MAX_STRANGERS: Final = 256
# A signature takes some 40 microseconds: so many are checked before other requests have their turn.
BATCH: Final = 16


class Endable(Protocol):
    """What carries a request that was let in."""

    def end(self, refusal: Refusal) -> None:
        """Pass nothing on any more, in neither direction, and let the caller see that it broke off."""


class LongConnection:
    """One request that is passed on.

    Attributes:
        authz_request: its credential and what it asked for.
        decision_id: names the decision that let it in.
        decided_at: when that was, in seconds since the epoch.
        ends_at: until when it may go on; None while no one needed to know.
        desk: what its token says, where that is a desk's; None also while no one needed to know.
        is_reported: it would be refused, and passes because the service only reports.
    """

    __slots__ = ("authz_request", "carrier", "decided_at", "decision_id", "desk", "ends_at", "is_reported")

    def __init__(
        self,
        authz_request: AuthzRequest,
        decision_id: str,
        decided_at: float,
        carrier: Endable,
        *,
        is_reported: bool,
    ) -> None:
        self.authz_request, self.decision_id, self.decided_at = authz_request, decision_id, decided_at
        self.is_reported = is_reported
        self.ends_at: float | None = None
        self.desk: DeskClaims | None = None
        self.carrier = carrier


class LongConnections:
    """All that are passed on at one gate. Not thread-safe: it belongs to its engine's event loop."""

    def __init__(self, engine: "Engine", grace_seconds: float = GRACE_SECONDS) -> None:
        """Decide by an engine; a token's connections may outlive it by `grace_seconds`."""
        self._engine, self._grace_seconds = engine, grace_seconds
        self._connections: dict[LongConnection, None] = {}
        self._strangers: set[LongConnection] = set()
        # Those that pass because the service only reports; when it ends, they are decided again.
        self._reported: set[LongConnection] = set()
        # Those that have to be decided again under the present ruleset, and their next batch.
        self._waiting: OrderedDict[LongConnection, None] = OrderedDict()
        self._next_batch: asyncio.Handle | None = None
        # The ruleset that decided about all of them last.
        self._active: Active | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, authz_request: AuthzRequest, decided: Allowed, carrier: Endable) -> LongConnection | None:
        """Note a request that was just let in; None when there are too many of them.

        It has to be called in the same turn of the loop as the decision: in between, a bundle could come. Of
        strangers, whom a public route lets in, there may be fewer. Those that pass because the service only
        reports are none: what a service is tried with may be all of its callers.
        """
        is_reported = decided.would_refuse != b""
        is_stranger = not is_reported and decided.identity == NO_IDENTITY_LINES
        if len(self._connections) >= MAX_CONNECTIONS or (
            is_stranger and len(self._strangers) >= MAX_STRANGERS
        ):
            return None
        now = self._engine.clock()
        connection = LongConnection(authz_request, decided.decision_id, now, carrier, is_reported=is_reported)
        self._connections[connection] = None
        if is_reported:
            self._reported.add(connection)
        elif is_stranger:
            self._strangers.add(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        return connection

    def discard(self, connection: LongConnection) -> None:
        """Forget a request that is over."""
        self._connections.pop(connection, None)
        # Most often there are none of these.
        if self._strangers:
            self._strangers.discard(connection)
        if self._reported:
            self._reported.discard(connection)
        if self._waiting:
            self._waiting.pop(connection, None)

    def decide_again(self) -> None:
        """Decide on all of them under the ruleset that is in use now; none in use ends them all."""
        self._active = self._engine.active
        if self._active is None:
            # There is nothing to check: not one more byte for any of them, however many there are.
            for connection in list(self._connections):
                self._end(connection, self._engine.not_ready)
            self._say_what_ended()
        elif self._connections:
            self._waiting = OrderedDict(self._connections)
            self._decide_some()

    def end_revoked(self) -> None:
        """End those whose desk token was taken back; of new ones, the next sweep finds out."""
        for connection in list(self._connections):
            if connection.desk is not None and (revoked := self._engine.revocation_of(connection.desk)):
                self._end(connection, revoked)
        self._say_what_ended()

    def _sweep(self) -> None:
        """End what is over its time, and find out when the ones that last will be."""
        self._timer = None
        now = self._engine.clock()
        if self._engine.active is not self._active:
            # No one told: late is better than never.
            self.decide_again()
        if self._reported and not self._reports():
            self._waiting.update(dict.fromkeys(self._reported))
        for connection in list(self._connections):
            if connection.ends_at is None:
                self._waiting[connection] = None
            elif connection.ends_at <= now:
                self._end(connection, self._over(connection))
        if self._next_batch is None:
            self._decide_some()
        if self._connections:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _decide_some(self) -> None:
        # First, so that an error below leaves the rest to the next sweep and not to no one.
        if self._next_batch is not None:
            self._next_batch.cancel()
            self._next_batch = None
        active, now = self._engine.active, self._engine.clock()
        for _ in range(min(BATCH, len(self._waiting))):
            connection, _ = self._waiting.popitem(last=False)
            refusal = self._engine.not_ready if active is None else self._decide(active, connection)
            if refusal is not None and active is not None and connection.is_reported:
                refusal = self._unless_reported(active, connection, refusal)
            elif connection.is_reported and not self._reports():
                # It would be let in by now, and report only is over: nothing more to look for.
                self._reported.discard(connection)
            if refusal is None and connection.ends_at is not None and connection.ends_at <= now:
                refusal = self._over(connection)
            if refusal is not None:
                self._end(connection, refusal)
        if self._waiting:
            self._next_batch = asyncio.get_running_loop().call_soon(self._decide_some)
        else:
            self._say_what_ended()

    def _reports(self) -> bool:
        active = self._engine.active
        return active is not None and active.report_only is not None and active.report_only.is_on()

    def _unless_reported(
        self, active: "Active", connection: LongConnection, refusal: Refusal
    ) -> Refusal | None:
        """The refusal of one that never had an identity; None while the service only reports it."""
        if not self._engine.reports(active, refusal):
            return refusal
        # Until report only ends, which each sweep looks for; a bundle may have let it in meanwhile.
        connection.ends_at = math.inf
        self._reported.add(connection)
        return None

    def _decide(self, active: "Active", connection: LongConnection) -> Refusal | None:
        """Checks 3 to 16 as of the moment when it was let in; sets until when it may go on."""
        credential, original = connection.authz_request.credential, connection.authz_request.original
        if original is None or isinstance(original, Refusal):
            return Refusal(Reason.MISSING_CREDENTIAL)
        match = active.ruleset.routes.match(original.method, original.target, form_flaw=original.form_flaw)
        if isinstance(match, RouteMatch) and match.is_public:
            connection.ends_at = math.inf
            return None
        if not isinstance(credential, Credential):
            return credential
        policy = active.ruleset.policy
        # The token's own times were right then; what they are now is the grace's business.
        identity = verify(credential.value[TOKEN_PLACE:], policy, connection.decided_at)
        if isinstance(identity, Refusal):
            return identity
        if identity.desk is not None:
            connection.desk = identity.desk
            if (revoked := self._engine.revocation_of(identity.desk)) is not None:
                return revoked
        if isinstance(match, Refusal):
            return match
        grant = authorize(identity, match.scope, match.account, match.project, match.purpose)
        if isinstance(grant, Refusal):
            return grant
        trust_ends = policy.workloads[identity.issuer, identity.subject].expires_at
        # Within the skew, a token that is over still opens connections: they get no less than that.
        ends_at = identity.valid_until + max(self._grace_seconds, policy.clock_skew_seconds)
        connection.ends_at = ends_at if trust_ends is None else min(ends_at, trust_ends)
        return None

    def _over(self, connection: LongConnection) -> Refusal:
        active, credential = self._engine.active, connection.authz_request.credential
        if active is None or not isinstance(credential, Credential):
            return self._engine.not_ready
        # Asked again as of now, so that the refusal says what is over, and of whom.
        found = verify(credential.value[TOKEN_PLACE:], active.ruleset.policy, self._engine.clock())
        return found if isinstance(found, Refusal) else Refusal(Reason.EXPIRED)

    def _end(self, connection: LongConnection, refusal: Refusal) -> None:
        self.discard(connection)
        self._ended[refusal.reason.code] += 1
        self._engine.note_ended(refusal, connection.decision_id, connection.authz_request)
        connection.carrier.end(refusal)

    def _say_what_ended(self) -> None:
        # One line a reason: withdrawing trust from a busy workload must not become a flood of lines.
        ended, self._ended = self._ended, Counter()
        for reason, number in sorted(ended.items()):
            LOGGER.info("long connections ended", extra={"reason": reason, "connections": number})
