# SPDX-License-Identifier: Apache-2.0
"""Bringing the desk's schema up to this version, by its owner; the role that serves is another one.

A role that owns a table can drop its triggers, so the serving role owns none: it is granted what it needs,
and a desk whose role could do more refuses to start.
"""

import time
import uuid
from pathlib import Path
from typing import Final

from psycopg import sql

from watchword.desk.store import DeskStoreRefusedError
from watchword.storage.postgresql import MIGRATIONS_TABLE, Connection, Migrations, Place

_MIGRATIONS: Final = Migrations(Path(__file__).with_name("migrations"), DeskStoreRefusedError)
_READ_AND_ADD: Final = ("identity", "audit")
_READ_ADD_FORGET: Final = ("token", "revocation", "assertion")
_READ_AND_CHANGE: Final = ("agent", "agent_attempt", "agent_person", "agent_use")


def migrate(place: Place, lock: int, serving_role: str) -> None:
    """Make or change the schema as its owner, and grant the serving role what it needs.

    Args:
        place: the desk's own schema, as its owner connects to it; made when it is not there.
        lock: the number of the advisory lock, so that one process at a time does it.
        serving_role: the role that desks connect as; must exist, and be another one.

    Raises:
        DeskStoreRefusedError: a newer Watchword made the schema, or the roles do not fit.
        psycopg.Error: what the server says.
    """
    with place.connect() as connection:
        _require_other_role(connection, serving_role)
        connection.execute("SELECT pg_advisory_lock(%s)", [lock])
        if not _MIGRATIONS.are_applied(connection, place.schema):
            _MIGRATIONS.apply(connection, place)
        _name(connection, place.schema)
        _grant(connection, place.schema, serving_role)


def is_current(connection: Connection, schema: str) -> bool:
    """Whether the schema has this version.

    Raises:
        DeskStoreRefusedError: a newer Watchword made it.
    """
    return _MIGRATIONS.are_applied(connection, schema)


def require_serving_role(connection: Connection, schema: str) -> None:
    """Refuse a role that could change what was written.

    Raises:
        DeskStoreRefusedError: it is a superuser's, or owns the audit log, or may do more than add to it.
    """
    remedy = "run `watchword desk migrate --serving-role NAME` as the owner, and the desk as that role"
    row = connection.execute(
        """SELECT r.rolsuper, pg_has_role(r.oid, c.relowner, 'MEMBER'),
                has_table_privilege(r.oid, c.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
            FROM pg_roles r, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE r.rolname = current_user AND n.nspname = %s AND c.relname = 'audit'""",
        [schema],
    ).fetchone()
    if row is None:
        raise DeskStoreRefusedError(f"the schema {schema} holds no desk's store", remedy)
    is_superuser, owns, may_change = row
    if is_superuser or owns or may_change:
        why = (
            "is a superuser" if is_superuser else "owns the audit log" if owns else "may change the audit log"
        )
        raise DeskStoreRefusedError(f"the role that the desk connects as {why}", remedy)


def _require_other_role(connection: Connection, serving_role: str) -> None:
    row = connection.execute(
        "SELECT rolsuper, rolname = current_user FROM pg_roles WHERE rolname = %s", [serving_role]
    ).fetchone()
    if row is None:
        raise DeskStoreRefusedError(
            f"--serving-role: there is no role {serving_role}", "make it: CREATE ROLE ... LOGIN"
        )
    if any(row):
        raise DeskStoreRefusedError(
            f"--serving-role: {serving_role} {'is a superuser' if row[0] else 'is the owner itself'}",
            "name another role, which owns nothing",
        )


def _name(connection: Connection, schema: str) -> None:
    """Give a new store its id."""
    table = sql.Identifier(schema, "identity")
    statement = sql.SQL("INSERT INTO {} (id, made_at) SELECT %s, %s WHERE NOT EXISTS (SELECT 1 FROM {})")
    connection.execute(statement.format(table, table), [str(uuid.uuid4()), int(time.time())])


def _grant(connection: Connection, schema: str, serving_role: str) -> None:
    role = sql.Identifier(serving_role)
    statements = [sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), role)]
    for rights, tables in (
        ("SELECT", (MIGRATIONS_TABLE,)),
        ("SELECT, INSERT", _READ_AND_ADD),
        ("SELECT, INSERT, DELETE", _READ_ADD_FORGET),
        ("SELECT, INSERT, UPDATE, DELETE", _READ_AND_CHANGE),
    ):
        for table in tables:
            statement = sql.SQL("GRANT {} ON {} TO {}")
            statements.append(statement.format(sql.SQL(rights), sql.Identifier(schema, table), role))
    for each in statements:
        connection.execute(each)
