# SPDX-License-Identifier: Apache-2.0
"""Answers of HTTP/2 apps are held to what those of HTTP/1.1 apps are, each on its own stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h2.events
import pytest

from testing.gate_process import Gate
from tests.gate.http2.caller import Caller, Fields
from tests.gate.http2.http2_app import Http2App, Link
from tests.gate.http2.test_app_connections import place, request
from tests.gate.http2.test_broken_answers import DATA, END_STREAM, block, frame
from watchword.gate.proxy.upstream_connection import MAX_HEADERS, MAX_TRAILER_BYTES, MAX_TRAILERS

OK = (b":status", b"200")
Sends = Callable[[int], bytes]


def with_fields(*fields: tuple[bytes, bytes], body: bytes = b"body", status: bytes = b"200") -> Sends:
    """An answer with a body, that ends with it."""
    head = [(b":status", status), *fields]
    return lambda stream: (
        block(stream, head, is_end=not body) + (frame(DATA, END_STREAM, stream, body) if body else b"")
    )


def with_trailers(*trailers: tuple[bytes, bytes]) -> Sends:
    return lambda stream: (
        block(stream, [OK]) + frame(DATA, 0, stream, b"body") + block(stream, list(trailers), is_end=True)
    )


def many(number: int) -> Fields:
    return [(b"x-%d" % each, b"1") for each in range(number)]


LENGTH = b"content-length"
PASS: dict[str, tuple[bytes, Sends, bytes]] = {
    "as many fields as may be": (b"GET", with_fields(*many(MAX_HEADERS)), b"body"),
    "as many trailers as may be": (b"GET", with_trailers(*many(MAX_TRAILERS)), b"body"),
    "its length": (b"GET", with_fields((LENGTH, b"4")), b"body"),
    "a HEAD's length": (b"HEAD", with_fields((LENGTH, b"4"), body=b""), b""),
    "a 304's length": (b"GET", with_fields((LENGTH, b"4"), body=b"", status=b"304"), b""),
    "a 204": (b"GET", with_fields(body=b"", status=b"204"), b""),
    "a 204 that ends behind its head": (
        b"GET",
        lambda stream: block(stream, [(b":status", b"204")]) + frame(DATA, END_STREAM, stream, b""),
        b"",
    ),
}
# With what the caller sees, where its head was sent by then: 502, or a stream that is reset.
REFUSED: dict[str, tuple[bytes, Sends, str]] = {
    "too many fields": (b"GET", with_fields(*many(MAX_HEADERS + 1)), "502"),
    "two lengths that are equal": (b"GET", with_fields((LENGTH, b"4"), (LENGTH, b"4")), "502"),
    "two lengths": (b"GET", with_fields((LENGTH, b"4"), (LENGTH, b"3")), "502"),
    "a length that is none": (b"GET", with_fields((LENGTH, b"+4")), "502"),
    "a length without a body": (b"GET", with_fields((LENGTH, b"4"), body=b""), "502"),
    "a body that is too long": (b"GET", with_fields((LENGTH, b"3")), "reset"),
    "a body that is too short": (b"GET", with_fields((LENGTH, b"5")), "reset"),
    "a body of a HEAD": (b"HEAD", with_fields(), "reset"),
    "a body of a 204": (b"GET", with_fields(status=b"204"), "reset"),
    "a body of a 304": (b"GET", with_fields((LENGTH, b"4"), status=b"304"), "reset"),
    "too many trailers": (b"GET", with_trailers(*many(MAX_TRAILERS + 1)), "reset"),
    "trailers that are too long": (b"GET", with_trailers((b"x-a", b"a" * MAX_TRAILER_BYTES)), "reset"),
    "trailers with a length": (b"GET", with_trailers((LENGTH, b"4")), "reset"),
}


class Answering:
    """The script of an app; what waits stays open until it is told."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Link, int]] = []

    def __call__(self, app: Http2App, link: Link, event: Any) -> bool | None:
        if isinstance(event, h2.events.RequestReceived):
            link.bodies[event.stream_id] = b""
            what = dict(event.headers)[b"x-do"].decode()
            link.flush()
            if what == "wait":
                self.waiting.append((link, event.stream_id))
                return None
            _, sends, _ = (PASS | REFUSED)[what]
            link.socket.sendall(sends(event.stream_id))
        return None

    def go_on(self) -> None:
        for link, stream in self.waiting:
            link.socket.sendall(with_fields(body=b"waited")(stream))
        self.waiting.clear()


@contextmanager
def answering(folder: Path) -> Iterator[tuple[Gate, Answering]]:
    script = Answering()
    with place(folder, script) as (gate, _):
        yield gate, script


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gate, Answering]]:
    with answering(tmp_path_factory.mktemp("answering")) as found:
        yield found


def asks(what: str, method: bytes) -> Fields:
    return request(method, "one", (b"x-do", what.encode()))


@pytest.mark.parametrize("what", PASS)
def test_what_is_within_the_rules_passes(standing: tuple[Gate, Answering], what: str) -> None:
    gate, _ = standing
    method, _, body = PASS[what]
    with Caller(gate.address) as caller:
        answer = caller.ask(asks(what, method))
        assert (answer.is_whole, answer.body) == (True, body)
        assert b"x-watchword-upstream" not in dict(answer.fields)


@pytest.mark.parametrize("what", REFUSED)
def test_what_breaks_the_rules_ends_its_own_stream_alone(standing: tuple[Gate, Answering], what: str) -> None:
    gate, script = standing
    method, _, seen = REFUSED[what]
    with Caller(gate.address) as caller:
        other = caller.begin(asks("wait", b"GET"))
        caller.flush()
        answer = caller.ask(asks(what, method))
        if seen == "502":
            assert dict(answer.fields)[b"x-watchword-upstream"] == b"broken"
            assert answer.status == 502
        else:
            assert answer.reset_code is not None
            assert not answer.trailers
        while not script.waiting:
            caller.ask(asks("its length", b"GET"))
        script.go_on()
        assert caller.finish(other).body == b"waited"
    [*_, line] = [each for each in gate.log.read_text().splitlines() if "upstream trouble" in each]
    assert '"error_type":""' not in line
