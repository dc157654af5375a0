# SPDX-License-Identifier: Apache-2.0
"""The decision for one request: from the cache or newly made, counted and audited, always under one ruleset.

A ruleset and its caches are one value that is swapped whole. A request takes that value once and stays with
it, so a decision made under the old bundle can never be stored for the new one.
"""

import itertools
import secrets
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from watchword.gate.audit import ALLOWED, ENDED, REFUSED, WOULD_REFUSE, AuditEntry, AuditLog, Teller
from watchword.gate.authz_request import TOKEN_PLACE, AuthzRequest, Credential, find_credential
from watchword.gate.cache import (
    DESK_FACTOR,
    NEGATIVE_BYTES,
    NEGATIVE_SECONDS,
    POSITIVE_BYTES,
    BoundedCache,
    CachedIdentity,
    GrantLines,
    Permits,
    RememberedRefusal,
    is_worth_remembering,
)
from watchword.gate.logs import LOGGER, RefusalLog
from watchword.gate.long_connections import GRACE_SECONDS, LongConnections
from watchword.gate.metrics import GateMetrics
from watchword.gate.original_request import OriginalRequest
from watchword.gate.rate_limits import RateLimiter
from watchword.gate.report_only import LatestTime, ReportOnly, may_pass, would_refuse_line
from watchword.gate.responses import (
    NO_GRANT_LINES,
    NO_IDENTITY_LINES,
    Allowed,
    Answer,
    decided_lines,
    grant_lines,
    identity_lines,
    permit_lines,
    refused,
)
from watchword.gate.settings import AuditLevel
from watchword.identity import DeskClaims, Grant, Identity, Proven, Reason, Refusal, read_bearer, verify
from watchword.trust import RouteMatch, Ruleset, authorize, held_grants
from watchword.trust.desk_revocations import Revocations, RevokedSet
from watchword.trust.desk_tokens import encode_desk_claims
from watchword.trust.ruleset import AUTHORIZATION

if TYPE_CHECKING:
    from watchword.gate.tracing.tracer import Tracer

RequestHeaders = Iterable[tuple[bytes, bytes]]
# Without a signature, every caller can have entries of these written: only so many a second.
_BOUNDED_OUTCOMES = frozenset({REFUSED, WOULD_REFUSE})
_MISSHAPEN = frozenset({Reason.TOKEN_TOO_LARGE.code, Reason.MALFORMED_TOKEN.code})


class Active:
    """A ruleset with the caches that belong to it."""

    __slots__ = ("grants", "has_public", "no", "permits", "report_only", "ruleset", "yes")

    def __init__(self, ruleset: Ruleset, report_only: ReportOnly | None = None) -> None:
        self.ruleset, self.report_only = ruleset, report_only
        self.has_public = ruleset.routes.has_public
        self.yes: BoundedCache[CachedIdentity] = BoundedCache(POSITIVE_BYTES)
        self.no: BoundedCache[RememberedRefusal] = BoundedCache(NEGATIVE_BYTES)
        self.grants = GrantLines()
        self.permits = Permits()

    def known(self, identity: Identity) -> CachedIdentity:
        """An identity with the lines that name it."""
        desk, granted, desk_bytes = identity.desk, b"", 0
        if desk is not None:
            granted = grant_lines(held_grants(identity))
            desk_bytes = len(granted) + DESK_FACTOR * len(encode_desk_claims(desk))
        return CachedIdentity(
            identity.issuer,
            identity.subject,
            identity.workload,
            identity.grants,
            identity.token_id,
            identity.key_thumbprint,
            identity.pod,
            identity.valid_from,
            identity.valid_until,
            desk,
            identity_lines(identity),
            granted,
            desk_bytes,
        )


class Engine:
    """Decides. Not thread-safe: it belongs to one event loop.

    Attributes:
        active: the ruleset in use with its caches; None until a bundle was loaded.
        revoked: the desk tokens that were taken back; no ruleset and no cache depends on it.
        reads_authorization: the token is in the Authorization header.
        tracer: what makes spans of its decisions; None while nothing is traced.
    """

    def __init__(
        self,
        metrics: GateMetrics,
        *,
        audit: AuditLog | None = None,
        audit_level: AuditLevel = "off",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        long_connection_grace: float = GRACE_SECONDS,
        tracer: "Tracer | None" = None,
    ) -> None:
        """Take what it reports to, its clocks (seconds), and the grace of long connections (seconds)."""
        self.tracer = tracer
        self.metrics, self.audit, self.audit_level = metrics, audit, audit_level
        self.clock, self.monotonic = clock, monotonic
        self.active: Active | None = None
        self.reads_authorization = True
        self._not_ready = Refusal(Reason.NOT_READY)
        self._latest_time = LatestTime(clock, monotonic)
        self.revoked = RevokedSet()
        self.limiter = RateLimiter()
        self.refusals, self.reported = RefusalLog(), RefusalLog("would refuse")
        self.long_connections = LongConnections(self, long_connection_grace)
        self._prefix, self._numbers = secrets.token_hex(6), itertools.count(1)
        metrics.cache_bytes.set_function(self._cache_bytes)
        metrics.long_connections.set_function(lambda: float(len(self.long_connections)))
        metrics.report_only_seconds_left.set_function(self._report_only_seconds_left)

    def adopt(self, ruleset: Ruleset) -> None:
        """Use another ruleset from the next request on, and for all that are still passed on."""
        self.active = Active(ruleset, self._report_only_of(ruleset))
        self._not_ready = Refusal(Reason.NOT_READY)
        self.reads_authorization = ruleset.token_header == AUTHORIZATION
        self.limiter.keep_only(frozenset(each.name for each in ruleset.policy.workloads.values()))
        self.metrics.bundle_adopted(ruleset.service, ruleset.generation, ruleset.workloads, ruleset.digest)
        self.long_connections.decide_again()

    def _report_only_of(self, ruleset: Ruleset) -> ReportOnly | None:
        # A generation is the milliseconds of the operator's clock. It counts for the bundles that follow as
        # well: where a clock is behind, an older one may.
        made = ruleset.generation / 1000
        self._latest_time.note(made)
        if ruleset.report_only_until is None:
            return None
        report_only = ReportOnly(ruleset.report_only_until, made, self._latest_time)
        if not report_only.is_on():
            effect = "its end has passed, or is more than 30 days ahead: everything is enforced"
            LOGGER.info("report only does not count", extra={"effect": effect})
            return None
        seconds = round(report_only.seconds_left())
        effect = "what would be refused passes to the app without an identity"
        LOGGER.warning("reporting only", extra={"effect": effect, "seconds": seconds})
        return report_only

    def _report_only_seconds_left(self) -> float:
        active = self.active
        return 0.0 if active is None or active.report_only is None else active.report_only.seconds_left()

    def end_trust(self, cause: Refusal) -> None:
        """Let no one in from the next request on, and say this cause, until a ruleset is adopted again.

        What is still passed on ends at once.
        """
        self.active, self._not_ready = None, cause
        self.metrics.bundle_ended()
        self.long_connections.decide_again()

    def revoke(self, revocations: Revocations) -> None:
        """Refuse these desk tokens from the next request on, remembered or not, and end what they carry."""
        self.revoked.add(revocations, self.clock())
        # Also where nothing is new: an error may have kept the last ones from being ended.
        self.long_connections.end_revoked()

    def still_trusts(self, active: Active, identity: Identity) -> bool:
        """Whether a decision on an identity still holds: same ruleset, and its token was not taken back."""
        if self.active is not active:
            return False
        return identity.desk is None or self.revocation_of(identity.desk) is None

    def revocation_of(self, desk: DeskClaims) -> Refusal | None:
        """Why a desk token that is well-formed and trusted is refused all the same; None: it is not."""
        if not self.revoked.is_known:
            return Refusal(Reason.REVOCATIONS_UNKNOWN)
        if self.revoked.covers(desk):
            hint = "Exchange the pod's own token at the desk again."
            return Refusal(Reason.REVOKED, "The desk took the token back.", hint)
        return None

    @property
    def not_ready(self) -> Refusal:
        """Why no one is let in while no ruleset is in use."""
        return self._not_ready

    @property
    def pass_headers(self) -> frozenset[bytes]:
        """The request headers that the service lets through to its app, in lower case."""
        return self.active.ruleset.pass_headers if self.active else frozenset()

    @property
    def token_header(self) -> bytes:
        """The name in lower case of the header that the token is in."""
        return self.active.ruleset.token_header if self.active else AUTHORIZATION

    def new_decision_id(self) -> str:
        """A name for a decision: unique over all gates, and cheap."""
        return f"{self._prefix}-{next(self._numbers):x}"

    def authenticate_or_refuse(
        self, headers: RequestHeaders, told: Teller | None = None
    ) -> tuple[Active, CachedIdentity] | Answer:
        """Who is calling, under which ruleset (checks 1 to 15), else the refusal."""
        active = self.active
        if active is None:
            return self.refuse(None, Refusal(Reason.NOT_READY), told=told)
        known = self.authenticate(active, find_credential(headers, self.token_header))
        if isinstance(known, Refusal):
            return self.refuse(active, known, told=told)
        return active, known

    def authenticate(self, active: Active, credential: Credential | Refusal) -> CachedIdentity | Refusal:
        """Who holds a credential (checks 2 to 15)."""
        if isinstance(credential, Refusal):
            return credential
        key, now = credential.key, self.clock()
        known = active.yes.get(key, now)
        if known is not None:
            self.metrics.cache_hit.count += 1
            return known if known.desk is None else self._unless_revoked(known, known.desk)
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
        return known if known.desk is None else self._unless_revoked(known, known.desk)

    def _unless_revoked(self, known: CachedIdentity, desk: DeskClaims) -> CachedIdentity | Refusal:
        refusal = self.revocation_of(desk)
        if refusal is None:
            return known
        proven = Proven(
            known.issuer, known.key_thumbprint, known.subject, known.token_id, known.pod, known.workload
        )
        return Refusal(refusal.reason, refusal.detail, refusal.hint, proven)

    def decide(self, authz_request: AuthzRequest) -> Allowed | Answer:
        """Answer `/authz` (checks 1 to 15), or a proxy: route, scope and rate as well (checks 1 to 17)."""
        if self.tracer is not None:
            self.tracer.begin_decision()
        active = self.active
        if active is None:
            return self.refuse(None, Refusal(Reason.NOT_READY), told=authz_request)
        original = authz_request.original
        match = None
        if original is not None and active.has_public and isinstance(original, OriginalRequest):
            match = active.ruleset.routes.match(
                original.method, original.target, form_flaw=original.form_flaw
            )
            if isinstance(match, RouteMatch) and match.is_public:
                return self._decide_public(active, match, original.method, authz_request)
        known = self.authenticate(active, authz_request.credential)
        if isinstance(known, Refusal):
            if active.report_only is None:
                return self.refuse(active, known, told=authz_request)
            return self._refuse_or_report(active, known, authz_request)
        if original is None:
            if known.desk is not None:
                return self._decide_by_desk(active, known, known.desk, authz_request)
            if self.tracer is None and self.audit_level != "all":
                # As `note_allowed` does it, without a call: most requests of most gates come this way.
                self.metrics.allowed.count += 1
                decision_id = f"{self._prefix}-{next(self._numbers):x}"
            else:
                decision_id = self.note_allowed(active, known, None, "", authz_request)
            lines = active.grants.lines
            granted = lines.get(id(known.grants)) or active.grants.of_all(known.grants)
            return Allowed(known.lines, granted, decision_id)
        return self._decide_original(active, known, original, authz_request, match)

    def decide_token(self, authz_request: AuthzRequest) -> Allowed | Answer | None:
        """Answer as `decide` does; None where the credential may not be a token, and then nothing was done.

        It is for a credential that was cut out of a read: only where it has a token's characters alone would
        an HTTP parser certainly have found the same one.
        """
        if self.tracer is not None:
            self.tracer.begin_decision()
        active = self.active
        if active is None:
            return None
        known = self.authenticate(active, authz_request.credential)
        if isinstance(known, Refusal):
            if known.reason is Reason.MALFORMED_CREDENTIAL or active.has_public:
                return None
            if active.report_only is not None:
                # What is not known to be a caller's token is the app's, and has to be found in the head.
                return None
            return self.refuse(active, known, told=authz_request)
        original = authz_request.original
        if original is None:
            if known.desk is not None:
                return self._decide_by_desk(active, known, known.desk, authz_request)
            decision_id = self.note_allowed(active, known, None, "", authz_request)
            lines = active.grants.lines
            granted = lines.get(id(known.grants)) or active.grants.of_all(known.grants)
            return Allowed(known.lines, granted, decision_id)
        return self._decide_original(active, known, original, authz_request)

    def _decide_by_desk(
        self, active: Active, known: CachedIdentity, desk: DeskClaims, told: AuthzRequest
    ) -> Allowed | Answer:
        """Answer `/authz` to a desk token: one for a purpose passes on that purpose's routes only."""
        if desk.purpose is not None:
            detail = f"A token for the purpose {desk.purpose} passes only on routes of that purpose."
            return self.refuse(active, Refusal(Reason.WRONG_PURPOSE, detail), known, told=told)
        return Allowed(known.lines, known.granted, self.note_allowed(active, known, None, "", told))

    def _decide_original(
        self,
        active: Active,
        known: CachedIdentity,
        original: OriginalRequest | Refusal,
        told: AuthzRequest,
        match: RouteMatch | Refusal | None = None,
    ) -> Allowed | Answer:
        if isinstance(original, Refusal):
            # Who is calling came first, as in the table: a stranger learns nothing of the proxy.
            return self._refuse_or_report(active, original, told, known)
        method = original.method
        if match is None:
            match = active.ruleset.routes.match(method, original.target, form_flaw=original.form_flaw)
        if isinstance(match, Refusal):
            return self._refuse_or_report(active, match, told, known, method=method)
        if match.is_public:
            return self._decide_public(active, match, method, told)
        permit = active.permits.known.get((id(known.grants), id(match))) if known.desk is None else None
        if permit is None:
            grant = authorize(known, match.scope, match.account, match.project, match.purpose)
            if isinstance(grant, Refusal):
                return self._refuse_or_report(active, grant, told, known, match, method=method)
            granted = self._lines_of_permit(active, known, match, grant)
        else:
            granted = permit[2]
        limited = self.limiter.take(known.workload, active.ruleset.limits, self.monotonic())
        if limited is not None:
            refusal, retry_after = limited
            return self._refuse_or_report(
                active, refusal, told, known, match, method=method, retry_after=retry_after
            )
        return Allowed(known.lines, granted, self.note_allowed(active, known, match, method, told))

    @staticmethod
    def _lines_of_permit(active: Active, known: CachedIdentity, match: RouteMatch, grant: Grant) -> bytes:
        decided = decided_lines(match.account, match.project)
        if known.desk is not None:
            # Made for this request: the remembered lines are those of the ruleset's own grants.
            return permit_lines(grant) + decided
        lines = (active.grants.lines.get(id(grant)) or active.grants.of_one(grant)) + decided
        active.permits.remember(known.grants, match, lines)
        return lines

    def _decide_public(self, active: Active, match: RouteMatch, method: str, told: Teller) -> Allowed:
        """A yes to a request that needs no token: each header of an identity is there, and empty."""
        decision_id = self.note_allowed(active, None, match, method, told)
        return Allowed(NO_IDENTITY_LINES, NO_GRANT_LINES, decision_id)

    def permit(
        self,
        active: Active,
        identity: Identity,
        match: RouteMatch,
        method: str,
        told: Teller | None = None,
    ) -> Grant | Answer:
        """Scope, account and rate (checks 16 and 17): the grant that lets it pass, else the refusal.

        It is for the gate's own endpoints, for which report only does not count.
        """
        grant = authorize(identity, match.scope, match.account, match.project, match.purpose)
        if isinstance(grant, Refusal):
            return self.refuse(active, grant, identity, match, method=method, told=told)
        limited = self.limiter.take(identity.workload, active.ruleset.limits, self.monotonic())
        if limited is not None:
            return self.refuse(
                active, limited[0], identity, match, method=method, retry_after=limited[1], told=told
            )
        return grant

    def _refuse_or_report(
        self,
        active: Active,
        refusal: Refusal,
        told: AuthzRequest,
        identity: Identity | None = None,
        match: RouteMatch | None = None,
        *,
        method: str = "",
        retry_after: int | None = None,
    ) -> Allowed | Answer:
        """Refuse; or let a request for the app pass without an identity, while the service only reports."""
        if not (told.goes_to_app and self.reports(active, refusal)):
            return self.refuse(
                active, refusal, identity, match, method=method, retry_after=retry_after, told=told
            )
        decision_id, who = self.new_decision_id(), identity or refusal.proven
        self.metrics.would_refuse(refusal.reason).count += 1
        trace_id = ""
        if self.tracer is not None:
            trace_id = self.tracer.note_decision(
                told, decision_id, active.ruleset, refusal, who=who, match=match, passes=True
            )
        self.reported.note(refusal, decision_id, trace_id)
        if self.audit is not None and self.audit_level != "off":
            self._audit(
                self.audit,
                active,
                decision_id,
                refusal,
                outcome=WOULD_REFUSE,
                who=who,
                match=match,
                method=method,
                told=told,
                trace_id=trace_id,
            )
        line = would_refuse_line(refusal)
        return Allowed(NO_IDENTITY_LINES, NO_GRANT_LINES + line, decision_id, line)

    def reports(self, active: Active, refusal: Refusal) -> bool:
        """Whether a ruleset's service only reports this refusal by now, of requests for the app."""
        return active.report_only is not None and may_pass(refusal) and active.report_only.is_on()

    def refuse(
        self,
        active: Active | None,
        refusal: Refusal,
        identity: Identity | None = None,
        match: RouteMatch | None = None,
        *,
        method: str = "",
        retry_after: int | None = None,
        told: Teller | None = None,
    ) -> Answer:
        """Count, log and audit a refusal, and make its answer."""
        if refusal.reason is Reason.NOT_READY:
            refusal, retry_after = self._not_ready, 1
        # As `new_decision_id`, without a call.
        decision_id, who = f"{self._prefix}-{next(self._numbers):x}", identity or refusal.proven
        self.metrics.refused[refusal.reason.code].count += 1
        trace_id = ""
        if self.tracer is not None:
            ruleset = active.ruleset if active else None
            trace_id = self.tracer.note_decision(told, decision_id, ruleset, refusal, who=who, match=match)
        self.refusals.note(refusal, decision_id, trace_id)
        if self.audit is not None and self.audit_level != "off":
            self._audit(
                self.audit,
                active,
                decision_id,
                refusal,
                outcome=REFUSED,
                who=who,
                match=match,
                method=method,
                told=told,
                trace_id=trace_id,
            )
        scope = match.scope if match and refusal.reason is Reason.INSUFFICIENT_SCOPE else None
        return refused(refusal, decision_id, scope=scope, retry_after=retry_after)

    def note_allowed(
        self,
        active: Active,
        identity: Identity | None,
        match: RouteMatch | None,
        method: str,
        told: Teller | None = None,
    ) -> str:
        """Count and audit a yes, which a public route gives to no identity; returns the decision's id."""
        # As `new_decision_id`, without a call.
        decision_id = f"{self._prefix}-{next(self._numbers):x}"
        self.metrics.allowed.count += 1
        trace_id = ""
        if self.tracer is not None:
            trace_id = self.tracer.note_decision(
                told, decision_id, active.ruleset, None, who=identity, match=match
            )
        if self.audit is not None and self.audit_level == "all":
            self._audit(
                self.audit,
                active,
                decision_id,
                None,
                outcome=ALLOWED,
                who=identity,
                match=match,
                method=method,
                told=told,
                trace_id=trace_id,
            )
        return decision_id

    def note_ended(self, refusal: Refusal, decision_id: str, told: Teller) -> None:
        """Count and audit the end of a request that was let in by the decision of this id."""
        self.metrics.long_connections_ended.labels(refusal.reason.code).inc()
        if self.audit is not None and self.audit_level != "off":
            self._audit(
                self.audit,
                self.active,
                decision_id,
                refusal,
                outcome=ENDED,
                who=refusal.proven,
                match=None,
                method="",
                told=told,
                trace_id=told.parent.trace_id if self.tracer is not None and told.parent is not None else "",
            )

    def _audit(
        self,
        audit: AuditLog,
        active: Active | None,
        decision_id: str,
        refusal: Refusal | None,
        *,
        outcome: str,
        who: Identity | Proven | None,
        match: RouteMatch | None,
        method: str,
        told: Teller | None,
        trace_id: str,
    ) -> None:
        if who is None and outcome in _BOUNDED_OUTCOMES and not audit.admits_unproven(self.clock()):
            return
        ruleset = active.ruleset if active else None
        claims = who.desk if isinstance(who, Identity) else None
        unproven = told.unproven() if told else None
        audit.write(
            AuditEntry(
                time=self.clock(),
                decision_id=decision_id,
                outcome=outcome,
                bundle=ruleset.digest if ruleset else "",
                generation=ruleset.generation if ruleset else 0,
                reason=refusal.reason.code if refusal else "",
                detail=refusal.detail if refusal and who else "",
                issuer=who.issuer if who else "",
                subject=who.subject if who else "",
                workload=who.workload if who else "",
                token_id=who.token_id if who else "",
                key_thumbprint=who.key_thumbprint if who else "",
                pod=who.pod if who else "",
                desk=ruleset.policy.desk.name if claims and ruleset and ruleset.policy.desk else "",
                origin_token_id=claims.origin.token_id if claims and claims.origin else "",
                purpose=(claims.purpose or "") if claims else "",
                # A method is the caller's word until a route named it.
                method=method if match else "",
                route=match.path if match else "",
                scope=match.scope if match else "",
                account=(match.account or "") if match else "",
                project=(match.project or "") if match else "",
                # What the caller chose stands with its other words.
                trace_id="" if unproven and unproven.trace_id else trace_id,
                unproven=unproven,
            )
        )

    def _cache_bytes(self) -> float:
        active = self.active
        return float(active.yes.used_bytes + active.no.used_bytes) if active else 0.0
