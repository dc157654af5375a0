# SPDX-License-Identifier: Apache-2.0
"""What was found by attacking the gate's HTTP/2 in raw frames, on sockets that no library looks after."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hpack import Decoder, Encoder

from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.proxy.conftest import GRANTS, ROUTES, bearer
from tests.gate.proxy.scripted import Heard, scene

WAIT_SECONDS = 15.0
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# What the gate lets a caller send on one connection, beyond what HTTP/2 begins with.
CREDIT = 512 * 1024 - 65_535
PUBLIC = {"path": "/public", "methods": ["GET", "POST"], "public": True}
Fields = list[tuple[bytes, bytes]]


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream_id) + payload


def request(path: bytes, method: bytes = b"GET", *more: tuple[bytes, bytes], is_known: bool = True) -> Fields:
    fields = [(b":method", method), (b":scheme", b"http"), (b":authority", b"gate"), (b":path", path)]
    token = [(b"authorization", bearer().partition(b": ")[2])] if is_known else []
    return [*fields, *token, *more]


@dataclass(slots=True)
class Stream:
    """What came on one stream; of stream 0, window updates alone."""

    fields: list[Fields] = field(default_factory=list)
    body: bytes = b""
    credit: int = 0
    reset: int | None = None
    is_whole: bool = False


class RawCaller:
    """A connection on which each frame is made by hand; by default it takes any answer."""

    def __init__(self, gate: Gate, *, settings: bytes = b"") -> None:
        host, port = gate.address.rsplit(":", 1)
        self.link = socket.create_connection((host, int(port)), WAIT_SECONDS)
        self.encoder, self._decoder, self._held = Encoder(), Decoder(), b""
        self._decoder.max_allowed_table_size = 1 << 32
        self.table_size, self.has_ponged = 4096, False
        self.streams: dict[int, Stream] = {}
        self.link.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))
        self.link.sendall(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 24)))
        self.wait(lambda: self.stream(0).credit > 0)

    def __enter__(self) -> RawCaller:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

    def stream(self, stream_id: int) -> Stream:
        return self.streams.setdefault(stream_id, Stream())

    def head(self, stream_id: int, fields: Fields, *, is_end: bool = True) -> bytes:
        return frame(
            HEADERS, END_HEADERS | (END_STREAM if is_end else 0), stream_id, self.encoder.encode(fields)
        )

    def wait(self, is_there: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not is_there():
            self.link.settimeout(max(0.001, deadline - time.monotonic()))
            data = self.link.recv(1 << 16)
            assert data, self.streams
            self._held += data
            while len(self._held) >= 9 and len(self._held) >= (size := 9 + int.from_bytes(self._held[:3])):
                self._take(self._held[3], self._held[4], int.from_bytes(self._held[5:9]), self._held[9:size])
                self._held = self._held[size:]

    def wait_for(self, stream_id: int) -> Stream:
        stream = self.stream(stream_id)
        self.wait(lambda: stream.is_whole or stream.reset is not None)
        return stream

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        stream = self.stream(stream_id)
        self.has_ponged |= kind == PING
        if kind == HEADERS:
            stream.fields.append([(bytes(n), bytes(v)) for n, v in self._decoder.decode(payload, raw=True)])
            self.table_size = self._decoder.header_table_size
        elif kind == DATA:
            stream.body += payload
        elif kind == RST_STREAM and stream.reset is None:
            stream.reset = int.from_bytes(payload)
        elif kind == WINDOW_UPDATE:
            stream.credit += int.from_bytes(payload)
        stream.is_whole |= kind in (HEADERS, DATA) and bool(flags & END_STREAM)


@dataclass(slots=True)
class H2App:
    """An app that speaks HTTP/2; `bodies` and `ends` by connection and stream."""

    port: int
    bodies: dict[tuple[int, int], bytes] = field(default_factory=dict)
    ends: set[tuple[int, int]] = field(default_factory=set)
    paths: list[bytes] = field(default_factory=list)


# Of an event, on which connection: what to do.
OnEvent = Callable[[h2.connection.H2Connection, Any, int], None]


@contextmanager
def running_app(on_event: OnEvent) -> Iterator[H2App]:
    listener = socket.create_server(("127.0.0.1", 0))
    app, links = H2App(listener.getsockname()[1]), []

    def serve(link: socket.socket, number: int) -> None:
        configuration = h2.config.H2Configuration(client_side=False, header_encoding=None)
        connection = h2.connection.H2Connection(configuration)
        connection.initiate_connection()
        with suppress(OSError), link:
            link.sendall(connection.data_to_send())
            while data := link.recv(1 << 16):
                for event in connection.receive_data(data):
                    where = number, getattr(event, "stream_id", 0) or 0
                    if isinstance(event, h2.events.RequestReceived):
                        app.paths.append(dict(event.headers)[b":path"])
                    elif isinstance(event, h2.events.DataReceived):
                        app.bodies[where] = app.bodies.get(where, b"") + event.data
                    elif isinstance(event, h2.events.StreamEnded):
                        app.ends.add(where)
                    on_event(connection, event, number)
                link.sendall(connection.data_to_send())

    def accept() -> None:
        number = 0
        with suppress(OSError):
            while True:
                link, _ = listener.accept()
                links.append(link)
                # The gate also looks whether the app is there.
                threading.Thread(target=serve, args=(link, number), daemon=True).start()
                number += 1

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield app
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for link in links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        thread.join(WAIT_SECONDS)


@contextmanager
def h2c_gate(folder: Path, app: H2App, *flags: str) -> Iterator[Gate]:
    objects = (issuer(), service(routes=ROUTES), workload(grants=GRANTS))
    bundle = write_bundle(folder / "bundle.json", *objects)
    with running_gate(bundle, "--upstream", f"h2c://127.0.0.1:{app.port}", *flags) as gate:
        yield gate


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gate without an app behind it."""
    folder = tmp_path_factory.mktemp("attacked")
    objects = (issuer(), service(routes=ROUTES), workload(grants=GRANTS))
    with running_gate(write_bundle(folder / "bundle.json", *objects)) as running:
        yield running


def test_a_body_that_trailers_end_early_leaves_no_room_for_the_next_request(tmp_path: Path) -> None:
    """The app would take the next request's head for the rest of the body, and its body for a request."""
    hidden = b"GET /other/acme/secret HTTP/1.1\r\nHost: x\r\nX-Watchword-Subject: system:admin\r\n\r\n"

    def answer_at_once(heard: Heard) -> bytes:
        sizes = [line for line in heard.head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        due = int(sizes[0].partition(b":")[2]) if sizes else 0
        heard.link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        while len(heard.rest) < due:
            data = heard.link.recv(65536)
            if not data:
                raise OSError
            heard.rest += data
        heard.rest = heard.rest[due:]
        return b""

    with scene(tmp_path, answer_at_once, routes=[*ROUTES, PUBLIC]) as found:
        length = (b"content-length", b"%d" % len(hidden))
        second = request(b"/public", b"POST", length, is_known=False)
        with RawCaller(found.gate) as caller:
            caller.link.sendall(caller.head(1, second, is_end=False) + frame(DATA, END_STREAM, 1, hidden))
            assert caller.wait_for(1).body == b"ok"
            # As long as the head of what comes next on the same connection.
            due = (b"content-length", b"%d" % len(found.app.heard[0].head))
            first = caller.head(3, request(b"/public", b"POST", due, is_known=False), is_end=False)
            caller.link.sendall(first + caller.head(3, [(b"x-trailer", b"1")]))
            assert caller.wait_for(3).reset == 1
            caller.link.sendall(caller.head(5, second, is_end=False) + frame(DATA, END_STREAM, 5, hidden))
            assert caller.wait_for(5).body == b"ok"
        assert {heard.name for heard in found.app.heard} == {"public"}


def test_unknown_settings_take_no_memory(gate: Gate) -> None:
    def resident() -> int:
        [line] = [
            each for each in Path(f"/proc/{gate.pid}/status").read_text().splitlines() if "VmRSS" in each
        ]
        return int(line.split()[1])

    with RawCaller(gate) as caller:
        caller.link.sendall(caller.head(1, request(b"/authz", is_known=False)))
        caller.wait_for(1)
        before = resident()
        for first in range(0x100, 0x10000, 2048):
            some = range(first, min(first + 2048, 0x10000))
            caller.link.sendall(frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", n, 1) for n in some)))
        caller.link.sendall(caller.head(3, request(b"/authz", is_known=False)))
        assert caller.wait_for(3).is_whole
        # They took 57 MiB, for as long as the connection lasted.
        assert resident() - before < 16 * 1024


def test_the_table_of_answered_fields_stays_small(gate: Gate) -> None:
    """It is searched for each field of each answer, from its begin to its end."""
    with RawCaller(gate, settings=struct.pack(">HI", 1, 2**32 - 1)) as caller:
        for number in range(100):
            stream_id = 1 + 2 * number
            caller.link.sendall(caller.head(stream_id, request(b"/authz", is_known=False)))
            caller.wait_for(stream_id)
        assert caller.table_size <= 4096


def test_bodies_that_the_gate_did_not_read_are_given_back_to_the_window(gate: Gate) -> None:
    part = b"x" * 16_000
    with RawCaller(gate) as caller:
        # More than the connection's window; what is given back is told by and by.
        for stream_id in range(1, 41, 2):
            head = caller.head(stream_id, request(b"/nothing", b"POST", is_known=False), is_end=False)
            caller.link.sendall(head + 2 * frame(DATA, 0, stream_id, part) + frame(DATA, 1, stream_id, part))
            assert caller.wait_for(stream_id).is_whole
        assert caller.stream(0).credit - CREDIT >= 20 * 48_000 - 256 * 1024


def test_bodies_that_an_app_did_not_take_are_given_back_when_their_callers_leave(tmp_path: Path) -> None:
    part = b"x" * 16_000
    with running_app(lambda *_: None) as app, h2c_gate(tmp_path, app) as gate, RawCaller(gate) as caller:
        for number in range(20):
            stream_id = 1 + 2 * number
            head = caller.head(stream_id, request(b"/app/acme/x", b"POST"), is_end=False)
            caller.link.sendall(head + 3 * frame(DATA, 0, stream_id, part))
            deadline = time.monotonic() + WAIT_SECONDS
            while len(app.paths) <= number:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            caller.link.sendall(frame(RST_STREAM, 0, stream_id, struct.pack(">I", 8)))
        caller.wait(lambda: caller.stream(0).credit - CREDIT >= 20 * 48_000 - 256 * 1024)


def test_answers_that_callers_left_are_given_back_to_the_app_s_window(tmp_path: Path) -> None:
    """After 32 calls that were cancelled, an app could send nothing more to a workload."""
    windows: list[int] = []

    def flood(connection: h2.connection.H2Connection, event: Any, number: int) -> None:
        del number
        if not isinstance(event, h2.events.RequestReceived):
            return
        windows.append(connection.outbound_flow_control_window)
        connection.send_headers(event.stream_id, [(b":status", b"200")])
        left = connection.local_flow_control_window(event.stream_id)
        while left > 0:
            size = min(left, 16_384)
            connection.send_data(event.stream_id, b"y" * size)
            left -= size

    with (
        running_app(flood) as app,
        h2c_gate(tmp_path, app) as gate,
        RawCaller(gate, settings=struct.pack(">HI", 4, 0)) as caller,
    ):
        for number in range(40):
            stream_id = 1 + 2 * number
            caller.link.sendall(caller.head(stream_id, request(b"/app/acme/x")))
            caller.wait(lambda each=stream_id: bool(caller.stream(each).fields))  # type: ignore[misc]
            caller.link.sendall(frame(RST_STREAM, 0, stream_id, struct.pack(">I", 8)))
    assert len(windows) == 40
    assert min(windows) >= 1 << 20


def test_what_is_sent_again_has_its_whole_body(tmp_path: Path) -> None:
    """The app refuses a stream whose body still waited for its window: nothing of the body may be lost."""
    part = b"x" * 16_000

    def refuse_the_second(connection: h2.connection.H2Connection, event: Any, number: int) -> None:
        del number
        # The connection's window is used up by the first one, so no byte of the second body is sent.
        if isinstance(event, h2.events.RequestReceived) and event.stream_id == 3 and not refused:
            refused.append(3)
            connection.reset_stream(3, 7)
            connection.increment_flow_control_window(1 << 20)
        elif isinstance(event, h2.events.StreamEnded):
            connection.send_headers(event.stream_id, [(b":status", b"200")], end_stream=True)

    refused: list[int] = []
    with running_app(refuse_the_second) as app, h2c_gate(tmp_path, app) as gate, RawCaller(gate) as caller:
        caller.link.sendall(caller.head(1, request(b"/app/acme/x", b"POST"), is_end=False))
        for size in (16_000, 16_000, 16_000, 16_000, 1_535):
            caller.link.sendall(frame(DATA, 0, 1, b"x" * size))
        deadline = time.monotonic() + WAIT_SECONDS
        while sum(map(len, app.bodies.values())) < 65_535:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        head = caller.head(3, request(b"/app/acme/x", b"POST"), is_end=False)
        caller.link.sendall(head + frame(DATA, 0, 3, part) + frame(DATA, END_STREAM, 3, part))
        assert caller.wait_for(3).fields[0][0] == (b":status", b"200")
    assert refused
    [body] = [body for (_, stream_id), body in app.bodies.items() if stream_id > 3]
    assert body == 2 * part


@pytest.mark.parametrize("status", [b"abc", b"99999", b"20"])
def test_a_status_that_is_none_ends_its_own_stream_alone(tmp_path: Path, status: bytes) -> None:
    def answer(connection: h2.connection.H2Connection, event: Any, number: int) -> None:
        del number
        if isinstance(event, h2.events.RequestReceived):
            is_bad = dict(event.headers)[b":path"].endswith(b"bad")
            given = status if is_bad else b"200"
            connection.config.validate_outbound_headers = False
            connection.send_headers(event.stream_id, [(b":status", given)], end_stream=is_bad)

    with running_app(answer) as app, h2c_gate(tmp_path, app) as gate, RawCaller(gate) as caller:
        caller.link.sendall(caller.head(1, request(b"/app/acme/good")))
        caller.wait(lambda: bool(caller.stream(1).fields))
        caller.link.sendall(caller.head(3, request(b"/app/acme/bad")))
        assert caller.wait_for(3).fields[0][0] == (b":status", b"502")
        assert caller.stream(1).reset is None
        assert "Traceback" not in gate.log.read_text()


@pytest.mark.parametrize(
    ("lengths", "body"),
    [([b"2"], b"abc"), ([b"5"], b"abc"), ([b"+3"], b"abc"), ([b"3", b"4"], b"abc"), ([b"3"], b"")],
)
def test_a_wrong_length_ends_its_own_stream_alone(tmp_path: Path, lengths: list[bytes], body: bytes) -> None:
    """A proxy's connection carries other callers' requests, too."""
    is_answered = threading.Event()

    def answer(heard: Heard) -> bytes:
        if heard.name == "other":
            is_answered.wait(WAIT_SECONDS)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    routes = [*ROUTES, PUBLIC, PUBLIC | {"path": "/other"}]
    with scene(tmp_path, answer, routes=routes) as found, RawCaller(found.gate) as caller:
        caller.link.sendall(caller.head(1, request(b"/other", is_known=False)))
        fields = [(b"content-length", each) for each in lengths]
        head = caller.head(3, request(b"/public", b"POST", *fields, is_known=False), is_end=False)
        caller.link.sendall(head + frame(DATA, END_STREAM, 3, body))
        assert caller.wait_for(3).reset == 1
        is_answered.set()
        assert caller.wait_for(1).body == b"ok"


def test_thousands_of_requests_in_one_read_leave_others_their_turn(gate: Gate) -> None:
    """They took the loop for more than a second; of HTTP/1.1, no more than a few are answered at once."""
    with RawCaller(gate) as crowd, RawCaller(gate) as other:
        fields = request(b"/authz", is_known=False)
        many = b"".join(crowd.head(1 + 2 * number, fields) for number in range(8000))
        threading.Thread(target=crowd.link.sendall, args=(many,), daemon=True).start()
        # The gate has begun with them by then.
        time.sleep(0.05)
        other.link.sendall(other.head(1, fields))
        began = time.monotonic()
        other.wait_for(1)
        assert time.monotonic() - began < 0.3
        crowd.wait_for(15_999)
        assert sum(each.is_whole for each in crowd.streams.values()) == 8000


def test_a_caller_that_says_goodbye_is_not_reset(gate: Gate) -> None:
    """Closed at once, with a frame unread, the connection ended with a reset."""
    for _ in range(20):
        with RawCaller(gate) as caller:
            caller.link.sendall(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)))
            caller.link.sendall(frame(PING, 0, 0, b"goodbye!"))
            caller.wait(lambda each=caller: each.has_ponged)  # type: ignore[misc]
