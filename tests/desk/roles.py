# SPDX-License-Identifier: Apache-2.0
"""Schemas of a real PostgreSQL server, each made by its owner for the role that serves."""

from __future__ import annotations

import itertools
import os

from testing.postgres_server import PostgresServer
from watchword.desk.postgresql import PostgreSQLDeskStore

OWNER, SERVING = "watchword", "desk_serving"
_schemas = itertools.count(1)


def migrated(server: PostgresServer) -> str:
    """The DSN of the serving role for a new schema."""
    schema = f"desk_{os.getpid()}_{next(_schemas)}"
    owner = PostgreSQLDeskStore(server.dsn(schema, OWNER))
    owner.migrate(SERVING)
    owner.close()
    return server.dsn(schema, SERVING)
