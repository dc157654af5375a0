# SPDX-License-Identifier: Apache-2.0
"""A gate that follows the revocations of a desk keeps following them, whatever goes wrong in between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import pytest

from testing.desk import desk_world
from tests.kube.fakeserver import FakeServer, fake_server
from watchword.gate import desk_revocation_watch
from watchword.gate.desk_revocation_watch import RevocationWatch
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.gate.settings import FollowedConfigMap
from watchword.kube.watch import Endpoint
from watchword.trust import load
from watchword.trust.desk_objects import revocations_name
from watchword.trust.desk_revocations import REVOCATIONS_ENTRY, Revocations, service_document

SERVICE, NAME = "tuist/tuist-server", revocations_name("tuist-server")
# In 2033.
END = 2_000_000_000


def listed(*tokens: str) -> str:
    return service_document(SERVICE, Revocations(dict.fromkeys(tokens, END))).decode()


def play(story: Callable[[FakeServer, Engine, RevocationWatch], Awaitable[None]]) -> None:
    async def main() -> None:
        async with fake_server() as server:
            engine = Engine(GateMetrics())
            endpoint = Endpoint(f"http://127.0.0.1:{server.port}")
            watch = RevocationWatch(FollowedConfigMap(endpoint, "tuist", "bundle"), engine)
            ruleset = load(desk_world().bundles[0])
            assert ruleset.service == SERVICE
            watch.adopted(ruleset)
            task = asyncio.create_task(watch.run())
            try:
                await story(server, engine, watch)
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for shows in attributes
            await asyncio.sleep(0.002)


def test_what_is_revoked_is_known_as_it_is_listed() -> None:
    async def story(server: FakeServer, engine: Engine, _: RevocationWatch) -> None:
        assert not engine.revoked.is_known
        server.put(NAME, listed("t-1"), REVOCATIONS_ENTRY)
        await until(lambda: len(engine.revoked) == 1)
        server.put(NAME, listed("t-1", "t-2"), REVOCATIONS_ENTRY)
        await until(lambda: len(engine.revoked) == 2)

    play(story)


def test_an_error_that_was_not_foreseen_is_logged_and_the_watch_begins_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(desk_revocation_watch, "RESTART_SECONDS", 0.01)

    async def story(server: FakeServer, engine: Engine, _: RevocationWatch) -> None:
        failures, has_ended = 2, False

        def failing() -> None:
            nonlocal failures, has_ended
            if failures:
                failures -= 1
                raise ZeroDivisionError
            has_ended = True

        monkeypatch.setattr(engine.long_connections, "end_revoked", failing)
        server.put(NAME, listed("t-1"), REVOCATIONS_ENTRY)
        # The list is read again, and what it ends is ended at last.
        await until(lambda: failures == 0 and has_ended)
        server.put(NAME, listed("t-1", "t-2"), REVOCATIONS_ENTRY)
        await until(lambda: len(engine.revoked) == 2)

    with caplog.at_level(logging.ERROR):
        play(story)
    said = [each for each in caplog.records if each.message == "watch of revocations failed, restarting it"]
    assert [each.__dict__["error_type"] for each in said] == ["ZeroDivisionError"] * 2
    assert {each.__dict__["config_map"] for each in said} == {f"tuist/{NAME}"}
