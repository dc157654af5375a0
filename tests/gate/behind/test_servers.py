# SPDX-License-Identifier: Apache-2.0
"""Real app servers behind the gate: gunicorn, uvicorn, nginx, Node and Go, over connections that are kept.

Each has its own ways with bodies, kept connections and the ends of answers. What callers see is the same.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from testing.controlplane import BuildFailedError, ControlPlaneUnavailableError
from testing.controlplane.build import GoBuild
from testing.controlplane.cache import Recipe, find_or_build
from testing.controlplane.process import reserved_port, running
from testing.gate_process import Gate, running_gate, write_bundle
from testing.grpc_server import SERVICE, find_grpc_server
from testing.manifests import issuer, service, workload
from testing.unavailable import needed_program, skip_or_fail
from tests.gate.proxy.conftest import GRANTS, ROUTES, bearer

# The first time, what the Go apps need is compiled.
pytestmark = [pytest.mark.proxies, pytest.mark.timeout(1200)]
HERE = Path(__file__).parent
ECHOING = ("uvicorn", "gunicorn", "node", "go", "go-h2c")
# An app of HTTP/2 has callers of HTTP/2 alone.
CALLERS = [(name, speaks_http2) for name in ECHOING for speaks_http2 in (False, True)]
CALLERS.remove(("go-h2c", False))
BIG = bytes(range(256)) * 4096 * 4
METADATA = (("authorization", bearer().partition(b": ")[2].decode()),)
_NGINX = """daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    {temporary}
    server {{
        listen 127.0.0.1:{port} reuseport;
        client_max_body_size 0;
        root {folder}/files;
        dav_methods PUT DELETE;
        create_full_put_path on;
        location = /app/acme/headers {{
            return 200 '[["x-watchword-subject", "$http_x_watchword_subject"], ["host", "$http_host"],
                ["authorization", "$http_authorization"]]';
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A gate, and the server behind it."""

    name: str
    gate: Gate

    def client(self, *, speaks_http2: bool) -> httpx.Client:
        """A caller with a token, that keeps its connections."""
        return httpx.Client(
            base_url=f"{self.gate.url}/app/acme",
            headers=dict(METADATA),
            http1=not speaks_http2,
            http2=speaks_http2,
            trust_env=False,
            timeout=60,
        )


def _go_app() -> Path:
    recipe = Recipe(
        name="go-app",
        title="a Go app for the tests",
        version="1",
        source=HERE / "go_app",
        files=("go.mod", "main.go"),
        builds=((GoBuild((".",)), "app"),),
    )
    return find_or_build(recipe, os.environ) / "app"


def _built(find: Callable[[], Path]) -> str:
    try:
        return str(find())
    except (BuildFailedError, ControlPlaneUnavailableError) as problem:
        skip_or_fail("tests of Go apps", problem, required_by="WATCHWORD_REQUIRE_PROXIES")


def _command(name: str, folder: Path, port: int) -> Sequence[str]:
    tests = f"tests of {name} behind the gate"
    if name == "uvicorn":
        flags = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
        return [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), *flags, "asgi_app:app"]
    if name == "gunicorn":
        flags = ["--bind", f"127.0.0.1:{port}", "--threads", "8", "--chdir", str(HERE), "--no-control-socket"]
        return ["env", f"HOME={folder}", sys.executable, "-m", "gunicorn", *flags, "wsgi_app:app"]
    if name == "node":
        return [needed_program("node", tests=tests), str(HERE / "node_app.mjs"), str(port)]
    if name == "grpc-go":
        return [_built(find_grpc_server), str(port)]
    if name.startswith("go"):
        return [_built(_go_app), str(port), *(["h2c"] if name == "go-h2c" else [])]
    path = "/usr/sbin:/usr/local/sbin:/usr/bin"
    program = needed_program("nginx", tests=tests, required_by="WATCHWORD_REQUIRE_PROXIES", path=path)
    (folder / "files").mkdir()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n    ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, port=port, temporary=temporary))
    return [program, "-p", str(folder), "-c", str(configuration), "-e", "stderr"]


@contextmanager
def running_behind(name: str, folder: Path) -> Iterator[Place]:
    """Run a server and a gate before it until the block ends."""
    scheme = "h2c" if name in {"go-h2c", "grpc-go"} else "http"
    routes = [
        *ROUTES,
        {"path": "/grpc.health.v1.Health/{method}", "methods": ["POST"], "scope": "app:use"},
    ]
    grants = [*GRANTS, {"scopes": ["app:use"]}]
    bundle = write_bundle(folder / "bundle.json", issuer(), service(routes=routes), workload(grants=grants))
    with reserved_port() as port:

        def is_ready() -> bool:
            try:
                with socket.create_connection(("127.0.0.1", port), 10):
                    return True
            except OSError:
                return False

        command = _command(name, folder, port)
        with (
            running(command, log=folder / "app.log", is_ready=is_ready, timeout_seconds=60.0),
            running_gate(bundle, "--upstream", f"{scheme}://127.0.0.1:{port}") as gate,
        ):
            yield Place(name, gate)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Place]]:
    """Finds a server by its name; each is started when it is asked for first."""
    with ExitStack() as stack:
        made: dict[str, Place] = {}

        def find(name: str) -> Place:
            if name not in made:
                made[name] = stack.enter_context(running_behind(name, tmp_path_factory.mktemp(name)))
            return made[name]

        yield find


@pytest.fixture(params=CALLERS, ids=lambda each: f"{each[0]}-http{2 if each[1] else 1}")
def client(request: pytest.FixtureRequest, places: Callable[[str], Place]) -> Iterator[httpx.Client]:
    name, speaks_http2 = request.param
    with places(name).client(speaks_http2=speaks_http2) as made:
        yield made


def parts_of(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("body", [b"", b"x", BIG], ids=["empty", "one", "big"])
def test_a_body_comes_back_whole(client: httpx.Client, body: bytes, is_chunked: bool) -> None:
    answer = client.post("/echo", content=parts_of(body) if is_chunked else body)
    assert answer.status_code == 200
    assert answer.content == body


def test_the_app_is_told_who_calls_and_never_gets_the_token(client: httpx.Client) -> None:
    answer = client.get(
        "/headers", headers={"X-Watchword-Subject": "forged", "x_watchword_subject": "forged"}
    )
    found = [(name.replace("_", "-"), value) for name, value in json.loads(answer.content)]
    subjects = [value for name, value in found if name == "x-watchword-subject"]
    assert subjects == ["system:serviceaccount:atlas-production:atlas"]
    assert "authorization" not in dict(found)
    assert "forged" not in answer.text


def test_requests_of_all_kinds_follow_each_other_on_kept_connections(client: httpx.Client) -> None:
    for number in range(30):
        body = b"%d" % number * number
        content = parts_of(body) if number % 3 == 0 else body
        assert client.post("/echo", content=content).content == body
        head = client.head("/echo")
        assert (head.status_code, head.content) == (200, b"")
        assert json.loads(client.get("/headers").content)


def test_events_come_one_at_a_time(client: httpx.Client) -> None:
    with client.stream("GET", "/events") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = (line for line in answer.iter_lines() if line)
        for number in range(3):
            # The app waits with the next one until it is told: what came was sent by itself.
            assert next(lines) == f"data: {number}"
            assert client.get("/next").status_code == 200
        assert list(lines) == []


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running_behind("nginx", tmp_path_factory.mktemp("nginx")) as made:
        yield made


@pytest.mark.parametrize("speaks_http2", [False, True], ids=["http1", "http2"])
def test_nginx_keeps_files_and_answers_as_it_does_alone(nginx: Place, speaks_http2: bool) -> None:
    with nginx.client(speaks_http2=speaks_http2) as client:
        name = f"/file-{speaks_http2}"
        assert client.put(name, content=parts_of(BIG)).status_code == 201
        assert client.put(name, content=BIG).status_code == 204
        whole = client.get(name)
        assert whole.content == BIG
        part = client.get(name, headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, BIG[100:200])
        unchanged = client.get(name, headers={"If-None-Match": whole.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        head = client.head(name)
        assert (head.headers["content-length"], head.content) == (f"{len(BIG)}", b"")
        # Short: in HTTP/2, httpx sends all of a body before it reads that the answer is there.
        assert client.post(name, content=b"x").status_code == 405
        assert json.loads(client.get("/headers").content.replace(b"\n", b" "))[0][1].endswith(":atlas")
        assert client.delete(name).status_code == 204
        assert client.get(name).status_code == 404


def test_grpc_go_answers_and_streams(tmp_path: Path) -> None:
    with (
        running_behind("grpc-go", tmp_path) as place,
        grpc.insecure_channel(place.gate.address) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        for _ in range(20):
            assert stub.Check(request, metadata=METADATA, timeout=60).status == 1
        told = stub.Watch(request, metadata=METADATA, timeout=60)
        assert next(told).status == 1
        told.cancel()
        unknown = health_pb2.HealthCheckRequest(service="none")
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(unknown, metadata=METADATA, timeout=60)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "unknown service"
