# SPDX-License-Identifier: Apache-2.0
"""A desk's configuration in a folder: each file that is read counts when it is edited, and no other does."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from testing.desk_process import DeskProcess
from testing.running_desk import CLUSTER, DESK
from watchword.desk.configuration import Configuration
from watchword.desk.published import Mark
from watchword.desk.sources import FilePublisher, FolderDeskSource

FIRST, SECOND = (hashlib.sha256(each).hexdigest() for each in (b"first", b"second"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    DeskProcess(tmp_path, "sqlite:///:memory:").write()
    config = tmp_path / "config"
    (config / "secrets/cache").mkdir(parents=True)
    (config / "secrets/cache/sha256").write_text(FIRST)
    (config / "published").mkdir()
    return config


def source(folder: Path) -> FolderDeskSource:
    return FolderDeskSource(folder, DESK, CLUSTER, poll_seconds=0.01)


def test_a_secret_that_is_edited_in_place_is_a_change(folder: Path) -> None:
    async def follow() -> list[str]:
        found: list[str] = []
        async for each in source(folder).configurations():
            assert isinstance(each, Configuration), each
            found.append(each.secrets["cache", "sha256"])
            if len(found) == 2:
                return found
            # In place: the folder around it stays as it was.
            (folder / "secrets/cache/sha256").write_text(SECOND)
        return found

    async def within_a_minute() -> list[str]:
        async with asyncio.timeout(60):
            return await follow()

    assert asyncio.run(within_a_minute()) == [FIRST, SECOND]


def test_what_the_desk_publishes_is_no_change_of_its_configuration(folder: Path) -> None:
    followed = source(folder)
    before = followed._state()
    publisher = FilePublisher(folder / "published")
    for number in range(3):
        asyncio.run(publisher.write(Mark("store", f"{number}:{'0' * 64}"), b"{}"))
        (folder / "notes.txt").write_text(str(number))
        assert followed._state() == before


@pytest.mark.parametrize("part", ["desk.json", "bundles", "keys", "secrets/cache"])
def test_each_file_that_is_read_counts(folder: Path, part: str) -> None:
    followed = source(folder)
    before = followed._state()
    path = folder / part
    path = path if path.is_file() else min(path.iterdir())
    os.utime(path, ns=(1, 1))
    assert followed._state() != before
