# SPDX-License-Identifier: Apache-2.0
"""Which connection makes room, rule by rule, and what an attacker would do with each rule.

Connections are stand-ins here that hold what a case says: no real ones can be brought into one order of
events. The rules on real sockets are in `test_server_bounds.py` and `test_tls_handshake.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from tests.process.serving import until
from watchword.process.attended_time import AttendedTime
from watchword.process.bounds import PATIENCE_SECONDS, TLS_CONNECTION_BYTES, Bounds, Budget, with_tls

COST = 1000
BOUNDS = Bounds(connections=100, connection_bytes=COST, buffered_bytes=10 * COST, handshakes=4)


@dataclass(eq=False)
class Stranger:
    """A handshake that goes on for ever."""

    name: str = ""
    is_closed: bool = False

    def make_room(self) -> None:
        """Note that it was closed."""
        self.is_closed = True


@dataclass(eq=False)
class Caller(Stranger):
    """A connection that holds what a case says."""

    held: int = 0
    asked: float = 0.0
    is_asking: bool = False
    counted_bytes: int = 0
    is_counted_as_head: bool = False
    slowed: int = 0
    log: list[str] = field(default_factory=list)

    def make_room(self) -> None:
        """Note that it was closed."""
        super().make_room()
        self.log.append(self.name)

    def held_bytes(self) -> int:
        """As the case says."""
        return self.held

    def is_stuck(self, now: float) -> bool:
        """Never."""
        del now
        return False

    def surplus_bytes(self, untaken_since: float) -> int:
        """None."""
        del untaken_since
        return 0

    def is_in_head(self) -> bool:
        """Before its first request, or with a part of another."""
        return not self.is_asking and (not self.asked or self.held > 0)

    def asked_at(self) -> float:
        """When it asked last."""
        return self.asked

    def is_spent(self) -> bool:
        """Never."""
        return False

    def is_waiting(self) -> bool:
        """Whether no request is under way."""
        return not self.is_asking

    def slow_down(self) -> None:
        """Note it."""
        self.slowed += 1


@dataclass
class Case:
    """A budget, and the names of those that made room, in their order."""

    budget: Budget
    closed: list[str] = field(default_factory=list)

    def admit(self, name: str) -> Caller:
        """A new connection."""
        caller = Caller(name, log=self.closed)
        assert self.budget.admit(caller)
        return caller

    def kept(self, name: str, asked: float = 1.0) -> Caller:
        """A connection that rests after an answer."""
        caller = self.admit(name)
        caller.asked = asked
        self.budget.update(caller)
        return caller

    def hold(self, caller: Caller, held: int) -> None:
        """Read so many bytes of its head."""
        caller.held = held
        self.budget.update(caller)

    async def patience(self) -> None:
        """Wait until all that are there now had their time."""
        clock = self.budget._clock
        end = clock.mark() + PATIENCE_SECONDS
        # It stands still where no one is new.
        await until(lambda: clock.seconds >= end or clock._timer is None)


def within(work: Callable[[Case], Awaitable[None]], bounds: Bounds = BOUNDS) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60):
            await work(Case(Budget(bounds)))

    asyncio.run(whole())


def test_handshakes_make_room_for_each_other_alone_and_the_oldest_first() -> None:
    async def work(case: Case) -> None:
        strangers = [Stranger(str(number)) for number in range(BOUNDS.handshakes)]
        for each in strangers:
            assert case.budget.admit_handshake(each)
        holders = [case.admit(f"holder {number}") for number in range(30)]
        for each in holders:
            case.hold(each, 5 * COST)
        # Whoever holds bytes has put out others that hold bytes, or has gone itself.
        assert case.budget.held_bytes <= BOUNDS.buffered_bytes
        assert not any(each.is_closed for each in strangers)
        new = Stranger("new")
        assert case.budget.admit_handshake(new)
        assert [each.is_closed for each in strangers] == [True, False, False, False]
        assert not new.is_closed
        assert case.budget._handshakes.held_bytes == BOUNDS.handshakes * COST

    within(work)


def test_a_handshake_has_its_time_before_another_one_takes_its_place() -> None:
    async def work(case: Case) -> None:
        for number in range(BOUNDS.handshakes):
            assert case.budget.admit_handshake(Stranger(str(number)))
        waiting = asyncio.create_task(case.budget.room())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await waiting
        assert case.budget._handshakes.seconds_left() <= 0

    within(work)


def test_stalled_handshakes_take_nothing_of_what_requests_may_hold() -> None:
    async def work(case: Case) -> None:
        for number in range(50):
            assert case.budget.admit_handshake(Stranger(str(number)))
        assert case.budget.held_bytes == 0
        resting = [case.kept(f"kept {number}") for number in range(10)]
        assert not any(each.is_closed for each in resting)
        assert len(case.budget) == 10 + BOUNDS.handshakes

    within(work)


def test_an_ended_handshake_gives_its_place_back_once() -> None:
    async def work(case: Case) -> None:
        first, second = Stranger(), Stranger()
        for each in (first, second):
            assert case.budget.admit_handshake(each)
        for _ in range(2):
            case.budget.forget_handshake(first)
        assert len(case.budget) == 1
        case.budget.forget_handshake(second)
        assert len(case.budget) == case.budget._handshakes.held_bytes == 0

    within(work)


def test_a_handshake_takes_the_place_of_no_one_else_where_every_place_is_a_request() -> None:
    async def work(case: Case) -> None:
        callers = [case.admit(str(number)) for number in range(4)]
        for each in callers:
            each.is_asking = True
            case.budget.update(each)
        assert not case.budget.admit_handshake(Stranger())
        assert case.closed == []
        callers[0].is_asking = False
        callers[0].asked = 1.0
        case.budget.update(callers[0])
        assert case.budget.admit_handshake(Stranger())
        assert case.closed == ["0"]

    within(work, replace(BOUNDS, connections=4))


def test_who_finishes_handshakes_and_idles_makes_room_once_it_had_its_time() -> None:
    async def work(case: Case) -> None:
        for number in range(10):
            case.admit(f"idle {number}")
        await case.patience()
        good = case.admit("good")
        assert case.closed == ["idle 0"]
        for number in range(9):
            case.admit(f"more {number}")
        assert case.closed == [f"idle {number}" for number in range(10)]
        assert not good.is_closed

    within(work)


def test_who_holds_a_part_of_a_head_goes_before_who_had_no_time_for_one() -> None:
    async def work(case: Case) -> None:
        good = case.admit("good")
        holders = [case.admit(f"holder {number}") for number in range(3)]
        for each in holders:
            case.hold(each, 3 * COST)
        assert case.closed == ["holder 0"]
        # Beyond twice the bound as well: what one reads in a turn may be a lot.
        case.hold(holders[2], 30 * COST)
        assert not good.is_closed
        assert case.budget.held_bytes <= 2 * BOUNDS.buffered_bytes

    within(work)


def test_a_kept_connection_stays_while_one_without_an_answer_holds_bytes() -> None:
    async def work(case: Case) -> None:
        kept = case.kept("kept")
        for number in range(40):
            case.hold(case.admit(f"holder {number}"), 4 * COST)
        assert not kept.is_closed
        assert len(case.closed) >= 38
        await case.patience()
        # All that had their time, and hold nothing, go before it too.
        for number in range(40):
            case.hold(case.admit(f"later {number}"), 4 * COST)
        assert not kept.is_closed

    within(work)


def test_one_answered_request_buys_a_stalled_head_no_more_than_the_time_of_a_new_one() -> None:
    async def work(case: Case) -> None:
        answered = [case.kept(f"answered {number}") for number in range(4)]
        for each in answered:
            case.hold(each, COST)
        await case.patience()
        good = case.admit("good")
        case.hold(good, 1)
        # They had their time; the new one, with a part of its head, had not.
        case.hold(case.admit("another"), 1)
        assert case.closed
        assert set(case.closed) <= {each.name for each in answered}
        assert not good.is_closed

    within(work)


def test_of_two_that_had_their_time_the_one_without_an_answer_goes_first() -> None:
    async def work(case: Case) -> None:
        answered = case.kept("answered")
        case.hold(answered, COST)
        stranger = case.admit("stranger")
        await case.patience()
        case.hold(case.admit("new"), 7 * COST)
        assert case.closed == ["stranger"]
        assert stranger.is_closed

    within(work)


def test_those_who_ask_once_and_rest_make_room_by_when_they_asked() -> None:
    async def work(case: Case) -> None:
        for number in range(9):
            case.kept(f"resting {number}", asked=1.0 + number)
        good = case.kept("good", asked=100.0)
        for number in range(5):
            case.kept(f"new {number}", asked=50.0 + number)
        assert case.closed == [f"resting {number}" for number in range(5)]
        assert not good.is_closed

    within(work)


def test_the_clock_of_a_loop_that_is_kept_busy_goes_by_turns() -> None:
    async def work() -> None:
        clock = AttendedTime(0.01, lambda: True)
        clock.mark()
        for turn in range(1, 6):
            time.sleep(0.05)  # noqa: ASYNC251 - a loop that is kept busy is what is looked at
            await asyncio.sleep(0)
            assert clock.seconds <= turn * 0.01 + 1e-9
        await until(lambda: clock.seconds >= 0.2)
        clock._timer.cancel()  # type: ignore[union-attr]

    asyncio.run(work())


def test_the_clock_stands_still_where_it_is_not_needed_and_goes_on_from_there() -> None:
    needed = True

    async def work() -> None:
        nonlocal needed
        clock = AttendedTime(0.01, lambda: needed)
        assert clock.mark() == 0.0
        assert clock.mark() == 0.01
        await until(lambda: clock.seconds >= 0.05)
        needed = False
        await until(lambda: clock._timer is None)
        seconds = clock.seconds
        await asyncio.sleep(0.05)
        assert clock.seconds == clock.mark() == seconds
        needed = True
        await until(lambda: clock.seconds > seconds)
        clock._timer.cancel()  # type: ignore[union-attr]

    asyncio.run(work())


def test_a_caller_of_a_server_that_was_busy_elsewhere_had_no_time_yet() -> None:
    async def work(case: Case) -> None:
        good = case.admit("good")
        # A read of others that takes longer than any caller is given.
        time.sleep(2 * PATIENCE_SECONDS)  # noqa: ASYNC251 - a loop that is kept busy is what is looked at
        await asyncio.sleep(0)
        for number in range(40):
            case.hold(case.admit(f"holder {number}"), 4 * COST)
        assert not good.is_closed

    within(work)


@pytest.mark.parametrize("bounds", [Bounds(), replace(Bounds(), handshakes=64)])
def test_a_port_with_tls_holds_no_more_than_one_without(bounds: Bounds) -> None:
    tls = with_tls(bounds)
    most = 2 * tls.buffered_bytes + tls.handshakes * tls.connection_bytes
    assert most == 2 * bounds.buffered_bytes
    assert tls.connection_bytes == TLS_CONNECTION_BYTES
