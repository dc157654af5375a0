# SPDX-License-Identifier: Apache-2.0
"""The image of the process that holds a pod's namespaces open, which every container runtime needs."""

from __future__ import annotations

import platform
from pathlib import Path

from image.oci import Image, layer_of_files, write_archive
from testing.node.programs import Programs
from testing.node.services import PAUSE_IMAGE

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def pause_image(folder: Path, programs: Programs) -> Path:
    """Write the image to `folder`; return the path of its archive."""
    layer = layer_of_files({"pause": ((programs.runtime / "pause").read_bytes(), 0o755)}, "go build ./pause")
    archive = folder / "pause.tar"
    write_archive(
        archive,
        PAUSE_IMAGE,
        Image([layer], ["/pause"], architecture=_ARCHITECTURES[platform.machine()]),
        created="1970-01-01T00:00:00Z",
    )
    return archive
