# SPDX-License-Identifier: Apache-2.0
"""Bringing the usage schema up to this version, one process at a time.

Several gates start at once after an upgrade: a PostgreSQL advisory lock, which ends with its connection, is
held meanwhile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from watchword.storage.postgresql import Migrations, Place
from watchword.usage.store import StoreMissingError, StoreRefusedError

_MIGRATIONS: Final = Migrations(Path(__file__).with_name("migrations"), StoreRefusedError)
NAMES: Final = _MIGRATIONS.names


def bring_up_to_date(place: Place, lock: int, *, may_make: bool = True) -> None:
    """Make the schema and apply what is missing, once, however many processes ask at once.

    Args:
        place: the store's own schema; made when it is not there.
        lock: the number of the advisory lock.
        may_make: whether a schema that is not there is made.

    Raises:
        StoreMissingError: it is not there, and is not to be made.
        StoreRefusedError: a newer Watchword made the schema.
        psycopg.Error: what the server says.
    """
    with place.connect() as connection:
        if _MIGRATIONS.are_applied(connection, place.schema):
            return
        if not may_make and not _MIGRATIONS.are_begun(connection, place.schema):
            raise StoreMissingError(f"the schema {place.schema} of that database")
        connection.execute("SELECT pg_advisory_lock(%s)", [lock])
        if not _MIGRATIONS.are_applied(connection, place.schema):
            _MIGRATIONS.apply(connection, place)
