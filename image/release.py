# SPDX-License-Identifier: Apache-2.0
"""`python -m image.release`: everything that a release has, into one folder, and nothing of it published.

Wheel and source distribution, charts as packages and as OCI archives, images with their bills of materials,
checksums, and a statement of where all of it came from (SLSA provenance 1.0, not signed here).
The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from image.__main__ import build_into, source_epoch, version
from image.build import ROOT
from image.chart import package_chart, write_chart_archive
from image.debian import ImageUnavailableError
from image.python import build_distributions

CHARTS = ("watchword", "watchword-sidecar")
FLAVOURS = ["gate", "operator"]
SUMS, PROVENANCE = "SHA256SUMS", "provenance.intoto.json"
_BUILD_TYPE = "https://watchword.dev/build/make-release/v1"


class ReleaseError(Exception):
    """A release cannot be made of this checkout; the message says what would be right."""


def main() -> int:
    """Exit status: 0 when all was built, 1 when it cannot be built here, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m image.release", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist/release", help="a folder, emptied first")
    parser.add_argument("--images", type=Path, help="take images that were built before from this folder")
    parser.add_argument("--allow-dirty", action="store_true", help="from a tree with changes, and say so")
    given = parser.parse_args()
    os.umask(0o022)
    try:
        release(given.output, images=given.images, allow_dirty=given.allow_dirty)
    except (ImageUnavailableError, ReleaseError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


def release(output: Path, *, images: Path | None = None, allow_dirty: bool = False) -> None:
    """Make a release in `output`; see the module.

    Raises:
        ReleaseError: the tree has changes that are in no commit.
        ImageUnavailableError: images cannot be built on this machine.
    """
    commit, is_dirty = _commit()
    if is_dirty and not allow_dirty:
        raise ReleaseError(
            "the checkout has changes that are in no commit, so no one could build the same. "
            "Remedy: commit them, or try it with --allow-dirty"
        )
    epoch = source_epoch()
    created = datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    _build_python(output, epoch)
    for name in CHARTS:
        folder = ROOT / "charts" / name
        file, package = package_chart(folder, epoch)
        (output / file).write_bytes(package)
        write_chart_archive(output / f"{name}-chart.tar", folder, package, created)
    if images is None:
        build_into(output, FLAVOURS, epoch=epoch)
    else:
        for flavour in FLAVOURS:
            for suffix in (".tar", ".cdx.json"):
                shutil.copyfile(
                    images / f"watchword-{flavour}{suffix}", output / f"watchword-{flavour}{suffix}"
                )
    built = sorted(output.iterdir())
    statement = provenance(built, commit=commit, is_dirty=is_dirty, created=created)
    (output / PROVENANCE).write_text(json.dumps(statement, indent=1, sort_keys=True) + "\n")
    sums = [f"{_digest(each)}  {each.name}\n" for each in sorted(output.iterdir())]
    (output / SUMS).write_text("".join(sums))
    print(f"{output}: {len(sums)} files; `sha256sum --check {SUMS}` there checks them")


def provenance(built: Iterable[Path], *, commit: str, is_dirty: bool, created: str) -> dict[str, Any]:
    """The statement (in-toto Statement 1, SLSA provenance 1.0) about what was built."""
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": each.name, "digest": {"sha256": _digest(each)}} for each in built],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {"version": version(), "target": "make release"},
                "internalParameters": {"hasUncommittedChanges": is_dirty},
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": commit}},
                    *(
                        {"name": f"requirements/{each.name}", "digest": {"sha256": _digest(each)}}
                        for each in locks
                    ),
                ],
            },
            "runDetails": {
                # Who publishes signs, and the signature says who that was.
                "builder": {
                    "id": os.environ.get("WATCHWORD_BUILDER", "https://watchword.dev/build/unsigned")
                },
                "metadata": {"startedOn": created},
            },
        },
    }


def _build_python(output: Path, epoch: int) -> None:
    with tempfile.TemporaryDirectory(prefix="watchword-release-") as folder:
        for found in build_distributions(ROOT, Path(folder), epoch=epoch, targets=("sdist", "wheel")):
            shutil.copyfile(found, output / found.name)


def _commit() -> tuple[str, bool]:
    """The commit of this checkout, and whether the tree differs from it."""

    def said(*arguments: str) -> str:
        asked = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        if asked.returncode != 0:
            raise ReleaseError("this is not a clone. Remedy: make releases in a clone of the repository")
        return asked.stdout.strip()

    return said("rev-parse", "HEAD"), bool(said("status", "--porcelain"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
