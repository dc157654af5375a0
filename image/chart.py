# SPDX-License-Identifier: Apache-2.0
"""Helm charts as packages and as OCI archives, the same bytes for the same input.

`helm package` writes the time of its run into the archive. Media types: https://helm.sh/docs/topics/registries/,
"Helm chart manifest".
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import yaml

from image.oci import descriptor, write_layout

_CONFIGURATION = "application/vnd.cncf.helm.config.v1+json"
_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
# What .helmignore leaves out of a package; Helm packs that file itself.
_LEFT_OUT = ("README.md.tmpl",)


def package_chart(folder: Path, epoch: int) -> tuple[str, bytes]:
    """The name and the bytes of a chart's package; times in it are `epoch` (Unix seconds)."""
    chart = _described(folder)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            if path.name in _LEFT_OUT or path.suffix == ".tgz":
                continue
            content = path.read_bytes()
            entry = tarfile.TarInfo(f"{chart['name']}/{path.relative_to(folder)}")
            entry.size, entry.mode, entry.mtime = len(content), 0o644, epoch
            archive.addfile(entry, io.BytesIO(content))
    packed = gzip.compress(plain.getvalue(), compresslevel=9, mtime=0)
    return f"{chart['name']}-{chart['version']}.tgz", packed


def write_chart_archive(path: Path, folder: Path, package: bytes, created: str) -> str:
    """Write a package as an OCI archive, for `oras` or `skopeo` to copy; returns the manifest's digest."""
    chart = _described(folder)
    configuration = json.dumps(chart, sort_keys=True, ensure_ascii=False).encode()
    annotations = {
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.description": chart["description"],
        "org.opencontainers.image.title": chart["name"],
        "org.opencontainers.image.version": chart["version"],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(_CONFIGURATION, configuration),
        "layers": [descriptor(_CONTENT, package)],
        "annotations": annotations,
    }
    names = {"org.opencontainers.image.ref.name": chart["version"]}
    return write_layout(path, manifest, [configuration, package], {"annotations": names})


def _described(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "Chart.yaml").read_text())
    return found
