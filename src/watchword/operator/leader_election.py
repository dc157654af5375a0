# SPDX-License-Identifier: Apache-2.0
"""Elects the leader over one Lease, rightly whatever the wall clocks say and whichever request is lost.

kopf's own peering freezes operators of one priority and knows no Lease. Here no time is compared that another
machine wrote: a standby takes over when it has seen no write for the Lease's whole duration by its own clock,
and a leader stops leading 3 seconds before that by its own. The mistake this exists to prevent: two operators
that both write.
"""

import asyncio
import datetime
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from watchword.kube.leases import (
    Lease,
    LeaseConflictError,
    LeaseHold,
    LeaseStore,
    LeaseUnavailableError,
    suspend_proof_clock,
)
from watchword.process.logs import LOGGER

_NEVER: Final = float("-inf")


class Timing(NamedTuple):
    """Seconds. `lease`: silence after which a standby takes over. `renew_deadline`: age of its last renewal
    at which a leader stops leading. `retry`: between two renewals. `standby`: between two looks of a standby,
    half of which is what a clean handover waits for."""

    lease: float = 10.0
    renew_deadline: float = 7.0
    retry: float = 1.0
    standby: float = 0.5


DEFAULT_TIMING: Final = Timing()


class LeaderElector:
    """One candidate. Use: `acquire()`, work, `renew()` until it returns, stop the work, `release()`; again.

    Attributes:
        identity: what this candidate writes as the Lease's holder; never used by another process.
        holder: who held the Lease when it was last read; empty: no one, or not read yet.
        hold: for how long this candidate surely holds it; what is asked before each write.
        trouble: why the last attempt failed; None when it did not.
    """

    def __init__(
        self,
        leases: LeaseStore,
        identity: str,
        *,
        timing: Timing = DEFAULT_TIMING,
        clock: Callable[[], float] = suspend_proof_clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        dice: Callable[[], float] = random.random,
    ) -> None:
        """Compete for a Lease; `clock` gives seconds since anything, `dice` numbers from 0 to 1."""
        self.identity, self.holder = identity, ""
        self.trouble: LeaseUnavailableError | None = None
        self._leases, self._timing = leases, timing
        self._clock, self._sleep, self._dice = clock, sleep, dice
        self._mine: Lease | None = None  # as we wrote it last
        self.hold = LeaseHold(clock)
        self._seen_version, self._seen_at = "", _NEVER

    def is_held(self) -> bool:
        """Whether this process leads, by its own clock; from any thread, without waiting."""
        return self.hold.is_held()

    async def acquire(self) -> None:
        """Stand by until this candidate leads."""
        self.hold.begin()
        while True:
            await self._attempt()
            if self.is_held():
                return
            await self._pause(self._timing.standby)

    async def renew(self) -> str:
        """Renew the Lease until leadership is lost; returns why."""
        while True:
            await self._pause(self._timing.retry)
            left = self.hold.held_until - self._clock()
            if left > 0:
                try:
                    # However long calls hang: the work stops when others may begin to think of theirs.
                    async with asyncio.timeout(left):
                        await self._attempt()
                except TimeoutError:
                    pass
            if not self.is_held():
                return self._why_lost()

    def step_down(self) -> None:
        """Refuse every further write from now on; the Lease stays until `release`."""
        self.hold.end()

    async def release(self) -> None:
        """Give the Lease back, so that a standby need not wait; call when no write is in flight any more."""
        self.hold.end()
        mine, self._mine = self._mine, None
        if self.hold.leads_from > self._clock():
            # We still wait because another may still lead; a Lease given back is taken at once.
            return
        released = {"holderIdentity": "", "renewTime": _now()}
        try:
            try:
                if mine is None:
                    raise LeaseConflictError
                await self._leases.replace(mine, released)
            except LeaseConflictError:
                # A renewal whose answer never came may have been written all the same.
                seen = await self._leases.read()
                if seen is not None and seen.holder == self.identity:
                    await self._leases.replace(seen, released)
        except (LeaseConflictError, LeaseUnavailableError) as problem:
            LOGGER.warning("the Lease was not released, it expires by itself", extra={"why": str(problem)})

    async def _pause(self, seconds: float) -> None:
        await self._sleep(seconds * (0.9 + 0.2 * self._dice()))

    async def _attempt(self) -> None:
        try:
            await self._take_or_renew()
        except LeaseUnavailableError as problem:
            if self.trouble is None or self.trouble.detail != problem.detail:
                LOGGER.warning(
                    "the Lease cannot be reached", extra={"why": problem.detail, "remedy": problem.remedy}
                )
            self.trouble = problem
        except LeaseConflictError:
            # Another candidate was faster; the next attempt reads what they wrote.
            self._mine = None
        else:
            self.trouble = None

    async def _take_or_renew(self) -> None:
        started = self._clock()
        if self._mine is not None:
            try:
                self._confirm(await self._leases.replace(self._mine, self._renewed()), started)
            except LeaseConflictError:
                # Not yet a loss: it may be our own write whose answer never came, or another's label.
                self._mine = None
            else:
                return
        seen = await self._leases.read()
        started = self._clock()
        if seen is None:
            await self._attempt_to_create(started)
            return
        if seen.resource_version != self._seen_version:
            self._seen_version, self._seen_at = seen.resource_version, started
        self.holder = seen.holder
        if seen.holder == self.identity:
            self._confirm(await self._leases.replace(seen, self._renewed()), started)
            return
        self.hold.lose()
        is_free = seen.holder == ""
        if is_free or started >= self._seen_at + max(seen.duration_seconds, self._timing.lease):
            # Never held: as good as not there.
            self.hold.leads_from = self._probation(started) if is_free and not seen.was_held else _NEVER
            taken = {"acquireTime": _now(), "leaseTransitions": seen.transitions + 1}
            self._confirm(await self._leases.replace(seen, {**self._renewed(), **taken}), started)

    async def _attempt_to_create(self, started: float) -> None:
        # Set before the call: it may succeed without an answer.
        self.hold.leads_from = self._probation(started)
        spec = {**self._renewed(), "acquireTime": _now(), "leaseTransitions": 0}
        self._confirm(await self._leases.create(spec), started)

    def _probation(self, started: float) -> float:
        """When one that found no Lease may lead, a leader that finds its own gone included: it may have been
        deleted under a living leader, and more than once; that one has begun its last renewal."""
        return started + self._timing.lease

    def _confirm(self, lease: Lease, started: float) -> None:
        """Count from when the call started: the server took it later than that, and others see it later."""
        self._mine, self.holder = lease, self.identity
        self.hold.held_until = started + self._timing.renew_deadline

    def _renewed(self) -> Mapping[str, Any]:
        # For people and other tools; no candidate compares times.
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._timing.lease),
            "renewTime": _now(),
        }

    def _why_lost(self) -> str:
        if self.holder not in {"", self.identity}:
            return f"{self.holder} holds the Lease"
        if self.hold.leads_from > self._clock():
            return "the Lease was deleted or emptied"
        if self.trouble is not None:
            return f"not renewed for {self._timing.renew_deadline:g} s: {self.trouble.detail}"
        return f"not renewed for {self._timing.renew_deadline:g} s"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
