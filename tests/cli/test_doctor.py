# SPDX-License-Identifier: Apache-2.0
"""`watchword doctor --ops-url`: what a process says of itself becomes an answer and an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from click.testing import CliRunner

from testing.environment import child_environment
from testing.hostile_desk import hostile_desk
from watchword.cli.doctor import findings_of_object
from watchword.cli.main import watchword


@contextmanager
def process(status: int, document: Any) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/readyz"
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def types(found: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in found.items()}


@pytest.mark.parametrize(
    ("status", "document", "code", "said"),
    [
        (200, {"ready": True}, 0, "all is well"),
        (200, {"ready": True, "warning": "the bundle object is gone"}, 0, "the bundle object is gone"),
        (
            503,
            {"ready": False, "why": "no bundle", "remedy": "mount it"},
            1,
            "not ready: no bundle. Remedy: mount it",
        ),
        (503, ["not", "an", "object"], 1, "it does not say why"),
    ],
)
def test_readiness_becomes_the_answer(status: int, document: Any, code: int, said: str) -> None:
    with process(status, document) as url:
        result = CliRunner().invoke(watchword, ["doctor", "--ops-url", url])
        assert (result.exit_code, said in result.stdout) == (code, True), result.output
        as_json = CliRunner().invoke(watchword, ["doctor", "--ops-url", url, "-o", "json"])
        answer = json.loads(as_json.stdout)
        assert answer["healthy"] is (code == 0)
        assert [each["where"] for each in answer["complaints"]] == [url] * (said != "all is well")
        assert all(
            {"where": str, "what": str, "is_serious": bool} == types(each) for each in answer["complaints"]
        )


def test_nobody_there_is_a_no_with_a_remedy() -> None:
    result = CliRunner().invoke(watchword, ["doctor", "--ops-url", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert "Remedy: see that it runs" in result.stdout


@pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:9090", "http://"])
def test_what_is_no_url_is_wrong_usage(url: str) -> None:
    result = CliRunner().invoke(watchword, ["doctor", "--ops-url", url])
    assert result.exit_code == 2
    assert "--ops-url" in result.stderr


def condition(type_: str, status: str, reason: str) -> dict[str, str]:
    return {"type": type_, "status": status, "reason": reason, "message": f"{reason} is the case."}


READY = condition("Ready", "True", "Trusted")


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([READY, condition("Reachable", "Unknown", "OtherCluster")], []),
        ([READY, condition("PolicyApplied", "False", "Off")], []),
        ([READY, condition("PolicyApplied", "False", "Previewed")], []),
        ([READY, condition("RotationSettled", "False", "KeysRetiring")], []),
        ([READY, condition("RotationSettled", "False", "ApprovalOverdue")], [("RotationSettled", True)]),
        ([condition("Ready", "False", "Suspended")], [("Ready", False)]),
        ([READY, condition("ReportOnly", "True", "Reporting")], [("ReportOnly", False)]),
        ([READY, condition("ReportOnly", "False", "Ended")], [("ReportOnly", False)]),
        ([READY, condition("ReportOnly", "False", "ReportOnlyNotAllowed")], [("ReportOnly", True)]),
        # One cause, one line.
        (
            [condition("Ready", "False", "CallsDropped"), condition("Reachable", "False", "NoPeers")],
            [("Ready", True)],
        ),
        ([condition("Ready", "Unknown", "NotAsked")], [("Ready", True)]),
    ],
)
def test_what_was_asked_for_or_cannot_be_known_is_no_finding(
    conditions: list[dict[str, str]], expected: list[tuple[str, bool]]
) -> None:
    item = {
        "kind": "TrustedWorkload",
        "metadata": {"name": "a", "namespace": "b"},
        "status": {"conditions": conditions},
    }
    found = [(each.what.partition(" ")[0], each.is_serious) for each in findings_of_object(item)]
    assert found == expected


def test_counts_are_said_in_the_form_that_they_take() -> None:
    with process(200, {"ready": True}) as one, process(503, {"ready": False, "why": "no bundle"}) as other:
        both = CliRunner().invoke(watchword, ["doctor", "--ops-url", one, "--ops-url", other])
        alone = CliRunner().invoke(watchword, ["doctor", "--ops-url", one])
    assert both.stdout.splitlines()[-1] == "Asked 2 processes: 1 thing is not well."
    assert alone.stdout.splitlines()[-1] == "Asked 1 process: all is well."


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_is_asked_about_a_process_of_this_machine(name: str) -> None:
    with hostile_desk() as process, hostile_desk() as proxy:
        process.answers["GET", "/readyz"] = 200, {"ready": True}
        command = [sys.executable, "-m", "watchword.cli.main", "doctor", "--ops-url", process.url]
        # A process of its own: urllib reads the environment once.
        done = subprocess.run(
            command, env=child_environment(**{name: proxy.url}), capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert proxy.asked == []
        assert ("GET", "/readyz", "") in process.asked
