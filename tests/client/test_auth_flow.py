# SPDX-License-Identifier: Apache-2.0
"""The flow, driven by hand: each request that it makes, and each that it does not."""

from collections.abc import Generator, Iterator

import httpx
import pytest

from tests.client.answers import refusal
from tests.client.server import Answer
from tests.client.volume import ProjectedVolume
from watchword.client import (
    OriginNotAllowed,
    TokenFile,
    TokenFileMissing,
    TokenUnavailable,
    WatchwordAuth,
    WatchwordRefused,
)

URL = "http://tuist-server.tuist.svc:8443/api"


def respond(request: httpx.Request, answer: Answer) -> httpx.Response:
    return httpx.Response(answer.status, headers=answer.headers, content=answer.body, request=request)


def finish(flow: Generator[httpx.Request, httpx.Response, None], response: httpx.Response) -> None:
    with pytest.raises(StopIteration):
        flow.send(response)


def test_the_token_on_disk_is_sent_as_a_bearer_token(volume: ProjectedVolume) -> None:
    flow = WatchwordAuth(TokenFile(volume.file)).auth_flow(httpx.Request("GET", URL))
    request = next(flow)
    assert request.headers.get_list("Authorization") == ["Bearer first.token.x"]
    finish(flow, respond(request, Answer()))


def test_an_authorization_header_of_the_caller_is_replaced(volume: ProjectedVolume) -> None:
    request = httpx.Request(
        "GET", URL, headers=[("Authorization", "Basic eDp5"), ("authorization", "Bearer z")]
    )
    sent = next(WatchwordAuth(TokenFile(volume.file)).auth_flow(request))
    assert sent.headers.get_list("Authorization") == ["Bearer first.token.x"]


def test_each_request_reads_the_file_anew(volume: ProjectedVolume) -> None:
    auth = WatchwordAuth(TokenFile(volume.file))
    next(auth.auth_flow(httpx.Request("GET", URL)))
    volume.rotate("other.token.x")
    assert next(auth.auth_flow(httpx.Request("GET", URL))).headers["Authorization"] == "Bearer other.token.x"


def test_a_401_is_tried_again_with_a_token_that_changed_on_disk(volume: ProjectedVolume) -> None:
    flow = WatchwordAuth(TokenFile(volume.file)).auth_flow(httpx.Request("POST", URL, content=b"{}"))
    first = next(flow)
    volume.rotate("other.token.x")
    second = flow.send(respond(first, refusal()))
    assert (second.method, str(second.url), second.content) == ("POST", URL, b"{}")
    assert second.headers.get_list("Authorization") == ["Bearer other.token.x"]
    finish(flow, respond(second, Answer()))


def test_a_401_that_is_not_the_gates_is_tried_again_too(volume: ProjectedVolume) -> None:
    flow = WatchwordAuth(TokenFile(volume.file)).auth_flow(httpx.Request("GET", URL))
    first = next(flow)
    volume.rotate("other.token.x")
    assert flow.send(respond(first, Answer(401))).headers["Authorization"] == "Bearer other.token.x"


def test_a_second_401_is_final_even_if_the_token_changed_again(volume: ProjectedVolume) -> None:
    flow = WatchwordAuth(TokenFile(volume.file)).auth_flow(httpx.Request("GET", URL))
    first = next(flow)
    volume.rotate("other.token.x")
    second = flow.send(respond(first, refusal()))
    volume.rotate("third.token.x")
    with pytest.raises(WatchwordRefused):
        flow.send(respond(second, refusal()))


def test_a_401_for_the_same_token_is_final(volume: ProjectedVolume) -> None:
    flow = WatchwordAuth(TokenFile(volume.file)).auth_flow(httpx.Request("GET", URL))
    first = next(flow)
    volume.rotate("first.token.x")
    with pytest.raises(WatchwordRefused):
        flow.send(respond(first, refusal()))


@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
def test_no_other_refusal_is_tried_again(volume: ProjectedVolume, status: int) -> None:
    flow = WatchwordAuth(TokenFile(volume.file)).auth_flow(httpx.Request("GET", URL))
    first = next(flow)
    volume.rotate("other.token.x")
    with pytest.raises(WatchwordRefused) as caught:
        flow.send(respond(first, refusal(status)))
    assert caught.value.status == status


def parts() -> Iterator[bytes]:
    yield b"event"


def test_a_streamed_body_is_not_sent_twice_and_the_refusal_says_so(volume: ProjectedVolume) -> None:
    flow = WatchwordAuth(TokenFile(volume.file)).auth_flow(httpx.Request("POST", URL, content=parts()))
    first = next(flow)
    volume.rotate("other.token.x")
    with pytest.raises(WatchwordRefused) as caught:
        flow.send(respond(first, refusal()))
    assert "make the call again" in (caught.value.remedy or "")


def test_a_streamed_body_that_was_read_is_sent_again(volume: ProjectedVolume) -> None:
    request = httpx.Request("POST", URL, content=parts())
    request.read()
    flow = WatchwordAuth(TokenFile(volume.file)).auth_flow(request)
    first = next(flow)
    volume.rotate("other.token.x")
    assert flow.send(respond(first, refusal())).content == b"event"


def test_without_a_token_nothing_is_sent(volume: ProjectedVolume) -> None:
    volume.file.unlink()
    with pytest.raises(TokenFileMissing):
        next(WatchwordAuth(TokenFile(volume.file)).auth_flow(httpx.Request("GET", URL)))


def test_a_file_that_vanished_after_the_send_does_not_hide_the_refusal(volume: ProjectedVolume) -> None:
    flow = WatchwordAuth(TokenFile(volume.file)).auth_flow(httpx.Request("GET", URL))
    first = next(flow)
    volume.file.unlink()
    with pytest.raises(WatchwordRefused) as caught:
        flow.send(respond(first, refusal()))
    assert caught.value.reason == "expired"


def test_a_refusal_is_a_response_where_raising_is_off(volume: ProjectedVolume) -> None:
    flow = WatchwordAuth(TokenFile(volume.file), raise_refusals=False).auth_flow(httpx.Request("GET", URL))
    finish(flow, respond(next(flow), refusal()))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(401),
        Answer(401, {"www-authenticate": 'Basic realm="app"'}),
        Answer(403, {"content-type": "application/json"}, b'{"reason": "expired", "decision_id": "d-42"}'),
        Answer(403, {"content-type": "application/problem+json"}, b'{"reason": "quota"}'),
        Answer(404, {"content-type": "text/html"}, b"<h1>no</h1>"),
    ],
)
def test_the_apps_own_refusal_passes_through_untouched(volume: ProjectedVolume, answer: Answer) -> None:
    flow = WatchwordAuth(TokenFile(volume.file)).auth_flow(httpx.Request("GET", URL))
    request = next(flow)
    finish(flow, respond(request, answer))
    assert request.headers["Authorization"] == "Bearer first.token.x"


OTHERS = [
    "https://tuist-server.tuist.svc:8443/api",
    "http://tuist-server.tuist.svc:8444/api",
    "http://tuist-server.tuist.svc/api",
    "http://tuist-server.tuist.svc:0/api",
    "http://tuist-server.other.svc:8443/api",
    "http://tuist-server.tuist.svc.evil.example:8443/api",
    "http://tuist-server.tuist.svc.:8443/api",
    "http://tuist-server.tuist.svc:8443@evil.example/api",
]


@pytest.mark.parametrize("url", OTHERS)
def test_the_first_request_binds_the_token_to_its_origin(volume: ProjectedVolume, url: str) -> None:
    auth = WatchwordAuth(TokenFile(volume.file))
    next(auth.auth_flow(httpx.Request("GET", URL)))
    other = httpx.Request("GET", url)
    with pytest.raises(OriginNotAllowed, match=r"tuist-server\.tuist\.svc:8443 and was not sent to"):
        next(auth.auth_flow(other))
    assert "Authorization" not in other.headers


@pytest.mark.parametrize("url", OTHERS)
def test_named_origins_bind_the_token_from_the_start(volume: ProjectedVolume, url: str) -> None:
    auth = WatchwordAuth(TokenFile(volume.file), origins="http://tuist-server.tuist.svc:8443")
    with pytest.raises(OriginNotAllowed):
        next(auth.auth_flow(httpx.Request("GET", url)))


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("https://a.svc", "https://a.svc:443/x?y=z"),
        ("https://a.svc:443/", "https://A.SVC/x"),
        ("http://[::1]:8443", "http://[::1]:8443/x"),
        ("http://a.svc", "http://user:password@a.svc:80/x"),
    ],
)
def test_one_origin_in_another_spelling_is_still_the_same(
    volume: ProjectedVolume, origin: str, url: str
) -> None:
    auth = WatchwordAuth(TokenFile(volume.file), origins=["https://other.svc", origin])
    assert next(auth.auth_flow(httpx.Request("GET", url))).headers["Authorization"] == "Bearer first.token.x"


@pytest.mark.parametrize(
    "origins",
    [
        [],
        "",
        "tuist-server.tuist.svc",
        "https://",
        "https://a.svc/path",
        "https://a.svc?x",
        "https://a.svc#x",
        "https://user@a.svc",
        "https://*.svc",
        "ftp://a.svc",
        "https://a.svc:x",
        "https://a.svc:99999",
        "https://a.svc:0",
        ["https://a.svc", ""],
    ],
)
def test_what_is_no_origin_is_refused(volume: ProjectedVolume, origins: str | list[str]) -> None:
    with pytest.raises(ValueError, match="origin"):
        WatchwordAuth(TokenFile(volume.file), origins=origins)


@pytest.mark.parametrize("token", ["eyJhbGciOiJSUzI1NiJ9.e30.c2ln", b"x", 3])
def test_a_token_in_place_of_a_source_is_refused_and_not_repeated(token: object) -> None:
    with pytest.raises(TypeError, match=type(token).__name__) as caught:
        WatchwordAuth(token)  # type: ignore[arg-type]  # the mistake under test
    assert "eyJ" not in str(caught.value)


def test_a_source_of_ones_own_will_do() -> None:
    class Source:
        def token(self) -> str:
            raise TokenUnavailable(TokenFile("x").path, "The desk is closed.", "Come back later.")

    with pytest.raises(TokenUnavailable, match="The desk is closed"):
        next(WatchwordAuth(Source()).auth_flow(httpx.Request("GET", URL)))
