# SPDX-License-Identifier: Apache-2.0
"""The commands of exchange-a-token.md and a-cache-node-that-asks.md, run as printed by `watchword dev`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

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
