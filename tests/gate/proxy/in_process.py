# SPDX-License-Identifier: Apache-2.0
"""Gates in this process, in front of an app on a socket of its own, with a clock that moves by hand.

What a test hands to a connection's transport is one read: no network cuts it, or joins it with the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from itertools import count

from tests.gate.fast_path.ways import Connection, RecordingTransport, VirtualLoop, come_to_rest, ruleset
from watchword.gate.proxy import parse_upstream
from watchword.gate.proxy.protocol import ProxyingProtocol
from watchword.gate.proxy.upstream import Upstream
from watchword.trust import Ruleset

# Turns of the loop without a byte more, after which nothing is under way: the app is on the same loop.
_QUIET_TURNS = 40


@cache
def rules(has_public: bool) -> Ruleset:
    methods = ["GET", "HEAD", "POST"]
    routes = [{"path": "/app/{account}", "methods": methods, "scope": "account:usage:read"}]
    public = [{"path": "/healthz", "methods": methods, "public": True}] if has_public else []
    return ruleset(routes=routes + public, limits={"requestsPerSecond": 100000, "burst": 100000})


class Gates:
    """Makes gates, all of them before one app.

    Attributes:
        links: the connections that the app has.
    """

    def __init__(self, port: int, links: list[asyncio.StreamWriter], stack: ExitStack) -> None:
        self.links, self._port, self._stack = links, port, stack

    def __call__(
        self, is_proxying: bool, has_public: bool = False, given: Ruleset | None = None
    ) -> Connection:
        """A gate that has seen nothing; with an app behind it, or without one; under rules that are given."""
        connection = Connection(True, given or rules(has_public))
        # All numbers of decisions are equally long: a body's length has nothing else in it.
        connection.engine._numbers = count(0x10000)
        self._stack.callback(connection.audit.close, 30)
        if is_proxying:
            upstream = Upstream(parse_upstream(f"http://127.0.0.1:{self._port}"), 30)
            self._stack.callback(upstream.close)
            connection.use(ProxyingProtocol, passes_on=connection.app.passes_on, upstream=upstream)
        return connection


Run = Callable[[Callable[[Gates], Awaitable[None]]], None]


async def answer(
    links: list[asyncio.StreamWriter], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """The app: answers with what it got."""
    links.append(writer)
    try:
        while True:
            got = await reader.readuntil(b"\r\n\r\n")
            if b"\r\ncontent-length: 2\r\n" in got:
                got += await reader.readexactly(2)
            elif b"\r\ntransfer-encoding: chunked\r\n" in got:
                got += await reader.readuntil(b"0\r\n\r\n")
            body = b"" if got.startswith(b"HEAD") else got
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(got), body))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
        links.remove(writer)


@contextmanager
def in_process() -> Iterator[Run]:
    """Yields what runs work, which is given what makes a gate: with an app behind it, or without one."""
    links: list[asyncio.StreamWriter] = []
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        server = runner.run(asyncio.start_server(partial(answer, links), "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]

        async def whole(work: Callable[[Gates], Awaitable[None]]) -> None:
            with ExitStack() as stack:
                await work(Gates(port, links, stack))
            await come_to_rest()

        yield lambda work: runner.run(whole(work))
        server.close()
        for each in links:
            each.close()
        runner.run(come_to_rest())


async def quiet(transport: RecordingTransport) -> None:
    """Let everything happen; the app's answers come by a socket."""
    for _ in range(_QUIET_TURNS):
        before = len(transport.written)
        for _ in range(5):
            await asyncio.sleep(0)
        if before != len(transport.written):
            break
    else:
        return
    await quiet(transport)
