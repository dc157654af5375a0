# SPDX-License-Identifier: Apache-2.0
"""Real servers for the stores, and asserts of the shared suite that say what they compared."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import pytest

from tests.usage.clickhouseserver import ClickHouseServer
from tests.usage.postgresserver import PostgresServer, binaries

pytest.register_assert_rewrite(
    "tests.usage.contract",
    "tests.usage.contract_groups",
    "tests.usage.contract_keeping",
    "tests.usage.killrounds",
    "tests.usage.machine",
)


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[ClickHouseServer]:
    """ClickHouse's engine behind its HTTP interface; each store in it has a database of its own."""
    if importlib.util.find_spec("chdb") is None:
        if os.environ.get("WATCHWORD_REQUIRE_CLICKHOUSE"):
            pytest.fail("WATCHWORD_REQUIRE_CLICKHOUSE is set, and chdb is not installed")
        pytest.skip("no ClickHouse engine: pip install chdb")
    server = ClickHouseServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for all tests of a session; each store in it has a schema of its own."""
    if binaries() is None:
        if os.environ.get("WATCHWORD_REQUIRE_POSTGRESQL"):
            pytest.fail("WATCHWORD_REQUIRE_POSTGRESQL is set, and no PostgreSQL server is installed")
        pytest.skip("no PostgreSQL server: apt-get install postgresql")
    # What the kernel has was written: kill -9 loses none of it. Only a power cut would, which is no test.
    server = PostgresServer({"fsync": "off"})
    try:
        server.start()
        yield server
    finally:
        server.stop()
