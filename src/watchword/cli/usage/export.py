# SPDX-License-Identifier: Apache-2.0
"""`watchword usage export`: the stored events into a file, from where it was left off.

The note next to the file has the cursor of the last whole page and the size that the file had then; what was
written after it is cut off, so that no event is there twice or in halves.
"""

import os
import sys
from datetime import date
from pathlib import Path
from typing import IO, Any, Final

import click
import msgspec

from watchword.cli.failures import UnusableInput, os_reason, say
from watchword.cli.options import option, output_option
from watchword.cli.usage.dsn import dsn_option, opened
from watchword.cli.usage.files import FORMATS, EventFile, binary, format_of
from watchword.cli.usage.new_file import new_file, refuse_existing
from watchword.usage import Event, UsageStore
from watchword.usage.problems import shown
from watchword.usage.times import TimestampError, day_of_number, parse_date

_PAGE: Final = 5000


class _Progress(msgspec.Struct):
    """How far an export has come: the store's cursor, the bytes and the events that are written, and which
    ones are asked for.
    """

    cursor: str
    size: int
    written: int
    asked: str = ""


class _Asked(msgspec.Struct, frozen=True):
    """Which events are exported: of one account, of the days from `start` up to and without `end`."""

    account: str | None
    start: date | None
    end: date | None

    def has(self, event: Event) -> bool:
        """Whether an event is one of them."""
        day = day_of_number(event.day)
        return (
            (self.account is None or event.account == self.account)
            and (self.start is None or day >= self.start)
            and (self.end is None or day < self.end)
        )

    def __str__(self) -> str:
        flags = (("--account", self.account), ("--from", self.start), ("--to", self.end))
        return " ".join(f"{flag} {value}" for flag, value in flags if value is not None)


@click.command("export")
@click.argument("file", default="-")
@dsn_option
@option(
    "--format", "kind", type=click.Choice(FORMATS), help="The file's format. Default: by the end of its name."
)
@option("--account", help="Only the events of this account.")
@option("--from", "start", metavar="DATE", help="Only events of this UTC day and later ones.")
@option("--to", "end", metavar="DATE", help="Only events of UTC days before this one.")
@option("--force", is_flag=True, help="Start over, and replace FILE if it is there.")
@output_option("text", "json")
def command(
    *,
    file: str,
    usage_dsn: str,
    kind: str | None,
    account: str | None,
    start: str | None,
    end: str | None,
    force: bool,
    output: str,
) -> None:
    """Write all stored events to FILE (by default, to standard output).

    Run it again after it was stopped: it goes on where it was. Parquet has an end, and starts over. A file
    that is there for another reason is not written over. Another store takes events as they come:

    \b
    Examples:
      watchword usage export october.csv --from 2026-10-01 --to 2026-11-01 \\
        --usage-dsn postgresql://watchword@db/usage
      watchword usage export --usage-dsn sqlite:////var/lib/watchword/usage.db \\
        | watchword usage import --usage-dsn postgresql://watchword@db/usage -

    Exit codes: 0 written; 1 the store is away; 2 unusable input.
    """
    kind = format_of(file, kind)
    if kind == "parquet" and file == "-":
        raise UnusableInput("Parquet needs a file.", "Name one, such as events.parquet.")
    asked = _Asked(account, _day("--from", start), _day("--to", end))
    if asked.start is not None and asked.end is not None and asked.start >= asked.end:
        raise UnusableInput(
            f"--to: no day is from {asked.start} on and before {asked.end}.",
            "Give a --to after --from: October is --from 2026-10-01 --to 2026-11-01.",
        )
    hidden = not sys.stderr.isatty() or not sys.stdout.isatty()
    with (
        opened(usage_dsn) as store,
        click.progressbar(length=0, label="Exporting", file=sys.stderr, hidden=hidden, show_pos=True) as bar,
    ):
        if file == "-" or kind == "parquet":
            with new_file(file, force=force) as out:
                written = _write(store, out, kind, asked, bar, begun=_Progress("", 0, 0))
        else:
            written = _resumable(store, file, kind, asked, bar, force=force)
    if file != "-":
        click.echo(f'{{"events":{written}}}' if output == "json" else f"{written} events written to {file}")


def _resumable(store: UsageStore, file: str, kind: str, asked: _Asked, bar: Any, *, force: bool) -> int:
    """Write a format without an end, from where it was left off; how many events the file has then."""
    note = Path(f"{file}.progress")
    begun = None if force else _noted(note)
    if begun is None or not Path(file).exists():
        if begun is None:
            refuse_existing(file, force=force)
        begun = None
        # Written before the file is: what is stopped at any time is known again as half done.
        try:
            _note(note, _Progress("", 0, 0, str(asked)))
        except OSError as error:
            raise UnusableInput(
                f"FILE: {file} cannot be written: {os_reason(error)}.",
                "Name a file in a folder that is there and may be written to.",
            ) from None
    else:
        if begun.asked != str(asked):
            raise UnusableInput(
                f"FILE: {note} is of an export of {begun.asked or 'all events'}, not of "
                f"{str(asked) or 'all events'}.",
                "Give the same flags to go on, name another file, or add --force to start over.",
            )
        if Path(file).stat().st_size < begun.size:
            raise UnusableInput(
                f"FILE: {file} has {Path(file).stat().st_size} bytes, and had {begun.size} before.",
                "Add --force to start over.",
            )
        say(f"Going on after {begun.written} events (as {note} says; --force starts over).")
    with binary(file, "wb" if begun is None else "r+b") as out:
        if begun is not None:
            out.seek(begun.size)
            out.truncate()
        written = _write(store, out, kind, asked, bar, begun=begun or _Progress("", 0, 0), note=note)
    note.unlink(missing_ok=True)
    return written


def _write(
    store: UsageStore,
    out: IO[bytes],
    kind: str,
    asked: _Asked,
    bar: Any,
    *,
    begun: _Progress,
    note: Path | None = None,
) -> int:
    writing = EventFile(out, kind, begun=begun.size > 0)
    cursor, written, more = begun.cursor, begun.written, True
    while more:
        events, cursor = store.events_after(cursor, _PAGE)
        more = bool(cursor)
        mine = [event for event in events if asked.has(event)]
        writing.write(mine)
        written += len(mine)
        bar.update(len(mine))
        if more and note is not None:
            os.fsync(out.fileno())
            _note(note, _Progress(cursor, out.tell(), written, str(asked)))
    writing.close()
    return written


def _day(flag: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return parse_date(text)
    except TimestampError as error:
        raise UnusableInput(
            f"{flag}: {shown(text)}: {error.detail}.", "Give a UTC day as YYYY-MM-DD, from 1970 on."
        ) from None


def _noted(note: Path) -> _Progress | None:
    try:
        return msgspec.json.decode(note.read_bytes(), type=_Progress)
    except (OSError, msgspec.MsgspecError):
        return None


def _note(note: Path, progress: _Progress) -> None:
    new = note.with_name(f"{note.name}.new")
    new.write_bytes(msgspec.json.encode(progress))
    os.replace(new, note)
