# SPDX-License-Identifier: Apache-2.0
"""Report only: until when a gate lets pass what it would refuse, and which refusals hold all the same.

The mistake to prevent is a gate that goes on letting everyone in after the end. So the end is reached by
whichever time is the latest: the clock's, the bundle's, or the one that was seen before plus what has passed
since; and once it was reached, nothing brings the time before it back.
"""

from collections.abc import Callable
from typing import Final

from watchword.identity import Reason, Refusal
from watchword.process.logs import LOGGER
from watchword.trust.bundle import MAX_REPORT_ONLY_SECONDS

# An operator's clock may be ahead of the gate's: what it found to be 30 days is a little more here.
_SKEW_SECONDS: Final = 600.0
# Refused at any time. What was taken back, or cannot be known not to be, is no matter of trying out.
NEVER_PASSED: Final = frozenset(
    reason.code
    for reason in (
        Reason.NOT_READY,
        Reason.REVOKED,
        Reason.REVOCATIONS_UNKNOWN,
        Reason.SUSPENDED,
        Reason.STALE_IDENTITY,
    )
)


class LatestTime:
    """The time, which never goes back while the process lives, though its clock or its bundle may."""

    __slots__ = ("_at", "_clock", "_clock_at", "_latest", "_monotonic", "_told")

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        """Tell the time by a clock (seconds since the epoch) and by one that only goes forward."""
        self._clock, self._monotonic = clock, monotonic
        self._latest = self._clock_at = self._told = clock()
        self._at = monotonic()

    def now(self) -> float:
        """The later of the clock, and of the latest time that was known plus what has passed since."""
        clock, monotonic = self._clock(), self._monotonic()
        passed = max(monotonic - self._at, 0.0)
        if clock > self._latest + passed:
            self._latest, self._clock_at, self._at = clock, clock, monotonic
            now = clock
        elif clock > self._latest + passed - _SKEW_SECONDS:
            # It is right by now, maybe because it was set: that step is no time that has passed.
            now = self._latest + passed
        else:
            # It is behind. By how much it went on counts as well: the other one stands still while a machine
            # is suspended.
            now = self._latest + max(passed, clock - self._clock_at)
        self._told = max(self._told, now)
        return self._told

    def note(self, known: float) -> None:
        """Go on from a time that has been reached for certain, where that is later; in seconds."""
        if known > self.now():
            self._latest = self._told = known
            self._clock_at, self._at = self._clock(), self._monotonic()


class ReportOnly:
    """One bundle's time without enforcement.

    Attributes:
        until: its end, in seconds since the epoch.
    """

    __slots__ = ("_has_ended", "_time", "until")

    def __init__(self, until: float, bundle_time: float, time: LatestTime) -> None:
        """Report until a time, if that is at most 30 days ahead.

        Args:
            until: the end, in seconds since the epoch.
            bundle_time: when the bundle was made, in seconds since the epoch.
            time: tells the time.
        """
        self.until, self._time = until, time
        # A bundle that was made later than it is by the clock: the clock is behind by so much at least.
        time.note(bundle_time)
        self._has_ended = not 0 < self._left() <= MAX_REPORT_ONLY_SECONDS + _SKEW_SECONDS

    def seconds_left(self) -> float:
        """How long it goes on; 0: it is over, or never was."""
        if self._has_ended:
            return 0.0
        left = self._left()
        if left <= 0:
            self._has_ended = True
            LOGGER.warning(
                "report only has ended", extra={"effect": "what it reported is refused from now on"}
            )
            return 0.0
        return left

    def is_on(self) -> bool:
        """Whether requests that would be refused pass by now."""
        return self.seconds_left() > 0

    def _left(self) -> float:
        return self.until - self._time.now()


def may_pass(refusal: Refusal) -> bool:
    """Whether report only lets a request pass that is refused for this."""
    return refusal.reason.code not in NEVER_PASSED


def would_refuse_line(refusal: Refusal) -> bytes:
    """What app and caller are told, as the line of a head."""
    return b"x-watchword-would-refuse: %b\r\n" % refusal.reason.code.encode()
