# SPDX-License-Identifier: Apache-2.0
"""grpcurl and h2load against the gate before a gRPC server: callers that we did not write."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import pytest

from testing.controlplane import BuildFailedError, ControlPlaneUnavailableError
from testing.controlplane.build import GoBuild
from testing.controlplane.cache import Recipe, find_or_build
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from testing.unavailable import needed_program, skip_or_fail
from tests.gate.http2.caller import Caller, head
from tests.gate.http2.grpc_app import HEALTH, SERVICE, GrpcApp, running_grpc_app
from tests.gate.http2.test_grpc import REFLECTION, ROUTES
from tests.gate.proxy.conftest import bearer

# The first time, grpcurl is built: six minutes where others use the cores too.
pytestmark = [pytest.mark.proxies, pytest.mark.timeout(1800)]
_VERSION = "v1.9.4"
TOKEN = bearer().decode()
# Plain gRPC exits by the status of the call, behind 64 (`grpcurl -help`).
UNAUTHENTICATED, PERMISSION_DENIED = 64 + 16, 64 + 7
CALLS, CONNECTIONS, STREAMS = 600, 8, 32
SECONDS = 240


def find_grpcurl(environment: Mapping[str, str] = os.environ, progress: TextIO | None = None) -> Path:
    """The program; built on first use. Raises what `find_or_build` raises."""
    recipe = Recipe(
        name="grpcurl",
        title=f"grpcurl {_VERSION}",
        version=_VERSION,
        source=Path(__file__).parent / "grpcurl",
        files=("go.mod", "go.sum"),
        builds=((GoBuild(("github.com/fullstorydev/grpcurl/cmd/grpcurl",)), "grpcurl"),),
    )
    return find_or_build(recipe, environment, progress) / "grpcurl"


@pytest.fixture(scope="module")
def grpcurl() -> Path:
    try:
        return find_grpcurl()
    except (BuildFailedError, ControlPlaneUnavailableError) as problem:
        skip_or_fail("grpcurl tests", problem, required_by="WATCHWORD_REQUIRE_PROXIES")


@pytest.fixture(scope="module")
def app() -> Iterator[GrpcApp]:
    with running_grpc_app() as running:
        yield running


@pytest.fixture(scope="module")
def gate(app: GrpcApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    limits = {"requestsPerSecond": 1_000_000, "burst": 1_000_000}
    objects = (
        issuer(),
        service(routes=ROUTES, limits=limits),
        workload(grants=[{"scopes": ["echo:call"]}]),
    )
    bundle = write_bundle(tmp_path_factory.mktemp("tools") / "bundle.json", *objects)
    with running_gate(bundle, "--upstream", app.url) as running:
        yield running


def ask(
    grpcurl: Path, gate: Gate, *words: str, data: str = "", token: str = TOKEN
) -> subprocess.CompletedProcess[str]:
    """Call with reflection: grpcurl knows the address and nothing else."""
    flags = ["-plaintext", "-max-time", "60", *(["-H", token] if token else [])]
    given = ["-d", "@"] if data else []
    command = [grpcurl, *flags, *given, gate.address, *words]
    return subprocess.run(command, input=data, capture_output=True, text=True, timeout=90, check=False)


def test_grpcurl_finds_and_describes_what_there_is(grpcurl: Path, gate: Gate) -> None:
    done = ask(grpcurl, gate, "list")
    assert done.stdout.split() == sorted([SERVICE, HEALTH, REFLECTION]), done.stderr
    described = ask(grpcurl, gate, "describe", SERVICE).stdout
    assert "rpc Both ( stream .demo.Text ) returns ( stream .demo.Text );" in described


def test_grpcurl_calls_by_what_reflection_says(grpcurl: Path, gate: Gate, app: GrpcApp) -> None:
    done = ask(grpcurl, gate, f"{SERVICE}/Unary", data='{"text": "hello"}')
    assert json.loads(done.stdout) == {"text": "hello"}, done.stderr
    assert app.seen[-1]["x-watchword-subject"] == "system:serviceaccount:atlas-production:atlas"
    assert "authorization" not in app.seen[-1]
    done = ask(grpcurl, gate, f"{SERVICE}/Both", data='{"text": "one"}{"text": "two"}{"text": "three"}')
    assert re.findall(r'"text": "(\w+)"', done.stdout) == ["ONE", "TWO", "THREE"], done.stderr


def test_grpcurl_checks_health_with_and_without_a_token(grpcurl: Path, gate: Gate) -> None:
    question = json.dumps({"service": SERVICE})
    done = ask(grpcurl, gate, f"{HEALTH}/Check", data=question)
    assert json.loads(done.stdout) == {"status": "SERVING"}, done.stderr
    # The check itself is public. To learn its messages it first asks for reflection, which is not.
    done = ask(grpcurl, gate, f"{HEALTH}/Check", data=question, token="")
    assert done.returncode != 0
    assert "missing_credential" in done.stderr


@pytest.mark.parametrize(
    ("method", "token", "refusal"),
    [
        ("Unary", "Authorization: Bearer a.b.c", (UNAUTHENTICATED, "malformed_token")),
        ("Admin", TOKEN, (PERMISSION_DENIED, "insufficient_scope")),
    ],
)
def test_grpcurl_shows_a_refusal_with_its_reason(  # noqa: PLR0917 - one row each
    grpcurl: Path, gate: Gate, tmp_path: Path, method: str, token: str, refusal: tuple[int, str]
) -> None:
    status, reason = refusal
    # Reflection would be refused first: the messages come from a file.
    proto = tmp_path / "echo.proto"
    methods = " ".join(f"rpc {name}(Text) returns (Text);" for name in ("Unary", "Admin"))
    proto.write_text(
        f'syntax = "proto3"; package demo; message Text {{string text = 1;}} service Echo {{{methods}}}'
    )
    flags = ["-import-path", str(tmp_path), "-proto", proto.name]
    command = [grpcurl, "-plaintext", "-H", token, *flags, "-d", "{}", gate.address, f"{SERVICE}/{method}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == status, done.stderr
    assert f"Message: {reason}: " in done.stderr


def h2load(gate: Gate, body: Path, *headers: str) -> dict[str, int]:
    """So many calls on few connections, many at once; the numbers of each outcome by its name."""
    program = needed_program("h2load", tests="h2load tests", required_by="WATCHWORD_REQUIRE_PROXIES")
    flags = ["-n", str(CALLS), "-c", str(CONNECTIONS), "-m", str(STREAMS), "-d", str(body)]
    fields = ["content-type: application/grpc", "te: trailers", *headers]
    command = [program, *flags, *(word for each in fields for word in ("-H", each))]
    done = subprocess.run(
        [*command, f"{gate.url}/{SERVICE}/Unary"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"^requests: (.*)$", done.stdout, re.MULTILINE)
    codes = re.search(r"^status codes: (.*)$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout
    assert codes is not None, done.stdout
    return {name: int(number) for number, name in re.findall(r"(\d+) (\w+)", f"{found[1]}, {codes[1]}")}


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """A file with one message in its frame: not compressed, its length, and it."""
    message = b"x" * 100
    path = tmp_path / "call"
    path.write_bytes(b"\0" + len(message).to_bytes(4) + message)
    return path


WHOLE = {"total": CALLS, "started": CALLS, "done": CALLS, "succeeded": CALLS, "2xx": CALLS}


def test_h2load_is_answered_call_by_call(gate: Gate, app: GrpcApp, call: Path) -> None:
    before = len(app.seen)
    counted = h2load(gate, call, TOKEN)
    assert {name: number for name, number in counted.items() if number} == WHOLE
    seen = app.seen[before:]
    assert len(seen) == CALLS
    assert {each["x-watchword-subject"] for each in seen} == {"system:serviceaccount:atlas-production:atlas"}
    assert len({each["x-watchword-decision-id"] for each in seen}) == CALLS


def test_h2load_without_a_token_reaches_no_app(gate: Gate, app: GrpcApp, call: Path) -> None:
    before = len(app.seen)
    counted = h2load(gate, call)
    # A refusal of a gRPC call is an HTTP answer of 200 with a status of its own.
    assert {name: number for name, number in counted.items() if number} == WHOLE
    assert len(app.seen) == before
    with Caller(gate.address) as caller:
        kind = (b"content-type", b"application/grpc")
        answer = caller.ask(head(b"POST", f"/{SERVICE}/Unary".encode(), kind), call.read_bytes())
    assert dict(answer.fields)[b"grpc-status"] == b"16"


@pytest.mark.parametrize(
    ("method", "message", "expected"),
    [
        (
            "Unary",
            b"fail",
            {b"grpc-status": b"9", b"grpc-message": b"not now: 50 %25 done", b"x-detail": b"one"},
        ),
        ("Unknown", b"", {b"grpc-status": b"12", b"grpc-message": b"Method not found!"}),
    ],
)
def test_an_error_before_any_message_is_trailers_alone_on_the_wire(
    gate: Gate, method: str, message: bytes, expected: dict[bytes, bytes]
) -> None:
    fields = head(
        b"POST",
        f"/{SERVICE}/{method}".encode(),
        (b"authorization", TOKEN.removeprefix("Authorization: ").encode()),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
    with Caller(gate.address) as caller:
        answer = caller.ask(fields, b"\0" + len(message).to_bytes(4) + message)
    # One block of fields that ends the stream, as the app sent it.
    assert answer.is_whole
    assert (answer.body, answer.trailers) == (b"", [])
    assert expected.items() <= dict(answer.fields).items()
    assert answer.status == 200
