# SPDX-License-Identifier: Apache-2.0
"""What reaches a caller of a refusal: through proxies that drop parts of it; and what only looks like one."""

import json
import pickle

import httpx
import pytest

from tests.client.answers import CHALLENGE, PROBLEM, refusal
from tests.client.server import Answer
from tests.client.volume import ProjectedVolume
from watchword.client import TokenFile, WatchwordAuth, WatchwordError, WatchwordRefused

JSON = {"content-type": "application/problem+json"}
HTML = {"content-type": "text/html"}


def receive(volume: ProjectedVolume, answer: Answer) -> WatchwordRefused | None:
    flow = WatchwordAuth(TokenFile(volume.file)).auth_flow(httpx.Request("GET", "http://a.svc/x"))
    request = next(flow)
    response = httpx.Response(answer.status, headers=answer.headers, content=answer.body, request=request)
    try:
        flow.send(response)
    except StopIteration:
        return None
    except WatchwordRefused as refused:
        return refused
    raise AssertionError("the flow asked for another request")


def body(**members: object) -> bytes:
    return json.dumps(PROBLEM | members).encode()


def without(member: str) -> bytes:
    return json.dumps({name: value for name, value in PROBLEM.items() if name != member}).encode()


LOST = "The explanation was lost on the way: only the reason arrived."
SAID = "The token expired 12 seconds ago."
TITLE = "The token has expired."
REMEDY = "Re-read the token file before each request."
WHOLE = ("expired", SAID, REMEDY, "d-42")
REASON = {"x-watchword-reason": "expired"}
SPELLED = 'bearer REALM=watchword , Reason=expired,error_description="\\"x\\", y"'

Expected = tuple[str, str, str | None, str | None]
READ: list[tuple[str, Answer, Expected]] = [
    ("whole", refusal(), WHOLE),
    ("body only", Answer(401, JSON, body()), WHOLE),
    ("typed loosely", Answer(401, {"content-type": "Application/Problem+JSON; x=y"}, body()), WHOLE),
    ("no remedy", Answer(401, JSON, without("remedy")), ("expired", SAID, None, "d-42")),
    ("no detail", Answer(401, JSON, without("detail")), ("expired", TITLE, REMEDY, "d-42")),
    ("wrong types", Answer(401, JSON, body(detail=3, remedy=[])), ("expired", TITLE, None, "d-42")),
    ("body dropped", Answer(401, REASON, b""), ("expired", LOST, None, None)),
    ("body replaced", Answer(401, HTML | REASON, b"<p>"), ("expired", LOST, None, None)),
    ("body cut short", Answer(401, JSON | REASON, body()[:-9]), ("expired", LOST, None, None)),
    (
        "decision kept",
        Answer(401, REASON | {"x-watchword-decision-id": "d-7"}),
        ("expired", LOST, None, "d-7"),
    ),
    (
        "both headers",
        Answer(401, REASON | {"www-authenticate": CHALLENGE}),
        ("expired", "It expired.", None, None),
    ),
    ("challenge only", Answer(401, {"www-authenticate": CHALLENGE}), ("expired", "It expired.", None, None)),
    ("challenge respelled", Answer(401, {"www-authenticate": SPELLED}), ("expired", '"x", y', None, None)),
    ("through nginx", Answer(500, HTML | REASON, b"<p>"), ("expired", LOST, None, None)),
]


@pytest.mark.parametrize(("answer", "expected"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_what_is_left_of_a_refusal_is_read(
    volume: ProjectedVolume, answer: Answer, expected: Expected
) -> None:
    refused = receive(volume, answer)
    assert refused is not None
    assert (refused.reason, refused.detail, refused.remedy, refused.decision_id) == expected


NOT_OURS: list[tuple[str, Answer]] = [
    ("a success", Answer(200, JSON | {"x-watchword-reason": "expired"}, body())),
    ("a redirect", Answer(302, JSON | {"x-watchword-reason": "expired"}, body())),
    ("not found", Answer(404, JSON | {"x-watchword-reason": "account_not_found"}, body())),
    ("no decision", Answer(401, JSON, without("decision_id"))),
    ("no reason", Answer(401, JSON, without("reason"))),
    ("a reason in prose", Answer(401, JSON, body(reason="Token expired"))),
    ("a reason of a wrong type", Answer(401, JSON, body(reason=["expired"]))),
    ("an endless reason", Answer(401, JSON, body(reason="a" * 65))),
    ("a header in prose", Answer(401, {"x-watchword-reason": "Expired!"}, b"")),
    ("an empty header", Answer(401, {"x-watchword-reason": ""}, b"")),
    ("another realm", Answer(401, {"www-authenticate": 'Bearer realm="app", reason="expired"'}, b"")),
    ("another scheme", Answer(401, {"www-authenticate": 'Basic realm="watchword", reason="expired"'}, b"")),
    ("a challenge without a reason", Answer(401, {"www-authenticate": 'Bearer realm="watchword"'}, b"")),
    ("a list", Answer(401, JSON, b"[1]")),
    ("a text", Answer(401, JSON, b'"expired"')),
    ("not JSON", Answer(401, JSON, b"\xff\xfe{")),
    ("nested too deep", Answer(401, JSON, b"[" * 60_000)),
    ("another media type", Answer(401, {"content-type": "application/json"}, body())),
    ("too large", Answer(401, JSON, body(detail="a" * 70_000))),
]


@pytest.mark.parametrize("answer", [row[1] for row in NOT_OURS], ids=[row[0] for row in NOT_OURS])
def test_what_no_gate_said_is_no_refusal(volume: ProjectedVolume, answer: Answer) -> None:
    assert receive(volume, answer) is None


def refused_with(volume: ProjectedVolume, **members: object) -> WatchwordRefused:
    refused = receive(volume, refusal(**members))  # type: ignore[arg-type]  # status is not among them
    assert refused is not None
    return refused


def test_the_message_says_all_once(volume: ProjectedVolume) -> None:
    assert str(refused_with(volume)) == (
        "Refused by Watchword (401 expired): The token expired 12 seconds ago. "
        "Re-read the token file before each request. [decision d-42]"
    )
    assert str(refused_with(volume, detail="Late. Be early.", remedy="Be early.")).count("Be early.") == 1


def test_it_is_caught_as_a_status_error_of_httpx(volume: ProjectedVolume) -> None:
    refused = refused_with(volume)
    assert isinstance(refused, httpx.HTTPStatusError)
    assert isinstance(refused, WatchwordError)
    assert refused.response.json()["reason"] == "expired"
    assert refused.request.url == "http://a.svc/x"


def test_an_echoed_token_is_blacked_out(volume: ProjectedVolume) -> None:
    refused = refused_with(
        volume, detail="Bad: first.token.x", remedy="Not first.token.x", decision_id="first.token.x"
    )
    assert "first.token" not in str(refused)
    assert refused.detail == "Bad: [token]"


def test_a_text_of_the_network_stays_on_one_line_of_bounded_length(volume: ProjectedVolume) -> None:
    refused = refused_with(volume, detail="a\nfake log line\x1b[31m\u202e" + "b" * 5000)
    assert refused.detail.startswith("a fake log line [31m b")
    assert len(refused.detail) == 1001


def test_the_token_does_not_travel_with_the_exception(volume: ProjectedVolume) -> None:
    refused = refused_with(volume)
    assert b"first.token" not in pickle.dumps(refused)
    assert "Authorization" not in refused.request.headers


def test_it_survives_a_trip_through_a_queue(volume: ProjectedVolume) -> None:
    refused = refused_with(volume)
    again = pickle.loads(pickle.dumps(refused))  # noqa: S301 - our own bytes
    assert (type(again), str(again), again.remedy) == (WatchwordRefused, str(refused), refused.remedy)
    assert (again.status, again.decision_id) == (401, "d-42")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("9" * 5000, None),
    ],
)
def test_retry_after_is_read_in_seconds(volume: ProjectedVolume, value: str, seconds: int | None) -> None:
    answer = Answer(429, {"x-watchword-reason": "rate_limited", "retry-after": value}, b"")
    refused = receive(volume, answer)
    assert refused is not None
    assert refused.retry_after_seconds == seconds
