# SPDX-License-Identifier: Apache-2.0
"""The SDK: one exchange for many requests, a new token before the old one ends, the desk's own words."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.hostile_desk import dripping, dripping_headers, hanging, hostile_desk
from testing.running_desk import (
    DESK_AUDIENCE,
    TARGET,
    TARGET_AUDIENCE,
    RunningDesk,
    account_token,
    default_objects,
    running_desk,
    subject_token,
    workload_object,
)
from testing.tokens import claims_of
from watchword.client import (
    DeskRefused,
    DeskUnreachable,
    ExchangedToken,
    TokenFile,
    TokenFileMissing,
    WatchwordAuth,
    WatchwordRefused,
    exchanged_token,
)

CACHED: dict[str, Any] = {"account": "acme", "project": "ios", "scope": "cache:read"}


class Cache:
    """A cache in memory that counts, and can fail."""

    def __init__(self, *, fails: bool = False) -> None:
        self.kept: dict[str, str] = {}
        self.fails = fails

    def load(self, key: str) -> str | None:
        if self.fails:
            raise OSError("locked")
        return self.kept.get(key)

    def store(self, key: str, token: str | None) -> None:
        if self.fails:
            raise OSError("locked")
        if token is None:
            self.kept.pop(key, None)
        else:
            self.kept[key] = token


@pytest.fixture
def desk() -> Iterator[RunningDesk]:
    with running_desk() as running:
        yield running


@pytest.fixture
def subject(tmp_path: Path) -> TokenFile:
    path = tmp_path / "token"
    path.write_text(subject_token())
    return TokenFile(path)


def source(desk: RunningDesk, subject: TokenFile, **changes: Any) -> ExchangedToken:
    given: dict[str, Any] = {"account": "acme", "project": "ios", "scope": "cache:read", "subject": subject}
    return ExchangedToken(desk.url, TARGET, **(given | changes))


def issued(desk: RunningDesk) -> int:
    return int(desk.desk.metrics.issued.labels(TARGET)._value.get())


def test_one_exchange_serves_many_requests(desk: RunningDesk, subject: TokenFile) -> None:
    tokens = source(desk, subject)
    first = tokens.token()
    assert all(tokens.token() == first for _ in range(20))
    assert issued(desk) == 1
    assert claims_of(first)["aud"] == TARGET_AUDIENCE


def test_threads_and_tasks_share_one_exchange(desk: RunningDesk, subject: TokenFile) -> None:
    tokens = source(desk, subject)
    threads = [threading.Thread(target=tokens.token) for _ in range(10)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert issued(desk) == 1

    async def many(of: ExchangedToken) -> set[str]:
        return set(await asyncio.gather(*(of.token_async() for _ in range(10))))

    assert len(asyncio.run(many(source(desk, subject, purpose="warm")))) == 1
    assert issued(desk) == 2


def test_a_token_with_under_thirty_seconds_left_is_minted_again(
    desk: RunningDesk, subject: TokenFile
) -> None:
    now = [time.time()]
    tokens = source(desk, subject, clock=lambda: now[0])
    first = tokens.token()
    now[0] = claims_of(first)["exp"] - 31
    assert tokens.token() == first
    now[0] = claims_of(first)["exp"] - 29
    # By this clock the new one has little left too; it is given all the same, and not for a second time.
    assert tokens.token() != first


def test_what_is_kept_for_another_target_is_not_used(desk: RunningDesk, subject: TokenFile) -> None:
    cache = Cache()
    other = source(desk, subject, project="android")
    mine = source(desk, subject, cache=cache)
    cache.kept[mine.key] = other.token()
    token = mine.token()
    assert claims_of(token)["authorization_details"][0]["projects"] == ["ios"]
    assert cache.kept[mine.key] == token


@pytest.mark.parametrize("kept", ["", "x", "a.b.c", "....", json.dumps({"exp": 9e9})])
def test_what_is_kept_and_no_token_is_not_used(desk: RunningDesk, subject: TokenFile, kept: str) -> None:
    cache = Cache()
    mine = source(desk, subject, cache=cache)
    cache.kept[mine.key] = kept
    assert claims_of(mine.token())["aud"] == TARGET_AUDIENCE


def test_a_token_is_kept_beyond_its_process(desk: RunningDesk, subject: TokenFile) -> None:
    cache = Cache()
    first = source(desk, subject, cache=cache).token()
    assert source(desk, subject, cache=cache).token() == first
    assert source(desk, subject, cache=cache, purpose="warm").token() != first
    assert issued(desk) == 2


class Held:
    """A token in memory, as one that came from standard input."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self) -> str:
        return self._token


def test_a_cache_that_two_workloads_share_gives_each_its_own_token(desk: RunningDesk) -> None:
    desk.change(*default_objects(), workload_object("other", "other"))
    cache = Cache()
    subjects = [
        "system:serviceaccount:atlas-production:atlas",
        "system:serviceaccount:atlas-production:other",
    ]
    of = [Held(account_token("atlas-production", name, DESK_AUDIENCE)) for name in ("atlas", "other")]
    for _ in range(2):
        tokens = [
            ExchangedToken(desk.url, TARGET, subject=each, **CACHED, cache=cache).token() for each in of
        ]
        assert [claims_of(each)["watchword"]["origin"]["subject"] for each in tokens] == subjects
    assert (len(cache.kept), issued(desk)) == (2, 2)
    # A renewed token of the same workload is no other workload.
    renewed = Held(account_token("atlas-production", "atlas", DESK_AUDIENCE, jti="renewed"))
    assert ExchangedToken(desk.url, TARGET, subject=renewed, **CACHED, cache=cache).token() == tokens[0]


def test_a_subject_that_says_no_name_is_told_from_others_all_the_same() -> None:
    keys = {ExchangedToken("https://desk", TARGET, **CACHED, subject=Held(each)).key for each in ("a", "b")}
    assert len(keys) == 2
    assert not {"a", "b"} & {json.loads(each)[-1][0] for each in keys}


def test_a_kept_token_is_not_given_without_a_subject(
    desk: RunningDesk, subject: TokenFile, tmp_path: Path
) -> None:
    cache = Cache()
    source(desk, subject, cache=cache).token()
    with pytest.raises(TokenFileMissing):
        source(desk, TokenFile(tmp_path / "none"), cache=cache).token()


def test_a_cache_that_fails_costs_nothing_but_an_exchange(desk: RunningDesk, subject: TokenFile) -> None:
    assert source(desk, subject, cache=Cache(fails=True)).token()


def test_the_desks_reason_and_remedy_are_in_the_exception(desk: RunningDesk, subject: TokenFile) -> None:
    with pytest.raises(DeskRefused) as refused:
        source(desk, subject, project="web").token()
    error = refused.value
    assert (error.error, error.reason, error.status) == ("invalid_scope", "grant_not_covered", 400)
    assert "TrustedWorkload" in error.remedy
    assert error.request_id in str(error)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - what a task queue does
    assert str(again) == str(error)
    assert subject.token() not in repr(error.__dict__) + str(error)
    assert error.__cause__ is None
    with pytest.raises(DeskRefused):
        asyncio.run(source(desk, subject, project="web").token_async())


def test_a_desk_that_is_away_is_said_without_the_token(subject: TokenFile) -> None:
    tokens = ExchangedToken("http://127.0.0.1:9", TARGET, scope="cache:read", subject=subject)
    for call in (tokens.token, lambda: asyncio.run(tokens.token_async())):
        with pytest.raises(DeskUnreachable) as away:
            call()
        assert away.value.__cause__ is None
        assert subject.token() not in str(away.value)


def test_without_a_subject_token_nothing_is_sent(desk: RunningDesk, tmp_path: Path) -> None:
    with pytest.raises(TokenFileMissing):
        source(desk, TokenFile(tmp_path / "none")).token()
    assert issued(desk) == 0


def test_neither_repr_nor_key_holds_a_token(desk: RunningDesk, subject: TokenFile) -> None:
    tokens = source(desk, subject)
    token = tokens.token()
    assert token not in repr(tokens) + tokens.key
    assert subject.token() not in repr(tokens) + tokens.key


def test_revoking_forgets_and_takes_back(desk: RunningDesk, subject: TokenFile) -> None:
    cache = Cache()
    tokens = source(desk, subject, cache=cache)
    token = tokens.token()
    assert tokens.revoke() is True
    assert desk.introspect(token).json() == {"active": False}
    assert not cache.kept
    assert tokens.revoke() is False
    assert tokens.token() != token


@pytest.mark.parametrize(
    "arguments",
    [("not a url",), ("ftp://desk",), ("https://user@desk",)],
)
def test_a_desk_that_is_no_origin_is_refused(arguments: tuple[str], subject: TokenFile) -> None:
    with pytest.raises(ValueError, match=r"URL|origin"):
        ExchangedToken(arguments[0], TARGET, scope="cache:read", subject=subject)


def test_no_scope_is_refused(subject: TokenFile) -> None:
    with pytest.raises(ValueError, match="scope"):
        ExchangedToken("https://desk", TARGET, scope="", subject=subject)


class Gate:
    """Refuses as many tokens as it is told, as a gate does that knows of a revocation before the caller."""

    def __init__(self, refused: int) -> None:
        self.refused, self.seen = refused, list[str]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request.headers["Authorization"].removeprefix("Bearer "))
        if len(self.seen) <= self.refused:
            problem = {"reason": "revoked", "decision_id": "1", "detail": "The desk took the token back."}
            headers = {"Content-Type": "application/problem+json", "Content-Length": "90"}
            return httpx.Response(401, content=json.dumps(problem), headers=headers)
        return httpx.Response(200)


def test_after_a_401_another_token_is_tried_once(desk: RunningDesk, subject: TokenFile) -> None:
    gate = Gate(1)
    with httpx.Client(
        auth=WatchwordAuth(source(desk, subject)), transport=httpx.MockTransport(gate)
    ) as client:
        assert client.get("https://service/x").status_code == 200
    assert len(set(gate.seen)) == 2

    always = Gate(10)
    with (
        httpx.Client(
            auth=WatchwordAuth(source(desk, subject)), transport=httpx.MockTransport(always)
        ) as client,
        pytest.raises(WatchwordRefused) as refused,
    ):
        client.get("https://service/x")
    assert refused.value.reason == "revoked"
    assert len(always.seen) == 2


def test_an_async_client_does_the_same_and_never_blocks(desk: RunningDesk, subject: TokenFile) -> None:
    gate = Gate(1)

    async def call() -> int:
        auth = WatchwordAuth(source(desk, subject))
        async with httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(gate)) as client:
            return (await client.get("https://service/x")).status_code

    assert asyncio.run(call()) == 200
    assert len(set(gate.seen)) == 2


def test_an_async_client_makes_one_exchange_for_a_token_that_ends_soon(
    desk: RunningDesk, subject: TokenFile
) -> None:
    # By this clock each new token has 20 seconds left: too few to be given for a second request.
    tokens = source(desk, subject, clock=lambda: time.time() + 580)

    async def call() -> int:
        transport = httpx.MockTransport(Gate(0))
        async with httpx.AsyncClient(auth=WatchwordAuth(tokens), transport=transport) as client:
            return (await client.get("https://service/x")).status_code

    assert asyncio.run(call()) == 200
    assert issued(desk) == 1


class Awaited:
    """A source that would block the event loop if it were asked by the blocking way."""

    def __init__(self, *, fails_after: int) -> None:
        self.asked, self._fails_after = 0, fails_after

    def token(self) -> str:
        raise AssertionError("this blocks the event loop")

    async def token_async(self) -> str:
        self.asked += 1
        if self.asked > self._fails_after:
            raise DeskUnreachable("https://desk", "It does not answer.")
        return f"token.{self.asked}.x"

    def reject(self, token: str) -> None:
        assert token == f"token.{self.asked}.x"


@pytest.mark.parametrize("fails_after", [1, 2])
def test_an_async_client_asks_by_the_way_that_awaits_alone(fails_after: int) -> None:
    tokens, gate = Awaited(fails_after=fails_after), Gate(10)

    async def call() -> None:
        transport = httpx.MockTransport(gate)
        async with httpx.AsyncClient(auth=WatchwordAuth(tokens), transport=transport) as client:
            await client.get("https://service/x")

    with pytest.raises(WatchwordRefused) as refused:
        asyncio.run(call())
    # The refusal is the news, not the desk that is away after it.
    assert refused.value.reason == "revoked"
    assert (tokens.asked, len(gate.seen)) == (2, fails_after)


def test_a_loop_goes_on_while_a_thread_exchanges(desk: RunningDesk, subject: TokenFile) -> None:
    tokens = source(desk, subject)
    token = tokens.token()
    with tokens._exchanging:
        # What a thread does for as long as an exchange takes keeps no one from what is at hand.
        tokens.reject("another")
        assert asyncio.run(tokens.token_async()) == token


def test_in_a_pod_with_the_label_nothing_else_is_named(
    desk: RunningDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "desk-token"
    path.write_text(subject_token())
    monkeypatch.setenv("WATCHWORD_DESK", f"{desk.url}/")
    monkeypatch.setenv("WATCHWORD_DESK_TOKEN_FILE", str(path))
    assert claims_of(ExchangedToken(None, TARGET, **CACHED).token())["aud"] == TARGET_AUDIENCE
    assert claims_of(ExchangedToken(desk.url, TARGET, **CACHED).token())["aud"] == TARGET_AUDIENCE


def test_a_token_that_was_injected_for_one_desk_is_sent_to_no_other_one(
    desk: RunningDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "desk-token"
    path.write_text(subject_token())
    monkeypatch.setenv("WATCHWORD_DESK_TOKEN_FILE", str(path))
    monkeypatch.setenv("WATCHWORD_TOKEN_FILE", str(tmp_path / "none"))
    for named in ("https://desk.example.com", f"{desk.url}0", "not a URL", ""):
        monkeypatch.setenv("WATCHWORD_DESK", named)
        # The file of services' tokens is looked for, and is not there: nothing is sent.
        with pytest.raises(TokenFileMissing) as missing:
            ExchangedToken(desk.url, TARGET, **CACHED).token()
        assert str(tmp_path / "none") in str(missing.value)
    assert issued(desk) == 0


@pytest.mark.parametrize("named", [None, "", "/", "desk.example.com", "https://desk.example.com/path"])
def test_no_desk_is_said_with_what_names_one(named: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if named is None:
        monkeypatch.delenv("WATCHWORD_DESK", raising=False)
    else:
        monkeypatch.setenv("WATCHWORD_DESK", named)
    with pytest.raises(ValueError, match="origin is" if named and named != "/" else "watchword.dev/exchange"):
        ExchangedToken(None, TARGET, **CACHED)


def test_a_desk_token_file_that_is_missing_says_which_label_mounts_it(
    desk: RunningDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHWORD_DESK", desk.url)
    monkeypatch.setenv("WATCHWORD_DESK_TOKEN_FILE", str(tmp_path / "none" / "token"))
    with pytest.raises(TokenFileMissing) as missing:
        ExchangedToken(None, TARGET, **CACHED).token()
    assert "watchword.dev/exchange" in str(missing.value)


@pytest.mark.parametrize("slow", [dripping, dripping_headers, hanging])
def test_a_desk_that_trickles_is_left_like_one_that_is_silent(
    subject: TokenFile, monkeypatch: pytest.MonkeyPatch, slow: Callable[[Any], None]
) -> None:
    monkeypatch.setattr(exchanged_token, "TIMEOUT_SECONDS", 1.0)
    late = r"does not answer \((DeadlineError|TimeoutError|ReadTimeout)\)"
    with hostile_desk() as desk:
        desk.answers["POST", "/oauth2/token"] = desk.answers["POST", "/oauth2/revoke"] = slow
        asked = ExchangedToken(desk.url, TARGET, subject=subject, **CACHED)
        with pytest.raises(DeskUnreachable, match=late):
            asked.token()
        with pytest.raises(DeskUnreachable, match=late):
            asyncio.run(asked.token_async())
        with pytest.raises(DeskUnreachable, match=late):
            exchanged_token.revoke_token(desk.url, "a.b.c")


def test_a_desk_that_sends_without_end_is_left(subject: TokenFile) -> None:
    with hostile_desk() as desk:
        desk.answers["POST", "/oauth2/token"] = desk.endless
        asked = ExchangedToken(desk.url, TARGET, subject=subject, **CACHED)
        with pytest.raises(DeskUnreachable):
            asked.token()
        with pytest.raises(DeskUnreachable):
            asyncio.run(asked.token_async())
        assert desk.sent < 64 * 2**20
