# SPDX-License-Identifier: Apache-2.0
"""`watchword usage export`: the stored events into a file, from where it was left off.

The note next to the file has the cursor of the last whole page and the size that the file had then; what was
written after it is cut off, so that no event is there twice or in halves. It also has the store, the format
and what was asked for: with another one of these, the file would be neither the one nor the other.
"""

import os
import sys
from datetime import date
from pathlib import Path
from typing import IO, Any, Final

import click
import msgspec

from watchword.cli.failures import UnusableInput, say
from watchword.cli.options import option, output_option
from watchword.cli.usage.dsn import dsn_option, opened, refuse_store_file
from watchword.cli.usage.files import FORMATS, EventFile, binary, format_of
from watchword.cli.usage.new_file import new_file, refuse_existing
from watchword.cli.usage.progress import ExportProgress, forget, new_note_of, note_down, note_of, noted
from watchword.usage import Event, UsageStore
from watchword.usage.problems import shown
from watchword.usage.times import TimestampError, day_of_number, parse_date

_PAGE: Final = 5000
_START_OVER: Final = "Add --force to start over."


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

    Run it again after it was stopped: it goes on where it was, from the same store in the same format.
    Parquet has an end, and starts over. A file that is there for another reason is not written over. Another
    store takes events as they come:

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
    for path in (file, note_of(file), new_note_of(file)) if file != "-" else ():
        refuse_store_file("FILE", path, usage_dsn)
    hidden = not sys.stderr.isatty() or not sys.stdout.isatty()
    with (
        opened(usage_dsn) as store,
        click.progressbar(length=0, label="Exporting", file=sys.stderr, hidden=hidden, show_pos=True) as bar,
    ):
        if file == "-" or kind == "parquet":
            with new_file(file, force=force) as out:
                nothing = ExportProgress("", 0, 0)
                written = _write(store, out, EventFile(out, kind), asked, bar, begun=nothing)
        else:
            written = _resumable(store, file, kind, asked, bar, force=force)
    if file != "-":
        click.echo(f'{{"events":{written}}}' if output == "json" else f"{written} events written to {file}")


def _resumable(store: UsageStore, file: str, kind: str, asked: _Asked, bar: Any, *, force: bool) -> int:
    """Write a format without an end, from where it was left off; how many events the file has then."""
    nothing = ExportProgress("", 0, 0, str(asked), store.identity(), kind)
    begun = None if force else noted(file, ExportProgress, _START_OVER)
    if begun is None:
        refuse_existing(file, force=force)
    elif Path(file).exists():
        _require_same(file, begun, nothing)
    else:
        begun = None
    if begun is None:
        # Written before the file is: what is stopped at any time is known again as half done.
        note_down(file, nothing)
    size = begun.size if begun is not None else 0
    with binary(file, "r+b" if size else "wb") as out:
        writing = EventFile(out, kind, begun=size)
        if begun is not None:
            if size and writing.digest != begun.digest:
                raise UnusableInput(
                    f"FILE: the first {begun.size} bytes of {file} are not those that were written to it.",
                    f"Name another file. {_START_OVER}",
                )
            say(f"Going on after {begun.written} events (as {note_of(file)} says; --force starts over).")
            if size:
                out.seek(size)
                out.truncate()
        written = _write(store, out, writing, asked, bar, begun=begun or nothing, file=file)
    forget(file)
    return written


def _require_same(file: str, begun: ExportProgress, now: ExportProgress) -> None:
    """Raise UnusableInput unless what was begun is what is asked for now."""
    for before, is_now in (
        (begun.asked or "all events", now.asked or "all events"),
        (begun.kind or "a format that it does not name", now.kind),
        (begun.store or "a store that it does not name", now.store),
    ):
        if before != is_now:
            raise UnusableInput(
                f"FILE: {note_of(file)} is of an export of {before}, not of {is_now}.",
                f"Give the same store, format and flags to go on, or name another file. {_START_OVER}",
            )
    size = Path(file).stat().st_size
    if size < begun.size:
        raise UnusableInput(f"FILE: {file} has {size} bytes, and had {begun.size} before.", _START_OVER)


def _write(
    store: UsageStore,
    out: IO[bytes],
    writing: EventFile,
    asked: _Asked,
    bar: Any,
    *,
    begun: ExportProgress,
    file: str | None = None,
) -> int:
    cursor, written, more = begun.cursor, begun.written, True
    while more:
        events, cursor = store.events_after(cursor, _PAGE)
        more = bool(cursor)
        mine = [event for event in events if asked.has(event)]
        writing.write(mine)
        written += len(mine)
        bar.update(len(mine))
        if more and file is not None:
            os.fsync(out.fileno())
            note_down(
                file,
                msgspec.structs.replace(
                    begun, cursor=cursor, size=out.tell(), written=written, digest=writing.digest
                ),
            )
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
