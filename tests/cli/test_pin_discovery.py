# SPDX-License-Identifier: Apache-2.0
"""`watchword pin URL` of a document that is another issuer's (OpenID Connect Discovery 1.0, section 4.3)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from testing.keys.authority import Authority
from testing.tokens import signer
from watchword.cli.main import watchword

ELSEWHERE = "https://another.example"


@contextmanager
def served(folder: Path, authority: Authority, host: str, issuer: str | None) -> Iterator[str]:
    """A cluster's endpoint whose discovery document names this issuer; None: its own URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = f"https://{host}:{server.server_address[1]}"
            document: dict[str, Any] = {"issuer": issuer or url, "jwks_uri": f"{url}/keys"}
            body = json.dumps({"keys": [signer().jwk]} if self.path == "/keys" else document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer((host, 0), Handler)
    server.socket = authority.server(folder, (host,)).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def pin(folder: Path, host: str, issuer: str | None) -> Result:
    authority = Authority()
    (folder / "ca.pem").write_text(authority.pem)
    with served(folder, authority, host, issuer) as url:
        arguments = ["pin", url, "--name", "a", "--ca-bundle", str(folder / "ca.pem"), "-o", "json"]
        return CliRunner().invoke(watchword, arguments)


def test_an_issuer_that_says_its_own_url_is_pinned_without_a_word(tmp_path: Path) -> None:
    done = pin(tmp_path, "127.0.0.1", None)
    assert done.exit_code == 0, done.output
    assert "says that its issuer is" not in done.stderr
    assert json.loads(done.stdout)["spec"]["issuer"].startswith("https://127.0.0.1:")


def test_on_this_machine_another_issuer_is_warned_of(tmp_path: Path) -> None:
    """A port that is forwarded to a cluster is a usual way to reach one."""
    done = pin(tmp_path, "127.0.0.1", ELSEWHERE)
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert f"says that its issuer is '{ELSEWHERE}'" in said
    assert "see that its tokens have this iss" in said
    assert json.loads(done.stdout)["spec"]["issuer"] == ELSEWHERE


def test_elsewhere_another_issuer_is_refused(tmp_path: Path) -> None:
    done = pin(tmp_path, "127.0.0.2", ELSEWHERE)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"says that its issuer is '{ELSEWHERE}'" in done.stderr
