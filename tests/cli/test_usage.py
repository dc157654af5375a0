# SPDX-License-Identifier: Apache-2.0
"""Events carried from store to store, files left half done, amounts proven, and the chart as it is read."""

import json
import signal
import subprocess
import sys
from contextlib import closing
from datetime import date
from decimal import Decimal
from hashlib import blake2b

import pytest

from tests.cli.conftest import ROOT, Work
from tests.cli.golden import hold
from watchword.cli.usage.chart import chart, short
from watchword.usage import Meter, UsageQuery, open_store

METERS = [
    Meter("hits", "cache.hit", "count"),
    Meter("bytes", "cache.hit", "sum", "/bytes"),
    Meter("users", "cache.hit", "unique_count", "/user"),
]
PERIOD = ("--from", "2026-11-01", "--to", "2026-12-01")


def line(number: int, **changes: object) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": str(number),
        "source": "/ci",
        "type": "cache.hit",
        "subject": "acme" if number % 3 else "umbrella",
        "time": f"2026-11-{number % 20 + 1:02}T10:00:00.000001Z",
        "data": {"bytes": number * number % 97 + 0.5, "user": f"u{number % 7}"},
        **changes,
    }


def dsn(work: Work, name: str = "usage") -> str:
    return f"sqlite:///{work.path}/{name}.db"


def made(work: Work, name: str = "usage") -> str:
    """A store that has meters in force."""
    with closing(open_store(dsn(work, name))) as store:
        store.use_meters(METERS)
    return dsn(work, name)


def totals(place: str, account: str = "acme") -> dict[str, Decimal]:
    with closing(open_store(place)) as store:
        answer = store.read(UsageQuery(account, date(2026, 11, 1), date(2026, 12, 1)))
        assert answer is not None
        assert store.check(METERS) == []
        return dict(answer.totals)


def write(work: Work, count: int = 300) -> None:
    work.write("events.ndjson", "".join(json.dumps(line(n)) + "\n" for n in range(count)))


def test_lines_go_in_once_however_often_they_are_sent(work: Work) -> None:
    write(work)
    place = made(work)
    first = work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place, "--batch", "70")
    assert (first.exit_code, first.stdout) == (0, "300 stored, 0 there already, 0 refused\n")
    before = totals(place)
    again = work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place, "-o", "json")
    assert json.loads(again.stdout) == {
        "read": 300,
        "stored": 0,
        "duplicates": 300,
        "refused": 0,
        "skipped": 0,
    }
    assert totals(place) == before
    assert not (work.path / "events.ndjson.progress").exists()


@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet"])
def test_what_comes_out_goes_into_another_store_as_it_was(work: Work, kind: str) -> None:
    strange = [
        line(900, subject="a,b\"c\nd'", data={"bytes": 1, "user": 'é"\u2028,\n;'}),
        line(901, subject="acme", trace="t", sequence=7, data={"bytes": 1, "user": "0.10", "big": 10**25}),
        line(902, type="other", data=None),
        {key: value for key, value in line(903, type="other").items() if key != "data"}
        | {"data_base64": "AAE="},
    ]
    strange[0]["subject"] = "a,b\"c'"
    work.write(
        "events.ndjson", "".join(json.dumps(each) + "\n" for each in [*map(line, range(50)), *strange])
    )
    one, other = made(work, "one"), made(work, "other")
    assert work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", one).exit_code == 0
    assert work.run("usage", "export", f"{{work}}/all.{kind}", "--usage-dsn", one).exit_code == 0
    done = work.run("usage", "import", f"{{work}}/all.{kind}", "--usage-dsn", other)
    assert (done.exit_code, done.stdout) == (0, "54 stored, 0 there already, 0 refused\n")
    with closing(open_store(one)) as a, closing(open_store(other)) as b:
        assert a.events_after("", 100) == b.events_after("", 100)
    assert totals(one) == totals(other)


def test_a_pipe_carries_events_from_store_to_store(work: Work) -> None:
    write(work)
    one, other = made(work, "one"), made(work, "other")
    work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", one)
    out = work.run("usage", "export", "--usage-dsn", one).stdout_bytes
    assert work.run("usage", "import", "-", "--usage-dsn", other, stdin=out).exit_code == 0
    assert totals(one) == totals(other)


def test_events_of_one_account_can_be_had_alone(work: Work) -> None:
    write(work, 30)
    place = made(work)
    work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place)
    out = work.run("usage", "export", "--account", "umbrella", "--usage-dsn", place).stdout
    assert {json.loads(each)["subject"] for each in out.splitlines()} == {"umbrella"}


def test_what_is_refused_is_named_by_its_place_and_kept(work: Work) -> None:
    wrong = [
        "{broken",
        json.dumps(line(1, subject="")),
        json.dumps(line(2, data={"bytes": "many", "user": "u"})),
        json.dumps(line(3)),
        json.dumps(line(3, subject="somebody else")),
    ]
    work.write("events.ndjson", "\n".join(wrong))
    place = made(work)
    done = work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place, "--rejects", "{work}/no")
    assert (done.exit_code, done.stdout) == (1, "2 stored, 0 there already, 3 refused\n")
    kept = [json.loads(each) for each in (work.path / "no").read_text().splitlines()]
    codes = {each["event"]: each["code"] for each in kept}
    assert codes == {1: "malformed_body", 2: "invalid_account", 3: "value_not_a_number"}
    assert "event 3: value_not_a_number: data/bytes" in done.stderr


def test_an_import_that_is_killed_goes_on_where_it_was(work: Work) -> None:
    write(work, 20_000)
    place = made(work)
    command = [sys.executable, "-m", "watchword.cli.main", "usage", "import", f"{work.path}/events.ndjson"]
    command += ["--usage-dsn", place, "--batch", "100"]
    note = work.path / "events.ndjson.progress"
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not note.exists():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    done_before = json.loads(note.read_text())["done"]
    rest = work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place, "-o", "json")
    assert f"Going on after event {done_before}" in rest.stderr
    counts = json.loads(rest.stdout)
    assert (counts["read"], counts["skipped"]) == (20_000 - done_before, done_before)
    assert totals(place)["hits"] + totals(place, "umbrella")["hits"] == 20_000


def test_an_export_that_was_cut_short_goes_on_after_its_last_whole_page(work: Work) -> None:
    write(work)
    place = made(work)
    work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place)
    whole = work.run("usage", "export", "--usage-dsn", place).stdout_bytes
    with closing(open_store(place)) as store:
        events, cursor = store.events_after("", 100)
        identity = store.identity()
    page = b"".join(whole.splitlines(keepends=True)[: len(events)])
    note = {"cursor": cursor, "size": len(page), "written": len(events), "store": identity, "kind": "ndjson"}
    note["digest"] = blake2b(page, digest_size=20).hexdigest()
    work.write("out.ndjson", page + b'{"half a li')
    work.write("out.ndjson.progress", json.dumps(note))
    done = work.run("usage", "export", "{work}/out.ndjson", "--usage-dsn", place)
    assert "Going on after 100 events" in done.stderr
    assert done.stdout.startswith("300 events written")
    assert (work.path / "out.ndjson").read_bytes() == whole
    assert not (work.path / "out.ndjson.progress").exists()


def test_a_check_says_what_is_wrong_and_a_rebuild_mends_it(work: Work) -> None:
    import sqlite3

    write(work)
    place = made(work)
    work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place)
    right = work.run("usage", "check", "--usage-dsn", place)
    assert (right.exit_code, right.stdout) == (0, "The amounts equal the events (bytes, hits, users).\n")
    with closing(sqlite3.connect(work.path / "usage.db")) as other:
        other.execute(
            "UPDATE day_amount SET amount = '99' WHERE meter = 'hits' AND account = 'acme' AND day = 20758"
        )
        other.commit()
    wrong = work.run("usage", "check", "--usage-dsn", place)
    assert wrong.exit_code == 1
    assert wrong.stdout == "acme 2026-11-01 hits: stored 99, the events say 10\n"
    assert (
        wrong.stderr == "1 difference. `watchword usage rebuild` counts all amounts again from the events.\n"
    )
    found = json.loads(work.run("usage", "check", "--usage-dsn", place, "-o", "json").stdout)
    assert found["differences"][0]["meter"] == "hits"
    rebuilt = work.run("usage", "rebuild", "--usage-dsn", place)
    assert rebuilt.stdout == "3 meters counted again from 300 events\n"
    assert work.run("usage", "check", "--usage-dsn", place).exit_code == 0


def test_the_chart_stays_as_reviewed(work: Work) -> None:
    write(work)
    place = made(work)
    work.run("usage", "import", "{work}/events.ndjson", "--usage-dsn", place)
    done = work.run("usage", "show", "acme", "--usage-dsn", place, *PERIOD)
    assert done.exit_code == 0
    hold("usage-show", done.stdout)
    document = json.loads(
        work.run("usage", "show", "acme", "--usage-dsn", place, *PERIOD, "-o", "json").stdout
    )
    assert document["meters"]["hits"] == 200
    assert len(document["windows"]) == 30


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", "nobody"), 1, "No usage event"),
        (("show", "acme", "--from", "yesterday"), 2, "--from"),
        (("show", "acme", "--meter", "none"), 2, "There is no meter none"),
        (("import", "{work}/none.ndjson"), 2, "not there"),
        (("import", "{work}/junk"), 2, "format"),
        (("import", "{work}/junk", "--format", "parquet"), 2, "not Parquet"),
        (("import", "{work}/junk", "--format", "csv"), 2, "CSV"),
        (("export", "--format", "parquet"), 2, "needs a file"),
        (("export", "{work}/no/such/folder.csv"), 2, "no such file"),
    ],
)
def test_wrong_input_is_a_sentence_and_a_remedy(
    work: Work, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = work.run("usage", *arguments, "--usage-dsn", made(work))
    assert done.exit_code == code, done.output
    assert words in done.stderr


@pytest.mark.parametrize("name", ["show", "import", "export", "check", "rebuild"])
def test_a_store_that_cannot_be_opened_is_said(work: Work, name: str) -> None:
    write(work, 1)
    arguments = {"show": ("acme",), "import": ("{work}/events.ndjson",)}.get(name, ())
    done = work.run("usage", name, *arguments, "--usage-dsn", "mysql://u:secret@db/usage")
    assert done.exit_code == 2
    assert "mysql" in done.stderr
    assert "secret" not in done.output


def test_each_help_teaches_with_an_example_and_exit_codes(work: Work) -> None:
    for name in ("show", "report", "import", "export", "check", "rebuild"):
        said = work.run("usage", name, "--help").stdout
        assert "Example" in said
        assert "Exit codes:" in said


def test_a_chart_shows_what_is_there_however_small() -> None:
    days = [date(2026, 11, day) for day in range(1, 4)]
    lines = chart([Decimal(800), Decimal(1), Decimal(0)], days, height=2)
    assert lines == ["800 ┤█", "400 ┤█ ▁", "  0 ┼──────", "     1"]


@pytest.mark.parametrize(("count", "by_month"), [(31, False), (12, True), (3, False)])
@pytest.mark.parametrize("room", [10, 40, 48, 60, 80, 120])
def test_a_chart_keeps_to_the_room_that_there_is(count: int, room: int, *, by_month: bool) -> None:
    days = [date(2026, place, 1) if by_month else date(2026, 10, place) for place in range(1, count + 1)]
    lines = chart([Decimal(12_345_678)] * count, days, by_month=by_month, room=room)
    assert lines == ["(too narrow here for a chart)"] or max(map(len, lines)) <= room


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0", "0"),
        ("7", "7"),
        ("999", "999"),
        ("1000", "1k"),
        ("1234567", "1.2M"),
        ("5e11", "500G"),
        ("0.25", "0.25"),
        ("1.5", "1.5"),
    ],
)
def test_numbers_are_short(number: str, text: str) -> None:
    assert short(Decimal(number)) == text
