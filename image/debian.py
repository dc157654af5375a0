# SPDX-License-Identifier: Apache-2.0
"""The bottom of the image: Python and the C libraries that it needs, from Debian's packages, no more.

No shell, no package manager, no setuid program: what is not there needs no patch and serves no intruder. Each
package is fetched and verified by apt, taken apart here, and named in the SBOM with its digest.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SUITE = "12"  # bookworm: its Python is the one that the wheels below are for
PYTHON = "3.11"
PACKAGES = (
    "base-files",  # /etc/os-release, by which scanners know what they look at
    "ca-certificates",
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    f"libpython{PYTHON}-minimal",
    f"libpython{PYTHON}-stdlib",
    "libsqlite3-0",
    "libssl3",
    "libuuid1",
    "media-types",
    f"python{PYTHON}-minimal",
    "zlib1g",
)
_LIBRARY = f"usr/lib/python{PYTHON}"
# Folders and files that no running Watchword opens.
_DROPPED = (
    "etc/alternatives",
    "etc/default",
    "etc/dpkg",
    "etc/issue",
    "etc/issue.net",
    "etc/ld.so.conf.d",
    "etc/motd",
    "etc/profile.d",
    "etc/skel",
    "etc/update-motd.d",
    "usr/lib/binfmt.d",
    "usr/lib/mime",
    "usr/sbin",
    "usr/share/applications",
    "usr/share/base-files",
    "usr/share/binfmts",
    "usr/share/bug",
    "usr/share/common-licenses",
    "usr/share/dict",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/man",
    "usr/share/pixmaps",
    *(f"{_LIBRARY}/{name}" for name in ("ensurepip", "lib2to3", "pydoc_data", "test", "turtle.py")),
    *(f"usr/lib/*-linux-gnu/{name}" for name in ("audit", "gconv", "libmvec.so.1", "libthread_db.so.1")),
)
# Extensions of the standard library whose C libraries are left out above.
_DROPPED_EXTENSIONS = ("_crypt", "_curses", "_curses_panel", "_dbm", "nis", "readline")
# Folders that a whole system has, and that stay empty here.
_EMPTY = ("boot", "home", "media", "mnt", "opt", "root", "srv", "usr/games", "usr/include", "usr/src", "var")
_USR_MERGED = ("bin", "lib", "lib64", "sbin")


class ImageUnavailableError(Exception):
    """The image cannot be built on this machine. The message says what to do."""


@dataclass(frozen=True, slots=True)
class DebianPackage:
    """A package that is in the image, and the digest of the file that it came in."""

    name: str
    version: str
    architecture: str
    sha256: str
    control: str


def check_machine() -> None:
    """Raise `ImageUnavailableError` where apt would give other packages than the image is made of."""
    release = Path("/etc/os-release")
    found = release.read_text() if release.exists() else ""
    programs = [name for name in ("apt-get", "dpkg-deb", "tar") if shutil.which(name) is None]
    if programs or f'VERSION_ID="{SUITE}"' not in found or "ID=debian" not in found.splitlines():
        raise ImageUnavailableError(
            f"the image is made of packages of Debian {SUITE}, which only that system's apt gives. "
            "Build with the Containerfile, which brings it along: `docker build --target gate .`"
        )


def fetch(folder: Path) -> list[Path]:
    """Have apt fetch and verify the packages into `folder`; what is there whole is not fetched again.

    Raises `ImageUnavailableError` with apt's own words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Run from another folder: apt does not name what is in its own already.
    named = _apt("/", "--print-uris")
    wanted = re.findall(r"^'[^']*' (\S+\.deb) \d+ SHA256:([0-9a-f]{64})$", named, re.MULTILINE)
    if len(wanted) != len(PACKAGES):
        raise ImageUnavailableError(f"apt names {len(wanted)} files for {len(PACKAGES)} packages: {named}")
    if not all(_is_whole(folder / name, digest) for name, digest in wanted):
        _apt(str(folder))
    for name, digest in wanted:
        if not _is_whole(folder / name, digest):
            raise ImageUnavailableError(f"apt fetched another {name} than it named")
    return [folder / name for name, _ in sorted(wanted)]


def _apt(folder: str, *arguments: str) -> str:
    # As root: its own user may not write to a folder of ours, and it would say so at length.
    command = ["apt-get", "download", "--quiet", "-o", "APT::Sandbox::User=root", *arguments, *PACKAGES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ImageUnavailableError(f"apt: {done.stderr.strip()} (`apt-get update` first?)")
    return done.stdout


def _is_whole(archive: Path, digest: str) -> bool:
    return archive.exists() and hashlib.sha256(archive.read_bytes()).hexdigest() == digest


def unpack(archives: Sequence[Path], root: Path) -> None:
    """Unpack the packages below `root`, without the files that Watchword never opens."""
    for name in _USR_MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for archive in archives:
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE
        ) as content:
            subprocess.run(
                ["tar", "--extract", "--keep-directory-symlink", "--no-same-owner", f"--directory={root}"],
                stdin=content.stdout,
                check=True,
            )
        if content.returncode != 0:
            raise ImageUnavailableError(f"dpkg-deb could not read {archive}")
    _drop(root)
    _write_certificates(root)
    for package in map(described, archives):
        # Where scanners look for packages of an image that has no dpkg (as distroless images do it).
        record = root / "var/lib/dpkg/status.d" / package.name
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(package.control)


def described(archive: Path) -> DebianPackage:
    """What a package file says of itself."""
    control = subprocess.run(
        ["dpkg-deb", "--field", str(archive)], capture_output=True, text=True, check=True
    ).stdout
    fields = dict(re.findall(r"^(Package|Version|Architecture): (.*)$", control, re.MULTILINE))
    return DebianPackage(
        fields["Package"],
        fields["Version"],
        fields["Architecture"],
        hashlib.sha256(archive.read_bytes()).hexdigest(),
        control,
    )


def _drop(root: Path) -> None:
    for pattern in _DROPPED:
        for path in list(root.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    (root / "usr/sbin").mkdir()
    for extension in _DROPPED_EXTENSIONS:
        for path in (root / _LIBRARY / "lib-dynload").glob(f"{extension}.cpython-*.so"):
            path.unlink()
    for path in _documents_but_licences(root / "usr/share/doc"):
        path.unlink()
    for name in _EMPTY:
        shutil.rmtree(root / name, ignore_errors=True)


def _documents_but_licences(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if not path.is_dir() and path.name != "copyright":
            yield path


def _write_certificates(root: Path) -> None:
    """The bundle that `update-ca-certificates` would write: every authority that Debian ships."""
    authorities = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(authority.read_bytes() for authority in authorities))
    shutil.rmtree(root / "usr/share/ca-certificates")
    # Where Debian's OpenSSL looks unless told otherwise: no variable that a pod could replace.
    (root / "usr/lib/ssl").mkdir()
    (root / "usr/lib/ssl/cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")
