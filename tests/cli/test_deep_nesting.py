# SPDX-License-Identifier: Apache-2.0
"""Manifests that are nested without end: a message, and no process that dies in C."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEEP = {
    "brackets.json": "[" * 50_000,
    "braces.json": '{"a":' * 50_000,
    "closed.json": "[" * 50_000 + "]" * 50_000,
    "braces.yaml": "{a: " * 50_000,
    "items.yaml": "- " * 100_000,
    "second.yaml": f"kind: List\n---\n{'[' * 50_000}",
    "behind.json": f"{{}}{'[' * 50_000}",
}
COMMANDS = {
    "lint {0}": 1,
    "compile {0}": 1,
    "diff {0} --against {0}": 2,
    "who-can a:b --manifests {0}": 1,
    "verify {1} --manifests {0}": 2,
    "inject {1} --services {0}": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("deep")
    for name, text in DEEP.items():
        (made / "m").mkdir(exist_ok=True)
        (made / "m" / name).write_text(text)
    (made / "nothing").write_text("")
    return made


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from watchword.cli.main import watchword; watchword()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_reads_a_folder_says_so(folder: Path, command: str) -> None:
    places = (str(folder / "m"), str(folder / "nothing"))
    done = run(*(each.format(*places) for each in command.split()))
    said = done.stdout + done.stderr
    assert done.returncode == COMMANDS[command], said[-500:]
    assert "Traceback" not in said
    for name in DEEP:
        assert f"{name}: not YAML or JSON: " in said, said
    assert "recursion" not in said


@pytest.mark.parametrize("name", DEEP)
def test_an_api_document_that_is_too_deep_is_said_to_be(folder: Path, name: str) -> None:
    done = run("routes", "--from", str(folder / "m" / name))
    assert done.returncode == 2, done.stderr[-500:]
    assert "Traceback" not in done.stderr
