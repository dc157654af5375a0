# SPDX-License-Identifier: Apache-2.0
"""Files of events: lines of JSON, CSV and Parquet, read one after the other and never whole.

Each event has a number in its file, from 1: a file of ten million is of no use without saying which one was
wrong.
"""

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from watchword.cli.failures import UnusableInput
from watchword.trust.text_encoding import TextEncodingError, as_utf8
from watchword.usage import Event
from watchword.usage.problems import shown
from watchword.usage.transfer import COLUMNS, line_of, line_of_row, row_of

FORMATS: Final = ("ndjson", "csv", "parquet")
_SUFFIXES: Final = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
}


# As many bytes as tell an encoding.
_LOOKED_AT: Final = 64
_READ_AT_ONCE: Final = 2**20
_DELIMITERS: Final = (",", ";", "\t")
_NEEDED: Final = {"id", "source", "type", "subject"}


class Place(msgspec.Struct, frozen=True):
    """One event of a file: its number from 1, its line of JSON, and how many bytes of the file are read."""

    number: int
    line: bytes
    read: int


def format_of(path: str, given: str | None) -> str:
    """The format of a file, as given or by the end of its name. Raises UnusableInput."""
    if given is not None:
        return given
    if path == "-":
        return "ndjson"
    found = _SUFFIXES.get(Path(path).suffix.lower())
    if found is None:
        raise UnusableInput(f"The format of {path} cannot be told.", f"Say --format {'|'.join(FORMATS)}.")
    return found


def places(path: str, kind: str, skip: int = 0) -> Iterator[Place]:
    """Read the events of a file; `-` is standard input. The first `skip` of them are passed over."""
    found = {"ndjson": _lines, "csv": _csv, "parquet": _parquet}[kind](path)
    return (place for place in found if place.number > skip)


@contextmanager
def binary(path: str, mode: str = "rb") -> Iterator[IO[bytes]]:
    """Open a file, or standard input or output for `-`."""
    if path == "-":
        yield sys.stdin.buffer if "r" in mode else sys.stdout.buffer
        return
    try:
        with Path(path).open(mode) as file:
            yield file
    except OSError as error:
        raise UnusableInput(
            f"{path}: {(error.strerror or 'cannot be opened').lower()}.", "Give another file."
        ) from None


def _past_the_mark(file: IO[bytes], path: str) -> int:
    """Step over a byte order mark, as Windows editors and Excel write it; returns how many bytes it has.

    Raises:
        UnusableInput: the file is UTF-16 or UTF-32.
    """
    start = file.peek(_LOOKED_AT)[:_LOOKED_AT] if isinstance(file, io.BufferedReader) else b""
    try:
        # Only its beginning: whether all of it is UTF-8 is found where it is read.
        rest = as_utf8(start)
    except TextEncodingError as error:
        if "UTF-8 is read" in error.detail:
            name = "Standard input" if path == "-" else path
            raise UnusableInput(f"{name}: {error.detail}.", f"{error.remedy}.") from None
        return 0
    return len(file.read(len(start) - len(rest)))


def _lines(path: str) -> Iterator[Place]:
    number = 0
    with binary(path) as file:
        read = _past_the_mark(file, path)
        for line in file:
            read += len(line)
            if text := line.strip():
                number += 1
                yield Place(number, text, read)


def _csv(path: str) -> Iterator[Place]:
    csv.field_size_limit(2**24)
    with binary(path) as file:
        _past_the_mark(file, path)
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        try:
            names, delimiter = _header(text.readline(), text)
            if missing := _NEEDED - set(names):
                raise UnusableInput(
                    f"{path} is no CSV of events: its header lacks {', '.join(sorted(missing))}.",
                    f"Give it a first line with the columns {', '.join(COLUMNS)}.",
                )
            _require_names_once(path, names)
            reader = csv.DictReader(text, names, delimiter=delimiter)
            for number, row in enumerate(reader, 1):
                if None in row:
                    raise UnusableInput(
                        f"{path}: row {number} has more fields than the header.", "Quote fields with commas."
                    )
                yield Place(number, line_of_row(row), file.tell() if path != "-" else 0)
        except UnicodeDecodeError:
            raise UnusableInput(f"{path} is not UTF-8.", "Save it as UTF-8.") from None
        except csv.Error as error:
            raise UnusableInput(f"{path} is not CSV: {error}.", "Write it as RFC 4180 says.") from None
        finally:
            text.detach()


def _require_names_once(path: str, names: Sequence[str]) -> None:
    """Raise UnusableInput where two columns have one name: of each row only the last one would be read."""
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise UnusableInput(
            f"{path} has two columns of the name {shown(twice[0])}.",
            "Give each column a name of its own, or take one away.",
        )


def _header(first: str, text: IO[str]) -> tuple[list[str], str]:
    """The names of the columns and what separates them: where commas are decimal points, Excel writes `;`."""
    line, delimiters = first, list(_DELIMITERS)
    if first.startswith("sep=") and len(first.rstrip("\r\n")) == len("sep=;"):
        # Excel's own first line, which says so outright.
        line, delimiters = text.readline(), [first[4]]
    read = [(next(csv.reader([line], delimiter=each), []), each) for each in delimiters]
    return next((found for found in read if set(found[0]) >= _NEEDED), read[0])


def _parquet(path: str) -> Iterator[Place]:
    parquet = parquet_library()
    with binary(path) as file:
        try:
            opened = parquet.ParquetFile(file)
            _require_names_once(path, opened.schema_arrow.names)
            rows, size = opened.metadata.num_rows or 1, Path(path).stat().st_size
            number = 0
            for batch in opened.iter_batches(1000):
                for row in batch.to_pylist():
                    number += 1
                    yield Place(
                        number, line_of_row({k: _text(v) for k, v in row.items()}), size * number // rows
                    )
        except (OSError, ValueError) as error:
            raise UnusableInput(f"{path} is not Parquet: {str(error)[:80]}.", "Give another file.") from None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    iso = getattr(value, "isoformat", None)
    return str(iso()) if iso is not None else str(value)


def parquet_library() -> Any:
    """Import pyarrow.parquet. Raises UnusableInput when it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise UnusableInput(
            "Parquet needs pyarrow, which is not installed.", "Run: pip install 'watchword[parquet]'"
        ) from None
    return pyarrow.parquet


class EventFile:
    """A file of events that is written, page by page."""

    def __init__(self, file: IO[bytes], kind: str, *, begun: int = 0) -> None:
        """Write to an open file; its first `begun` bytes were written by an earlier run, and are read."""
        self._file, self._kind = file, kind
        # Of all that the file has; not kept of Parquet, which has no half done files.
        self._digest = blake2b(digest_size=20)
        left = begun
        while left and (part := file.read(min(left, _READ_AT_ONCE))):
            self._digest.update(part)
            left -= len(part)
        self._parquet: Any = None
        if kind == "csv" and not begun:
            self._csv([COLUMNS])

    def write(self, events: list[Event]) -> None:
        """Write a page of events."""
        if self._kind == "ndjson":
            self._put(b"".join(line_of(event) + b"\n" for event in events))
        elif self._kind == "csv":
            self._csv([row_of(event) for event in events])
        else:
            self._table([row_of(event) for event in events])
        self._file.flush()

    @property
    def digest(self) -> str:
        """Of all that the file has."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Finish a format that has an end."""
        if self._kind == "parquet":
            self._table([])
            self._parquet.close()

    def _csv(self, rows: Sequence[Sequence[str | None]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._put(text.getvalue().encode())

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)

    def _table(self, rows: list[tuple[str | None, ...]]) -> None:
        import pyarrow

        schema = pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS])
        if self._parquet is None:
            self._parquet = parquet_library().ParquetWriter(self._file, schema)
        if rows:
            columns = [list(column) for column in zip(*rows, strict=True)]
            self._parquet.write_table(pyarrow.table(columns, schema=schema))
