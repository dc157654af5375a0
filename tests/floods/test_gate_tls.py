# SPDX-License-Identifier: Apache-2.0
"""Floods of a gate's port that speaks TLS, where every connection costs more from the start.

The floods are those of the plain port, behind a handshake each. What the loop and OpenSSL hold of a read is
free a turn of the loop after its connection was closed, so a burst that comes in one turn takes more than the
server's budget counts.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from testing.framing.recorder import Recorder
from testing.gate_process import Gate, running_gate
from tests.floods import shapes
from tests.floods.callers import Call
from tests.floods.large_answers import answering_at_length
from tests.floods.pump import Flood
from tests.floods.report import endure
from tests.floods.test_gate import EVENTS, address_of, decided_call, heads, proxied_call
from tests.gate.certificates import certificate, write_pair
from tests.gate.proxy.conftest import bearer
from tests.memory import bound_of

Shape = Callable[[], Iterator[bytes]]
# A handshake takes both sides a millisecond; so many are more than a gate may hold.
MOST = 600
BOUND = bound_of("gate")
LARGE = b"GET /app/acme/large HTTP/1.1\r\nHost: gate\r\n%s\r\n\r\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The flags of a certificate and its key."""
    paths = write_pair(tmp_path_factory.mktemp("pair"), certificate("gate"))
    return "--tls-cert", str(paths[0]), "--tls-key", str(paths[1])


@pytest.fixture(scope="module")
def tls_gate(bundle: Path, pair: tuple[str, ...]) -> Iterator[Gate]:
    """A gate that only decides."""
    with running_gate(bundle, *pair, log=bundle.with_name("tls.log")) as running:
        yield running


@pytest.fixture(scope="module")
def proxying_tls_gate(bundle: Path, pair: tuple[str, ...], app: Recorder) -> Iterator[Gate]:
    """A gate with `--upstream`."""
    flags = ("--upstream", app.url, "--usage-dsn", f"sqlite:///{bundle.with_name('tls-proxying.db')}", *pair)
    with running_gate(bundle, *flags, log=bundle.with_name("tls-proxying.log")) as running:
        yield running


@pytest.fixture(scope="module")
def large_tls_gate(
    bundle: Path, pair: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    """A gate with `--upstream` before an app whose answers are large."""
    folder = tmp_path_factory.mktemp("large-tls")
    with answering_at_length() as url:
        flags = ("--upstream", url, "--usage-dsn", f"sqlite:///{folder / 'usage.db'}", *pair)
        with running_gate(bundle, *flags, log=folder / "gate.log") as running:
            yield running


def unchecked() -> ssl.SSLContext:
    """A stranger's TLS: whose certificate it is does not matter to a flood."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def encrypted(call: Call) -> Call:
    return replace(call, context=unchecked())


def decided(gate: Gate) -> Call:
    return encrypted(decided_call(gate))


@pytest.mark.parametrize(("name", "shape", "connections"), heads(), ids=str)
def test_a_gate_with_tls_that_decides_endures(
    tls_gate: Gate, name: str, shape: Shape, connections: int
) -> None:
    flood = Flood(address_of(tls_gate.url), lambda _: shape(), min(connections, MOST), context=unchecked())
    endure("gate", f"TLS: {name}", tls_gate.pid, decided(tls_gate), flood, bound=BOUND)


@pytest.mark.parametrize(("name", "shape", "connections"), heads(), ids=str)
def test_a_gate_with_tls_that_proxies_endures(
    proxying_tls_gate: Gate, name: str, shape: Shape, connections: int
) -> None:
    gate = proxying_tls_gate
    flood = Flood(address_of(gate.url), lambda _: shape(), min(connections, MOST), context=unchecked())
    endure("gate", f"TLS, proxying: {name}", gate.pid, encrypted(proxied_call(gate)), flood, bound=BOUND)


@pytest.mark.parametrize("connections", [8, 200])
@pytest.mark.parametrize("path", ["/authz", "/app/acme/echo", EVENTS, "/nowhere"])
def test_pipelining_without_reading(proxying_tls_gate: Gate, path: str, connections: int) -> None:
    gate = proxying_tls_gate
    request = b"GET %s HTTP/1.1\r\nHost: gate\r\n%s\r\n\r\n" % (path.encode(), bearer())
    flood = Flood(
        address_of(gate.url),
        lambda _: shapes.pipelined(request),
        connections,
        32 * 2**20,
        context=unchecked(),
    )
    endure(
        "gate",
        f"TLS, proxying: {path} pipelined, unread",
        gate.pid,
        encrypted(proxied_call(gate)),
        flood,
        bound=BOUND,
    )


def test_answers_that_no_one_takes(large_tls_gate: Gate) -> None:
    gate = large_tls_gate
    flood = Flood(address_of(gate.url), lambda _: shapes.whole(LARGE % bearer()), 200, context=unchecked())
    endure("gate", "TLS, proxying: 200 large answers, unread", gate.pid, decided(gate), flood, bound=BOUND)


def test_slow_readers_of_large_answers(large_tls_gate: Gate) -> None:
    gate = large_tls_gate
    flood = Flood(
        address_of(gate.url),
        lambda _: shapes.whole(LARGE % bearer()),
        100,
        reads=True,
        take_bytes=64,
        enough_bytes=2 * 2**20,
        context=unchecked(),
    )
    result = endure("gate", "TLS, proxying: 100 slow readers", gate.pid, decided(gate), flood, bound=BOUND)
    # A slow reader is served: not all of them were sent away.
    assert flood.received >= 2**20, result
