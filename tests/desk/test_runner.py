# SPDX-License-Identifier: Apache-2.0
"""What keeps a desk up to date: the newest configuration wins, and nothing is made again without a reason."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from testing.running_desk import Source, default_objects
from watchword.desk.configuration import Configuration, KeyRecord
from watchword.desk.desk import Desk
from watchword.desk.metrics import DeskMetrics
from watchword.desk.minting import SigningKey
from watchword.desk.ops import DeskReadiness
from watchword.desk.published import Mark, PublishingError
from watchword.desk.runner import Runner
from watchword.desk.store import open_desk_store
from watchword.desk.writer import Writer

NOW = 1_800_000_000.0


class Slow(Source):
    """A source whose writes wait while they are told to, or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.objects = default_objects()
        self.may_write, self.is_writing = asyncio.Event(), asyncio.Event()
        self.fails = False
        self.may_write.set()

    async def write(self, mark: Mark, revocations: bytes) -> None:
        self.is_writing.set()
        await self.may_write.wait()
        if self.fails:
            raise PublishingError("it is full")
        await super().write(mark, revocations)

    def configuration(self, *keys: KeyRecord) -> Configuration:
        self.keys = list(keys)
        found = self.compile()
        assert isinstance(found, Configuration), found
        return found


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Runner, Desk, Slow, list[float]]]:
    source, clock = Slow(), [NOW]
    store = open_desk_store("sqlite:///:memory:")
    writer = Writer(store)
    desk = Desk(store, writer, DeskMetrics(), clock=lambda: clock[0])
    runner = Runner(desk, store, source, source, DeskReadiness(desk))
    await runner.prepare()
    try:
        yield runner, desk, source, clock
    finally:
        await writer.close()
        store.close()


def record(signs_from: float = 0.0, made_at: float = 0.0) -> KeyRecord:
    return KeyRecord(SigningKey.generate(), signs_from, made_at)


async def use(runner: Runner, configuration: Configuration) -> None:
    runner._configuration, runner._is_behind = configuration, True
    await runner.adopt()


def signing(desk: Desk) -> Any:
    assert desk.state is not None
    assert desk.state.signing is not None
    return desk.state.signing


def test_the_newest_configuration_wins_whichever_is_written_down_last() -> None:
    async def scenario() -> None:
        async with running() as (runner, desk, source, _):
            first, second = record(), record()
            await use(runner, source.configuration(first))
            # A key that is new has to be written down first, and that takes a while.
            source.may_write.clear()
            source.is_writing.clear()
            older = asyncio.create_task(use(runner, source.configuration(second)))
            await source.is_writing.wait()
            newer = asyncio.create_task(use(runner, source.configuration(first)))
            for _ in range(50):
                await asyncio.sleep(0.001)
            source.may_write.set()
            await asyncio.gather(older, newer)
            assert signing(desk).kid == first.key.kid

    asyncio.run(scenario())


def test_a_minute_in_which_nothing_changes_makes_no_new_state() -> None:
    async def scenario() -> None:
        async with running() as (runner, desk, source, clock):
            old, new = record(), record(NOW + 1000, NOW + 100)
            await use(runner, source.configuration(new, old))
            state = desk.state
            assert state is not None
            assert (signing(desk).kid, state.changes_at) == (old.key.kid, NOW + 700)
            for minute in range(1, 11):
                clock[0] = NOW + 60 * minute
                await runner.keep_once()
                # What was proven under a state is remembered with it.
                assert desk.state is state
            clock[0] = NOW + 1001
            await runner.keep_once()
            assert signing(desk).kid == new.key.kid
            assert desk.state is not None
            assert desk.state.changes_at == math.inf

    asyncio.run(scenario())


def test_what_could_not_be_written_down_is_tried_again_each_minute() -> None:
    async def scenario() -> None:
        async with running() as (runner, desk, source, _):
            first = record()
            await use(runner, source.configuration(first))
            source.fails = True
            other = record()
            await use(runner, source.configuration(other))
            await runner.keep_once()
            assert signing(desk).kid == first.key.kid
            source.fails = False
            await runner.keep_once()
            assert signing(desk).kid == other.key.kid

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("records", "changes_at"),
    [
        ([(0.0, 0.0)], math.inf),
        ([(NOW + 5, NOW - 600)], NOW + 5),
        ([(NOW - 5, NOW - 5)], NOW + 595),
        ([(NOW + 900, NOW), (NOW + 50, NOW - 700)], NOW + 50),
    ],
)
def test_a_state_says_when_time_alone_changes_it(
    records: list[tuple[float, float]], changes_at: float
) -> None:
    async def scenario() -> None:
        async with running() as (runner, desk, source, _):
            await use(runner, source.configuration(*(record(*each) for each in records)))
            assert desk.state is not None
            assert desk.state.changes_at == changes_at

    asyncio.run(scenario())
