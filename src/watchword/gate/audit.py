# SPDX-License-Identifier: Apache-2.0
"""Who asked for what, what was decided, by which grant and which bundle: one JSON line for each decision.

The log must never be in the way of a request: a bounded queue, a thread that drains it, and a count of what
had to be dropped. A token is never in it; a verified one is named by its `jti` and its key's thumbprint. What
the caller merely says is under `unproven`, bounded and escaped, so that no reader takes it for the gate's.
"""

import queue
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from watchword.gate.tracing.spans import Parent

QUEUE_ENTRIES: Final = 4096
# Anyone who reaches the port can have such refusals written, without any token: at most this many.
UNPROVEN_PER_SECOND: Final = 20


# Of the method and of the path, in bytes as they came. The address is the transport's own.
MAX_UNPROVEN_BYTES: Final = 256
# What is looked at to find a token in a path, before it is cut: longer than any target that a route matches.
_MAX_LOOKED_AT: Final = 16 * 1024
_UNPRINTABLE: Final = re.compile(rb"[^\x21-\x7e]|\\")
# A JWS begins with the base64url of `{"`, whatever its header says (RFC 7515, section 7.1).
_TOKEN: Final = re.compile(rb"eyJ[A-Za-z0-9_-]{5,}(?:(?:\.|%2[eE])[A-Za-z0-9_-]*)*")
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://")

# Outcomes of a decision.
ALLOWED: Final = "allowed"
REFUSED: Final = "refused"
# Of a request that passed because the service only reports.
WOULD_REFUSE: Final = "would_refuse"
# Of one that was let in, and may not go on.
ENDED: Final = "ended"

Peer = tuple[str, int]


class Unproven(msgspec.Struct, frozen=True, omit_defaults=True):
    """What nothing proves: where the connection came from, and what its sender says that it asks for.

    Attributes:
        peer: `ADDRESS:PORT` of the other end of the connection, which may be a proxy's.
        method: the method; behind `/authz/*` that of the original request.
        path: the path without the query, of the same request. Bytes that are no visible ASCII are `\\xNN`.
        trace_id: the trace that the caller says it is part of.
    """

    peer: str = ""
    method: str = ""
    path: str = ""
    trace_id: str = ""


class Teller(Protocol):
    """What knows a request as its sender tells it, and writes it down only when asked."""

    @property
    def parent(self) -> "Parent | None":
        """The span that its decision is part of, while the gate traces."""

    def unproven(self) -> Unproven:
        """As it may stand in the log."""


class Said(msgspec.Struct, frozen=True, gc=False):
    """A request as its sender tells it, as long as no one writes it down.

    Attributes:
        peer: the other end of the connection; None where it is not known.
        method: its method.
        target: its raw target, which may hold secrets in its query.
        parent: the caller's span, while the gate traces.
    """

    peer: Peer | None
    method: str
    target: bytes
    parent: "Parent | None" = None

    def __repr__(self) -> str:
        return "Said(...)"

    def unproven(self) -> Unproven:
        """As it may stand in the log."""
        host, port = self.peer if self.peer is not None else ("", 0)
        peer = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") if host else ""
        method = self.method.encode("ascii", "backslashreplace")
        trace_id = self.parent.claimed_trace_id if self.parent is not None else ""
        return Unproven(peer, shown(method), shown(path_of(self.target)), trace_id)


def path_of(target: bytes) -> bytes:
    """The path of a raw request target: no query, no fragment, and of a URL neither host nor userinfo."""
    path = target[:_MAX_LOOKED_AT].partition(b"?")[0].partition(b"#")[0]
    if (scheme := _SCHEME.match(path)) is not None:
        path = b"/" + path[scheme.end() :].partition(b"/")[2]
    elif not path.startswith(b"/") and b"@" in path:
        # The authority of a CONNECT, or nothing that anyone could read.
        path = path.rpartition(b"@")[2]
    return path


def shown(raw: bytes) -> str:
    """Text of a stranger's: visible ASCII, without what could be a token, cut after 256 bytes of it."""
    raw = _TOKEN.sub(b"[token]", raw)
    cut = raw[:MAX_UNPROVEN_BYTES]
    text = _UNPRINTABLE.sub(lambda found: b"\\x%02x" % found[0][0], cut).decode("ascii")
    return text if len(raw) == len(cut) else text + "..."


class AuditEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision. Everything but time, id and outcome is absent where it was not proven.

    docs/reference/audit.md says what each field is.
    """

    time: float
    decision_id: str
    outcome: str
    bundle: str
    generation: int
    reason: str = ""
    detail: str = ""
    issuer: str = ""
    subject: str = ""
    workload: str = ""
    token_id: str = ""
    key_thumbprint: str = ""
    pod: str = ""
    desk: str = ""
    origin_token_id: str = ""
    purpose: str = ""
    method: str = ""
    route: str = ""
    scope: str = ""
    account: str = ""
    project: str = ""
    trace_id: str = ""
    unproven: Unproven | None = None


class AuditLog:
    """Writes entries from a thread of its own."""

    def __init__(self, stream: BinaryIO, on_drop: Callable[[], None]) -> None:
        """Start writing to a stream; `on_drop` is called for each entry that found the queue full."""
        self._queue: queue.Queue[AuditEntry | None] = queue.Queue(QUEUE_ENTRIES)
        self._stream, self._on_drop = stream, on_drop
        self._second, self._unproven = 0, 0
        self._thread = threading.Thread(target=self._drain, name="audit", daemon=True)
        self._thread.start()

    def write(self, entry: AuditEntry) -> None:
        """Queue an entry; never waits."""
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self._on_drop()

    def admits_unproven(self, now: float) -> bool:
        """Count an entry of which no signature proves anything; True where it may be written: 20 a second.

        Asked before the entry is made, so that a flood costs no more than a count.
        """
        second = int(now)
        if second != self._second:
            self._second, self._unproven = second, 0
        self._unproven += 1
        if self._unproven > UNPROVEN_PER_SECOND:
            self._on_drop()
            return False
        return True

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Write what is queued and stop; a stream that is stuck is given up after the time-out."""
        try:
            self._queue.put(None, timeout=timeout_seconds)
        except queue.Full:
            return
        self._thread.join(timeout_seconds)

    def _drain(self) -> None:
        while (entry := self._queue.get()) is not None:
            try:
                self._stream.write(msgspec.json.encode(entry) + b"\n")
                if self._queue.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                # Standard output was closed under us: decisions go on, and the loss shows in the metric.
                self._on_drop()
