# SPDX-License-Identifier: Apache-2.0
"""Requests in HTTP/2 before an app that speaks HTTP/1.1: decided one by one, streamed both ways."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gate.http2.caller import Caller, Fields, head
from tests.gate.proxy.conftest import Front, bearer, front, proxy_bundle

__all__ = ["front", "proxy_bundle"]
BIG = bytes(range(256)) * 16384


def credential() -> tuple[bytes, bytes]:
    return b"authorization", bearer().partition(b": ")[2]


def request(method: bytes = b"GET", path: bytes = b"/app/acme/thing", *more: tuple[bytes, bytes]) -> Fields:
    return head(method, path, credential(), *more)


@pytest.fixture
def caller(front: Front) -> Iterator[Caller]:
    with Caller(front.gate.address) as made:
        yield made


def test_a_request_reaches_the_app_with_its_target_its_body_and_who_calls(
    front: Front, caller: Caller
) -> None:
    answer = caller.ask(request(b"POST", b"/app/acme/thing?q=%2F%C3%A9&r"), b"a=1")
    assert answer.status == 200
    assert answer.body == b"a=1"
    seen = front.app.seen[-1]
    assert seen.line == b"POST /app/acme/thing?q=%2F%C3%A9&r HTTP/1.1"
    assert seen.values(b"x-watchword-subject") == [b"system:serviceaccount:atlas-production:atlas"]
    assert seen.values(b"authorization") == []
    assert seen.values(b"host") == [b"gate"]
    assert seen.values(b"x-forwarded-for") == [b"127.0.0.1"]


def test_authz_answers(front: Front, caller: Caller) -> None:
    answer = caller.ask(head(b"GET", b"/authz", credential()))
    assert answer.status == 200
    assert answer.value(b"x-watchword-workload") == b"tuist/atlas"
    assert caller.ask(head(b"GET", b"/authz")).status == 401


@pytest.mark.parametrize("path", [b"/authz", b"/authz/envoy/app/acme/thing", b"/authz/nginx", b"/authz/none"])
def test_no_is_no_yes_to_a_proxy_that_asks_about_a_grpc_call(caller: Caller, path: bytes) -> None:
    # A refusal in a gRPC answer has the HTTP status 200, by which the proxy would let the call in.
    answer = caller.ask(head(b"POST", path, (b"content-type", b"application/grpc")))
    assert answer.status == (404 if path.endswith(b"none") else 401)
    assert answer.value(b"x-watchword-reason") if answer.status == 401 else True
    assert answer.values(b"grpc-status") == []


def test_own_endpoints_answer_a_grpc_type_as_any_other(caller: Caller) -> None:
    answer = caller.ask(head(b"POST", b"/api/internal/usage/events", (b"content-type", b"application/grpc")))
    assert answer.status == 401


def test_a_large_body_comes_back(caller: Caller) -> None:
    answer = caller.ask(request(b"POST"), BIG)
    assert answer.is_whole
    assert answer.body == BIG


def test_own_endpoints(caller: Caller) -> None:
    answer = caller.ask(head(b"GET", b"/api/internal/usage?account=acme", credential()))
    assert answer.status == 200, answer.body
