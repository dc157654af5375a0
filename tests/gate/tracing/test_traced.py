# SPDX-License-Identifier: Apache-2.0
"""Requests in the traces of a real gate: from a caller's span to the app, and what never shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from testing.controlplane.process import wait_until
from testing.gate_process import Gate, running_gate, write_bundle
from testing.logs import log_lines
from testing.manifests import issuer, service, workload
from tests.gate.http2.caller import Caller, head
from tests.gate.http2.grpc_app import SERVICE, GrpcApp, running_grpc_app
from tests.gate.proxy.app import App, running_app
from tests.gate.proxy.conftest import Front, bearer
from tests.gate.proxy.test_passing_on import read_until
from tests.gate.proxy.test_tunnel import opening
from tests.gate.tracing.receiver import Receiver, Span, attributes, running_receiver
from watchword.client import TokenFile, WatchwordAuth

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
WAIT_SECONDS = 60
METHODS = ["GET", "POST"]
ROUTES = [
    {"path": "/app/{account}/{name}", "methods": METHODS, "scope": "app:use"},
    {"path": "/admin/{account}", "methods": METHODS, "scope": "app:administer"},
    {"path": f"/{SERVICE}/{{method}}", "methods": ["POST"], "scope": "app:use"},
]
USAGE = {"meters": [{"name": "hits", "eventType": "cache.hit", "aggregation": "count"}]}
GRANTS = [{"scopes": ["app:use", "account:usage:read"], "accounts": ["acme"]}, {"scopes": ["app:use"]}]


def traceparent(number: int = 0, flags: str = "01", span: str = SPAN) -> bytes:
    """One for a trace of its own."""
    return f"00-{trace_of(number)}-{span}-{flags}".encode()


def trace_of(number: int) -> str:
    return f"{number:032x}" if number else TRACE


def sent(number: int, *more: bytes) -> tuple[bytes, ...]:
    return (b"traceparent: " + traceparent(number), *more)


def environment(receiver: Receiver, **more: str) -> dict[str, str]:
    """What tells a gate of a receiver, and to wait for nothing."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "10", **more}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    objects = (issuer(), service(routes=ROUTES, usage=USAGE), workload(grants=GRANTS))
    return write_bundle(tmp_path_factory.mktemp("traced") / "bundle.json", *objects)


@pytest.fixture(scope="module")
def front(receiver: Receiver, bundle: Path) -> Iterator[Front]:
    """A gate that traces all, with an app behind it."""
    with running_app() as app:
        flags = ("--upstream", app.url, "--trace-sample-ratio", "1", "--audit", "all", "--log-level", "debug")
        with running_gate(
            bundle, *flags, "--upstream-timeout-seconds", "2", environment=environment(receiver)
        ) as gate:
            yield Front(gate, app)


def in_trace(trace_id: str) -> Any:
    return lambda span: span.trace_id.hex() == trace_id


def server_and_decision(receiver: Receiver, trace_id: str) -> tuple[Span, Span]:
    """The two spans of a request that was for the app."""
    spans = receiver.wait_for(2, in_trace(trace_id))
    assert len(spans) == 2
    server = next(each for each in spans if each.kind == each.SPAN_KIND_SERVER)
    [decision] = [each for each in spans if each is not server]
    assert decision.kind == decision.SPAN_KIND_INTERNAL
    assert decision.parent_span_id == server.span_id
    assert server.start_time_unix_nano <= decision.start_time_unix_nano
    assert decision.start_time_unix_nano <= decision.end_time_unix_nano <= server.end_time_unix_nano
    return server, decision


def audited(front: Front, trace_id: str) -> dict[str, Any]:
    """The one line of the audit log about a trace."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        lines = [line for line in front.gate.log.read_text().splitlines() if trace_id in line]
        found[:] = [entry for entry in map(json.loads, lines) if "outcome" in entry]
        return bool(found)

    wait_until(is_there, what="the audit log", timeout_seconds=WAIT_SECONDS)
    assert len(found) == 1
    return found[0]


def test_one_trace_goes_from_the_callers_span_through_the_gate_to_the_app(
    front: Front, receiver: Receiver, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_bytes(bearer().removeprefix(b"Authorization: Bearer "))
    tracer = TracerProvider().get_tracer("test")
    with httpx.Client(auth=WatchwordAuth(TokenFile(path)), trust_env=False, timeout=WAIT_SECONDS) as client:
        with tracer.start_as_current_span("the caller's") as span:
            assert client.get(f"{front.gate.url}/app/acme/x").status_code == 200
        assert client.get(f"{front.gate.url}/app/acme/without").status_code == 200
    context = span.get_span_context()
    trace_id = f"{context.trace_id:032x}"
    server, decision = server_and_decision(receiver, trace_id)
    assert server.parent_span_id.hex() == f"{context.span_id:016x}"
    [request] = [each for each in front.app.seen if each.line.startswith(b"GET /app/acme/x ")]
    assert request.values(b"traceparent") == [f"00-{trace_id}-{server.span_id.hex()}-01".encode()]
    assert server.name == "GET /app/{account}/{name}"
    assert attributes(server) == {
        "http.request.method": "GET",
        "http.route": "/app/{account}/{name}",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "network.peer.address": "127.0.0.1",
    }
    said = attributes(decision)
    entry = audited(front, trace_id)
    assert said["watchword.decision.id"] == entry["decision_id"]
    assert said["watchword.decision.outcome"] == "allowed"
    assert said["watchword.workload"] == entry["workload"]
    assert said["watchword.issuer"] == entry["issuer"]
    assert said["http.route"] == "/app/{account}/{name}"
    # Which trace it is, is what the caller says.
    assert entry["unproven"]["trace_id"] == trace_id
    assert "trace_id" not in entry
    # A caller without a span sends none, and the gate begins a trace.
    [request] = [each for each in front.app.seen if each.line.startswith(b"GET /app/acme/without ")]
    [begun] = request.values(b"traceparent")
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01", begun)
    own = begun.split(b"-")[1].decode()
    server, _ = server_and_decision(receiver, own)
    assert not server.parent_span_id
    assert audited(front, own)["trace_id"] == own


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ((b"traceparent: 00-" + b"0" * 32 + b"-" + SPAN.encode() + b"-01",), None),
        ((b"traceparent: " + traceparent(0x11), b"traceparent: " + traceparent(0x12)), None),
        ((b"traceparent: " + traceparent(0x13) + b"," + traceparent(0x14),), None),
        ((b"traceparent: " + traceparent(0x15).upper().replace(b"15", b"1F"),), None),
        ((b"traceparent: " + b"0" * 8000,), None),
        ((b"tracestate: a=b",), None),
        (sent(0x16, b"tracestate: a=b,c=d"), (0x16, [b"a=b,c=d"])),
        (sent(0x17, b"tracestate: " + b",".join(b"a%d=b" % number for number in range(33))), (0x17, [])),
        (sent(0x18, b"tracestate: a=b", b"tracestate: c=d"), (0x18, [b"a=b,c=d"])),
        (sent(0x19, b"tracestate: a=b", b"tracestate: a=d"), (0x19, [])),
        (sent(0x1A, b"tracestate: " + b"a" * 7000), (0x1A, [])),
        # Per connection, it is for the gate alone.
        (sent(0x1B, b"Connection: close, traceparent, tracestate", b"tracestate: a=b"), (0x1B, [b"a=b"])),
    ],
)
def test_what_is_malformed_is_dropped_and_a_trace_begins(
    front: Front, lines: tuple[bytes, ...], parts: tuple[int, list[bytes]] | None
) -> None:
    assert b" 200 " in front.ask(b"GET /app/acme/malformed HTTP/1.1", *lines, b"baggage: user=root")
    seen = front.app.seen[-1]
    [given] = seen.values(b"traceparent")
    _, trace_id, span_id, flags = given.decode().split("-")
    assert span_id != SPAN
    assert flags == "01"
    assert seen.values(b"baggage") == []
    if parts is None:
        assert trace_id not in b" ".join(lines).decode()
        assert seen.values(b"tracestate") == []
    else:
        assert trace_id == trace_of(parts[0])
        assert seen.values(b"tracestate") == parts[1]


def test_a_known_read_begins_a_trace_each_time(front: Front, receiver: Receiver) -> None:
    request = b"GET /app/acme/known HTTP/1.1\r\nHost: gate\r\n" + bearer() + b"\r\n\r\n"
    named = request.replace(b"\r\n\r\n", b"\r\ntraceparent: " + traceparent(0x21) + b"\r\n\r\n")
    with front.connect() as link:
        for each in (request, request, request, request, named, named, request):
            link.sendall(each)
            read_until(link, b"\r\n\r\n")
    seen = [each for each in front.app.seen if b"/known " in each.line]
    values = [each.values(b"traceparent")[0].split(b"-") for each in seen]
    assert len({value[2] for value in values}) == 7
    traces = [value[1].decode() for value in values]
    assert traces.count(trace_of(0x21)) == 2
    assert len(set(traces)) == 6
    assert all(len(each.values(b"traceparent")) == 1 for each in seen)
    for each in set(traces):
        receiver.wait_for(4 if each == trace_of(0x21) else 2, in_trace(each))


def test_authz_is_one_span_and_a_child_of_the_proxys(front: Front, receiver: Receiver) -> None:
    line = b"GET /authz/nginx HTTP/1.1"
    original = (b"X-Original-Method: GET", b"X-Original-URI: /app/acme/x?token=secret-in-a-query")
    answers = [
        front.ask(line, *original, *sent(0x31)),
        front.ask(b"GET /authz HTTP/1.1", *sent(0x32)),
        front.ask(b"POST /authz HTTP/1.1", *sent(0x33), b"Content-Length: 2", body=b"{}"),
        front.ask(b"GET /authz HTTP/1.1", *sent(0x34), credential=b"X-None: 1"),
    ]
    assert [int(each.split(b" ")[1]) for each in answers] == [200, 200, 200, 401]
    assert not any(b"traceparent" in each.lower() for each in answers)
    for number in range(0x31, 0x35):
        [span] = receiver.wait_for(1, in_trace(trace_of(number)))
        assert span.name == "watchword.decide"
        assert span.kind == span.SPAN_KIND_SERVER
        assert span.parent_span_id.hex() == SPAN
        said = attributes(span)
        assert said["http.response.status_code"] == (401 if number == 0x34 else 200)
        assert said.get("watchword.decision.reason") == ("missing_credential" if number == 0x34 else None)
        assert said.get("http.route") == ("/app/{account}/{name}" if number == 0x31 else None)
    assert audited(front, trace_of(0x34))["reason"] == "missing_credential"


def test_the_usage_read_model_is_traced(front: Front, receiver: Receiver) -> None:
    answer = front.ask(b"GET /api/internal/accounts/acme/usage HTTP/1.1", *sent(0x38))
    # Allowed, and nothing is there.
    assert b"account_not_found" in answer
    [span] = receiver.wait_for(1, in_trace(trace_of(0x38)))
    assert span.kind == span.SPAN_KIND_SERVER
    assert attributes(span)["watchword.decision.outcome"] == "allowed"


@pytest.mark.parametrize(
    ("number", "path", "expected"),
    [
        (0x41, b"/app/acme/closes", (502, "broken")),
        (0x42, b"/app/acme/silent", (504, "timeout")),
        (0x43, b"/admin/acme", (403, "")),
        (0x44, b"/nowhere/at/all", (403, "")),
        (0x45, b"/app/acme/breaks-off", (200, "broken")),
    ],
)
def test_what_goes_wrong_is_in_the_span(
    front: Front, receiver: Receiver, number: int, path: bytes, expected: tuple[int, str]
) -> None:
    status, error = expected
    front.ask(b"GET %b HTTP/1.1" % path, *sent(number))
    server, decision = server_and_decision(receiver, trace_of(number))
    said = attributes(server)
    assert said["http.response.status_code"] == status
    assert said.get("error.type", "") == error
    assert (server.status.code == server.status.STATUS_CODE_ERROR) == bool(error)
    refused = attributes(decision).get("watchword.decision.reason", "")
    assert bool(refused) == (status == 403)
    assert decision.status.code == decision.status.STATUS_CODE_UNSET


def test_a_caller_that_goes_away_is_in_the_span(front: Front, receiver: Receiver) -> None:
    with front.connect() as link:
        lines = (b"GET /app/acme/stream HTTP/1.1", b"Host: gate", bearer(), *sent(0x48), b"", b"")
        link.sendall(b"\r\n".join(lines))
        read_until(link, b"part")
    server, _ = server_and_decision(receiver, trace_of(0x48))
    assert attributes(server)["error.type"] == "caller_gone"


def test_a_websocket_is_traced_up_to_its_switch(front: Front, receiver: Receiver) -> None:
    request = opening().replace(b"\r\n\r\n", b"\r\ntraceparent: " + traceparent(0x51) + b"\r\n\r\n")
    with front.connect() as link:
        link.sendall(request)
        read_until(link, b"hello")
        server, _ = server_and_decision(receiver, trace_of(0x51))
    assert attributes(server)["http.response.status_code"] == 101
    [seen] = front.app.seen[-1].values(b"traceparent")
    assert seen == f"00-{trace_of(0x51)}-{server.span_id.hex()}-01".encode()


def test_http2_is_traced(front: Front, receiver: Receiver) -> None:
    authorization = (b"authorization", bearer().partition(b": ")[2])
    with Caller(front.gate.address) as caller:
        more = (b"traceparent", traceparent(0x61)), (b"tracestate", b"a=b")
        assert caller.ask(head(b"GET", b"/app/acme/x", authorization, *more)).status == 200
        question = head(b"GET", b"/authz", authorization, (b"traceparent", traceparent(0x62)))
        assert caller.ask(question).status == 200
        refused = head(b"GET", b"/admin/acme", authorization, (b"traceparent", traceparent(0x63)))
        assert caller.ask(refused).status == 403
    server, _ = server_and_decision(receiver, trace_of(0x61))
    assert attributes(server)["network.protocol.version"] == "2"
    assert attributes(server)["http.response.status_code"] == 200
    seen = next(
        each for each in front.app.seen if trace_of(0x61).encode() in b"".join(each.values(b"traceparent"))
    )
    assert seen.values(b"traceparent") == [f"00-{trace_of(0x61)}-{server.span_id.hex()}-01".encode()]
    assert seen.values(b"tracestate") == [b"a=b"]
    receiver.wait_for(1, in_trace(trace_of(0x62)))
    server, _ = server_and_decision(receiver, trace_of(0x63))
    assert attributes(server)["http.response.status_code"] == 403


@pytest.fixture(scope="module")
def grpc_front(receiver: Receiver, bundle: Path) -> Iterator[tuple[Gate, GrpcApp]]:
    with running_grpc_app() as app:
        log = bundle.with_name("grpc.log")
        flags = ("--upstream", app.url, "--trace-sample-ratio", "1")
        with running_gate(bundle, *flags, log=log, environment=environment(receiver)) as gate:
            yield gate, app


@pytest.mark.parametrize(
    ("number", "body", "status"),
    [
        (0x71, b"hello", "OK"),
        (0x72, b"fail", "FAILED_PRECONDITION"),
        (0x73, b"hello", "UNAUTHENTICATED"),
    ],
)
def test_a_grpc_call_is_traced(
    grpc_front: tuple[Gate, GrpcApp], receiver: Receiver, number: int, body: bytes, status: str
) -> None:
    gate, app = grpc_front
    credential = status != "UNAUTHENTICATED"
    metadata = [("traceparent", traceparent(number).decode())]
    if credential:
        metadata.append(("authorization", bearer().partition(b": ")[2].decode()))
    with grpc.insecure_channel(gate.address) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Unary", None, None)
        if status == "OK":
            assert call(body, metadata=metadata, timeout=WAIT_SECONDS) == body
        else:
            with pytest.raises(grpc.RpcError) as caught:
                call(body, metadata=metadata, timeout=WAIT_SECONDS)
            assert caught.value.code().name == status
    server, _ = server_and_decision(receiver, trace_of(number))
    said = attributes(server)
    assert said["rpc.system.name"] == "grpc"
    assert said["rpc.response.status_code"] == status
    assert "error.type" not in said
    if credential:
        assert app.seen[-1]["traceparent"] == f"00-{trace_of(number)}-{server.span_id.hex()}-01"


def test_no_span_holds_a_token_a_query_a_path_or_a_header(front: Front, receiver: Receiver) -> None:
    secret = b"secret-of-the-caller"
    token = bearer().removeprefix(b"Authorization: Bearer ")
    lines = (b"X-Key: " + secret, b"tracestate: v=" + secret, b"Cookie: " + secret, b"User-Agent: " + secret)
    path = b"/app/acme/%b?key=%b" % (secret, secret)
    assert b" 200 " in front.ask(b"GET %b HTTP/1.1" % path, *sent(0x81, *lines))
    bad = b"Authorization: Bearer " + token[:-4] + b"AAAA"
    front.ask(b"%b /%b HTTP/1.1" % (b"SECRET-METHOD", secret), *sent(0x82, *lines), credential=bad)
    for number in (0x81, 0x82):
        server_and_decision(receiver, trace_of(number))
    sent_bytes = b"".join(receiver.raw)
    assert secret not in sent_bytes
    assert b"secret-in-a-query" not in sent_bytes
    assert b"SECRET-METHOD" not in sent_bytes
    assert token not in sent_bytes
    assert token.rpartition(b".")[2] not in sent_bytes
    assert b"system:serviceaccount" not in sent_bytes


def test_the_log_of_a_refusal_names_its_trace(receiver: Receiver, bundle: Path, app: App) -> None:
    log = bundle.with_name("refusal.log")
    flags = ("--upstream", app.url, "--trace-sample-ratio", "1")
    with running_gate(bundle, *flags, log=log, environment=environment(receiver)) as gate:
        assert b" 401 " in Front(gate, app).ask(
            b"GET /app/acme/x HTTP/1.1", *sent(0x91), credential=b"X-A: b"
        )
    [entry] = log_lines(log, "refused")
    assert entry["trace_id"] == trace_of(0x91)


@pytest.fixture
def app() -> Iterator[App]:
    with running_app() as running:
        yield running


def test_the_callers_flag_and_its_trace_id_force_no_sampling(
    receiver: Receiver, bundle: Path, app: App
) -> None:
    # Samplers by ratio take traces whose ids are small or large: a caller may choose either.
    chosen = ["0" * 31 + "1", "f" * 32, "0" * 16 + "f" * 16, "f" * 16 + "0" * 16]
    log = bundle.with_name("unsampled.log")
    flags = ("--upstream", app.url, "--trace-sample-ratio", "1e-15", "--audit", "all")
    variables = environment(receiver, OTEL_TRACES_SAMPLER="always_on")
    with running_gate(bundle, *flags, log=log, environment=variables) as gate:
        for trace_id in chosen:
            value = f"traceparent: 00-{trace_id}-{SPAN}-01".encode()
            assert b" 200 " in Front(gate, app).ask(b"GET /app/acme/x HTTP/1.1", value)
        assert gate.metric("watchword_spans_exported_total") == 0
    # The trace goes on, and the app is told that it is not recorded; the audit log knows it all the same.
    seen = [each.values(b"traceparent")[0].decode().split("-") for each in app.seen]
    assert [(each[1], each[3]) for each in seen] == [(trace_id, "00") for trace_id in chosen]
    assert SPAN not in {each[2] for each in seen}
    assert all(trace_id in log.read_text() for trace_id in chosen)
    assert not any(each.trace_id.hex() in chosen for each in receiver.spans)


def test_a_part_of_the_requests_is_drawn(receiver: Receiver) -> None:
    from watchword.gate.tracing.spans import SpanRecord
    from watchword.gate.tracing.trace_context import TraceParent
    from watchword.gate.tracing.tracer import Tracer

    kept: list[SpanRecord] = []
    drawn = iter(number * 10 for number in range(100))

    def random_bytes(number: int) -> bytes:
        # The lot is in front.
        share = (next(drawn) << 56) // 1000
        return share.to_bytes(7, "big") + b"\x01" * (number - 7)

    tracer = Tracer(0.25, kept.append, random_bytes)
    for _ in range(100):
        span = tracer.begin(TraceParent(TRACE, SPAN), method="GET", scheme="http", version="1.1", peer="")
        tracer.end(span, 200)
    assert len(kept) == 25


def test_off_is_as_if_there_were_no_tracing(bundle: Path, app: App, receiver: Receiver) -> None:
    # Each import is in the log, of the whole life of this process.
    variables = environment(receiver, PYTHONPROFILEIMPORTTIME="1")
    log = bundle.with_name("off.log")
    flags = ("--upstream", app.url, "--audit", "all")
    with running_gate(bundle, *flags, log=log, environment=variables) as gate:
        answer = Front(gate, app).ask(b"GET /app/acme/x HTTP/1.1", *sent(0xA1, b"tracestate: a=b"))
        assert b" 200 " in answer
    # What is not the gate's is passed on as it came (W3C Trace Context, section 4.2).
    assert app.seen[-1].values(b"traceparent") == [traceparent(0xA1)]
    assert app.seen[-1].values(b"tracestate") == [b"a=b"]
    imported = re.findall(r"^import time:.*\|\s*([\w.]+)$", log.read_text(), re.MULTILINE)
    assert "watchword.gate.engine" in imported
    assert not [
        each for each in imported if each.startswith(("opentelemetry", "google", "requests", "urllib3"))
    ]
    assert not {"watchword.gate.tracing.tracer", "watchword.gate.tracing.export"} & set(imported)
    assert trace_of(0xA1) not in re.sub(r"^import time:.*$", "", log.read_text(), flags=re.MULTILINE)


def test_the_sdk_imports_no_opentelemetry_for_a_caller_without(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = "import sys, httpx, watchword.client.trace_context as c; h = httpx.Headers(); "
    program += "c.add_trace_context(h); print(len(h), any('opentelemetry' in each for each in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["0", "False"]


def test_the_sdk_keeps_what_an_instrumentation_has_set() -> None:
    from watchword.client.trace_context import add_trace_context

    tracer = TracerProvider().get_tracer("test")
    given = httpx.Headers({"traceparent": traceparent().decode()})
    with tracer.start_as_current_span("one"):
        add_trace_context(given)
    assert given["traceparent"] == traceparent().decode()
    state = trace.TraceState([("a", "b")])
    context = trace.SpanContext(int(TRACE, 16), int(SPAN, 16), True, trace.TraceFlags(0), state)
    given = httpx.Headers()
    with trace.use_span(trace.NonRecordingSpan(context)):
        add_trace_context(given)
    assert dict(given) == {"traceparent": traceparent(flags="00").decode(), "tracestate": "a=b"}
    given = httpx.Headers()
    add_trace_context(given)
    assert not given


def test_a_missing_library_and_a_wrong_protocol_are_said_in_one_line(bundle: Path) -> None:
    import subprocess
    import sys

    program = "import sys; sys.modules['opentelemetry'] = None; from watchword.cli.main import main; main()"
    flags = ["sidecar", "--bundle", str(bundle), "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]
    flags += ["--trace-sample-ratio", "0.5", "--usage-dsn", "sqlite:///:memory:"]
    done = subprocess.run(
        [sys.executable, "-c", program, *flags], capture_output=True, check=False, text=True
    )
    assert done.returncode == 2
    assert "--trace-sample-ratio" in done.stderr
    assert "watchword[otel]" in done.stderr
    assert len(done.stderr.splitlines()) == 1
