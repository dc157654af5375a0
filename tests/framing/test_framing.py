# SPDX-License-Identifier: Apache-2.0
"""A few hundred streams of a fixed seed, and checks of the judge: one that never objects proves nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testing.framing.judge import judge
from testing.framing.run import Lab, fuzz, lab
from testing.framing.streams import Stream, make
from testing.framing.strict import Request, answers, requests

HEAD = b"POST /app/acme/echo HTTP/1.1\r\nHost: gate\r\nAuthorization: one\r\n"
HIDDEN = b"GET /app/acme/leak HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = b"Upgrade: h2c\r\nConnection: Upgrade\r\n"
STREAM = Stream((HEAD + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,), True)
ANSWER = b"HTTP/1.1 200 OK\r\nX-App-Serial: %d\r\nContent-Length: 0\r\n\r\n"
SUBJECTS = {b"one": b"first", b"two": b"second"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A gate with `--upstream`, and a recording app behind it."""
    with lab(tmp_path_factory.mktemp("framing")) as running:
        yield running


def reached(body: bytes = HIDDEN, subject: bytes = b"first", **changes: bytes) -> Request:
    headers = [(b"host", b"gate"), (b"x-watchword-subject", subject)]
    headers += [(name.encode(), value) for name, value in changes.items()]
    return Request(b"POST", b"/app/acme/echo", headers, bytearray(body), True)


def test_gate_app_and_h11_agree_on_four_hundred_streams(place: Lab) -> None:
    tally = fuzz(place, 1, iter(range(400)), say=lambda *_: None)

    assert tally.faults == []
    # It let a good part through: a gate that refuses everything agrees with any judge.
    assert tally.passed > 300
    assert tally.refused > 100


def test_a_seed_makes_the_same_stream_again() -> None:
    assert make("7:9", [b"Authorization: a"]) == make("7:9", [b"Authorization: a"])
    assert make("7:9", [b"Authorization: a"]) != make("7:8", [b"Authorization: a"])


def test_h11_takes_the_body_behind_an_upgrade_for_a_body() -> None:
    [found] = requests(STREAM.whole)

    assert (bytes(found.body), found.is_whole) == (HIDDEN, True)


def test_the_judge_agrees_with_what_is_right() -> None:
    assert judge(STREAM, {4: reached()}, ANSWER % 4, SUBJECTS).faults == []


@pytest.mark.parametrize(
    ("app", "came_back"),
    [
        ({4: reached(b"")}, ANSWER % 4),
        (
            {4: reached(b""), 5: Request(b"GET", b"/app/acme/leak", [(b"host", b"a")], is_whole=True)},
            ANSWER % 4,
        ),
        ({4: reached(), 5: reached()}, ANSWER % 4 + ANSWER % 5),
        ({4: reached(subject=b"second")}, ANSWER % 4),
        ({4: reached(authorization=b"one")}, ANSWER % 4),
        ({4: reached(upgrade=b"h2c")}, ANSWER % 4),
        ({4: reached(cookie=b"another caller's")}, ANSWER % 4),
        ({4: reached()}, ANSWER % 3),
        ({4: reached()}, b""),
        ({}, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
    ],
    ids=[
        "a body that was lost",
        "a body that became a request",
        "a request twice",
        "another identity",
        "the token",
        "an upgrade that was passed on",
        "a header that nobody sent",
        "another's answer",
        "no answer",
        "a refusal",
    ],
)
def test_the_judge_objects_to(app: dict[int, Request], came_back: bytes) -> None:
    assert judge(STREAM, app, came_back, SUBJECTS).faults != []


def test_answers_are_told_apart() -> None:
    found, rest = answers(b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER % 1 + ANSWER % 2, [b"POST", b"GET"])

    assert ([each.value(b"x-app-serial") for each in found], rest) == ([b"1", b"2"], b"")
