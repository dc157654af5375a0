# SPDX-License-Identifier: Apache-2.0
"""Answers of an HTTP/2 app that break off: none is begun twice, and no other stream reads anything of them.

All answers on a caller's connection share one table of fields (HPACK). A block that changes it and is not
sent has each later answer read as another one: those of other workloads, too, behind a proxy that all share.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h2.events
import h2.exceptions
import pytest
from hpack import Encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testing.gate_process import Gate
from tests.gate.http2.caller import Answer, Caller, Fields
from tests.gate.http2.http2_app import Http2App, Link
from tests.gate.http2.test_app_connections import place, request
from watchword.gate.http2.host import Http2Host, configuration

DATA, HEADERS, RST_STREAM, GOAWAY, CONTINUATION = 0, 1, 3, 7, 9
END_STREAM, END_HEADERS = 1, 4
NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL = 0, 2, 7, 8


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + struct.pack(">BBI", kind, flags, stream_id) + payload


def block(stream_id: int, fields: Fields, *, is_end: bool = False) -> bytes:
    """A HEADERS frame that refers to nothing that was sent before."""
    payload = Encoder().encode(fields)
    return frame(HEADERS, END_HEADERS | (END_STREAM if is_end else 0), stream_id, payload)


def reset(stream_id: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream_id, struct.pack(">I", code))


def goaway(last: int, code: int = NO_ERROR) -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code))


# What the app sends of an answer that breaks off: of the head and the stream. None ends its connection.
Trigger = Callable[[bytes, int], list[bytes | None]]
HEAD_AND_THEN: dict[str, Trigger] = {
    "close": lambda head, stream: [head, None],
    "goaway": lambda head, stream: [head + goaway(stream, INTERNAL_ERROR), None],
    "goaway, not begun": lambda head, stream: [head + goaway(0), None],
    "another head": lambda head, stream: [head + head],
    "trailers with a status": lambda head, stream: [
        head + frame(DATA, 0, stream, b"") + block(stream, [(b":status", b"500")], is_end=True)
    ],
    "data": lambda head, stream: [head + frame(DATA, END_STREAM, stream, b"body")],
    "refused": lambda head, stream: [head + reset(stream, REFUSED_STREAM)],
    "reset": lambda head, stream: [head + reset(stream, INTERNAL_ERROR)],
    "no table": lambda head, stream: [head + frame(HEADERS, END_HEADERS, stream, b"\xff" * 7)],
    "early head": lambda head, stream: [head + block(stream, [(b":status", b"103"), (b"link", b"x")])],
    "half a frame": lambda head, stream: [head + frame(DATA, 0, stream, b"x" * 50)[:20], None],
}
EARLY: dict[str, Trigger] = {
    "early head, close": lambda head, stream: [block(stream, [(b":status", b"103"), (b"link", b"x")]), None],
    "early head, refused": lambda head, stream: [
        block(stream, [(b":status", b"103"), (b"link", b"x")]) + reset(stream, REFUSED_STREAM)
    ],
    "half a head, close": lambda head, stream: [head[:12], None],
    "head without its end, close": lambda head, stream: [
        frame(HEADERS, 0, stream, head[9:]),
        None,
    ],
}
NOT_BEGUN: dict[str, Trigger] = {
    "close before the head": lambda head, stream: [None],
    "refused before the head": lambda head, stream: [reset(stream, REFUSED_STREAM)],
    "goaway before the head": lambda head, stream: [goaway(0)],
}
TRIGGERS = HEAD_AND_THEN | EARLY | NOT_BEGUN
# Those behind which the gate leaves the connection.
LEAVES = {
    b"another head",
    b"trailers with a status",
    b"no table",
    b"early head",
    b"goaway before the head",
}


class Breaking:
    """The script of an app: answers whole, but breaks off as `x-do` says what is asked for the first time."""

    def __init__(self) -> None:
        self.asked: Counter[bytes] = Counter()
        # Connections that the gate is about to leave; what is still to be read there counts for nothing.
        self._left: set[int] = set()

    def __call__(self, app: Http2App, link: Link, event: Any) -> bool | None:
        if isinstance(event, h2.events.DataReceived):
            link.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if not isinstance(event, h2.events.RequestReceived) or link.number in self._left:
            return None
        link.bodies[event.stream_id] = b""
        fields, stream = dict(event.headers), event.stream_id
        name = fields[b"x-id"]
        self.asked[name] += 1
        who = fields[b"x-watchword-subject"].rpartition(b":")[2]
        head = [
            (b":status", b"200"),
            (b"x-who", who),
            (b"x-id", name),
            (b"x-time", b"%s-%d" % (name, self.asked[name])),
        ]
        trigger = TRIGGERS.get(fields.get(b"x-do", b"").decode())
        link.flush()
        if trigger is None or self.asked[name] > 1:
            is_head = fields[b":method"] == b"HEAD"
            link.socket.sendall(
                block(stream, head, is_end=is_head)
                + (b"" if is_head else frame(DATA, END_STREAM, stream, name))
            )
            return None
        for part in trigger(block(stream, head), stream):
            if part is None:
                link.socket.shutdown(socket.SHUT_RDWR)
                return False
            link.socket.sendall(part)
        if fields[b"x-do"] in LEAVES:
            self._left.add(link.number)
        return None


@contextmanager
def breaking(folder: Path) -> Iterator[tuple[Gate, Breaking]]:
    script = Breaking()
    with place(folder, script) as (gate, _):
        yield gate, script


def asks(who: str, name: str, does: str = "", method: bytes = b"GET") -> Fields:
    return request(method, who, (b"x-id", name.encode()), (b"x-do", does.encode()))


def check(answer: Answer, who: str, name: str) -> None:
    """What came of the app is the answer to this request, whole or the beginning of it."""
    fields = dict(answer.fields)
    if b"x-watchword-upstream" in fields or not fields:
        assert not answer.body or answer.status >= 400
        return
    assert (fields[b":status"], fields[b"x-who"], fields[b"x-id"]) == (b"200", who.encode(), name.encode())
    assert fields[b"x-time"].startswith(name.encode() + b"-")
    assert answer.body in (b"", b"x", b"body", name.encode())


@pytest.fixture(scope="module")
def place_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gate, Breaking]]:
    with breaking(tmp_path_factory.mktemp("breaking")) as standing:
        yield standing


CASES = [
    (does, method)
    for does in [*HEAD_AND_THEN, *EARLY]
    for method in (b"GET", b"HEAD", b"POST")
    # But to HEAD, data is the rest of a whole answer.
    if does != "data" or method == b"HEAD"
]


@pytest.mark.parametrize(("does", "method"), CASES)
def test_a_request_is_not_sent_again_once_its_answer_began(
    place_of_all: tuple[Gate, Breaking], does: str, method: bytes
) -> None:
    gate, script = place_of_all
    name = f"{does}-{method.decode()}"
    with Caller(gate.address) as caller:
        # The connection to the app has answered before, so that what is read may be sent again at all.
        for number, who in enumerate(("one", "two")):
            assert caller.ask(asks(who, f"{name}-first-{number}")).status == 200
        answer = caller.ask(asks("one", name, does, method))
        assert script.asked[name.encode()] == 1
        check(answer, "one", name)
        if does in HEAD_AND_THEN:
            assert answer.status == 200
            assert answer.reset_code is not None or method == b"HEAD"
        else:
            assert answer.status == 502
        for number, who in enumerate(("two", "one", "two", "two", "one")):
            after = f"{name}-{number}"
            answer = caller.ask(asks(who, after))
            assert answer.status == 200
            assert answer.body == after.encode()
            check(answer, who, after)


@pytest.mark.parametrize("does", NOT_BEGUN)
def test_a_request_whose_answer_did_not_begin_is_sent_again(
    place_of_all: tuple[Gate, Breaking], does: str
) -> None:
    gate, script = place_of_all
    with Caller(gate.address) as caller:
        assert caller.ask(asks("one", f"{does}-first")).status == 200
        answer = caller.ask(asks("one", does, does))
        assert answer.body == does.encode()
        assert script.asked[does.encode()] == 2


WHO, METHOD = st.sampled_from(["one", "two"]), st.sampled_from([b"GET", b"HEAD", b"POST"])
ASKED = st.tuples(WHO, METHOD, st.sampled_from(["", "", *TRIGGERS]))
_numbers = iter(range(1 << 30))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(ASKED, min_size=1, max_size=6), min_size=1, max_size=6))
def test_each_answer_is_read_as_its_own_whatever_breaks_off_next_to_it(
    place_of_all: tuple[Gate, Breaking], rounds: list[list[tuple[str, bytes, str]]]
) -> None:
    gate, script = place_of_all
    with Caller(gate.address) as caller:
        for together in rounds:
            streams = {}
            for who, method, does in together:
                name = f"n{next(_numbers)}"
                streams[caller.begin(asks(who, name, does, method))] = (who, name)
            for stream, (who, name) in streams.items():
                answer = caller.finish(stream)
                check(answer, who, name)
                # Nothing was sent behind the answer that the caller saw begin.
                times = script.asked[name.encode()]
                assert (
                    dict(answer.fields)
                    .get(b"x-time", b"%s-%d" % (name.encode(), times))
                    .endswith(b"-%d" % times)
                )
                assert times <= 2
        assert not caller.is_closed
        assert caller.goaway is None
        name = f"n{next(_numbers)}"
        answer = caller.ask(asks("two", name))
        assert answer.body == name.encode()
        check(answer, "two", name)


def test_trailers_of_which_none_is_for_the_caller_end_the_answer(tmp_path: Path) -> None:
    def script(app: Http2App, link: Link, event: Any) -> bool | None:
        if isinstance(event, h2.events.RequestReceived):
            link.h2.send_headers(event.stream_id, [(b":status", b"200")])
            link.h2.send_data(event.stream_id, b"body")
            link.h2.send_headers(event.stream_id, [(b"x-watchword-subject", b"app")], end_stream=True)
        return None

    with place(tmp_path, script) as (gate, _), Caller(gate.address) as caller:
        for _ in range(2):
            answer = caller.ask(request(b"GET"))
            assert (answer.body, answer.is_whole, answer.trailers) == (b"body", True, [])


def test_a_whole_answer_is_taken_in_the_callers_time_though_its_app_closes(tmp_path: Path) -> None:
    body = b"0123456789" * 3000

    def script(app: Http2App, link: Link, event: Any) -> bool | None:
        if isinstance(event, h2.events.RequestReceived):
            link.h2.send_headers(event.stream_id, [(b":status", b"200")])
            link.h2.send_data(event.stream_id, body[:16_000])
            link.h2.send_data(event.stream_id, body[16_000:], end_stream=True)
            link.flush()
            link.socket.shutdown(socket.SHUT_WR)
        return None

    with place(tmp_path, script) as (gate, _), Caller(gate.address) as caller:
        caller.h2.update_settings({4: 1000})
        caller.flush()
        stream = caller.begin(request(b"GET"))
        caller.until(lambda: bool(caller.answers[stream].body))
        # The app's end has come by when another one of the same workload was answered.
        assert caller.ask(request(b"GET")).status == 200
        answer = caller.finish(stream)
        assert (answer.body, answer.is_whole, answer.reset_code) == (body, True, None)


def test_a_connection_ends_with_a_block_that_was_encoded_and_not_sent() -> None:
    async def run(ours: socket.socket) -> Http2Host:
        loop = asyncio.get_running_loop()
        begun = asyncio.Event()

        class Host(Http2Host):
            def on_event(self, event: h2.events.Event) -> None:
                if isinstance(event, h2.events.RequestReceived):
                    begun.set()

        _, host = await loop.create_connection(
            lambda: Host(configuration(client_side=False, validates=False)), sock=ours
        )
        await begun.wait()
        host.send_fields(1, [(b":status", b"200"), (b"x-a", b"1")], is_end=False)
        with pytest.raises(h2.exceptions.ProtocolError):
            # For the library these are trailers without an end, which it finds out behind the encoding.
            host.send_fields(1, [(b"x-b", b"2")], is_end=False)
        assert host.is_over
        return host

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        caller = Caller("", link=theirs)
        stream = caller.begin(asks("one", "x"))
        asyncio.run(run(ours))
        caller.until(lambda: caller.is_closed)
        assert caller.goaway is not None
        assert dict(caller.answers[stream].fields) == {b":status": b"200", b"x-a": b"1"}


@pytest.mark.parametrize("status", [b"100", b"102", b"103", b"101", b"200"])
@pytest.mark.parametrize("is_end", [False, True])
def test_a_head_for_a_stream_that_was_left_disturbs_no_other(
    tmp_path: Path, status: bytes, is_end: bool
) -> None:
    streams: list[int] = []

    def script(app: Http2App, link: Link, event: Any) -> bool | None:
        if isinstance(event, h2.events.RequestReceived):
            streams.append(event.stream_id)
            if len(streams) == 1:
                link.h2.send_headers(event.stream_id, [(b":status", b"200")])
        if isinstance(event, h2.events.StreamReset):
            # As one that was under way when the reset came.
            link.flush()
            link.socket.sendall(block(event.stream_id, [(b":status", status)], is_end=is_end))
            link.h2.send_data(streams[0], b"body", end_stream=True)
        return None

    with place(tmp_path, script) as (gate, _), Caller(gate.address) as caller:
        kept = caller.begin(request(b"GET"))
        caller.until(lambda: bool(caller.answers[kept].fields))
        left = caller.begin(request(b"GET"))
        caller.flush()
        deadline = time.monotonic() + 10
        while len(streams) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        caller.h2.reset_stream(left, CANCEL)
        caller.flush()
        answer = caller.finish(kept)
        assert (answer.body, answer.is_whole, answer.reset_code) == (b"body", True, None)
