# SPDX-License-Identifier: Apache-2.0
"""`watchword report`: who would be refused, from a log that strangers write to, and from a gate's counts."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.cli.conftest import SERVICE, Work
from watchword.cli import report_only
from watchword.trust.timestamps import rfc3339


def line(**members: Any) -> bytes:
    entry = {
        "time": 1_800_000_000.5,
        "decision_id": "a-1",
        "outcome": "would_refuse",
        "reason": "unknown_workload",
    }
    return json.dumps(entry | members).encode() + b"\n"


def peer(address: str, path: str = "/a") -> dict[str, Any]:
    return {"unproven": {"peer": f"{address}:4711", "method": "GET", "path": path}}


CART = {"issuer": "production", "subject": "system:serviceaccount:shop:cart"}
LOG = b"".join(
    [
        line(**CART, **peer("10.0.0.1")) * 3,
        line(time=1_800_000_060, **CART, **peer("10.0.0.2", "/b")),
        line(
            reason="insufficient_scope", workload="tuist/atlas", scope="app:use", **CART, **peer("10.0.0.3")
        ),
        line(reason="missing_credential", **peer("[fd00::1]")) * 2,
        line(outcome="refused", **CART),
        line(outcome="allowed", **CART),
        line(outcome="ended", **CART),
        b'{"level":"info","message":"a line of the gate\'s own log"}\nplain text\n\n',
    ]
)


def test_callers_are_named_as_far_as_is_proven_and_counted(work: Work) -> None:
    done = work.run("report", "-", stdin=LOG)
    assert done.exit_code == 1
    rows = [row.split() for row in done.stdout.splitlines()]
    assert rows[1][:5] == ["4", "unknown_workload", "system:serviceaccount:shop:cart", "of", "production"]
    assert rows[1][-2:] == ["GET", "/b"]
    assert rows[2][:5] == ["2", "missing_credential", "[fd00::1]", "(not", "proven)"]
    assert rows[3][:4] == ["1", "insufficient_scope", "tuist/atlas", "app:use"]
    assert "7 requests would be refused" in done.stdout
    assert "2 lines are none of an audit log" in done.stderr


def test_the_same_as_json(work: Work) -> None:
    work.write("audit.log", LOG)
    done = work.run("report", "{work}/audit.log", "-o", "json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert (document["requests"], document["others"], document["linesPassedOver"]) == (7, 0, 2)
    assert document["wouldBeRefused"][0] == {
        "reason": "unknown_workload",
        "who": "system:serviceaccount:shop:cart of production",
        "proven": True,
        "scope": "",
        "requests": 4,
        "last": 1_800_000_060,
        "example": "GET /b",
    }


def test_several_logs_are_one_report_and_an_empty_one_is_a_yes(work: Work) -> None:
    work.write("one.log", line(**CART))
    work.write("two.log", line(**CART))
    work.write("none.log", line(outcome="refused", **CART))
    assert "2 requests would be refused" in work.run("report", "{work}/one.log", "{work}/two.log").stdout
    done = work.run("report", "{work}/none.log")
    assert (done.exit_code, done.stdout) == (0, "No one would be refused, by this log.\n")


def test_what_strangers_write_neither_paints_nor_fills_the_screen(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = line(subject="\x1b[31m" + "x" * 5000, issuer="\n1000  allowed  everyone", **peer("\x07"))
    done = work.run(
        "report", "-", stdin=hostile + b"[" * 200_000 + b"\n" + b"x" * 300_000 + b"\n" + line(**CART)
    )
    assert done.exit_code == 1
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 1000
    assert "2 requests would be refused" in done.stdout
    monkeypatch.setattr(report_only, "MAX_ROWS", 5)
    many = b"".join(line(subject=f"s{number}", issuer="i") for number in range(9))
    done = work.run("report", "-", stdin=many)
    assert "4 more requests are of further callers." in done.stdout
    assert "9 requests would be refused" in done.stdout


METRICS = """\
# TYPE watchword_would_refuse_total counter
watchword_would_refuse_total{service="tuist/tuist-server",reason="unknown_workload"} 12.0
watchword_would_refuse_total{service="tuist/tuist-server",reason="missing_credential"} 3.0
# TYPE watchword_report_only_seconds_left gauge
watchword_report_only_seconds_left 3600.0
"""


@contextmanager
def ops_port(text: str, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_counts_of_gates_are_added_up(work: Work) -> None:
    with ops_port(METRICS) as url:
        done = work.run("report", "--url", url, "--url", url)
        assert done.exit_code == 1
        assert f"{url}: reports for 3600 s more" in done.stdout
        assert ["24", "unknown_workload", "tuist/tuist-server"] in [
            row.split() for row in done.stdout.splitlines()
        ]
        document = json.loads(work.run("report", "--url", url, "-o", "json").stdout)
        assert document["requests"] == 15
        assert document["gates"][0]["secondsLeft"] == 3600
    with ops_port(
        "# TYPE watchword_report_only_seconds_left gauge\nwatchword_report_only_seconds_left 0.0\n"
    ) as url:
        done = work.run("report", "--url", url)
        assert done.exit_code == 0
        assert f"{url}: enforces" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-", "--url", "http://127.0.0.1:1"),
        ("--url", "file:///etc/passwd"),
        ("--url", "http://127.0.0.1:1"),
    ],
)
def test_what_cannot_be_read_is_said_with_what_would_be_right(work: Work, arguments: tuple[str, ...]) -> None:
    done = work.run("report", *arguments, stdin=b"")
    assert done.exit_code == 2
    assert "Remedy:" in done.output


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("nothing", 200),
        ("a b c d{", 200),
        ("", 404),
        (METRICS.replace("12.0", "+Inf"), 200),
        (METRICS.replace("12.0", "NaN"), 200),
        (METRICS.replace("3600.0", "+Inf"), 200),
        ("# " + "x" * 16 * 2**20, 200),
    ],
    ids=["no metrics", "no samples", "no page", "infinitely many", "no number", "no end", "too much"],
)
def test_what_is_no_gate_is_said(work: Work, text: str, status: int) -> None:
    with ops_port(text, status) as url:
        done = work.run("report", "--url", url)
        assert done.exit_code == 2
        assert "Remedy:" in done.stderr


def test_a_port_that_speaks_no_http_is_no_gate(work: Work) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()[1]

        def answer() -> None:
            link, _ = listener.accept()
            with link:
                link.recv(4096)
                link.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        done = work.run("report", "--url", f"http://127.0.0.1:{address}")
        thread.join()
    assert done.exit_code == 2
    assert "gives no metrics (BadStatusLine)" in done.stderr


NAMESPACE = """apiVersion: v1
kind: Namespace
metadata: {name: tuist, labels: {watchword.dev/report-only: allowed}}
"""


@pytest.fixture
def reporting(work: Work) -> Work:
    """The folder `good`, with a service that only reports until tomorrow."""
    until = rfc3339(time.time() + 86_400)
    work.write("good/service.yaml", SERVICE.replace("spec:\n", f'spec:\n  reportOnlyUntil: "{until}"\n', 1))
    return work


def test_a_folder_without_the_label_is_told_what_is_missing(reporting: Work) -> None:
    done = reporting.run("compile", "{work}/good", "-o", "json", "--keep-going")
    assert done.exit_code == 1
    assert "ReportOnlyNotAllowed" in done.stderr
    assert "kubectl label namespace tuist watchword.dev/report-only=allowed" in done.stderr
    assert '"reportOnlyUntil"' not in done.stdout
    # The Namespace with its label may be in the cluster alone.
    lint = reporting.run("lint", "{work}/good")
    assert lint.exit_code == 0
    assert "ReportOnlyNotAllowed" in lint.output


def test_a_folder_with_the_label_is_compiled_to_a_bundle_that_reports(reporting: Work) -> None:
    reporting.write("good/namespace.yaml", NAMESPACE)
    done = reporting.run("compile", "{work}/good", "-o", "bundle")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["reportOnlyUntil"] > time.time()


def test_diff_shows_it_as_more_trust(reporting: Work) -> None:
    reporting.write("good/namespace.yaml", NAMESPACE)
    reporting.write("old/service.yaml", SERVICE)
    for name in ("atlas.yaml", "issuer.json"):
        reporting.write(f"old/{name}", (reporting.path / "good" / name).read_bytes())
    found = reporting.run("diff", "{work}/good", "--against", "{work}/old")
    assert "requests that would be refused pass until" in found.stdout, found.output
