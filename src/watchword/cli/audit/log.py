# SPDX-License-Identifier: Apache-2.0
"""The log that a `watchword audit` command reads: a desk's store, or a file that was exported from one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click
import msgspec

from watchword.cli.failures import UnusableInput, os_reason
from watchword.cli.options import option
from watchword.desk.audit_chain import AuditRow
from watchword.desk.store import DeskStore, DeskStoreError, open_desk_store

_Command = TypeVar("_Command", bound=Callable[..., Any])
_PAGE: Final = 1000
_decode: Final = msgspec.json.Decoder(AuditRow).decode


def store_option(command: _Command) -> _Command:
    """`--store`: which desk's."""
    return option(
        "--store",
        metavar="DSN",
        help="The desk's store: sqlite:////PATH or postgresql://USER@HOST/DATABASE.",
    )(command)


@contextmanager
def opened(dsn: str | None) -> Iterator[DeskStore]:
    """Open a desk's store for a block, and say its errors as a command does."""
    if dsn is None:
        raise click.UsageError("--store is missing; say which desk's log.")
    path = dsn.removeprefix("sqlite:///")
    if path != dsn:
        _require_file(path)
    try:
        store = open_desk_store(dsn)
    except DeskStoreError as error:
        raise UnusableInput(f"--store: {error.detail}.", f"{error.remedy}.") from None
    try:
        yield store
    except DeskStoreError as error:
        raise UnusableInput(f"--store: {error.detail}.", f"{error.remedy}.") from None
    finally:
        store.close()


def rows_of(store: DeskStore, after: int = 0) -> Iterator[AuditRow]:
    """All entries behind a number, page by page."""
    while page := store.entries_after(after, _PAGE):
        yield from page
        after = page[-1].sequence


def rows_in(path: str) -> Iterator[AuditRow]:
    """The entries of an exported file.

    Raises:
        UnusableInput: it cannot be read, or a line is no entry.
    """
    try:
        with click.open_file(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield _decode(line)
                except (msgspec.MsgspecError, ValueError):
                    raise UnusableInput(
                        f"{path}: line {number} is no exported entry.",
                        "Give a file that `watchword audit export` wrote.",
                    ) from None
    except OSError as error:
        raise UnusableInput(f"{path} cannot be read: {os_reason(error)}.", "Name an exported file.") from None


def _require_file(path: str) -> None:
    # Opening would make a new store, with an empty log that is surely whole.
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise UnusableInput(
            f"--store: {path} cannot be read: {os_reason(error)}.", "Name the file that the desk writes."
        ) from None
