# SPDX-License-Identifier: Apache-2.0
"""Who asked for what, what was decided, by which grant and which bundle: one JSON line for each decision.

The log must never be in the way of a request: a bounded queue, a thread that drains it, and a count of what
had to be dropped. A token is never in it; a verified one is named by its `jti` and its key's thumbprint.
"""

import queue
import threading
from collections.abc import Callable
from typing import BinaryIO, Final

import msgspec

QUEUE_ENTRIES: Final = 4096
# Whoever reaches the port can have such refusals written, without any token: the disk is theirs only so far.
UNPROVEN_PER_SECOND: Final = 20


class AuditEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision. Everything but time, id and outcome is absent where it was not proven."""

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
    method: str = ""
    route: str = ""
    scope: str = ""
    account: str = ""
    project: str = ""


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

    def write_unproven(self, entry: AuditEntry) -> None:
        """Queue an entry of which no signature proves anything: 20 a second, the rest only counted."""
        second = int(entry.time)
        if second != self._second:
            self._second, self._unproven = second, 0
        self._unproven += 1
        if self._unproven > UNPROVEN_PER_SECOND:
            self._on_drop()
        else:
            self.write(entry)

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
