# SPDX-License-Identifier: Apache-2.0
"""Rounds of writing, killing and looking: what was said to be stored is there, once, and nothing else counts.

Three rounds each by default; WATCHWORD_KILL_ROUNDS=100 for the full count.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction

from testing.usage_samples import METERS
from tests.usage import writer
from tests.usage.contract import YEARS, end_writer, start_writer, totals
from tests.usage.oracle import Oracle
from watchword.usage import UsageStore, open_store

ROUNDS = int(os.environ.get("WATCHWORD_KILL_ROUNDS", "3"))


def live_through(dsn: str, kill_server: Callable[[], None], rounds: int = ROUNDS) -> None:
    """Write through `rounds` deaths of the server, each time killing the writer too, and check the sums.

    `kill_server` kills it without a word and starts it again.
    """
    chance = random.Random(rounds)
    oracle = Oracle()
    sent = 0
    for _ in range(rounds):
        process = start_writer(dsn, sent, sent + 10_000)
        acknowledged = read(process, chance.randrange(1, 8))
        kill_server()
        # The writer got no answer for what was in flight, and goes on by itself once the server is back.
        acknowledged += read(process, chance.randrange(1, 4))
        acknowledged += end_writer(process)
        assert acknowledged == list(range(sent, sent + len(acknowledged)))
        with closing(open_store(dsn)) as store:
            for number in acknowledged:
                assert {o.status for o in store.ingest(writer.batch(number), METERS)} == {"duplicate"}
            in_flight = sent + len(acknowledged)
            # The batch in flight is there whole or not at all.
            assert len({o.status for o in store.ingest(writer.batch(in_flight), METERS)}) == 1
            for number in range(sent, in_flight + 1):
                assert set(oracle.ingest(writer.batch(number), METERS)) == {"stored"}
            sent = in_flight + 1
            assert_as_the_oracle(store, oracle)
    with closing(open_store(dsn)) as store:
        assert store.check(METERS) == []


def read(process: subprocess.Popen[str], lines: int) -> list[int]:
    """The batches that the writer said are stored, in its next lines."""
    assert process.stdout is not None
    return [int(process.stdout.readline().split()[0]) for _ in range(lines)]


def assert_as_the_oracle(store: UsageStore, oracle: Oracle) -> None:
    """Every account's sums are the oracle's."""
    for account in writer.ACCOUNTS:
        expected = oracle.totals(account, *YEARS, METERS)
        assert expected is not None
        found = totals(store, account)
        assert {name: expected[name] for name in found} == {
            name: Fraction(text) for name, text in found.items()
        }
