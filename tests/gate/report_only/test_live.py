# SPDX-License-Identifier: Apache-2.0
"""A real gate that only reports: WebSockets, streams, HTTP/2 and gRPC pass, and end with it by themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import websocket

from testing import tokens
from testing.gate_process import running_gate, write_bundle
from testing.manifests import issuer, reporting_namespace, service, workload
from tests.gate.http2.caller import Caller, head
from tests.gate.http2.grpc_app import OPTIONS, SERVICE, GrpcApp, running_grpc_app
from tests.gate.proxy.app import running_app
from tests.gate.proxy.conftest import GRANTS, ROUTES, Front
from tests.gate.proxy.test_passing_on import read_until, status_of
from tests.gate.report_only.rules import at

WAIT_SECONDS = 60
ENDED = "watchword_long_connections_ended_total"
WOULD_REFUSE = b"x-watchword-would-refuse"
GRPC_ROUTES = [{"path": f"/{SERVICE}/{{method}}", "methods": ["POST"], "scope": "echo:call"}]


class Bundle:
    """The bundle of a running gate."""

    def __init__(self, folder: Path, routes: list[dict[str, Any]], grants: list[dict[str, Any]]) -> None:
        self.path, self._routes, self._grants = folder / "bundle.json", routes, grants
        self.report_for(3600)

    def report_for(self, seconds: float) -> float:
        """Report for so long from now on; the time of the end."""
        now = time.time()
        self._write(now, reportOnlyUntil=at(now + seconds))
        return float(int(now + seconds))

    def _write(self, now: float, **spec: Any) -> None:
        objects = (
            issuer(),
            service(routes=self._routes, usage={"basePath": "/internal"}, **spec),
            workload(grants=self._grants),
            reporting_namespace(),
        )
        write_bundle(self.path, *objects, generation=int(now * 1000), now=now)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path, ROUTES, GRANTS)


@pytest.fixture
def front(bundle: Bundle) -> Iterator[Front]:
    with running_app() as app, running_gate(bundle.path, "--upstream", app.url) as gate:
        yield Front(gate, app)


def refuses(front: Front) -> bool:
    """Whether a stranger is refused by now."""
    return status_of(front.ask(b"GET /app/acme/echo HTTP/1.1", credential=b"")) == 401


def wait_until_it_refuses(front: Front) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not refuses(front):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_stream_and_a_websocket_of_strangers_end_with_it(front: Front, bundle: Bundle) -> None:
    client = websocket.create_connection(
        f"ws://{front.gate.address}/app/acme/frames",
        timeout=WAIT_SECONDS,
        header={"X-Watchword-Subject": "x"},
    )
    assert client.getheaders()[WOULD_REFUSE.decode()] == "missing_credential"
    assert client.recv() == "hello"
    asked = front.app.seen[-1]
    assert asked.values(WOULD_REFUSE) == [b"missing_credential"]
    assert asked.values(b"x-watchword-subject") == [b""]
    with front.connect() as link:
        link.sendall(b"GET /app/acme/events HTTP/1.1\r\nHost: gate\r\n\r\n")
        head_of_answer = read_until(link, b"data: a\n\n\r\n")
        assert WOULD_REFUSE + b": missing_credential\r\n" in head_of_answer
        end = bundle.report_for(3)
        rest = b""
        try:
            while part := link.recv(65536):
                rest += part
        except ConnectionResetError:
            pass
        # No last chunk, and not before its time.
        assert b"0\r\n\r\n" not in rest
        assert time.time() >= end
    opcode, payload = client.recv_data(control_frame=True)
    assert (opcode, payload) == (websocket.ABNF.OPCODE_CLOSE, b"\x03\xf0missing_credential")
    client.shutdown()
    wait_until_it_refuses(front)
    assert front.gate.metric(ENDED, reason="missing_credential") == 2
    lines = [json.loads(line) for line in front.gate.log.read_text().splitlines() if line.startswith("{")]
    outcomes = [line["outcome"] for line in lines if "outcome" in line]
    assert outcomes.count("would_refuse") >= 2
    assert outcomes.count("ended") == 2


def test_an_app_cannot_say_what_the_gate_says(front: Front) -> None:
    # The app's own headers of the gate's name are dropped, of a yes and of what is reported.
    answer = front.ask(b"GET /app/acme/forges HTTP/1.1", credential=b"")
    lines = [line for line in answer.lower().split(b"\r\n") if line.startswith(WOULD_REFUSE)]
    assert lines == [WOULD_REFUSE + b": missing_credential"]


def test_a_switch_of_protocols_by_an_app_cannot_say_it_either(front: Front) -> None:
    now = int(time.time())
    token = tokens.token(iat=now - 60, nbf=now - 60, exp=now + 3000)
    client = websocket.create_connection(
        f"ws://{front.gate.address}/app/acme/frames",
        timeout=WAIT_SECONDS,
        header={"Authorization": f"Bearer {token.decode()}"},
    )
    assert client.recv() == "hello"
    assert WOULD_REFUSE.decode() not in client.getheaders()
    client.shutdown()


def test_usage_is_refused_as_ever(front: Front) -> None:
    for path in ("/internal/accounts/acme/usage", "/internal/usage", "/internal/usage/meters"):
        answer = httpx.get(f"http://{front.gate.address}{path}", trust_env=False)
        assert answer.status_code == 401
        assert answer.headers["x-watchword-reason"] == "missing_credential"
    answer = httpx.post(f"http://{front.gate.address}/internal/usage/events", trust_env=False, json=[])
    assert answer.status_code == 401


def test_http_2_passes_and_refuses_the_same(front: Front, bundle: Bundle) -> None:
    basic = (b"authorization", b"Basic eDp5")
    forged = (WOULD_REFUSE, b"nothing"), (b"x-watchword-subject", b"root")
    with Caller(front.gate.address) as caller:
        answer = caller.ask(head(b"POST", b"/app/acme/echo", basic, *forged), b"a=1")
        assert (answer.status, answer.body) == (200, b"a=1")
        assert answer.values(WOULD_REFUSE) == [b"malformed_credential"]
        seen = front.app.seen[-1]
        assert seen.values(WOULD_REFUSE) == [b"malformed_credential"]
        assert seen.values(b"x-watchword-subject") == [b""]
        assert seen.values(b"authorization") == [b"Basic eDp5"]
        assert caller.ask(head(b"GET", b"/authz")).status == 401
        assert caller.ask(head(b"GET", b"/authz/envoy/app/acme/echo")).status == 401
        twice = caller.ask(head(b"GET", b"/app/acme/echo", basic, basic))
        assert twice.status == 400
        now = int(time.time())
        signed = tokens.token(aud=["other"], iat=now - 60, nbf=now - 60, exp=now + 3000)
        answer = caller.ask(head(b"GET", b"/app/acme/echo", (b"authorization", b"Bearer " + signed)))
        assert answer.values(WOULD_REFUSE) == [b"wrong_audience"]
        assert front.app.seen[-1].values(b"authorization") == []
        long = caller.begin(head(b"GET", b"/app/acme/events"))
        caller.until(lambda: bool(caller.answers[long].body))
        end = bundle.report_for(3)
        ended = caller.finish(long)
        assert time.time() >= end
        assert ended.reset_code is not None
        wait_until_it_refuses(front)
        assert caller.ask(head(b"GET", b"/app/acme/echo", basic)).status == 400


@pytest.fixture
def app() -> Iterator[GrpcApp]:
    with running_grpc_app() as running:
        yield running


def test_grpc_calls_pass_and_end_with_a_status_that_says_why(app: GrpcApp, tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, GRPC_ROUTES, [{"scopes": ["echo:call"]}])
    with (
        running_gate(bundle.path, "--upstream", app.url) as gate,
        grpc.insecure_channel(gate.address, options=OPTIONS) as channel,
    ):
        unary = channel.unary_unary(f"/{SERVICE}/Unary", None, None)
        answer, call = unary.with_call(b"hello", timeout=WAIT_SECONDS)
        assert answer == b"hello"
        assert ("x-watchword-would-refuse", "missing_credential") in call.initial_metadata()
        assert app.seen[-1]["x-watchword-would-refuse"] == "missing_credential"
        assert app.seen[-1]["x-watchword-subject"] == ""
        stream = channel.unary_stream(f"/{SERVICE}/ServerStream", None, None)(
            b"forever", timeout=WAIT_SECONDS
        )
        next(stream)
        end = bundle.report_for(3)
        with pytest.raises(grpc.RpcError) as ended:
            for _ in stream:
                pass
        assert time.time() >= end
        assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert ("x-watchword-reason", "missing_credential") in ended.value.trailing_metadata()
        assert app.cancelled.wait(WAIT_SECONDS)
        with pytest.raises(grpc.RpcError) as refused:
            unary(b"hello", timeout=WAIT_SECONDS)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
