# SPDX-License-Identifier: Apache-2.0
"""Which store a DSN names. A scheme that is not there is refused, never replaced by a default one.

Usage that silently went to a local file because of a typing mistake is gone with the pod. DSNs of servers
hold passwords, so no message repeats more than the scheme. A store's own module, and the driver that it
needs, is imported only when its DSN comes.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Final

from watchword.usage.problems import shown
from watchword.usage.sqlite.store import SQLiteStore
from watchword.usage.store import StoreMissingError, StoreRefusedError, UsageStore

_SERVERS: Final = {
    "postgresql": ("watchword.usage.postgresql", "PostgreSQLStore", "postgresql"),
    "postgres": ("watchword.usage.postgresql", "PostgreSQLStore", "postgresql"),
    "clickhouse": ("watchword.usage.clickhouse", "ClickHouseStore", "clickhouse"),
    "clickhouses": ("watchword.usage.clickhouse", "ClickHouseStore", "clickhouse"),
}
_PREFIX: Final = "sqlite:///"
_REMEDY: Final = (
    "use sqlite:///PATH (sqlite:////var/lib/watchword/usage.db for an absolute path), "
    "postgresql://USER@HOST/DATABASE, or clickhouse://USER@HOST/DATABASE (clickhouses:// with TLS)"
)


_BESIDE: Final = ("", "-wal", "-shm", "-journal")
"""The ends of the names of the files that SQLite keeps for one store."""


def open_store(dsn: str, *, may_make: bool = True) -> UsageStore:
    """Open the store that a DSN names.

    `sqlite:///PATH`: a file; PATH is relative or, with a fourth slash, absolute; `sqlite:///:memory:` keeps
    usage for the life of the process only. `postgresql://USER@HOST/DATABASE`: a server, with the parameters
    of libpq, and `schema=NAME`. `clickhouse://USER@HOST/DATABASE`, `clickhouses://` with TLS: a server, by
    its HTTP interface. Raises StoreRefusedError for anything else, and what opening that store raises.

    Where there is no store yet, one is made; without `may_make`, opening or first using it raises
    StoreMissingError instead, and nothing is made.
    """
    scheme, separator, _ = dsn.partition(":")
    if not separator:
        raise StoreRefusedError("the usage DSN has no scheme", _REMEDY)
    if scheme in _SERVERS:
        return _open_server(dsn, *_SERVERS[scheme], may_make=may_make)
    if scheme != "sqlite":
        raise StoreRefusedError(f"there is no usage store for scheme {shown(scheme)}", _REMEDY)
    path = dsn.removeprefix(_PREFIX)
    if path == dsn or not path or "\0" in path:
        raise StoreRefusedError("the sqlite DSN has no path", _REMEDY)
    if "?" in path or "#" in path:
        raise StoreRefusedError("the sqlite DSN has parameters, and there are none", _REMEDY)
    if not may_make and _is_missing(path):
        raise StoreMissingError(shown(os.path.abspath(path)))
    return SQLiteStore(path)


def files_of(dsn: str) -> tuple[Path, ...]:
    """Give the files that the store of a DSN has on this machine, whether they are there or not."""
    path = dsn.removeprefix(_PREFIX)
    if path in (dsn, "", ":memory:") or "\0" in path:
        return ()
    return tuple(Path(path + end) for end in _BESIDE)


def _is_missing(path: str) -> bool:
    # A file without a byte has no tables yet: opening it would make them.
    try:
        return path == ":memory:" or not os.stat(path).st_size
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        # Opening it says what is wrong with it.
        return False


def _open_server(dsn: str, module: str, name: str, extra: str, *, may_make: bool) -> UsageStore:
    try:
        opener = getattr(import_module(module), name)
    except ImportError as error:
        raise StoreRefusedError(
            f"the driver for {extra} is not installed ({error.name})",
            f"install it: pip install 'watchword[{extra}]'",
        ) from None
    store: UsageStore = opener(dsn, may_make=may_make)
    return store
