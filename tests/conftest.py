# SPDX-License-Identifier: Apache-2.0
"""Fixtures for every folder of tests. Node and PostgreSQL server are one for the whole session."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from testing.postgres_server import PostgresServer, binaries
from testing.unavailable import skip_or_fail

pytest_plugins = ("tests.image.fixtures", "testing.node.fixtures")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for all tests of a session; each store in it has a schema of its own."""
    if binaries() is None:
        problem = "no PostgreSQL server: apt-get install postgresql"
        skip_or_fail("PostgreSQL tests", problem, required_by="WATCHWORD_REQUIRE_POSTGRESQL")
    # What the kernel has was written: kill -9 loses none of it. Only a power cut would, which is no test.
    server = PostgresServer({"fsync": "off"})
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Leave what is only unreachable where it is, but for what earlier tests left."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
