# SPDX-License-Identifier: Apache-2.0
"""What a decision costs, counted and not timed: calls into Python and into C, from the read to the write.

A clock on a shared machine sees a regression of a third at best; a count sees one call. A budget that is
exceeded is a reason to look, and to raise it only when what it buys is worth it to every request.
"""

import gc
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from testing.tokens import Signer, token
from tests.gate.fast_path.test_same_bytes import nginx, request, rules, tokens
from tests.gate.fast_path.ways import Connection, ruleset, run
from watchword.gate.cache import POSITIVE_BYTES
from watchword.trust.routes import RouteTable

_TESTS = str(Path(__file__).parents[2])


def count(call: Callable[[], None]) -> tuple[int, int]:
    """How many calls of Python functions and of C functions it makes; those of the tests are left out."""
    python = in_c = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal python, in_c
        if not frame.f_code.co_filename.startswith(_TESTS):
            python += event == "call"
            in_c += event == "c_call"

    # A collection in the middle would run the finalizers of what earlier tests left.
    gc.disable()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        gc.enable()
    return python, in_c


def cost(*reads: bytes) -> tuple[int, int]:
    """What the last of these reads costs on one connection. All kinds of requests were seen before."""

    async def work() -> tuple[int, int]:
        connection = Connection(True, rules())
        connection.engine.audit_level = "off"
        kinds = [request(by=name) for name in ("good", "another", "broken", "strange", "nobody")]
        await connection.send([*kinds, nginx(by="another")])
        await connection.send(reads[:-1])
        counted = count(lambda: connection.transport.arrive(reads[-1]))
        connection.audit.close(30)
        return counted

    found: tuple[int, int] = run(work())
    return found


def fresh(lines: bytes = b"") -> bytes:
    head = b"GET /authz HTTP/1.1\r\nHost: gate\r\n%bAuthorization: Bearer %b\r\n\r\n"
    return head % (lines, token(jti="fresh"))


def bad() -> bytes:
    other = token(jti="other").rpartition(b".")[2]
    return fresh().rpartition(b".")[0] + b"." + other + b"\r\n\r\n"


def strange() -> bytes:
    signed = token(Signer("strange"))
    return b"GET /authz HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer %s\r\n\r\n" % signed


# Calls of Python functions, calls of C functions; for requests with two headers. The strict parser's own
# calls are among them, as those of httptools, in C, were not.
BUDGET: dict[str, tuple[Callable[[], tuple[bytes, ...]], int, int]] = {
    "the request before, again": (lambda: (request(), request(), request()), 9, 12),
    "a token that is known, in a known head": (lambda: (request(), request(by="another"), request()), 10, 16),
    "a token that is known": (lambda: (request(), request(b"/authz", b"X-A: b", by="another")), 24, 63),
    "a proxy's request of a token that is known": (lambda: (nginx(), nginx(by="another")), 22, 37),
    "a new token in a known head": (lambda: (request(), fresh()), 43, 63),
    "a new token": (lambda: (request(), fresh(b"X-A: b\r\n")), 57, 110),
    "a new token with a bad signature": (lambda: (request(), bad()), 31, 51),
    "a new token of an unknown key": (lambda: (request(), strange()), 23, 43),
    "a refusal that is remembered": (lambda: (request(by="another"), request(by="broken")), 14, 17),
    "no credential": (lambda: (request(), request(by="nobody")), 25, 39),
}


@pytest.mark.parametrize("name", BUDGET)
def test_a_decision_makes_no_more_calls_than_its_budget_has(name: str) -> None:
    reads, python, in_c = BUDGET[name]
    counted = cost(*reads())
    assert counted[0] <= python, f"{name}: {counted}"
    assert counted[1] <= in_c, f"{name}: {counted}"


@pytest.mark.parametrize("has_public", [False, True])
def test_a_route_is_looked_for_once_for_a_request(has_public: bool) -> None:
    route = {"path": "/app/{account}", "methods": ["GET"], "scope": "account:usage:read"}
    public = [{"path": "/healthz", "methods": ["GET"], "public": True}] if has_public else []
    found = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal found
        found += event == "call" and frame.f_code is RouteTable.match.__code__

    async def work() -> None:
        connection = Connection(True, ruleset(routes=[route, *public]))
        sys.setprofile(note)
        try:
            connection.transport.arrive(nginx())
        finally:
            sys.setprofile(None)
        assert b" 200 " in connection.transport.written
        connection.audit.close(30)

    run(work())
    assert found == 1


def test_what_is_refused_costs_less_than_what_is_allowed() -> None:
    # And the sooner it is refused, the less: nothing costly is done for a key that nobody pinned.
    good, forged, unknown = (sum(cost(request(), each)) for each in (fresh(), bad(), strange()))
    assert unknown < forged < good


def test_a_long_token_makes_no_more_calls_than_a_short_one() -> None:
    def with_accounts(number: int) -> tuple[int, int]:
        long = token(jti="x" * number)
        return cost(request(), b"GET /authz HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer %s\r\n\r\n" % long)

    # It may make less: what is long is not remembered as it was read.
    assert sum(with_accounts(4000)) <= sum(with_accounts(10))


def test_what_is_remembered_takes_no_more_memory_than_it_is_accounted_with() -> None:
    made = [token(jti=f"7b1c1d0e-0000-4000-8000-{number:012d}") for number in range(2000)]
    requests = [
        b"GET /authz HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer %s\r\n\r\n" % each for each in made
    ]

    async def taken() -> tuple[int, int]:
        connection = Connection(True, rules())
        connection.engine.audit_level = "off"
        connection.transport.arrive(requests[0])
        active = connection.engine.active
        assert active is not None
        before = active.yes.used_bytes
        tracemalloc.start()
        try:
            for each in requests[1:]:
                connection.transport.arrive(each)
                connection.transport.written.clear()
            allocated = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        connection.audit.close(30)
        assert active.yes.used_bytes < POSITIVE_BYTES
        return allocated, active.yes.used_bytes - before

    allocated, accounted = run(taken())
    assert allocated <= accounted * 1.05
    assert accounted <= allocated * 1.5


def test_the_tokens_of_the_budget_are_what_they_are_called() -> None:
    assert len(tokens()["good"]) > 700
    assert cost(request(), fresh()) != cost(request(), bad())
