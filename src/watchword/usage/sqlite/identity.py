# SPDX-License-Identifier: Apache-2.0
"""Which store a usage file is: a number that the file keeps, and where it lies.

The number alone would be that of each of its copies, and the place alone that of what is put there next.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from typing import Final

_IDENTITY: Final = "identity"
_KEEP: Final = "INSERT INTO state (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
_KEPT: Final = "SELECT value FROM state WHERE name = ?"


def identity_of(connection: sqlite3.Connection) -> str | None:
    """Tell which store this is; None while it has no number."""
    found = connection.execute(_KEPT, (_IDENTITY,)).fetchone()
    if found is None:
        return None
    (place,) = (file for _, name, file in connection.execute("PRAGMA database_list") if name == "main")
    return f"the SQLite file {os.path.realpath(place) if place else ':memory:'} ({found[0]})"


def make_identity(connection: sqlite3.Connection) -> str:
    """Give a store its number, unless one just did, and tell which it is; the caller may write."""
    connection.execute(_KEEP, (_IDENTITY, uuid.uuid4().hex))
    return identity_of(connection) or ""
