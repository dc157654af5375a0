# SPDX-License-Identifier: Apache-2.0
"""Real servers for the stores, and asserts of the shared suite that say what they compared."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from testing.clickhouse_server import ClickHouseServer
from testing.unavailable import skip_or_fail

pytest.register_assert_rewrite(
    "tests.usage.contract",
    "tests.usage.contract_groups",
    "tests.usage.contract_keeping",
    "tests.usage.contract_replays",
    "tests.usage.killrounds",
    "tests.usage.machine",
)


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[ClickHouseServer]:
    """ClickHouse's engine behind its HTTP interface; each store in it has a database of its own."""
    if importlib.util.find_spec("chdb") is None:
        problem = "no ClickHouse engine: pip install chdb"
        skip_or_fail("ClickHouse tests", problem, required_by="WATCHWORD_REQUIRE_CLICKHOUSE")
    server = ClickHouseServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()
