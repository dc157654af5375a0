# SPDX-License-Identifier: Apache-2.0
"""A bundle in a file, changed in every way in which files change, and taken only when it is good."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from testing.manifests import compiled, issuer, service, workload
from tests.gate.keeping import Kept, nothing
from watchword.gate.bundle_file import FileSource
from watchword.gate.bundle_updater import BundleUpdater
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.trust import Bundle, encode_bundle

POLL_SECONDS = 0.01


def data(generation: int, *, name: str = "tuist-server", **spec: Any) -> bytes:
    objects = (issuer(), service(name), workload(serviceRef={"name": name}, **spec))
    return encode_bundle(compiled(*objects, generation=generation).bundles[0])


class Following(Kept):
    """A keeper that follows a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.engine = path, Engine(GateMetrics())
        self.updater = BundleUpdater(self.engine, nothing)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            # What is waited for shows in attributes, as it does to /readyz.
            while not condition():  # noqa: ASYNC110 - the keeper has no event for it
                await asyncio.sleep(POLL_SECONDS / 2)


def follow(path: Path, story: Callable[[Following], Awaitable[None]]) -> None:
    async def main() -> None:
        following = Following(path)
        task = asyncio.create_task(following.updater.follow(FileSource(str(path), POLL_SECONDS)))
        try:
            await story(following)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def in_place(path: Path, written: bytes) -> None:
    path.write_bytes(written)


def by_rename(path: Path, written: bytes) -> None:
    new = path.with_name("new")
    new.write_bytes(written)
    new.replace(path)


def by_symlink(path: Path, written: bytes) -> None:
    # As the kubelet does it: the file is a link through a link to a folder, and that one is swapped.
    folder = path.parent / f"..{len(os.listdir(path.parent))}"
    folder.mkdir()
    (folder / path.name).write_bytes(written)
    link = path.parent / "..new"
    link.symlink_to(folder.name)
    link.replace(path.parent / "..data")
    if not path.is_symlink():
        path.symlink_to(f"..data/{path.name}")


@pytest.mark.parametrize("change", [in_place, by_rename, by_symlink])
def test_a_changed_file_is_in_use_however_it_was_changed(
    tmp_path: Path, change: Callable[[Path, bytes], None]
) -> None:
    path = tmp_path / "bundle.json"
    change(path, data(1))

    async def story(following: Following) -> None:
        await following.until(lambda: following.generation == 1)
        change(path, data(2, suspend=True))
        await following.until(lambda: following.generation == 2)

    follow(path, story)


def test_a_gate_waits_for_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    async def story(following: Following) -> None:
        await following.until(lambda: "cannot be read" in following.problem)
        by_rename(following.path, data(1))
        await following.until(lambda: following.generation == 1)
        assert following.problem == ""

    follow(tmp_path / "bundle.json", story)


def unmounted(path: Path) -> None:
    # As the kubelet does it once an optional ConfigMap is gone: an empty folder takes the place of the other.
    folder = path.parent / f"..{len(os.listdir(path.parent))}"
    folder.mkdir()
    link = path.parent / "..new"
    link.symlink_to(folder.name)
    link.replace(path.parent / "..data")
    path.unlink(missing_ok=True)


def removed(path: Path) -> None:
    path.unlink(missing_ok=True)


# How the file came to be missing; what is said where it never was there, and where it was.
MISSING: list[tuple[Callable[[Path], None], Callable[[Path, bytes], None], str, str]] = [
    (unmounted, by_symlink, "is not there, or holds no bundle", "is gone, or holds no bundle any more"),
    (removed, by_rename, "cannot be read: No such file", "the bundle file is gone"),
]


@pytest.mark.parametrize(("lose", "make", "never", "once"), MISSING, ids=["mounted", "plain"])
def test_a_file_that_is_missing_is_explained_by_what_is_there(
    tmp_path: Path,
    lose: Callable[[Path], None],
    make: Callable[[Path, bytes], None],
    never: str,
    once: str,
) -> None:
    lose(tmp_path / "bundle.json")

    async def story(following: Following) -> None:
        await following.until(lambda: never in following.problem)
        remedies = [following.remedy]
        make(following.path, data(1))
        await following.until(lambda: following.generation == 1)
        lose(following.path)
        await following.until(lambda: once in following.problem)
        remedies.append(following.remedy)
        # The pod has its gate, and its mount: who is told to label it looks in the wrong place.
        assert not [each for each in remedies if "not injected" in each]
        assert all(("ProtectedService" in each) is (lose is unmounted) for each in remedies)

    follow(tmp_path / "bundle.json", story)


def test_only_a_folder_that_no_one_mounted_suggests_a_pod_that_was_not_injected(tmp_path: Path) -> None:
    async def story(following: Following) -> None:
        await following.until(lambda: "cannot be read" in following.problem)
        assert "not injected" in following.remedy

    follow(tmp_path / "missing" / "bundle.json", story)


BAD = [
    ("half of a file", data(2)[:-100], "not all of it"),
    ("an empty file", b"", "not all of it"),
    ("a changed byte", data(2).replace(b"atlas-production", b"atlas-prodjction"), "digest"),
    ("a generation that goes back", data(2, suspend=True), "does not follow"),
    ("the same generation with other content", data(3, suspend=True), "does not follow"),
    ("another service's bundle", data(4, name="other"), "is for tuist/other"),
]


@pytest.mark.parametrize(("bad", "why"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_bundle_is_refused_loudly_and_the_last_good_one_stays(
    tmp_path: Path, bad: bytes, why: str
) -> None:
    path = tmp_path / "bundle.json"
    by_rename(path, data(3))

    async def story(following: Following) -> None:
        await following.until(lambda: following.generation == 3)
        by_rename(path, bad)
        await following.until(lambda: why in following.problem)
        assert following.generation == 3
        failures = following.engine.metrics.registry.get_sample_value("watchword_bundle_failures_total")
        assert failures == 1
        by_rename(path, data(9))
        await following.until(lambda: following.generation == 9)
        assert following.problem == ""

    follow(path, story)


def test_the_rest_of_a_file_is_seen_even_when_no_time_of_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    whole = data(1)
    path.write_bytes(whole[:-9] + b" " * 9)
    state = path.stat()

    async def story(following: Following) -> None:
        await following.until(lambda: "no usable bundle" in following.problem)
        with path.open("r+b") as file:
            file.write(whole)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        await following.until(lambda: following.generation == 1)

    follow(path, story)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_path_that_is_no_file_is_said_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "bundle.json")

    async def story(following: Following) -> None:
        await following.until(lambda: "no regular file" in following.problem)

    follow(tmp_path / "bundle.json", story)


class BrokenOnce:
    """A source with a defect that shows once."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self.asked = bundle, 0

    async def bundles(self) -> Any:
        self.asked += 1
        if self.asked == 1:
            raise LookupError("nobody foresaw this")
        yield self._bundle


def test_a_gate_goes_on_following_after_an_error_that_nobody_foresaw(tmp_path: Path) -> None:
    following = Following(tmp_path)
    source = BrokenOnce(compiled(issuer(), service(), workload()).bundles[0])
    asyncio.run(following.updater.follow(source))
    assert (source.asked, following.generation, following.problem) == (2, 1, "")
