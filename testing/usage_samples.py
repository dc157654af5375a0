# SPDX-License-Identifier: Apache-2.0
"""Meters, messages and events that read like the case that they are for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from hypothesis import settings

from watchword.usage import BATCHED, STRUCTURED, BodyProblem, Event, EventProblem, Meter, parse_events

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()

HITS = Meter("remote_cache_hits", "cache.hit", "count")
BYTES = Meter("bytes", "cache.hit", "sum", "/bytes")
LARGEST = Meter("largest", "cache.hit", "max", "/bytes")
USERS = Meter("users", "cache.hit", "unique_count", "/user")
METERS = (HITS, BYTES, LARGEST, USERS)

TYPED = b"content-type"

unhurried = settings(deadline=None)
"""What a property test finds counts, not how long an example took on a busy machine."""

_EXACT = msgspec.json.Encoder(decimal_format="number")


def envelope(**changes: object) -> dict[str, object]:
    """A cache hit of account acme as a CloudEvents object; a change to `...` leaves the member out."""
    members: dict[str, object] = {
        "specversion": "1.0",
        "id": "1",
        "source": "/ci",
        "type": "cache.hit",
        "subject": "acme",
        "time": "2026-11-03T10:00:00Z",
        "data": {"bytes": 1, "user": "u1"},
        **changes,
    }
    return {name: value for name, value in members.items() if value is not ...}


def structured(body: bytes | object, now: float = NOW) -> Event | EventProblem | BodyProblem:
    """Parse one event in structured mode."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = parse_events(raw, [(TYPED, STRUCTURED.encode())], now)
    return answer if isinstance(answer, BodyProblem) else answer[0]


def batched(body: bytes | object, now: float = NOW) -> list[Event | EventProblem] | BodyProblem:
    """Parse a batch."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_events(raw, [(TYPED, BATCHED.encode())], now)


def events(*envelopes: dict[str, object]) -> Sequence[Event]:
    """Parse a batch in which every event must be sound."""
    answer = batched(_EXACT.encode(envelopes))
    assert not isinstance(answer, BodyProblem), answer
    sound = [event for event in answer if isinstance(event, Event)]
    assert len(sound) == len(answer), answer
    return sound


def event(**changes: object) -> Event:
    """One sound event."""
    return events(envelope(**changes))[0]
