# SPDX-License-Identifier: Apache-2.0
"""A bundle that is gone ends its trust after a while; one that only cannot be reached never does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.manifests import compiled, issuer, service, workload
from testing.tokens import NOW, token
from tests.gate.keeping import Kept, nothing
from tests.gate.test_bundle_updater import bundle
from tests.gate.test_bundle_watch import NAME, Gate, text
from tests.gate.test_bundle_watch import play as play_live
from tests.kube.fakeserver import answer, status_body
from tests.operator.virtual_time import VirtualTimeLoop
from watchword.gate.absence import API
from watchword.gate.authz_request import AuthzRequest, find_credential
from watchword.gate.bundle_file import FileSource, SourceProblem
from watchword.gate.bundle_updater import BundleUpdater
from watchword.gate.bundle_watch import ENTRY
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.gate.ops import Readiness
from watchword.gate.responses import Allowed, Answer
from watchword.trust import Bundle, Ruleset, encode_bundle

LIMIT = 60.0
GONE = SourceProblem("the ConfigMap tuist/x is gone", "restore it", is_there=False)
MISSING = SourceProblem("the bundle file cannot be read", "mount it", is_there=False)
BROKEN = SourceProblem("the ConfigMap tuist/x holds no usable bundle", "see why", is_there=True)
REFUSED = SourceProblem("the bundle file cannot be read: Permission denied", "allow it")


class _Inline(ThreadPoolExecutor):
    """Threads that take no time: a thread's own would be none of the virtual time."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future


class Virtual(Kept):
    """A keeper in virtual time, with a file that may lag and an API server."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_Inline())
        self.metrics = GateMetrics()
        self.engine = Engine(self.metrics, monotonic=loop.time)
        self.updater = BundleUpdater(self.engine, nothing, absent_after=LIMIT)
        self._generation = 0

    def next_bundle(self) -> Bundle:
        self._generation += 1
        return bundle(self._generation)

    async def file(self, item: Bundle | SourceProblem) -> None:
        await self.updater.take(item, may_lag=True)

    async def api(self, item: Bundle | SourceProblem) -> None:
        await self.updater.take(item, API)

    @property
    def is_trusting(self) -> bool:
        return self.engine.active is not None


def play(story: Callable[[Virtual], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await story(Virtual())

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())


def test_a_minute_after_it_is_gone_the_trust_ends_and_only_the_api_server_brings_it_back() -> None:
    async def story(gate: Virtual) -> None:
        await gate.file(gate.next_bundle())
        await gate.api(gate.next_bundle())
        await gate.api(GONE)
        await asyncio.sleep(LIMIT - 1)
        assert gate.is_trusting
        assert gate.problem == f"{GONE.detail}; its trust ends in 1 s"
        await asyncio.sleep(1)
        assert not gate.is_trusting
        assert gate.problem == f"{GONE.detail} for more than 60 s, so its trust has ended"
        # The kubelet's mount is still there, and may even be newer than what was in use.
        await gate.file(gate.next_bundle())
        await asyncio.sleep(10 * LIMIT)
        assert not gate.is_trusting
        await gate.api(gate.next_bundle())
        assert (gate.is_trusting, gate.problem) == (True, "")

    play(story)


@pytest.mark.parametrize("item", [BROKEN, "bundle"], ids=["broken", "bundle"])
def test_an_answer_with_the_object_stops_the_time_even_when_it_holds_no_bundle(item: Any) -> None:
    async def story(gate: Virtual) -> None:
        await gate.api(gate.next_bundle())
        await gate.api(GONE)
        await asyncio.sleep(LIMIT - 1)
        await gate.api(gate.next_bundle() if item == "bundle" else item)
        await asyncio.sleep(LIMIT * 10)
        assert gate.is_trusting
        # And the next absence has its whole time again.
        await gate.api(GONE)
        await asyncio.sleep(LIMIT - 1)
        assert gate.is_trusting
        await asyncio.sleep(1)
        assert not gate.is_trusting

    play(story)


def test_being_told_again_that_it_is_gone_gives_no_more_time() -> None:
    async def story(gate: Virtual) -> None:
        await gate.api(gate.next_bundle())
        for _ in range(int(LIMIT) - 1):
            await gate.api(GONE)
            await asyncio.sleep(1)
        assert gate.is_trusting
        await asyncio.sleep(1)
        assert not gate.is_trusting

    play(story)


def test_an_object_without_a_bundle_does_not_let_the_mounted_file_restore_what_has_ended() -> None:
    async def story(gate: Virtual) -> None:
        await gate.api(gate.next_bundle())
        await gate.api(GONE)
        await asyncio.sleep(LIMIT)
        await gate.api(BROKEN)
        assert gate.problem == BROKEN.detail
        await gate.file(gate.next_bundle())
        assert not gate.is_trusting
        await gate.api(GONE)
        await gate.file(gate.next_bundle())
        assert (gate.is_trusting, gate.problem) == (False, GONE.detail)
        await gate.api(gate.next_bundle())
        assert gate.is_trusting

    play(story)


def test_one_that_is_gone_again_after_its_trust_ended_counts_as_gone() -> None:
    async def story(gate: Virtual) -> None:
        def absent_seconds() -> float | None:
            return gate.metrics.registry.get_sample_value("watchword_bundle_absent_seconds")

        await gate.api(gate.next_bundle())
        await gate.api(GONE)
        await asyncio.sleep(LIMIT)
        await gate.api(BROKEN)
        assert absent_seconds() == 0
        await gate.api(GONE)
        await asyncio.sleep(5)
        assert (absent_seconds(), gate.problem) == (5, GONE.detail)
        await gate.api(gate.next_bundle())
        assert (absent_seconds(), gate.is_trusting, gate.problem) == (0, True, "")
        await asyncio.sleep(LIMIT * 10)
        assert gate.is_trusting

    play(story)


def test_what_comes_back_is_no_older_than_what_was_in_use_and_may_be_the_very_same() -> None:
    async def story(gate: Virtual) -> None:
        old, new = gate.next_bundle(), gate.next_bundle()
        await gate.api(new)
        await gate.api(GONE)
        await asyncio.sleep(LIMIT)
        await gate.api(old)
        assert (gate.is_trusting, gate.problem) == (
            False,
            "generation 1 does not follow 2, which is in use",
        )
        await gate.api(new)
        assert (gate.generation, gate.problem) == (2, "")

    play(story)


def test_a_gate_that_boots_from_a_stale_mount_stops_to_trust_it() -> None:
    async def story(gate: Virtual) -> None:
        await gate.api(GONE)
        await gate.file(gate.next_bundle())
        assert gate.is_trusting
        await asyncio.sleep(LIMIT)
        assert not gate.is_trusting

    play(story)


def test_a_missing_file_is_absence_only_where_the_api_server_has_not_answered() -> None:
    async def silent(gate: Virtual) -> None:
        await gate.file(gate.next_bundle())
        await gate.file(MISSING)
        await asyncio.sleep(LIMIT)
        assert not gate.is_trusting
        # It was the file that said so, and it may take it back.
        await gate.file(gate.next_bundle())
        assert gate.is_trusting

    async def answered(gate: Virtual) -> None:
        await gate.file(gate.next_bundle())
        await gate.api(gate.next_bundle())
        await gate.file(MISSING)
        await asyncio.sleep(LIMIT * 10)
        assert gate.is_trusting

    async def answers_meanwhile(gate: Virtual) -> None:
        await gate.file(gate.next_bundle())
        await gate.file(MISSING)
        await asyncio.sleep(LIMIT - 1)
        await gate.api(gate.next_bundle())
        await asyncio.sleep(LIMIT * 10)
        assert gate.is_trusting

    for story in (silent, answered, answers_meanwhile):
        play(story)


@pytest.mark.parametrize("item", [REFUSED, BROKEN], ids=["unreadable", "broken"])
def test_a_file_that_cannot_be_read_or_is_broken_is_not_gone(item: SourceProblem) -> None:
    async def story(gate: Virtual) -> None:
        await gate.file(gate.next_bundle())
        await gate.file(item)
        await asyncio.sleep(LIMIT * 10)
        assert gate.is_trusting

    play(story)


def test_a_bundle_that_is_being_loaded_while_the_time_runs_out_is_not_taken_from_the_file() -> None:
    async def story(gate: Virtual) -> None:
        await gate.api(gate.next_bundle())
        await gate.api(GONE)
        started, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(function: Any, *arguments: Any) -> Any:
            started.set()
            await go_on.wait()
            return function(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("watchword.gate.bundle_updater.asyncio.to_thread", slowly)
            task = asyncio.create_task(gate.file(gate.next_bundle()))
            await started.wait()
            await asyncio.sleep(LIMIT)
            assert not gate.is_trusting
            go_on.set()
            await task
        assert not gate.is_trusting

    play(story)


WHO_SAYS_WHAT = st.tuples(
    st.sampled_from(["file", "api"]),
    st.sampled_from(["bundle", "broken", "gone", "nothing"]),
    st.sampled_from([0.0, 1.0, 29.0, 59.0, 60.0, 61.0, 300.0]),
)
ITEMS = {
    ("file", "broken"): BROKEN,
    ("api", "broken"): BROKEN,
    ("file", "gone"): MISSING,
    ("api", "gone"): GONE,
    ("file", "nothing"): REFUSED,
}


@settings(max_examples=400, deadline=None)
@given(st.lists(WHO_SAYS_WHAT, max_size=14))
def test_whatever_is_said_and_when_trust_holds_exactly_while_it_should(
    said: list[tuple[str, str, float]],
) -> None:
    """Judged by the whole history each time, not by a state that is carried along."""

    async def story(gate: Virtual) -> None:
        history: list[tuple[float, str, str]] = []
        now = asyncio.get_running_loop().time
        for who, what, seconds in said:
            if (who, what) != ("api", "nothing"):
                item = gate.next_bundle() if what == "bundle" else ITEMS[who, what]
                history.append((now(), who, what))
                await (gate.file(item) if who == "file" else gate.api(item))
            await asyncio.sleep(seconds)
            wanted = verdict(history, now())
            assert wanted is None or gate.is_trusting is wanted, (history, now())

    play(story)


def verdict(history: list[tuple[float, str, str]], now: float) -> bool | None:
    """Whether there must be trust now; None where the rules leave it open."""
    api = [(at, what) for at, who, what in history if who == "api"]
    for position, (gone_at, what) in enumerate(api):
        if what != "gone":
            continue
        later = api[position + 1 :]
        if now < gone_at + LIMIT or any(
            at < gone_at + LIMIT for at, other in later if other in ("bundle", "broken")
        ):
            continue
        if not any(other == "bundle" for _, other in later):
            return False
    begins_with_api = api[0][0] if api else now + 1
    is_file_missing = any(
        who == "file" and what == "gone" and at <= begins_with_api for at, who, what in history
    )
    if not any(what == "bundle" for _, _, what in history):
        return False
    if not is_file_missing and all(what != "gone" for _, what in api):
        return True
    last_api = api[-1] if api else None
    if last_api is not None and last_api[1] == "bundle":
        return True
    return None


def test_what_the_api_server_says_comes_before_what_a_file_lacks_in_any_order() -> None:
    async def story(gate: Virtual) -> None:
        await gate.file(MISSING)
        assert gate.problem.startswith(MISSING.detail)
        await gate.api(BROKEN)
        assert gate.problem == BROKEN.detail
        await gate.api(GONE)
        assert gate.problem.startswith(GONE.detail)
        await gate.file(MISSING)
        assert gate.problem.startswith(GONE.detail)

    play(story)


# Through HTTP.


def test_a_deleted_event_and_an_empty_list_begin_it_and_a_refusal_never_does() -> None:
    async def deleted(gate: Gate) -> None:
        gate.server.put(NAME, text(3), ENTRY)
        await gate.until(lambda: gate.generation == 3)
        gate.server.delete(NAME)
        await gate.until(lambda: gate.engine.active is None)

    async def empty_list(gate: Gate) -> None:
        gate.server.put(NAME, text(3), ENTRY)
        await gate.until(lambda: gate.generation == 3 and gate.follows["connected"])
        gate.server.cut()
        gate.server.delete(NAME)
        gate.server.compact()
        await gate.until(lambda: gate.engine.active is None)

    async def refused(gate: Gate) -> None:
        gate.server.put(NAME, text(3), ENTRY)
        await gate.until(lambda: gate.generation == 3 and gate.follows["connected"])
        for status in (401, 403, 404, 500):
            gate.server.faults = [answer(status, status_body(status, "No"))] * 2
            gate.server.cut()
            await gate.until(lambda status=status: f"answers {status}" in gate.follows.get("warning", ""))  # type: ignore[misc]
            assert gate.sample("absent_seconds") == 0
        await gate.until(lambda: gate.follows["connected"])
        assert (gate.ready["ready"], gate.generation) == (True, 3)

    for story in (deleted, empty_list, refused):
        play_live(hurried(story))


def test_a_refusal_does_not_stop_the_time_and_readyz_says_why_there_is_no_trust() -> None:
    async def story(gate: Gate) -> None:
        gate.server.put(NAME, text(3), ENTRY)
        await gate.until(lambda: gate.generation == 3 and gate.follows["connected"])
        gate.server.delete(NAME)
        await gate.until(lambda: (gate.sample("absent_seconds") or 0) > 0)
        gate.server.faults = [answer(403, status_body(403, "Forbidden"))] * 1_000
        gate.server.cut()
        await gate.until(lambda: gate.engine.active is None)
        status, document = Readiness(gate.engine, gate.updater, gate.live).document()
        assert (status, document["ready"]) == (503, False)
        assert document["why"] == (
            f"the ConfigMap tuist/{NAME} is gone for more than 0.5 s, so its trust has ended"
        )
        assert "ProtectedService" in str(document["remedy"])
        assert gate.sample("generation") == 0
        gate.server.faults.clear()
        gate.server.put(NAME, text(4), ENTRY)
        await gate.until(lambda: gate.generation == 4)
        assert gate.ready["ready"] is True
        assert gate.sample("absent_seconds") == 0

    play_live(hurried(story))


def hurried(story: Callable[[Gate], Awaitable[None]]) -> Callable[[Gate], Awaitable[None]]:
    """With half a second instead of a minute."""

    async def sooner(gate: Gate) -> None:
        gate.updater.absence._limit = 0.5
        await story(gate)

    return sooner


def test_callers_are_told_not_ready_with_the_cause_cold_and_cached(tmp_path: Path) -> None:
    def document_of(generation: int) -> bytes:
        return encode_bundle(compiled(issuer(), service(), workload(), generation=generation).bundles[0])

    async def main() -> None:
        path = tmp_path / "bundle.json"
        path.write_bytes(document_of(1))
        engine = Engine(GateMetrics(), clock=lambda: NOW)

        async def adopted(_: Ruleset) -> None:
            pass

        updater = BundleUpdater(engine, adopted, bounds_generations=False, absent_after=0.1)
        task = asyncio.create_task(updater.follow(FileSource(str(path), 0.01)))
        await until(lambda: engine.active is not None)
        authz_request = AuthzRequest(find_credential([(b"authorization", b"Bearer " + token())]), None)
        for _ in ("cold", "cached"):
            assert isinstance(engine.decide(authz_request), Allowed)
            assert isinstance(engine.decide_token(authz_request), Allowed)
        path.unlink()
        await until(lambda: engine.active is None)
        for presented in (token(), token(jti="another")):
            authz_request = AuthzRequest(find_credential([(b"authorization", b"Bearer " + presented)]), None)
            decided = engine.decide(authz_request)
            assert isinstance(decided, Answer)
            document = msgspec.json.decode(decided.body)
            assert (decided.status, document["reason"]) == (503, "not_ready")
            assert document["detail"] == "the trust of this service has ended: its bundle is gone"
            # The fast path leaves it to the slow one.
            assert engine.decide_token(authz_request) is None
        path.write_bytes(document_of(2))
        await until(lambda: engine.active is not None)
        assert isinstance(engine.decide(authz_request), Allowed)
        task.cancel()

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for shows in attributes
            await asyncio.sleep(0.005)
