# SPDX-License-Identifier: Apache-2.0
"""What every store of the desk promises: what it answered is durable, together with its audit entry.

A token without its entry, or a revocation that a crash forgets after a 2xx, would make the log and the
answers two stories. The desk knows only this protocol; one suite of contract tests holds each engine to it.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from watchword.desk.agents.records import AgentStep
from watchword.desk.audit_chain import AuditEvent, AuditRow, Head

# Ids are in hexadecimal, and begin with their time: this sorts after all of them.
AFTER_ALL_IDS: Final = "~"


class DeskStoreError(Exception):
    """The store could not do what it was asked to; nothing was changed.

    Attributes:
        detail: what is wrong, for the desk's operator; never a token, never a password.
        remedy: what helps.
    """

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(f"{detail}; {remedy}")
        self.detail, self.remedy = detail, remedy


class DeskStoreRefusedError(DeskStoreError):
    """The store cannot be used as it is configured: trying again does not help."""


class DeskStoreUnavailableError(DeskStoreError):
    """The store is busy, full or away: the same call may succeed later."""


class Issue(msgspec.Struct, frozen=True):
    """A token to be known as issued. Times in whole seconds since the epoch.

    `kind` is what it speaks for (`DeskKind`), and `version` which version of that one's record it was issued
    for; empty: it is bound to none.
    """

    token_id: str
    subject: str
    service: str
    issued_at: int
    expires_at: int
    event: AuditEvent
    kind: str = "workload"
    version: str = ""


class Revoke(msgspec.Struct, frozen=True):
    """A token to be known as revoked. Has no effect, and no entry, where it was revoked before."""

    token_id: str
    subject: str
    service: str
    issued_at: int
    expires_at: int
    event: AuditEvent


class UseAssertion(msgspec.Struct, frozen=True):
    """A client assertion that may be used once. Has no effect, and no entry, where it was used before."""

    client: str
    assertion_id: str
    expires_at: int
    event: AuditEvent | None = None


class Note(msgspec.Struct, frozen=True):
    """Something that is only noted in the audit log."""

    event: AuditEvent


Operation = Issue | Revoke | UseAssertion | Note | AgentStep


class KnownToken(msgspec.Struct, frozen=True):
    """What the store knows of a token that it issued; kind and version as in `Issue`."""

    subject: str
    service: str
    expires_at: int
    is_revoked: bool
    kind: str = "workload"
    version: str = ""


class ListedToken(msgspec.Struct, frozen=True):
    """A token as a list shows it. Times in whole seconds since the epoch."""

    token_id: str
    subject: str
    service: str
    issued_at: int
    expires_at: int
    kind: str
    is_revoked: bool


class RevokedToken(msgspec.Struct, frozen=True):
    """A revoked token that a gate may still take. Times in whole seconds since the epoch."""

    token_id: str
    subject: str
    service: str
    issued_at: int
    expires_at: int


class DeskStore(Protocol):
    """Keeps what the desk must remember. Methods block.

    `write` is called by one thread, the others by any one thread at a time for each of them.

    Attributes:
        answers_at_once: `find` takes microseconds, so that an event loop may call it.
    """

    answers_at_once: bool

    def write(self, operations: Sequence[Operation]) -> list[bool]:
        """Do all of it in one transaction that is durable when this returns.

        Returns:
            For each operation whether it had an effect.

        Raises:
            DeskStoreError: nothing was changed; after a lost connection it may have been all the same.
        """
        ...

    def find(self, token_id: str) -> KnownToken | None:
        """What is known of a token; None: it was never issued, or ended long ago. Raises DeskStoreError."""
        ...

    def look(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """Rows that one of the looks of `agents.storage` finds. Raises DeskStoreError."""
        ...

    def revoked(self, now: int) -> list[RevokedToken]:
        """The revoked tokens that a gate may still take, in the order of their revocation.

        Args:
            now: seconds since the epoch.

        Raises:
            DeskStoreError: it cannot be read.
        """
        ...

    def tokens_before(self, token_id: str, limit: int) -> list[ListedToken]:
        """Tokens that were issued before another one, the newest first. Raises DeskStoreError.

        Args:
            token_id: where to begin, itself left out; empty: at the newest.
            limit: how many at most.
        """
        ...

    def expire(self, before: int) -> int:
        """Forget what ended before a time; returns how much. Never the audit log. Raises DeskStoreError."""
        ...

    def identity(self) -> str:
        """The store's own id, made when the store was. Raises DeskStoreError."""
        ...

    def renew_identity(self, event: AuditEvent) -> str:
        """Give the store another id, as one that was restored; returns it. Raises DeskStoreError."""
        ...

    def head(self) -> Head:
        """The newest entry of the audit log. Raises DeskStoreError."""
        ...

    def entries_after(self, sequence: int, limit: int) -> list[AuditRow]:
        """Entries of the audit log in order. Raises DeskStoreError."""
        ...

    def close(self) -> None:
        """Give up the connection. May be called twice."""
        ...


def row_of(operation: Issue | Revoke) -> tuple[object, ...]:
    """A token that was issued or revoked as a row: id, subject, service, and its two times."""
    return (
        operation.token_id,
        operation.subject,
        operation.service,
        operation.issued_at,
        operation.expires_at,
    )


def issue_row_of(operation: Issue) -> tuple[object, ...]:
    """A token that was issued as a row: `row_of`, then its kind and version."""
    return (*row_of(operation), operation.kind, operation.version)


def open_desk_store(dsn: str) -> DeskStore:
    """Open the store that a DSN names.

    `sqlite:///PATH` (absolute with a fourth slash; `sqlite:///:memory:` for the life of the process) or
    `postgresql://USER@HOST/DATABASE[?schema=NAME]`.

    Raises:
        DeskStoreRefusedError: anything else, or a store that cannot be used.
        DeskStoreUnavailableError: it is away or busy.
    """
    remedy = "use sqlite:////PATH, or postgresql://USER@HOST/DATABASE"
    scheme, separator, _ = dsn.partition(":")
    if scheme in ("postgresql", "postgres") and separator:
        try:
            from watchword.desk.postgresql import PostgreSQLDeskStore
        except ImportError as error:
            raise DeskStoreRefusedError(
                f"the driver for postgresql is not installed ({error.name})",
                "install it: pip install 'watchword[postgresql]'",
            ) from None
        return PostgreSQLDeskStore(dsn)
    path = dsn.removeprefix("sqlite:///")
    if path == dsn or not path or any(each in path for each in "\0?#"):
        raise DeskStoreRefusedError("the desk's DSN names no store", remedy)
    from watchword.desk.sqlite import SQLiteDeskStore

    return SQLiteDeskStore(path)
