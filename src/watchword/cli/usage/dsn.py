# SPDX-License-Identifier: Apache-2.0
"""The store that a `watchword usage` command works on, and what its errors mean at a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from watchword.cli.failures import UnusableInput
from watchword.cli.options import option
from watchword.usage import MetersChangedError, StoreError, StoreRefusedError, UsageStore, open_store

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
def opened(dsn: str) -> Iterator[UsageStore]:
    """Open a store for a block, and say its errors as a command does."""
    try:
        store = open_store(dsn)
    except StoreError as error:
        raise UnusableInput(f"--usage-dsn: {error.detail}.", f"{error.remedy}.") from None
    try:
        yield store
    except (StoreRefusedError, MetersChangedError) as error:
        raise UnusableInput(f"{error.detail}.", f"{error.remedy}.") from None
    except StoreError as error:
        raise StoreFailed(error) from None
    finally:
        store.close()
