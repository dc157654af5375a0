# SPDX-License-Identifier: Apache-2.0
"""The command as a process: what it prints, where its secret is and is not, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from testing.controlplane import wait_until
from watchword.cli.main import watchword

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "watchword.cli.main", "console")


@contextmanager
def started(folder: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """The process, its log and the file that it names."""
    log = folder / "console.log"
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "BROWSER": "true"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *flags], cwd=ROOT, stdout=output, stderr=output, env=environment
        )
    try:

        def named() -> str:
            found = re.search(r"once: (.*)$", log.read_text(), re.MULTILINE)
            return found[1] if found else ""

        wait_until(
            lambda: bool(named()) or process.poll() is not None,
            what="the console names its file",
            timeout_seconds=120,
        )
        assert process.poll() is None, log.read_text()
        yield process, log, Path(named())
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)


def test_the_secret_of_the_link_is_in_its_file_and_nowhere_else(tmp_path: Path) -> None:
    with started(tmp_path, "--from", "manifests/two-clusters", "--open") as (process, log, file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        [link] = set(re.findall(r'href="([^"]*)"', file.read_text()))
        secret = link.rpartition("/")[2]
        host, _, port = link.removeprefix("http://").partition("/")[0].partition(":")
        arguments = (
            Path(f"/proc/{process.pid}/cmdline").read_bytes()
            + Path(f"/proc/{process.pid}/environ").read_bytes()
        )
        assert secret.encode() not in arguments
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Host": f"{host}:{port}"},
            trust_env=False,
            timeout=60,
        )
        with client:
            opened = client.get(f"/open/{secret}")
            cookie = opened.headers["set-cookie"].partition(";")[0]
            assert not file.exists()
            assert client.get(f"/open/{secret}").status_code == 403
            answer = client.get("/services", headers={"Cookie": cookie})
            assert (answer.status_code, "tuist/tuist-server" in answer.text) == (200, True)
            origin = {"Cookie": cookie, "Origin": f"http://{host}:{port}"}
            token = "a-token.that-is.pasted"
            client.post("/token", headers=origin, data={"service": "tuist/tuist-server", "token": token})
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        said = log.read_text()
        assert secret not in said
        assert cookie.partition("=")[2] not in said
        assert token not in said
    assert [each.name for each in tmp_path.iterdir()] == ["console.log"]


def test_a_console_that_was_never_opened_leaves_no_link_behind(tmp_path: Path) -> None:
    with started(tmp_path, "--from", "manifests/two-clusters") as (process, _, file):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not file.parent.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--from", "manifests/quickstart", "--context", "x"], "belong to a cluster"),
        (["--from", "manifests/quickstart", "--namespace", "x"], "belong to a cluster"),
        (["--cluster-id", "dev"], "belong to --from"),
        (["--ops-url", "http://127.0.0.1:1"], "belong to --from"),
        (["--namespace", "A/b"], "no namespace's name"),
        (["--from", "manifests/quickstart", "--ops-url", "ftp://x"], "is not a URL"),
        (["--from", "manifests/quickstart", "--ops-url", "file:///etc/passwd"], "is not a URL"),
        (["--from", "manifests/quickstart", "--listen-port", "70000"], "70000"),
        (["--from", "src"], "holds no manifest"),
        (["--from", "manifests/quickstart", "--jwks", "x=docs/reference/usage-openapi.json"], "do not have"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    flags: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(watchword, ["console", *flags])
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_port_that_is_taken_is_named_by_its_flag(tmp_path: Path) -> None:
    with started(tmp_path, "--from", "manifests/two-clusters") as (_, _, file):
        port = re.findall(r":([0-9]+)/open", file.read_text())[0]
        done = subprocess.run(
            [*COMMAND, "--from", "manifests/two-clusters", "--listen-port", port],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 2
    assert f"--listen-port: cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Remedy: Choose another port" in done.stderr
