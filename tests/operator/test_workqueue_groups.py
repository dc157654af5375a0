# SPDX-License-Identifier: Apache-2.0
"""A group has its few places and no more, everything is done in the end, and others never wait for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.operator.virtual_time import run_in_virtual_time
from watchword.operator.workqueue import WorkQueue

Key = tuple[str, int]


class Work:
    """Keys that are done when told, if they are `slow`, with the most that were under way of one group."""

    def __init__(self) -> None:
        self.done: list[Key] = []
        self.busy: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.under_way: set[Key] = set()
        self.goes_on = asyncio.Event()
        self.fails: set[Key] = set()

    async def do(self, key: Key, _: float) -> None:
        assert key not in self.under_way
        group = key[0]
        self.under_way.add(key)
        self.busy[group] += 1
        self.most[group] = max(self.most[group], self.busy[group])
        try:
            if group == "slow":
                await self.goes_on.wait()
            await asyncio.sleep(0.001)
        finally:
            self.busy[group] -= 1
            self.under_way.discard(key)
        if key in self.fails:
            raise OSError(str(key))
        self.done.append(key)


def play(
    story: Callable[[WorkQueue[Key], Work], Awaitable[None]], *, at_once: int, concurrency: int = 4
) -> Work:
    """Play a story beside an open queue in virtual time; returns what was worked on."""
    work: list[Work] = []

    async def main() -> None:
        work.append(Work())
        queue: WorkQueue[Key] = WorkQueue(
            quiet_seconds=0.02,
            longest_seconds=0.1,
            concurrency=concurrency,
            group=lambda key: key[0],
            at_once_of_group=at_once,
        )
        queue.open()
        running = asyncio.create_task(queue.run(work[0].do))
        await story(queue, work[0])
        running.cancel()
        # Less than the work of one key takes.
        await asyncio.wait([running], timeout=0.0005)
        assert running.cancelled()

    run_in_virtual_time(main())
    return work[0]


def test_a_slow_group_takes_its_places_and_leaves_the_others_theirs() -> None:
    async def story(queue: WorkQueue[Key], work: Work) -> None:
        for place in range(100):
            queue.add(("slow", place))
        await asyncio.sleep(1)
        queue.add(("other", 0))
        await asyncio.sleep(1)
        assert work.done == [("other", 0)]
        work.goes_on.set()
        await asyncio.sleep(10)
        assert queue.is_idle()

    work = play(story, at_once=2)
    assert sorted(work.done) == [("other", 0), *(("slow", place) for place in range(100))]
    assert work.most == {"slow": 2, "other": 1}


def test_groups_take_turns() -> None:
    async def story(queue: WorkQueue[Key], _: Work) -> None:
        for place in range(50):
            queue.add(("many", place))
        queue.add(("few", 0))
        await asyncio.sleep(10)

    assert ("few", 0) in play(story, at_once=1, concurrency=1).done[:2]


def test_a_key_that_waits_is_done_once_however_often_it_was_asked_for() -> None:
    async def story(queue: WorkQueue[Key], work: Work) -> None:
        queue.add(("slow", 0))
        await asyncio.sleep(1)
        for _ in range(5):
            queue.add(("slow", 1))
            await asyncio.sleep(1)
        assert len(queue) == 2
        work.goes_on.set()
        await asyncio.sleep(1)

    assert play(story, at_once=1).done == [("slow", 0), ("slow", 1)]


def test_no_key_of_a_full_group_is_worked_on_twice_at_once() -> None:
    async def story(queue: WorkQueue[Key], work: Work) -> None:
        for _ in range(3):
            for place in range(3):
                queue.add(("slow", place))
            await asyncio.sleep(1)
        work.goes_on.set()
        await asyncio.sleep(1)
        assert queue.is_idle()

    done = Counter(play(story, at_once=2).done)
    assert sorted(done.values()) == [1, 2, 2]


def test_what_fails_is_done_again_and_stops_nothing() -> None:
    async def story(queue: WorkQueue[Key], work: Work) -> None:
        work.fails = {("slow", 0), ("slow", 1)}
        work.goes_on.set()
        for place in range(3):
            queue.add(("slow", place))
        await asyncio.sleep(0.3)
        assert work.done == [("slow", 2)]
        work.fails.clear()
        await asyncio.sleep(10)
        assert sorted(work.done) == [("slow", 0), ("slow", 1), ("slow", 2)]

    play(story, at_once=1)


def test_a_queue_that_is_cancelled_does_nothing_more_of_what_waits() -> None:
    async def story(queue: WorkQueue[Key], work: Work) -> None:
        for place in range(40):
            queue.add(("slow", place))
        await asyncio.sleep(1)

    assert play(story, at_once=2).done == []
