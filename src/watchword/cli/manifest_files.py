# SPDX-License-Identifier: Apache-2.0
"""A folder of manifests as names and bytes, the way `compile`, `verify` and `dev` all read it.

Sorted by path, so that the same folder gives the same bundle on every machine. Hidden files are left out:
editors keep half-written copies there, and half a manifest must never be trusted.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from watchword.cli.failures import UnusableInput, os_reason

SUFFIXES: Final = (".yaml", ".yml", ".json")
# 10,000 TrustedWorkloads are about 3 MB of YAML; beyond this, a folder is something else than manifests.
MAX_FILE_BYTES: Final = 16 * 1024 * 1024
MAX_FILES: Final = 20_000


def manifest_paths(folder: Path) -> list[Path]:
    """The folder's manifests, sorted; folders inside it included, hidden names not.

    Raises:
        UnusableInput: when the folder cannot be read.
    """
    try:
        found = sorted(_walk(folder))
    except OSError as error:
        raise UnusableInput(
            f"The folder {folder} cannot be read: {os_reason(error)}.", "Name a folder that you may read."
        ) from None
    if len(found) > MAX_FILES:
        raise UnusableInput(
            f"The folder {folder} holds {len(found)} manifests; at most {MAX_FILES} are read.",
            "Name the folder that holds the watchword.dev manifests only.",
        )
    return found


def read_folder(folder: Path) -> list[tuple[str, bytes]]:
    """The name (relative to the folder) and the bytes of each manifest.

    Raises:
        UnusableInput: when the folder holds no manifest, or one that cannot be read or is too large.
    """
    paths = manifest_paths(folder)
    if not paths:
        raise UnusableInput(
            f"The folder {folder} holds no manifest.",
            f"Put files that end in {', '.join(SUFFIXES)} there; manifests/quickstart is an example.",
        )
    files: list[tuple[str, bytes]] = []
    for path in paths:
        name = str(path.relative_to(folder))
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
        files.append((name, data))
    return files


def _walk(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
            elif entry.name.endswith(SUFFIXES) and entry.is_file():
                yield Path(entry.path)
