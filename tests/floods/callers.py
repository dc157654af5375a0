# SPDX-License-Identifier: Apache-2.0
"""A good caller that goes on calling while a flood runs: each call on a connection of its own, and one kept.

A bound that keeps memory down by refusing everybody is a flood that won.
"""

from __future__ import annotations

import http.client
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

CALLS_AT_LEAST = 20
# How long a call may take on a busy machine. Only a refusal, a reset or a wrong answer fails it.
CALL_SECONDS = 60
# How long the flood, in a thread of the same process, may keep the caller between connecting and asking: a
# full port gives a new connection a tenth of a second to ask.
SWITCH_SECONDS = 0.0005


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has to be answered with 200."""

    host: str
    port: int
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    context: ssl.SSLContext | None = None

    def connect(self) -> http.client.HTTPConnection:
        """A new connection."""
        if self.context is not None:
            return http.client.HTTPSConnection(
                self.host, self.port, timeout=CALL_SECONDS, context=self.context
            )
        return http.client.HTTPConnection(self.host, self.port, timeout=CALL_SECONDS)

    def ask(self, link: http.client.HTTPConnection) -> str:
        """Call once; empty, or what was wrong."""
        link.request(self.method, self.path, body=self.body, headers=self.headers)
        answer = link.getresponse()
        content = answer.read()
        return "" if answer.status == 200 else f"{answer.status} {content[:200]!r}"


@dataclass(slots=True)
class Caller:
    """How the calls went so far."""

    calls: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def calling(call: Call) -> Iterator[Caller]:
    """Call until the block ends, and often enough thereafter to mean something."""
    caller, over = Caller(), threading.Event()

    def run() -> None:
        kept = call.connect()
        while not over.is_set() or caller.calls < CALLS_AT_LEAST:
            fresh = call.connect()
            try:
                problem = call.ask(fresh)
            except (OSError, http.client.HTTPException) as error:
                problem = f"on a new connection: {error!r}"
            finally:
                fresh.close()
            caller.calls += 1
            if problem:
                caller.failures.append(problem)
            try:
                problem = call.ask(kept)
            except (OSError, http.client.HTTPException):
                # One that rested may be closed at any time (RFC 9112, section 9.3); asked again, it works.
                kept.close()
                kept = call.connect()
                try:
                    problem = call.ask(kept)
                except (OSError, http.client.HTTPException) as error:
                    problem = f"on a kept connection, again: {error!r}"
            caller.calls += 1
            if problem:
                caller.failures.append(problem)
        kept.close()

    thread = threading.Thread(target=run, daemon=True)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    thread.start()
    try:
        yield caller
    finally:
        over.set()
        thread.join(10 * CALL_SECONDS)
        sys.setswitchinterval(before)
    assert not thread.is_alive(), "the good caller is still waiting"
