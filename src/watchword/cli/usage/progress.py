# SPDX-License-Identifier: Apache-2.0
"""How far an import or an export has come, in a note next to its file.

A note says of which store and of which content it is. One that is believed of another store leaves events out
and looks as if all went well.
"""

import os
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from watchword.cli.failures import UnusableInput, os_reason

Count = Annotated[int, msgspec.Meta(ge=0)]


class ImportProgress(msgspec.Struct):
    """How far an import has come.

    Attributes:
        done: how many events of the file are done.
        store: which store they went to, as `UsageStore.identity` tells it.
        digest: of the lines of those events.
        refused: how many of them were refused.
    """

    done: Count
    store: str = ""
    digest: str = ""
    refused: Count = 0


class ExportProgress(msgspec.Struct):
    """How far an export has come.

    Attributes:
        cursor: where the store goes on.
        size: how many bytes are written.
        written: how many events are.
        asked: which events are asked for, as flags.
        store: which store they come from, as `UsageStore.identity` tells it.
        kind: the format.
        digest: of what is written.
    """

    cursor: str
    size: Count
    written: Count
    asked: str = ""
    store: str = ""
    kind: str = ""
    digest: str = ""


_Progress = TypeVar("_Progress", ImportProgress, ExportProgress)


def note_of(file: str) -> Path:
    """Give the path of a file's note."""
    return Path(f"{file}.progress")


def new_note_of(file: str) -> Path:
    """Give the path that a file's note has until it is complete."""
    return Path(f"{file}.progress.new")


def noted(file: str, kind: type[_Progress], remedy: str) -> _Progress | None:
    """Read a file's note; None where there is none.

    Raises:
        UnusableInput: it is none of this kind; with this remedy.
    """
    note = note_of(file)
    try:
        return msgspec.json.decode(note.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnusableInput(f"{note} cannot be read: {os_reason(error)}.", remedy) from None
    except msgspec.MsgspecError as error:
        raise UnusableInput(f"{note} is no note of how far this came: {error}.", remedy) from None


def note_down(file: str, progress: ImportProgress | ExportProgress) -> None:
    """Write a file's note, whole.

    Raises:
        UnusableInput: it cannot be written.
    """
    try:
        new_note_of(file).write_bytes(msgspec.json.encode(progress))
        os.replace(new_note_of(file), note_of(file))
    except OSError as error:
        raise UnusableInput(
            f"FILE: {note_of(file)} cannot be written: {os_reason(error)}.",
            "Have the file in a folder that is there, may be written to and has room; then run this again.",
        ) from None


def forget(file: str) -> None:
    """Remove a file's note: all is done."""
    note_of(file).unlink(missing_ok=True)
