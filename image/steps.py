# SPDX-License-Identifier: Apache-2.0
"""A root file system that grows step by step, and the layer of what each step added.

A step may only add: what one layer holds, a later one could only hide, and everyone would pull both.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from image.oci import Layer, layer_of_folder

_LAYERS_KEPT = 40


class Steps:
    """The steps so far: `root` as they left it, and their `layers`."""

    def __init__(self, root: Path, cache: Path | None, *, key: str) -> None:
        """Start with an empty `root`; layers are taken from `cache`, if any, by what led to them.

        `key` stands for everything that decides what all steps do; each step adds its own input.
        """
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.layers: list[Layer] = []
        self._cache = cache
        self._key = key
        self._known: set[str] = set()

    def add(self, title: str, key: str, do: Callable[[Path], object]) -> None:
        """Do one step, or take its layer from the cache; `key` stands for the step's own input."""
        self._key = hashlib.sha256(f"{self._key} {title} {key}".encode()).hexdigest()
        kept = self._cache / f"{self._key}.tar.gz" if self._cache is not None else None
        if kept is not None and kept.exists():
            layer = Layer.stored(kept.read_bytes(), title)
            subprocess.run(
                ["tar", "--extract", "--gzip", "--preserve-permissions", f"--directory={self.root}"],
                input=layer.content,
                check=True,
            )
            kept.touch()
        else:
            do(self.root)
            layer = layer_of_folder(self.root, title, without=self._known)
            if kept is not None:
                _keep(kept, layer.content)
        self.layers.append(layer)
        self._known = _names_below(self.root)

    def branch(self, name: str) -> Steps:
        """These steps, to be gone on with in a copy of the root."""
        root = self.root.with_name(f"{self.root.name}-{name}")
        shutil.copytree(self.root, root, symlinks=True)
        branch = Steps(root, self._cache, key=self._key)
        branch.layers = list(self.layers)
        branch._known = set(self._known)
        return branch


def _names_below(root: Path) -> set[str]:
    return {
        Path(folder, name).relative_to(root).as_posix()
        for folder, folders, files in os.walk(root)
        for name in (*folders, *files)
    }


def _keep(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: another build may read at the same time.
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.rename(path)
    by_use = sorted(path.parent.glob("*.tar.gz"), key=lambda each: each.stat().st_mtime)
    for forgotten in by_use[:-_LAYERS_KEPT]:
        with contextlib.suppress(FileNotFoundError):
            forgotten.unlink()
