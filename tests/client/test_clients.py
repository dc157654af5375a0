# SPDX-License-Identifier: Apache-2.0
"""Real clients, sync and async, against real servers on loopback: rotation, redirects, streams."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.client.answers import only, refusal
from tests.client.conftest import Starter
from tests.client.server import Answer, Answers, Received
from tests.client.volume import ProjectedVolume
from watchword.client import OriginNotAllowed, TokenFile, WatchwordAuth, WatchwordRefused

Send = Callable[..., httpx.Response]


def send_sync(auth: httpx.Auth, method: str, url: str, **arguments: Any) -> httpx.Response:
    with httpx.Client(auth=auth, trust_env=False) as client:
        return client.request(method, url, **arguments)


def send_async(auth: httpx.Auth, method: str, url: str, **arguments: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
            return await client.request(method, url, **arguments)

    return asyncio.run(send())


@pytest.fixture(params=[send_sync, send_async], ids=["sync", "async"])
def send(request: pytest.FixtureRequest) -> Send:
    chosen: Send = request.param
    return chosen


@pytest.fixture
def auth(volume: ProjectedVolume) -> WatchwordAuth:
    return WatchwordAuth(TokenFile(volume.file))


def rotating(volume: ProjectedVolume, token: str, then: Answers) -> Answers:
    """The kubelet renews the token while the first request is under way."""
    rotated = False

    def answer(request: Received) -> Answer:
        nonlocal rotated
        if not rotated:
            rotated = True
            volume.rotate(token)
        return then(request)

    return answer


def test_a_trusted_token_gets_through(send: Send, auth: WatchwordAuth, start: Starter) -> None:
    assert send(auth, "GET", start(only("first.token.x")).url).text == "ok"


def test_a_token_renewed_under_way_is_used_for_one_more_try(
    send: Send, auth: WatchwordAuth, start: Starter, volume: ProjectedVolume
) -> None:
    gate = start(rotating(volume, "other.token.x", only("other.token.x")))
    response = send(auth, "POST", f"{gate.url}/events", json={"id": "1"})
    assert response.text == "ok"
    assert gate.authorizations == ["Bearer first.token.x", "Bearer other.token.x"]
    assert [request.body for request in gate.received] == [b'{"id":"1"}'] * 2


def test_a_refusal_is_raised_after_one_request(send: Send, auth: WatchwordAuth, start: Starter) -> None:
    gate = start(only("another"))
    with pytest.raises(WatchwordRefused) as caught:
        send(auth, "GET", gate.url)
    assert (caught.value.reason, caught.value.decision_id) == ("expired", "d-42")
    assert len(gate.received) == 1


def test_a_refusal_after_the_retry_carries_no_token(
    send: Send, auth: WatchwordAuth, start: Starter, volume: ProjectedVolume
) -> None:
    gate = start(rotating(volume, "other.token.x", only("another")))
    with pytest.raises(WatchwordRefused) as caught:
        send(auth, "GET", gate.url)
    chain = [*caught.value.response.history, caught.value.response]
    assert len(chain) == len(gate.received) == 2
    assert not any("Authorization" in response.request.headers for response in chain)


def test_a_refusal_comes_back_as_a_response_where_raising_is_off(
    send: Send, volume: ProjectedVolume, start: Starter
) -> None:
    auth = WatchwordAuth(TokenFile(volume.file), raise_refusals=False)
    assert send(auth, "GET", start(only("another")).url).json()["reason"] == "expired"


def redirecting(status: int, location: Callable[[], str], then: Answers) -> Answers:
    def answer(request: Received) -> Answer:
        return Answer(status, {"location": location()}) if request.path == "/old" else then(request)

    return answer


REDIRECTS = [301, 302, 303, 307, 308]


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_to_another_origin_is_followed_without_the_token(
    send: Send, auth: WatchwordAuth, start: Starter, status: int
) -> None:
    other = start(lambda request: Answer())
    gate = start(redirecting(status, lambda: f"{other.url}/new", only("first.token.x")))
    send(auth, "GET", f"{gate.url}/old", follow_redirects=True)
    assert gate.authorizations == ["Bearer first.token.x"]
    assert other.authorizations == [None]


def test_the_other_origin_cannot_ask_for_the_token_with_a_401(
    send: Send, auth: WatchwordAuth, start: Starter, volume: ProjectedVolume
) -> None:
    other = start(rotating(volume, "other.token.x", lambda request: Answer(401)))
    gate = start(redirecting(307, lambda: f"{other.url}/new", only("first.token.x")))
    assert send(auth, "GET", f"{gate.url}/old", follow_redirects=True).status_code == 401
    assert (len(gate.received), other.authorizations) == (1, [None])


def test_the_other_origin_cannot_send_the_token_back_to_a_path_of_its_choice(
    send: Send, auth: WatchwordAuth, start: Starter, volume: ProjectedVolume
) -> None:
    urls: list[str] = []
    other = start(rotating(volume, "o.t.x", lambda request: Answer(307, {"location": f"{urls[0]}/delete"})))
    gate = start(redirecting(307, lambda: f"{other.url}/new", only("o.t.x")))
    urls.append(gate.url)
    with pytest.raises(WatchwordRefused, match="redirected away from") as caught:
        send(auth, "POST", f"{gate.url}/old", follow_redirects=True)
    assert caught.value.reason == "missing_credential"
    assert gate.authorizations == ["Bearer first.token.x", None]


def test_a_redirect_followed_by_hand_to_another_origin_is_refused(
    volume: ProjectedVolume, start: Starter
) -> None:
    other = start(lambda request: Answer())
    gate = start(redirecting(307, lambda: f"{other.url}/new", only("first.token.x")))
    with httpx.Client(auth=WatchwordAuth(TokenFile(volume.file)), trust_env=False) as client:
        response = client.get(f"{gate.url}/old")
        assert response.next_request is not None
        with pytest.raises(OriginNotAllowed):
            client.send(response.next_request)
    assert other.received == []


def test_a_redirect_within_the_origin_keeps_the_token(
    send: Send, auth: WatchwordAuth, start: Starter
) -> None:
    gate = start(redirecting(307, lambda: "/new", only("first.token.x")))
    assert send(auth, "GET", f"{gate.url}/old", follow_redirects=True).text == "ok"
    assert gate.authorizations == ["Bearer first.token.x"] * 2


def test_a_refusal_after_a_redirect_carries_no_token(send: Send, auth: WatchwordAuth, start: Starter) -> None:
    gate = start(redirecting(307, lambda: "/new", only("another")))
    with pytest.raises(WatchwordRefused) as caught:
        send(auth, "GET", f"{gate.url}/old", follow_redirects=True)
    chain = [*caught.value.response.history, caught.value.response]
    assert ["Authorization" in response.request.headers for response in chain] == [False, False]


def test_only_the_refused_request_is_sent_again_after_a_redirect(
    send: Send, auth: WatchwordAuth, start: Starter, volume: ProjectedVolume
) -> None:
    gate = start(redirecting(303, lambda: "/result", rotating(volume, "o.t.x", only("o.t.x"))))
    assert send(auth, "POST", f"{gate.url}/old", json={}, follow_redirects=True).text == "ok"
    assert [(request.method, request.path) for request in gate.received] == [
        ("POST", "/old"),
        ("GET", "/result"),
        ("GET", "/result"),
    ]


def test_the_only_redirect_that_keeps_the_token_is_to_https_on_the_same_host(volume: ProjectedVolume) -> None:
    """Holds what httpx does, on its own transport: ports 80 and 443 are not a test's to bind."""
    seen: dict[str, str | None] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        seen[str(request.url)] = request.headers.get("Authorization")
        if request.url.scheme == "http":
            return httpx.Response(308, headers={"Location": request.url.params["to"]})
        return httpx.Response(200)

    upgrades = ["https://a.svc/", "https://a.svc:8443/", "https://b.svc/"]
    for url in upgrades:
        auth = WatchwordAuth(TokenFile(volume.file))
        with httpx.Client(auth=auth, transport=httpx.MockTransport(answer), follow_redirects=True) as client:
            client.get("http://a.svc/", params={"to": url})
    assert [seen[url] for url in upgrades] == ["Bearer first.token.x", None, None]


def test_a_renewed_token_does_not_follow_even_to_https(volume: ProjectedVolume) -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Authorization"))
        if request.url.scheme == "http":
            return httpx.Response(308, headers={"Location": "https://a.svc/"})
        volume.rotate("other.token.x")
        return httpx.Response(401)

    auth = WatchwordAuth(TokenFile(volume.file))
    with httpx.Client(auth=auth, transport=httpx.MockTransport(answer), follow_redirects=True) as client:
        assert client.get("http://a.svc/").status_code == 401
    assert seen == ["Bearer first.token.x"] * 2


def test_a_generator_body_is_sent_once(auth: WatchwordAuth, start: Starter, volume: ProjectedVolume) -> None:
    def parts() -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    gate = start(rotating(volume, "other.token.x", only("other.token.x")))
    with pytest.raises(WatchwordRefused, match="make the call again"):
        send_sync(auth, "POST", gate.url, content=parts())
    assert [request.body for request in gate.received] == [b"onetwo"]
    assert send_sync(auth, "POST", gate.url, content=parts()).text == "ok"


def test_an_async_generator_body_is_sent_once(
    auth: WatchwordAuth, start: Starter, volume: ProjectedVolume
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"

    gate = start(rotating(volume, "other.token.x", only("other.token.x")))
    with pytest.raises(WatchwordRefused, match="make the call again"):
        send_async(auth, "POST", gate.url, content=parts())
    assert [request.body for request in gate.received] == [b"one"]


@pytest.mark.parametrize(
    "answer", [Answer(), Answer(401), Answer(403, {"content-type": "text/html"})], ids=["200", "401", "403"]
)
def test_an_answer_that_is_no_refusal_stays_a_stream(
    auth: WatchwordAuth, start: Starter, answer: Answer
) -> None:
    gate = start(lambda request: answer)
    with (
        httpx.Client(auth=auth, trust_env=False) as client,
        client.stream("GET", gate.url) as response,
    ):
        assert not response.is_stream_consumed
        assert b"".join(response.iter_raw()) == b"ok"


def test_an_async_answer_that_is_no_refusal_stays_a_stream(auth: WatchwordAuth, start: Starter) -> None:
    async def read() -> tuple[bool, bytes]:
        async with (
            httpx.AsyncClient(auth=auth, trust_env=False) as client,
            client.stream("GET", start(lambda request: Answer()).url) as response,
        ):
            return response.is_stream_consumed, b"".join([part async for part in response.aiter_raw()])

    assert asyncio.run(read()) == (False, b"ok")


def test_a_refusal_of_a_stream_is_read_and_raised(auth: WatchwordAuth, start: Starter) -> None:
    gate = start(lambda request: refusal(403, reason="suspended"))
    with (
        httpx.Client(auth=auth, trust_env=False) as client,
        pytest.raises(WatchwordRefused) as caught,
        client.stream("GET", gate.url),
    ):
        pass
    assert (caught.value.reason, caught.value.decision_id) == ("suspended", "d-42")


def test_a_client_outlives_one_rotation_after_another(
    auth: WatchwordAuth, start: Starter, volume: ProjectedVolume
) -> None:
    current = ["first.token.x"]
    count = 0

    def answer(request: Received) -> Answer:
        nonlocal count
        count += 1
        if count % 10 == 0:
            current[0] = f"token.{count}.x"
            volume.rotate(current[0])
            # The token in hand is over too, so this very request is refused.
        return only(current[0])(request)

    gate = start(answer)

    async def call() -> list[int]:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(auth=auth, trust_env=False, limits=limits) as client:
            responses = [await client.get(gate.url) for _ in range(50)]
        return [response.status_code for response in responses]

    assert asyncio.run(call()) == [200] * 50
