# SPDX-License-Identifier: Apache-2.0
"""Probes that the gate makes for the kubelet, against servers that answer, refuse, lie and stay silent."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.gate import app_probes
from watchword.gate.app_probes import AppProbe, AppProber, parse_app_probe
from watchword.gate.ops import ops_app


def in_a_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run a coroutine as a test."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def app(answer: bytes | Handler, seen: list[bytes] | None = None) -> AsyncIterator[int]:
    """An app on loopback that gives one answer to everything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not isinstance(answer, bytes):
                await answer(reader, writer)
                return
            head = await reader.readuntil(b"\r\n\r\n")
            if seen is not None:
                seen.append(head)
            writer.write(answer)
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def failure(port: int, scheme: str = "http", target: str = "/healthz") -> str | None:
    return await AppProber([AppProbe("p", scheme, "127.0.0.1", port, target)]).failure_of("p")


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("app-liveness=http://127.0.0.1:8080/healthz", ("http", 8080, "/healthz")),
        ("a=http://127.0.0.1:8080", ("http", 8080, "/")),
        ("a=https://localhost:8443/x?y=1", ("https", 8443, "/x?y=1")),
        ("a=tcp://127.0.0.1:5432", ("tcp", 5432, "")),
        ("a=http://[::1]:80/", ("http", 80, "/")),
    ],
)
def test_a_probe_is_read(text: str, probe: tuple[str, int, str]) -> None:
    found = parse_app_probe(text)
    assert (found.scheme, found.port, found.target) == probe


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a=",
        "=http://127.0.0.1:1/",
        "A=http://127.0.0.1:1/",
        "a/b=http://127.0.0.1:1/",
        "a=ftp://127.0.0.1:1/",
        # Loopback and nothing else: whoever reaches the ops port would reach it too.
        "a=http://10.0.0.1:80/",
        "a=http://metadata.internal/",
        "a=tcp://127.0.0.1",
        "a=http://127.0.0.1:99999/",
        "a=http://127.0.0.1:80/a b",
        "a=http://127.0.0.1:80/\r\nX: y",
        "a=http://user@127.0.0.1:80/",
        "a=http://127.0.0.1:80/#x",
        "a=http://127.0.0.1:80/é",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|names no|holds more"):
        parse_app_probe(text)


@given(st.text(max_size=80))
def test_no_text_ends_in_a_request_that_is_two(text: str) -> None:
    try:
        found = parse_app_probe(f"a=http://127.0.0.1:80/{text}")
    except ValueError:
        return
    assert not set(found.target) & set("\r\n \t")


@pytest.mark.parametrize("status", [200, 204, 302, 399])
@in_a_loop
async def test_what_a_kubelet_takes_for_well_is_well(status: int) -> None:
    seen: list[bytes] = []
    async with app(f"HTTP/1.1 {status} Fine\r\n\r\n".encode(), seen) as port:
        assert await failure(port) is None
    assert seen[0].startswith(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 No\r\n\r\n",
        b"HTTP/1.0 503\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 2000 x\r\n\r\n",
        b"",
        b"HTTP/1.1 200 " + b"x" * 100_000,
    ],
)
@in_a_loop
async def test_what_it_does_not_is_a_failure_in_words(answer: bytes) -> None:
    async with app(answer) as port:
        said = await failure(port)
    assert said is not None
    assert said.startswith(f"the app at 127.0.0.1:{port} ")


@in_a_loop
async def test_an_app_that_is_not_there_is_a_failure_and_one_that_is_answers_tcp() -> None:
    async with app(b"") as port:
        assert await failure(port, "tcp", "") is None
    assert "cannot be asked" in str(await failure(port, "tcp", ""))


@in_a_loop
async def test_a_silent_app_ends_by_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_probes, "PROBE_SECONDS", 0.05)

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with app(silent) as port:
        assert "did not answer" in str(await failure(port))


@in_a_loop
async def test_a_flood_of_the_ops_port_is_one_request_to_the_app() -> None:
    begun, release = [], asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(await reader.readuntil(b"\r\n\r\n"))
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async with app(slow) as port:
        prober = AppProber([AppProbe("p", "http", "127.0.0.1", port, "/")])
        probes = [asyncio.create_task(prober.failure_of("p")) for _ in range(100)]
        while not begun:  # noqa: ASYNC110 - the server is in this loop
            await asyncio.sleep(0.01)
        probes[0].cancel()
        release.set()
        results = await asyncio.gather(*probes[1:])
        assert results == [None] * 99
        assert len(begun) == 1
        # The next one asks again.
        assert await prober.failure_of("p") is None
        assert len(begun) == 2


@in_a_loop
async def test_the_ops_port_says_how_it_went_and_nothing_of_what_the_app_said() -> None:
    async with app(b"HTTP/1.1 500 secret\r\n\r\nsecret") as port:
        prober = AppProber([AppProbe("p", "http", "127.0.0.1", port, "/")])
        transport = httpx.ASGITransport(ops_app(None, None, prober))  # type: ignore[arg-type]  # neither is asked
        async with httpx.AsyncClient(transport=transport, base_url="http://ops") as client:
            answer = await client.get("/app-probes/p")
            assert answer.status_code == 503
            assert "secret" not in answer.text
            assert (await client.get("/app-probes/other")).status_code == 404
            assert (await client.post("/app-probes/p")).status_code == 405
