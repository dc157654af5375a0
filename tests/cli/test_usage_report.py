# SPDX-License-Identifier: Apache-2.0
"""`watchword usage report` and `export` at a terminal: formats, files that stay whole, what is refused."""

import csv
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from testing.usage_samples import envelope, events
from tests.cli.conftest import ROOT, Work
from tests.cli.test_usage import METERS, dsn, line, made, write
from watchword.cli.failures import UnusableInput
from watchword.cli.usage.new_file import new_file
from watchword.usage import Dimension, Meter, open_store

MONTH = ("--month", "2026-01")
EXACT = Decimal("123456789012345678.000000000000000000000000000001")


def filled(work: Work) -> str:
    """A store with two accounts in January 2026, one of them named to attack spreadsheets and terminals."""
    place = made(work)
    with closing(open_store(place)) as store:
        sent = [
            envelope(id="1", subject="acme", time="2026-01-31T23:59:59Z", data={"bytes": EXACT, "user": "a"}),
            envelope(id="2", subject="acme", time="2026-02-01T00:00:00Z"),
            envelope(id="3", subject="=1+\u202e1", time="2026-01-01T01:00:00+02:00"),
            envelope(id="4", subject="=1+\u202e1", time="2025-12-31T23:00:00-02:00"),
        ]
        assert {each.status for each in store.ingest(events(*sent), METERS)} == {"stored"}
    return place


def test_every_format_has_the_same_rows(work: Work) -> None:
    place = filled(work)
    for name in ("a.csv", "a.json", "a.parquet", "a.txt"):
        done = work.run("usage", "report", *MONTH, f"{{work}}/{name}", "--usage-dsn", place)
        assert done.exit_code == 0, done.output
        assert done.stdout == ""
    with (work.path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["account"], row["meter"], row["amount"]) for row in rows] == [
        ("'=1+\u202e1", "bytes", "1"),
        ("'=1+\u202e1", "hits", "1"),
        ("'=1+\u202e1", "users", "1"),
        ("acme", "bytes", str(EXACT)),
        ("acme", "hits", "1"),
        ("acme", "users", "1"),
    ]
    exact = [row | {"account": row["account"].removeprefix("'")} for row in rows]
    document = json.loads((work.path / "a.json").read_text())
    assert document["rows"] == exact
    assert (document["start"], document["end"]) == ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")
    assert [meter["name"] for meter in document["meters"]] == ["bytes", "hits", "users"]
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(work.path / "a.parquet").to_pylist() == exact
    table = (work.path / "a.txt").read_text().splitlines()
    assert len({len(each) for each in table[1:]}) == 1
    assert "\u202e" not in table[1]
    assert "\\u202e" in table[1]


def test_exact_names_are_for_machines(work: Work) -> None:
    done = work.run("usage", "report", *MONTH, "-o", "csv", "--exact-names", "--usage-dsn", filled(work))
    assert "\n=1+\u202e1,bytes" in done.stdout


def test_what_is_summed_is_said_for_comparison(work: Work) -> None:
    done = work.run("usage", "report", *MONTH, "-o", "csv", "--usage-dsn", filled(work))
    whole = str(EXACT).replace("678.", "679.")
    said = "2026-01-01T00:00:00Z to 2026-02-01T00:00:00Z (end not included), late: 2 accounts; in all "
    assert f"{said}bytes {whole}, hits 2\n" in done.stderr
    assert "Amounts can still change (late)" in done.stderr


def test_a_file_is_not_written_over(work: Work) -> None:
    place = filled(work)
    work.write("a.csv", "mine")
    done = work.run("usage", "report", *MONTH, "{work}/a.csv", "--usage-dsn", place)
    assert done.exit_code == 2
    assert "exists" in done.stderr
    assert "--force" in done.stderr
    assert (work.path / "a.csv").read_text() == "mine"
    (work.path / "b.csv").symlink_to("nowhere")
    assert work.run("usage", "report", *MONTH, "{work}/b.csv", "--usage-dsn", place).exit_code == 2
    forced = work.run("usage", "report", *MONTH, "{work}/a.csv", "--force", "--usage-dsn", place)
    assert forced.exit_code == 0
    assert (work.path / "a.csv").read_text().startswith("account,")


def test_a_file_that_comes_meanwhile_is_not_written_over(work: Work) -> None:
    target = work.path / "a.csv"

    def writes() -> None:
        with new_file(str(target), force=False) as file:
            file.write(b"ours")
            target.write_text("theirs")

    with pytest.raises(UnusableInput, match="exists"):
        writes()
    assert target.read_text() == "theirs"
    assert [each.name for each in work.path.glob("*a.csv*")] == ["a.csv"]


def test_what_fails_halfway_leaves_what_was_there(work: Work) -> None:
    work.write("a.csv", "mine")

    def stop(by: type[BaseException]) -> None:
        with new_file(str(work.path / "a.csv"), force=True) as file:
            file.write(b"half")
            raise by

    for stopped in (KeyboardInterrupt, ValueError):
        with pytest.raises(stopped):
            stop(stopped)
    assert (work.path / "a.csv").read_text() == "mine"
    assert not list(work.path.glob(".*.part"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_report_that_is_stopped_leaves_no_file(work: Work, number: signal.Signals) -> None:
    place = made(work)
    with closing(open_store(place)) as store:
        for start in range(0, 40_000, 1000):
            batch = [
                envelope(
                    id=f"{n}", subject=f"a{n}", time="2026-01-03T00:00:00Z", data={"bytes": 1, "user": 1}
                )
                for n in range(start, start + 1000)
            ]
            store.ingest(events(*batch), METERS)
    target = work.path / "month.csv"
    command = [sys.executable, "-m", "watchword.cli.main", "usage", "report", *MONTH, str(target)]
    for _ in range(20):
        process = subprocess.Popen(
            [*command, "--usage-dsn", place],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
            # What a shell starts in the background ignores it, and so does what that starts.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        while not list(work.path.glob(".month.csv.*.part")) and process.poll() is None:
            pass
        process.send_signal(number)
        if process.wait() != 0:
            break
        # It was done before the signal came.
        target.unlink()
    else:
        pytest.fail("it was never stopped")
    assert not target.exists()
    if number != signal.SIGKILL:
        assert not list(work.path.glob(".month.csv.*.part"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("--month", "--from", "--to")),
        (("--month", "2026-13"), ("--month", "2026-13", "YYYY-MM")),
        (("--month", "2026-1"), ("--month", "YYYY-MM")),
        (("--month", "٢٠٢٦-٠١"), ("--month", "YYYY-MM")),
        (("--month", "1969-12"), ("--month", "1970-01")),
        (("--month", "2999-01"), ("--month", "2999-01-01T00:00:00Z", "has begun")),
        ((*MONTH, "--from", "2026-01-01"), ("--month", "--from")),
        (("--from", "2026-01-01"), ("--from", "--to")),
        (("--from", "2026-01-02", "--to", "2026-01-02"), ("--to", "empty")),
        (("--from", "2024-01-01", "--to", "2026-01-02"), ("--from", "400")),
        ((*MONTH, "-o", "parquet"), ("-o parquet", "Name one")),
        ((*MONTH, "{work}/a.xlsx"), ("a.xlsx", "csv")),
        ((*MONTH, "{work}/no/folder/a.csv"), ("FILE", "no such file")),
        ((*MONTH, "{work}/good", "-o", "csv"), ("folder",)),
        ((*MONTH, "{work}/pipe", "-o", "csv", "--force"), ("pipe", "no regular file")),
        ((*MONTH, "--group-by", "region"), ("--group-by", "region", "project")),
        ((*MONTH, "--group-by", "meter"), ("--group-by", "project")),
        ((*MONTH, "--unit", "bytes"), ("--unit", "METER=UNIT")),
        ((*MONTH, "--unit", "nothing=x"), ("--unit", "nothing", "bytes")),
        ((*MONTH, "--gate", "http://127.0.0.1:9"), ("--usage-dsn", "--gate")),
    ],
)
def test_wrong_input_names_the_flag_and_what_would_be_right(
    work: Work, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    place = dsn(work)
    os.mkfifo(work.path / "pipe")
    with closing(open_store(place)) as store:
        dimension = Dimension("project", "/project")
        store.use_meters([Meter("bytes", "cache.hit", "sum", "/bytes", (dimension,))])
    done = work.run("usage", "report", *arguments, "--usage-dsn", place)
    assert done.exit_code == 2, done.output
    assert "Remedy:" in done.stderr
    for word in words:
        assert word in done.stderr
    assert done.stdout == ""


def test_a_gates_password_or_a_stores_is_not_repeated(work: Work) -> None:
    for flag, url in (
        ("--gate", "https://user:secret@gate/"),
        ("--usage-dsn", "mysql://user:secret@db/usage"),
    ):
        done = work.run("usage", "report", *MONTH, flag, url, "--token-file", "{work}/token")
        assert done.exit_code == 2
        assert "secret" not in done.output
    assert work.run("usage", "report", *MONTH).exit_code == 2
    assert "--late-days" in work.run(
        "usage", "report", *MONTH, "--gate", "https://gate", "--late-days", "1"
    ).stderr  # fmt: skip


def test_a_store_without_meters_is_no_month_without_usage(work: Work) -> None:
    with closing(open_store(dsn(work))):
        pass
    done = work.run("usage", "report", *MONTH, "{work}/a.csv", "--usage-dsn", dsn(work))
    assert done.exit_code == 1
    assert "no meters" in done.stderr
    assert not (work.path / "a.csv").exists()


def test_a_month_that_can_still_change_is_not_billed_where_that_is_asked_for(work: Work) -> None:
    place = filled(work)
    flags = ("usage", "report", *MONTH, "{work}/a.csv", "--require-closed", "--usage-dsn", place)
    done = work.run(*flags)
    assert (done.exit_code, (work.path / "a.csv").exists()) == (1, False)
    assert "spec.usage.lateDays" in done.stderr
    closed = work.run(*flags, "--late-days", "7")
    assert closed.exit_code == 0, closed.output
    assert "can still change" not in closed.stderr
    assert ",closed,\n" in (work.path / "a.csv").read_text()


def test_an_export_has_the_events_of_its_days_and_no_others(work: Work) -> None:
    place = filled(work)
    flags = ("--from", "2026-01-01", "--to", "2026-02-01", "--usage-dsn", place)
    found = work.run("usage", "export", *flags).stdout.splitlines()
    # The third is of December where it was written, and the fourth of January.
    assert sorted(json.loads(each)["id"] for each in found) == ["1", "4"]


def test_an_export_is_not_written_over_and_goes_on_only_with_the_same_question(work: Work) -> None:
    place = filled(work)
    assert work.run("usage", "export", "{work}/a.csv", "--usage-dsn", place).exit_code == 0
    before = (work.path / "a.csv").read_bytes()
    done = work.run("usage", "export", "{work}/a.csv", "--account", "acme", "--usage-dsn", place)
    assert done.exit_code == 2
    assert "--force" in done.stderr
    assert (work.path / "a.csv").read_bytes() == before
    note = {"cursor": "", "size": 0, "written": 0, "asked": "--account umbrella"}
    work.write("a.csv.progress", json.dumps(note))
    other = work.run("usage", "export", "{work}/a.csv", "--account", "acme", "--usage-dsn", place)
    assert other.exit_code == 2
    assert "--account umbrella" in other.stderr
    with closing(open_store(place)) as store:
        same = {"asked": "", "store": store.identity(), "kind": "csv"}
    work.write("a.csv.progress", json.dumps(note | same | {"size": 10**6}))
    assert "bytes" in work.run("usage", "export", "{work}/a.csv", "--usage-dsn", place).stderr
    forced = work.run("usage", "export", "{work}/a.csv", "--account", "acme", "--force", "--usage-dsn", place)
    assert forced.exit_code == 0
    assert "=1+" not in (work.path / "a.csv").read_text()
    assert not (work.path / "a.csv.progress").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--from", "2026-02-30"), "--from"),
        (("--to", "soon"), "--to"),
        (("--from", "2026-02-01", "--to", "2026-02-01"), "--to"),
    ],
)
def test_an_exports_days_are_days(work: Work, arguments: tuple[str, ...], word: str) -> None:
    done = work.run("usage", "export", *arguments, "--usage-dsn", made(work))
    assert done.exit_code == 2
    assert word in done.stderr


def test_an_export_that_was_killed_before_its_first_page_goes_on(work: Work) -> None:
    write(work)
    place = made(work)
    work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place)
    whole = work.run("usage", "export", "--usage-dsn", place).stdout_bytes
    work.write("a.ndjson.progress", json.dumps({"cursor": "", "size": 0, "written": 0}))
    assert work.run("usage", "export", "{work}/a.ndjson", "--usage-dsn", place).exit_code == 0
    assert (work.path / "a.ndjson").read_bytes() == whole
    assert json.loads(whole.splitlines()[0])["source"] == line(1)["source"]


def test_the_modes_of_a_report_are_those_that_the_umask_says(work: Work) -> None:
    before = os.umask(0o077)
    try:
        work.run("usage", "report", *MONTH, "{work}/a.csv", "--usage-dsn", filled(work))
    finally:
        os.umask(before)
    assert Path(work.path / "a.csv").stat().st_mode & 0o777 == 0o600
