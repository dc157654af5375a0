# SPDX-License-Identifier: Apache-2.0
"""What the audit log says of each thing that happens: who, what, by which rule, from where, in which request.

No token is in it: a token is named by its `jti`. Strangers can send what they like as fast as they like, so
what they are refused is counted for a minute and written once.
"""

from collections import Counter
from typing import Any

import msgspec

from watchword.desk.audit_chain import AuditEvent
from watchword.desk.exchange import Exchange
from watchword.desk.refusals import DeskRefusal
from watchword.desk.store import ListedToken
from watchword.trust.api.v1alpha1 import DeskClient
from watchword.trust.desk_tokens import CLIENT_PREFIX, DeskClaims

# Addresses that are counted as different in a minute; beyond it, the number is only "at least".
_MAX_ADDRESSES = 10_000


class RequestFacts(msgspec.Struct, frozen=True):
    """What is known of a request before anything in it is read.

    Attributes:
        request_id: in the answer as well.
        peer: the caller's address.
        at: seconds since the epoch.
    """

    request_id: str
    peer: str
    at: float

    def fields(self) -> dict[str, Any]:
        """As an audit entry has it."""
        return {"request_id": self.request_id, "peer": self.peer}


def token_issued(facts: RequestFacts, exchange: Exchange, kid: str) -> AuditEvent:
    """A token was issued."""
    claims = exchange.claims
    fields = {
        **facts.fields(),
        "subject": claims.subject,
        "workload": exchange.workload,
        "service": exchange.target.service,
        "bundle": exchange.target.ruleset.digest,
        "bundle_generation": exchange.target.ruleset.generation,
        "token_id": claims.token_id,
        "expires_at": claims.expires_at,
        "key": kid,
        "authorization_details": msgspec.to_builtins(claims.details),
        "origin": msgspec.to_builtins(claims.watchword.origin),
    }
    if claims.purpose is not None:
        fields["purpose"] = claims.purpose
    return AuditEvent("token_issued", fields, facts.at)


def admin_token_issued(
    facts: RequestFacts, claims: DeskClaims, granted_by: str, kid: str, provider: str = ""
) -> AuditEvent:
    """A token was issued to an admin client; to a person where a provider is named."""
    fields = {
        **facts.fields(),
        "subject": claims.subject,
        "granted_by": granted_by,
        "token_id": claims.token_id,
        "expires_at": claims.expires_at,
        "key": kid,
    }
    if provider:
        fields["provider"] = provider
    return AuditEvent("admin_token_issued", fields, facts.at)


def admin_client_changed(client: DeskClient, change: str, at: float) -> AuditEvent:
    """An admin client was found changed. The person who withdrew a flag is in the API server's audit log.

    Args:
        client: the object as it is now, or as it was last.
        change: `granted`, `withdrawn` or `removed`.
        at: when the desk saw it, in seconds since the epoch.
    """
    spec, metadata = client.spec, client.metadata
    fields: dict[str, Any] = {
        "subject": CLIENT_PREFIX + metadata.name,
        "change": change,
        "uid": metadata.uid,
        "generation": metadata.generation,
        "authentication": _authentication(client),
    }
    if change == "granted":
        fields["granted_by"] = spec.granted_by or ""
    return AuditEvent("admin_client_changed", fields, at)


def _authentication(client: DeskClient) -> Any:
    """What a client proves itself by. Of a person no address: what is in the log is never deleted."""
    by = client.spec.authentication
    if by.person is not None:
        return {"person": {"issuer": by.person.issuer, "client_id": by.person.client_id}}
    return msgspec.to_builtins(by.service_account)


def admin_called(
    facts: RequestFacts, subject: str, token_id: str, *, operation: str, about: str, reason: str
) -> AuditEvent:
    """An admin used the admin API.

    Args:
        facts: of the request.
        subject: the admin client's `sub`.
        token_id: of the token that it showed.
        operation: what it did, by the operation's name.
        about: what it did it to; empty: a list.
        reason: what came of it: `ok`, or the code of a refusal.
    """
    fields = {
        **facts.fields(),
        "subject": subject,
        "token_id": token_id,
        "operation": operation,
        "reason": reason,
    }
    return AuditEvent("admin_called", fields | ({"about": about} if about else {}), facts.at)


def token_revoked_by_admin(facts: RequestFacts, token: ListedToken, by: str) -> AuditEvent:
    """An admin revoked a token by its id."""
    fields = {
        **facts.fields(),
        "subject": token.subject,
        "service": token.service,
        "token_id": token.token_id,
        "expires_at": token.expires_at,
        "by": by,
    }
    return AuditEvent("token_revoked", fields, facts.at)


def token_revoked(facts: RequestFacts, claims: DeskClaims, service: str, by: str) -> AuditEvent:
    """A token was revoked.

    Args:
        facts: of the request.
        claims: of the token.
        service: which one it was for, as `namespace/name`.
        by: a client or a workload that proved who it is, or `holder`: the holder of the token.
    """
    fields = {
        **facts.fields(),
        "subject": claims.subject,
        "service": service,
        "token_id": claims.token_id,
        "expires_at": claims.expires_at,
        "by": by,
    }
    return AuditEvent("token_revoked", fields, facts.at)


def revocation_ignored(facts: RequestFacts, claims: DeskClaims, by: str) -> AuditEvent:
    """A client asked to revoke a token that is not its own; it was told nothing of that."""
    fields = {**facts.fields(), "subject": claims.subject, "token_id": claims.token_id, "by": by}
    return AuditEvent("revocation_ignored", fields, facts.at)


def refused(facts: RequestFacts, endpoint: str, refusal: DeskRefusal) -> AuditEvent:
    """A proven caller was refused."""
    fields = {
        **facts.fields(),
        "subject": refusal.subject,
        "endpoint": endpoint,
        "reason": refusal.code,
        "detail": refusal.detail,
    }
    if refusal.internal:
        fields["internal"] = refusal.internal
    return AuditEvent("request_refused", fields, facts.at)


class StrangerTally:
    """Refusals of callers who proved nothing, counted until they are written."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._addresses: set[str] = set()

    def count(self, endpoint: str, refusal: DeskRefusal, peer: str) -> None:
        """Count one refusal."""
        self._counts[endpoint, refusal.code] += 1
        if len(self._addresses) < _MAX_ADDRESSES:
            self._addresses.add(peer)

    def take(self, at: float) -> AuditEvent | None:
        """The entry for all that was counted since the last one; None: nothing was."""
        if not self._counts:
            return None
        counts = [
            {"endpoint": endpoint, "reason": reason, "count": count}
            for (endpoint, reason), count in sorted(self._counts.items())
        ]
        fields = {"refusals": counts, "addresses": len(self._addresses)}
        self._counts.clear()
        self._addresses.clear()
        return AuditEvent("strangers_refused", fields, at)
