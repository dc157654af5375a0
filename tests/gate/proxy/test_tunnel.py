# SPDX-License-Identifier: Apache-2.0
"""WebSockets: decided like any request, switched only by the app, then bytes both ways."""

from __future__ import annotations

import asyncio
import gc
import socket
from functools import partial
from pathlib import Path

import pytest

from tests.gate.proxy.app import running_app
from tests.gate.proxy.conftest import Front, bearer
from tests.gate.proxy.test_passing_on import read_until, status_of
from tests.process.serving import until
from watchword.gate.app import GateApp
from watchword.gate.draining import Draining
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.gate.proxy import parse_upstream
from watchword.gate.proxy.protocol import ProxyingProtocol
from watchword.gate.proxy.upstream import Upstream
from watchword.gate.proxy.websocket import Tunnel, tunnel_factory
from watchword.gate.request_templates import RequestTemplates
from watchword.process.bounds import Bounds
from watchword.process.listening import serving
from watchword.process.server import bounded_server
from watchword.trust import decode_bundle, load

UPGRADE = (
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
)


def opening(path: bytes = b"/app/acme/socket", credential: bytes | None = None) -> bytes:
    credential = bearer() if credential is None else credential
    lines = [b"GET %s HTTP/1.1" % path, b"Host: gate", credential, *UPGRADE]
    return b"\r\n".join([*(line for line in lines if line), b"", b""])


def test_bytes_pass_both_ways_after_the_app_switched(front: Front) -> None:
    front.app.callers_gone.clear()
    with front.connect() as link:
        link.sendall(opening())
        head = read_until(link, b"hello")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        # RFC 6455, section 1.3: the answer to this very key.
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        for word in (b"one", b"two"):
            link.sendall(word)
            read_until(link, word.upper())
        big = b"abcdefgh" * 500_000
        received = bytearray()
        for start in range(0, len(big), 100_000):
            link.sendall(big[start : start + 100_000])
            while len(received) < start:
                received += link.recv(1 << 20)
        while len(received) < len(big):
            received += link.recv(1 << 20)
        assert bytes(received) == big.upper()
    assert front.app.callers_gone.wait(60)


def test_the_app_is_told_who_opened_the_socket(front: Front) -> None:
    with front.connect() as link:
        link.sendall(opening())
        read_until(link, b"hello")
    seen = next(each for each in reversed(front.app.seen) if b"socket" in each.line)
    assert seen.values(b"x-watchword-subject") == [b"system:serviceaccount:atlas-production:atlas"]
    assert seen.values(b"authorization") == []
    assert seen.values(b"connection") == [b"Upgrade"]


@pytest.mark.parametrize(
    ("path", "credential", "status", "reason"),
    [
        (b"/app/acme/socket", b"", 401, b"missing_credential"),
        (b"/app/rival/socket", None, 403, b"account_not_granted"),
        (b"/other/acme/socket", None, 403, b"insufficient_scope"),
        (b"/app/acme/../socket", None, 403, b"no_route"),
    ],
)
def test_a_socket_is_refused_like_any_request(
    front: Front, path: bytes, credential: bytes | None, status: int, reason: bytes
) -> None:
    before = len(front.app.seen)
    with front.connect() as link:
        link.sendall(opening(path, credential))
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    assert status_of(answer) == status
    assert b"x-watchword-reason: " + reason in answer
    assert len(front.app.seen) == before


@pytest.mark.parametrize(
    ("path", "status"),
    # In the path itself, it is ambiguous: no route.
    [(b"/app/acme/socket#x", 403), (b"/app/acme/socket?a#b", 400), (b"/app/acme/socket?#", 400)],
)
def test_a_socket_with_a_fragment_reaches_no_app(front: Front, path: bytes, status: int) -> None:
    # As without an upgrade: a target is passed on byte for byte, and a fragment is none of it.
    before = len(front.app.seen)
    ordinary = front.ask(b"GET " + path + b" HTTP/1.1")
    with front.connect() as link:
        link.sendall(opening(path))
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    assert (status_of(answer), status_of(ordinary)) == (status, status)
    assert len(front.app.seen) == before


def test_an_app_that_does_not_switch_is_heard_and_opens_no_tunnel(front: Front) -> None:
    before = len(front.app.seen)
    with front.connect() as link:
        link.sendall(opening(b"/app/acme/forges") + b"GET /other/acme/secret HTTP/1.1\r\nHost: gate\r\n\r\n")
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    assert status_of(answer) == 401
    assert answer.endswith(b"\r\n\r\nno")
    assert b"x-watchword-reason" not in answer.lower()
    assert [b"secret" in each.line for each in front.app.seen[before:]] == [False]


@pytest.mark.parametrize(
    ("path", "what", "status"), [(b"closes", b"broken", 502), (b"no-http", b"broken", 502)]
)
def test_trouble_with_an_upgrade_is_the_apps(front: Front, path: bytes, what: bytes, status: int) -> None:
    with front.connect() as link:
        link.sendall(opening(b"/app/acme/" + path))
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    assert status_of(answer) == status
    assert b"x-watchword-upstream: " + what in answer


@pytest.mark.usefixtures("no_collection")
def test_a_socket_that_is_closed_takes_no_connections_place(proxy_bundle: Path) -> None:
    most, ruleset = 8, load(decode_bundle(proxy_bundle.read_bytes()))

    def held() -> list[object]:
        return [each for each in gc.get_objects() if type(each) in (Tunnel, ProxyingProtocol)]

    # Those of other tests in this process, which go on being held here.
    others = held()

    async def main(app_url: str) -> None:
        engine = Engine(GateMetrics())
        engine.adopt(ruleset)
        address = parse_upstream(app_url)
        upstream = Upstream(address, 60)
        app = GateApp(engine, None)
        draining = Draining(app)
        protocol = partial(
            ProxyingProtocol,
            engine=engine,
            draining=draining,
            templates=RequestTemplates(),
            passes_on=app.passes_on,
            upstream=upstream,
        )
        server = bounded_server(
            draining,
            Bounds(connections=most),
            protocol=protocol,
            tunnel=tunnel_factory(engine, address),
            keep_alive_seconds=60,
            grace_seconds=1,
        )
        listener = socket.create_server(("127.0.0.1", 0))
        where = listener.getsockname()
        async with serving(server, listener):
            for _ in range(most):
                reader, writer = await asyncio.open_connection(*where)
                writer.write(opening())
                await reader.readuntil(b"hello")
                assert len(server.budget.tunnels) == 1, "one that was closed still counts"
                writer.close()
                await until(lambda: not engine.long_connections and not server.server_state.connections)
            assert not server.budget.tunnels
            await until(lambda: len(held()) == len(others))
            kept = [await asyncio.open_connection(*where) for _ in range(most)]
            for reader, writer in kept:
                writer.write(b"GET /app/acme/echo HTTP/1.1\r\nHost: gate\r\n%s\r\n\r\n" % bearer())
                await reader.readuntil(b"\r\n\r\n")
            assert not any(reader.at_eof() for reader, _ in kept)
            for _, writer in kept:
                writer.close()
            await until(lambda: len(held()) == len(others))
        upstream.close()

    with running_app() as behind:
        asyncio.run(main(behind.url))
