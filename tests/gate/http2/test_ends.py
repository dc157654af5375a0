# SPDX-License-Identifier: Apache-2.0
"""How streams and connections end: with the trust, the gate or their callers, and never one by another."""

from __future__ import annotations

import os
import random
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from testing.controlplane.process import wait_until
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.certificates import certificate, write_pair
from tests.gate.http2.caller import WAIT_SECONDS, Caller, Fields, head
from tests.gate.http2.grpc_app import SERVICE, GrpcApp, running_grpc_app
from tests.gate.proxy.app import App, running_app
from tests.gate.proxy.conftest import ROUTES as APP_ROUTES
from tests.gate.proxy.conftest import bearer
from tests.gate.proxy.scripted import Heard, Script, running_script

ROUTES = [*APP_ROUTES, {"path": f"/{SERVICE}/{{method}}", "methods": ["POST"], "scope": "app:use"}]
GRANTS = [{"scopes": ["app:use"], "accounts": ["acme"]}, {"scopes": ["app:use"]}]
CANCEL = 0x8


def write(path: Path, generation: int = 1, **spec: object) -> Path:
    objects = (issuer(), service(routes=ROUTES), workload(grants=GRANTS, **spec))
    return write_bundle(path, *objects, generation=generation)


def request(method: bytes = b"GET", path: bytes = b"/app/acme/thing", *more: tuple[bytes, bytes]) -> Fields:
    return head(method, path, (b"authorization", bearer().partition(b": ")[2]), *more)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write(tmp_path / "bundle.json")


@pytest.fixture
def place(bundle: Path) -> Iterator[tuple[Gate, App]]:
    with running_app() as app, running_gate(bundle, "--upstream", app.url) as gate:
        yield gate, app


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gate, App]]:
    """One for the tests that leave it as it was."""
    bundle = write(tmp_path_factory.mktemp("standing") / "bundle.json")
    with running_app() as app, running_gate(bundle, "--upstream", app.url) as gate:
        yield gate, app


@pytest.fixture
def grpc_place(bundle: Path) -> Iterator[tuple[Gate, GrpcApp]]:
    with running_grpc_app() as app, running_gate(bundle, "--upstream", app.url) as gate:
        yield gate, app


def test_a_stream_ends_with_the_trust_and_its_neighbour_is_refused(
    place: tuple[Gate, App], bundle: Path
) -> None:
    gate, app = place
    with Caller(gate.address) as caller:
        stream = caller.begin(request(path=b"/app/acme/endless"))
        silent = caller.begin(request(path=b"/app/acme/silent"))
        caller.until(lambda: bool(caller.answers[stream].body))
        write(bundle, 2, suspend=True)
        assert caller.finish(stream).reset_code is not None
        answer = caller.finish(silent)
        assert answer.status == 403
        assert answer.value(b"x-watchword-reason") == b"suspended"
        assert caller.ask(request()).status == 403
    assert app.callers_gone.wait(WAIT_SECONDS)


def test_a_grpc_stream_ends_with_a_status_that_says_why(
    grpc_place: tuple[Gate, GrpcApp], bundle: Path
) -> None:
    gate, app = grpc_place
    metadata = (("authorization", bearer().partition(b": ")[2].decode()),)
    with grpc.insecure_channel(gate.address) as channel:
        call = channel.unary_stream(f"/{SERVICE}/ServerStream", None, None)
        answers = call(b"forever", metadata=metadata, timeout=WAIT_SECONDS)
        assert next(answers)
        write(bundle, 2, suspend=True)
        with pytest.raises(grpc.RpcError) as caught:
            for _ in answers:
                pass
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert caught.value.details().startswith("suspended: ")
    assert app.cancelled.wait(WAIT_SECONDS)


def test_a_gate_that_was_told_lets_streams_end_and_begins_no_connection_anew(place: tuple[Gate, App]) -> None:
    gate, app = place
    with Caller(gate.address) as caller:
        waiting = caller.begin(request(path=b"/app/acme/stream"))
        caller.until(lambda: bool(caller.answers[waiting].body))
        os.kill(gate.pid, signal.SIGUSR1)
        wait_until(lambda: gate.ready().status_code == 503, what="the gate told")
        assert caller.ask(request()).status == 200
        caller.until(lambda: caller.goaway is not None)
        assert caller.goaway == (0, 2**31 - 1)
        app.go_on.set()
        # The library sends nothing behind a GOAWAY, and takes what comes.
        answer = caller.finish(waiting)
        assert answer.is_whole
        assert answer.body == b"parts"
        caller.until(lambda: caller.is_closed)


def test_a_gate_that_is_ended_answers_what_is_under_way(place: tuple[Gate, App]) -> None:
    gate, app = place
    with Caller(gate.address) as caller:
        waiting = caller.begin(request(path=b"/app/acme/stream"))
        caller.until(lambda: bool(caller.answers[waiting].body))
        os.kill(gate.pid, signal.SIGTERM)
        caller.until(lambda: caller.goaway is not None)
        app.go_on.set()
        assert caller.finish(waiting).body == b"parts"
        caller.until(lambda: caller.is_closed)


def test_a_caller_that_resets_or_goes_is_gone_for_the_app(standing: tuple[Gate, App]) -> None:
    gate, app = standing
    with Caller(gate.address) as caller:
        stream = caller.begin(request(path=b"/app/acme/endless"))
        caller.until(lambda: bool(caller.answers[stream].body))
        caller.h2.reset_stream(stream, CANCEL)
        caller.flush()
        assert app.callers_gone.wait(WAIT_SECONDS)
        app.callers_gone.clear()
        stream = caller.begin(request(path=b"/app/acme/endless"))
        caller.until(lambda: bool(caller.answers[stream].body))
    assert app.callers_gone.wait(WAIT_SECONDS)


@pytest.mark.parametrize("seed", range(5))
def test_bodies_of_streams_that_take_turns_stay_apart(standing: tuple[Gate, App], seed: int) -> None:
    gate, _ = standing
    turns = random.Random(seed)
    with Caller(gate.address) as caller:
        left: dict[int, list[bytes]] = {}
        whole: dict[int, bytes] = {}
        reset = set()
        for number in range(60):
            stream = caller.begin(request(b"POST"), is_end=False)
            parts = [bytes([number]) * turns.randrange(0, 5000) for _ in range(turns.randrange(1, 6))]
            left[stream], whole[stream] = parts, b"".join(parts)
            while left and (len(left) > 20 or number == 59):
                stream = turns.choice(list(left))
                if turns.random() < 0.02:
                    caller.h2.reset_stream(stream, CANCEL)
                    caller.flush()
                    reset.add(stream)
                    del left[stream]
                    continue
                part = left[stream].pop(0)
                caller.send(stream, part, is_end=not left[stream])
                if not left[stream]:
                    del left[stream]
        for stream, body in whole.items():
            if stream not in reset:
                answer = caller.finish(stream)
                assert answer.is_whole
                assert answer.body == body


def test_a_caller_of_tls_agrees_on_http2(bundle: Path, tmp_path: Path) -> None:
    crt, key = write_pair(tmp_path, certificate("gate"))
    with running_app() as app:
        flags = ("--upstream", app.url, "--tls-cert", str(crt), "--tls-key", str(key))
        with running_gate(bundle, *flags) as gate:
            host, port = gate.address.removeprefix("https://").rsplit(":", 1)
            for protocol in ("h2", "http/1.1"):
                context = ssl.create_default_context(cafile=str(crt))
                context.set_alpn_protocols([protocol])
                plain = socket.create_connection((host, int(port)), WAIT_SECONDS)
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as link:
                    assert link.selected_alpn_protocol() == protocol
                    if protocol == "h2":
                        answer = Caller("", link=link).ask(request())
                        assert answer.status == 200
                        assert app.seen[-1].values(b"x-forwarded-proto") == [b"https"]
                    else:
                        # What was agreed on is what is spoken: the preface is no HTTP/1.1 request.
                        link.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                        assert link.recv(100).startswith(b"HTTP/1.1 400 ")


def test_curl_speaks_http2_with_prior_knowledge(standing: tuple[Gate, App]) -> None:
    gate, _ = standing
    flags = ["--silent", "--show-error", "--max-time", "60", "--http2-prior-knowledge"]
    command = [
        "curl",
        *flags,
        "--header",
        bearer().decode(),
        "--data",
        "hello",
        "--write-out",
        "\n%{http_version}",
    ]
    done = subprocess.run(
        [*command, f"{gate.url}/app/acme/thing"], capture_output=True, text=True, timeout=90, check=True
    )
    assert done.stdout == "hello\n2"


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_preface_in_two_parts_is_one(standing: tuple[Gate, App], cut: int) -> None:
    gate, _ = standing
    host, port = gate.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), WAIT_SECONDS) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        class Halves:
            """A socket that sends its first bytes in two parts."""

            def __init__(self) -> None:
                self.is_first = True

            def sendall(self, data: bytes) -> None:
                if self.is_first:
                    self.is_first = False
                    link.sendall(data[:cut])
                    threading.Event().wait(0.02)
                    data = data[cut:]
                link.sendall(data)

            recv = link.recv

        assert Caller("", link=Halves()).ask(head(b"GET", b"/authz")).status == 401  # type: ignore[arg-type]


def test_http_1_1_behind_the_first_bytes_is_what_it_was(standing: tuple[Gate, App]) -> None:
    gate, _ = standing
    host, port = gate.address.rsplit(":", 1)
    for first in (b"P", b"PR", b"PRI ", b"PRI * HTTP/2.0\r\n\r\nSN"):
        with socket.create_connection((host, int(port)), WAIT_SECONDS) as link:
            link.sendall(first)
            threading.Event().wait(0.02)
            link.sendall(b"OST /authz HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda link=link: link.recv(65536), b""))  # type: ignore[misc]
        assert answer.startswith(b"HTTP/1.1 401 " if len(first) < 3 else b"HTTP/1.1 400 ")


def post(gate: Gate, path: str, **headers: str) -> httpx.Response:
    with httpx.Client(base_url=gate.url, trust_env=False, timeout=WAIT_SECONDS) as client:
        return client.post(path, headers=headers)


def test_http_1_1_for_an_app_of_http2_is_told_what_to_speak(grpc_place: tuple[Gate, GrpcApp]) -> None:
    gate, app = grpc_place
    token = bearer().decode().removeprefix("Authorization: Bearer ")
    answer = post(gate, f"/{SERVICE}/Unary", Authorization=f"Bearer {token}")
    assert (answer.status_code, answer.json()["reason"]) == (505, "http2_only")
    assert post(gate, f"/{SERVICE}/Unary").status_code == 401
    assert app.seen == []


def gone(heard: Heard) -> None:
    del heard


def of_http_1_1(heard: Heard) -> bytes:
    del heard
    return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("script", [gone, of_http_1_1])
def test_an_app_that_goes_or_does_not_speak_http2_is_the_apps_trouble(bundle: Path, script: Script) -> None:
    with (
        running_script(script) as app,
        running_gate(bundle, "--upstream", f"h2c://127.0.0.1:{app.port}") as gate,
        Caller(gate.address) as caller,
    ):
        answer = caller.ask(request())
        assert (answer.status, answer.value(b"x-watchword-upstream")) == (502, b"broken")
        assert b"HTTP/2" in answer.body
        kind = (b"content-type", b"application/grpc")
        answer = caller.ask(request(b"POST", b"/demo.Echo/Unary", kind), b"")
        assert dict(answer.fields)[b"grpc-status"] == b"14"
