# SPDX-License-Identifier: Apache-2.0
"""The gate as a process: how it starts, how it does not, what answers where, and how it ends."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testing import tokens
from testing.controlplane.process import wait_until
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.certificates import certificate, write_pair
from tests.memory import memory_of

ROUTES = [{"path": "/app/{account}", "methods": ["GET"], "scope": "account:usage:read"}]
METERS = [{"name": "hits", "eventType": "cache.hit", "aggregation": "count"}]
GRANTS = [{"scopes": ["account:usage:read", "account:usage:write"], "accounts": ["acme"]}]
EVENTS = "/api/internal/usage/events"
WAIT_SECONDS = 30


def token(**changes: Any) -> bytes:
    """A token of this moment, for a gate whose clock is the real one."""
    now = int(time.time())
    return tokens.token(**({"iat": now - 60, "nbf": now - 60, "exp": now + 600} | changes))


def bundle(folder: Path, generation: int = 1) -> Path:
    objects = (issuer(), service(routes=ROUTES, usage={"meters": METERS}), workload(grants=GRANTS))
    return write_bundle(folder / "bundle.json", *objects, generation=generation)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("gate")
    flags = ("--usage-dsn", f"sqlite:///{folder}/usage.db", "--audit", "all", "--log-level", "debug")
    with running_gate(bundle(folder), *flags) as running:
        yield running


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").rsplit(":", 1)
    return socket.create_connection((host, int(port)), WAIT_SECONDS)


def exchange(url: str, request: bytes) -> bytes:
    """Send bytes, and read until the other side closes."""
    with connect(url) as link:
        link.sendall(request)
        return b"".join(iter(lambda: link.recv(65536), b""))


def get(path: str, *lines: bytes, method: str = "GET") -> bytes:
    head = (f"{method} {path} HTTP/1.1".encode(), b"Host: gate.example", b"Connection: close", *lines)
    return b"\r\n".join(head) + b"\r\n\r\n"


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


GOLDEN = Path(__file__).with_name("ports.golden.txt")
PATHS = [
    "/",
    "/authz",
    "/authz/",
    "/authz/nginx",
    "/authz/ingress-nginx",
    "/authz/traefik",
    "/authz/caddy",
    "/authz/envoy",
    "/authz/envoy/app/acme",
    "/authz/other",
    "/app/acme",
    "/api/internal/accounts/acme/usage",
    "/api/internal/usage/events",
    "/healthz",
    "/healthz/",
    "/readyz",
    "/livez",
    "/metrics",
    "/metrics/",
    "/admin",
    "/config",
    "/debug/pprof/",
    "/docs",
    "/openapi.json",
    "/quitquitquit",
    "/reload",
    "/shutdown",
]


def test_what_answers_on_each_port_is_what_the_golden_file_says(gate: Gate) -> None:
    # H9. Made anew by deleting the file and running this test; read the difference before you commit it.
    bearer = b"Authorization: Bearer " + token()
    lines = []
    for name, url in (("gate", gate.url), ("ops", gate.ops_url)):
        for path in PATHS:
            codes = [
                str(status(exchange(url, get(path, bearer, b"Content-Length: 0", method=method))))
                for method in ("GET", "POST", "DELETE")
            ]
            lines.append(f"{name:4} {path:38} GET {codes[0]}  POST {codes[1]}  DELETE {codes[2]}")
    found = "\n".join(lines) + "\n"
    if not GOLDEN.exists():
        GOLDEN.write_text(found)
        pytest.fail("the golden file was not there and is now; read it, then run this again")
    assert found == GOLDEN.read_text()


def test_no_answer_names_the_server(gate: Gate) -> None:
    for url in (gate.url, gate.ops_url):
        assert b"\nserver:" not in exchange(url, get("/")).lower()


def test_a_path_with_a_slash_too_many_is_not_redirected_to_the_callers_host(gate: Gate) -> None:
    assert b"location:" not in exchange(gate.ops_url, get("/healthz/")).lower()


ENDLESS = [
    ("a header", b"GET /authz HTTP/1.1\r\nHost: x\r\nX-A: "),
    ("a header name", b"GET /authz HTTP/1.1\r\nHost: x\r\n"),
    ("a target", b"GET /authz?"),
    ("a trailer", b"POST /authz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: "),
    ("a body", b"POST /authz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"),
]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux' /proc")
@pytest.mark.parametrize("start", [case[1] for case in ENDLESS], ids=[case[0] for case in ENDLESS])
def test_nothing_endless_is_kept_in_memory(gate: Gate, start: bytes) -> None:
    before = memory_of(gate.pid).resident
    with connect(gate.url) as link:
        link.sendall(start)
        try:
            for _ in range(64):
                link.sendall(b"a" * 1024 * 1024)
        except OSError:
            pass  # cut off, which is as good
        grown = memory_of(gate.pid).resident - before
    assert grown < 32 * 1024 * 1024


def test_a_head_that_is_too_large_is_told_so(gate: Gate) -> None:
    with connect(gate.url) as link:
        link.sendall(b"GET /authz HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 1024 * 1024)
        assert link.recv(65536).startswith(b"HTTP/1.1 431 ")


def test_too_many_headers_are_refused(gate: Gate) -> None:
    assert status(exchange(gate.url, get("/authz", *[b"a: b"] * 200))) == 400


def test_a_trailer_is_no_header(gate: Gate) -> None:
    event = json.dumps({"n": 1}).encode()
    time_now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lines = [
        b"Authorization: Bearer " + token(),
        b"Content-Type: application/json",
        b"ce-specversion: 1.0",
        b"ce-id: by-trailer",
        b"ce-source: /cache",
        b"ce-type: cache.hit",
        b"ce-time: " + time_now.encode(),
        b"Transfer-Encoding: chunked",
    ]
    body = b"%x\r\n%s\r\n0\r\nce-subject: acme\r\n\r\n" % (len(event), event)
    answer = exchange(gate.url, get(EVENTS, *lines, method="POST") + body)
    assert status(answer) == 422
    assert b"subject" in answer


@pytest.mark.parametrize(
    "target",
    ["http://gate.example/authz", "http://x/app/acme", "//authz", "/authz#a", "*", "authz", "/%61uthz"],
)
def test_a_target_that_is_not_a_plain_path_is_no_endpoint(gate: Gate, target: str) -> None:
    answer = exchange(gate.url, get(target, b"Authorization: Bearer " + token()))
    assert status(answer) in (400, 404)


def test_an_upgrade_changes_nothing(gate: Gate) -> None:
    lines = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: eA==")
    assert status(exchange(gate.url, get("/authz", *lines))) == 401


def test_no_token_is_in_the_log_the_metrics_or_readyz(gate: Gate) -> None:
    good, bad = token(), token(aud=["other"])
    for given in (good, bad, b"x" + good, good[:-4]):
        for path in ("/authz", "/authz/envoy/app/acme", f"/authz/envoy/{given.decode()}", EVENTS):
            exchange(gate.url, get(path, b"Authorization: Bearer " + given))
    exchange(gate.url, b"NONSENSE " + good + b"\r\n\r\n")
    told = exchange(gate.ops_url, get("/metrics")) + exchange(gate.ops_url, get("/readyz"))
    written = told + gate.log.read_bytes()
    assert b"watchword_decisions_total" in told
    for given in (good, bad):
        assert [part for part in given.split(b".")[1:] if part in written] == []


def test_a_request_in_flight_survives_the_end_and_readyz_says_that_it_comes(tmp_path: Path) -> None:
    body = json.dumps(
        {
            "specversion": "1.0",
            "id": "last",
            "source": "/cache",
            "type": "cache.hit",
            "subject": "acme",
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    ).encode()
    lines = (
        b"Authorization: Bearer " + token(),
        b"Content-Type: application/cloudevents+json",
        b"Content-Length: %d" % len(body),
    )
    with (
        running_gate(bundle(tmp_path), "--usage-dsn", f"sqlite:///{tmp_path}/usage.db") as gate,
        connect(gate.url) as link,
    ):
        link.sendall(get(EVENTS, *lines, method="POST") + body[:10])
        # An answer on another connection: the half request was read by then.
        exchange(gate.url, get("/authz"))
        os.kill(gate.pid, signal.SIGTERM)
        wait_until(lambda: gate.ready().status_code == 503, what="/readyz says no")
        assert gate.ready().json()["why"] == "the gate is stopping"
        link.sendall(body[10:])
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    assert status(answer) == 200
    assert b'"stored":1' in answer


def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(tmp_path: Path) -> None:
    first, second = certificate("first"), certificate("second")
    paths = write_pair(tmp_path, first)
    command = [sys.executable, "-m", "watchword.cli.main", "sidecar", "--bundle", str(bundle(tmp_path))]
    command += ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--usage-dsn", "sqlite:///:memory:"]
    command += ["--tls-cert", str(paths[0]), "--tls-key", str(paths[1])]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: b'"listening"' in log.read_bytes(), what="listening")
        line = next(each for each in log.read_bytes().splitlines() if b'"listening"' in each)
        port = int(json.loads(line)["listen"].rpartition(":")[2])

        def served() -> str:
            return ssl.get_server_certificate(("127.0.0.1", port), timeout=WAIT_SECONDS)

        assert served() == first[0].decode()
        paths[0].write_bytes(second[0])
        wait_until(lambda: b"certificate refused" in log.read_bytes(), what="half of a renewal is refused")
        assert served() == first[0].decode()
        paths[1].write_bytes(second[1])
        wait_until(lambda: served() == second[0].decode(), what="the new pair is served")
    finally:
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0


def start(folder: Path, *flags: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "watchword.cli.main", "sidecar", "--bundle", str(folder / "b.json")]
    defaults = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--usage-dsn", "sqlite:///:memory:"]
    return subprocess.run(
        [*command, *defaults, *flags], capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = start(tmp_path, "--ops-listen", address)
    assert ended.returncode == 2
    [line] = ended.stderr.decode().splitlines()
    assert line.startswith(f"watchword: --ops-listen: cannot listen on {address}: ")
    assert "Remedy: " in line


UNUSABLE_PAIRS = {
    "no PEM": (b"no PEM", b"no PEM"),
    "two that do not fit": (certificate("a")[0], certificate("b")[1]),
    "a key with a password": certificate("a", b"secret"),
}


@pytest.mark.parametrize("pair", UNUSABLE_PAIRS.values(), ids=UNUSABLE_PAIRS)
def test_a_pair_that_cannot_be_used_is_said_in_one_line(tmp_path: Path, pair: tuple[bytes, bytes]) -> None:
    paths = write_pair(tmp_path, pair)
    ended = start(tmp_path, "--tls-cert", str(paths[0]), "--tls-key", str(paths[1]))
    assert ended.returncode == 2
    [line] = ended.stderr.decode().splitlines()
    assert line.startswith("watchword: --tls-cert, --tls-key: ")
