# SPDX-License-Identifier: Apache-2.0
"""The store behind the usage endpoints: which meters are in force, who is next, and whether it is away.

A store that is away is asked by one request at a time; all others are told at once. Waiting for a time-out
each, they would fill the queue, and the first minute of its return would go to requests that no one awaits.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from watchword.gate.logs import LOGGER
from watchword.gate.usage.fair_queue import FairQueue
from watchword.gate.usage.responses import RETRY_SECONDS
from watchword.trust import MeterSpec, Ruleset
from watchword.usage import Dimension, Meter, StoreError, StoreUnavailableError, UsageStore
from watchword.usage.times import day_at

_T = TypeVar("_T")
_OWN = ""  # the gate's own turn in the queue; no caller's name is empty
EXPIRE_SECONDS = 3600.0


class GateStore:
    """One store for reading and writing, with a queue before each."""

    def __init__(
        self,
        store: UsageStore,
        reader: UsageStore | None = None,
        retry_seconds: float = RETRY_SECONDS,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """Take a store, and a second one on the same data to read from, where one thread has each."""
        self._store, self._reader = store, reader or store
        threads = max(1, store.threads // 2)
        self.writes = FairQueue(threads, "usage-writes")
        # A store that wants one thread at a time has one queue.
        is_shared = reader is None and store.threads == 1
        self.reads = self.writes if is_shared else FairQueue(threads, "usage-reads")
        self._retry_seconds, self._on_failure = retry_seconds, on_failure
        self._away_until = 0.0
        self._meters: tuple[Meter, ...] | None = None  # in force, as the workers see it
        self.wanted: tuple[Meter, ...] | None = None  # by the newest bundle

    async def write(self, key: str, work: Callable[[UsageStore, tuple[Meter, ...]], _T]) -> _T:
        """Run work on the store, with the meters in force. Raises QueueFullError and StoreError."""
        return await self.writes.run(key, lambda: self._answered(lambda: work(self._store, self._in_force())))

    async def read(self, key: str, work: Callable[[UsageStore, tuple[Meter, ...]], _T]) -> _T:
        """Run work that only reads. Raises QueueFullError and StoreError."""
        return await self.reads.run(key, lambda: self._answered(lambda: work(self._reader, self._in_force())))

    async def use_meters(self, specs: Sequence[MeterSpec]) -> None:
        """Count with these meters from now on; what is stored is counted again when they changed."""
        meters = tuple(map(_meter, specs))
        self.wanted = meters
        while self.wanted is meters:
            try:
                await self.writes.run(_OWN, lambda: self._put_to_use(meters), may_wait=True)
            except StoreError as error:
                # Until it succeeds, events are answered with 503 and sent again: none is counted wrongly.
                # What the store refuses now, someone may fix meanwhile.
                _say("the meters could not be put to use", error)
                await asyncio.sleep(self._retry_seconds)
            else:
                return

    async def expire(self, ruleset: Ruleset, now: float) -> None:
        """Give up events and amounts whose time is over; now is in seconds since the epoch."""
        today = day_at(now)
        days = ruleset.event_retention_days
        events_before = None if days is None else today - timedelta(days=days)
        amounts_before = {
            meter.name: today - timedelta(days=meter.retention_days)
            for meter in self.wanted or ()
            if meter.retention_days is not None
        }
        if events_before is None and not amounts_before:
            return
        try:
            gone = await self.writes.run(
                _OWN, lambda: self._store.expire(events_before, amounts_before), may_wait=True
            )
        except StoreError as error:
            _say("what is past its time could not be given up", error)
        else:
            if gone.events or gone.amounts:
                LOGGER.info(
                    "gave up usage that is past its time",
                    extra={"events": gone.events, "amounts": gone.amounts},
                )

    async def close(self) -> None:
        """Finish what was begun and close the stores."""
        await self.writes.run(_OWN, self._store.close, may_wait=True)
        if self._reader is not self._store:
            await self.reads.run(_OWN, self._reader.close, may_wait=True)
        for queue in {self.writes, self.reads}:
            queue.close()

    def _put_to_use(self, meters: tuple[Meter, ...]) -> None:
        self._store.use_meters(meters)
        self._meters = meters

    def _in_force(self) -> tuple[Meter, ...]:
        if self._meters is None:
            raise StoreUnavailableError(
                "the meters are not in use yet", "look for an error of the store above"
            )
        return self._meters

    def _answered(self, work: Callable[[], _T]) -> _T:
        try:
            return self._asked(work)
        except StoreError:
            self._on_failure()
            raise

    def _asked(self, work: Callable[[], _T]) -> _T:
        now = time.monotonic()
        if now < self._away_until:
            raise StoreUnavailableError("the usage store is away", "see that its server can be reached")
        # The first one now asks the server; the others go by what it got for a while.
        self._away_until = now + self._retry_seconds if self._away_until else 0.0
        try:
            found = work()
        except StoreUnavailableError as error:
            self._away_until = time.monotonic() + self._retry_seconds if error.is_away else 0.0
            raise
        self._away_until = 0.0
        return found


def _meter(spec: MeterSpec) -> Meter:
    return Meter(
        spec.name,
        spec.event_type,
        spec.aggregation,
        spec.value,
        tuple(Dimension(each.name, each.value) for each in spec.group_by),
        spec.max_groups,
        spec.unit,
        spec.retention_days,
    )


def _say(what: str, error: StoreError) -> None:
    LOGGER.error(what, extra={"detail": error.detail, "remedy": error.remedy})
