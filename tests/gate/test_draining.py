# SPDX-License-Identifier: Apache-2.0
"""A gate whose pod is about to end, and one whose app is not there: what it tells callers and the cluster."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from testing.controlplane.process import wait_until
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.proxy.app import running_app
from tests.gate.proxy.conftest import GRANTS, ROUTES, bearer
from watchword.cli import drain
from watchword.cli.main import watchword

REQUEST = b"GET /app/acme/x HTTP/1.1\r\nHost: gate\r\n" + bearer() + b"\r\n\r\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    objects = (issuer(), service(routes=ROUTES), workload(grants=GRANTS))
    return write_bundle(tmp_path / "bundle.json", *objects)


@pytest.fixture
def gate(bundle: Path) -> Iterator[Gate]:
    with running_app() as app, running_gate(bundle, "--upstream", app.url) as running:
        yield running


def ask(link: socket.socket) -> bytes:
    """One request on a connection that is kept; the head of its answer, or nothing when it was closed."""
    link.sendall(REQUEST)
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = link.recv(65536)
        if not received:
            break
        answer += received
    return answer.lower()


def connect(gate: Gate) -> socket.socket:
    host, port = gate.address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), 30)


def tell(gate: Gate) -> None:
    os.kill(gate.pid, signal.SIGUSR1)
    wait_until(lambda: gate.ready().status_code == 503, what="the gate told")


def test_a_kept_connection_ends_with_the_first_answer_after_the_gate_was_told(gate: Gate) -> None:
    with connect(gate) as link:
        before = ask(link)
        tell(gate)
        after = ask(link)
        while link.recv(65536):
            pass  # the body; then the gate hangs up, or this never ends

    assert before.startswith(b"http/1.1 200")
    assert b"connection: close" not in before
    assert after.startswith(b"http/1.1 200")
    assert b"connection: close" in after


def test_a_new_caller_is_still_answered_after_the_gate_was_told(gate: Gate) -> None:
    tell(gate)

    with connect(gate) as link:
        assert ask(link).startswith(b"http/1.1 200")


def test_a_gate_that_was_told_says_so_when_asked_whether_it_is_ready(gate: Gate) -> None:
    tell(gate)

    assert gate.ready().json()["why"] == "the gate is stopping"


def test_a_gate_is_not_ready_before_its_app_accepts_connections(bundle: Path) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        with running_gate(bundle, "--upstream", address, is_ready_required=False) as gate:
            before = gate.ready()
            unheard.listen()
            after = gate.ready()

    assert before.status_code == 503
    assert before.json()["why"] == f"the app at {address} accepts no connections"
    assert "--upstream" in before.json()["remedy"]
    assert after.status_code == 200


def process(folder: Path, number: int, command: str, *, mounts: str = "ours", catches: bool = True) -> None:
    """What /proc says of a process."""
    (folder / str(number) / "ns").mkdir(parents=True)
    (folder / str(number) / "ns/mnt").symlink_to(mounts)
    (folder / str(number) / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")
    caught = 1 << (signal.SIGUSR1 - 1) if catches else 0
    (folder / str(number) / "status").write_text(f"Name:\tpython\nSigCgt:\t{caught:016x}\n")


GATE = "/usr/bin/python3.11 -I /usr/bin/watchword sidecar --bundle=/b.json"


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        pytest.param([], [7], id="its own gate"),
        pytest.param([("/usr/bin/python3 /app/watchword-report sidecar", {})], [7], id="another program"),
        pytest.param([(GATE, {"mounts": "theirs"})], [7], id="another container's gate"),
        pytest.param([(GATE, {"catches": False})], [7], id="a gate that only starts, and would die of it"),
        pytest.param([(GATE, {})], [], id="two gates, of which one is somebody else's"),
    ],
)
def test_drain_tells_the_one_gate_of_its_container_and_no_other_process(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    others: list[tuple[str, dict[str, object]]],
    expected: list[int],
) -> None:
    told: list[int] = []
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/mnt").symlink_to("ours")
    process(tmp_path, 7, GATE)
    for number, (command, differs) in enumerate(others, start=8):
        process(tmp_path, number, command, **differs)  # type: ignore[arg-type]  # a table's row
    monkeypatch.setattr(drain, "_PROCESSES", tmp_path)
    monkeypatch.setattr(os, "kill", lambda process, _: told.append(process))

    done = CliRunner().invoke(watchword, ["drain"])

    assert told == expected
    assert done.exit_code == (0 if expected else 2)
