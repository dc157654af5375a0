# SPDX-License-Identifier: Apache-2.0
"""`watchword doctor --ops-url`: what a process says of itself becomes an answer and an exit code."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from click.testing import CliRunner

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
        assert json.loads(as_json.stdout)["healthy"] is (code == 0)


def test_nobody_there_is_a_no_with_a_remedy() -> None:
    result = CliRunner().invoke(watchword, ["doctor", "--ops-url", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert "Remedy: see that it runs" in result.stdout


@pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:9090", "http://"])
def test_what_is_no_url_is_wrong_usage(url: str) -> None:
    result = CliRunner().invoke(watchword, ["doctor", "--ops-url", url])
    assert result.exit_code == 2
    assert "--ops-url" in result.stderr
