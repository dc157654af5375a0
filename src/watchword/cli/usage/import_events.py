# SPDX-License-Identifier: Apache-2.0
"""`watchword usage import`: events from a file into a store, from where it was left off.

An event that is there already is a duplicate and counts once, so that running an import twice is safe; the
note of progress next to the file only saves time. So where it is not of this store, or of what the file has
now, it is not believed, and the import begins with the first event.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO, Final, TypeVar

import click
import msgspec

from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, os_reason, say, warn
from watchword.cli.options import option, output_option
from watchword.cli.usage.dsn import dsn_option, missing, opened, refuse_store_file, reported
from watchword.cli.usage.files import FORMATS, Place, format_of, places
from watchword.cli.usage.progress import ImportProgress, forget, new_note_of, note_down, note_of, noted
from watchword.usage import (
    STRUCTURED,
    BodyProblem,
    Event,
    EventProblem,
    Meter,
    Outcome,
    StoreUnavailableError,
    UsageStore,
    parse_events,
)

_SHOWN: Final = 10
_AGAIN: Final = "Delete it to begin with the first event: what is there already counts once."
_TYPED: Final = [(b"content-type", STRUCTURED.encode())]


class _Counts(msgspec.Struct):
    read: int = 0
    stored: int = 0
    duplicates: int = 0
    refused: int = 0
    skipped: int = 0


_T = TypeVar("_T")


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

    Lines of CloudEvents JSON; or CSV or Parquet with the columns id, source, type, subject, and where there
    are any time, data (JSON), data_base64 and extensions (JSON), in any order.
    Run it again after it was stopped: it goes on where it was, and no event counts twice. It goes on only
    with the same file into the same store; else it begins with the first event. A store that is not there is
    made.

    \b
    Example:
      watchword usage import events.ndjson --usage-dsn postgresql://watchword@db/usage

    Exit codes: 0 all are in; 1 some were refused, or the store is away; 2 unusable input.
    """
    kind = format_of(file, kind)
    for name, path in (
        ("FILE", note_of(file)),
        ("FILE", new_note_of(file)),
        *([("--rejects", Path(rejects))] if rejects else []),
    ):
        refuse_store_file(name, path, usage_dsn)
    if rejects and file != "-" and Path(rejects).exists() and Path(rejects).samefile(file):
        raise UnusableInput(f"--rejects: {rejects} is FILE, and is not written over.", "Name another file.")
    _size(file)
    with reported():
        sentence = _patiently(lambda: missing(usage_dsn), wait_seconds)
    if sentence is not None:
        say(f"{sentence[0].upper()}{sentence[1:]}: one is made.")
    with opened(usage_dsn, may_make=True) as store:
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
        skipped = f", {counts.skipped} skipped (done before)" if counts.skipped else ""
        click.echo(
            f"{counts.stored} stored, {counts.duplicates} there already, {counts.refused} refused{skipped}"
        )
    if counts.refused:
        sys.exit(ANSWER_IS_NO)


class _Importing:
    def __init__(self, store: UsageStore, wait_seconds: int, rejects: str | None) -> None:
        self._store, self._wait_seconds = store, wait_seconds
        self._rejects_path = rejects
        self._rejects: IO[bytes] | None = None
        self._meters: list[Meter] | None = None
        self._digest = blake2b(digest_size=20)
        self.counts = _Counts()
        self.said: list[str] = []

    def run(self, file: str, kind: str, batch: int) -> None:
        size = _size(file)
        identity = _patiently(self._store.identity, self._wait_seconds)
        found = places(file, kind)
        if file != "-" and not self._goes_on(file, found, identity, batch):
            self._digest = blake2b(digest_size=20)
            found = places(file, kind)
        self._open_rejects()
        hidden = not sys.stderr.isatty() or not size
        with click.progressbar(length=size, label="Importing", file=sys.stderr, hidden=hidden) as bar:
            position, waiting = 0, []
            for place in found:
                waiting.append(place)
                if len(waiting) == batch:
                    self._send(waiting)
                    bar.update(waiting[-1].read - position)
                    position = waiting[-1].read
                    if file != "-":
                        digest, refused = self._digest.hexdigest(), self.counts.refused
                        note_down(file, ImportProgress(waiting[-1].number, identity, digest, refused))
                    waiting = []
            self._send(waiting)
            bar.update(max(0, size - position))
        if file != "-":
            forget(file)

    def close(self) -> None:
        if self._rejects is not None:
            with suppress(OSError):  # what could not be written was said
                self._rejects.close()

    def _goes_on(self, file: str, found: Iterator[Place], identity: str, batch: int) -> bool:
        """Pass over what a note says is done, if it is of this store and of this file; whether it is."""
        note, noted_before = note_of(file), noted(file, ImportProgress, _AGAIN)
        if noted_before is None:
            return False
        done = noted_before.done
        if noted_before.store != identity:
            other = noted_before.store or "a store that it does not name"
            warn(f"{note} is of an import into {other}, and this is {identity}: beginning with event 1.")
            return False
        last: deque[Place] = deque(maxlen=batch)
        passed = 0
        while passed < done and (place := next(found, None)) is not None:
            self._digest.update(place.line + b"\n")
            last.append(place)
            passed = place.number
        if passed < done:
            raise UnusableInput(f"{note} says that {done} events are done, and {file} has {passed}.", _AGAIN)
        if self._digest.hexdigest() != noted_before.digest:
            warn(
                f"The first {done} events of {file} are not those that {note} is of: beginning with event 1."
            )
            return False
        if not self._are_there(last):
            warn(
                f"{identity} lacks events that {note} says it has (was it restored?): beginning with event 1."
            )
            return False
        self.counts.skipped, self.counts.refused = done, noted_before.refused
        some = f", of which {noted_before.refused} were refused" if noted_before.refused else ""
        say(f"Going on after event {done}{some} (as {note} says; delete it to start over).")
        return True

    def _are_there(self, last: deque[Place]) -> bool:
        """Send the last events again that were done: where one is new, the store is not what it was."""
        now = time.time()
        parsed = [parse_events(place.line, _TYPED, now) for place in last]
        events = [
            msgspec.structs.replace(each[0], index=index)
            for index, each in enumerate(parsed)
            if not isinstance(each, BodyProblem) and isinstance(each[0], Event)
        ]
        stored = sum(outcome.status == "stored" for outcome in self._ingest(events)) if events else 0
        return not stored

    def _open_rejects(self) -> None:
        if self._rejects_path is None:
            return
        try:
            # What an earlier run refused stays there.
            mode = "ab" if self.counts.skipped else "wb"
            self._rejects = Path(self._rejects_path).open(mode)  # noqa: SIM115 - closed by close
        except OSError as error:
            raise _not_written(self._rejects_path, error) from None

    def _send(self, waiting: list[Place]) -> None:
        events: list[Event] = []
        now = time.time()
        for index, place in enumerate(waiting):
            self._digest.update(place.line + b"\n")
            parsed = parse_events(place.line, _TYPED, now)
            if isinstance(parsed, BodyProblem):
                self._refuse(place, parsed.code, parsed.detail)
            elif isinstance(parsed[0], EventProblem):
                self._refuse(place, parsed[0].code, f"{parsed[0].field}: {parsed[0].detail}")
            else:
                events.append(msgspec.structs.replace(parsed[0], index=index))
        self.counts.read += len(waiting)
        for outcome in self._ingest(events) if events else ():
            if outcome.status == "stored":
                self.counts.stored += 1
            elif outcome.status == "duplicate":
                self.counts.duplicates += 1
            elif outcome.problem is not None:
                detail = f"{outcome.problem.field}: {outcome.problem.detail}"
                self._refuse(waiting[outcome.index], outcome.problem.code, detail)
        # Before a note says that they are done.
        self._keep()

    def _ingest(self, events: list[Event]) -> list[Outcome]:
        def ingest() -> list[Outcome]:
            if self._meters is None:
                self._meters = [state.meter for state in self._store.meters()]
            return self._store.ingest(events, self._meters)

        return _patiently(ingest, self._wait_seconds)

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
            self._keep(msgspec.json.encode(found) + b"\n")

    def _keep(self, found: bytes = b"") -> None:
        """Write to the file of what was refused; without more, have all of it there."""
        if self._rejects is None or self._rejects_path is None:
            return
        try:
            self._rejects.write(found)
            if not found:
                self._rejects.flush()
        except OSError as error:
            raise _not_written(self._rejects_path, error) from None


def _patiently(ask: Callable[[], _T], wait_seconds: int) -> _T:
    """Ask a store, again and again while it is away."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return ask()
        except StoreUnavailableError as error:
            if time.monotonic() > deadline:
                say("Run the same command again to go on.")
                raise
            warn(f"{error.detail}; waiting")
            time.sleep(1)


def _not_written(path: str, error: OSError) -> UnusableInput:
    return UnusableInput(
        f"--rejects: {path} cannot be written: {os_reason(error)}.",
        "Name a file in a folder that is there, may be written to and has room; then run this again.",
    )


def _size(file: str) -> int:
    if file == "-":
        return 0
    try:
        return Path(file).stat().st_size
    except OSError:
        raise UnusableInput(f"{file} is not there.", "Give a file that is.") from None
