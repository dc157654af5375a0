# SPDX-License-Identifier: Apache-2.0
"""A usage report as CSV, JSON, Parquet or a table for the eye, written page by page and never held whole."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final, Protocol

from watchword.cli.failures import UnusableInput
from watchword.cli.plain_text import escaped
from watchword.cli.usage.files import parquet_library
from watchword.usage.meters import plain
from watchword.usage.report import Cell, csv_of

FORMATS: Final = ("table", "csv", "json", "parquet")
_SUFFIXES: Final = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".txt": "table"}
_ROWS_A_GROUP: Final = 20_000


class Writer(Protocol):
    """Writes a report in one format."""

    def write(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Write some rows."""
        ...

    def close(self) -> None:
        """Finish the format's end, where it has one."""
        ...


def format_of(path: str, given: str | None) -> str:
    """Give the format as given, or by the end of the file's name; a table where that says nothing.

    Raises UnusableInput for Parquet without a file, or without pyarrow, before anything is asked.
    """
    found = given or ("table" if path == "-" else _SUFFIXES.get(Path(path).suffix.lower()))
    if found is None:
        raise UnusableInput(
            f"FILE: the format of {path} cannot be told.", f"Say -o {'|'.join(FORMATS)}, or end it in .csv."
        )
    if found == "parquet":
        if path == "-":
            raise UnusableInput("-o parquet needs a file.", "Name one, such as 2026-10.parquet.")
        parquet_library()
    return found


def writer(
    kind: str, file: IO[bytes], names: Sequence[str], head: Mapping[str, object], *, exact_names: bool
) -> Writer:
    """Begin a report with these columns; `head` is what JSON says of the whole."""
    if kind == "csv":
        return _Csv(file, names, exact_names=exact_names)
    if kind == "json":
        return _Json(file, names, head)
    return _Parquet(file, names) if kind == "parquet" else _Table(file, names)


class _Csv:
    def __init__(self, file: IO[bytes], names: Sequence[str], *, exact_names: bool) -> None:
        self._file, self._exact_names = file, exact_names
        file.write(csv_of([names]))

    def write(self, rows: Sequence[Sequence[Cell]]) -> None:
        self._file.write(csv_of(rows, exact_names=self._exact_names))

    def close(self) -> None:
        """CSV has no end."""


class _Json:
    """One document, a row a line. Amounts are texts: most readers of JSON make binary floats of numbers."""

    def __init__(self, file: IO[bytes], names: Sequence[str], head: Mapping[str, object]) -> None:
        self._file, self._names, self._before = file, names, b"\n"
        file.write(json.dumps(head, ensure_ascii=False).encode()[:-1] + b', "rows": [')

    def write(self, rows: Sequence[Sequence[Cell]]) -> None:
        for row in rows:
            cells = [plain(cell) if isinstance(cell, Decimal) else cell for cell in row]
            line = json.dumps(dict(zip(self._names, cells, strict=True)), ensure_ascii=False)
            self._file.write(self._before + line.encode())
            self._before = b",\n"

    def close(self) -> None:
        self._file.write(b"\n]}\n")


class _Parquet:
    """All columns are texts: an amount may have more digits than most readers' decimals."""

    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        import pyarrow

        self._pyarrow: Any = pyarrow
        self._schema = pyarrow.schema([(name, pyarrow.string()) for name in names])
        self._writer = parquet_library().ParquetWriter(file, self._schema)
        self._rows: list[Sequence[Cell]] = []

    def write(self, rows: Sequence[Sequence[Cell]]) -> None:
        self._rows += rows
        if len(self._rows) >= _ROWS_A_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            columns = [
                [plain(cell) if isinstance(cell, Decimal) else cell for cell in column]
                for column in zip(*self._rows, strict=True)
            ]
            self._writer.write_table(self._pyarrow.table(columns, schema=self._schema))
            self._rows = []


class _Table:
    """Columns for the eye; they grow where a later page has a longer text, and never shrink."""

    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        self._file, self._names = file, names
        self._widths = [len(name) for name in names]
        self._is_begun = False

    def write(self, rows: Sequence[Sequence[Cell]]) -> None:
        texts = [[_printable(cell) for cell in row] for row in rows]
        for row in texts:
            self._widths = [max(wide, len(cell)) for wide, cell in zip(self._widths, row, strict=True)]
        if not self._is_begun:
            self._line(self._names, self._names)
            self._is_begun = True
        for row, cells in zip(texts, rows, strict=True):
            self._line(row, cells)

    def close(self) -> None:
        if not self._is_begun:
            self._line(self._names, self._names)

    def _line(self, texts: Sequence[str], cells: Sequence[Cell]) -> None:
        padded = [
            f"{text:>{wide}}" if isinstance(cell, Decimal) or name == "amount" else f"{text:<{wide}}"
            for name, text, cell, wide in zip(self._names, texts, cells, self._widths, strict=True)
        ]
        self._file.write("  ".join(padded).rstrip().encode() + b"\n")


def _printable(cell: Cell) -> str:
    """A cell as it may go to a terminal."""
    if isinstance(cell, Decimal):
        return plain(cell)
    return escaped(cell)
