# SPDX-License-Identifier: Apache-2.0
"""`watchword desk migrate`: the desk's schema on PostgreSQL, made by its owner for the role that serves."""

import click

from watchword.cli.failures import UnusableInput, say
from watchword.cli.options import option


@click.command("migrate")
@option(
    "--store",
    required=True,
    metavar="DSN",
    help="The database as the owner of the schema: postgresql://OWNER@HOST/DATABASE.",
)
@option("--serving-role", required=True, metavar="ROLE", help="The role that desks connect as.")
def command(*, store: str, serving_role: str) -> None:
    """Make or change the desk's schema on PostgreSQL, and grant the serving role what it needs.

    The serving role owns no table: it may add to the audit log and read it, and nothing else. A desk whose
    role could do more refuses to start. SQLite needs no migration by hand.

    \b
    Example:
      psql -c "CREATE ROLE watchword_desk LOGIN"
      watchword desk migrate --store postgresql://owner@db/watchword --serving-role watchword_desk

    Exit codes: 0 done; 2 wrong usage, or the database cannot be used.
    """
    from watchword.desk.postgresql import PostgreSQLDeskStore
    from watchword.desk.store import DeskStoreError

    if not store.startswith(("postgresql://", "postgres://")):
        raise UnusableInput("--store names no PostgreSQL database.", "Use postgresql://OWNER@HOST/DATABASE.")
    try:
        desk_store = PostgreSQLDeskStore(store)
        desk_store.migrate(serving_role)
        desk_store.close()
    except DeskStoreError as error:
        raise UnusableInput(f"--store: {error.detail}.", f"{error.remedy}.") from None
    say(f"The schema {desk_store.schema} is up to date; {serving_role} may serve it.")
