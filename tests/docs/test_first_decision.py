# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/tutorial/first-decision.md, run in order in one shell; only the ports are others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testing.controlplane.process import reserved_ports
from testing.environment import child_environment
from tests.e2e.reader import ROOT, blocks_of

PAGE = blocks_of((ROOT / "docs/tutorial/first-decision.md").read_text())
PORTS = ("8443", "9090", "8081")
MARK = "---- the next commands of the page"
# The command runs in a first terminal; the second one begins when it answers.
IN_A_FIRST_TERMINAL = re.compile(r"^(\.venv/bin/watchword dev .*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each block of the page wrote."""
    folder = tmp_path_factory.mktemp("first-decision")
    shutil.copytree(ROOT / "manifests", folder / "manifests")
    (folder / ".venv/bin").mkdir(parents=True)
    for name, text in {
        ".venv/bin/watchword": f'exec {sys.executable} -m watchword.cli.main "$@"',
        "bin/make": "true",
        "bin/sleep": f"exec {shutil.which('sleep')} $(( $1 * 3 ))",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    with reserved_ports(len(PORTS)) as ports:
        return run_with(list(map(str, ports)), folder)


def run_with(others: list[str], folder: Path) -> list[str]:
    """Run the page's commands in a folder, with these ports instead of the page's."""
    script = f"\necho '{MARK}'\n".join(["set -euo pipefail", *PAGE])
    for old, new in zip(PORTS, others, strict=True):
        script = script.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    assert len(IN_A_FIRST_TERMINAL.findall(script)) == 1
    waits = f"until curl -sf 127.0.0.1:{others[1]}/readyz > /dev/null; do {shutil.which('sleep')} 0.2; done"
    first = '> dev.log 2>&1 &\ntrap "kill $!" EXIT'
    script = IN_A_FIRST_TERMINAL.sub(lambda found: f"{found[1]} {first}\n{waits}", script)
    path = f"{folder}/bin:{os.environ['PATH']}"
    environment = child_environment(PATH=path, HOME=str(folder), PYTHONPATH=f"{ROOT}/src")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    log = (folder / "dev.log").read_text() if (folder / "dev.log").exists() else ""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{log}"
    return done.stdout.split(f"{MARK}\n")[1:]


def status(output: str) -> int:
    [found] = re.findall(r"^HTTP/1\.1 (\d{3})", output, re.MULTILINE)
    return int(found)


def test_the_trusted_workload_is_let_in_and_the_stranger_told_why(said: list[str]) -> None:
    assert status(said[1]) == 200
    assert "x-watchword-subject: system:serviceaccount:atlas-production:atlas" in said[1].lower()
    assert status(said[2]) == 403
    assert "unknown_workload" in said[2]


def test_one_file_lets_it_in(said: list[str]) -> None:
    assert status(said[3]) == 200


def test_the_whole_story_of_a_token_ends_in_a_yes(said: list[str]) -> None:
    assert "Accepted as tuist/atlas" in said[4]


def test_the_page_has_no_commands_but_those(said: list[str]) -> None:
    assert len(said) == 5
