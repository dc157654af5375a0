# SPDX-License-Identifier: Apache-2.0
"""A desk and a gate side by side: each token of a rotation is taken; minting and revoking leaves no trace.

Both are whole: a desk that answers on a port, a gate with its engine and caches. What the operator does
between them, handing on bundles and revocations, a test does at the moments that matter.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.running_desk import (
    TARGET,
    RunningDesk,
    account_token,
    default_objects,
    running_desk,
    workload_object,
)
from testing.tokens import claims_of
from tests.gate.running import RunningGate
from watchword.desk.configuration import KeyRecord
from watchword.desk.minting import SigningKey
from watchword.identity.compact import UnverifiedToken, parse_compact
from watchword.trust import encode_bundle, load
from watchword.trust.desk_revocations import MAX_TOKENS_OF_SUBJECT, Revocations

AUTHZ = ("/authz/traefik", [("x-forwarded-method", "GET"), ("x-forwarded-uri", "/acme/ios/cache")])
EACH_PHASE = 150


@pytest.fixture
def desk() -> Iterator[RunningDesk]:
    with running_desk() as running:
        yield running


@pytest.fixture
def gate(tmp_path: Path, desk: RunningDesk) -> Iterator[RunningGate]:
    """A gate on the bundle that the desk runs on."""
    running = RunningGate(tmp_path)
    follow(running, desk)
    yield running
    running.close()


def follow(gate: RunningGate, desk: RunningDesk) -> None:
    """Have the gate take the bundle that was compiled last."""
    gate.engine.adopt(load(desk.source.bundles[0]))


def answer(gate: RunningGate, token: str) -> str:
    """Empty where the gate lets a token pass; else the reason."""
    gate.now = time.time()
    path, headers = AUTHZ
    found = gate.call(path, token.encode(), headers)
    return "" if found.status_code == 200 else found.headers["x-watchword-reason"]


def kid_of(token: str) -> str:
    parsed = parse_compact(token.encode())
    assert isinstance(parsed, UnverifiedToken)
    return str(parsed.header["kid"])


class Callers:
    """Threads that exchange without a pause, and put down each token with what came of its request."""

    def __init__(self, desk: RunningDesk, number: int = 3) -> None:
        self._desk, self._stop = desk, threading.Event()
        self.answers: queue.Queue[str | None] = queue.Queue()
        self.refused: list[str] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(number)]

    def __enter__(self) -> Callers:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                found = self._desk.exchange()
            except Exception as error:  # noqa: BLE001 - told to the test
                self.refused.append(repr(error))
                self.answers.put(None)
                return
            if found.status_code == 200:
                self.answers.put(found.json()["access_token"])
            else:
                self.refused.append(found.text)
                self.answers.put(None)


def test_no_token_of_a_rotation_is_refused_before_while_and_after_the_key_changes(
    desk: RunningDesk, gate: RunningGate, tmp_path: Path
) -> None:
    """Every exchange is answered, and its token is taken at once by each gate, whichever key signed it."""
    (tmp_path / "behind").mkdir()
    behind = RunningGate(tmp_path / "behind")
    follow(behind, desk)
    old = desk.source.keys[0]
    new = KeyRecord(SigningKey.generate(), signs_from=time.time() + 3600, made_at=time.time())
    seen: Counter[str] = Counter()
    tokens: list[str] = []

    def take(number: int, *, until: str = "") -> None:
        """Present so many tokens to both gates, and go on until one is signed by this key."""
        taken = 0
        while taken < number or (until and not seen[until]):
            token = callers.answers.get(timeout=120)
            assert token is not None, callers.refused
            assert [answer(gate, token), answer(behind, token)] == ["", ""]
            seen[kid_of(token)] += 1
            tokens.append(token)
            taken += 1

    with Callers(desk) as callers:
        take(EACH_PHASE)
        # The operator makes a key, which is in the bundles from now on. The desk learns of it first, one
        # gate next, the other one as late as it may.
        desk.source.keys = [new, old]
        desk.change(*desk.source.objects)
        take(EACH_PHASE)
        assert set(seen) == {old.key.kid}
        follow(gate, desk)
        take(EACH_PHASE)
        assert set(seen) == {old.key.kid}
        follow(behind, desk)
        # Its time has come.
        desk.source.keys = [KeyRecord(new.key, signs_from=time.time() - 1, made_at=new.made_at), old]
        desk.change(*desk.source.objects)
        take(EACH_PHASE, until=new.key.kid)
        take(EACH_PHASE)
    assert callers.refused == []
    assert set(seen) == {old.key.kid, new.key.kid}
    # And none that was taken before is refused since: cold and from the cache.
    cold = RunningGate(tmp_path / "behind")
    follow(cold, desk)
    assert {answer(each, token) for each in (gate, behind, cold) for token in tokens} == {""}
    for each in (behind, cold):
        each.close()


def test_minting_and_revoking_in_a_loop_grows_no_bundle_and_empties_no_cache(
    desk: RunningDesk, gate: RunningGate
) -> None:
    others = [desk.minted() for _ in range(5)]
    assert [answer(gate, each) for each in others] == [""] * 5
    ruleset, bundle = gate.engine.active, bundle_of(desk)
    sizes: list[int] = []
    last = None
    for number in range(3 * MAX_TOKENS_OF_SUBJECT):
        token = desk.minted(scope="cache:write", project="android")
        assert desk.revoke(token).status_code == 200
        if number % MAX_TOKENS_OF_SUBJECT == MAX_TOKENS_OF_SUBJECT - 1:
            handed_on(desk, gate, token)
            sizes.append(len(gate.engine.revoked))
            last = token
    assert last is not None
    assert answer(gate, last) == "revoked"
    # No bundle says anything of it, and the gate is on the very ruleset and caches that it was on.
    assert bundle_of(desk) == bundle
    assert gate.engine.active is ruleset
    hits = gate.counted("hit")
    known = [answer(gate, each) for each in others]
    # What came before so many revocations of one subject is taken back with them: never the other way round.
    assert set(known) <= {"", "revoked"}
    assert gate.counted("hit") - hits == len(others)
    assert max(sizes) <= MAX_TOKENS_OF_SUBJECT + 1
    listed = desk.source.revocations.services[TARGET]
    assert len(listed.tokens) + len(listed.subjects) <= MAX_TOKENS_OF_SUBJECT


def test_a_loop_of_one_workload_takes_nothing_from_another_one(desk: RunningDesk, gate: RunningGate) -> None:
    """Revocations of a subject are of that subject: who else is remembered stays so."""
    objects = [*default_objects(), workload_object("beta", "beta")]
    desk.change(*objects)
    follow(gate, desk)
    other = desk.minted(account_token("atlas-production", "beta", desk_audience(desk)))
    assert answer(gate, other) == ""
    for _ in range(MAX_TOKENS_OF_SUBJECT + 6):
        token = desk.minted()
        assert desk.revoke(token).status_code == 200
    handed_on(desk, gate, token)
    hits = gate.counted("hit")
    assert [answer(gate, token), answer(gate, other)] == ["revoked", ""]
    assert gate.counted("hit") == hits + 1


def desk_audience(desk: RunningDesk) -> str:
    state = desk.desk.state
    assert state is not None
    return state.audience


def bundle_of(desk: RunningDesk) -> bytes:
    """The bundle that would be published now, but for its generation."""
    desk.source.compile()
    found = encode_bundle(desk.source.bundles[0])
    generation = str(desk.source.bundles[0].generation).encode()
    assert found.count(generation) == 1
    return found.replace(generation, b"0")


def handed_on(desk: RunningDesk, gate: RunningGate, token: str) -> None:
    """Wait until a revoked token is published, and give the gate the list as the operator would."""
    claims: dict[str, Any] = claims_of(token)
    deadline = time.monotonic() + 120
    while True:
        listed = desk.source.revocations.services.get(TARGET, Revocations())
        subject = listed.subjects.get(claims["sub"])
        if claims["jti"] in listed.tokens or (subject and subject.issued_before > claims["iat"]):
            gate.engine.revoke(listed)
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)
