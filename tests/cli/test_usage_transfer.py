# SPDX-License-Identifier: Apache-2.0
"""Imports and exports that were stopped: what goes on, what begins again, and what is not written over."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from hashlib import blake2b

import pytest

from tests.cli.conftest import Work
from tests.cli.test_usage import METERS, dsn, line, made, write
from watchword.cli.usage import export, import_events
from watchword.usage import open_store


class Stopped(BaseException):
    """As a kill, between one batch and the next."""


def stop_import(work: Work, place: str, monkeypatch: pytest.MonkeyPatch, after: int, *flags: str) -> None:
    """Import the events of the work folder, and stop when so many batches of ten are noted."""
    noting, left = import_events.note_down, [after]

    def note_down(*arguments: object) -> None:
        noting(*arguments)  # type: ignore[arg-type]
        left[0] -= 1
        if not left[0]:
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(import_events, "note_down", note_down)
        with pytest.raises(Stopped):
            work.run("usage", "import", "{work}/events.ndjson", "--batch", "10", "--usage-dsn", place, *flags)


def ids(place: str) -> set[str]:
    with closing(open_store(place)) as store:
        return {event.id for event in store.events_after("", 1000)[0]}


def all_ids(count: int) -> set[str]:
    return {str(number) for number in range(count)}


def test_a_stopped_import_is_not_continued_in_another_store(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(work, 50)
    stop_import(work, made(work, "wrong"), monkeypatch, 3)
    right = made(work, "right")
    done = work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", right, "-o", "json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {
        "read": 50, "stored": 50, "duplicates": 0, "refused": 0, "skipped": 0,
    }  # fmt: skip
    assert "wrong.db" in done.stderr
    assert "beginning with event 1" in done.stderr
    assert ids(right) == all_ids(50)


def test_a_stopped_import_goes_on_and_says_what_it_skips(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    write(work, 50)
    place = made(work)
    stop_import(work, place, monkeypatch, 3)
    assert len(ids(place)) == 30
    done = work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place)
    assert done.stdout == "20 stored, 0 there already, 0 refused, 30 skipped (done before)\n"
    assert "Going on after event 30" in done.stderr
    assert ids(place) == all_ids(50)


def test_a_file_that_grew_goes_on_and_one_with_other_events_does_not(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(work, 40)
    place = made(work)
    stop_import(work, place, monkeypatch, 3)
    note = (work.path / "events.ndjson.progress").read_bytes()
    write(work, 50)
    assert "Going on" in work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place).stderr
    assert ids(place) == all_ids(50)
    # As long as before, and of other events.
    work.write("events.ndjson", "".join(json.dumps(line(n, id=f"x{n}")) + "\n" for n in range(50)))
    work.write("events.ndjson.progress", note)
    done = work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place)
    assert "are not those" in done.stderr
    assert done.stdout.startswith("50 stored")


def test_a_store_that_was_restored_gets_what_it_lost(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    write(work, 50)
    place = made(work)
    with closing(open_store(place)) as store:
        before = store.identity()
    backup = shutil.copy(work.path / "usage.db", work.path / "backup.db")
    stop_import(work, place, monkeypatch, 3)
    shutil.copy(backup, work.path / "usage.db")
    with closing(open_store(place)) as store:
        assert store.identity() == before
    done = work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place)
    assert "restored" in done.stderr
    assert ids(place) == all_ids(50)


def test_what_was_refused_before_an_import_was_stopped_is_not_forgotten(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.dumps(line(n)) for n in range(30)]
    lines[2] = lines[25] = "{broken"
    work.write("events.ndjson", "\n".join(lines))
    place, rejects = made(work), ("--rejects", str(work.path / "no"))
    stop_import(work, place, monkeypatch, 1, *rejects)
    done = work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place, *rejects)
    assert (done.exit_code, done.stdout) == (
        1, "19 stored, 0 there already, 2 refused, 10 skipped (done before)\n",
    )  # fmt: skip
    kept = [json.loads(each)["event"] for each in (work.path / "no").read_text().splitlines()]
    assert kept == [3, 26]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"done": -5}, "$.done"),
        ({"done": "x"}, "$.done"),
        ({"done": 1.5}, "$.done"),
        ({"done": 99_999}, "99999 events are done"),
        ({"refused": -1}, "$.refused"),
        (None, "malformed"),
    ],
)
def test_a_note_that_cannot_be_right_is_refused_by_name(
    work: Work, monkeypatch: pytest.MonkeyPatch, change: dict[str, object] | None, words: str
) -> None:
    write(work, 30)
    place = made(work)
    stop_import(work, place, monkeypatch, 2)
    note = json.loads((work.path / "events.ndjson.progress").read_text())
    work.write("events.ndjson.progress", "junk" if change is None else json.dumps(note | change))
    done = work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place)
    assert done.exit_code == 2, done.output
    assert "events.ndjson.progress" in done.stderr
    assert words in done.stderr
    assert "Delete it" in done.stderr
    assert len(ids(place)) == 20


def test_a_note_of_an_earlier_release_begins_again(work: Work) -> None:
    write(work, 30)
    size = (work.path / "events.ndjson").stat().st_size
    work.write("events.ndjson.progress", json.dumps({"size": size, "done": 20}))
    done = work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", made(work))
    assert done.stdout.startswith("30 stored")


# The notes of exports


def half_exported(work: Work, place: str, file: str, **changes: object) -> bytes:
    """Leave an export of a store behind as if it was stopped after ten events; what its file has."""
    with closing(open_store(place)) as store:
        events, cursor = store.events_after("", 10)
        note = {"cursor": cursor, "written": len(events), "store": store.identity(), "kind": "ndjson"}
    whole = work.run("usage", "export", "--usage-dsn", place).stdout_bytes
    page = b"".join(whole.splitlines(keepends=True)[:10])
    work.write(file, page)
    note |= {"size": len(page), "digest": blake2b(page, digest_size=20).hexdigest()}
    work.write(f"{file}.progress", json.dumps(note | changes))
    return page


def imported(work: Work, name: str) -> str:
    place = made(work, name)
    assert work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place).exit_code == 0
    return place


def test_a_stopped_export_is_not_continued_from_another_store(work: Work) -> None:
    write(work, 30)
    one, other = imported(work, "one"), imported(work, "other")
    page = half_exported(work, one, "x.ndjson")
    done = work.run("usage", "export", "{work}/x.ndjson", "--usage-dsn", other)
    assert done.exit_code == 2
    assert "one.db" in done.stderr
    assert "other.db" in done.stderr
    assert "--force" in done.stderr
    assert (work.path / "x.ndjson").read_bytes() == page
    # A copy of a store goes its own ways.
    shutil.copy(work.path / "one.db", work.path / "copy.db")
    assert work.run("usage", "export", "{work}/x.ndjson", "--usage-dsn", dsn(work, "copy")).exit_code == 2
    assert work.run("usage", "export", "{work}/x.ndjson", "--usage-dsn", one).exit_code == 0
    assert len((work.path / "x.ndjson").read_text().splitlines()) == 30


def test_a_store_that_was_made_again_at_its_place_is_another_one(work: Work) -> None:
    write(work, 30)
    place = imported(work, "one")
    half_exported(work, place, "x.ndjson")
    (work.path / "one.db").unlink()
    imported(work, "one")
    assert work.run("usage", "export", "{work}/x.ndjson", "--usage-dsn", place).exit_code == 2


def test_a_stopped_export_is_not_continued_in_another_format(work: Work) -> None:
    write(work, 30)
    place = imported(work, "one")
    page = half_exported(work, place, "x.ndjson")
    done = work.run("usage", "export", "{work}/x.ndjson", "--format", "csv", "--usage-dsn", place)
    assert done.exit_code == 2
    assert "export of ndjson, not of csv" in done.stderr
    assert (work.path / "x.ndjson").read_bytes() == page


def test_a_file_that_is_not_what_was_written_is_not_cut_off(work: Work) -> None:
    write(work, 30)
    place = imported(work, "one")
    half_exported(work, place, "x.ndjson")
    work.write("x.ndjson", b"mine\n" * 10_000)
    done = work.run("usage", "export", "{work}/x.ndjson", "--usage-dsn", place)
    assert done.exit_code == 2
    assert "are not those that were written to it" in done.stderr
    assert (work.path / "x.ndjson").read_bytes() == b"mine\n" * 10_000


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
@pytest.mark.parametrize("pages", [1, 2, 3])
def test_an_export_that_is_stopped_at_any_page_is_whole_when_it_goes_on(
    work: Work, monkeypatch: pytest.MonkeyPatch, kind: str, pages: int
) -> None:
    write(work, 30)
    place = imported(work, "one")
    whole = work.run("usage", "export", "--format", kind, "--usage-dsn", place).stdout_bytes
    noting, left = export.note_down, [pages]

    def note_down(*arguments: object) -> None:
        noting(*arguments)  # type: ignore[arg-type]
        left[0] -= 1
        if not left[0]:
            raise Stopped

    flags = ("usage", "export", f"{{work}}/x.{kind}", "--usage-dsn", place)
    monkeypatch.setattr(export, "_PAGE", 10)
    with monkeypatch.context() as patched:
        patched.setattr(export, "note_down", note_down)
        with pytest.raises(Stopped):
            work.run(*flags)
    with (work.path / f"x.{kind}").open("ab") as file:
        file.write(b"half a line")
    done = work.run(*flags)
    assert done.exit_code == 0, done.output
    assert (work.path / f"x.{kind}").read_bytes() == whole


@pytest.mark.parametrize("change", [{"size": -1}, {"written": "x"}, {"cursor": 3}, {"store": "", "kind": ""}])
def test_a_note_of_an_export_that_cannot_be_right_is_refused_by_name(
    work: Work, change: dict[str, object]
) -> None:
    write(work, 30)
    place = imported(work, "one")
    page = half_exported(work, place, "x.ndjson", **change)
    done = work.run("usage", "export", "{work}/x.ndjson", "--usage-dsn", place)
    assert done.exit_code == 2
    assert "x.ndjson.progress" in done.stderr
    assert "--force" in done.stderr
    assert (work.path / "x.ndjson").read_bytes() == page


# Stores that are not there


READING: list[tuple[str, ...]] = [
    ("check",),
    ("rebuild",),
    ("show", "acme"),
    ("export",),
    ("export", "{work}/x.ndjson"),
    ("report", "--month", "2026-01"),
    ("report", "--month", "2026-01", "{work}/x.csv"),
]


@pytest.mark.parametrize("arguments", READING)
def test_a_store_that_is_not_there_is_refused_and_not_made(work: Work, arguments: tuple[str, ...]) -> None:
    work.write("touched.db", b"")
    before = sorted(work.path.iterdir())
    for name in ("none", "no/folder", "touched"):
        done = work.run("usage", *arguments, "--usage-dsn", dsn(work, name))
        assert done.exit_code == 2, done.output
        assert "--usage-dsn: there is no usage store at" in done.stderr
        assert f"{name}.db" in done.stderr
        assert "Remedy:" in done.stderr
        assert done.stdout == ""
    assert sorted(work.path.iterdir()) == before
    assert (work.path / "touched.db").read_bytes() == b""
    assert work.run("usage", *arguments, "--usage-dsn", "sqlite:///:memory:").exit_code == 2


def test_an_import_says_that_it_makes_a_store(work: Work) -> None:
    write(work, 3)
    flags = ("usage", "import", "{work}/events.ndjson", "--usage-dsn", dsn(work, "new"))
    first, again = work.run(*flags), work.run(*flags)
    assert "There is no usage store at" in first.stderr
    assert "new.db': one is made." in first.stderr
    assert "one is made" not in again.stderr


# What is the store's own is not written over


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("through", ["itself", "symlink", "hardlink", "dots"])
def test_a_stores_own_files_are_not_written_over(work: Work, end: str, through: str) -> None:
    write(work, 3)
    place = imported(work, "own")
    own = work.path / f"own.db{end}"
    with closing(open_store(place)) as store:
        store.meters()
        there = own.exists()
        target = {"itself": own, "dots": work.path / "good" / ".." / own.name}.get(through, work.path / "t")
        if through == "symlink":
            target.symlink_to(own)
        elif through == "hardlink":
            if not there:
                return
            os.link(own, target)
        before = own.read_bytes() if there else None
        asks: list[tuple[str, ...]] = [
            ("export", str(target), "--format", "csv", "--force"),
            ("export", str(target), "--format", "parquet", "--force"),
            ("report", str(target), "--month", "2026-01", "-o", "csv", "--force"),
            ("import", "{work}/events.ndjson", "--rejects", str(target)),
        ]
        for arguments in asks:
            done = work.run("usage", *arguments, "--usage-dsn", place)
            assert done.exit_code == 2, done.output
            assert "the store's own file" in done.stderr
            assert "Name another file" in done.stderr
        assert (own.read_bytes() if own.exists() else None) == before


def test_notes_and_refused_events_do_not_go_where_the_store_or_the_events_are(work: Work) -> None:
    write(work, 3)
    events = (work.path / "events.ndjson").read_bytes()
    place = f"sqlite:///{work.path}/events.ndjson.progress"
    with closing(open_store(place)) as store:
        store.use_meters(METERS)
    for arguments in (("import", "{work}/events.ndjson"), ("export", "{work}/events.ndjson", "--force")):
        done = work.run("usage", *arguments, "--usage-dsn", place)
        assert done.exit_code == 2
        assert "the store's own file" in done.stderr
    (work.path / "events.ndjson.progress").unlink()
    flags = ("usage", "import", "{work}/events.ndjson", "--usage-dsn", made(work), "--rejects")
    assert work.run(*flags, "{work}/events.ndjson").exit_code == 2
    assert (work.path / "events.ndjson").read_bytes() == events
    done = work.run(*flags, "{work}/no/no")
    assert done.exit_code == 2
    assert "--rejects" in done.stderr


# Tables of events, and names in a terminal


def test_two_columns_of_one_name_are_refused_by_name(work: Work) -> None:
    import pyarrow
    import pyarrow.parquet

    names = ["id", "id", "source", "type", "subject", "time", "data"]
    row = ["1", "2", "/s", "cache.hit", "acme", "2026-10-01T00:00:00Z", "{}"]
    work.write("two.csv", f"{','.join(names)}\n{','.join(row)}\n")
    work.write("semicolons.csv", f"{';'.join(names)}\n{';'.join(row)}\n")
    table = pyarrow.table([[each] for each in row], names=names)
    pyarrow.parquet.write_table(table, work.path / "two.parquet")
    place = made(work)
    for name in ("two.csv", "semicolons.csv", "two.parquet"):
        done = work.run("usage", "import", f"{{work}}/{name}", "--usage-dsn", place)
        assert done.exit_code == 2, done.output
        assert f"{name} has two columns of the name 'id'" in done.stderr
        assert "Remedy:" in done.stderr
    assert ids(place) == set()


def test_a_name_that_turns_text_around_is_escaped(work: Work) -> None:
    name = "rtl\u202ex\u2066"
    work.write("events.ndjson", json.dumps(line(1, subject=name)) + "\n")
    place = imported(work, "one")
    for asked in (name, "no\u202esuch"):
        done = work.run(
            "usage", "show", asked, "--from", "2026-11-01", "--to", "2026-12-01", "--usage-dsn", place
        )
        assert "\u202e" not in done.output
        assert "\\u202e" in done.output
    with closing(sqlite3.connect(work.path / "one.db")) as other:
        other.execute("UPDATE day_amount SET amount = '99'")
        other.execute("UPDATE distinct_value SET value = '\"\u202e\"'")
        other.commit()
    done = work.run("usage", "check", "--usage-dsn", place)
    assert done.exit_code == 1
    assert "rtl\\u202ex\\u2066 2026-11-02 hits: stored 99, the events say 1" in done.stdout
    assert "\u202e" not in done.stdout
    # For machines, it is the name.
    found = json.loads(work.run("usage", "check", "-o", "json", "--usage-dsn", place).stdout)
    assert found["differences"][0]["account"] == name
