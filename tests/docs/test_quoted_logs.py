# SPDX-License-Identifier: Apache-2.0
"""Every log text that an alert or a page quotes is one that a process writes: people search for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}
# Made from the code, a record of what was, or the code of apps behind the gate.
NOT_READ = (
    "docs/reference/cli.md",
    "docs/reference/attacks.md",
    "docs/decisions/",
    "docs/how-to/read-the-identity-in-your-framework.md",
)
QUOTED = re.compile(r"[`\"]([a-z][a-z',-]*(?: [a-z',-]+)+)[`\"]")
SENTENCE = re.compile(r"(?<=[.:;!?])\s+")
LOG = re.compile(r"\blog\b")


def logged() -> set[str]:
    """The texts that are logged, as they stand in the source."""
    found = set()
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
            ):
                found |= {
                    each.value
                    for argument in node.args[:2]
                    for each in ast.walk(argument)
                    if isinstance(each, ast.Constant) and isinstance(each.value, str)
                }
    return found


def pages() -> Iterator[Path]:
    for path in [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "charts").rglob("alerts*.yaml"),
        ROOT / "README.md",
    ]:
        if not str(path.relative_to(ROOT)).startswith(NOT_READ):
            yield path


def quotes(text: str) -> Iterator[str]:
    """What a text quotes in a sentence about a log, commands left out."""
    for sentence in SENTENCE.split(text):
        if LOG.search(sentence):
            for found in QUOTED.findall(re.sub(r"\s+", " ", sentence)):
                if found.split()[0] not in ("watchword", "kubectl", "helm"):
                    yield found


QUOTES = sorted(
    {(str(path.relative_to(ROOT)), each) for path in pages() for each in quotes(path.read_text())}
)


@pytest.mark.parametrize(("page", "quoted"), QUOTES)
def test_a_log_text_that_is_quoted_is_written(page: str, quoted: str) -> None:
    assert [text for text in logged() if text.startswith(quoted)], f"{page}: nothing logs {quoted!r}"


def test_the_quotes_are_found() -> None:
    assert ("charts/watchword/files/alerts.yaml", "leadership failed") in QUOTES
    assert ("docs/how-to/run-the-desk.md", "the store is new or was restored") in QUOTES
    assert len(QUOTES) >= 10
