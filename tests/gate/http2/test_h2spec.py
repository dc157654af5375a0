# SPDX-License-Identifier: Apache-2.0
"""h2spec against the gate: what RFC 9113 and RFC 7541 ask of a server, by somebody else's reading."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import pytest

from testing.controlplane import BuildFailedError, ControlPlaneUnavailableError
from testing.controlplane.build import GoBuild
from testing.controlplane.cache import Recipe, find_or_build
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from testing.unavailable import skip_or_fail
from tests.gate.proxy.scripted import Heard, running_script

_VERSION = "v2.2.1"
# The port speaks HTTP/1.1 too: what is no preface is read as that, answered 400, and the connection ends.
EXPLAINED = {"Sends invalid connection preface"}
BODY = b"x" * 1000
_ANSWER_SECONDS = 0.2


def find_h2spec(environment: Mapping[str, str] = os.environ, progress: TextIO | None = None) -> Path:
    """The program; built on first use. Raises what `find_or_build` raises."""
    recipe = Recipe(
        name="h2spec",
        title=f"h2spec {_VERSION}",
        version=_VERSION,
        source=Path(__file__).parent / "h2spec",
        files=("go.mod", "go.sum"),
        builds=((GoBuild(("github.com/summerwind/h2spec/cmd/h2spec",)), "h2spec"),),
    )
    return find_or_build(recipe, environment, progress) / "h2spec"


@pytest.fixture(scope="module")
def h2spec() -> Path:
    try:
        return find_h2spec()
    except (BuildFailedError, ControlPlaneUnavailableError) as problem:
        skip_or_fail("h2spec tests", problem, required_by="WATCHWORD_REQUIRE_PROXIES")


def answer(heard: Heard) -> bytes:
    """An answer that comes when the frames of a case have: a stream that is over would not judge them."""
    del heard
    time.sleep(_ANSWER_SECONDS)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gate before an app that answers each request with a body."""
    routes = [{"path": "/", "methods": ["GET", "HEAD", "POST"], "public": True}]
    bundle = write_bundle(
        tmp_path_factory.mktemp("h2spec") / "bundle.json", issuer(), service(routes=routes), workload()
    )
    with (
        running_script(answer) as app,
        running_gate(bundle, "--upstream", f"http://127.0.0.1:{app.port}") as made,
    ):
        yield made


@pytest.mark.proxies
@pytest.mark.parametrize("suite", ["generic", "http2", "hpack"])
def test_the_gate_does_what_the_specifications_ask(
    h2spec: Path, gate: Gate, suite: str, tmp_path: Path
) -> None:
    host, port = gate.address.rsplit(":", 1)
    report = tmp_path / "report.xml"
    command = [h2spec, suite, "-h", host, "-p", port, "-o", "10", "-j", report]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    failed = [
        line.strip().partition(": ")[2]
        for line in done.stdout.partition("Failures:")[2].splitlines()
        if line.strip().startswith("×")
    ]
    assert set(failed) <= EXPLAINED, done.stdout
    assert " 0 skipped" in done.stdout.splitlines()[-1], done.stdout
    assert " passed" in done.stdout.splitlines()[-1]
