# SPDX-License-Identifier: Apache-2.0
"""The usage store on a PostgreSQL server, for gates with several replicas and usage beyond one file.

Imported only when a DSN asks for it: a gate on SQLite must not pay for a driver that it never uses.
"""

from watchword.usage.postgresql.store import PostgreSQLStore

__all__ = ["PostgreSQLStore"]
