# SPDX-License-Identifier: Apache-2.0
"""Imports and exports that were stopped: what goes on, what begins again, and what is not written over."""

import json
import shutil
from contextlib import closing

import pytest

from tests.cli.conftest import Work
from tests.cli.test_usage import line, made, write
from watchword.cli.usage import import_events
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
