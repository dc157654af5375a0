# SPDX-License-Identifier: Apache-2.0
"""Tokens, clients and audit entries as the admin API shows them; never a token, a secret, or its digest."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from watchword.desk.admin.standing import AdminStanding
from watchword.desk.audit_chain import AuditRow
from watchword.desk.state import DeskState
from watchword.desk.store import ListedToken
from watchword.trust.admin_grants import is_flagged, is_of_admin_type
from watchword.trust.api.v1alpha1 import DeskClient

Document = dict[str, Any]


def token_view(token: ListedToken, now: float) -> Document:
    """A token: what it is known by, whose it is, and whether the desk still stands by it."""
    return {
        "token_id": token.token_id,
        "kind": token.kind,
        "subject": token.subject,
        "service": token.service or None,
        "issued_at": _time(token.issued_at),
        "expires_at": _time(token.expires_at),
        "state": token_state(token, now),
    }


def token_state(token: ListedToken, now: float) -> str:
    """`revoked`, `ended` or `active`; a gate may refuse an active one for reasons of its own."""
    if token.is_revoked:
        return "revoked"
    return "ended" if token.expires_at <= now else "active"


def client_view(client: DeskClient, state: DeskState, standing: AdminStanding | None = None) -> Document:
    """A client: how it proves itself, what it is for, and whether it counts.

    Args:
        client: the object.
        state: what the desk runs.
        standing: whether it is an admin, as read just now; None: it was not read.
    """
    spec, by = client.spec, client.spec.authentication
    authentication: Document = {}
    if by.service_account is not None:
        account = by.service_account
        authentication["service_account"] = {
            "issuer": account.issuer_ref.name,
            "namespace": account.namespace,
            "name": account.name,
        }
    if by.jwks is not None:
        authentication["key_ids"] = [
            str(each.get("kid", "")) for each in by.jwks.get("keys", ()) if isinstance(each, dict)
        ]
    if by.secret_ref is not None:
        authentication["secret"] = {"name": by.secret_ref.name, "key": by.secret_ref.key}
    if by.person is not None:
        # Without the address: this is about the client, and the person's name is in Kubernetes for those who
        # may read it there.
        authentication["person"] = {
            "issuer": by.person.issuer,
            "client_id": by.person.client_id,
            "is_subject_pinned": by.person.subject is not None,
        }
    document: Document = {
        "name": client.metadata.name,
        "type": spec.type,
        "authentication": authentication,
        "services": [f"{each.namespace}/{each.name}" for each in spec.service_refs],
        "usable": client.metadata.name in state.clients.by_name,
    }
    if is_of_admin_type(client):
        document["admin"] = {"requested": is_flagged(client), "granted_by": spec.granted_by}
        if standing is not None:
            document["admin"] |= {"counts": not standing.problem, "problem": standing.problem or None}
    return document


def entry_view(row: AuditRow) -> Document:
    """An audit entry, with its hash in the chain."""
    entry: Document = msgspec.json.decode(row.entry)
    return {"entry": entry, "hash": row.hash}


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
