# SPDX-License-Identifier: Apache-2.0
"""The commands of exchange-a-token.md, a-cache-node-that-asks.md and administer-a-desk.md, run as printed."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from testing.controlplane.process import reserved_ports
from testing.environment import child_environment
from testing.unavailable import needed_program
from tests.desk.test_dev import running
from tests.e2e.reader import ROOT, blocks_of

PAGES = ("exchange-a-token.md", "a-cache-node-that-asks.md")


def test_the_commands_give_what_the_pages_say(tmp_path: Path) -> None:
    for program in ("jq", "curl"):
        needed_program(program, tests="the pages' commands")
    exchange, node = (blocks_of((ROOT / "docs/how-to" / page).read_text()) for page in PAGES)
    start, subject, token, ask, revoke, command = exchange
    assert start.startswith("watchword dev manifests/tenant-cache ")
    folder = shutil.copytree(ROOT / "manifests/tenant-cache", tmp_path / "tenant-cache")
    with running(folder) as dev:
        # Longer, for a busy machine.
        slower = "sleep() { command sleep $(( $1 * 4 )); }"
        introspect, serve = node
        assert "cache_node.py" in serve
        script = "\n".join(["set -eu", slower, subject, token, ask, introspect, revoke])
        for printed, here in (
            ("127.0.0.1:8443", dev.gate[7:]),
            ("127.0.0.1:8500", dev.issuer[7:]),
            ("127.0.0.1:8444", dev.desk[7:]),
        ):
            assert printed in script
            script = script.replace(printed, here)
        done = subprocess.run(
            ["bash", "-c", script],
            env=child_environment(NO_PROXY="*"),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    allowed, other_project, *answer, revoked, gone = done.stdout.splitlines()
    assert (allowed, other_project, revoked, gone) == ("200", "403", "200", "401")
    assert json.loads("\n".join(answer))["active"] is True
    assert command.startswith("watchword token exchange ")


def test_a_desk_is_administered_as_the_page_says(tmp_path: Path) -> None:
    for program in ("jq", "curl"):
        needed_program(program, tests="the page's commands")
    make, look, token, _, _, in_a_cluster = blocks_of((ROOT / "docs/how-to/administer-a-desk.md").read_text())
    make, _, flags = make.partition("watchword dev try ")
    assert "--desk-admin-listen 127.0.0.1:8445" in flags
    assert "kubectl" in in_a_cluster
    shutil.copytree(ROOT / "manifests/tenant-cache", tmp_path / "manifests/tenant-cache")

    def run(*blocks: str) -> str:
        program = f'watchword() {{ {shlex.quote(sys.executable)} -m watchword.cli.main "$@"; }}'
        done = subprocess.run(
            ["bash", "-c", "\n".join(["set -eu", program, *blocks])],
            env=child_environment(NO_PROXY="*"),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(make)
    with (
        reserved_ports(1) as [port],
        running(tmp_path / "try", "--desk-admin-listen", f"127.0.0.1:{port}") as dev,
    ):
        script = f"{look}\n{token}"
        for printed, here in (
            ("127.0.0.1:8500", dev.issuer[7:]),
            ("127.0.0.1:8444", dev.desk[7:]),
            ("127.0.0.1:8445", f"127.0.0.1:{port}"),
        ):
            assert printed in script
            script = script.replace(printed, here)
        said = run(script)
    assert "automation  AdminServiceAccount  yes" in said
    assert "admin_called" in said
    assert "It would get the token, by cache/acme-ci." in said
    listed = json.loads(said.splitlines()[-1])
    assert {each["kind"] for each in listed["tokens"]} == {"admin"}
