# SPDX-License-Identifier: Apache-2.0
"""Floods of a gate's port and its ops port, deciding and proxying: memory bounded, good callers served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from testing.gate_process import Gate, running_gate
from tests.floods import report, shapes
from tests.floods.callers import Call
from tests.floods.large_answers import answering_at_length
from tests.floods.pump import Address, Flood
from tests.floods.report import endure
from tests.gate.proxy.conftest import bearer
from tests.memory import MIB

Shape = Callable[[], Iterator[bytes]]
EVENTS = "/api/internal/usage/events"
# A request of a caller that is trusted, and one of nobody, up to its framing.
PROXIED = b"POST /app/acme/echo HTTP/1.1\r\nHost: gate\r\n%s\r\n"
UNKNOWN = b"POST /app/acme/echo HTTP/1.1\r\nHost: gate\r\n"
ASKED = b"POST /authz HTTP/1.1\r\nHost: gate\r\n"


def heads() -> list[tuple[str, Shape, int]]:
    """Floods before any request is whole."""
    return [
        ("an endless header", shapes.endless_header, 16),
        ("endless headers", shapes.endless_headers, 16),
        ("an endless request line", shapes.endless_request_line, 16),
        ("900 heads of 64 KB without their end", lambda: shapes.partial_head(65_000), 900),
        ("900 heads of 15 KB without their end", lambda: shapes.partial_head(15_000), 900),
        ("3000 connections with a byte each", shapes.one_byte, 3000),
        ("3000 connections without a byte", lambda: iter(()), 3000),
    ]


def bodies(head: bytes) -> list[tuple[str, Shape, int]]:
    """Floods within one request."""
    return [
        ("an endless trailer", lambda: shapes.endless_trailer(head), 8),
        ("endless trailers", lambda: shapes.endless_trailers(head), 8),
        ("an endless body", lambda: shapes.endless_body(head), 8),
        ("endless chunks", lambda: shapes.endless_chunks(head), 8),
        ("chunks of a byte", lambda: shapes.tiny_chunks(head), 8),
        ("chunk extensions", lambda: shapes.chunk_extensions(head), 8),
        ("an endless chunk extension", lambda: shapes.endless_extension(head), 8),
        ("200 unfinished bodies", lambda: iter([shapes.with_body(head, b"a" * 500_000)[:-1]]), 200),
    ]


def address_of(url: str) -> Address:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, int(port)


def authorized() -> dict[str, str]:
    name, _, value = bearer().decode().partition(": ")
    return {name: value}


def proxied_call(gate: Gate) -> Call:
    return Call(*address_of(gate.url), "GET", "/app/acme/echo", authorized())


def decided_call(gate: Gate) -> Call:
    return Call(*address_of(gate.url), "GET", "/authz", authorized())


def ops_call(gate: Gate) -> Call:
    return Call(*address_of(gate.ops_url), "GET", "/healthz")


@pytest.mark.parametrize(("name", "shape", "connections"), heads() + bodies(ASKED), ids=str)
def test_a_gate_that_decides_endures(gate: Gate, name: str, shape: Shape, connections: int) -> None:
    flood = Flood(address_of(gate.url), lambda _: shape(), connections)
    endure("gate", name, gate.pid, decided_call(gate), flood)


@pytest.mark.parametrize(
    ("name", "shape", "connections"),
    [
        *heads(),
        *[(f"{name}, without a token", *rest) for name, *rest in bodies(UNKNOWN)],
    ],
    ids=str,
)
def test_a_gate_that_proxies_endures(proxying_gate: Gate, name: str, shape: Shape, connections: int) -> None:
    flood = Flood(address_of(proxying_gate.url), lambda _: shape(), connections)
    endure("gate", f"proxying: {name}", proxying_gate.pid, proxied_call(proxying_gate), flood)


@pytest.mark.parametrize("number", range(len(bodies(b""))))
def test_a_gate_that_proxies_endures_a_trusted_callers(proxying_gate: Gate, number: int) -> None:
    name, shape, connections = bodies(PROXIED % bearer())[number]
    flood = Flood(address_of(proxying_gate.url), lambda _: shape(), connections)
    endure("gate", f"proxying: {name}, trusted", proxying_gate.pid, proxied_call(proxying_gate), flood)


@pytest.mark.parametrize(
    ("name", "shape", "connections"), heads() + bodies(b"POST /healthz HTTP/1.1\r\nHost: a\r\n")
)
def test_the_ops_port_endures(gate: Gate, name: str, shape: Shape, connections: int) -> None:
    flood = Flood(address_of(gate.ops_url), lambda _: shape(), connections)
    endure("gate", f"ops: {name}", gate.pid, ops_call(gate), flood)


@pytest.mark.parametrize("connections", [8, 200])
@pytest.mark.parametrize(
    "path", ["/authz", "/app/acme/echo", EVENTS, "/api/internal/openapi.json", "/nowhere"]
)
def test_pipelining_without_reading(proxying_gate: Gate, path: str, connections: int) -> None:
    request = b"GET %s HTTP/1.1\r\nHost: gate\r\n%s\r\n\r\n" % (path.encode(), bearer())
    flood = Flood(address_of(proxying_gate.url), lambda _: shapes.pipelined(request), connections, 32 * 2**20)
    call = proxied_call(proxying_gate)
    endure("gate", f"proxying: {path} pipelined, unread", proxying_gate.pid, call, flood)


@pytest.mark.parametrize("connections", [8, 100])
@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/readyz", "/nowhere"])
def test_pipelining_without_reading_on_the_ops_port(gate: Gate, path: str, connections: int) -> None:
    request = b"GET %s HTTP/1.1\r\nHost: gate\r\n\r\n" % path.encode()
    flood = Flood(address_of(gate.ops_url), lambda _: shapes.pipelined(request), connections, 16 * 2**20)
    endure("gate", f"ops: {path} pipelined, unread", gate.pid, decided_call(gate), flood)


def batch(event: bytes, size: int) -> bytes:
    """A usage batch of so many bytes."""
    return b"[" + b",".join([event] * (size // (len(event) + 1))) + b"]"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("numbers", batch(b"1", 2**20 - 2)),
        ("numbers within an event", b"[%s]" % batch(b"1", 2**20 - 4)),
        ("empty objects", batch(b"{}", 2**20 - 2)),
        ("empty lists", batch(b"[]", 2**20 - 2)),
        ("nothing but depth", b"[" * (2**20 - 2)),
        ("objects of objects", batch(b'{"a":{"b":{}}}', 2**20 - 2)),
        ("names", b"{" + b",".join(b'"%d":1' % each for each in range(90_000)) + b"}"),
        ("one long word", b'["' + b"a" * (2**20 - 10) + b'"]'),
        ("escapes", b'["' + b"\\u00e9" * 174_000 + b'"]'),
    ],
)
def test_usage_batches_of(gate: Gate, name: str, body: bytes) -> None:
    # The type of a batch: a body of any other would be refused for that before anything of it is parsed.
    kind = b"Content-Type: application/cloudevents-batch+json"
    head = b"POST %s HTTP/1.1\r\nHost: gate\r\n%s\r\n%s\r\n" % (EVENTS.encode(), kind, bearer())
    request = shapes.with_body(head, body)
    flood = Flood(address_of(gate.url), lambda _: shapes.whole(request, 3), 8, 64 * 2**20, reads=True)
    result = endure("gate", f"usage batches of {name}", gate.pid, decided_call(gate), flood)
    assert flood.received > 0, result


def test_answers_that_nobody_takes(bundle_gate: tuple[Gate, str]) -> None:
    gate, path = bundle_gate
    request = b"GET %s HTTP/1.1\r\nHost: gate\r\n%s\r\n\r\n" % (path.encode(), bearer())
    flood = Flood(address_of(gate.url), lambda _: shapes.whole(request), 200)
    endure("gate", "proxying: 200 large answers, unread", gate.pid, decided_call(gate), flood)


@pytest.fixture
def bundle_gate(bundle: Path, tmp_path: Path) -> Iterator[tuple[Gate, str]]:
    """A gate before an app whose answers are large."""
    with answering_at_length() as url:
        flags = ("--upstream", url, "--usage-dsn", f"sqlite:///{tmp_path / 'usage.db'}")
        with running_gate(bundle, *flags, log=tmp_path / "gate.log") as gate:
            yield gate, "/app/acme/large"


def test_the_table_has_a_row_for_every_flood_and_says_which_calls_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = report.Result("gate", "one", 8, 1_500_000, 2, 50 * MIB, 60 * MIB, 100 * MIB, 20, [])
    bad = replace(good, flood="another", failures=["reset", "reset"])
    monkeypatch.setattr(report, "RESULTS", [good, bad])
    assert report.table().splitlines()[2:] == [
        "| gate | one | 8 | 1.5 | 2 | 50 | 60 | 100 | 20 |",
        "| gate | another | 8 | 1.5 | 2 | 50 | 60 | 100 | 20, 2 failed |",
    ]
