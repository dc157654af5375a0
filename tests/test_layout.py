# SPDX-License-Identifier: Apache-2.0
"""Imports point one way: tests use everything, and nothing that is not a test uses tests."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "testing", "benchmarks", "demo", "docs", "image")


def modules_imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_outside_of_tests_imports_tests(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    found = [
        str(file.relative_to(ROOT))
        for file in files
        if any(name.split(".")[0] == "tests" for name in modules_imported(file.read_text()))
    ]
    assert files
    assert found == []


def test_make_runs_tests_through_pytest_only() -> None:
    assert "-m tests." not in (ROOT / "Makefile").read_text()


def test_an_import_of_tests_would_be_seen() -> None:
    assert list(modules_imported("from tests.a import b\nimport tests.c")) == ["tests.a", "tests.c"]
