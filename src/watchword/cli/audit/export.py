# SPDX-License-Identifier: Apache-2.0
"""`watchword audit export`: all entries with their hashes, to keep elsewhere."""

from typing import IO

import click
import msgspec

from watchword.cli.audit.log import opened, rows_of, store_option
from watchword.cli.failures import say
from watchword.cli.options import option


@click.command("export")
@click.argument("file", type=click.File("wb"), default="-")
@store_option
@option("--after", type=click.IntRange(min=0), default=0, show_default=True, help="Only entries behind this.")
def command(*, file: IO[bytes], store: str | None, after: int) -> None:
    """Write all entries of a desk's audit log to FILE (by default, to standard output), as JSON lines.

    Each line has the entry as it was hashed, and its hash: `watchword audit verify --file` checks it without
    the desk.

    \b
    Example:
      watchword audit export --store postgresql://watchword_desk@db/watchword audit.jsonl

    Exit codes: 0 written; 2 wrong usage or unusable input.
    """
    count, last = 0, None
    with opened(store) as desk_store:
        for row in rows_of(desk_store, after):
            file.write(msgspec.json.encode(row) + b"\n")
            count, last = count + 1, row
    head = f"; head {last.sequence}:{last.hash}" if last is not None else ""
    say(f"{count} entries written{head}")
