# SPDX-License-Identifier: Apache-2.0
"""A Lease store behind a bad network, and candidates with clocks of their own, in virtual time.

The store is exact (versions, conflicts, one order of writes); what goes wrong is between it and a candidate:
calls are late, are lost on the way there or on the way back, or all fail for a while. A candidate's clock
runs a little fast or slow and starts anywhere; it may be frozen for a time, as a stopped process is.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from watchword.kube.leases import (
    REQUEST_SECONDS,
    Lease,
    LeaseConflictError,
    LeaseUnavailableError,
    parse_lease,
)
from watchword.kube.requests import WRITE_TIMEOUT_SECONDS
from watchword.operator.leader_election import LeaderElector


@dataclass
class ExactStore:
    """What etcd would hold; every call happens at one moment."""

    stored: dict[str, Any] | None = None
    version: int = 0
    writes: int = 0

    def read(self) -> Lease | None:
        return None if self.stored is None else parse_lease(msgspec.json.encode(self.stored))

    def create(self, spec: Mapping[str, Any]) -> Lease:
        if self.stored is not None:
            raise LeaseConflictError
        return self._write({"metadata": {"name": "it"}, "spec": dict(spec)})

    def replace(self, lease: Lease, spec: Mapping[str, Any]) -> Lease:
        if self.stored is None or self.stored["metadata"]["resourceVersion"] != lease.resource_version:
            raise LeaseConflictError
        return self._write({**lease.document, "spec": {**lease.document["spec"], **spec}})

    def touch(self) -> None:
        """What a third party does: a label, say."""
        if self.stored is not None:
            self._write(self.stored)

    def delete(self) -> None:
        self.stored = None

    def _write(self, document: Mapping[str, Any]) -> Lease:
        self.version += 1
        self.writes += 1
        metadata = {**document["metadata"], "resourceVersion": str(self.version)}
        self.stored = {**document, "metadata": metadata}
        lease = self.read()
        assert lease is not None
        return lease


@dataclass
class Network:
    """How bad it is now, for one candidate."""

    dice: random.Random
    lost: float = 0.0
    slowest: float = 0.05
    is_cut: bool = False
    late_writes: set[asyncio.Task[Any]] = field(default_factory=set)

    async def carry(self, happen: Callable[[], Any]) -> Any:
        """There and back again within the time limit of a call, or LeaseUnavailableError; what was on its way
        when the caller gave up may happen later all the same."""

        async def journey() -> Any:
            await asyncio.sleep(self.dice.random() * self.slowest)
            if self.is_cut or self.dice.random() < self.lost:
                await asyncio.sleep(3600)
            outcome: Any
            try:
                outcome = happen()
            except LeaseConflictError as conflict:
                outcome = conflict
            await asyncio.sleep(self.dice.random() * self.slowest)
            if self.is_cut or self.dice.random() < self.lost:
                await asyncio.sleep(3600)
            return outcome

        task = asyncio.create_task(journey())
        self.late_writes.add(task)
        task.add_done_callback(self.late_writes.discard)
        done, _ = await asyncio.wait({task}, timeout=REQUEST_SECONDS)
        if not done:
            raise LeaseUnavailableError("no answer in time", "none")
        outcome = task.result()
        if isinstance(outcome, LeaseConflictError):
            raise outcome
        return outcome


@dataclass
class FarStore:
    """The store as one candidate reaches it."""

    store: ExactStore
    network: Network
    thaw: Callable[[], Awaitable[None]]

    async def read(self) -> Lease | None:
        found: Lease | None = await self._carry(self.store.read)
        return found

    async def create(self, spec: Mapping[str, Any]) -> Lease:
        made: Lease = await self._carry(lambda: self.store.create(spec))
        return made

    async def replace(self, lease: Lease, spec: Mapping[str, Any]) -> Lease:
        made: Lease = await self._carry(lambda: self.store.replace(lease, spec))
        return made

    async def _carry(self, happen: Callable[[], Any]) -> Any:
        try:
            return await self.network.carry(happen)
        finally:
            await self.thaw()


@dataclass
class LocalClock:
    """A candidate's clock: `rate` seconds a second, from `start`. `freeze`: its process is stopped until."""

    start: float
    rate: float
    frozen_until: float = 0.0

    def now(self) -> float:
        return self.start + asyncio.get_running_loop().time() * self.rate

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.rate)
        await self.thaw()

    async def thaw(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self.frozen_until - loop.time()) > 0:  # noqa: ASYNC110 - it may be frozen for longer
            await asyncio.sleep(left)


class Candidate:
    """An elector that campaigns, works while it leads, and begins again, until it is killed or stopped."""

    def __init__(self, world: World, name: str) -> None:
        dice = world.dice
        self.world, self.name = world, name
        self.network = Network(random.Random(dice.random()))
        self.clock = LocalClock(dice.uniform(0, 1e6), 1 + dice.uniform(-0.001, 0.001))
        self.elector = LeaderElector(
            FarStore(world.store, self.network, self.clock.thaw),
            name,
            clock=self.clock.now,
            sleep=self.clock.sleep,
            dice=dice.random,
        )
        self.terms = 0
        self._task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        while True:
            await self.elector.acquire()
            self.terms += 1
            # One thread asks and then writes; that write may take as long as a write may take.
            writing = asyncio.create_task(self._write())
            try:
                await self.elector.renew()
            finally:
                self.elector.step_down()
                writing.cancel()
            self.world.finish_writes(self)
            await self.elector.release()

    async def _write(self) -> None:
        while True:
            if self.elector.is_held() and self.clock.frozen_until <= asyncio.get_running_loop().time():
                self.world.write(self)
            await self.clock.sleep(0.05)

    async def stop(self) -> None:
        """A clean end, as on SIGTERM."""
        self.elector.step_down()
        await self._end()
        self.world.finish_writes(self)
        await self.elector.release()

    async def kill(self) -> None:
        """An end without a word."""
        await self._end()
        self.elector.step_down()

    async def _end(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


class World:
    """One store, candidates, and what each of them believed when."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.store = ExactStore()
        self.candidates: list[Candidate] = []
        self.problems: list[str] = []
        self.leaders: list[str] = []
        self._last_write: tuple[str, float] = ("", float("-inf"))
        self._names = iter(range(10_000))

    def join(self) -> Candidate:
        candidate = Candidate(self, f"candidate-{next(self._names)}")
        self.candidates.append(candidate)
        return candidate

    def believers(self) -> list[Candidate]:
        return [each for each in self.candidates if each.elector.is_held()]

    def write(self, writer: Candidate) -> None:
        """A candidate begins a write: nobody else leads, nor has one under way."""
        now = asyncio.get_running_loop().time()
        if others := [each.name for each in self.believers() if each is not writer]:
            self.problems.append(f"{now:.2f}: {writer.name} writes while {others} lead")
        name, at = self._last_write
        if name not in {"", writer.name} and now < at + WRITE_TIMEOUT_SECONDS:
            self.problems.append(f"{now:.2f}: {writer.name} writes; {name} began a write at {at:.2f}")
        self._last_write = (writer.name, now)
        if not self.leaders or self.leaders[-1] != writer.name:
            self.leaders.append(writer.name)

    def finish_writes(self, writer: Candidate) -> None:
        """A candidate waited for its writes, as it does before it gives the Lease back."""
        if self._last_write[0] == writer.name:
            self._last_write = ("", float("-inf"))
