# SPDX-License-Identifier: Apache-2.0
"""The store that a `watchword usage` command works on, and what its errors mean at a terminal."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from watchword.cli.failures import UnusableInput
from watchword.cli.options import option
from watchword.usage import (
    MetersChangedError,
    StoreError,
    StoreMissingError,
    StoreRefusedError,
    UsageStore,
    files_of,
    open_store,
)

_Command = TypeVar("_Command", bound=Callable[..., Any])


class StoreFailed(click.ClickException):
    """The store did not do it; the same command may succeed later. Exits with 1."""

    def __init__(self, error: StoreError) -> None:
        super().__init__(f"{error.detail}.\nRemedy: {error.remedy}.")


def dsn_option(command: _Command, *, required: bool = True) -> _Command:
    """`--usage-dsn`: which store."""
    return option(
        "--usage-dsn",
        "usage_dsn",
        metavar="DSN",
        required=required,
        help="The store: sqlite:////PATH, postgresql://USER@HOST/DATABASE or clickhouse://USER@HOST/DATABASE.",
    )(command)


@contextmanager
def opened(dsn: str, *, may_make: bool = False) -> Iterator[UsageStore]:
    """Open a store for a block, and say its errors as a command does.

    A store that is not there is refused, and not made, unless it `may_make` one: who mistypes a DSN would
    read of an empty store that all is well.
    """
    try:
        store = open_store(dsn, may_make=may_make)
    except StoreError as error:
        raise UnusableInput(f"--usage-dsn: {error.detail}.", f"{error.remedy}.") from None
    try:
        with reported():
            yield store
    finally:
        store.close()


@contextmanager
def reported() -> Iterator[None]:
    """Say a store's errors in the block as a command does."""
    try:
        yield
    except StoreMissingError as error:
        raise UnusableInput(f"--usage-dsn: {error.detail}.", f"{error.remedy}.") from None
    except (StoreRefusedError, MetersChangedError) as error:
        raise UnusableInput(f"{error.detail}.", f"{error.remedy}.") from None
    except StoreError as error:
        raise StoreFailed(error) from None


def missing(dsn: str) -> str | None:
    """Say that there is no store at a DSN yet, without making one; None where there is.

    Raises:
        StoreError: it cannot be told now.
    """
    try:
        with closing(open_store(dsn, may_make=False)) as store:
            store.meters()
    except StoreMissingError as error:
        return error.detail
    return None


def refuse_store_file(name: str, path: str | Path, dsn: str | None) -> None:
    """Refuse to write to a file that a store has, under whatever name. Raises UnusableInput.

    Args:
        name: what the path is to the command: a flag or an argument.
        path: where the command is to write.
        dsn: the store.
    """
    if dsn is not None and any(_is_same(Path(path), file) for file in files_of(dsn)):
        raise UnusableInput(
            f"{name}: {path} is the store's own file ({files_of(dsn)[0]}), and is not written over.",
            "Name another file.",
        )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        # One of them is not there: it may come, and then have the same name.
        return os.path.realpath(one) == os.path.realpath(other)
