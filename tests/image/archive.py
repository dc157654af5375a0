# SPDX-License-Identifier: Apache-2.0
"""Reads an OCI archive as a runtime would, with nothing of the code that wrote it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Archive:
    """An OCI archive (image-spec 1.1, image-layout.md). Every blob that is read is held to its digest."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as archive:
            self._files = {
                entry.name: file.read()
                for entry in archive
                if (file := archive.extractfile(entry)) is not None
            }
        [self.entry] = json.loads(self._read("index.json"))["manifests"]
        self.manifest: Json = json.loads(self.blob(self.entry))
        self.configuration: Json = json.loads(self.blob(self.manifest["config"]))

    def blob(self, descriptor: Json) -> bytes:
        """The content that a descriptor names."""
        kind, _, digest = descriptor["digest"].partition(":")
        content = self._read(f"blobs/{kind}/{digest}")
        assert hashlib.sha256(content).hexdigest() == digest
        assert len(content) == descriptor["size"]
        return content

    def unpack(self, root: Path) -> None:
        """Lay the layers over one another, as root."""
        root.mkdir()
        for layer in self.manifest["layers"]:
            subprocess.run(
                ["tar", "--extract", "--gzip", "--preserve-permissions", f"--directory={root}"],
                input=self.blob(layer),
                check=True,
            )

    def _read(self, name: str) -> bytes:
        return self._files[name]
