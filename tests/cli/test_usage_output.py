# SPDX-License-Identifier: Apache-2.0
"""Standard output that is full, closed or left by its reader, months to come, and damaged stores."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.cli.conftest import ROOT, Work
from tests.cli.test_usage import dsn, made, write
from tests.cli.test_usage_report import MONTH, filled

COMMANDS: list[tuple[str, ...]] = [
    ("report", *MONTH),
    ("report", *MONTH, "-o", "csv"),
    ("report", *MONTH, "-o", "json"),
    ("export",),
    ("export", "--format", "csv"),
    ("export", "{work}/x.ndjson"),
    ("check",),
    ("check", "-o", "json"),
    ("rebuild",),
    ("show", "acme"),
    ("import", "{work}/events.ndjson"),
]


def run(
    work: Work, arguments: tuple[str, ...], place: str, redirect: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell, with standard output as it says."""
    command = [sys.executable, "-m", "watchword.cli.main", "usage"]
    command += [each.replace("{work}", str(work.path)) for each in arguments]
    script = f'"$@" {redirect}; exit ${{PIPESTATUS[0]}}'
    return subprocess.run(
        ["bash", "-c", script, "bash", *command, "--usage-dsn", place],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", COMMANDS)
def test_standard_output_that_is_full_closed_or_left_is_said_in_one_way(
    work: Work, arguments: tuple[str, ...]
) -> None:
    write(work, 3)
    place = filled(work)
    for redirect, words in ((">/dev/full", "no space left on device"), (">&-", "Standard output is closed")):
        (work.path / "x.ndjson").unlink(missing_ok=True)
        done = run(work, arguments, place, redirect)
        assert done.returncode == 2, (arguments, redirect, done.stderr)
        assert words in done.stderr
        assert "Remedy:" in done.stderr
        assert "unforeseen" not in done.stderr
        assert "Exception ignored" not in done.stderr
    # The reader is gone before the first byte is written.
    (work.path / "x.ndjson").unlink(missing_ok=True)
    reader = 'import os, sys; os.close(0); open(sys.argv[1], "w").close()'
    gate = work.path / "left"
    wait = f"> >({sys.executable} -c '{reader}' {gate})"
    script = f'exec {wait}; until [ -e {gate} ]; do sleep 0.02; done; exec "$@"'
    command = [sys.executable, "-m", "watchword.cli.main", "usage"]
    command += [each.replace("{work}", str(work.path)) for each in arguments]
    gone = subprocess.run(
        ["bash", "-c", script, "bash", *command, "--usage-dsn", place],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert gone.returncode == 141, gone.stderr
    for word in ("Error", "Traceback", "Exception", "unforeseen"):
        assert word not in gone.stderr


def test_refused_events_that_cannot_be_kept_are_said(work: Work) -> None:
    work.write("events.ndjson", "{broken\n" * 5)
    flags = ("usage", "import", "{work}/events.ndjson", "--usage-dsn", made(work))
    done = work.run(*flags, "--rejects", "/dev/full")
    assert done.exit_code == 2
    assert "--rejects: /dev/full cannot be written: no space left on device" in done.stderr


@pytest.mark.parametrize("month", ["9999-12", "9999-11", "2999-01"])
def test_a_month_at_the_end_of_the_calendar_has_not_come_yet(work: Work, month: str) -> None:
    done = work.run("usage", "report", "--month", month, "--usage-dsn", filled(work))
    assert done.exit_code == 2
    assert f"--month: the period begins at {month}-01T00:00:00Z, which has not come yet." in done.stderr


@pytest.mark.parametrize("data", ["{", "", "[" * 100_000, "nope"])
def test_an_event_whose_data_is_no_json_is_named(work: Work, data: str) -> None:
    write(work, 3)
    place = made(work)
    assert work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place).exit_code == 0
    with closing(sqlite3.connect(work.path / "usage.db")) as other:
        other.execute("UPDATE arrived_event SET data = ? WHERE id = '1'", (data,))
        other.commit()
    for name in ("check", "rebuild"):
        done = work.run("usage", name, "--usage-dsn", dsn(work))
        assert done.exit_code == 2, done.output
        assert (
            "the stored event '1' of source '/ci' and account 'acme' has data that is no JSON" in done.stderr
        )
        assert "Remedy: restore" in done.stderr
