# SPDX-License-Identifier: Apache-2.0
"""Which store a DSN names. A scheme that is not there is refused, never replaced by a default one.

Usage that silently went to a local file because of a typing mistake is gone with the pod. DSNs of servers
hold passwords, so no message repeats more than the scheme. A store's own module, and the driver that it
needs, is imported only when its DSN comes.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from watchword.usage.problems import shown
from watchword.usage.sqlite.store import SQLiteStore
from watchword.usage.store import StoreRefusedError, UsageStore

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


def open_store(dsn: str) -> UsageStore:
    """Open the store that a DSN names.

    `sqlite:///PATH`: a file; PATH is relative or, with a fourth slash, absolute; `sqlite:///:memory:` keeps
    usage for the life of the process only. `postgresql://USER@HOST/DATABASE`: a server, with the parameters
    of libpq, and `schema=NAME`. `clickhouse://USER@HOST/DATABASE`, `clickhouses://` with TLS: a server, by
    its HTTP interface. Raises StoreRefusedError for anything else, and what opening that store raises.
    """
    scheme, separator, _ = dsn.partition(":")
    if not separator:
        raise StoreRefusedError("the usage DSN has no scheme", _REMEDY)
    if scheme in _SERVERS:
        return _open_server(dsn, *_SERVERS[scheme])
    if scheme != "sqlite":
        raise StoreRefusedError(f"there is no usage store for scheme {shown(scheme)}", _REMEDY)
    path = dsn.removeprefix(_PREFIX)
    if path == dsn or not path or "\0" in path:
        raise StoreRefusedError("the sqlite DSN has no path", _REMEDY)
    if "?" in path or "#" in path:
        raise StoreRefusedError("the sqlite DSN has parameters, and there are none", _REMEDY)
    return SQLiteStore(path)


def _open_server(dsn: str, module: str, name: str, extra: str) -> UsageStore:
    try:
        opener = getattr(import_module(module), name)
    except ImportError as error:
        raise StoreRefusedError(
            f"the driver for {extra} is not installed ({error.name})",
            f"install it: pip install 'watchword[{extra}]'",
        ) from None
    store: UsageStore = opener(dsn)
    return store
