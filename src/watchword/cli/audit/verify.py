# SPDX-License-Identifier: Apache-2.0
"""`watchword audit verify`: follow the whole chain, and compare it with a head that was noted elsewhere."""

import sys

import click
import msgspec

from watchword.cli.audit.log import opened, rows_in, rows_of, store_option
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, say
from watchword.cli.options import option, output_option
from watchword.desk.audit_chain import ChainProblem, check_chain, parse_head


@click.command("verify")
@store_option
@option("--file", metavar="FILE", help="Check an exported file instead of a store; `-`: standard input.")
@option(
    "--head",
    metavar="NUMBER:HASH",
    help="A head that was noted before: of the desk's log (`audit head`), of its metrics, or of an earlier "
    "verify. Without it, a log that was cut off or made again from the start looks whole.",
)
@output_option("text", "json")
def command(*, store: str | None, file: str | None, head: str | None, output: str) -> None:
    """Check that no entry of a desk's audit log was changed, added or removed.

    \b
    Examples:
      watchword audit verify --store sqlite:////var/lib/watchword/desk.db
      watchword audit verify --file audit.jsonl --head 1042:9f2c...

    Exit codes: 0 the log is whole; 1 it is not; 2 wrong usage or unusable input.
    """
    noted = None if head is None else parse_head(head)
    if head is not None and noted is None:
        raise UnusableInput("--head is not NUMBER:HASH.", "Copy it from the desk's log or an earlier verify.")
    if (store is None) == (file is None):
        raise click.UsageError("Give either --store or --file.")
    if file is not None:
        found = check_chain(rows_in(file), noted)
    else:
        with opened(store) as desk_store:
            found = check_chain(rows_of(desk_store), noted)
    if isinstance(found, ChainProblem):
        if output == "json":
            click.echo(msgspec.json.encode({"whole": False, "problem": found}).decode())
        else:
            click.echo(f"Entry {found.sequence}: {found.detail}.")
            say(
                "The log is not what the desk wrote. Keep a copy of the database, and compare with an export."
            )
        sys.exit(ANSWER_IS_NO)
    if output == "json":
        click.echo(msgspec.json.encode({"whole": True, "head": str(found)}).decode())
    else:
        click.echo(f"The log is whole: {found.sequence} entries. Head: {found}")
