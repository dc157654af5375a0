# SPDX-License-Identifier: Apache-2.0
"""Each target of the Makefile and each command in the docs runs in CI, or `what_runs.yaml` says why not."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from tests.e2e.reader import ROOT, blocks_of
from watchword.cli.main import COMMANDS, watchword
from watchword.cli.token.command import TokenGroup

LIST_FILE = Path(__file__).parent / "what_runs.yaml"
LIST: dict[str, Any] = yaml.safe_load(LIST_FILE.read_text())
PAGES = [
    path
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted(ROOT.glob("charts/*/README.md")),
        *sorted(ROOT.glob("docs/**/*.md")),
    )
    if blocks_of(path.read_text())
]
ENTRIES = [
    *LIST["targets"].values(),
    *(each for blocks in LIST["blocks"].values() for each in blocks),
]


def test_the_list_names_nothing_twice() -> None:
    # The second of two entries would win without a word, and could say that nothing runs what runs.
    root = yaml.compose(LIST_FILE.read_text())
    assert isinstance(root, yaml.MappingNode)
    for _, mapping in root.value:
        names = [key.value for key, _ in mapping.value]
        assert sorted({name for name in names if names.count(name) > 1}) == []


def test_the_list_has_every_target_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z0-9-]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(LIST["targets"]) == set(targets)
    [phony] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(phony.split()) == set(targets)


def test_the_list_has_every_page_with_commands_and_no_other() -> None:
    assert {str(path.relative_to(ROOT)) for path in PAGES} == set(LIST["blocks"])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_list_has_every_block_of_a_page_in_order(path: Path) -> None:
    blocks = blocks_of(path.read_text())
    listed = LIST["blocks"][str(path.relative_to(ROOT))]
    assert len(blocks) == len(listed)
    for block, entry in zip(blocks, listed, strict=True):
        assert block.startswith(entry["first"]), (block.splitlines()[0], entry["first"])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry.get("first") or entry))
def test_what_runs_is_there_and_what_does_not_says_why(entry: dict[str, str]) -> None:
    assert len({"run", "not"} & entry.keys()) == 1
    if "run" in entry and entry["run"] != "make test":
        assert (ROOT / entry["run"]).is_file()
    for named in re.findall(r"tests/[\w/]+(?:\.py)?", entry.get("not", "")):
        assert (ROOT / named).exists(), named


@pytest.mark.parametrize("page", [each for each, blocks in LIST["blocks"].items() if "run" in blocks[0]])
def test_the_test_that_runs_a_page_reads_it(page: str) -> None:
    for entry in LIST["blocks"][page]:
        runner = entry.get("run", "")
        if runner.endswith(".py") and runner != "tests/e2e/test_chart.py":
            assert Path(page).name.removesuffix(".md") in (ROOT / runner).read_text(), (page, runner)


def commands_of(block: str) -> list[list[str]]:
    """The words of each call of `watchword` in a block."""
    text = re.sub(r"\\\n\s*", " ", block)
    found = []
    for line in text.splitlines():
        for part in re.split(r"\||;|&&|>", re.sub(r"\s#\s.*$", "", line)):
            try:
                words = shlex.split(part, comments=False)
            except ValueError:
                continue
            if words and words[0].removeprefix(".venv/bin/") == "watchword" and len(words) > 1:
                found.append(words[1:])
    return found


CALLS = [
    (str(path.relative_to(ROOT)), words)
    for path in PAGES
    for block in blocks_of(path.read_text())
    for words in commands_of(block)
]


def test_calls_are_found() -> None:
    assert len(CALLS) > 20


@pytest.mark.parametrize(("page", "words"), CALLS, ids=str)
def test_each_flag_in_the_docs_is_one_of_its_command(page: str, words: list[str]) -> None:
    assert words[0] in COMMANDS, page
    context = click.Context(watchword)
    command = watchword.get_command(context, words[0])
    assert command is not None
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        if isinstance(command, TokenGroup) and rest[0] not in command.list_commands(context):
            rest = ["request", *rest]
        found = command.get_command(context, rest[0])
        if found is None and words[0] == "token":
            # `request` may be left away: what is no command's name is a ServiceAccount's.
            found, rest = command.get_command(context, "request"), ["request", *rest]
        assert found is not None, (page, words)
        command, rest = found, rest[1:]
    known = {name for parameter in command.get_params(context) for name in parameter.opts}
    for word in rest:
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in known, (page, word)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def test_help_lists_the_targets() -> None:
    listed = run("make", "help").stdout
    for target in LIST["targets"]:
        assert re.search(rf"^  {target} ", listed, re.MULTILINE), target


def test_trust_is_reviewed_as_review_trust_in_ci_says() -> None:
    [block] = blocks_of((ROOT / "docs/how-to/review-trust-in-ci.md").read_text())
    for words, status in zip(commands_of(block), (0, 0, 1), strict=True):
        done = subprocess.run(
            [sys.executable, "-m", "watchword.cli.main", *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}/src"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, f"{words}\n{done.stdout}{done.stderr}"
