# SPDX-License-Identifier: Apache-2.0
"""Old gates and new bundles: a gate takes the newest form that it reads, from the API and from a mount alike.

A member that a gate does not know must not freeze it: it would go on trusting those who were put out since.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.gate.test_bundle_updater import GONE, Two, bundle
from watchword.gate.bundle_file import FileSource, SourceProblem
from watchword.gate.bundle_watch import BundleWatch
from watchword.gate.config_map_watch import ConfigMap
from watchword.gate.metrics import GateMetrics
from watchword.gate.settings import FollowedConfigMap
from watchword.kube.watch import Endpoint, ObjectMeta
from watchword.trust import Bundle, decode_bundle, pack_bundle
from watchword.trust.bundle import digest_of
from watchword.trust.bundle_forms import entries_of

OLD, NEW = "bundle.json", "bundle.v2.json"
Found = Bundle | SourceProblem


def sealed(document: dict[str, Any]) -> bytes:
    """A document of a later release: with members that this one does not know, under its own digest."""
    blank = document | {"generation": 1, "digest": ""}
    digest = digest_of(json.dumps(blank, separators=(",", ":"), sort_keys=True).encode())
    return json.dumps(document | {"digest": digest}, separators=(",", ":"), sort_keys=True).encode()


def later(generation: int, **members: Any) -> bytes:
    return sealed(json.loads(entries_of(bundle(generation))[NEW]) | members)


def from_file(entries: dict[str, bytes], folder: Path) -> Found:
    for name, data in entries.items():
        (folder / name).write_bytes(data)

    async def first() -> Found:
        async for found in FileSource(str(folder / OLD), 0.01).bundles():
            return found
        raise AssertionError

    return asyncio.run(first())


def from_api(entries: dict[str, bytes], *, is_packed: bool) -> Found:
    followed = FollowedConfigMap(Endpoint("http://127.0.0.1:1"), "tuist", "x")
    live = BundleWatch(followed, GateMetrics())
    metadata = ObjectMeta(name="x", namespace="tuist")
    if is_packed:
        packed = {name: pack_bundle(data) for name, data in entries.items()}
        return live._read(ConfigMap(metadata=metadata, binary_data=packed))
    text = {name: data.decode() for name, data in entries.items()}
    return live._read(ConfigMap(metadata=metadata, data=text))


@pytest.fixture(params=["file", "api", "api, packed"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Both ways in which a gate comes by its bundle."""

    def found(entries: dict[str, bytes]) -> Found:
        if request.param == "file":
            return from_file(entries, tmp_path)
        return from_api(entries, is_packed="packed" in request.param)

    return found


def taken(found: Found) -> tuple[int, int]:
    """The form and the generation."""
    assert isinstance(found, Bundle), found
    return found.schema_version, found.generation


def test_the_newest_form_is_taken_and_an_unknown_one_next_to_it_is_passed_over(read: Any) -> None:
    entries = entries_of(bundle(5)) | {"bundle.v3.json": b"{}", "note": b"x"}
    assert taken(read(entries)) == (2, 5)


def test_what_only_has_the_previous_form_is_read(read: Any) -> None:
    assert taken(read({OLD: entries_of(bundle(5))[OLD]})) == (1, 5)


def test_what_only_has_the_whole_form_is_read(read: Any) -> None:
    assert taken(read({NEW: entries_of(bundle(5))[NEW]})) == (2, 5)


def test_a_member_of_a_later_release_does_not_freeze_a_gate(read: Any) -> None:
    entries = entries_of(bundle(5)) | {NEW: later(5, somethingNew={"a": 1})}
    assert taken(read(entries)) == (2, 5)


@pytest.mark.parametrize("change", [{"requires": ["new-limits"]}, {"schemaVersion": 3}])
def test_what_a_gate_cannot_honour_it_reads_in_the_older_form(read: Any, change: dict[str, Any]) -> None:
    entries = entries_of(bundle(5)) | {NEW: later(5, **change)}
    assert taken(read(entries)) == (1, 5)


def test_a_broken_newer_form_is_said_and_no_older_one_hides_it(read: Any) -> None:
    found = read(entries_of(bundle(5)) | {NEW: b'{"schemaVersion": 2'})
    assert isinstance(found, SourceProblem)
    assert found.is_there is True
    assert "no usable bundle" in found.detail


def test_an_empty_newer_form_is_said_and_no_older_one_takes_its_place(read: Any) -> None:
    found = read(entries_of(bundle(5)) | {NEW: b""})
    assert isinstance(found, SourceProblem)
    assert found.is_there is True
    assert "no usable bundle" in found.detail


def test_where_no_form_can_be_read_the_newest_one_says_why(read: Any) -> None:
    entries = {OLD: later(5, schemaVersion=3), NEW: later(5, requires=["new-limits"])}
    found = read(entries)
    assert isinstance(found, SourceProblem)
    assert "new-limits" in found.detail


def test_where_no_form_can_be_read_it_is_said_why(read: Any) -> None:
    found = read({NEW: later(5, requires=["new-limits"])})
    assert isinstance(found, SourceProblem)
    assert "new-limits" in found.detail


def test_a_mount_without_any_form_is_gone(tmp_path: Path) -> None:
    found = from_file({}, tmp_path)
    assert isinstance(found, SourceProblem)
    assert found.is_there is False


def test_a_file_of_another_name_has_no_forms_next_to_it(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(entries_of(bundle(5))[OLD])
    (tmp_path / NEW).write_bytes(entries_of(bundle(9))[NEW])

    async def first() -> Found:
        async for found in FileSource(str(tmp_path / "mine.json"), 0.01).bundles():
            return found
        raise AssertionError

    assert taken(asyncio.run(first())) == (1, 5)


def previous(generation: int) -> Bundle:
    """The form of the release before, as a mount of that one entry, or half of a swap, gives it."""
    return decode_bundle(entries_of(bundle(generation))[OLD])


@pytest.mark.parametrize("first", ["file", "api"])
@pytest.mark.parametrize("then", ["file", "api"])
def test_the_whole_form_takes_the_place_of_the_older_form_of_the_same_bundle(first: str, then: str) -> None:
    two = Two()
    getattr(two, first)(previous(5))
    getattr(two, then)(bundle(5))
    assert two.engine.active is not None
    assert (two.engine.active.ruleset.digest, two.problem) == (bundle(5).digest, "")
    # And never the other way round, nor for an older one.
    two.file(previous(5)).file(previous(4))
    assert two.engine.active.ruleset.digest == bundle(5).digest


def test_the_whole_form_of_an_older_bundle_is_no_way_back() -> None:
    two = Two().api(previous(5)).api(bundle(4))
    assert (two.generation, two.problem) == (5, "generation 4 does not follow 5, which is in use")


def test_trust_that_ended_on_the_older_form_comes_back_with_the_whole_one() -> None:
    two = Two().file(previous(5)).api(GONE)
    two.engine.end_trust(two.engine.not_ready)
    two.api(bundle(5))
    assert (two.generation, two.problem) == (5, "")
