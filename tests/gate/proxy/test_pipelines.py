# SPDX-License-Identifier: Apache-2.0
"""Requests that arrive in one read get the answers that each of them gets alone, however often they come.

A read that was seen before is not parsed again, so what is learned of a read must hold for all of it.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.fast_path.test_same_bytes import _SETTINGS, request
from tests.gate.fast_path.ways import RecordingTransport
from tests.gate.proxy.in_process import Gates, Run, in_process, quiet
from watchword.gate.fast_path import MAX_ANSWERS_A_READ

KINDS: dict[str, Callable[[], bytes]] = {
    "who is it": lambda: request(b"/authz"),
    "who is it, by another": lambda: request(b"/authz", by="another"),
    "who is it, refused": lambda: request(b"/authz", by="broken"),
    "a proxy asks": lambda: request(b"/authz/envoy/app/acme"),
    "a proxy asks, refused": lambda: request(b"/authz/envoy/nope"),
    "passed on": lambda: request(b"/app/acme"),
    "passed on, by another": lambda: request(b"/app/acme", by="another"),
    "passed on with another header": lambda: request(b"/app/acme", b"X-A: b"),
    "passed on, HEAD": lambda: request(b"/app/acme", method=b"HEAD"),
    "passed on with a body": lambda: request(b"/app/acme", b"Content-Length: 2", method=b"POST", body=b"ab"),
    "passed on in chunks": lambda: request(
        b"/app/acme", b"Transfer-Encoding: chunked", method=b"POST", body=b"2\r\nab\r\n0\r\n\r\n"
    ),
    "public, or no route": lambda: request(b"/healthz"),
    "public, or no route, by a stranger": lambda: request(b"/healthz", by="broken"),
    "a proxy asks for what is public": lambda: request(b"/authz/envoy/healthz", by="strange"),
    "no route": lambda: request(b"/nope"),
    "another account": lambda: request(b"/app/other"),
    "refused": lambda: request(b"/app/acme", by="broken"),
    "refused with a body": lambda: request(b"/nope", b"Content-Length: 2", method=b"POST", body=b"ab"),
    "no credential": lambda: request(b"/app/acme", by="nobody"),
    "an expectation": lambda: request(b"/authz", b"Expect: 100-continue"),
    "an empty line in front": lambda: b"\r\n" + request(b"/authz"),
}
ENDS: dict[str, bytes] = {
    "no HTTP": b"NONSENSE\r\n\r\n",
    "no method": b"\0",
    "a line feed": b"\nGET",
}


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs work on gates of this process."""
    with in_process() as runner:
        yield runner


async def answers_to(transport: RecordingTransport, *reads: bytes) -> list[bytes]:
    """What these reads were answered, each awaited before the next one; decisions without their numbers."""
    found = []
    for each in reads:
        before = len(transport.written)
        transport.arrive(each)
        await quiet(transport)
        found.append(without_ids(bytes(transport.written[before:])))
    return found


def without_ids(written: bytes) -> bytes:
    parts = written.split(b"gate-")
    return b"gate-".join([parts[0], *(each.lstrip(b"0123456789abcdef") for each in parts[1:])])


async def alone(gate: Gates, is_proxying: bool, message: bytes, has_public: bool = False) -> bytes:
    """What one request is answered by a gate that has seen nothing."""
    answer = (await answers_to(gate(is_proxying, has_public).another(), message))[0]
    assert answer.startswith(b"HTTP/1.1 "), message
    return answer


_both = pytest.mark.parametrize("is_proxying", [False, True], ids=["deciding", "proxying"])


@_both
@pytest.mark.parametrize(
    "names",
    [
        ("no route", "who is it"),
        ("no route", "passed on"),
        ("who is it", "passed on"),
        ("passed on", "who is it"),
        ("refused", "a proxy asks"),
        ("refused with a body", "who is it"),
        ("refused with a body", "passed on"),
    ],
)
def test_two_requests_in_one_read_are_answered_twice_each_time(
    run: Run, is_proxying: bool, names: tuple[str, str]
) -> None:
    async def work(gate: Gates) -> None:
        expected = b"".join([await alone(gate, is_proxying, KINDS[name]()) for name in names])
        one = gate(is_proxying)
        read = b"".join(KINDS[name]() for name in names)
        for transport in (one.another(), one.another()):
            # The connection rests before it, as it does between two messages.
            first = await answers_to(transport, KINDS["who is it"](), read, read, read)
            assert first[1:] == [expected] * 3

    run(work)


@_both
@pytest.mark.parametrize(
    "name", ["no route", "refused", "another account", "who is it, refused", "who is it"]
)
def test_a_long_pipeline_lets_others_have_their_turn(run: Run, is_proxying: bool, name: str) -> None:
    async def work(gate: Gates) -> None:
        expected = await alone(gate, is_proxying, KINDS[name]())
        transport = gate(is_proxying).another()
        await answers_to(transport, KINDS["who is it"]())
        start = len(transport.written)
        transport.arrive(KINDS[name]() * 200)
        counts = [0]
        while counts[-1] < 200:
            counts.append(without_ids(bytes(transport.written[start:])).count(b"HTTP/1.1 "))
            await asyncio.sleep(0)
        # What the application answers takes a turn of its own.
        assert max(later - earlier for earlier, later in pairwise(counts)) <= MAX_ANSWERS_A_READ + 1
        await quiet(transport)
        assert without_ids(bytes(transport.written[start:])) == expected * 200

    run(work)


@_both
@pytest.mark.parametrize("name", ["no route", "passed on", "who is it"])
@pytest.mark.parametrize("last", ["who is it", "passed on", "no route"])
def test_a_read_that_is_known_does_not_overtake_a_pipeline_that_waits_for_its_turn(
    run: Run, is_proxying: bool, name: str, last: str
) -> None:
    async def work(gate: Gates) -> None:
        one, end = [await alone(gate, is_proxying, KINDS[each]()) for each in (name, last)]
        for number in range(MAX_ANSWERS_A_READ - 2, MAX_ANSWERS_A_READ + 3):
            for turns in range(4):
                transport = gate(is_proxying).another()
                # So often that it is known by its bytes.
                await answers_to(transport, *[KINDS[last]()] * 3)
                start = len(transport.written)
                transport.arrive(KINDS[name]() * number)
                for _ in range(turns):
                    await asyncio.sleep(0)
                transport.arrive(KINDS[last]())
                await quiet(transport)
                assert without_ids(bytes(transport.written[start:])) == one * number + end

    run(work)


@_both
@pytest.mark.parametrize("name", ["who is it", "who is it, refused", "a proxy asks", "passed on", "refused"])
@pytest.mark.parametrize("end", ENDS)
def test_what_is_no_request_is_refused_behind_one_each_time(
    run: Run, is_proxying: bool, name: str, end: str
) -> None:
    async def work(gate: Gates) -> None:
        read = KINDS[name]() + ENDS[end]
        expected = await alone(gate, is_proxying, read)
        assert expected.count(b"HTTP/1.1 400 ") == 1
        one = gate(is_proxying)
        for _ in range(4):
            transport = one.another()
            assert (await answers_to(transport, KINDS["who is it"](), read))[1] == expected

    run(work)


@_both
@given(
    reads=st.lists(
        st.tuples(st.booleans(), st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4)),
        min_size=1,
        max_size=6,
    ),
    cuts=st.lists(st.floats(0, 1), max_size=2),
    has_public=st.booleans(),
)
@_SETTINGS
def test_any_pipelines_on_two_connections_get_the_answers_that_each_request_gets_alone(
    run: Run,
    is_proxying: bool,
    reads: Sequence[tuple[bool, Sequence[str]]],
    cuts: Sequence[float],
    has_public: bool,
) -> None:
    async def work(gate: Gates) -> None:
        singly = {
            name: await alone(gate, is_proxying, KINDS[name](), has_public)
            for name in {n for _, ns in reads for n in ns}
        }
        one = gate(is_proxying, has_public)
        transports = [one.another(), one.another()]
        # Thrice, so that what was learned is used on the same connection and on the other one.
        for turn in range(3):
            for is_other, names in reads:
                transport = transports[is_other ^ (turn == 1)]
                whole = b"".join(KINDS[name]() for name in names)
                places = [0, *sorted(int(cut * len(whole)) for cut in cuts if turn != 0), len(whole)]
                parts = [whole[start:end] for start, end in pairwise(places) if start < end]
                got = b"".join(await answers_to(transport, *parts))
                assert got == b"".join(singly[name] for name in names), names

    run(work)


@_both
def test_strangers_on_public_routes_teach_nothing(run: Run, is_proxying: bool) -> None:
    async def work(gate: Gates) -> None:
        one = gate(is_proxying, has_public=True)
        transport = one.another()
        for name in ("public, or no route, by a stranger", "a proxy asks for what is public"):
            await answers_to(transport, *[KINDS[name]()] * 5)
        assert len(one.templates) == 0

    run(work)
