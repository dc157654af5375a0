# SPDX-License-Identifier: Apache-2.0
"""`python -m image`: build the images' OCI archives into a folder, each next to its bill of materials.

With `--root FOLDER` one image's root file system is laid out there instead, for the `Containerfile` to copy.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from image.build import FLAVOURS, ROOT, Build
from image.debian import ImageUnavailableError
from image.oci import write_archive

REGISTRY = "watchword.dev"


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line as values; ends the process with status 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m image", description=__doc__)
    # argparse compares the whole default of `nargs="*"` with each of `choices`, so they are checked below.
    known = ", ".join(FLAVOURS)
    parser.add_argument(
        "flavours", nargs="*", metavar="FLAVOUR", help=f"one of {known}; default: gate operator"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "dist/images", help="a folder for the archives")
    parser.add_argument("--root", type=Path, help="lay out the root file system of one flavour here instead")
    parsed = parser.parse_args(given)
    unknown = [each for each in parsed.flavours if each not in FLAVOURS]
    if unknown:
        parser.error(f"no flavour {unknown[0]!r}; choose from {known}")
    parsed.flavours = parsed.flavours or ["gate", "operator"]
    if parsed.root is not None and len(parsed.flavours) != 1:
        parser.error("--root takes exactly one flavour")
    return parsed


def main() -> int:
    """Exit status: 0 when all was built, 1 when it cannot be built here, 2 for wrong usage."""
    given = arguments()
    try:
        build_into(given.output, given.flavours, epoch=source_epoch(), root=given.root)
    except ImageUnavailableError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


def build_into(
    output: Path,
    flavours: list[str],
    *,
    epoch: int,
    root: Path | None = None,
    layers: Path | None = None,
) -> dict[str, Path]:
    """Build archives into `output`, or one root file system into `root`; return the archives by flavour.

    `epoch` (Unix seconds) is the time in them. `layers`: see `Build`. Raises `ImageUnavailableError`.
    """
    os.umask(0o022)  # modes in the image are not the builder's taste
    output.mkdir(parents=True, exist_ok=True)
    created = datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    archives = {}
    with tempfile.TemporaryDirectory(prefix="watchword-image-") as folder:
        build = Build(
            Path(folder), version=version(), epoch=epoch, archives=cache_folder() / "debian", layers=layers
        )
        for name in flavours:
            built = build.image(FLAVOURS[name])
            (output / f"watchword-{name}.cdx.json").write_bytes(built.sbom)
            if root is not None:
                shutil.copytree(built.root, root, symlinks=True, dirs_exist_ok=True)
                continue
            archives[name] = output / f"watchword-{name}.tar"
            digest = write_archive(archives[name], reference(name), built.image, created=created)
            stored = sum(len(layer.content) for layer in built.image.layers)
            print(f"{archives[name]}  {reference(name)}@{digest}  {stored / 1e6:.1f} MB compressed")
    return archives


def reference(flavour: str) -> str:
    """The name of an image, with its tag."""
    return f"{REGISTRY}/{flavour}:{version()}"


def version() -> str:
    """The version of Watchword that this checkout is."""
    stated: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return stated


def cache_folder() -> Path:
    """Where what one build fetched or made is kept for the next."""
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = stated if stated.is_absolute() else Path.home() / ".cache"
    return base / "watchword" / "image"


def source_epoch() -> int:
    """`SOURCE_DATE_EPOCH` where set, else the time of the last commit, or 0 outside of a clone.

    Source: https://reproducible-builds.org/specs/source-date-epoch/
    """
    stated = os.environ.get("SOURCE_DATE_EPOCH", "")
    if stated.isdigit():
        return int(stated)
    asked = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return int(asked.stdout) if asked.returncode == 0 and asked.stdout.strip() else 0


if __name__ == "__main__":
    sys.exit(main())
