# SPDX-License-Identifier: Apache-2.0
"""`watchword usage export`: the stored events into a file, from where it was left off.

The note beside the file has the cursor of the last whole page and the size that the file had then; what was
written after it is cut off, so that no event is there twice or in halves.
"""

import os
import sys
from pathlib import Path
from typing import Final

import click
import msgspec

from watchword.cli.failures import UnusableInput, say
from watchword.cli.options import option, output_option
from watchword.cli.usage_dsn import dsn_option, opened
from watchword.cli.usage_files import FORMATS, EventFile, binary, format_of

_PAGE: Final = 5000


class _Progress(msgspec.Struct):
    """How far an export has come: the store's cursor, the bytes and the events that are written."""

    cursor: str
    size: int
    written: int


@click.command("export")
@click.argument("file", default="-")
@dsn_option
@option(
    "--format", "kind", type=click.Choice(FORMATS), help="The file's format. Default: by the end of its name."
)
@option("--account", help="Only the events of this account.")
@output_option("text", "json")
def command(*, file: str, usage_dsn: str, kind: str | None, account: str | None, output: str) -> None:
    """Write all stored events to FILE (by default, to standard output).

    Run it again after it was stopped: it goes on where it was. Parquet has an end, and begins anew. Another
    store takes events as they come:

    \b
    Example:
      watchword usage export --usage-dsn sqlite:////var/lib/watchword/usage.db \\
        | watchword usage import --usage-dsn postgresql://watchword@db/usage -

    Exit codes: 0 written; 1 the store is away; 2 unusable input.
    """
    kind = format_of(file, kind)
    if kind == "parquet" and file == "-":
        raise UnusableInput("Parquet needs a file.", "Name one, such as events.parquet.")
    note = Path(f"{file}.progress")
    progress = _noted(note) if file != "-" and kind != "parquet" else None
    start = progress or _Progress("", 0, 0)
    if progress is not None:
        say(f"Going on after {progress.written} events (as {note} says; delete it to begin anew).")
    hidden = not sys.stderr.isatty() or not sys.stdout.isatty()
    with (
        opened(usage_dsn) as store,
        binary(file, "r+b" if progress else "wb") as out,
        click.progressbar(length=0, label="Exporting", file=sys.stderr, hidden=hidden, show_pos=True) as bar,
    ):
        if progress is not None:
            out.seek(progress.size)
            out.truncate()
        writing = EventFile(out, kind, begun=progress is not None)
        cursor, written, more = start.cursor, start.written, True
        while more:
            events, cursor = store.events_after(cursor, _PAGE)
            more = bool(cursor)
            mine = [event for event in events if account is None or event.account == account]
            writing.write(mine)
            written += len(mine)
            bar.update(len(mine))
            if more and file != "-" and kind != "parquet":
                os.fsync(out.fileno())
                _note(note, _Progress(cursor, out.tell(), written))
        writing.close()
    note.unlink(missing_ok=True)
    if file != "-":
        click.echo(f'{{"events":{written}}}' if output == "json" else f"{written} events written to {file}")


def _noted(note: Path) -> _Progress | None:
    try:
        return msgspec.json.decode(note.read_bytes(), type=_Progress)
    except (OSError, msgspec.MsgspecError):
        return None


def _note(note: Path, progress: _Progress) -> None:
    new = note.with_name(f"{note.name}.new")
    new.write_bytes(msgspec.json.encode(progress))
    os.replace(new, note)
