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


def identity_of(connection: sqlite3.Connection) -> str:
    """Tell which store this is; the number is made when it is first asked for. The caller may write."""
    connection.execute(_KEEP, (_IDENTITY, uuid.uuid4().hex))
    (number,) = connection.execute(_KEPT, (_IDENTITY,)).fetchone()
    (place,) = (file for _, name, file in connection.execute("PRAGMA database_list") if name == "main")
    return f"the SQLite file {os.path.realpath(place) if place else ':memory:'} ({number})"
