# SPDX-License-Identifier: Apache-2.0
"""What lies in a resting connection to the app is seen before a request is sent on it, in a busy gate too.

A stopped process stands for a long turn of the loop: request and stray bytes are both there when it goes on,
and the request, which came first, is read first.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testing.controlplane.process import wait_until
from tests.gate.proxy.scripted import Heard, Scene, read_until, request, scene

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 3\r\nConnection: close\r\n\r\nBAD"
STRAY = {
    "the end": b"",
    "408": TIMED_OUT,
    "200": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nBAD",
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: BAD\r\n\r\n",
    "a byte": b"B",
}


def answer(heard: Heard) -> bytes:
    return OK


@contextmanager
def stopped(place: Scene) -> Iterator[None]:
    """Have the gate's process stand still, and go on at the end."""
    os.kill(place.gate.pid, signal.SIGSTOP)
    try:
        status = Path(f"/proc/{place.gate.pid}/stat")
        wait_until(lambda: status.read_text().rpartition(")")[2].split()[0] == "T", what="stopped")
        yield
    finally:
        os.kill(place.gate.pid, signal.SIGCONT)


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("what", STRAY)
def test_a_connection_on_which_something_came_is_not_used(tmp_path: Path, what: str, method: bytes) -> None:
    line, more = method + b" /app/acme/x HTTP/1.1", [b"Content-Length: 0"] if method == b"POST" else []
    with scene(tmp_path, answer) as place, place.connect() as link:
        for number in range(3):
            link.sendall(request(line, *more))
            assert read_until(link, b"\r\n\r\nok").startswith(b"HTTP/1.1 200")
            resting = place.app.used[-1]
            with stopped(place):
                link.sendall(request(line, *more))
                if STRAY[what]:
                    resting.sendall(STRAY[what])
                else:
                    resting.shutdown(socket.SHUT_WR)
            found = read_until(link, b"\r\n\r\nok")
            assert found.startswith(b"HTTP/1.1 200")
            assert b"BAD" not in found
            # Neither was it lost there and sent again: it came on a new connection, once.
            assert [each.turn for each in place.app.heard] == [0] * (2 * number + 2)
            with stopped(place):
                place.app.used[-1].shutdown(socket.SHUT_WR)
