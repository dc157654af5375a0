# SPDX-License-Identifier: Apache-2.0
"""`watchword usage import`: events from a file into a store, from where it was left off.

An event that is there already is a duplicate and counts once, so that running an import twice is safe; the
note of progress next to the file only saves time.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, say, warn
from watchword.cli.options import option, output_option
from watchword.cli.usage.dsn import dsn_option, opened
from watchword.cli.usage.files import FORMATS, Place, format_of, places
from watchword.usage import (
    STRUCTURED,
    BodyProblem,
    Event,
    EventProblem,
    Meter,
    StoreUnavailableError,
    UsageStore,
    parse_events,
)

_SHOWN: Final = 10
_TYPED: Final = [(b"content-type", STRUCTURED.encode())]


class _Progress(msgspec.Struct):
    """How far an import of a file has come: the file's size in bytes, and the events that are done."""

    size: int
    done: int


class _Counts(msgspec.Struct):
    read: int = 0
    stored: int = 0
    duplicates: int = 0
    refused: int = 0


@click.command("import")
@click.argument("file")
@dsn_option
@option(
    "--format", "kind", type=click.Choice(FORMATS), help="The file's format. Default: by the end of its name."
)
@option(
    "--batch",
    type=click.IntRange(1, 10_000),
    default=1000,
    show_default=True,
    help="Events in one transaction.",
)
@option(
    "--wait-seconds",
    type=click.IntRange(0),
    default=60,
    show_default=True,
    help="How long to wait for a store that is away.",
)
@option(
    "--rejects",
    type=click.Path(dir_okay=False),
    help="Where to write what was refused, and why, as lines of JSON.",
)
@output_option("text", "json")
def command(
    *,
    file: str,
    usage_dsn: str,
    kind: str | None,
    batch: int,
    wait_seconds: int,
    rejects: str | None,
    output: str,
) -> None:
    """Import the events of FILE into a store (- for standard input).

    Lines of CloudEvents JSON; or CSV or Parquet with columns id, source, type, subject, time and data (JSON).
    Run it again after it was stopped: it goes on where it was, and no event counts twice.

    \b
    Example:
      watchword usage import events.ndjson --usage-dsn postgresql://watchword@db/usage

    Exit codes: 0 all are in; 1 some were refused, or the store is away; 2 unusable input.
    """
    kind = format_of(file, kind)
    with opened(usage_dsn) as store:
        importing = _Importing(store, wait_seconds, rejects)
        try:
            importing.run(file, kind, batch)
        finally:
            importing.close()
            # After the bar, which has its line to itself.
            for sentence in importing.said:
                warn(sentence)
    counts = importing.counts
    if output == "json":
        click.echo(msgspec.json.encode(counts).decode())
    else:
        click.echo(f"{counts.stored} stored, {counts.duplicates} there already, {counts.refused} refused")
    if counts.refused:
        sys.exit(ANSWER_IS_NO)


class _Importing:
    def __init__(self, store: UsageStore, wait_seconds: int, rejects: str | None) -> None:
        self._store, self._wait_seconds = store, wait_seconds
        self._rejects = Path(rejects).open("wb") if rejects else None  # noqa: SIM115 - closed by close
        self._meters: list[Meter] | None = None
        self.counts = _Counts()
        self.said: list[str] = []

    def run(self, file: str, kind: str, batch: int) -> None:
        note = Path(f"{file}.progress")
        size = _size(file)
        done = _noted(note, size) if file != "-" else 0
        if done:
            say(f"Going on after event {done} (as {note} says; delete it to start over).")
        hidden = not sys.stderr.isatty() or not size
        with click.progressbar(length=size, label="Importing", file=sys.stderr, hidden=hidden) as bar:
            position, waiting = 0, []
            for place in places(file, kind, done):
                waiting.append(place)
                if len(waiting) == batch:
                    self._send(waiting)
                    bar.update(waiting[-1].read - position)
                    position = waiting[-1].read
                    if file != "-":
                        _note(note, _Progress(size, waiting[-1].number))
                    waiting = []
            self._send(waiting)
            bar.update(max(0, size - position))
        note.unlink(missing_ok=True)

    def close(self) -> None:
        if self._rejects is not None:
            self._rejects.close()

    def _send(self, waiting: list[Place]) -> None:
        events: list[Event] = []
        now = time.time()
        for index, place in enumerate(waiting):
            parsed = parse_events(place.line, _TYPED, now)
            if isinstance(parsed, BodyProblem):
                self._refuse(place, parsed.code, parsed.detail)
            elif isinstance(parsed[0], EventProblem):
                self._refuse(place, parsed[0].code, f"{parsed[0].field}: {parsed[0].detail}")
            else:
                events.append(msgspec.structs.replace(parsed[0], index=index))
        self.counts.read += len(waiting)
        for outcome in self._patiently(events) if events else ():
            if outcome.status == "stored":
                self.counts.stored += 1
            elif outcome.status == "duplicate":
                self.counts.duplicates += 1
            elif outcome.problem is not None:
                detail = f"{outcome.problem.field}: {outcome.problem.detail}"
                self._refuse(waiting[outcome.index], outcome.problem.code, detail)

    def _patiently(self, events: list[Event]) -> Any:
        deadline = time.monotonic() + self._wait_seconds
        while True:
            try:
                if self._meters is None:
                    self._meters = [state.meter for state in self._store.meters()]
                return self._store.ingest(events, self._meters)
            except StoreUnavailableError as error:
                if time.monotonic() > deadline:
                    say("Run the same command again to go on.")
                    raise
                warn(f"{error.detail}; waiting")
                time.sleep(1)

    def _refuse(self, place: Place, code: str, detail: str) -> None:
        self.counts.refused += 1
        if self.counts.refused <= _SHOWN:
            self.said.append(f"event {place.number}: {code}: {detail}")
        elif self.counts.refused == _SHOWN + 1:
            self.said.append("more are refused; --rejects FILE keeps them all")
        if self._rejects is not None:
            found = {
                "event": place.number,
                "code": code,
                "detail": detail,
                "line": place.line.decode(errors="replace"),
            }
            self._rejects.write(msgspec.json.encode(found) + b"\n")


def _size(file: str) -> int:
    if file == "-":
        return 0
    try:
        return Path(file).stat().st_size
    except OSError:
        raise UnusableInput(f"{file} is not there.", "Give a file that is.") from None


def _noted(note: Path, size: int) -> int:
    try:
        found = msgspec.json.decode(note.read_bytes(), type=_Progress)
    except (OSError, msgspec.MsgspecError):
        return 0
    return found.done if found.size == size else 0


def _note(note: Path, progress: _Progress) -> None:
    new = note.with_name(f"{note.name}.new")
    new.write_bytes(msgspec.json.encode(progress))
    os.replace(new, note)
