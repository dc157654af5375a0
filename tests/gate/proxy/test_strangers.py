# SPDX-License-Identifier: Apache-2.0
"""Strangers on public routes, as many as come: callers get through all the same."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from testing.manifests import compiled, issuer, service, workload
from tests.gate.fast_path.ways import come_to_rest
from tests.gate.proxy.in_process import Gates, in_process, quiet
from tests.gate.proxy.scripted import Scene, read_until, scene
from tests.gate.proxy.test_passing_on import status_of
from tests.gate.proxy.test_routes import ROUTES, ask, script
from tests.gate.proxy.test_tunnel import UPGRADE
from watchword.gate.long_connections import MAX_STRANGERS
from watchword.gate.proxy.upstream import MAX_IDLE_OF_STRANGERS
from watchword.trust import load

STREAM = b"GET /stream HTTP/1.1\r\nHost: gate\r\n\r\n"
SOCKET = b"\r\n".join([b"GET /socket HTTP/1.1", b"Host: gate", *UPGRADE, b"", b""])
UPLOAD = b"POST /healthz HTTP/1.1\r\nHost: gate\r\nContent-Length: 9\r\n\r\nabc"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Scene]:
    """A gate before an app with public routes that last."""
    with scene(tmp_path, script, routes=ROUTES) as running:
        yield running


def begin(place: Scene, links: ExitStack, message: bytes, mark: bytes) -> socket.socket:
    link = links.enter_context(place.connect())
    link.sendall(message)
    if mark:
        read_until(link, mark)
    return link


def test_strangers_whose_requests_last_leave_room_for_callers(place: Scene) -> None:
    with ExitStack() as links:
        kinds = ((STREAM, b"part\r\n"), (SOCKET, b"hello"), (UPLOAD, b""))
        opened = [begin(place, links, *kinds[number % 3]) for number in range(MAX_STRANGERS)]
        place.app.wait_for(MAX_STRANGERS)
        for line in (b"GET /healthz HTTP/1.1", b"GET /stream HTTP/1.1"):
            refused = ask(place, line)
            assert status_of(refused) == 503
            assert b"retry-after: 1\r\n" in refused
        assert status_of(ask(place, b"GET /socket HTTP/1.1", *UPGRADE)) == 503
        # A caller who is known gets through, and on a public route is a stranger like any other.
        for _ in range(3):
            assert status_of(place.ask(b"GET /files/acme/a HTTP/1.1")) == 200
        assert status_of(place.ask(b"GET /healthz HTTP/1.1")) == 503
        for link in opened[:3]:
            link.close()
        while status_of(ask(place, b"GET /healthz HTTP/1.1")) != 200:
            pass
    while status_of(ask(place, b"GET /healthz HTTP/1.1")) != 200:
        pass


def test_what_is_refused_or_over_counts_no_more(place: Scene) -> None:
    for _ in range(MAX_STRANGERS + 8):
        assert status_of(ask(place, b"GET /healthz HTTP/1.1")) == 200
    for _ in range(MAX_STRANGERS + 8):
        assert status_of(ask(place, b"PUT /healthz HTTP/1.1")) == 401
    assert status_of(ask(place, b"GET /healthz HTTP/1.1")) == 200


def test_strangers_who_sign_connections_to_the_app_in_keep_no_more_of_them() -> None:
    public = {"path": "/healthz", "methods": ["GET"], "public": True}
    spec = {"token": {"header": "X-Watchword-Token"}, "routes": [public]}
    rules = load(compiled(issuer(), service(**spec), workload()).bundles[0])

    async def work(gates: Gates) -> None:
        gate, before, transports = gates(True, given=rules), len(gates.links), []
        for number in range(MAX_IDLE_OF_STRANGERS + 8):
            transport = gate.another()
            transports.append(transport)
            sign_in = b"Authorization: Negotiate %d" % number
            transport.arrive(b"GET /healthz HTTP/1.1\r\nHost: gate\r\n%b\r\n\r\n" % sign_in)
            await quiet(transport)
            assert bytes(transport.written).startswith(b"HTTP/1.1 200 ")
            # What was closed is seen by the app in a turn of its own.
            await come_to_rest()
            assert len(gates.links) - before <= MAX_IDLE_OF_STRANGERS
        # Who has left can use none of them any more.
        for transport in transports:
            transport.close()
        await come_to_rest()
        assert len(gates.links) == before

    with in_process() as run:
        run(work)
