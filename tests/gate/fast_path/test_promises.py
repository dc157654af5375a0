# SPDX-License-Identifier: Apache-2.0
"""What HTTP promises beside the bytes: time-outs, an end without loss, a slow reader, turns for the others.

Each is checked with the short cut and without it, so that what uvicorn promises is what is promised here.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.gate.fast_path.test_same_bytes import SHORT, nginx, request, rules
from tests.gate.fast_path.ways import KEEP_ALIVE_SECONDS, Connection, come_to_rest, pass_seconds, ruleset, run
from watchword.gate.fast_path import MAX_ANSWERS_A_READ
from watchword.gate.protocol import HEAD_SECONDS
from watchword.gate.request_templates import MAX_READ_BYTES, MAX_TEMPLATES

pytestmark = pytest.mark.parametrize("is_short", [True, False], ids=["short", "long"])


def on_a_connection(is_short: bool, work: Callable[[Connection], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        connection = Connection(is_short, rules())
        try:
            return await work(connection)
        finally:
            connection.audit.close(30)

    return run(whole())


@pytest.mark.parametrize("times", [1, 2, 3])
def test_an_idle_connection_is_closed_after_its_keep_alive_and_not_before(is_short: bool, times: int) -> None:
    async def work(connection: Connection) -> None:
        for _ in range(times):
            await connection.send([request()])
            await pass_seconds(KEEP_ALIVE_SECONDS - 2)
        assert not connection.transport.is_closing()
        await pass_seconds(3)
        assert connection.transport.is_closing()

    on_a_connection(is_short, work)


def test_empty_lines_keep_no_connection_open_for_good(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        await connection.send([request()])
        for _ in range(10):
            await connection.send([b"\r\n"])
            await pass_seconds(KEEP_ALIVE_SECONDS / 5)
        assert connection.transport.is_closing()

    on_a_connection(is_short, work)


def test_a_head_that_does_not_come_is_not_waited_for(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        await connection.send([request(), request()[:40]])
        await pass_seconds(HEAD_SECONDS - 2)
        assert not connection.transport.is_closing()
        await pass_seconds(3)
        assert connection.transport.is_closing()

    on_a_connection(is_short, work)


def test_a_caller_who_never_asks_is_not_waited_for(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        await pass_seconds(HEAD_SECONDS + 1)
        assert connection.transport.is_closing()

    on_a_connection(is_short, work)


def test_a_head_in_time_ends_the_wait_for_it(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        whole = request()
        await connection.send([whole, whole[:40]])
        await pass_seconds(HEAD_SECONDS - 2)
        await connection.send([whole[40:]])
        await pass_seconds(KEEP_ALIVE_SECONDS - 2)
        assert not connection.transport.is_closing()

    on_a_connection(is_short, work)


def test_the_wait_goes_on_after_answers_of_both_kinds(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        for each in (request(), request(b"/other"), request(), request(b"/other")):
            await connection.send([each])
            await pass_seconds(KEEP_ALIVE_SECONDS - 5)
        assert not connection.transport.is_closing()
        await pass_seconds(6)
        assert connection.transport.is_closing()

    on_a_connection(is_short, work)


def test_an_idle_connection_ends_when_the_gate_stops(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        await connection.send([request()])
        connection.protocol.shutdown()
        assert connection.transport.is_closing()
        await come_to_rest()
        assert connection.protocol not in connection.state.connections

    on_a_connection(is_short, work)


def test_once_draining_has_begun_the_next_answer_is_the_last_of_its_connection(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        await connection.send([request(), request()])
        connection.draining.has_begun = True
        assert not connection.transport.is_closing()
        await connection.send([request()])
        assert connection.transport.written.count(b" 200 ") == 3
        assert connection.transport.written.count(b"connection: close") == 1
        assert connection.transport.is_closing()

    on_a_connection(is_short, work)


def test_an_answer_in_flight_is_the_last_one_when_the_gate_stops(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        connection.transport.arrive(request() + request(b"/other"))
        connection.protocol.shutdown()
        await come_to_rest()
        assert connection.transport.written.count(b"HTTP/1.1 ") == 2
        assert connection.transport.written.count(b"connection: close") == 1
        assert connection.transport.is_closing()

    on_a_connection(is_short, work)


def test_nothing_is_left_behind_by_a_connection_that_was_lost(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        await connection.send([request(), request()[:30]])
        connection.protocol.connection_lost(ConnectionResetError())
        protocol = connection.protocol
        timers = [
            protocol._deadline,
            protocol.timeout_keep_alive_task,
            getattr(protocol, "_rest_timer", None),
        ]
        assert [timer for timer in timers if timer is not None and not timer.cancelled()] == []
        assert protocol not in connection.state.connections

    on_a_connection(is_short, work)


def test_a_reader_who_does_not_read_is_not_written_to_without_end(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        connection.transport.is_slow = True
        for _ in range(500):
            await connection.send([request(by="broken")])
        written = len(connection.transport.written)
        assert written < 100 * 1024
        connection.transport.catch_up()
        for _ in range(100):
            await come_to_rest()
        assert connection.transport.written.count(b"HTTP/1.1 ") == 500

    on_a_connection(is_short, work)


def test_a_bundle_that_revokes_is_in_force_from_the_next_request(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        whole = request()
        await connection.send([whole, whole])
        connection.engine.adopt(ruleset(audiences=["another"]))
        await connection.send([whole])
        assert connection.transport.written.count(b" 200 ") == 2
        assert connection.transport.written.count(b"x-watchword-reason: wrong_audience") == 1

    on_a_connection(is_short, work)


def test_a_token_that_expires_is_refused_on_a_connection_that_knew_it(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        whole = request()
        await connection.send([whole, whole])
        before = connection.engine.clock()
        connection.engine.clock = lambda: before + 700
        await connection.send([whole])
        assert connection.transport.written.count(b" 200 ") == 2
        assert connection.transport.written.count(b"x-watchword-reason: expired") == 1

    on_a_connection(is_short, work)


def test_the_date_is_that_of_the_answer(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        await connection.send([request(), request()])
        connection.state.default_headers = [(b"date", b"Thu, 26 Nov 2026 08:00:00 GMT")]
        await connection.send([request()])
        assert connection.transport.written.count(b"date: Thu, 26 Nov 2026 08:00:00 GMT") == 1

    on_a_connection(is_short, work)


def test_a_pipeline_lets_others_have_their_turn(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        connection.transport.arrive(request(by="strange") * 200)
        assert connection.transport.written.count(b"HTTP/1.1 ") <= MAX_ANSWERS_A_READ
        await connection.send([])
        assert connection.transport.written.count(b"HTTP/1.1 ") == 200

    on_a_connection(is_short, work)


def test_a_long_request_is_answered_and_not_kept(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        whole = request(b"/authz", b"X-Long: " + b"a" * MAX_READ_BYTES)
        await connection.send([whole] * 3)
        assert connection.transport.written.count(b" 200 ") == 3
        assert len(getattr(connection.protocol, "_kept_read", None) or b"") <= MAX_READ_BYTES

    on_a_connection(is_short, work)


@pytest.mark.parametrize("name", ["who is it", "nginx", "a broken signature"])
def test_a_request_is_counted_once_however_often_it_is_recognized(is_short: bool, name: str) -> None:
    async def work(connection: Connection) -> None:
        await connection.send([SHORT[name]()] * 7)
        decisions = sum(
            sample.value
            for metric in connection.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "watchword_decisions_total"
        )
        assert decisions == 7

    on_a_connection(is_short, work)


def test_a_rate_holds_across_recognized_requests(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        await connection.send([nginx()] * 20)
        assert connection.transport.written.count(b" 200 ") == 8
        assert connection.transport.written.count(b" 429 ") == 12

    on_a_connection(is_short, work)


async def ask_elsewhere(connection: Connection, *reads: bytes) -> bytes:
    """The answers on a second connection, which has asked for something else before."""
    transport = connection.another()
    for each in (request(by="another"), *reads):
        transport.arrive(each)
        await come_to_rest()
    return bytes(transport.written)


def test_a_read_that_another_connection_sent_gets_the_answer_of_now(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        whole = request()
        await connection.send([whole, whole])
        assert (await ask_elsewhere(connection, whole)).count(b" 200 ") == 2
        connection.engine.adopt(ruleset(audiences=["another"]))
        assert (await ask_elsewhere(connection, whole)).count(b"x-watchword-reason: wrong_audience") == 2
        connection.engine.adopt(ruleset())
        before = connection.engine.clock()
        connection.engine.clock = lambda: before + 700
        assert (await ask_elsewhere(connection, whole)).count(b"x-watchword-reason: expired") == 2

    on_a_connection(is_short, work)


def test_half_a_known_read_is_not_the_whole_one(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        whole = request()
        await connection.send([whole, whole])
        answers = await ask_elsewhere(connection, whole[:200], whole[200:], whole + whole[:100], whole[100:])
        assert answers.count(b" 200 ") == 4

    on_a_connection(is_short, work)


def test_a_flood_of_refused_reads_teaches_nothing(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        await connection.send([request(), request()])
        known = len(connection.templates)
        flood = [request(b"/authz", b"X-A: %d" % number, by="broken") for number in range(100)]
        await connection.send(flood)
        assert len(connection.templates) == known == (1 if is_short else 0)

    on_a_connection(is_short, work)


def test_the_templates_of_many_reads_are_bounded(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        for number in range(3 * MAX_TEMPLATES):
            await connection.send([request(b"/authz", b"X-A: %d" % number)])
            assert len(connection.templates) <= MAX_TEMPLATES
        assert connection.transport.written.count(b" 200 ") == 3 * MAX_TEMPLATES

    on_a_connection(is_short, work)


def test_a_connection_that_takes_its_answers_late_ends_when_the_gate_stops(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        connection.transport.is_slow = True
        while not connection.protocol.flow.write_paused:
            await connection.send([request(by="broken")])
        connection.protocol.shutdown()
        connection.transport.catch_up()
        await come_to_rest()
        assert connection.transport.is_closing()

    on_a_connection(is_short, work)


def test_a_public_route_teaches_nothing_to_strangers(is_short: bool) -> None:
    async def work(connection: Connection) -> None:
        routes = [
            {"path": "/app/{account}", "methods": ["GET"], "scope": "account:usage:read"},
            {"path": "/healthz", "methods": ["GET"], "public": True},
        ]
        connection.engine.adopt(ruleset(routes=routes))
        await connection.send([request(), request()])
        known = len(connection.templates)
        headers = [b"X-Original-Method: GET", b"X-Original-URI: /healthz"]
        flood = [request(b"/authz/nginx", *headers, b"X-A: %d" % number, by="broken") for number in range(99)]
        await connection.send(flood)
        assert connection.transport.written.count(b" 200 ") == 101
        assert len(connection.templates) == known

    on_a_connection(is_short, work)
