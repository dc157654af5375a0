# SPDX-License-Identifier: Apache-2.0
"""The election under everything that a network, a clock and a person with kubectl can do to it.

`WATCHWORD_ELECTION_ROUNDS` (12 unless said) is how many simulated hours of trouble are tried; by hand 500.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.operator.lease_world import Candidate, World
from tests.operator.virtual_time import run_in_virtual_time

ROUNDS = int(os.environ.get("WATCHWORD_ELECTION_ROUNDS", "12"))


async def trouble(world: World, seconds: float) -> None:
    """Whatever can happen, at random, for so long: every few seconds something else."""
    loop, dice = asyncio.get_running_loop(), world.dice
    end = loop.time() + seconds
    while loop.time() < end:
        await asyncio.sleep(dice.expovariate(1 / 3))
        await dice.choice(DISASTERS)(world)


def _anyone(world: World) -> Candidate | None:
    return world.dice.choice(world.candidates) if world.candidates else None


async def _cut_one_off(world: World) -> None:
    if (one := _anyone(world)) is not None:
        one.network.is_cut = True
        asyncio.get_running_loop().call_later(world.dice.uniform(0, 20), _mend, one)


def _mend(one: Candidate) -> None:
    one.network.is_cut = False


async def _cut_the_leader_off(world: World) -> None:
    for one in world.believers():
        one.network.is_cut = True
        asyncio.get_running_loop().call_later(world.dice.uniform(0, 20), _mend, one)


async def _lose_calls(world: World) -> None:
    if (one := _anyone(world)) is not None:
        one.network.lost = world.dice.choice([0.0, 0.1, 0.5, 0.9])


async def _slow_down(world: World) -> None:
    if (one := _anyone(world)) is not None:
        one.network.slowest = world.dice.choice([0.01, 0.5, 2.0, 10.0])


async def _freeze(world: World) -> None:
    if (one := _anyone(world)) is not None:
        one.clock.frozen_until = asyncio.get_running_loop().time() + world.dice.uniform(0, 30)


async def _kill(world: World) -> None:
    if (one := _anyone(world)) is not None:
        world.candidates.remove(one)
        await one.kill()
        world.join()


async def _stop(world: World) -> None:
    if (one := _anyone(world)) is not None:
        await one.stop()
        world.candidates.remove(one)
        world.join()


async def _touch(world: World) -> None:
    world.store.touch()


async def _delete(world: World) -> None:
    world.store.delete()


async def _delete_and_apply_blank(world: World) -> None:
    world.store.delete()
    world.store.create({})


DISASTERS: list[Callable[[World], Coroutine[Any, Any, None]]] = [
    _cut_one_off,
    _cut_the_leader_off,
    _lose_calls,
    _slow_down,
    _freeze,
    _kill,
    _stop,
    _touch,
    _delete,
    _delete_and_apply_blank,
]


async def an_hour_of_trouble(seed: int) -> World:
    world = World(seed)
    for _ in range(world.dice.choice([2, 2, 3, 5])):
        world.join()
    await trouble(world, 3600)
    for one in world.candidates:
        one.network.is_cut, one.network.lost, one.network.slowest = False, 0.0, 0.05
        one.clock.frozen_until = 0.0
    await asyncio.sleep(30)
    return world


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_there_are_never_two_leaders_nor_a_write_of_two_and_in_the_end_there_is_one(seed: int) -> None:
    async def check() -> None:
        world = await an_hour_of_trouble(seed)
        assert world.problems == []
        assert len(world.believers()) == 1
        assert len(world.leaders) > 10, "the trouble was none: nothing was ever taken over"

    run_in_virtual_time(check())


async def settled(world: World, *, candidates: int = 2) -> tuple[Candidate, list[Candidate]]:
    """The leader and those who stand by, once there is one."""
    for _ in range(candidates):
        world.join()
    await asyncio.sleep(30)
    [leader] = world.believers()
    return leader, [each for each in world.candidates if each is not leader]


async def seconds_until_somebody_leads(world: World) -> float:
    """Virtual seconds: the same ones in every run of one seed."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not world.believers():  # noqa: ASYNC110 - leading is a matter of time, not of an event
        await asyncio.sleep(0.01)
    return loop.time() - begun


def test_a_standby_leads_within_a_second_of_a_clean_stop() -> None:
    async def check(seed: int) -> float:
        world = World(seed)
        leader, _ = await settled(world)
        await leader.stop()
        return await seconds_until_somebody_leads(world)

    assert max(run_in_virtual_time(check(seed)) for seed in range(50)) < 1


def test_a_standby_leads_within_twelve_seconds_of_a_kill() -> None:
    async def check(seed: int) -> float:
        world = World(seed)
        leader, _ = await settled(world)
        await asyncio.sleep(world.dice.random())
        await leader.kill()
        return await seconds_until_somebody_leads(world)

    assert max(run_in_virtual_time(check(seed)) for seed in range(50)) < 12


def test_a_leader_that_is_cut_off_stops_before_another_starts_and_stands_by_again() -> None:
    async def check() -> None:
        world = World(1)
        leader, [standby] = await settled(world)
        leader.network.is_cut = True
        await asyncio.sleep(7.5)
        assert world.believers() == []
        await asyncio.sleep(10)
        assert world.believers() == [standby]
        leader.network.is_cut = False
        await standby.stop()
        await asyncio.sleep(2)
        assert world.believers() == [leader]
        assert world.problems == []

    run_in_virtual_time(check())


def test_an_api_server_away_for_a_minute_ends_leadership_and_its_return_brings_it_back() -> None:
    async def check() -> None:
        world = World(2)
        await settled(world)
        for each in world.candidates:
            each.network.is_cut = True
        await asyncio.sleep(60)
        assert world.believers() == []
        for each in world.candidates:
            each.network.is_cut = False
        await asyncio.sleep(4)
        assert len(world.believers()) == 1
        assert world.problems == []

    run_in_virtual_time(check())


def test_somebody_elses_label_on_the_lease_takes_nobody_out_of_office() -> None:
    async def check() -> None:
        world = World(3)
        leader, _ = await settled(world)
        for _ in range(100):
            world.store.touch()
            await asyncio.sleep(0.3)
        assert world.believers() == [leader]
        assert leader.terms == 1

    run_in_virtual_time(check())


def test_a_deleted_lease_ends_leadership_and_nobody_leads_before_the_old_leader_could_no_longer() -> None:
    async def check() -> None:
        world = World(4)
        leader, [standby] = await settled(world)
        leader.network.is_cut = True
        world.store.delete()
        await asyncio.sleep(6.0)
        assert world.believers() == [leader], "it cannot know better yet"
        await asyncio.sleep(7.0)
        assert world.believers() == [standby]
        assert world.problems == []

    run_in_virtual_time(check())


@pytest.mark.parametrize("year", ["1970", "2100"])
def test_what_another_machine_thinks_the_time_is_changes_nothing(year: str) -> None:
    """A holder that renews with a wrong clock is alive; one that does not renew is gone after 10 seconds."""

    async def check() -> None:
        world = World(5)
        lease = world.store.create(_held_by("another", year, 0))
        candidate = world.join()
        for count in range(40):
            await asyncio.sleep(0.5)
            lease = world.store.replace(lease, _held_by("another", year, count))
        assert world.believers() == []
        await asyncio.sleep(9.5)
        assert world.believers() == []
        await asyncio.sleep(3)
        assert world.believers() == [candidate]

    run_in_virtual_time(check())


def _held_by(holder: str, year: str, microsecond: int, **spec: Any) -> dict[str, Any]:
    renewed = f"{year}-01-01T00:00:00.{microsecond:06d}Z"
    return {"holderIdentity": holder, "leaseDurationSeconds": 10, "renewTime": renewed, **spec}


def test_a_holder_that_asks_for_more_time_is_given_it() -> None:
    async def check() -> None:
        world = World(6)
        world.store.create(_held_by("another", "2026", 0, leaseDurationSeconds=60))
        candidate = world.join()
        await asyncio.sleep(58)
        assert world.believers() == []
        await asyncio.sleep(5)
        assert world.believers() == [candidate]

    run_in_virtual_time(check())


@pytest.mark.parametrize(
    "spec",
    [
        {"holderIdentity": "another"},
        {"holderIdentity": "another", "leaseDurationSeconds": 0, "leaseTransitions": -5},
        {
            "holderIdentity": "another",
            "leaseDurationSeconds": None,
            "renewTime": None,
            "leaseTransitions": None,
        },
        {"holderIdentity": None, "renewTime": "2026-01-01T00:00:00Z"},
        {"holderIdentity": "", "renewTime": "no time at all"},
        {},
    ],
    ids=str,
)
def test_a_lease_with_little_or_nonsense_in_it_is_taken_over_all_the_same(spec: dict[str, Any]) -> None:
    async def check() -> None:
        world = World(7)
        world.store.create(spec)
        candidate = world.join()
        await asyncio.sleep(14)
        assert world.believers() == [candidate]

    run_in_virtual_time(check())


def test_what_others_put_on_the_lease_stays_there() -> None:
    async def check() -> None:
        world = World(8)
        lease = world.store.create({"strategy": "OldestEmulationVersion", "preferredHolder": "x"})
        world.store.stored = {
            **lease.document,
            "metadata": {**lease.document["metadata"], "labels": {"a": "b"}},
        }
        await settled(world)
        stored = world.store.stored
        assert stored["metadata"]["labels"] == {"a": "b"}
        assert stored["spec"]["preferredHolder"] == "x"
        assert stored["spec"]["strategy"] == "OldestEmulationVersion"

    run_in_virtual_time(check())


def test_one_who_stands_by_writes_nothing() -> None:
    async def check() -> None:
        world = World(9)
        leader, _ = await settled(world)
        before = world.store.writes
        for _ in range(3):
            world.join()
        await asyncio.sleep(60)
        assert 50 <= world.store.writes - before <= 70, "the leader's renewals and no other write"
        assert world.believers() == [leader]

    run_in_virtual_time(check())


def test_after_stepping_down_no_write_is_permitted_although_the_lease_is_still_held() -> None:
    async def check() -> None:
        world = World(10)
        leader, _ = await settled(world)
        leader.elector.step_down()
        assert not leader.elector.is_held()
        assert world.store.read() is not None

    run_in_virtual_time(check())
