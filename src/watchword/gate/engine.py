# SPDX-License-Identifier: Apache-2.0
"""The decision for one request: from the cache or anew, counted and audited, always under one ruleset.

A ruleset and its caches are one value that is swapped whole. A request takes that value once and stays with
it, so a decision made under the old bundle can never be stored for the new one.
"""

import itertools
import secrets
import time
from collections.abc import Callable, Iterable

from watchword.gate.answers import Allowed, Answer, grant_lines, identity_lines, refused
from watchword.gate.audit import AuditEntry, AuditLog
from watchword.gate.cache import (
    NEGATIVE_BYTES,
    NEGATIVE_SECONDS,
    POSITIVE_BYTES,
    BoundedCache,
    Known,
    RememberedRefusal,
    is_worth_remembering,
)
from watchword.gate.forwarded import Asked
from watchword.gate.inquiry import TOKEN_PLACE, Inquiry, Presented, present
from watchword.gate.limits import RateLimiter
from watchword.gate.logs import RefusalLog
from watchword.gate.metrics import GateMetrics
from watchword.gate.settings import AuditLevel
from watchword.identity import CHECKS, Identity, Reason, Refusal, read_bearer, verify
from watchword.trust import RouteMatch, Ruleset, authorize

RequestHeaders = Iterable[tuple[bytes, bytes]]
_SIGNATURE_CHECK = 6
_MISSHAPEN = frozenset({Reason.TOKEN_TOO_LARGE.code, Reason.MALFORMED_TOKEN.code})
# What is refused after the signature held is about somebody whom a trusted cluster vouches for.
_PROVEN = frozenset(reason for check in CHECKS if check.number > _SIGNATURE_CHECK for reason in check.reasons)


class Active:
    """A ruleset with the caches that belong to it."""

    __slots__ = ("_granted", "no", "ruleset", "yes")

    def __init__(self, ruleset: Ruleset) -> None:
        self.ruleset = ruleset
        self.yes: BoundedCache[Known] = BoundedCache(POSITIVE_BYTES)
        self.no: BoundedCache[RememberedRefusal] = BoundedCache(NEGATIVE_BYTES)
        self._granted: dict[int, bytes] = {}

    def known(self, identity: Identity) -> Known:
        """An identity with the lines of its answers."""
        # The ruleset holds each list of grants once, and for as long as this lives.
        granted = self._granted.get(id(identity.grants))
        if granted is None:
            granted = self._granted[id(identity.grants)] = grant_lines(identity.grants)
        return Known(
            identity.issuer,
            identity.subject,
            identity.workload,
            identity.grants,
            identity.token_id,
            identity.key_thumbprint,
            identity.pod,
            identity.valid_from,
            identity.valid_until,
            identity_lines(identity),
            granted,
        )


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
        return self.who_presents(active, present(headers))

    def who_presents(self, active: Active, credential: Presented | Refusal) -> Known | Refusal:
        """Who holds a credential (checks 2 to 15)."""
        if isinstance(credential, Refusal):
            return credential
        key, now = credential.key, self.clock()
        known = active.yes.get(key, now)
        if known is not None:
            self.metrics.cache_hit.count += 1
            return known
        remembered = active.no.get(key, now)
        if remembered is not None:
            self.metrics.cache_refusal_hit.count += 1
            return remembered.refusal
        start = time.perf_counter()
        decision = verify(credential.value[TOKEN_PLACE:], active.ruleset.policy, now)
        if isinstance(decision, Refusal) and decision.reason.code in _MISSHAPEN:
            # Check 2, of which only such tokens can fall short: a well-formed one is of the right bytes.
            token = read_bearer(credential.value)
            if isinstance(token, Refusal):
                return token
        self.metrics.cache_miss.count += 1
        self.metrics.verification.observe(time.perf_counter() - start)
        if isinstance(decision, Refusal):
            if is_worth_remembering(decision):
                active.no.put(key, RememberedRefusal(decision, now, now + NEGATIVE_SECONDS))
            return decision
        known = active.known(decision)
        if now < decision.valid_until:
            active.yes.put(key, known)
        return known

    def settle(self, inquiry: Inquiry) -> Allowed | Answer:
        """Answer `/authz` (checks 1 to 15), or a proxy: route, scope and rate as well (checks 1 to 17)."""
        active = self.active
        if active is None:
            return self.refuse(None, Refusal(Reason.NOT_READY))
        known = self.who_presents(active, inquiry.credential)
        if isinstance(known, Refusal):
            return self.refuse(active, known)
        asked = inquiry.asked
        if asked is None:
            return Allowed(known.lines, known.granted, self.note_allowed(active, known, None, ""))
        return self._settle_asked(active, known, asked)

    def settle_token(self, inquiry: Inquiry) -> Allowed | Answer | None:
        """Answer as `settle` does; None where the credential may hold what is no token, and nothing was done.

        It is for a credential that was cut out of a read: only of a token's characters is it certain that an
        HTTP parser would have found the same one.
        """
        active = self.active
        if active is None:
            return None
        known = self.who_presents(active, inquiry.credential)
        if isinstance(known, Refusal):
            return None if known.reason is Reason.MALFORMED_CREDENTIAL else self.refuse(active, known)
        asked = inquiry.asked
        if asked is None:
            return Allowed(known.lines, known.granted, self.note_allowed(active, known, None, ""))
        return self._settle_asked(active, known, asked)

    def _settle_asked(self, active: Active, known: Known, asked: Asked | Refusal) -> Allowed | Answer:
        if isinstance(asked, Refusal):
            # Who is calling came first, as in the table: a stranger learns nothing of the proxy.
            return self.refuse(active, asked, known)
        method = asked.method
        match = active.ruleset.routes.match(method, asked.target)
        if isinstance(match, Refusal):
            return self.refuse(active, match, known, method=method)
        if refusal := self.permit(active, known, match, method):
            return refusal
        return Allowed(known.lines, known.granted, self.note_allowed(active, known, match, method))

    def decide(self, headers: RequestHeaders, method: str, target: bytes) -> Answer:
        """Decide on a request that came to the gate itself (checks 1 to 17).

        Args:
            headers: the request's headers.
            method: its method.
            target: its raw request target.
        """
        settled = self.settle(Inquiry(present(headers), Asked(method, target)))
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
        self.metrics.refused[refusal.reason.code].count += 1
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
        self.metrics.allowed.count += 1
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
