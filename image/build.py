# SPDX-License-Identifier: Apache-2.0
"""What is in each image, step by step: a root file system that grows, and one layer for what each step added.

Two images on common ground: `gate` runs in every protected pod, and nothing in it talks to a Kubernetes API
but Watchword's own small client; `operator` is the gate's layers and one more. The `Containerfile` runs these
same steps, so that an image from an engine and one from here have the same files.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from image import debian, python
from image.oci import Image, Layer
from image.sbom import bill_of_materials
from image.steps import Steps

ROOT = Path(__file__).resolve().parent.parent
USER = 65532  # the user that distroless images made customary for processes without rights
_SCRIPT = f"""\
#!/usr/bin/python{debian.PYTHON} -I
import sys

from watchword.cli.main import main

sys.exit(main())
"""
_FILES: Mapping[str, tuple[str, int]] = {
    "etc/passwd": (f"root:x:0:0:root:/:/none\nwatchword:x:{USER}:{USER}:watchword:/:/none\n", 0o644),
    "etc/group": (f"root:x:0:\nwatchword:x:{USER}:\n", 0o644),
    "etc/nsswitch.conf": ("hosts: files dns\n", 0o644),
}
# The files that decide, next to the input of each step, what a step does.
_DECIDERS = [Path(__file__).with_name(name) for name in ("build.py", "debian.py", "oci.py", "python.py")]
_LICENCE = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class Flavour:
    """One image: which locked dependencies it has beyond the gate's, and how it starts."""

    name: str
    title: str
    requirements: str | None
    command: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ("/usr/bin/watchword",)


FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        Flavour("gate", "The gate next to a service", None, ("sidecar",)),
        Flavour("operator", "The operator of a cluster", "operator.txt", ("operator",)),
        Flavour(
            "demo",
            "An app and a caller to try Watchword with; not for production",
            "demo.txt",
            (),
            files={
                "usr/share/watchword-demo/app.py": "app.py",
                "usr/share/watchword-demo/caller.py": "caller.py",
            },
            entrypoint=(f"/usr/bin/python{debian.PYTHON}", "-I"),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Built:
    """An image, its root file system on this machine, and its bill of materials (CycloneDX, JSON)."""

    image: Image
    root: Path
    sbom: bytes


class Build:
    """The steps that the images share, done once; `image` then adds what one flavour has on top."""

    def __init__(
        self, folder: Path, *, version: str, epoch: int, archives: Path, layers: Path | None = None
    ) -> None:
        """Build in `folder`, with Debian's packages kept in `archives` and times of `epoch` (Unix seconds).

        With a folder `layers`, a step whose input is as it was is taken from there instead of done again.
        Raises `ImageUnavailableError`.
        """
        debian.check_machine()
        self.version, self.epoch = version, epoch
        self.architecture = _said_by("dpkg", "--print-architecture")
        self._scratch = folder / "scratch"
        self._scratch.mkdir(parents=True)
        packages = debian.fetch(archives)
        self._packages = [debian.described(archive) for archive in packages]
        self._steps = Steps(folder / "root", layers, key=_digest_of(_DECIDERS))

        def lay_the_ground(root: Path) -> None:
            debian.unpack(packages, root)
            _write(_FILES, root)
            (root / "tmp").mkdir(exist_ok=True)
            (root / "tmp").chmod(0o1777)
            python.compile_all([f"/usr/lib/python{debian.PYTHON}"], root)

        def install_watchword(root: Path) -> None:
            [wheel] = python.build_distributions(ROOT, self._scratch, epoch=epoch)
            python.install_wheel(wheel, root, architecture=self.architecture, scratch=self._scratch)
            _write({"usr/bin/watchword": (_SCRIPT, 0o755)}, root)
            python.compile_all([f"/{python.PACKAGES}/watchword"], root)

        self._steps.add(f"Debian {debian.SUITE}: Python", _digest_of(packages), lay_the_ground)
        self._install("gate.txt", self._steps)
        sources = _digest_of([ROOT / name for name in ("src", *python.WHEEL_FILES)])
        self._steps.add(f"watchword {version}", f"{sources} {epoch}", install_watchword)

    def image(self, flavour: Flavour) -> Built:
        """The image of one flavour, in a root file system of its own."""
        steps = self._steps.branch(flavour.name)
        if flavour.requirements is not None:
            self._install(flavour.requirements, steps)
        sbom = bill_of_materials(
            flavour.name,
            self.version,
            debian=self._packages,
            python=steps.root / python.PACKAGES,
            architecture=self.architecture,
            epoch=self.epoch,
        )
        files = {f"usr/share/sbom/watchword-{flavour.name}.cdx.json": sbom}
        files |= {
            target: (ROOT / "image/demo" / source).read_bytes() for target, source in flavour.files.items()
        }

        def write_files(root: Path) -> None:
            _write({name: (content.decode(), 0o644) for name, content in files.items()}, root)

        content = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
        steps.add(f"what {flavour.name} has on top", content, write_files)
        return Built(self._image_of(flavour, steps.layers), steps.root, sbom)

    def _image_of(self, flavour: Flavour, layers: Sequence[Layer]) -> Image:
        return Image(
            layers=layers,
            entrypoint=flavour.entrypoint,
            command=flavour.command,
            architecture=self.architecture,
            user=f"{USER}:{USER}",
            environment={
                "PATH": "/usr/bin",
                "LANG": "C.UTF-8",
            },
            labels={
                "org.opencontainers.image.title": f"watchword {flavour.name}",
                "org.opencontainers.image.description": flavour.title,
                "org.opencontainers.image.version": self.version,
                "org.opencontainers.image.licenses": _LICENCE,
            },
        )

    def _install(self, requirements: str, steps: Steps) -> None:
        locked = ROOT / "requirements" / requirements

        def install(root: Path) -> None:
            python.install_locked(locked, root, architecture=self.architecture, scratch=self._scratch)
            python.compile_all([f"/{python.PACKAGES}"], root)

        steps.add(f"requirements/{requirements}", _digest_of([locked]), install)


def _write(files: Mapping[str, tuple[str, int]], root: Path) -> None:
    for name, (content, mode) in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)


def _digest_of(paths: Iterable[Path]) -> str:
    """A digest of files, and of all files below folders, with their names."""
    digest = hashlib.sha256()
    for path in paths:
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if each.is_file() and "__pycache__" not in each.parts:
                content = each.read_bytes()
                digest.update(f"{each.relative_to(path.parent)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _said_by(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
