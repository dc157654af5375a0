# SPDX-License-Identifier: Apache-2.0
"""The kubelet's atomic writer: a directory a version, `..data` swapped by rename, the file a link through it.

Kubernetes, pkg/volume/util/atomic_writer.go (its doc comment lists the steps).
"""

import itertools
import os
import shutil
from pathlib import Path


class ProjectedVolume:
    def __init__(self, directory: Path, *, token: str) -> None:
        self.directory = directory
        self.file = directory / "token"
        self._versions = itertools.count()
        directory.mkdir()
        self.rotate(token)
        self.file.symlink_to("..data/token")

    def rotate(self, token: str) -> None:
        data = self.directory / "..data"
        old = data.resolve() if data.is_symlink() else None
        new = self.directory / f"..2026_11_24_{next(self._versions)}"
        new.mkdir()
        (new / "token").write_text(token)
        swap = self.directory / "..data_tmp"
        swap.symlink_to(new.name)
        os.replace(swap, data)
        if old is not None:
            shutil.rmtree(old)
