# SPDX-License-Identifier: Apache-2.0
"""The app's trouble is never told as a refusal, and half an answer never as a whole one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testing.controlplane.process import reserved_port, wait_until
from testing.gate_process import running_gate
from tests.gate.proxy.conftest import Front, bearer
from tests.gate.proxy.test_passing_on import body_of, status_of


@pytest.mark.parametrize(
    ("path", "status", "what"),
    [
        (b"silent", 504, b"timeout"),
        (b"closes", 502, b"broken"),
        (b"no-http", 502, b"broken"),
    ],
)
def test_trouble_is_told_as_the_apps(front: Front, path: bytes, status: int, what: bytes) -> None:
    for line in (b"GET /app/acme/%s HTTP/1.1", b"POST /app/acme/%s HTTP/1.1"):
        answer = front.ask(line % path)
        assert status_of(answer) == status
        assert b"x-watchword-upstream: " + what + b"\r\n" in answer
        assert b"x-watchword-reason" not in answer
        assert json.loads(body_of(answer))["upstream"] == what.decode()


def test_an_app_that_is_not_there_is_told_so(proxy_bundle: Path) -> None:
    with reserved_port() as port:
        pass
    flags = ("--upstream", f"http://127.0.0.1:{port}")
    with running_gate(proxy_bundle, *flags, is_ready_required=False) as gate:
        wait_until(lambda: "generation" in gate.ready().json(), what="bundle in use")
        token = bearer().decode().removeprefix("Authorization: Bearer ")
        answer = gate.ask(token, "/app/acme/thing")
    assert (answer.status, answer.reason) == (502, "")
    assert answer.headers["x-watchword-upstream"] == "unreachable"
    assert str(port) in answer.problem["detail"]


@pytest.mark.parametrize("path", [b"breaks-off", b"breaks-off-chunked"])
def test_half_an_answer_does_not_end_like_a_whole_one(front: Front, path: bytes) -> None:
    answer = front.ask(b"GET /app/acme/%s HTTP/1.1" % path)
    assert status_of(answer) == 200
    body = body_of(answer)
    assert body.endswith((b"half", b"half\r\n")), "neither the length nor the last chunk is there"
    assert not body.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://127.0.0.1:8080", "http://"),
        ("http://127.0.0.1", "port"),
        ("http://127.0.0.1:8080/app", "more than a host and a port"),
        ("http://user@127.0.0.1:8080", "more than a host and a port"),
        ("127.0.0.1:8080", "http://"),
        ("http://[::1", "not a URL"),
    ],
)
def test_an_unfit_upstream_is_named_with_what_is_right(url: str, said: str) -> None:
    from watchword.gate.proxy import UpstreamError, parse_upstream

    with pytest.raises(UpstreamError, match=r"use http://HOST:PORT") as problem:
        parse_upstream(url)
    assert said in str(problem.value)
