# SPDX-License-Identifier: Apache-2.0
"""The decision for one request: from the cache or anew, counted and audited, always under one ruleset.

A ruleset and its caches are one value that is swapped whole. A request takes that value once and stays with
it, so a decision made under the old bundle can never be stored for the new one.
"""

import itertools
import secrets
import time
from collections.abc import Callable, Iterable

from watchword.gate.answers import Allowed, Answer, identity_headers, lines_of, refused
from watchword.gate.audit import AuditEntry, AuditLog
from watchword.gate.cache import (
    ENTRY_BYTES,
    NEGATIVE_BYTES,
    NEGATIVE_SECONDS,
    POSITIVE_BYTES,
    BoundedCache,
    is_worth_remembering,
)
from watchword.gate.forwarded import Asked
from watchword.gate.inquiry import Inquiry
from watchword.gate.limits import RateLimiter
from watchword.gate.logs import RefusalLog
from watchword.gate.metrics import GateMetrics
from watchword.gate.settings import AuditLevel
from watchword.identity import CHECKS, Identity, Reason, Refusal, read_credential, verify
from watchword.trust import RouteMatch, Ruleset, authorize

RequestHeaders = Iterable[tuple[bytes, bytes]]
# Who is calling, and the lines of that answer's head, which are the same each time.
Known = tuple[Identity, bytes]
_SIGNATURE_CHECK = 6
# What is refused after the signature held is about somebody whom a trusted cluster vouches for.
_PROVEN = frozenset(reason for check in CHECKS if check.number > _SIGNATURE_CHECK for reason in check.reasons)


def weight_of(lines: bytes) -> int:
    """What a remembered yes weighs beside its token, in bytes: a workload may hold a thousand accounts."""
    return ENTRY_BYTES + len(lines)


class Active:
    """A ruleset with the caches that belong to it."""

    __slots__ = ("no", "ruleset", "yes")

    def __init__(self, ruleset: Ruleset) -> None:
        self.ruleset = ruleset
        self.yes: BoundedCache[Known] = BoundedCache(POSITIVE_BYTES)
        self.no: BoundedCache[Refusal] = BoundedCache(NEGATIVE_BYTES)


class Engine:
    """Decides. Not thread-safe: it belongs to one event loop.

    Attributes:
        active: the ruleset in use with its caches; None until a bundle was loaded.
    """

    def __init__(
        self,
        metrics: GateMetrics,
        *,
        audit: AuditLog | None = None,
        audit_level: AuditLevel = "off",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what it reports to, and its clocks (seconds)."""
        self.metrics, self.audit, self.audit_level = metrics, audit, audit_level
        self.clock, self.monotonic = clock, monotonic
        self.active: Active | None = None
        self.limiter = RateLimiter()
        self.refusals = RefusalLog()
        self._prefix, self._numbers = secrets.token_hex(6), itertools.count(1)
        metrics.cache_bytes.set_function(self._cache_bytes)

    def adopt(self, ruleset: Ruleset) -> None:
        """Use another ruleset from the next request on."""
        self.active = Active(ruleset)
        self.limiter.keep_only(frozenset(each.name for each in ruleset.policy.workloads.values()))
        self.metrics.bundle_adopted(ruleset.service, ruleset.generation, ruleset.workloads)

    def new_decision_id(self) -> str:
        """A name for a decision: unique over all gates, and cheap."""
        return f"{self._prefix}-{next(self._numbers):x}"

    def who(self, active: Active | None, headers: RequestHeaders) -> Known | Refusal:
        """Who is calling (checks 1 to 15)."""
        if active is None:
            return Refusal(Reason.NOT_READY)
        return self.who_holds(active, read_credential(headers))

    def who_holds(self, active: Active, credential: bytes | Refusal) -> Known | Refusal:
        """Who holds a token (checks 2 to 15)."""
        if isinstance(credential, Refusal):
            return credential
        now = self.clock()
        known = active.yes.get(credential, now)
        if known is not None:
            self.metrics.cache_hit.inc()
            return known
        remembered = active.no.get(credential, now)
        if remembered is not None:
            self.metrics.cache_refusal_hit.inc()
            return remembered
        self.metrics.cache_miss.inc()
        start = time.perf_counter()
        decision = verify(credential, active.ruleset.policy, now)
        self.metrics.verification.observe(time.perf_counter() - start)
        if isinstance(decision, Refusal):
            if is_worth_remembering(decision):
                active.no.put(credential, decision, now, now + NEGATIVE_SECONDS)
            return decision
        known = (decision, lines_of(identity_headers(decision)))
        if now < decision.valid_until:
            active.yes.put(credential, known, decision.valid_from, decision.valid_until, weight_of(known[1]))
        return known

    def settle(self, inquiry: Inquiry) -> Allowed | Answer:
        """Answer `/authz` (checks 1 to 15), or a proxy: route, scope and rate as well (checks 1 to 17)."""
        active = self.active
        if active is None:
            return self.refuse(None, Refusal(Reason.NOT_READY))
        known = self.who_holds(active, inquiry.credential)
        if isinstance(known, Refusal):
            return self.refuse(active, known)
        asked = inquiry.asked
        if asked is None:
            return Allowed(known[1], self.note_allowed(active, known[0], None, ""))
        if isinstance(asked, Refusal):
            # Who is calling came first, as in the table: a stranger learns nothing of the proxy.
            return self.refuse(active, asked, known[0])
        method = asked.method
        match = active.ruleset.routes.match(method, asked.target)
        if isinstance(match, Refusal):
            return self.refuse(active, match, known[0], method=method)
        if refusal := self.permit(active, known[0], match, method):
            return refusal
        return Allowed(known[1], self.note_allowed(active, known[0], match, method))

    def decide(self, headers: RequestHeaders, method: str, target: bytes) -> Answer:
        """Decide on a request that came to the gate itself (checks 1 to 17).

        Args:
            headers: the request's headers.
            method: its method.
            target: its raw request target.
        """
        settled = self.settle(Inquiry(read_credential(headers), Asked(method, target)))
        return Answer(200, settled.headers) if isinstance(settled, Allowed) else settled

    def permit(self, active: Active, identity: Identity, match: RouteMatch, method: str) -> Answer | None:
        """Scope, account and rate (checks 16 and 17): None when the request may pass, else the refusal."""
        grant = authorize(identity, match.scope, match.account, match.project)
        if isinstance(grant, Refusal):
            return self.refuse(active, grant, identity, match, method=method)
        limited = self.limiter.take(identity.workload, active.ruleset.limits, self.monotonic())
        if limited is not None:
            return self.refuse(active, limited[0], identity, match, method=method, retry_after=limited[1])
        return None

    def refuse(
        self,
        active: Active | None,
        refusal: Refusal,
        identity: Identity | None = None,
        match: RouteMatch | None = None,
        *,
        method: str = "",
        retry_after: int | None = None,
    ) -> Answer:
        """Count, log and audit a refusal, and make its answer."""
        decision_id = self.new_decision_id()
        self.metrics.refused[refusal.reason].inc()
        self.refusals.note(refusal, decision_id)
        if self.audit is not None and self.audit_level != "off":
            self._audit(
                self.audit,
                active,
                decision_id,
                outcome="refused",
                identity=identity,
                match=match,
                method=method,
                refusal=refusal,
            )
        if refusal.reason is Reason.NOT_READY:
            retry_after = 1
        scope = match.scope if match and refusal.reason is Reason.INSUFFICIENT_SCOPE else None
        return refused(refusal, decision_id, scope=scope, retry_after=retry_after)

    def note_allowed(self, active: Active, identity: Identity, match: RouteMatch | None, method: str) -> str:
        """Count and audit a yes; returns the decision's id."""
        decision_id = self.new_decision_id()
        self.metrics.allowed.inc()
        if self.audit is not None and self.audit_level == "all":
            self._audit(
                self.audit,
                active,
                decision_id,
                outcome="allowed",
                identity=identity,
                match=match,
                method=method,
            )
        return decision_id

    def _audit(
        self,
        audit: AuditLog,
        active: Active | None,
        decision_id: str,
        *,
        outcome: str,
        identity: Identity | None,
        match: RouteMatch | None,
        method: str,
        refusal: Refusal | None = None,
    ) -> None:
        ruleset = active.ruleset if active else None
        is_proven = identity is not None or (refusal is not None and refusal.reason in _PROVEN)
        write = audit.write if is_proven else audit.write_unproven
        write(
            AuditEntry(
                time=self.clock(),
                decision_id=decision_id,
                outcome=outcome,
                bundle=ruleset.digest if ruleset else "",
                generation=ruleset.generation if ruleset else 0,
                reason=refusal.reason.code if refusal else "",
                detail=refusal.detail if refusal and is_proven else "",
                issuer=identity.issuer if identity else "",
                subject=identity.subject if identity else "",
                workload=identity.workload if identity else "",
                token_id=identity.token_id if identity else "",
                key_thumbprint=identity.key_thumbprint if identity else "",
                pod=identity.pod if identity else "",
                # A method is the caller's word until a route named it.
                method=method if match else "",
                route=match.path if match else "",
                scope=match.scope if match else "",
                account=(match.account or "") if match else "",
                project=(match.project or "") if match else "",
            )
        )

    def _cache_bytes(self) -> float:
        active = self.active
        return float(active.yes.used_bytes + active.no.used_bytes) if active else 0.0
