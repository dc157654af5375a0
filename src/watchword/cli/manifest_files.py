# SPDX-License-Identifier: Apache-2.0
"""A folder of manifests as names and bytes, the way `lint`, `diff`, `compile`, `verify` and `dev` read it.

Every file that `kubectl apply -R -f DIR` would take is read, those with a hidden name among them: what is
passed over here and applied there would be trust that no review has seen. A file that cannot be read is an
error for the same reason. Sorted by path, so that the same folder gives the same bundle on every machine.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from watchword.cli.failures import UnusableInput, os_reason

# As kubectl compares them: with their case, and `.yaml` is a file's whole name too.
SUFFIXES: Final = (".yaml", ".yml", ".json")
# 10,000 TrustedWorkloads are about 3 MB of YAML; beyond this, a folder is something else than manifests.
MAX_FILE_BYTES: Final = 16 * 1024 * 1024
MAX_FILES: Final = 20_000
_REPOSITORY: Final = ".git"
# What git keeps of a branch whose name ends like a manifest's. Each line begins with an object's name, so
# that no YAML in it has a `kind`.
_OF_GIT: Final = re.compile(rb"(?:[0-9a-f]{40,64}(?: [^\r\n]*)?\n?)*")


def manifest_paths(folder: Path, *, skips_hidden: bool = False) -> list[Path]:
    """The folder's manifests, sorted; those of the folders inside it included.

    Links to files are followed and links to folders are not, as kubectl does.

    Args:
        folder: the folder.
        skips_hidden: leave out files and folders whose names begin with a dot: for a folder that someone
            edits, and of which nothing is applied. Editors keep half-written copies there.

    Raises:
        UnusableInput: when the folder cannot be read, or something in it is named like a manifest and is no
            file.
    """
    try:
        found = sorted(_walk(folder, skips_hidden=skips_hidden))
    except OSError as error:
        raise UnusableInput(
            f"The folder {folder} cannot be read: {os_reason(error)}.", "Name a folder that you may read."
        ) from None
    if len(found) > MAX_FILES:
        raise UnusableInput(
            f"The folder {folder} holds {len(found)} manifests; at most {MAX_FILES} are read.",
            "Name the folder that holds the watchword.dev manifests only.",
        )
    for path in found:
        # Opening a pipe would wait for ever.
        if not path.is_file():
            raise UnusableInput(
                f"{path.relative_to(folder)} is named like a manifest and is no file, or a link to none.",
                "Remove it, or give it another name: kubectl does not read it either.",
            )
    return found


def read_folder(folder: Path, *, skips_hidden: bool = False) -> list[tuple[str, bytes]]:
    """The name (relative to the folder) and the bytes of each manifest.

    Args:
        folder: the folder.
        skips_hidden: as `manifest_paths` takes it.

    Raises:
        UnusableInput: when the folder holds no manifest, or one that cannot be read or is too large.
    """
    paths = manifest_paths(folder, skips_hidden=skips_hidden)
    files: list[tuple[str, bytes]] = []
    for path in paths:
        relative = path.relative_to(folder)
        name = str(relative)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise UnusableInput(
                f"The manifest {name} cannot be read: {os_reason(error)}.",
                "Make it readable, or move it away.",
            ) from None
        if len(data) > MAX_FILE_BYTES:
            raise UnusableInput(
                f"The manifest {name} is larger than {MAX_FILE_BYTES} bytes.", "Split it into several files."
            )
        if _REPOSITORY not in relative.parts or not _OF_GIT.fullmatch(data):
            files.append((name, data))
    if not files:
        raise UnusableInput(
            f"The folder {folder} holds no manifest.",
            f"Put files that end in {', '.join(SUFFIXES)} there; manifests/quickstart is an example.",
        )
    return files


def _walk(folder: Path, *, skips_hidden: bool) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if skips_hidden and entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), skips_hidden=skips_hidden)
            elif entry.name.endswith(SUFFIXES):
                yield Path(entry.path)
