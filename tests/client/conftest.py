# SPDX-License-Identifier: Apache-2.0
"""A projected volume as the kubelet keeps it, and real servers on loopback."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.client.server import Answers, LoopbackServer, serve
from tests.client.volume import ProjectedVolume


@pytest.fixture
def volume(tmp_path: Path) -> ProjectedVolume:
    return ProjectedVolume(tmp_path / "watchword.dev", token="first.token.x")


@pytest.fixture(scope="module")
def pool() -> Iterator["Pool"]:
    with ExitStack() as stack:
        yield Pool(stack)


@pytest.fixture
def start(pool: "Pool") -> "Starter":
    """Starts a server, or takes one of an earlier test over: stopping one takes a fifth of a second."""
    return Starter(pool)


class Pool:
    def __init__(self, stack: ExitStack) -> None:
        self.servers: list[LoopbackServer] = []
        self.stack = stack


class Starter:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._taken = 0

    def __call__(self, answers: Answers) -> LoopbackServer:
        if self._taken == len(self._pool.servers):
            self._pool.servers.append(self._pool.stack.enter_context(serve()))
        server = self._pool.servers[self._taken]
        self._taken += 1
        server.answers = answers
        server.received = []
        return server
