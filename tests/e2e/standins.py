# SPDX-License-Identifier: Apache-2.0
"""An image that stands in for the public ones of the tutorial, since nothing is pulled here.

It is the demo image with a shell, curl, cat and sleep of this machine on top: enough for a pod that is
written for `python:3.13-slim` or for `curlimages/curl` to run unchanged.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from image.oci import Image, Layer, layer_of_files, write_archive

_PROGRAMS = {"sh": "dash", "curl": "curl", "cat": "cat", "sleep": "sleep"}
# Debian calls it by its version; the public image by this name.
_PYTHON = b"""#!/usr/bin/python3.11 -I
import os, sys
os.execv("/usr/bin/python3.11", ["python3", *sys.argv[1:]])
"""


def write_stand_in(folder: Path, demo: Path, reference: str) -> Path:
    """Write an archive that an import names `reference`; `demo` is the archive of the demo image."""
    layers, configuration = _opened(demo)
    there = {name for layer in layers for name in _names_in(layer)}
    files = {"usr/bin/python3": (_PYTHON, 0o755)}
    for name, program in _PROGRAMS.items():
        path = shutil.which(program)
        assert path is not None, f"{program} is not installed"
        files[f"usr/bin/{name}"] = (Path(path).read_bytes(), 0o755)
        files |= {
            where: (library.read_bytes(), 0o755)
            for library in _libraries(path)
            if (where := _place(library)) not in there
        }
    added = layer_of_files(files, "programs of this machine")
    image = Image(
        [*layers, added], [], architecture=configuration["architecture"], environment={"PATH": "/usr/bin"}
    )
    archive = folder / f"{hashlib.sha256(reference.encode()).hexdigest()[:12]}.tar"
    write_archive(archive, reference, image, created="1970-01-01T00:00:00Z")
    return archive


def _opened(archive: Path) -> tuple[list[Layer], dict[str, Any]]:
    with tarfile.open(archive) as opened:

        def read(name: str) -> bytes:
            found = opened.extractfile(name)
            assert found is not None, name
            return found.read()

        def blob(descriptor: dict[str, str]) -> bytes:
            return read(f"blobs/{descriptor['digest'].replace(':', '/')}")

        [described] = json.loads(read("index.json"))["manifests"]
        manifest = json.loads(blob(described))
        configuration = json.loads(blob(manifest["config"]))
        steps = configuration["history"]
        layers = [
            Layer.stored(blob(each), step["created_by"])
            for each, step in zip(manifest["layers"], steps, strict=True)
        ]
    return layers, configuration


def _names_in(layer: Layer) -> Iterable[str]:
    with tarfile.open(fileobj=io.BytesIO(layer.content)) as opened:
        return [each.removeprefix("./") for each in opened.getnames()]


def _libraries(program: str) -> Iterator[Path]:
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    yield from (Path(each) for each in re.findall(r"=> (/\S+)", said))


def _place(library: Path) -> str:
    # /lib is a link to usr/lib in the image, and may be in this machine.
    inside = str(library).lstrip("/")
    return inside if inside.startswith("usr/") else f"usr/{inside}"
