# SPDX-License-Identifier: Apache-2.0
"""A real gate ends what it passes on when the next bundle withdraws the trust, and when the token is over."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import websocket

from testing import tokens
from testing.gate_process import running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.proxy.app import App, running_app
from tests.gate.proxy.conftest import GRANTS, ROUTES, Front
from tests.gate.proxy.test_passing_on import read_until, status_of
from tests.gate.proxy.test_tunnel import UPGRADE

# A connection that does not end is a failure, and a minute would be long to wait for it.
WAIT_SECONDS = 20
ENDED = "watchword_long_connections_ended_total"


class Trust:
    """The bundle of a running gate, and how to change it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bundle.json"
        self.generation = 0
        self.write(issuer(), service(routes=ROUTES, token={"clockSkewSeconds": 0}), workload(grants=GRANTS))

    def write(self, *objects: dict[str, Any]) -> None:
        self.generation += 1
        write_bundle(self.path, *objects, generation=self.generation)

    def withdraw(self) -> None:
        """Suspend the one workload."""
        self.write(issuer(), service(routes=ROUTES), workload(grants=GRANTS, suspend=True))


@contextmanager
def running_front(trust: Trust, *flags: str) -> Iterator[Front]:
    with running_app() as app, running_gate(trust.path, "--upstream", app.url, *flags) as gate:
        yield Front(gate, app)


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(tmp_path)


@pytest.fixture
def front(trust: Trust) -> Iterator[Front]:
    with running_front(trust) as front:
        yield front


def bearer(seconds: float = 3000) -> bytes:
    now = int(time.time())
    return b"Authorization: Bearer " + tokens.token(iat=now - 5, nbf=now - 5, exp=now + int(seconds))


def opening(path: bytes, *lines: bytes, credential: bytes | None = None, method: bytes = b"GET") -> bytes:
    head = [method + b" " + path + b" HTTP/1.1", b"Host: gate", credential or bearer(), *lines]
    return b"\r\n".join([*head, b"", b""])


def rest_of(link: socket.socket) -> bytes:
    """All that still comes; a connection that is reset has nothing more to say."""
    link.settimeout(WAIT_SECONDS)
    found = b""
    try:
        while data := link.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found


def entries(front: Front) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in front.gate.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("outcome") == "ended"]


def gone(app: App) -> bool:
    return app.callers_gone.wait(WAIT_SECONDS)


def test_a_stream_of_events_breaks_off_when_trust_is_withdrawn(front: Front, trust: Trust) -> None:
    with front.connect() as link:
        link.sendall(opening(b"/app/acme/events"))
        read_until(link, b"data: a\n\n\r\n")
        trust.withdraw()
        # No last chunk: nobody takes half of it for all.
        assert b"0\r\n\r\n" not in rest_of(link)
    assert gone(front.app)
    assert front.gate.metric(ENDED, reason="suspended") == 1
    [entry] = entries(front)
    assert entry["subject"] == "system:serviceaccount:atlas-production:atlas"
    assert entry["unproven"]["path"] == "/app/acme/events"


def test_an_answer_that_was_not_begun_becomes_the_refusal(front: Front, trust: Trust) -> None:
    with front.connect() as link:
        link.sendall(opening(b"/app/acme/silent", b"Connection: close"))
        while not front.app.seen:
            time.sleep(0.01)
        trust.withdraw()
        answer = rest_of(link)
    assert status_of(answer) == 403
    assert b"x-watchword-reason: suspended" in answer


def test_an_upload_in_progress_is_cut_off_on_both_sides(front: Front, trust: Trust) -> None:
    front.app.go_on.clear()
    with front.connect() as link:
        head = opening(b"/app/acme/takes-a-body", b"Transfer-Encoding: chunked", method=b"POST")
        link.sendall(head + b"4\r\npart\r\n")
        assert front.app.go_on.wait(WAIT_SECONDS)
        trust.withdraw()
        answer = link.recv(65536)
        assert status_of(answer) == 403
        assert b"x-watchword-reason: suspended" in answer
    assert gone(front.app)


def test_a_real_websocket_client_gets_1008_and_the_reason(front: Front, trust: Trust) -> None:
    name, _, value = bearer().decode().partition(": ")
    client = websocket.create_connection(
        f"ws://{front.gate.address}/app/acme/frames", header={name: value}, timeout=WAIT_SECONDS
    )
    assert client.recv() == "hello"
    trust.withdraw()
    opcode, payload = client.recv_data(control_frame=True)
    assert opcode == websocket.ABNF.OPCODE_CLOSE
    assert payload == (1008).to_bytes(2) + b"suspended"
    client.shutdown()
    assert gone(front.app)


def test_a_websocket_in_the_middle_of_a_frame_is_reset_and_gets_no_byte_more(
    front: Front, trust: Trust
) -> None:
    with front.connect() as link:
        link.sendall(opening(b"/app/acme/half-a-frame", *UPGRADE))
        read_until(link, b"\x81\x0ahello")
        trust.withdraw()
        assert rest_of(link) == b""
    assert gone(front.app)


def test_a_websocket_that_the_app_has_not_taken_yet_is_refused(front: Front, trust: Trust) -> None:
    with front.connect() as link:
        link.sendall(opening(b"/app/acme/silent", *UPGRADE))
        while not front.app.seen:
            time.sleep(0.01)
        trust.withdraw()
        answer = rest_of(link)
    assert status_of(answer) == 403
    assert b"x-watchword-reason: suspended" in answer


def test_nothing_that_the_caller_says_after_the_end_reaches_the_app(front: Front, trust: Trust) -> None:
    with front.connect() as link:
        link.sendall(opening(b"/app/acme/frames", *UPGRADE))
        read_until(link, b"hello")
        trust.withdraw()
        rest = rest_of(link)
        assert rest == b"\x88\x0b\x03\xf0suspended"
    assert gone(front.app)


def test_what_is_still_trusted_goes_on_through_new_bundles(front: Front, trust: Trust) -> None:
    with front.connect() as link:
        link.sendall(opening(b"/app/acme/stream"))
        read_until(link, b"part\r\n")
        for number in range(2):
            adopted = trust.generation + 1
            spec = {"routes": ROUTES, "limits": {"requestsPerSecond": 100 + number, "burst": 200}}
            trust.write(issuer(), service(**spec), workload(grants=GRANTS))
            while front.gate.metric("watchword_bundle_generation") != adopted:
                time.sleep(0.02)
        front.app.go_on.set()
        assert read_until(link, b"0\r\n\r\n").endswith(b"s\r\n0\r\n\r\n")


@pytest.mark.parametrize("path", [b"/app/acme/events", b"/app/acme/frames"])
def test_it_ends_with_the_token_and_the_grace_of_the_flag(trust: Trust, path: bytes) -> None:
    upgrade = UPGRADE if path.endswith(b"frames") else ()
    with running_front(trust, "--long-connection-grace", "1") as front, front.connect() as link:
        link.sendall(opening(path, *upgrade, credential=bearer(3)))
        read_until(link, b"hello" if upgrade else b"data: a\n\n\r\n")
        rest = rest_of(link)
        assert rest == (b"\x88\x09\x03\xf0expired" if upgrade else b"")
        assert gone(front.app)
        assert front.gate.metric(ENDED, reason="expired") == 1
