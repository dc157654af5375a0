# SPDX-License-Identifier: Apache-2.0
"""The commands that keep running, as real processes; each is ended by its pid."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from testing.controlplane.process import reserved_ports
from tests.cli.conftest import ATLAS, ROOT, SERVICE, Work

COMMAND = (sys.executable, "-m", "watchword.cli.main")


@contextmanager
def running(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen([*COMMAND, *arguments], stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(20) == 0, log.read_text()


def until(happens: Callable[[], bool], log: Path) -> None:
    for _ in range(300):
        try:
            if happens():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail(log.read_text())


def test_the_demo_comes_out_as_it_says() -> None:
    # What `make demo` of the README runs.
    done = subprocess.run([sys.executable, "demo/run.py"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"All 15 steps as they say" in done.stdout
    assert b"eyJ" not in done.stdout


def test_a_sidecar_serves_a_compiled_bundle_and_stops_cleanly(work: Work) -> None:
    log = work.path / "log"
    flags = ("--bundle", str(work.path / "bundle.json"), "--usage-dsn", "sqlite:///:memory:")
    with reserved_ports(2) as (gate, ops):
        listen = ("--listen", f"127.0.0.1:{gate}", "--ops-listen", f"127.0.0.1:{ops}")
        with running(log, "sidecar", *flags, *listen):
            until(lambda: httpx.get(f"http://127.0.0.1:{ops}/readyz").is_success, log)
            assert httpx.get(f"http://127.0.0.1:{gate}/authz").status_code == 401


def test_a_folder_that_stops_parsing_leaves_the_last_good_bundle_in_use(work: Work) -> None:
    log, folder = work.path / "log", work.path / "folder"
    work.write("folder/service.yaml", SERVICE)
    work.write("folder/atlas.yaml", ATLAS)
    with reserved_ports(3) as (gate, ops, issuer):
        listen = ("--listen", f"127.0.0.1:{gate}", "--ops-listen", f"127.0.0.1:{ops}")
        with running(log, "dev", str(folder), *listen, "--issuer-listen", f"127.0.0.1:{issuer}"):
            until(lambda: httpx.get(f"http://127.0.0.1:{ops}/readyz").is_success, log)
            asked = {"namespace": "atlas-production", "serviceAccount": "atlas", "audience": "tuist-server"}
            url = f"http://127.0.0.1:{issuer}/token"
            assert httpx.post(url, json=asked, headers={"Origin": "https://evil.example"}).status_code == 403
            assert httpx.post(url, json={**asked, "audience": ""}).status_code == 422
            headers = {"Authorization": f"Bearer {httpx.post(url, json=asked).json()['token']}"}
            work.write("folder/atlas.yaml", "metadata: {name: [")
            until(lambda: "a manifest cannot be read" in log.read_text(), log)
            assert httpx.get(f"http://127.0.0.1:{gate}/authz", headers=headers).status_code == 200
            (folder / "atlas.yaml").unlink()
            until(
                lambda: httpx.get(f"http://127.0.0.1:{gate}/authz", headers=headers).status_code == 403, log
            )


def test_a_port_that_is_taken_is_said_in_one_line(work: Work) -> None:
    from socket import create_server

    with create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = ("--bundle", str(work.path / "bundle.json"), "--usage-dsn", "sqlite:///:memory:")
        done = subprocess.run(
            [*COMMAND, "sidecar", *flags, "--listen", listen], capture_output=True, check=False
        )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_the_sidecar_loads_nothing_that_only_other_commands_need() -> None:
    program = "import sys, watchword.cli.sidecar, watchword.gate; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert {
        "kopf",
        "kubernetes",
        "httpx",
        "watchword.cli.pin.command",
        "watchword.cli.dev.command",
    }.isdisjoint(done.stdout.split())
