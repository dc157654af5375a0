# SPDX-License-Identifier: Apache-2.0
"""The desk's store in one SQLite file: for a desk of one replica."""

from watchword.desk.sqlite.store import SQLiteDeskStore

__all__ = ["SQLiteDeskStore"]
