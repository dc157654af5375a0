# SPDX-License-Identifier: Apache-2.0
"""WebSockets with the library `websockets` on both sides: every kind of frame and every size comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from testing.gate_process import Gate, running_gate
from tests.gate.proxy.conftest import bearer

PATH = "/app/acme/socket"
WAIT_SECONDS = 60
MIB = 2**20
MOST = 20 * MIB
# Where the length of a frame gets one more byte, or eight (RFC 6455, section 5.2), and what no buffer holds.
SIZES = [0, 1, 125, 126, 127, 4096, 65_535, 65_536, 65_537, MIB, 16 * MIB]
NAME, _, VALUE = bearer().decode().partition(": ")


@dataclass(slots=True)
class SocketApp:
    """A running app; how its sockets ended, and the pongs that it got."""

    port: int
    ended: list[tuple[int | None, str]] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    has_ended: threading.Event = field(default_factory=threading.Event)


@contextmanager
def running_socket_app(compression: str | None) -> Iterator[SocketApp]:
    """Send each message back, of its kind; by name, one in parts or a ping, and close as it is told to."""
    app: SocketApp

    def handle(socket: ServerConnection) -> None:
        assert socket.request is not None
        app.subjects.append(socket.request.headers.get("X-Watchword-Subject", ""))
        try:
            for message in socket:
                if message == "in parts":
                    socket.send(["one ", "", "two ", "three"])
                elif message == "ping":
                    assert socket.ping(b"from the app").wait(WAIT_SECONDS)
                    socket.send("pong came")
                elif isinstance(message, str) and message.startswith("close "):
                    _, code, reason = message.split(" ", 2)
                    socket.close(int(code), reason)
                else:
                    socket.send(message)
        except ConnectionClosed:
            pass
        finally:
            app.ended.append((socket.close_code, socket.close_reason or ""))
            app.has_ended.set()

    with serve(handle, "127.0.0.1", 0, max_size=MOST, compression=compression, ping_interval=None) as server:
        app = SocketApp(server.socket.getsockname()[1])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield app
        finally:
            server.shutdown()
            thread.join(WAIT_SECONDS)


@pytest.fixture(scope="module", params=[None, "deflate"], ids=["plain", "deflate"])
def place(
    request: pytest.FixtureRequest, proxy_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gate, SocketApp, str | None]]:
    """A gate before such an app; messages are compressed, or not."""
    log = tmp_path_factory.mktemp("sockets") / "gate.log"
    with running_socket_app(request.param) as app:
        flags = ("--upstream", f"http://127.0.0.1:{app.port}")
        with running_gate(proxy_bundle, *flags, log=log) as gate:
            yield gate, app, request.param


def opened(place: tuple[Gate, SocketApp, str | None]) -> ClientConnection:
    gate, app, compression = place
    app.has_ended.clear()
    return connect(
        f"ws://{gate.address}{PATH}",
        additional_headers={NAME: VALUE},
        max_size=MOST,
        compression=compression,
        open_timeout=WAIT_SECONDS,
        close_timeout=WAIT_SECONDS,
        ping_interval=None,
        proxy=None,
    )


@pytest.fixture
def socket(place: tuple[Gate, SocketApp, str | None]) -> Iterator[ClientConnection]:
    with opened(place) as made:
        yield made


def test_the_app_is_told_who_opened_it(
    place: tuple[Gate, SocketApp, str | None], socket: ClientConnection
) -> None:
    socket.send("hello")
    assert socket.recv(WAIT_SECONDS) == "hello"
    assert place[1].subjects[-1] == "system:serviceaccount:atlas-production:atlas"
    assert socket.response is not None
    extensions = socket.response.headers.get("Sec-WebSocket-Extensions", "")
    assert ("permessage-deflate" in extensions) == (place[2] == "deflate")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["text", "binary"])
def test_a_message_of_each_size_comes_back(socket: ClientConnection, kind: str, size: int) -> None:
    # In bytes as they are sent.
    message = "a" * (size % 3) + "aé" * (size // 3) if kind == "text" else bytes(size)
    socket.send(message)
    assert socket.recv(WAIT_SECONDS) == message


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_a_message_in_parts_comes_whole_and_in_parts(socket: ClientConnection, kind: str) -> None:
    parts = ["a", "", "b" * 70_000, "é"] if kind == "text" else [b"a", b"", b"b" * 70_000, b"\xff"]
    socket.send(parts)  # type: ignore[arg-type]  # one kind or the other
    assert socket.recv(WAIT_SECONDS) == type(parts[0])().join(parts)  # type: ignore[attr-defined]
    socket.send("in parts")
    assert [each for each in socket.recv_streaming() if each] == ["one ", "two ", "three"]


@pytest.mark.parametrize("size", [0, 1, 125])
def test_pings_and_pongs_of_both_sides_pass(socket: ClientConnection, size: int) -> None:
    assert socket.ping(b"p" * size).wait(WAIT_SECONDS)
    socket.pong(b"unasked")
    socket.send("ping")
    assert socket.recv(WAIT_SECONDS) == "pong came"


def test_a_control_frame_passes_between_the_parts_of_a_message(socket: ClientConnection) -> None:
    came = threading.Event()

    def parts() -> Iterator[str]:
        yield "before "
        assert socket.ping(b"between").wait(WAIT_SECONDS)
        came.set()
        yield "behind"

    socket.send(parts())
    assert socket.recv(WAIT_SECONDS) == "before behind"
    assert came.is_set()


def test_many_messages_come_back_in_their_order(socket: ClientConnection) -> None:
    messages = [f"{number}" * (number % 300) for number in range(1000)]
    sender = threading.Thread(target=lambda: [socket.send(each) for each in messages])
    sender.start()
    assert [socket.recv(WAIT_SECONDS) for _ in messages] == messages
    sender.join(WAIT_SECONDS)


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "going"), (1011, "é" * 61), (3000, "x"), (4999, "own")]
)
@pytest.mark.parametrize("first", ["caller", "app"])
def test_each_side_learns_how_the_other_one_closed(
    place: tuple[Gate, SocketApp, str | None], first: str, code: int, reason: str
) -> None:
    app = place[1]
    with opened(place) as socket:
        if first == "caller":
            socket.close(code, reason)
        else:
            socket.send(f"close {code} {reason}")
            with pytest.raises(ConnectionClosed):
                socket.recv(WAIT_SECONDS)
        assert (socket.close_code, socket.close_reason) == (code, reason)
    assert app.has_ended.wait(WAIT_SECONDS)
    assert app.ended[-1] == (code, reason)


def test_a_caller_without_a_token_is_refused_before_the_socket_opens(
    place: tuple[Gate, SocketApp, str | None],
) -> None:
    before = len(place[1].subjects)
    with pytest.raises(InvalidStatus) as caught:
        connect(f"ws://{place[0].address}{PATH}", open_timeout=WAIT_SECONDS, proxy=None)
    assert caught.value.response.status_code == 401
    assert caught.value.response.headers["X-Watchword-Reason"] == "missing_credential"
    assert len(place[1].subjects) == before
