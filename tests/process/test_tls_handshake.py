# SPDX-License-Identifier: Apache-2.0
"""TLS connections are counted from their first moment, and a good caller shakes hands all the same."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.gate.certificates import certificate, write_pair
from tests.process.serving import GET, Running, read_all, running, until
from tests.process.test_server_bounds import BOUNDS, LAST
from watchword.process import tls_handshake
from watchword.process.bounds import Bounds
from watchword.process.tls import demand_client_certificates, server_context


@pytest.fixture(
    autouse=True, params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def loop_factory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhook, operator and desk run on asyncio's own loop, and gates on uvloop."""
    monkeypatch.setattr("tests.process.test_tls_handshake._make_loop", request.param)


_make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop


def serve(
    folder: Path,
    work: Callable[[Running], Awaitable[Any]],
    client_ca: Path | None = None,
    held: Bounds | None = None,
) -> None:
    context = server_context()
    context.load_cert_chain(*write_pair(folder, certificate("gate")))
    if client_ca is not None:
        demand_client_certificates(context, str(client_ca))

    async def whole() -> None:
        given = held or replace(BOUNDS, buffered_bytes=4 * 1024 * 1024)
        async with asyncio.timeout(120), running(given, context=context) as server:
            await work(server)

    with asyncio.Runner(loop_factory=_make_loop) as runner:
        runner.run(whole())


async def ask(server: Running, data: bytes = LAST, identity: tuple[Path, Path] | None = None) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if identity is not None:
        context.load_cert_chain(*identity)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    # Together with the end of the handshake.
    writer.write(data)
    try:
        return await reader.read()
    finally:
        writer.close()


def test_a_request_and_a_pipeline_are_answered(tmp_path: Path) -> None:
    async def work(server: Running) -> None:
        for _ in range(20):
            assert (await ask(server)).endswith(b"last")
        assert (await ask(server, GET % b"x" * 50 + LAST)).count(b"HTTP/1.1 200 ") == 51
        await until(lambda: not server.budget.held_bytes)

    serve(tmp_path, work)


def test_silent_connections_and_half_a_handshake_make_room_for_a_good_caller(tmp_path: Path) -> None:
    async def work(server: Running) -> None:
        loop, links = asyncio.get_running_loop(), []
        for number in range(200):
            links.append(await server.open())
            if number % 2:
                await loop.sock_sendall(links[-1], b"\x16\x03\x01\x02\x00\x01\x00")
            await asyncio.sleep(0)
            assert len(server.budget) <= BOUNDS.connections
        for _ in range(5):
            assert (await ask(server)).endswith(b"last")
        for link in links:
            link.close()
        await until(lambda: not len(server.budget))
        assert not server.budget.held_bytes

    serve(tmp_path, work)


def test_a_handshake_that_does_not_go_on_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_handshake, "HANDSHAKE_SECONDS", 0.2)

    async def work(server: Running) -> None:
        loop = asyncio.get_running_loop()
        silent, half = await server.open(), await server.open()
        await loop.sock_sendall(half, b"\x16\x03\x01\x02\x00\x01\x00")
        await until(lambda: len(server.budget) == 2)
        for link in (silent, half):
            assert await read_all(link) == b""
            link.close()
        await until(lambda: not len(server.budget))
        assert not server.budget.held_bytes
        assert (await ask(server)).endswith(b"last")

    serve(tmp_path, work)


def test_a_server_that_ends_waits_for_no_handshake(tmp_path: Path) -> None:
    links = []

    async def work(server: Running) -> None:
        links.extend([await server.open() for _ in range(5)])
        await until(lambda: len(server.budget) == 5)

    serve(tmp_path, work)
    for link in links:
        link.setblocking(True)
        assert link.recv(1) == b""
        link.close()


def test_a_good_caller_amid_a_burst_of_silent_ones_waits_and_is_answered(tmp_path: Path) -> None:
    async def work(server: Running) -> None:
        # All of them wait to be accepted before the server has its turn, three times as many as it may hold.
        address = ("127.0.0.1", server.port)
        before, good, after = (
            [socket.create_connection(address) for _ in range(count)] for count in (60, 1, 60)
        )
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(sock=good[0], ssl=context, server_hostname="gate")
        writer.write(LAST)
        assert (await reader.read()).endswith(b"last")
        writer.close()
        assert len(server.budget) <= BOUNDS.connections
        for link in (*before, *after):
            link.close()

    serve(tmp_path, work)


def test_what_is_no_tls_is_closed_and_forgotten(tmp_path: Path) -> None:
    async def work(server: Running) -> None:
        assert not (await server.ask(LAST)).startswith(b"HTTP")
        await until(lambda: not len(server.budget))
        assert server.app.seen == []
        assert (await ask(server)).endswith(b"last")

    serve(tmp_path, work)


def test_where_client_certificates_are_demanded_only_their_holders_are_answered(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("api", "stranger")]
    for folder in folders:
        folder.mkdir()
    api, stranger = (write_pair(folder, certificate(folder.name)) for folder in folders)

    async def work(server: Running) -> None:
        assert (await ask(server, identity=api)).endswith(b"last")
        for identity in (None, stranger):
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                assert await ask(server, identity=identity) == b""
        assert [name for name, _ in server.app.seen] == ["last"]
        await until(lambda: not len(server.budget))

    serve(tmp_path, work, client_ca=api[0])


def hello() -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO, bytes]:
    """A caller's side of TLS on no socket, what it reads and writes, and the begin of what it says."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = context.wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        caller.do_handshake()
    return caller, incoming, outgoing, outgoing.read()


async def finish(link: socket.socket, whole: tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]) -> bytes:
    """Shake hands to the end, ask, and what was answered."""
    caller, incoming, outgoing = whole
    loop, found = asyncio.get_running_loop(), b""

    async def step(act: Callable[[], Any]) -> Any:
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                if data := outgoing.read():
                    await loop.sock_sendall(link, data)
                if not (read := await loop.sock_recv(link, 65536)):
                    return b""
                incoming.write(read)

    await step(caller.do_handshake)
    caller.write(LAST)
    await loop.sock_sendall(link, outgoing.read())
    while data := await step(lambda: caller.read(65536)):
        found += data
    return found


async def hold_heads(server: Running, number: int) -> list[asyncio.StreamWriter]:
    """So many callers that have shaken hands, and sent all of a head but its end."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    writers = []
    for _ in range(number):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        except (ConnectionError, ssl.SSLError):
            continue
        writer.write(b"GET / HTTP/1.1\r\nX: " + b"a" * 15_000)
        writers.append(writer)
        await asyncio.sleep(0)
    return writers


def test_a_caller_in_its_handshake_makes_room_for_no_one_who_holds_bytes(tmp_path: Path) -> None:
    async def work(server: Running) -> None:
        loop, link = asyncio.get_running_loop(), await server.open()
        *whole, said = hello()
        await loop.sock_sendall(link, said[: len(said) // 2])
        await until(lambda: len(server.budget) == 1)
        writers = await hold_heads(server, 150)
        # Far more than there is room for: others of them have gone.
        await until(lambda: sum(each._is_over for each in server.protocols) > 50)
        assert server.budget.held_bytes <= server.budget.bounds.buffered_bytes
        await loop.sock_sendall(link, said[len(said) // 2 :])
        assert (await finish(link, (whole[0], whole[1], whole[2]))).endswith(b"last")
        link.close()
        for writer in writers:
            writer.close()

    serve(tmp_path, work, held=replace(BOUNDS, buffered_bytes=600 * 1024))
