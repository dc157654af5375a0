# SPDX-License-Identifier: Apache-2.0
"""Connections to an app that speaks HTTP/2: shared by one workload, sent again only what was not begun."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h2.events
import pytest

from testing import tokens
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.http2.caller import Caller, Fields, head
from tests.gate.http2.http2_app import Http2App, Link, Script, echo, running_http2_app
from watchword.gate.http2.limits import APP_STREAM_WINDOW, MAX_APP_STREAMS, MAX_STREAMS

REFUSED_STREAM, CANCEL = 0x7, 0x8
ROUTES = [{"path": "/app/{name}", "methods": ["GET", "HEAD", "POST"], "scope": "app:use"}]
GRANTS = [{"scopes": ["app:use"]}]
BODY = b"0123456789" * 1000


def credential(who: str) -> tuple[bytes, bytes]:
    now = int(time.time())
    claims = tokens.kubernetes(namespace="apps", serviceaccount={"name": who, "uid": who})
    token = tokens.token(
        iat=now - 60,
        nbf=now - 60,
        exp=now + 3000,
        sub=f"system:serviceaccount:apps:{who}",
        **{"kubernetes.io": claims},
    )
    return b"authorization", b"Bearer " + token


def request(method: bytes = b"POST", who: str = "one", *more: tuple[bytes, bytes]) -> Fields:
    return head(method, b"/app/x", credential(who), *more)


@contextmanager
def place(folder: Path, script: Script = echo) -> Iterator[tuple[Gate, Http2App]]:
    workloads = [
        workload(who, serviceAccount={"namespace": "apps", "name": who}, grants=GRANTS)
        for who in ("one", "two")
    ]
    bundle = write_bundle(folder / "bundle.json", issuer(), service(routes=ROUTES), *workloads)
    with running_http2_app(script) as app, running_gate(bundle, "--upstream", app.url) as gate:
        yield gate, app


def used(app: Http2App) -> list[Link]:
    """The connections that brought requests; the gate also looks whether the app is there."""
    return [link for link in app.links if link.bodies]


def test_streams_of_one_workload_share_a_connection_and_no_others_do(tmp_path: Path) -> None:
    with place(tmp_path) as (gate, app), Caller(gate.address) as caller:
        for who in ("one", "two", "one", "two"):
            assert caller.ask(request(who=who), BODY).body == BODY
        assert len(used(app)) == 2
        subjects = [
            {fields[b"x-watchword-subject"] for link in [each] for fields, _ in app.requests}
            for each in used(app)
        ]
        assert len(subjects) == 2
        by_link = {link.number: len(link.bodies) for link in used(app)}
        assert sorted(by_link.values()) == [2, 2]


def test_many_streams_at_once_wait_for_few_connections(tmp_path: Path) -> None:
    with place(tmp_path) as (gate, app), Caller(gate.address) as caller:
        streams = [caller.begin(request(b"GET")) for _ in range(MAX_STREAMS)]
        assert [caller.finish(each).status for each in streams] == [200] * MAX_STREAMS
        # 100 streams, 32 on each.
        assert len(used(app)) <= 1 + MAX_STREAMS // MAX_APP_STREAMS


def goaway(last: int) -> bytes:
    return b"\x00\x00\x08\x07\x00" + struct.pack(">III", 0, last, 0)


@pytest.mark.parametrize("how", ["GOAWAY", "REFUSED_STREAM"])
def test_what_the_app_has_not_begun_is_sent_again_whole(tmp_path: Path, how: str) -> None:
    turned_away = []

    def script(app: Http2App, link: Link, event: Any) -> bool | None:
        if not turned_away and isinstance(event, h2.events.RequestReceived):
            turned_away.append(link.number)
            if how == "GOAWAY":
                link.flush()
                link.socket.sendall(goaway(0))
            else:
                link.h2.reset_stream(event.stream_id, REFUSED_STREAM)
            return None
        if link.number in turned_away and how == "GOAWAY":
            return None
        return echo(app, link, event)

    with place(tmp_path, script) as (gate, app), Caller(gate.address) as caller:
        assert caller.ask(request(), BODY).body == BODY
        assert [body for _, body in app.requests] == [BODY]
        # What is larger is not kept, and is not sent in part.
        turned_away.clear()
        large = BODY * 10
        assert caller.ask(request(), large).status in (200, 502)
        assert all(body in (BODY, large) for _, body in app.requests)


def test_windows_are_given_back_whatever_becomes_of_a_stream(tmp_path: Path) -> None:
    # 512 KiB for the caller's connection, 2 MiB for the app's: far more than that goes by.
    stalled = set()

    def script(app: Http2App, link: Link, event: Any) -> bool | None:
        if isinstance(event, h2.events.RequestReceived) and dict(event.headers).get(b"x-do") == b"stall":
            stalled.add(event.stream_id)
            link.h2.send_headers(event.stream_id, [(b":status", b"200")])
            link.h2.send_data(event.stream_id, b"y" * 16_000)
            link.h2.send_data(event.stream_id, b"y" * 16_000)
            return None
        if isinstance(event, h2.events.DataReceived) and event.stream_id in stalled:
            # Of a stream that stalls, nothing more is taken; the connection's window is for the others.
            link.h2.increment_flow_control_window(event.flow_controlled_length)
            return None
        return echo(app, link, event)

    with place(tmp_path, script) as (gate, _), Caller(gate.address) as caller:
        caller.h2.update_settings({4: 1000})
        caller.flush()
        for _ in range(150):
            stream = caller.begin(request(b"POST", "one", (b"x-do", b"stall")), is_end=False)
            caller.send(stream, b"x" * 30_000)
            caller.until(lambda stream=stream: bool(caller.answers[stream].body))  # type: ignore[misc]
            caller.h2.reset_stream(stream, CANCEL)
            caller.flush()
        for _ in range(20):
            refused = caller.begin(head(b"POST", b"/app/x"), is_end=False)
            caller.send(refused, b"x" * 30_000)
            assert caller.finish(refused).status == 401
        caller.h2.update_settings({4: 65_535})
        caller.flush()
        for _ in range(20):
            assert caller.ask(request(), BODY).body == BODY


def test_streams_that_stall_leave_the_others_of_their_connection_a_window(tmp_path: Path) -> None:
    # Credit is given back in halves: what was taken and is not said yet must not be missing.
    def script(app: Http2App, link: Link, event: Any) -> bool | None:
        if isinstance(event, h2.events.RequestReceived):
            link.bodies[event.stream_id] = b""
            link.h2.send_headers(event.stream_id, [(b":status", b"200")])
            for _ in range(4):
                link.h2.send_data(event.stream_id, b"y" * 15_000)
            link.h2.end_stream(event.stream_id)
        return None

    with place(tmp_path, script) as (gate, app), Caller(gate.address) as caller:
        for taken in range(1, 80):
            assert len(caller.ask(request(b"GET")).body) == 60_000
            (link,) = used(app)
            window = link.h2.outbound_flow_control_window
            # The last answer may be under way to its caller.
            assert window >= (MAX_APP_STREAMS - 1) * APP_STREAM_WINDOW, taken
