# SPDX-License-Identifier: Apache-2.0
"""The desk's store on PostgreSQL, for a desk of several replicas. Imported only when a DSN asks for it."""

from watchword.desk.postgresql.store import PostgreSQLDeskStore

__all__ = ["PostgreSQLDeskStore"]
