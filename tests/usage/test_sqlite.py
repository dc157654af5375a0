# SPDX-License-Identifier: Apache-2.0
"""The contract on SQLite, and what is its own: the file, its lock, a full disk, other programs' databases."""

from __future__ import annotations

import itertools
import resource
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from testing.usage_samples import METERS, envelope, event
from tests.usage.contract import ROOT, FreshDsn, UsageStoreContract, statuses, totals
from tests.usage.contract_groups import GroupContract
from tests.usage.contract_keeping import KeepingContract
from tests.usage.contract_replays import ReplayContract
from watchword.usage import SQLiteStore, StoreRefusedError, StoreUnavailableError, open_store


class TestSQLiteStore(UsageStoreContract, GroupContract, KeepingContract, ReplayContract):
    @pytest.fixture
    def fresh_dsn(self, tmp_path: Path) -> FreshDsn:
        numbers = itertools.count()
        return lambda: f"sqlite:///{tmp_path}/usage-{next(numbers)}.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(str(path), busy_timeout_seconds=0.05)) as store:
        yield store


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("", "no scheme"),
        ("/var/lib/usage.db", "no scheme"),
        ("postgresql+psycopg://watchword:secret@db/usage", "no usage store for scheme"),
        ("mysql://watchword:secret@db/usage", "no usage store for scheme 'mysql'"),
        ("SQLITE:///usage.db", "no usage store for scheme 'SQLITE'"),
        ("sqlite:", "no path"),
        ("sqlite:///", "no path"),
        ("sqlite://usage.db", "no path"),
        ("sqlite:usage.db", "no path"),
        ("sqlite:///a\0b", "no path"),
        ("sqlite:///usage.db?mode=ro", "has parameters"),
    ],
)
def test_a_dsn_without_a_store_is_refused_without_its_secrets(dsn: str, words: str) -> None:
    with pytest.raises(StoreRefusedError, match=words) as refused:
        open_store(dsn)
    assert "secret" not in str(refused.value)
    assert "sqlite:///PATH" in refused.value.remedy


def test_usage_can_be_kept_in_memory_only() -> None:
    with closing(open_store("sqlite:///:memory:")) as store:
        assert statuses(store, envelope()) == ["stored"]
        assert totals(store)["remote_cache_hits"] == "1"
        assert store.check(METERS) == []


def test_a_relative_path_and_a_file_uri_are_only_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("usage.db", "file:usage2.db"):
        open_store(f"sqlite:///{name}").close()
        assert (tmp_path / name).exists()


def test_the_file_is_its_owners_alone_and_every_commit_is_synced(store: SQLiteStore, path: Path) -> None:
    statuses(store, envelope())
    for name in ("usage.db", "usage.db-wal", "usage.db-shm"):
        assert stat.S_IMODE((path.parent / name).stat().st_mode) == 0o600
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    full = 2
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (full,)


def test_a_file_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefusedError, match="No such file or directory"):
        SQLiteStore(str(tmp_path / "none" / "usage.db"))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefusedError, match="Is a directory"):
        SQLiteStore(str(tmp_path))


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"notes of mine\n" * 1000)
    with pytest.raises(StoreRefusedError, match="not a usage store"):
        SQLiteStore(str(path))
    assert path.read_bytes() == b"notes of mine\n" * 1000


def test_another_programs_database_is_refused_and_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE event (note TEXT)")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(StoreRefusedError, match="another program's database"):
        SQLiteStore(str(path))
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(store: SQLiteStore, path: Path) -> None:
    store.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 5")
    with pytest.raises(StoreRefusedError, match="schema version 5; this Watchword knows version 4"):
        SQLiteStore(str(path))


def test_a_locked_store_says_busy_and_stores_nothing(store: SQLiteStore, path: Path) -> None:
    store.use_meters(METERS)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="busy"):
            store.ingest([event()], METERS)
        other.execute("ROLLBACK")
    assert statuses(store, envelope()) == ["stored"]


def test_a_closed_store_says_so(store: SQLiteStore) -> None:
    store.close()
    with pytest.raises(StoreUnavailableError):
        store.ingest([event()], METERS)


def test_a_store_that_is_open_twice_keeps_its_log_when_another_process_comes_and_goes(path: Path) -> None:
    """A gate opens its file twice, to write and to read; an admin runs `watchword usage check` next to it."""
    with closing(SQLiteStore(str(path))) as writer, closing(SQLiteStore(str(path))):
        log = path.with_name(f"{path.name}-wal")
        before = log.stat().st_ino
        other = "import sys; from watchword.usage import SQLiteStore; SQLiteStore(sys.argv[1]).close()"
        subprocess.run([sys.executable, "-c", other, str(path)], check=True)
        # Closing takes the log away where no one else has it open, as far as the locks say.
        assert log.exists()
        assert log.stat().st_ino == before
        writer.ingest([event()], METERS)
        with closing(sqlite3.connect(path)) as reader:
            assert reader.execute("SELECT count(*) FROM arrived_event").fetchone() == (1,)


def test_reading_and_checking_go_on_beside_a_writer(store: SQLiteStore, path: Path) -> None:
    statuses(store, envelope())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert totals(store)["remote_cache_hits"] == "1"
        assert store.check(METERS) == []


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE day_amount SET amount = '9' WHERE meter = 'bytes'", ("bytes", "9", "1")),
        ("DELETE FROM day_amount WHERE meter = 'bytes'", ("bytes", None, "1")),
        ("INSERT INTO day_amount VALUES (1, 'acme', 'bytes', '', '1')", ("bytes", "1", None)),
        ("DELETE FROM distinct_value", ("users", None, '"u1"')),
        ("INSERT INTO distinct_value VALUES ('acme', 1, 'users', '', 'x')", ("users", "x", None)),
        ("DELETE FROM account", (None, None, "known")),
        ("INSERT INTO account VALUES ('ghost')", (None, "known", None)),
    ],
)
def test_a_check_finds_damage_and_a_rebuild_mends_it(
    store: SQLiteStore, path: Path, damage: str, found: tuple[str | None, str | None, str | None]
) -> None:
    statuses(store, envelope())
    with closing(sqlite3.connect(path)) as other:
        other.execute(damage)
        other.commit()
    (difference,) = store.check(METERS)
    assert (difference.meter, difference.stored, difference.expected) == found
    store.rebuild(METERS)
    assert store.check(METERS) == []


FULL_DISK = """
import resource, sys
from tests.usage import writer
from testing.usage_samples import METERS
from watchword.usage import StoreUnavailableError, open_store

store = open_store(sys.argv[1])
number = 0
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
try:
    while True:
        store.ingest(writer.batch(number), METERS)
        number += 1
except StoreUnavailableError:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert store.check(METERS) == []
for again in range(number):
    assert {o.status for o in store.ingest(writer.batch(again), METERS)} == {"duplicate"}
assert {o.status for o in store.ingest(writer.batch(number), METERS)} == {"stored"}
assert store.check(METERS) == []
print(number)
"""


def test_a_full_disk_is_said_and_loses_nothing_that_was_stored(path: Path) -> None:
    assert hasattr(resource, "RLIMIT_FSIZE")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, f"sqlite:///{path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


FIRST_VERSION = """
    CREATE TABLE event (
        source TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, account TEXT NOT NULL,
        time INTEGER NOT NULL, data TEXT, data_base64 TEXT, extensions TEXT, UNIQUE (source, id)
    ) STRICT;
    CREATE TABLE account (name TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE meter (name TEXT NOT NULL PRIMARY KEY, definition TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE state (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE rollup (
        account TEXT NOT NULL, day INTEGER NOT NULL, meter TEXT NOT NULL, amount TEXT NOT NULL,
        PRIMARY KEY (account, day, meter)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE distinct_value (
        account TEXT NOT NULL, day INTEGER NOT NULL, meter TEXT NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (account, day, meter, value)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO state VALUES ('meters', 'digest of the first version');
    INSERT INTO account VALUES ('acme');
    INSERT INTO event VALUES
        ('/ci', '1', 'cache.hit', 'acme', 1793700000000000, '{"bytes":5,"user":"u"}', NULL, NULL);
    PRAGMA application_id = 0x57574F55;
    PRAGMA user_version = 1;
"""


def test_a_file_of_the_first_version_is_taken_over_with_its_events(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.executescript(FIRST_VERSION)
    with closing(SQLiteStore(str(path))) as store:
        assert store.use_meters(METERS).events == 1
        assert totals(store) == {"remote_cache_hits": "1", "bytes": "5", "largest": "5", "users": "1"}
        assert statuses(store, envelope(time=..., data={"bytes": 5, "user": "u"})) == ["duplicate"]
        assert store.check(METERS) == []
