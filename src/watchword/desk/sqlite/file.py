# SPDX-License-Identifier: Apache-2.0
"""The desk's file: its schema, brought up to this version, and what an error of SQLite means."""

import sqlite3
import time
import uuid
from typing import Final

from watchword.desk.sqlite import schema
from watchword.desk.store import DeskStoreRefusedError, DeskStoreUnavailableError
from watchword.storage import sqlite_file


def open_file(path: str, busy_timeout_seconds: float) -> sqlite3.Connection:
    """Open or make the desk's file, ready for transactions that are begun and ended by statement.

    Raises:
        DeskStoreRefusedError: it is no file of this desk's, or cannot be used as one.
        DeskStoreUnavailableError: it is busy.
    """
    try:
        return sqlite_file.open_file(path, busy_timeout_seconds, _KIND)
    except sqlite3.OperationalError as error:
        raise unavailable(error) from error
    except sqlite3.DatabaseError as error:
        raise DeskStoreRefusedError(
            f"{sqlite_file.place_of(path)} is not a desk's store",
            "give the path of a new file, or restore this one",
        ) from error


def unavailable(error: sqlite3.Error) -> DeskStoreUnavailableError:
    """What an error of SQLite means to the desk's operator."""
    if sqlite_file.is_busy(error):
        return DeskStoreUnavailableError("the desk's store is busy", "see that one desk alone uses the file")
    if sqlite_file.primary_code(error) == sqlite3.SQLITE_FULL:
        return DeskStoreUnavailableError("the disk of the desk's store is full", "make room")
    return DeskStoreUnavailableError(
        f"the desk's store failed ({type(error).__name__})", "check the file and its disk"
    )


def _bring_up(connection: sqlite3.Connection, version: int) -> None:
    for step in range(version, schema.SCHEMA_VERSION):
        for statement in schema.STEPS[step]:
            connection.execute(statement)
    if version == 0:
        connection.execute(schema.INSERT_IDENTITY, (str(uuid.uuid4()), int(time.time())))


_KIND: Final = sqlite_file.FileKind(
    name="the desk's file",
    application_id=schema.APPLICATION_ID,
    schema_version=schema.SCHEMA_VERSION,
    pragmas=(
        "PRAGMA recursive_triggers = ON",  # the rows that a REPLACE deletes fire their triggers, too
        "PRAGMA wal_autocheckpoint = 4000",
    ),
    bring_up=_bring_up,
    refused=DeskStoreRefusedError,
)
