# SPDX-License-Identifier: Apache-2.0
"""Floods of HTTP/2, each by one connection: it ends with a GOAWAY, and no other one notices."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.http2.caller import Caller, Fields, head
from tests.gate.proxy.app import App, running_app
from tests.gate.proxy.conftest import GRANTS, ROUTES, bearer
from tests.memory import MIB, bound_of
from watchword.gate.http2.frames import (
    CONTINUATION,
    DATA,
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from watchword.gate.http2.limits import CONTROL_BURST, MAX_STREAMS, RESET_COST

REFUSED_STREAM, PROTOCOL_ERROR, CANCEL, COMPRESSION_ERROR = 0x7, 0x1, 0x8, 0x9
# More than any bound, however slow the machine is.
MANY = 20 * CONTROL_BURST


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gate, App]]:
    folder: Path = tmp_path_factory.mktemp("floods")
    routes = [*ROUTES, {"path": "/open/{name}", "methods": ["GET", "POST"], "public": True}]
    bundle = write_bundle(folder / "bundle.json", issuer(), service(routes=routes), workload(grants=GRANTS))
    with running_app() as app, running_gate(bundle, "--upstream", app.url) as gate:
        yield gate, app


def good(path: bytes = b"/app/acme/thing") -> Fields:
    return head(b"GET", path, (b"authorization", bearer().partition(b": ")[2]))


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def resident(gate: Gate) -> int:
    status = Path(f"/proc/{gate.pid}/status").read_text()
    [line] = [each for each in status.splitlines() if each.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def is_ended(caller: Caller, make: Callable[[int], bytes], number: int = MANY) -> bool:
    """Send many of them; whether the connection was ended before the last."""
    caller.link.setblocking(True)
    for start in range(0, number, 100):
        try:
            caller.raw(b"".join(make(each) for each in range(start, start + 100)))
        except OSError:
            return True
    try:
        caller.until(lambda: caller.goaway is not None)
    except OSError:
        return True
    return caller.goaway is not None or caller.is_closed


FLOODS: dict[str, Callable[[int], bytes]] = {
    "PING": lambda _: frame(PING, b"12345678"),
    "PING that is answered": lambda _: frame(PING, b"12345678", flags=1),
    "SETTINGS": lambda _: frame(SETTINGS),
    "SETTINGS of windows": lambda each: frame(SETTINGS, struct.pack(">HI", 4, 1000 + each % 2)),
    "PRIORITY": lambda each: frame(PRIORITY, struct.pack(">IB", 0, 1), stream=2 * each + 1),
    "WINDOW_UPDATE": lambda _: frame(WINDOW_UPDATE, struct.pack(">I", 1)),
    "unknown frames": lambda _: frame(0x42, b"12345678"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_frames_that_carry_nothing_end_their_connection(place: tuple[Gate, App], name: str) -> None:
    gate, _ = place
    with Caller(gate.address) as other, Caller(gate.address) as caller:
        assert other.ask(good()).status == 200
        assert is_ended(caller, FLOODS[name])
        if caller.goaway is not None:
            assert caller.goaway[0] == ENHANCE_YOUR_CALM
        assert other.ask(good()).status == 200
    assert resident(gate) < bound_of("gate")


def test_empty_data_ends_its_connection(place: tuple[Gate, App]) -> None:
    gate, _ = place
    with Caller(gate.address) as caller:
        stream = caller.begin(head(b"POST", b"/open/thing"), is_end=False)
        assert is_ended(caller, lambda _: frame(DATA, stream=stream))


def test_rapid_resets_end_their_connection_before_the_app_feels_them(place: tuple[Gate, App]) -> None:
    # CVE-2023-44487: each is decided and begun, and paid for by none that is answered.
    gate, app = place
    before = len(app.seen)
    with Caller(gate.address) as other, Caller(gate.address) as caller:
        block = caller.h2.encoder.encode(head(b"GET", b"/open/silent"))
        repeat = caller.h2.encoder.encode(head(b"GET", b"/open/silent"))

        def burst(each: int) -> bytes:
            stream = 2 * each + 1
            fields = block if each == 0 else repeat
            cancel = frame(RST_STREAM, struct.pack(">I", CANCEL), stream=stream)
            return frame(HEADERS, fields, flags=0x5, stream=stream) + cancel

        assert is_ended(caller, burst)
        assert other.ask(good()).status == 200
    assert len(app.seen) - before <= CONTROL_BURST // RESET_COST + 300


def test_a_block_of_fields_without_end_is_cut_off(place: tuple[Gate, App]) -> None:
    # CVE-2024-27316 and its kin: each CONTINUATION is kept until the last one.
    gate, _ = place
    before = resident(gate)
    with Caller(gate.address) as caller:
        caller.raw(frame(HEADERS, b"", stream=1))
        assert is_ended(caller, lambda _: frame(CONTINUATION, b"\x00" * 1000, stream=1), 1000)
        assert caller.goaway is None or caller.goaway[0] in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR)
    with Caller(gate.address) as caller:
        caller.raw(frame(HEADERS, b"", stream=1))
        assert is_ended(caller, lambda _: frame(CONTINUATION, b"", stream=1))
    assert resident(gate) - before < 8 * MIB


def test_small_fields_that_unpack_to_large_ones_are_refused(place: tuple[Gate, App]) -> None:
    # A value of 4,000 bytes in the table, named 1,000 times by a byte each.
    gate, _ = place
    before = resident(gate)
    with Caller(gate.address) as caller:
        fields = [*head(b"GET", b"/open/thing"), (b"x-a", b"a" * 3900)]
        assert caller.ask(fields).status == 200
        block = caller.h2.encoder.encode(head(b"GET", b"/open/thing")) + bytes([0x80 | 62]) * 15_000
        caller.raw(frame(HEADERS, block, flags=0x5, stream=caller.h2.get_next_available_stream_id()))
        caller.until(lambda: caller.goaway is not None)
        assert caller.goaway is not None
    assert resident(gate) - before < 8 * MIB


def test_a_frame_that_is_too_large_is_not_waited_for(place: tuple[Gate, App]) -> None:
    gate, _ = place
    with Caller(gate.address) as caller:
        caller.raw(b"\xff\xff\xff" + bytes((DATA, 0)) + struct.pack(">I", 1))
        caller.until(lambda: caller.goaway is not None)
        assert caller.goaway is not None
        assert caller.goaway[0] == FRAME_SIZE_ERROR


def test_streams_beyond_the_bound_are_refused_and_the_others_stay(place: tuple[Gate, App]) -> None:
    # Whether or not our settings were acknowledged.
    gate, _ = place
    with Caller(gate.address) as caller:
        held = [caller.begin(head(b"POST", b"/open/thing"), is_end=False) for _ in range(MAX_STREAMS)]
        refused = caller.finish(caller.begin(head(b"GET", b"/open/thing")))
        assert refused.reset_code == REFUSED_STREAM
        caller.send(held[0], b"abc", is_end=True)
        assert caller.finish(held[0]).body == b"abc"
        assert caller.ask(head(b"POST", b"/open/thing"), b"next").body == b"next"


def test_answers_that_are_not_taken_are_not_read_from_the_app(place: tuple[Gate, App]) -> None:
    gate, _ = place
    before = resident(gate)
    callers = [Caller(gate.address, sends_windows=False) for _ in range(5)]
    try:
        for caller in callers:
            caller.h2.update_settings({4: 0})
            caller.flush()
            for _ in range(50):
                stream = caller.begin(head(b"POST", b"/open/thing"), is_end=False)
                caller.send(stream, b"x" * 16_000)
        with Caller(gate.address) as other:
            assert other.ask(good()).status == 200
        assert resident(gate) - before < 24 * MIB
    finally:
        for caller in callers:
            caller.link.close()


def test_what_is_wrong_with_one_stream_ends_no_other(place: tuple[Gate, App]) -> None:
    # A proxy sends many callers' requests on one connection.
    gate, app = place
    with Caller(gate.address) as caller:
        waiting = caller.begin(head(b"POST", b"/open/whole"), is_end=False)
        bad = [
            [*head(b"GET", b"/open/wrong"), (b"a", b"1\r\nx-watchword-subject: evil")],
            [*head(b"GET", b"/open/wrong"), (b"connection", b"close")],
            [*head(b"GET", b"/open/wrong"), (b"host", b"other")],
            head(b"get", b"/open/wrong"),
            [*head(b"POST", b"/open/wrong"), (b"content-length", b"5")],
        ]
        for fields in bad:
            answer = caller.finish(caller.begin(fields))
            assert answer.reset_code == PROTOCOL_ERROR
            assert answer.status == 400
            assert b"malformed_request" in answer.body
        caller.send(waiting, b"whole", is_end=True)
        assert caller.finish(waiting).body == b"whole"
    paths = [each.line.split(b" ")[1] for each in app.seen]
    assert paths.count(b"/open/whole") == 1
    assert b"/open/wrong" not in paths


@pytest.mark.parametrize(
    "block", [b"\xff" * 7, b"\x82\xbe", b"\x82\x3f\xe1\xff\x03", b"\x00\x01a\x82\xff\x00"]
)
def test_a_block_that_cannot_be_read_is_a_compression_error(place: tuple[Gate, App], block: bytes) -> None:
    gate, _ = place
    with Caller(gate.address) as caller:
        caller.raw(frame(HEADERS, block, flags=0x5, stream=1))
        caller.until(lambda: caller.goaway is not None)
        assert caller.goaway is not None
        assert caller.goaway[0] == COMPRESSION_ERROR
