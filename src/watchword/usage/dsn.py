# SPDX-License-Identifier: Apache-2.0
"""Which store a DSN names. A scheme that is not there is refused, never replaced by a default one.

Usage that silently went to a local file because of a typing mistake is gone with the pod. DSNs of servers
hold passwords, so no message repeats more than the scheme.
"""

from __future__ import annotations

from typing import Final

from watchword.usage.problems import shown
from watchword.usage.sqlite import SQLiteStore
from watchword.usage.store import StoreRefused, UsageStore

_LATER: Final = ("postgresql", "postgres", "clickhouse", "clickhouses")
_PREFIX: Final = "sqlite:///"
_REMEDY: Final = "use sqlite:///PATH (sqlite:////var/lib/watchword/usage.db for an absolute path)"


def open_store(dsn: str) -> UsageStore:
    """Open the store that a DSN names: `sqlite:///PATH`, where PATH is relative or, with a fourth slash,
    absolute.

    `sqlite:///:memory:` keeps usage for the life of the process only. Raises StoreRefused for anything else,
    and what opening that store raises.
    """
    scheme, separator, _ = dsn.partition(":")
    if not separator:
        raise StoreRefused("the usage DSN has no scheme", _REMEDY)
    if scheme.partition("+")[0].lower() in _LATER:
        raise StoreRefused(f"{scheme.lower()} stores come in a later version", _REMEDY)
    if scheme != "sqlite":
        raise StoreRefused(f"there is no usage store for scheme {shown(scheme)}", _REMEDY)
    path = dsn.removeprefix(_PREFIX)
    if path == dsn or not path or "\0" in path:
        raise StoreRefused("the sqlite DSN has no path", _REMEDY)
    if "?" in path or "#" in path:
        raise StoreRefused("the sqlite DSN has parameters, and there are none", _REMEDY)
    return SQLiteStore(path)
