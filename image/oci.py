# SPDX-License-Identifier: Apache-2.0
"""OCI images written down by hand: the same files in give the same bytes, and so the same digest, out.

An image is a handful of JSON documents and tar files. Written with fixed times, owners and order, an image
can be built again by anyone and compared; with an engine's own time in it, it cannot.
Source: OCI image-spec 1.1 (layer.md, manifest.md, config.md, image-layout.md).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

_MEDIA = "application/vnd.oci.image"


@dataclass(frozen=True, slots=True)
class Layer:
    """A gzipped tar of files; `diff_id` is the digest of the tar itself."""

    content: bytes = field(repr=False)
    diff_id: str
    created_by: str

    @classmethod
    def stored(cls, content: bytes, created_by: str) -> Layer:
        """A layer of bytes that `content` was before."""
        return cls(content, _digest(gzip.decompress(content)), created_by)


@dataclass(frozen=True, slots=True)
class Image:
    """What is in an image and how it starts."""

    layers: Sequence[Layer]
    entrypoint: Sequence[str]
    architecture: str  # as Go names it: amd64, arm64
    user: str = "65532:65532"
    working_folder: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = ()


def layer_of_folder(root: Path, created_by: str, *, without: Collection[str] = ()) -> Layer:
    """A layer of everything below `root`, except the names `without`, which earlier layers hold.

    Modes are kept; owners become root and times the epoch, which is what a reproducible image says of files
    that no one will ever edit.
    """
    entries: list[tuple[str, Path]] = []
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            inside = path.relative_to(root).as_posix()
            if inside not in without:
                entries.append((inside, path))
    return _layer(((name, _entry_of(name, path), path) for name, path in sorted(entries)), created_by)


def layer_of_files(files: Mapping[str, tuple[bytes, int]], created_by: str) -> Layer:
    """A layer of given files: path in the image to content and mode. Their folders are in earlier layers."""

    def entries() -> Iterable[tuple[str, tarfile.TarInfo, bytes]]:
        for name, (content, mode) in sorted(files.items()):
            entry = _new_entry(name.lstrip("/"), mode)
            entry.size = len(content)
            yield name, entry, content

    return _layer(entries(), created_by)


def write_archive(path: Path, reference: str, image: Image, *, created: str) -> str:
    """Write an OCI archive that `ctr images import` and `skopeo` take; return the digest of its manifest.

    `reference` is the name that an import gives it, with its tag; `created` is RFC 3339.
    """
    configuration = _json(_configuration(image, created))
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_MEDIA}.manifest.v1+json",
        "config": descriptor(f"{_MEDIA}.config.v1+json", configuration),
        "layers": [descriptor(f"{_MEDIA}.layer.v1.tar+gzip", layer.content) for layer in image.layers],
        "annotations": dict(image.labels),
    }
    names = {
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
        "io.containerd.image.name": reference,
    }
    platform = {"architecture": image.architecture, "os": "linux"}
    blobs = [configuration, *(layer.content for layer in image.layers)]
    return write_layout(path, manifest, blobs, {"annotations": names, "platform": platform})


def descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    """What names a blob in a manifest (image-spec 1.1, descriptor.md)."""
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def write_layout(
    path: Path, manifest: Mapping[str, Any], blobs: Sequence[bytes], described: Mapping[str, Any]
) -> str:
    """Write an OCI archive of one manifest; returns the manifest's digest.

    Args:
        path: where to.
        manifest: the manifest.
        blobs: what it names.
        described: what the index says of the manifest besides its type, digest and size.
    """
    content = _json(manifest)
    entry = {**descriptor(manifest["mediaType"], content), **described}
    index = _json({"schemaVersion": 2, "mediaType": f"{_MEDIA}.index.v1+json", "manifests": [entry]})
    files = {f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}": blob for blob in (content, *blobs)}
    files |= {"index.json": index, "oci-layout": _json({"imageLayoutVersion": "1.0.0"})}
    with path.open("wb") as output:
        _write_tar(
            output,
            [(_new_entry(folder, 0o755, tarfile.DIRTYPE), b"") for folder in ("blobs", "blobs/sha256")]
            + [(_new_entry(name, 0o644), content) for name, content in sorted(files.items())],
        )
    return _digest(content)


def _configuration(image: Image, created: str) -> dict[str, Any]:
    return {
        "created": created,
        "architecture": image.architecture,
        "os": "linux",
        "config": {
            "User": image.user,
            "Env": [f"{name}={value}" for name, value in sorted(image.environment.items())],
            "Entrypoint": list(image.entrypoint),
            **({"Cmd": list(image.command)} if image.command else {}),
            "WorkingDir": image.working_folder,
            "Labels": dict(sorted(image.labels.items())),
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in image.layers]},
        "history": [{"created": created, "created_by": layer.created_by} for layer in image.layers],
    }


def _layer(entries: Iterable[tuple[str, tarfile.TarInfo, Path | bytes]], created_by: str) -> Layer:
    plain = io.BytesIO()
    _write_tar(
        plain,
        (
            (
                entry,
                b"" if not entry.isreg() else source if isinstance(source, bytes) else source.read_bytes(),
            )
            for _, entry, source in entries
        ),
    )
    stored = gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)
    return Layer(stored, _digest(plain.getvalue()), created_by)


def _write_tar(output: BinaryIO, entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> None:
    # PAX only says what does not fit into the old header: long names, and no times or owners of ours.
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry, content in entries:
            if entry.isreg():
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def _entry_of(name: str, path: Path) -> tarfile.TarInfo:
    found = path.lstat()
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        entry = _new_entry(name, 0o777, tarfile.SYMTYPE)
        entry.linkname = str(path.readlink())
        return entry
    if stat.S_ISDIR(found.st_mode):
        return _new_entry(name, mode, tarfile.DIRTYPE)
    if stat.S_ISREG(found.st_mode):
        return _new_entry(name, mode)
    raise ValueError(f"{path} is neither a file, a folder nor a symbolic link: it has no place in an image")


def _new_entry(name: str, mode: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.type = mode, kind
    return entry


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode()
