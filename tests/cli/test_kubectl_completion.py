# SPDX-License-Identifier: Apache-2.0
"""`kubectl watchword <TAB>`, by the real kubectl, which runs our program to complete."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

KUBECTL = Path(sysconfig.get_path("scripts"), "kubectl")
PROGRAMS = {
    "kubectl-watchword": "watchword.cli.main",
    "kubectl_complete-watchword": "watchword.cli.kubectl_completion",
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with both programs, as pip installs them."""
    for name, module in PROGRAMS.items():
        program = tmp_path / name
        program.write_text(f"#!{sys.executable}\nfrom {module} import main\nmain()\n")
        program.chmod(0o755)
    return f"{tmp_path}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("words", "expected", "directive"),
    [
        (["wh"], ["who-can"], ":4"),
        (["verify", "--b"], ["--bundle"], ":4"),
        (["lint", "--output", "g"], ["github", "gitlab"], ":4"),
        (["compile", ""], [], ":16"),
        (["usage", "sh"], ["show"], ":4"),
    ],
)
def test_kubectl_completes_the_plugins_words(
    path: str, words: list[str], expected: list[str], directive: str
) -> None:
    done = subprocess.run(
        [str(KUBECTL), "__complete", "watchword", *words],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert ([line.partition("\t")[0] for line in lines], last) == (expected, directive), done.stdout
