# SPDX-License-Identifier: Apache-2.0
"""A burst is one piece of work, no key is worked on twice at once, and what fails comes again."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from tests.operator.virtual_time import run_in_virtual_time
from watchword.operator.workqueue import WorkQueue


def run(
    scenario: Callable[[WorkQueue[str], list[str]], Awaitable[None]],
    work: Callable[[str, list[str]], Awaitable[None]] | None = None,
    concurrency: int = 2,
) -> list[str]:
    """Run a scenario beside a queue; returns what was worked on."""
    done: list[str] = []

    async def default(key: str, seen: list[str]) -> None:
        seen.append(key)

    async def main() -> None:
        chosen = work or default

        async def call(key: str, _: float) -> None:
            await chosen(key, done)

        queue: WorkQueue[str] = WorkQueue(quiet_seconds=0.02, longest_seconds=0.1, concurrency=concurrency)
        running = asyncio.create_task(queue.run(call))
        try:
            await scenario(queue, done)
        finally:
            running.cancel()

    asyncio.run(main())
    return done


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the queue tells nobody when it is idle
            await asyncio.sleep(0.005)


def test_a_burst_is_one_piece_of_work() -> None:
    async def scenario(queue: WorkQueue[str], done: list[str]) -> None:
        queue.open()
        for _ in range(100):
            queue.add("a")
        queue.add("b")
        await until(queue.is_idle)

    assert sorted(run(scenario)) == ["a", "b"]


def test_an_endless_stream_of_events_does_not_put_work_off_for_good() -> None:
    async def scenario(queue: WorkQueue[str], done: list[str]) -> None:
        queue.open()
        while not done:
            queue.add("a")
            await asyncio.sleep(0.005)

    assert run(scenario)


def test_nothing_begins_before_it_is_opened() -> None:
    async def scenario(queue: WorkQueue[str], done: list[str]) -> None:
        queue.add("a")
        await asyncio.sleep(0.2)
        assert not done
        queue.open()
        await until(queue.is_idle)

    assert run(scenario) == ["a"]


def test_a_key_is_never_worked_on_twice_at_once_and_what_comes_meanwhile_is_done_after() -> None:
    busy, most = set[str](), 0

    async def work(key: str, done: list[str]) -> None:
        nonlocal most
        assert key not in busy
        busy.add(key)
        most = max(most, len(busy))
        await asyncio.sleep(0.05)
        busy.discard(key)
        done.append(key)

    async def scenario(queue: WorkQueue[str], done: list[str]) -> None:
        queue.open()
        queue.add("a")
        queue.add("b")
        await until(lambda: "a" in busy)
        queue.add("a")
        await until(lambda: done.count("a") == 2 and queue.is_idle())

    assert sorted(run(scenario, work, concurrency=3)) == ["a", "a", "b"]
    assert most == 2


def test_what_fails_comes_again_and_holds_up_nobody() -> None:
    failures = iter([True, True, False])

    async def work(key: str, done: list[str]) -> None:
        if key == "bad" and next(failures):
            raise ValueError("not now")
        done.append(key)

    async def scenario(queue: WorkQueue[str], done: list[str]) -> None:
        queue.open()
        queue.add("bad")
        queue.add("good")
        await until(lambda: len(done) == 2)

    assert run(scenario, work, concurrency=1) == ["good", "bad"]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_thousand_keys_are_all_worked_on_once(concurrency: int) -> None:
    async def scenario(queue: WorkQueue[str], done: list[str]) -> None:
        for number in range(1000):
            queue.add(str(number))
        queue.open()
        await until(queue.is_idle)

    assert sorted(run(scenario, concurrency=concurrency)) == sorted(map(str, range(1000)))


@pytest.mark.parametrize(("seconds", "first"), [(0.1, (0.1, 0.3)), (60.0, (0.2, 5.0))])
def test_what_fails_comes_again_no_later_than_it_was_asked_for(
    seconds: float, first: tuple[float, float]
) -> None:
    attempts: list[float] = []

    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(quiet_seconds=0.05, longest_seconds=0.25)

        async def fail(key: str, _: float) -> None:
            attempts.append(asyncio.get_running_loop().time())
            if len(attempts) == 1:
                # What expires soon has its time, whatever else cannot be done.
                queue.add_after(key, seconds)
                raise OSError("as ever")

        running = asyncio.create_task(queue.run(fail))
        queue.open()
        queue.add("a")
        await asyncio.sleep(3600)
        running.cancel()

    run_in_virtual_time(main())
    assert len(attempts) == 2
    assert first[0] <= attempts[1] - attempts[0] <= first[1]


def test_what_fails_for_two_hours_is_tried_again_at_least_every_five_seconds_and_never_in_step() -> None:
    attempts: list[float] = []

    async def fail(_: str, __: float) -> None:
        attempts.append(asyncio.get_running_loop().time())
        raise OSError("as ever")

    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(quiet_seconds=0.05, longest_seconds=0.25, concurrency=2)
        running = asyncio.create_task(queue.run(fail))
        queue.open()
        queue.add("a")
        await asyncio.sleep(7200)
        assert not running.done()
        running.cancel()

    run_in_virtual_time(main())
    waits = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert len(waits) > 1440
    assert max(waits) <= 5.25
    assert min(waits[10:]) >= 2.5
    assert len({round(wait, 3) for wait in waits[10:]}) > 100
