# SPDX-License-Identifier: Apache-2.0
"""The TLS handshakes that are under way on one server, bounded apart from everything else.

A caller in its handshake holds nothing that it could give up, and is told apart from a stranger by nothing.
So handshakes have places of their own: they make room for each other alone, and never for connections that
hold requests. The mistake to prevent is that who sends much puts out who had no chance to send.
"""

import math
from typing import Protocol

from watchword.process.attended_time import AttendedTime


class Handshake(Protocol):
    """One handshake, as its pool sees it."""

    def make_room(self) -> None:
        """Close at once, and hold nothing from now on."""


class HandshakePool:
    """Handshakes under way, the oldest first."""

    def __init__(self, places: int, bytes_each: int, patience_seconds: float, clock: AttendedTime) -> None:
        """Have some places, and count each with some bytes.

        A handshake has so many seconds, on a clock, before the next one may take its place.
        """
        self._places, self._bytes_each = places, bytes_each
        self._patience, self._clock = patience_seconds, clock
        self._since: dict[Handshake, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    @property
    def held_bytes(self) -> int:
        """How many bytes they are counted with."""
        return len(self._since) * self._bytes_each

    def add(self, handshake: Handshake) -> None:
        """Count one more; where that is one too many, the oldest closes."""
        while self._since and len(self._since) >= self._places:
            self.close_oldest()
        self._since[handshake] = self._clock.mark()

    def discard(self, handshake: Handshake) -> bool:
        """Count one no longer; whether it was counted."""
        return self._since.pop(handshake, None) is not None

    def close_oldest(self) -> bool:
        """Close the one that takes longest; whether there was one."""
        oldest = next(iter(self._since), None)
        if oldest is None:
            return False
        del self._since[oldest]
        oldest.make_room()
        return True

    def newest(self) -> float:
        """When on its clock the last one was added; minus infinity where there is none."""
        return next(reversed(self._since.values()), -math.inf)

    def seconds_until_place(self) -> float:
        """In how many seconds of its clock a new one may be added: 0 or less, at once."""
        if len(self._since) < self._places:
            return 0.0
        return self.seconds_left()

    def seconds_left(self) -> float:
        """How long the oldest still has before another one may take its place; 0 where there is none."""
        oldest = next(iter(self._since.values()), None)
        return 0.0 if oldest is None else oldest + self._patience - self._clock.seconds
