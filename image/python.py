# SPDX-License-Identifier: Apache-2.0
"""The top of the image: Watchword's wheel and its locked dependencies, compiled by the image's own Python.

A read-only root file system has nowhere to keep bytecode, so every start would compile again.
It is bytecode that is checked by no time stamp, and so the same bytes in every build.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from image.debian import PYTHON, ImageUnavailableError

PACKAGES = "usr/lib/python3/dist-packages"  # where Debian's Python looks without being told
WHEEL_FILES = ("pyproject.toml", "README.md", "LICENSE")
_DISTRIBUTIONS = {"wheel": "*.whl", "sdist": "*.tar.gz"}
_PLATFORMS = {
    "amd64": ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64"),
    "arm64": ("manylinux_2_34_aarch64", "manylinux_2_28_aarch64", "manylinux2014_aarch64"),
}


def install_locked(requirements: Path, root: Path, *, architecture: str, scratch: Path) -> None:
    """Install wheels by name, version and hash; what an earlier step installed is left as it is."""
    _pip_into(root, scratch, architecture, "--require-hashes", "--no-deps", f"--requirement={requirements}")


def build_distributions(
    source: Path, folder: Path, *, epoch: int, targets: Sequence[str] = ("wheel",)
) -> list[Path]:
    """Build Watchword's own distributions from `source` into `folder`; returns one file for each target.

    Args:
        source: the checkout.
        folder: for the files, and for what building them needs.
        epoch: every time in them, in Unix seconds.
        targets: `wheel`, `sdist` or both.

    Raises:
        ImageUnavailableError: they cannot be built; the message says what hatchling said.
    """
    # From a copy of what belongs in it: an editable tree has more in it than was committed.
    tree = folder / "source"
    shutil.copytree(source / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in WHEEL_FILES:
        shutil.copy(source / name, tree / name)
    _run(
        [
            *(sys.executable, "-m", "hatchling", "build", "--directory", str(folder)),
            *(f"--target={target}" for target in targets),
        ],
        cwd=tree,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
    )
    found = []
    for target in targets:
        [file] = folder.glob(_DISTRIBUTIONS[target])
        found.append(file)
    return found


def install_wheel(wheel: Path, root: Path, *, architecture: str, scratch: Path) -> None:
    """Install one wheel without its dependencies."""
    _pip_into(root, scratch, architecture, "--no-deps", "--no-index", str(wheel))


def compile_all(folders: Iterable[str], root: Path) -> None:
    """Compile what is below `folders` of the image with the image's own Python, in a root of its own."""
    enter = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
    # Unchecked: the files beside it never change, and looking at them slows every start.
    command = ["-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash"]
    _run(
        [*enter, "chroot", str(root), f"/usr/bin/python{PYTHON}", "-I", *command, *folders],
        cwd=root,
        env={"PYTHONHASHSEED": "0", "PATH": os.environ.get("PATH", "")},
    )


def _pip_into(root: Path, scratch: Path, architecture: str, *arguments: str) -> None:
    platforms = [f"--platform={platform}" for platform in _PLATFORMS[architecture]]
    staged = scratch / "packages"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(staged), "--no-compile"]
    target = [f"--python-version={PYTHON}", "--implementation=cp", f"--abi=cp{PYTHON.replace('.', '')}"]
    abis = ["--abi=abi3", "--abi=none", "--only-binary=:all:", "--no-warn-conflicts"]
    _run([*command, *target, *abis, *platforms, *arguments], cwd=scratch, env=dict(os.environ))
    _move_new(staged, root / PACKAGES)


def _move_new(staged: Path, packages: Path) -> None:
    packages.mkdir(parents=True, exist_ok=True)
    for path in sorted(staged.iterdir()):
        # `bin` holds scripts for the Python that pip ran on, and the image starts none of them.
        if path.name == "bin" or (packages / path.name).exists():
            continue
        if path.name.endswith(".dist-info"):
            _forget_this_machine(path)
        elif path.is_dir():
            _drop_sources_of_extensions(path)
        path.rename(packages / path.name)
    shutil.rmtree(staged)


def _drop_sources_of_extensions(package: Path) -> None:
    """Remove the C sources next to what was compiled from them: unused at run time, 10 MB of uvloop's 14."""
    for path in sorted(package.rglob("*")):
        if path.suffix in {".c", ".h", ".pyx", ".pxd", ".pxi"}:
            path.unlink()


def _forget_this_machine(described: Path) -> None:
    """Take out of a package's metadata where pip found it and which Python its scripts were written for."""
    left_out = ("direct_url.json", "REQUESTED")
    for name in left_out:
        (described / name).unlink(missing_ok=True)
    record = described / "RECORD"
    kept = [
        line
        for line in record.read_text().splitlines(keepends=True)
        if not line.startswith("../../bin/") and not line.split(",")[0].endswith(left_out)
    ]
    record.write_text("".join(kept))


def _run(command: Sequence[str], *, cwd: Path, env: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ImageUnavailableError(f"{' '.join(command[:4])} ...:\n{done.stdout}{done.stderr}")
