# SPDX-License-Identifier: Apache-2.0
"""What a process remembers of ClickHouse's log between batches: nothing untrue, so that no replay counts."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from testing.clickhouse_server import ClickHouseServer
from testing.usage_samples import METERS, envelope
from tests.usage.contract import FreshDsn, UsageStoreContract, statuses, totals
from tests.usage.contract_arrivals import TODAY, ArrivalContract, sent
from tests.usage.contract_keeping import KeepingContract
from tests.usage.contract_replays import ReplayContract
from tests.usage.test_clickhouse import fresh_database
from tests.usage.test_clickhouse_arrivals import Asked, asked, at, database
from watchword.usage import StoreUnavailableError, UsageStore, open_store
from watchword.usage.clickhouse import ClickHouseStore, recent_keys, schema
from watchword.usage.clickhouse.native import Numbers, short_key
from watchword.usage.clickhouse.recent_keys import LATE_DAYS, Server, width_for
from watchword.usage.deduplication import WINDOW_DAYS, digest_of
from watchword.usage.key_bits import WORD_BITS, KeyBits

pytestmark = pytest.mark.clickhouse

__all__ = ["asked", "at", "database"]

On = Callable[[int], UsageStore]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_keys, "ASKED_BEFORE", 1)
    monkeypatch.setattr(recent_keys, "LATE_ASKED_BEFORE", 1)
    monkeypatch.setattr(recent_keys, "BLOCKS_BETWEEN_READS", 2)


class TestClickHouseStore(UsageStoreContract, ReplayContract, KeepingContract):
    max_examples = 10

    @pytest.fixture
    def fresh_dsn(self, clickhouse: ClickHouseServer) -> FreshDsn:
        return lambda: clickhouse.dsn(fresh_database())


class TestArrivals(ArrivalContract):
    pass


def of_day(clickhouse: ClickHouseServer, database: str) -> tuple[ClickHouseStore, Callable[[int], None]]:
    """Open a store whose server's clock can be set to a day."""
    store = open_store(clickhouse.dsn(database))
    assert isinstance(store, ClickHouseStore)
    store.use_meters(METERS)
    texts = store._sessions._statements
    originals = dict(texts)

    def on(day: int) -> None:
        texts.update({name: text.replace(schema._TODAY, str(day)) for name, text in originals.items()})
        store._log._bounds = None

    on(TODAY)
    return store, on


@pytest.fixture
def clock(
    clickhouse: ClickHouseServer, database: str
) -> Iterator[tuple[ClickHouseStore, Callable[[int], None]]]:
    store, on = of_day(clickhouse, database)
    with closing(store):
        yield store, on


Clock = tuple[ClickHouseStore, Callable[[int], None]]


def remembering(store: ClickHouseStore, day: int = TODAY) -> None:
    """Have it remember: by its second batch it knows the window up to its first one."""
    for name in ("r1", "r2"):
        assert sent(store, day=day, name=f"{name}-{day}") == ("stored", ())
    window = store._log._recent.of(day - WINDOW_DAYS)
    assert window is not None
    assert window.upto > 0


def looks(asked: Asked) -> list[str]:
    return [name for name, _ in asked if name.startswith("look") and "again" not in name]


def test_new_keys_are_looked_for_in_what_came_since_and_nowhere_else(clock: Clock, asked: Asked) -> None:
    store, _ = clock
    remembering(store)
    asked.clear()
    for number in range(10):
        assert sent(store, name=str(number)) == ("stored", ())
    assert looks(asked) == ["look on 0"] * 10
    asked.clear()
    # Known by the bits, or by what came since they were read.
    for number in range(10):
        assert sent(store, name=str(number)) == ("duplicate", ())
        assert sent(store, day=TODAY - 1, name=str(number)) == ("duplicate", ("time",))
    assert set(looks(asked)) <= {"look on 0", "look on 1"}


def test_what_came_since_is_all_that_is_read_of_the_log(clock: Clock, clickhouse: ClickHouseServer) -> None:
    store, _ = clock
    remembering(store)
    window = store._log._recent.of(TODAY - WINDOW_DAYS)
    assert window is not None
    text = store._sessions._statements["look on 0"].split("UNION ALL")[1]
    store._sessions._statements["plan"] = f"EXPLAIN ESTIMATE {text}"
    keys = [short_key(digest_of("acme", "/ci", name)) for name in (f"r1-{TODAY}", f"r2-{TODAY}", "new")]
    given = {"since_day": TODAY - WINDOW_DAYS, "upto": window.upto, "keys": Numbers(keys)}
    assert sent(store, name="new") == ("stored", ())
    ((_, _, parts, _, _),) = store._sessions.rows("plan", **given)
    # Without the first one's, up to which it remembers.
    assert int(parts) == 2


def test_the_servers_table_is_the_one_that_its_keys_make(
    clock: Clock, clickhouse: ClickHouseServer, database: str
) -> None:
    store, _ = clock
    clickhouse.query(
        f"INSERT INTO {database}.arrived_event (came, key) SELECT {TODAY} - number % 9, "  # noqa: S608 - names of our own
        "toFixedString(unhex(hex(sipHash128(number)) || '00000000'), 20) FROM numbers(50000)"
    )
    for first in (TODAY - WINDOW_DAYS, TODAY - 1):
        for width in (10, 14):
            shift = WORD_BITS - width
            table = store._sessions.binary("bits_of_keys", window=first, shift=shift, words=1 << width)
            keys = [
                int(short)
                for short in clickhouse.query(
                    f"SELECT short FROM {database}.arrived_event WHERE came >= {first}"  # noqa: S608 - names of our own
                ).split()
            ]
            own = KeyBits(width)
            own.add(keys)
            assert table == bytes(own._table)
            assert len(KeyBits(width, table).places(keys)) == len(keys)


def test_what_another_writer_stores_is_known_at_once(clock: Clock, clickhouse: ClickHouseServer) -> None:
    store, _ = clock
    remembering(store)
    other, _ = of_day(clickhouse, store._sessions.database)
    with closing(other):
        remembering(other, TODAY + 1)
        for number in range(7):
            assert sent(other, name=f"o{number}") == ("stored", ())
            assert sent(store, name=f"o{number}") == ("duplicate", ())
            assert sent(store, name=f"s{number}") == ("stored", ())
            assert sent(other, name=f"s{number}") == ("duplicate", ())
    assert store.check(METERS) == []


def test_parts_that_were_merged_are_looked_through(
    clock: Clock, clickhouse: ClickHouseServer, database: str
) -> None:
    store, _ = clock
    remembering(store)
    other, _ = of_day(clickhouse, database)
    with closing(other):
        for number in range(6):
            assert sent(other, name=f"o{number}") == ("stored", ())
            clickhouse.query(f"OPTIMIZE TABLE {database}.arrived_event FINAL")
            assert sent(store, name=f"s{number}") == ("stored", ())
            assert sent(store, name=f"o{number}") == ("duplicate", ())
    assert store.check(METERS) == []


def test_one_store_goes_on_into_the_next_days_and_back(clock: Clock) -> None:
    store, on = clock
    for day in [*range(TODAY, TODAY + 2 * WINDOW_DAYS, 3), TODAY + 1, TODAY + 40]:
        on(day)
        for name in ("a", "b", "c"):
            assert sent(store, day=day, name=f"{name}-{day}") in {("stored", ()), ("duplicate", ())}
            assert sent(store, day=day, name=f"{name}-{day}") == ("duplicate", ())
    on(TODAY + 41)
    for name in ("a", "b", "c"):
        assert sent(store, name=f"{name}-{TODAY}") == ("duplicate", ())
        assert sent(store, day=None, name=f"{name}-{TODAY}") == ("duplicate", ())
    assert store.check(METERS) == []


def test_late_keys_are_remembered_for_some_weeks(clock: Clock, asked: Asked) -> None:
    store, on = clock
    late = TODAY - 15
    on(late)
    assert sent(store, day=late, name="known") == ("stored", ())
    on(TODAY)
    remembering(store)
    # Once enough late ones were looked up, the weeks before the window are read too.
    for name in ("1", "2", "3"):
        assert sent(store, day=late, name=name) == ("stored", ())
    window = store._log._recent.of(TODAY - WINDOW_DAYS)
    assert window is not None
    assert window.first == TODAY - WINDOW_DAYS - LATE_DAYS
    asked.clear()
    assert sent(store, day=late, name="4") == ("stored", ())
    assert looks(asked) == ["look on 0"]
    assert sent(store, day=late, name="known") == ("duplicate", ())
    # Before those weeks nothing is remembered, and the log is asked.
    asked.clear()
    assert sent(store, day=TODAY - 60, name="5") == ("stored", ())
    assert looks(asked) == ["look on 1"]
    assert store.check(METERS) == []


def test_an_id_that_is_new_after_the_window_is_new_where_it_is_remembered_too(clock: Clock) -> None:
    store, on = clock
    assert sent(store, name="again") == ("stored", ())
    later = TODAY + WINDOW_DAYS + 3
    on(later)
    remembering(store, later)
    for name in ("1", "2", "3"):
        assert sent(store, day=TODAY, name=name) == ("stored", ())
    # With its own time it is known, with another one it is another event.
    assert sent(store, name="again") == ("duplicate", ())
    assert sent(store, day=later, name="again") == ("stored", ())
    assert sent(store, day=later, name="again") == ("duplicate", ())
    assert sent(store, name="again") == ("duplicate", ())


def test_with_too_many_keys_none_is_remembered(
    clock: Clock, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_keys, "MOST_KEYS", 0)
    store, on = clock
    for number in range(8):
        assert sent(store, name=str(number)) == ("stored", ())
        assert sent(store, name=str(number)) == ("duplicate", ())
    assert looks(asked)[-1] == "look 0"
    # Once for a day, and not for each batch.
    assert [name for name, _ in asked].count("count_keys") <= 2
    monkeypatch.setattr(recent_keys, "MOST_KEYS", 100)
    on(TODAY + 1)
    remembering(store, TODAY + 1)
    assert sent(store, name="3") == ("duplicate", ())


def test_with_too_many_late_keys_the_window_alone_is_remembered(
    clock: Clock, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, on = clock
    on(TODAY - 15)
    for number in range(3):
        assert sent(store, day=TODAY - 15, name=f"l{number}") == ("stored", ())
    on(TODAY)
    remembering(store)
    monkeypatch.setattr(recent_keys, "_BITS_A_KEY", 10**9)
    asked.clear()
    for number in range(8):
        assert sent(store, day=TODAY - 15, name=f"m{number}") == ("stored", ())
        assert sent(store, day=TODAY - 15, name=f"l{number % 3}") == ("duplicate", ())
    window = store._log._recent.of(TODAY - WINDOW_DAYS)
    assert window is not None
    assert window.first == TODAY - WINDOW_DAYS


def test_a_table_that_is_full_is_made_anew_in_a_larger_width(
    clock: Clock, clickhouse: ClickHouseServer, database: str
) -> None:
    store, _ = clock
    remembering(store)
    before = store._log._recent.of(TODAY - WINDOW_DAYS)
    assert before is not None
    clickhouse.query(
        f"INSERT INTO {database}.arrived_event (came, key, batch) SELECT {TODAY}, "  # noqa: S608 - names of our own
        f"toFixedString(unhex(hex(sipHash128(number)) || '00000000'), 20), generateUUIDv4() "
        f"FROM numbers({before.room + 1})"
    )
    for name in ("1", "2", "3", "4"):
        assert sent(store, name=name) == ("stored", ())
    after = store._log._recent.of(TODAY - WINDOW_DAYS)
    assert after is not None
    assert len(after.bits._table) > len(before.bits._table)
    assert sent(store, name="1") == ("duplicate", ())


def test_nothing_is_remembered_over_a_database_that_is_made_again(
    clickhouse: ClickHouseServer, database: str
) -> None:
    store, _ = of_day(clickhouse, database)
    with closing(store):
        remembering(store)
        clickhouse.query(f"DROP DATABASE {database}")
        # As a restored copy, which other writers have brought past the block that this process remembers.
        other, _ = of_day(clickhouse, database)
        with closing(other):
            for number in range(6):
                assert sent(other, name=f"o{number}") == ("stored", ())
        for number in range(6):
            assert sent(store, name=f"o{number}") == ("duplicate", ())
        assert totals(store)["remote_cache_hits"] == "6"


def test_nothing_is_remembered_over_a_copy_that_is_put_back(tmp_path: Path) -> None:
    server = ClickHouseServer()
    try:
        server.start()
        store, _ = of_day(server, "watchword_usage")
        with closing(store):
            assert sent(store, name="0") == ("stored", ())
            server.kill()
            shutil.copytree(server.folder / "data", tmp_path / "copy", symlinks=True)
            server.start()
            remembering(store)
            server.kill()
            shutil.rmtree(server.folder / "data")
            shutil.copytree(tmp_path / "copy", server.folder / "data", symlinks=True)
            server.start()
            other, _ = of_day(server, "watchword_usage")
            with closing(other):
                for number in range(6):
                    assert sent(other, name=f"o{number}") == ("stored", ())
            answers = []
            for name in ["0", *(f"o{number}" for number in range(6))]:
                try:
                    answers.append(sent(store, name=name))
                except StoreUnavailableError:
                    answers.append(sent(store, name=name))
            assert answers == [("duplicate", ())] * 7
    finally:
        server.stop()


def test_a_partition_that_was_put_aside_and_is_put_back_is_known(
    clock: Clock, clickhouse: ClickHouseServer, database: str
) -> None:
    store, on = clock
    on(TODAY - WINDOW_DAYS)
    assert sent(store, day=TODAY - WINDOW_DAYS, name="aside") == ("stored", ())
    on(TODAY)
    partition = (TODAY - WINDOW_DAYS) // schema.DAYS_A_PARTITION
    clickhouse.query(f"ALTER TABLE {database}.arrived_event DETACH PARTITION {partition}")
    remembering(store)
    clickhouse.query(f"ALTER TABLE {database}.arrived_event ATTACH PARTITION {partition}")
    assert sent(store, day=TODAY - WINDOW_DAYS, name="aside") == ("duplicate", ())
    for number in range(5):
        assert sent(store, name=str(number)) == ("stored", ())
    assert sent(store, day=TODAY - WINDOW_DAYS, name="aside") == ("duplicate", ())


def test_a_key_that_is_there_by_chance_is_looked_for(clock: Clock, asked: Asked) -> None:
    store, _ = clock
    remembering(store)
    window = store._log._recent.of(TODAY - WINDOW_DAYS)
    assert window is not None
    window.bits.add([short_key(digest_of("acme", "/ci", "1"))])
    asked.clear()
    assert sent(store, name="1") == ("stored", ())
    assert looks(asked) == ["look on 1"]
    assert sent(store, name="1") == ("duplicate", ())


def test_a_server_is_another_one_by_its_table_or_its_start() -> None:
    server = Server(b"t", 1000)
    assert server.is_same(Server(b"t", 1001))
    assert not server.is_same(Server(b"u", 1000))
    assert not server.is_same(Server(b"t", 1005))


def test_a_table_is_as_wide_as_its_keys_need() -> None:
    counts = (0, 80_000, 2_200_000, 7_700_000, 22_000_000, 40_000_000)
    assert [width_for(count) for count in counts] == [14, 14, 19, 21, 22, 22]


def test_replays_in_one_batch_with_new_ones(clock: Clock) -> None:
    store, _ = clock
    remembering(store)
    names = [f"n{number}" for number in range(40)]
    assert statuses(store, *(envelope(id=name) for name in names[:20])) == ["stored"] * 20
    assert statuses(store, *(envelope(id=name) for name in names)) == ["duplicate"] * 20 + ["stored"] * 20
    assert store.check(METERS) == []


def test_writers_that_remember_store_each_event_once_while_parts_merge(
    clickhouse: ClickHouseServer, database: str
) -> None:
    stores = [of_day(clickhouse, database)[0] for _ in range(3)]
    stored: list[str] = []

    def write(number: int) -> None:
        chance = random.Random(number)
        for _ in range(25):
            names = [f"{chance.randrange(300)}" for _ in range(12)]
            batch = [envelope(id=name, time=f"2026-11-{int(name) % 3 + 1:02}T10:00:00Z") for name in names]
            outcomes = statuses(stores[number], *batch)
            stored.extend(name for name, status in zip(names, outcomes, strict=True) if status == "stored")
            if chance.random() < 0.2:
                clickhouse.query(f"OPTIMIZE TABLE {database}.arrived_event FINAL")

    try:
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(write, range(3)))
        assert len(stored) == len(set(stored)) > 250
        assert totals(stores[0])["remote_cache_hits"] == str(len(stored))
        assert stores[0].check(METERS) == []
        assert any(store._log._recent._window is not None for store in stores)
    finally:
        for store in stores:
            store.close()
