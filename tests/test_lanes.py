# SPDX-License-Identifier: Apache-2.0
"""What runs at once must neither hide a failure nor what was printed."""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path

import pytest

from testing.lanes import APART, Lane, run


def says(text: str, code: int = 0, seconds: float = 0.0) -> list[str]:
    program = f"import sys, time; time.sleep({seconds}); print({text!r}); sys.exit({code})"
    return [sys.executable, "-c", program]


def in_lanes(folder: Path, *lanes: list[list[str]]) -> list[list[str]]:
    logs = [folder / str(number) for number in range(len(lanes))]
    for log in logs:
        log.touch()
    found = run([Lane(deque(commands), log) for commands, log in zip(lanes, logs, strict=True)], logs)
    return [list(command) for command in found]


def test_a_failure_in_any_place_of_any_lane_is_a_failure(tmp_path: Path) -> None:
    bad, worse = says("bad", code=1, seconds=0.3), says("worse", code=2)
    assert in_lanes(tmp_path, [says("a"), bad, says("b")], [worse, says("c")]) == [bad, worse]


def test_what_each_lane_prints_is_shown_whole_and_one_after_the_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert in_lanes(tmp_path, [says("1"), says("2", seconds=0.5)], [says("3"), says("4")], [says("5")]) == []
    assert capfd.readouterr().out.split() == ["1", "2", "3", "4", "5"]


def test_a_lane_that_is_free_takes_the_next_command_and_each_runs_once(tmp_path: Path) -> None:
    # The first ends when the last has run: it must be another lane that runs it.
    mark = tmp_path / "mark"
    waits = f"import pathlib, time\nwhile not pathlib.Path({str(mark)!r}).exists(): time.sleep(0.05)"
    makes = f"import pathlib; pathlib.Path({str(mark)!r}).touch(exist_ok=False)"
    bad = says("bad", code=1)
    commands = deque([[sys.executable, "-c", waits], bad, says("good"), [sys.executable, "-c", makes]])
    logs = [tmp_path / "0", tmp_path / "1"]
    for log in logs:
        log.touch()
    assert run([Lane(commands, log) for log in logs], logs) == [bad]
    assert [log.read_text().split() for log in logs] == [[], ["bad", "good"]]


def test_the_folders_that_are_a_command_each_are_there() -> None:
    for folders in APART:
        for folder in folders:
            assert (Path(__file__).parents[1] / folder).is_dir(), folder


def test_a_command_that_cannot_start_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        in_lanes(tmp_path, [["/no/such/program"]])


def test_what_runs_in_other_lanes_can_tidy_up_when_one_ends_badly(tmp_path: Path) -> None:
    mark = tmp_path / "tidied"
    program = f"import time, pathlib\ntry: time.sleep(60)\nfinally: pathlib.Path({str(mark)!r}).touch()"
    with pytest.raises(FileNotFoundError):
        in_lanes(tmp_path, [[sys.executable, "-c", program]], [says("a", seconds=1), ["/no/such/program"]])
    assert mark.exists()
