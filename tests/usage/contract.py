# SPDX-License-Identifier: Apache-2.0
"""What every usage store must pass.

An engine's test module subclasses `UsageStoreContract` and gives the fixture `fresh_dsn`: a function that
gives the DSN of a new, empty store each time. Nothing here knows of an engine.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import date
from decimal import Context, Decimal
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from testing.usage_samples import BYTES, HITS, METERS, NOW, envelope, event, events
from tests.usage import writer
from tests.usage.machine import machine
from watchword.usage import (
    BATCHED,
    STRUCTURED,
    BodyProblem,
    Event,
    Meter,
    MetersChangedError,
    Rebuilt,
    UsageQuery,
    UsageStore,
    open_store,
    parse_events,
)

FreshDsn = Callable[[], str]
ROOT = Path(__file__).parents[2]
ALL_DIGITS = Context(prec=200)
YEARS = (date(2026, 1, 1), date(2027, 1, 1))

HOSTILE = [
    "'; DROP TABLE event; --",
    '" OR ""="',
    "acme' OR '1'='1",
    "%",
    "_",
    "acm_",
    "acme\\",
    "$1 ?1 :a @a %s {}",
    "Robert'); DELETE FROM rollup;",
    "émile ☃ \U0001f600",
    "*",
    " acme ",
    "../../etc/passwd",
]


def totals(
    store: UsageStore, account: str = "acme", start: date = YEARS[0], end: date = YEARS[1]
) -> dict[str, str]:
    """The amounts of an account as plain text: 1 and 1.0 are the same, and every digit is seen."""
    answer = store.read(UsageQuery(account, start, end))
    assert answer is not None
    return {name: f"{amount.normalize(ALL_DIGITS):f}" for name, amount in answer.totals.items()}


def statuses(store: UsageStore, *envelopes: dict[str, object], meters: Sequence[Meter] = METERS) -> list[str]:
    return [outcome.status for outcome in store.ingest(events(*envelopes), meters)]


def in_mode(mode: str, members: dict[str, object]) -> Event:
    """One event as it comes in one of the three modes of the HTTP binding."""
    headers = [(b"content-type", {"structured": STRUCTURED, "batched": BATCHED}.get(mode, "").encode())]
    document: object = [members] if mode == "batched" else members
    if mode == "binary":
        headers = [
            (f"ce-{name}".encode(), str(value).encode()) for name, value in members.items() if name != "data"
        ]
        headers.append((b"content-type", b"application/json"))
        document = members["data"]
    parsed = parse_events(json.dumps(document).encode(), headers, NOW)
    assert not isinstance(parsed, BodyProblem), parsed
    assert isinstance(parsed[0], Event), parsed
    return parsed[0]


def start_writer(dsn: str, first: int, last: int, seed: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.usage.writer", dsn, str(first), str(last), str(seed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def end_writer(process: subprocess.Popen[str]) -> list[int]:
    """SIGKILL a writer; the batches that it said are stored and nobody has read of yet."""
    process.send_signal(signal.SIGKILL)
    # Not `communicate`: it passes over what was read ahead of the lines so far.
    with process:
        assert process.stdout is not None
        rest = process.stdout.read()
    # A last line cut short was not read by anybody, so nobody was told.
    return [int(line.split()[0]) for line in rest.splitlines(keepends=True) if line.endswith("\n")]


class UsageStoreContract:
    # Lives of a store beside the oracle: a server takes longer to make a new store than a file does.
    lives = 40

    @pytest.fixture
    def fresh_dsn(self) -> FreshDsn:
        raise NotImplementedError("the engine's test class gives this fixture")

    @pytest.fixture
    def dsn(self, fresh_dsn: FreshDsn) -> str:
        return fresh_dsn()

    @pytest.fixture
    def store(self, dsn: str) -> Iterator[UsageStore]:
        with ExitStack() as stack:
            store = open_store(dsn)
            stack.callback(store.close)
            yield store

    def test_an_event_is_stored_and_counted(self, store: UsageStore) -> None:
        assert statuses(store, envelope(data={"bytes": 7, "user": "u"})) == ["stored"]
        assert totals(store) == {"remote_cache_hits": "1", "bytes": "7", "largest": "7", "users": "1"}

    def test_an_empty_batch_changes_nothing(self, store: UsageStore) -> None:
        assert store.ingest([], METERS) == []
        assert store.read(UsageQuery("acme", *YEARS)) is None

    def test_a_replayed_event_is_counted_once(self, store: UsageStore) -> None:
        assert statuses(store, envelope()) == ["stored"]
        (outcome,) = store.ingest([event()], METERS)
        assert (outcome.status, outcome.differs, outcome.problem) == ("duplicate", (), None)
        assert totals(store)["remote_cache_hits"] == "1"

    def test_an_event_twice_in_a_batch_is_counted_once(self, store: UsageStore) -> None:
        assert statuses(store, envelope(), envelope(id="2"), envelope()) == ["stored", "stored", "duplicate"]
        assert totals(store)["remote_cache_hits"] == "2"

    def test_two_accounts_may_use_one_source_and_id_and_both_count(self, store: UsageStore) -> None:
        assert statuses(store, envelope(), envelope(subject="umbrella")) == ["stored", "stored"]
        assert statuses(store, envelope(subject="initech"), envelope(subject="umbrella")) == [
            "stored",
            "duplicate",
        ]
        assert [totals(store, name)["remote_cache_hits"] for name in ("acme", "umbrella", "initech")] == [
            "1"
        ] * 3
        assert store.check(METERS) == []

    def test_one_tenant_cannot_use_up_the_ids_of_another(self, store: UsageStore) -> None:
        ids = [f"e-{number}" for number in range(50)]
        assert statuses(store, *(envelope(id=name, subject="mallory") for name in ids)) == ["stored"] * 50
        assert statuses(store, *(envelope(id=name) for name in ids)) == ["stored"] * 50
        assert statuses(store, *(envelope(id=name) for name in ids)) == ["duplicate"] * 50
        assert totals(store)["remote_cache_hits"] == totals(store, "mallory")["remote_cache_hits"] == "50"

    def test_account_source_and_id_are_three_columns_not_one_string(self, store: UsageStore) -> None:
        triples = [("a", "b", "cd"), ("ab", "c", "d"), ("a", "bc", "d"), ("a b", "c", "d"), ("A", "b", "cd")]
        stored = statuses(store, *(envelope(subject=a, source=s, id=i) for a, s, i in triples))
        assert stored == ["stored"] * 5
        pages, cursor = [], ""
        while True:
            page, cursor = store.events_after(cursor, 2)
            pages += [(event.account, event.source, event.id) for event in page]
            if not cursor:
                break
        assert sorted(pages) == sorted(triples)

    def test_an_event_that_two_accounts_have_is_paged_once_for_each(self, store: UsageStore) -> None:
        names = [f"account-{number}" for number in range(7)]
        statuses(store, *(envelope(subject=name) for name in names))
        found: list[str] = []
        page, cursor = store.events_after("", 3)
        while page:
            found += [event.account for event in page]
            page, cursor = store.events_after(cursor, 3) if cursor else ([], "")
        assert sorted(found) == names

    @pytest.mark.parametrize("mode", ["structured", "batched", "binary"])
    def test_an_event_is_the_same_one_in_every_mode(self, store: UsageStore, mode: str) -> None:
        assert statuses(store, envelope(), envelope(subject="umbrella")) == ["stored", "stored"]
        for account, outcome in (("acme", "duplicate"), ("umbrella", "duplicate"), ("initech", "stored")):
            (found,) = store.ingest([in_mode(mode, envelope(subject=account))], METERS)
            assert (found.status, found.differs) == (outcome, ())

    def test_source_and_id_are_two_columns_not_one_string(self, store: UsageStore) -> None:
        pairs = [
            ("a-b", "c"),
            ("a", "b-c"),
            ("a-b-c", "0"),
            ("a", "b/c"),
            ("a/b", "c"),
            ("A", "b-c"),
            ("a", "B-c"),
        ]
        assert (
            statuses(store, *(envelope(source=source, id=name) for source, name in pairs)) == ["stored"] * 7
        )
        assert totals(store)["remote_cache_hits"] == "7"

    @pytest.mark.parametrize(
        ("changes", "differs"),
        [
            ({"type": "cache.miss"}, ("type",)),
            ({"time": "2026-11-03T10:00:01Z"}, ("time",)),
            ({"data": {"bytes": 2, "user": "u1"}}, ("data",)),
            ({"data": ..., "data_base64": "AA==", "type": "cache.miss"}, ("type", "data")),
            ({"trace": "t"}, ("extensions",)),
            ({"data": {"user": "u1", "bytes": 1.0}}, ()),
            ({"time": "2026-11-03T11:00:00+01:00"}, ()),
            ({"time": ...}, ()),
        ],
    )
    def test_the_first_of_two_events_with_one_key_stands(
        self, store: UsageStore, changes: dict[str, object], differs: tuple[str, ...]
    ) -> None:
        store.ingest([event()], METERS)
        before = totals(store)
        (outcome,) = store.ingest([event(**changes)], METERS)
        assert (outcome.status, outcome.differs) == ("duplicate", differs)
        assert totals(store) == before
        assert store.read(UsageQuery("umbrella", *YEARS)) is None

    def test_a_refused_event_leaves_the_others_and_can_be_sent_again_corrected(
        self, store: UsageStore
    ) -> None:
        bad = envelope(id="2", data={"bytes": "many", "user": "u"})
        outcomes = store.ingest(events(envelope(), bad, envelope(id="3")), METERS)
        assert [outcome.status for outcome in outcomes] == ["stored", "refused", "stored"]
        problem = outcomes[1].problem
        assert problem is not None
        assert (problem.index, problem.code, problem.field) == (1, "value_not_a_number", "data/bytes")
        assert statuses(store, envelope(id="2")) == ["stored"]
        assert totals(store)["remote_cache_hits"] == "3"

    def test_an_account_is_known_once_it_has_an_event_of_any_type_and_time(self, store: UsageStore) -> None:
        assert store.read(UsageQuery("acme", *YEARS)) is None
        assert statuses(store, envelope(type="unmetered", time="2001-01-01T00:00:00Z")) == ["stored"]
        assert totals(store) == {}
        assert store.read(UsageQuery("acm", *YEARS)) is None

    def test_a_refused_event_does_not_make_an_account_known(self, store: UsageStore) -> None:
        assert statuses(store, envelope(data={})) == ["refused"]
        assert store.read(UsageQuery("acme", *YEARS)) is None

    def test_decimals_add_up_without_drift(self, store: UsageStore) -> None:
        for number in range(10):
            statuses(store, envelope(id=str(number), data={"bytes": Decimal("0.1"), "user": "u"}))
        assert totals(store)["bytes"] == "1"

    def test_the_largest_and_the_smallest_number_add_up_exactly(self, store: UsageStore) -> None:
        numbers = ["999999999999999999", "0." + "0" * 29 + "1", "999999999999999999"]
        statuses(
            store,
            *(
                envelope(id=n[::-1] + str(i), data={"bytes": Decimal(n), "user": "u"})
                for i, n in enumerate(numbers)
            ),
        )
        assert totals(store)["bytes"] == "1999999999999999998." + "0" * 29 + "1"

    def test_negative_numbers_correct_earlier_ones(self, store: UsageStore) -> None:
        statuses(
            store, envelope(data={"bytes": 5, "user": "u"}), envelope(id="2", data={"bytes": -5, "user": "u"})
        )
        assert (totals(store)["bytes"], totals(store)["largest"]) == ("0", "5")

    def test_the_largest_of_negative_numbers_is_negative(self, store: UsageStore) -> None:
        for day, number in (("03", -5), ("04", -7)):
            statuses(
                store, envelope(id=day, time=f"2026-11-{day}T00:00:00Z", data={"bytes": number, "user": "u"})
            )
        assert totals(store)["largest"] == "-5"

    def test_a_value_on_two_days_is_one_in_the_period(self, store: UsageStore) -> None:
        for number, (day, user) in enumerate([("2026-10-31", "a"), ("2026-11-01", "a"), ("2026-11-02", "b")]):
            statuses(
                store, envelope(id=str(number), time=f"{day}T00:00:00Z", data={"bytes": 1, "user": user})
            )
        query = UsageQuery("acme", date(2026, 10, 1), date(2026, 12, 1), "month")
        answer = store.read(query)
        assert answer is not None
        assert answer.totals["users"] == 2
        assert [amounts["users"] for amounts in answer.windows] == [1, 2]

    def test_values_are_told_apart_by_every_character(self, store: UsageStore) -> None:
        users = ["u", "U", "u ", "", "1", "1.0", "é", "e\u0301", "u\u0000", 1, True, "true"]
        statuses(store, *(envelope(id=str(i), data={"bytes": 1, "user": u}) for i, u in enumerate(users)))
        assert totals(store)["users"] == str(len(users))

    @pytest.mark.parametrize(
        ("time", "day"),
        [
            ("2026-10-31T23:59:59.999999Z", date(2026, 10, 31)),
            ("2026-11-01T00:00:00Z", date(2026, 11, 1)),
            ("2026-11-01T00:30:00+01:00", date(2026, 10, 31)),
            ("2026-10-31T23:30:00-01:00", date(2026, 11, 1)),
            ("2024-02-29T12:00:00Z", date(2024, 2, 29)),
            ("1970-01-01T00:00:00Z", date(1970, 1, 1)),
            ("2000-12-31T23:59:59Z", date(2000, 12, 31)),
        ],
    )
    def test_an_event_is_in_its_utc_day_alone(self, store: UsageStore, time: str, day: date) -> None:
        statuses(store, envelope(time=time))
        following = date.fromordinal(day.toordinal() + 1)
        assert totals(store, start=day, end=following)["remote_cache_hits"] == "1"
        assert totals(store, start=following, end=date.fromordinal(day.toordinal() + 300)) == {}

    def test_hostile_text_is_only_text(self, store: UsageStore) -> None:
        meters = [Meter(text, text, "unique_count", "/" + text.replace("/", "~1")) for text in HOSTILE]
        store.use_meters(meters)
        batch = [
            envelope(id=text, type=text, subject=text, data={text: text + text}, trace=text)
            for text in HOSTILE
        ]
        assert statuses(store, *batch, meters=meters) == ["stored"] * len(HOSTILE)
        assert statuses(store, *batch, meters=meters) == ["duplicate"] * len(HOSTILE)
        for text in HOSTILE:
            assert totals(store, text) == {text: "1"}
        assert store.read(UsageQuery("acme", *YEARS)) is None
        assert store.check(meters) == []

    def test_accounts_are_whole_names(self, store: UsageStore) -> None:
        names = ["acme", "acm", "acme/", "ACME", "acme ", "acme%20", "acmé", "acme\u0301"]
        statuses(store, *(envelope(id=str(i), subject=name) for i, name in enumerate(names)))
        for name in names:
            assert totals(store, name)["remote_cache_hits"] == "1"

    def test_what_was_stored_is_there_after_opening_again(self, dsn: str, store: UsageStore) -> None:
        statuses(store, envelope())
        store.close()
        again = open_store(dsn)
        try:
            assert totals(again)["remote_cache_hits"] == "1"
            assert statuses(again, envelope()) == ["duplicate"]
        finally:
            again.close()

    def test_closing_twice_is_closing_once(self, store: UsageStore) -> None:
        store.close()
        store.close()

    def test_a_store_can_be_used_from_another_thread(self, store: UsageStore) -> None:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.extend(statuses(store, envelope())))
        thread.start()
        thread.join()
        assert found == ["stored"]
        assert totals(store)["remote_cache_hits"] == "1"

    def test_putting_the_same_meters_in_force_changes_nothing(self, store: UsageStore) -> None:
        assert store.use_meters(METERS).recomputed == ("bytes", "largest", "remote_cache_hits", "users")
        assert store.use_meters(METERS[::-1]) == Rebuilt()

    def test_a_later_meter_counts_earlier_events(self, store: UsageStore) -> None:
        statuses(store, envelope(), envelope(id="2", type="cache.miss"), meters=[HITS])
        misses = Meter("misses", "cache.miss", "count")
        change = store.use_meters([HITS, BYTES, misses])
        assert (change.recomputed, change.dropped, change.events) == (("bytes", "misses"), (), 2)
        assert totals(store) == {"remote_cache_hits": "1", "bytes": "1", "misses": "1"}

    def test_a_changed_meter_is_counted_anew(self, store: UsageStore) -> None:
        statuses(store, envelope(data={"bytes": 1}), envelope(id="2", data={"bytes": 2}), meters=[BYTES])
        store.use_meters([Meter("bytes", "cache.hit", "max", "/bytes")])
        assert totals(store) == {"bytes": "2"}
        store.use_meters([BYTES])
        assert totals(store) == {"bytes": "3"}

    def test_a_dropped_meter_is_gone_and_comes_back_whole(self, store: UsageStore) -> None:
        statuses(store, envelope())
        assert store.use_meters([HITS]).dropped == ("bytes", "largest", "users")
        assert totals(store) == {"remote_cache_hits": "1"}
        statuses(store, envelope(id="2"), meters=[HITS])
        store.use_meters(METERS)
        assert totals(store) == {"remote_cache_hits": "2", "bytes": "2", "largest": "1", "users": "1"}

    def test_earlier_events_that_a_new_meter_cannot_use_are_said(self, store: UsageStore) -> None:
        statuses(store, envelope(data={}), envelope(id="2"), meters=[HITS])
        assert store.use_meters([HITS, BYTES]).unusable == {"bytes": 1}
        assert totals(store) == {"remote_cache_hits": "2", "bytes": "1"}
        assert store.check([HITS, BYTES]) == []

    def test_a_replay_that_new_meters_cannot_use_is_a_duplicate(self, store: UsageStore) -> None:
        statuses(store, envelope(data={}), meters=[HITS])
        store.use_meters([BYTES])
        assert statuses(store, envelope(data={}), meters=[BYTES]) == ["duplicate"]

    def test_a_writer_with_other_meters_is_told_and_stores_nothing(self, store: UsageStore) -> None:
        store.use_meters([HITS])
        with pytest.raises(MetersChangedError):
            store.ingest([event()], METERS)
        assert store.read(UsageQuery("acme", *YEARS)) is None

    def test_rebuilding_gives_what_was_counted_on_arrival(self, store: UsageStore) -> None:
        for number in range(5):
            store.ingest(writer.batch(number), METERS)
        before = [totals(store, account) for account in writer.ACCOUNTS]
        assert store.rebuild(METERS).events == 5 * writer.BATCH
        assert [totals(store, account) for account in writer.ACCOUNTS] == before
        assert store.check(METERS) == []

    def test_a_check_against_other_meters_names_what_differs(self, store: UsageStore) -> None:
        statuses(store, envelope(), meters=[HITS])
        (difference,) = store.check([])
        assert (difference.account, difference.day, difference.meter) == (
            "acme",
            date(2026, 11, 3),
            HITS.name,
        )
        assert (difference.stored, difference.expected) == ("1", None)
        assert totals(store) == {"remote_cache_hits": "1"}

    def test_two_meters_cannot_share_a_name(self, store: UsageStore) -> None:
        twins = [HITS, Meter(HITS.name, "cache.miss", "count")]
        for call in (store.use_meters, store.rebuild, store.check):
            with pytest.raises(ValueError, match="name of its own"):
                call(twins)

    def test_a_second_store_sees_what_the_first_was_told_is_stored(self, dsn: str, store: UsageStore) -> None:
        second = open_store(dsn)
        try:
            for number in range(3):
                one, other = (store, second) if number % 2 else (second, store)
                assert statuses(one, envelope(id=str(number))) == ["stored"]
                assert statuses(other, envelope(id=str(number))) == ["duplicate"]
                assert totals(other)["remote_cache_hits"] == str(number + 1)
        finally:
            second.close()

    def test_writers_at_once_count_each_event_once(self, dsn: str, store: UsageStore) -> None:
        store.use_meters(METERS)
        writers = [start_writer(dsn, 0, 30, seed) for seed in (1, 2, 3)]
        stored = 0
        for process in writers:
            output, _ = process.communicate(timeout=120)
            assert process.returncode == 0
            stored += sum(int(line.split()[1]) for line in output.splitlines())
        assert stored == 30 * writer.BATCH
        assert hits_of_all(store) == 30 * writer.BATCH
        assert store.check(METERS) == []

    def test_opening_a_new_store_at_once_makes_one(self, dsn: str) -> None:
        writers = [start_writer(dsn, number, number + 1) for number in range(4)]
        for process in writers:
            process.communicate(timeout=120)
        assert [process.returncode for process in writers] == [0] * 4
        store = open_store(dsn)
        try:
            assert hits_of_all(store) == 4 * writer.BATCH
        finally:
            store.close()

    def test_a_killed_writer_loses_nothing_it_was_told_is_stored(self, dsn: str) -> None:
        sent = 0
        for kill_after in (1, 3, 2, 7, 1, 11):
            process = start_writer(dsn, sent, sent + 10_000)
            assert process.stdout is not None
            acknowledged = [int(process.stdout.readline().split()[0]) for _ in range(kill_after)]
            acknowledged += end_writer(process)
            store = open_store(dsn)
            try:
                assert store.check(METERS) == []
                for number in acknowledged:
                    assert {o.status for o in store.ingest(writer.batch(number), METERS)} == {"duplicate"}
                # The batch in flight is there whole or not at all.
                in_flight = store.ingest(writer.batch(acknowledged[-1] + 1), METERS)
                assert len({outcome.status for outcome in in_flight}) == 1
                sent = acknowledged[-1] + 2
                assert hits_of_all(store) == sent * writer.BATCH
                assert store.check(METERS) == []
            finally:
                store.close()

    def test_a_store_lives_as_the_oracle_does(self, fresh_dsn: FreshDsn) -> None:
        run_state_machine_as_test(
            machine(fresh_dsn),
            settings=settings(deadline=None, max_examples=self.lives, stateful_step_count=15),
        )


def hits_of_all(store: UsageStore) -> int:
    return sum(int(totals(store, account)["remote_cache_hits"]) for account in writer.ACCOUNTS)
