# SPDX-License-Identifier: Apache-2.0
"""Folders of manifests to look at, and a console of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.manifests import write_manifests
from tests.console.running import Console, console_of
from watchword.console.folder_source import FolderSource

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three services, five workloads, two issuers, a desk and its clients."""
    path = tmp_path_factory.mktemp("console")
    write_manifests(path)
    return path


@pytest.fixture(scope="module")
def console(folder: Path) -> Iterator[Console]:
    """An open console of that folder, for tests that only read."""
    with console_of(FolderSource(str(folder))) as running:
        yield running


@pytest.fixture
def closed(folder: Path) -> Iterator[Console]:
    """A console whose link was not used yet."""
    with console_of(FolderSource(str(folder)), opened=False) as running:
        yield running
