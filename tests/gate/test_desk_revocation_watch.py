# SPDX-License-Identifier: Apache-2.0
"""A gate that follows the revocations of a desk keeps following them, whatever goes wrong in between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
from msgspec import structs
from prometheus_client import generate_latest

from testing.desk import desk_world
from tests.kube.fakeserver import FakeServer, fake_server
from watchword.gate import desk_revocation_watch
from watchword.gate.desk_revocation_watch import RevocationWatch
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.gate.settings import FollowedConfigMap
from watchword.kube.watch import Endpoint
from watchword.trust import Ruleset, load
from watchword.trust.desk_objects import revocations_name
from watchword.trust.desk_revocations import REVOCATIONS_ENTRY, Revocations, service_document

SERVICE, NAME = "tuist/tuist-server", revocations_name("tuist-server")
# In 2033.
END = 2_000_000_000


def listed(*tokens: str, desk: str = "watchword-desk/desk") -> str:
    return service_document(SERVICE, desk, Revocations(dict.fromkeys(tokens, END))).decode()


def ruleset_with(desk: str | None = "watchword-desk/desk") -> Ruleset:
    ruleset = load(desk_world().bundles[0])
    assert ruleset.service == SERVICE
    assert ruleset.policy.desk is not None
    of = None if desk is None else structs.replace(ruleset.policy.desk, name=desk)
    return structs.replace(ruleset, policy=structs.replace(ruleset.policy, desk=of))


def play(story: Callable[[FakeServer, Engine, RevocationWatch], Awaitable[None]]) -> None:
    async def main() -> None:
        async with fake_server() as server:
            engine = Engine(GateMetrics())
            endpoint = Endpoint(f"http://127.0.0.1:{server.port}")
            watch = RevocationWatch(FollowedConfigMap(endpoint, "tuist", "bundle"), engine)
            watch.adopted(ruleset_with())
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


def test_a_service_that_moves_to_another_desk_waits_for_that_desks_list() -> None:
    async def story(server: FakeServer, engine: Engine, watch: RevocationWatch) -> None:
        server.put(NAME, listed("t-1"), REVOCATIONS_ENTRY)
        await until(lambda: engine.revoked.is_known)
        watch.adopted(ruleset_with("watchword-desk/other"))
        assert not engine.revoked.is_known
        # The first desk's list, which is still there, says nothing of what the other revoked.
        server.put(NAME, listed("t-1", "t-2"), REVOCATIONS_ENTRY)
        server.put(NAME, listed("t-3", desk="watchword-desk/other"), REVOCATIONS_ENTRY)
        await until(lambda: engine.revoked.is_known)
        assert len(engine.revoked) == 2

    play(story)


def test_a_service_that_comes_back_to_its_desk_waits_for_a_list_read_since() -> None:
    async def story(server: FakeServer, engine: Engine, watch: RevocationWatch) -> None:
        server.put(NAME, listed("t-1"), REVOCATIONS_ENTRY)
        await until(lambda: engine.revoked.is_known)
        watch.adopted(ruleset_with(None))
        watch.adopted(ruleset_with())
        assert not engine.revoked.is_known
        await until(lambda: engine.revoked.is_known)

    play(story)


def test_the_list_of_another_desk_is_refused_and_said(caplog: pytest.LogCaptureFixture) -> None:
    async def story(server: FakeServer, engine: Engine, _: RevocationWatch) -> None:
        server.put(NAME, listed("t-1", desk="watchword-desk/other"), REVOCATIONS_ENTRY)
        await until(lambda: "revocations of desk tokens refused" in caplog.messages)
        assert not engine.revoked.is_known

    with caplog.at_level(logging.ERROR):
        play(story)
    [said] = [each for each in caplog.records if each.message == "revocations of desk tokens refused"]
    assert said.__dict__["detail"] == (
        "it is of the desk watchword-desk/other, and the service names watchword-desk/desk"
    )


def test_the_age_of_the_last_word_counts_from_what_was_heard_or_else_from_the_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = 0.0
    monkeypatch.setattr(desk_revocation_watch, "time", SimpleNamespace(monotonic=lambda: at))

    async def story(server: FakeServer, engine: Engine, watch: RevocationWatch) -> None:
        nonlocal at
        server.put(NAME, listed("t-1"), REVOCATIONS_ENTRY)
        await until(lambda: engine.revoked.is_known)
        inner = watch._watch
        assert inner is not None
        heard_at = inner.received_at
        assert heard_at is not None
        at = heard_at + 700
        assert watch.age_seconds() == pytest.approx(at - (inner.received_at or 0.0))
        # A watch that begins again, and hears nothing, is as old as the last word.
        watch._watch = None
        at += 100
        assert watch.age_seconds() == pytest.approx(800, abs=30)
        # Another desk is another beginning; without one, there is nothing to hear of.
        watch.adopted(ruleset_with("watchword-desk/other"))
        at += 5
        assert watch.age_seconds() == pytest.approx(5)
        watch.adopted(ruleset_with(None))
        assert watch.age_seconds() is None

    play(story)


def test_a_gate_says_how_old_the_last_word_on_revocations_is_and_nothing_where_no_desk_is() -> None:
    metrics = GateMetrics()
    assert b"watchword_revocations_watch_age_seconds NaN" in generate_latest(metrics.registry)
    ages = iter([12.5, None])
    metrics.follow_revocations(lambda: next(ages))
    assert b"watchword_revocations_watch_age_seconds 12.5" in generate_latest(metrics.registry)
    assert b"watchword_revocations_watch_age_seconds NaN" in generate_latest(metrics.registry)
