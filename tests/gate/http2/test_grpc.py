# SPDX-License-Identifier: Apache-2.0
"""gRPC through the gate, with grpcio on both sides: calls of four kinds, and refusals that a stub shows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from testing.unavailable import skip_or_fail
from tests.gate.http2.grpc_app import (
    HEALTH,
    NOT_SERVING,
    OPTIONS,
    SERVICE,
    SERVING,
    GrpcApp,
    running_grpc_app,
)
from tests.gate.proxy.conftest import bearer
from tests.proxies.front import executable
from tests.proxies.pooled import in_front

REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
NEWER_REFLECTION = "grpc.reflection.v1.ServerReflection"
ROUTES = [
    {"path": f"/{SERVICE}/Admin", "methods": ["POST"], "scope": "echo:administer"},
    {"path": f"/{SERVICE}/{{method}}", "methods": ["POST"], "scope": "echo:call"},
    {"path": f"/{HEALTH}/Check", "methods": ["POST"], "public": True},
    {"path": f"/{HEALTH}/Watch", "methods": ["POST"], "scope": "echo:call"},
    {"path": f"/{REFLECTION}/{{method}}", "methods": ["POST"], "scope": "echo:call"},
    # Callers ask for this one first, and go on to the other where the server says that it is not implemented.
    {"path": f"/{NEWER_REFLECTION}/{{method}}", "methods": ["POST"], "scope": "echo:call"},
]
TIMEOUT = 60
METADATA = (("authorization", bearer().partition(b": ")[2].decode()),)


@pytest.fixture(scope="module")
def app() -> Iterator[GrpcApp]:
    with running_grpc_app() as running:
        yield running


@pytest.fixture(scope="module")
def gate(app: GrpcApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder: Path = tmp_path_factory.mktemp("grpc")
    objects = (issuer(), service(routes=ROUTES), workload(grants=[{"scopes": ["echo:call"]}]))
    bundle = write_bundle(folder / "bundle.json", *objects)
    with running_gate(bundle, "--upstream", app.url, "--log-level", "debug") as running:
        yield running


@pytest.fixture(
    scope="module",
    params=[
        "",
        pytest.param("nginx-h2", marks=pytest.mark.proxies),
        pytest.param("envoy-h2", marks=pytest.mark.proxies),
        pytest.param("traefik-h2", marks=pytest.mark.proxies),
        pytest.param("caddy-h2", marks=pytest.mark.proxies),
    ],
)
def address(
    request: pytest.FixtureRequest, gate: Gate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where callers call: the gate itself, or a proxy before it that pools its connections."""
    if not request.param:
        yield gate.address
        return
    name = request.param.partition("-")[0]
    if executable(name) is None:
        skip_or_fail("proxy tests", f"{name} is not installed", required_by="WATCHWORD_REQUIRE_PROXIES")
    with in_front(request.param, tmp_path_factory.mktemp(name), gate.address) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address, options=OPTIONS) as made:
        yield made


def method(kind: str, name: str, channel: grpc.Channel) -> Any:
    return getattr(channel, kind)(f"/{SERVICE}/{name}", None, None)


def test_a_unary_call(channel: grpc.Channel, app: GrpcApp) -> None:
    answer, call = method("unary_unary", "Unary", channel).with_call(
        b"hello", metadata=METADATA, timeout=TIMEOUT
    )
    assert answer == b"hello"
    assert ("x-initial", "yes") in call.initial_metadata()
    assert ("x-trailing", "yes") in call.trailing_metadata()
    seen = app.seen[-1]
    assert seen["x-watchword-subject"] == "system:serviceaccount:atlas-production:atlas"
    assert "authorization" not in seen


def test_a_server_stream(channel: grpc.Channel) -> None:
    answers = list(
        method("unary_stream", "ServerStream", channel)(b"1000", metadata=METADATA, timeout=TIMEOUT)
    )
    assert answers == [b"%d" % number for number in range(1000)]


def test_a_client_stream(channel: grpc.Channel) -> None:
    parts = (b"x" * 1000 for _ in range(1000))
    answer = method("stream_unary", "ClientStream", channel)(parts, metadata=METADATA, timeout=TIMEOUT)
    assert answer == b"1000000"


def test_both_stream_in_turn(channel: grpc.Channel) -> None:
    answered = threading.Semaphore(1)

    def ask() -> Iterator[bytes]:
        for number in range(100):
            assert answered.acquire(timeout=TIMEOUT)
            yield b"a%d" % number

    answers = method("stream_stream", "Both", channel)(ask(), metadata=METADATA, timeout=TIMEOUT)
    for number, answer in enumerate(answers):
        assert answer == b"A%d" % number
        answered.release()
    assert number == 99


def test_a_message_of_16_mib(channel: grpc.Channel) -> None:
    message = bytes(range(256)) * 65536
    call = method("unary_unary", "Unary", channel)
    assert call(message, metadata=METADATA, timeout=TIMEOUT) == message


def test_an_error_of_the_app_keeps_its_words(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        method("unary_unary", "Unary", channel)(b"fail", metadata=METADATA, timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "not now: 50 % done"
    assert ("x-detail", "one") in caught.value.trailing_metadata()


def test_a_cancelled_call_is_cancelled_at_the_app(channel: grpc.Channel, app: GrpcApp) -> None:
    app.cancelled.clear()
    answers = method("unary_stream", "ServerStream", channel)(b"forever", metadata=METADATA, timeout=TIMEOUT)
    assert next(answers)
    answers.cancel()
    assert app.cancelled.wait(TIMEOUT)


def test_a_deadline_ends_the_call_at_the_app(channel: grpc.Channel, app: GrpcApp) -> None:
    app.cancelled.clear()
    with pytest.raises(grpc.RpcError) as caught:
        method("unary_unary", "Unary", channel)(b"wait", metadata=METADATA, timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert app.cancelled.wait(TIMEOUT)
    app.go_on.set()
    app.go_on.clear()


def test_a_health_check_needs_no_token_where_its_route_is_public(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=SERVICE)
    assert stub.Check(request, timeout=TIMEOUT).status == SERVING
    with pytest.raises(grpc.RpcError) as caught:
        next(stub.Watch(request, timeout=TIMEOUT))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_an_unknown_service_is_unknown_by_the_app_s_own_word(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="demo.None"), timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    # No refusal of the gate's.
    assert not [key for key, _ in caught.value.trailing_metadata() if key.startswith("x-watchword")]


def test_a_health_watch_is_told_of_each_change(channel: grpc.Channel, app: GrpcApp) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    told = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), metadata=METADATA, timeout=TIMEOUT)
    assert next(told).status == SERVING
    app.health.set(SERVICE, NOT_SERVING)
    assert next(told).status == NOT_SERVING
    app.health.set(SERVICE, SERVING)
    assert next(told).status == SERVING
    told.cancel()


def test_reflection_names_the_services_to_those_who_may_call(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    listed, described = stub.ServerReflectionInfo(iter(questions), metadata=METADATA, timeout=TIMEOUT)
    assert {each.name for each in listed.list_services_response.service} == {SERVICE, HEALTH, REFLECTION}
    [file] = described.file_descriptor_response.file_descriptor_proto
    assert b"demo/echo.proto" in file
    with pytest.raises(grpc.RpcError) as caught:
        next(stub.ServerReflectionInfo(iter(questions), timeout=TIMEOUT))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("name", "metadata", "refusal"),
    [
        ("Unary", (), (grpc.StatusCode.UNAUTHENTICATED, "missing_credential")),
        ("Unary", (("authorization", "Bearer a.b.c"),), (grpc.StatusCode.UNAUTHENTICATED, "malformed_token")),
        ("Admin", METADATA, (grpc.StatusCode.PERMISSION_DENIED, "insufficient_scope")),
    ],
)
def test_a_refusal_is_a_status_with_reason_and_remedy(
    channel: grpc.Channel, app: GrpcApp, name: str, metadata: Any, refusal: tuple[grpc.StatusCode, str]
) -> None:
    code, reason = refusal
    before = len(app.seen)
    with pytest.raises(grpc.RpcError) as caught:
        method("unary_unary", name, channel)(b"x", metadata=metadata, timeout=TIMEOUT)
    assert caught.value.code() is code
    assert caught.value.details().startswith(f"{reason}: ")
    assert ("x-watchword-reason", reason) in (
        *caught.value.trailing_metadata(),
        *caught.value.initial_metadata(),
    )
    assert len(app.seen) == before
